/* Any bytes as a request: the parser says the same whole and cut, and its spans lie in the input.
 */
#include "core/check.h"
#include "core/http_request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool inside(struct span part, struct span whole)
{
    return part.data >= whole.data && part.data + part.len <= whole.data + whole.len;
}

/* A piece at a time must come to the same result, never to another before it. */
static void check_cuts(struct span input, int result)
{
    size_t step = input.len / 200 + 1;
    for (size_t cut = 0; cut < input.len; cut += step) {
        struct http_request request;
        int early = http_request_parse(span_first(input, cut), &request);
        check(early == 0 || early == result);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span input = span_of(data, size);
    struct http_request request;
    int result = http_request_parse(input, &request);
    if (result > 0) {
        check((size_t)result <= size && result <= HTTP_REQUEST_MAX);
        check(request.method.len && inside(request.method, input));
        check(request.path.len == 1 || request.path.data[0] == '/');
        check(data[result - 1] == '\n');
    } else {
        check(result == 0 || result == -400 || result == -431 || result == -505);
        check(result || size < HTTP_REQUEST_MAX);
    }
    check_cuts(input, result);
    return 0;
}
