/* PROXY headers, v1 and v2, in any cuts: the same result, the same octets consumed. */
#include "core/check.h"
#include "core/proxy_header.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct outcome {
    enum proxy_result result;
    size_t consumed;
    struct address source;
};

/* In pieces of `piece` octets, each in memory of exactly its size. */
static struct outcome read_in_pieces(struct span input, size_t piece)
{
    struct proxy_header header = {0};
    struct outcome outcome = {.result = PROXY_MORE};
    while (input.len && outcome.result == PROXY_MORE) {
        struct span part = span_first(input, piece);
        char *copy = malloc(part.len);
        check(copy);
        memcpy(copy, part.data, part.len);
        struct span rest = span_of(copy, part.len);
        outcome.result = proxy_header_read(&header, &rest, &outcome.source);
        outcome.consumed += part.len - rest.len;
        check(outcome.result != PROXY_MORE || rest.len == 0);
        check(outcome.consumed <= PROXY_HEADER_MOST);
        input = span_skip(input, part.len);
        free(copy);
    }
    return outcome;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > 8192)
        return 0;
    struct span input = span_of(data + 1, size - 1);
    struct outcome whole = read_in_pieces(input, input.len);
    struct outcome cut = read_in_pieces(input, data[0] % 7u + 1);
    check(whole.result == cut.result);
    if (whole.result != PROXY_DONE)
        return 0;
    check(whole.consumed == cut.consumed);
    check(whole.source.family == cut.source.family);
    check(whole.source.family == AF_UNSPEC || whole.source.family == AF_INET ||
          whole.source.family == AF_INET6);
    check(whole.source.family == AF_UNSPEC ||
          address_port(&whole.source) == address_port(&cut.source));
    return 0;
}
