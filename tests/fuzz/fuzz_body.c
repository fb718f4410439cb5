/* Any octets as a message: the scanner finds what the slow model finds, and the same in any cuts.
 */
#include "tests/body_model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct body_limits limits = {
    .size = 2000, .header_size = 500, .line = 200, .received = 3};

typedef void scan_message(struct body *body, struct span wire, size_t piece,
                          struct body_result *result);

static void compare_cuts(scan_message *scan, struct span wire, size_t piece, struct span names)
{
    struct body whole, cut;
    struct body_result one = {.content = malloc(wire.len + 2)};
    struct body_result other = {.content = malloc(wire.len + 2)};
    check(one.content && other.content);
    body_init(&whole, &limits, names, SPAN("Campaign"));
    body_init(&cut, &limits, names, SPAN("Campaign"));
    scan(&whole, wire, wire.len + 1, &one);
    scan(&cut, wire, piece, &other);
    check(one.ended == other.ended && one.faults == other.faults);
    if (one.ended && !one.faults) {
        check(one.end == other.end && one.len == other.len);
        check(one.len == 0 || memcmp(one.content, other.content, one.len) == 0);
        check(whole.header_8bit == cut.header_8bit && whole.body_8bit == cut.body_8bit);
        check(whole.starts == cut.starts && whole.size == cut.size && whole.stored == cut.stored);
        for (unsigned i = 0; i < BODY_FIELDS; i++)
            check(span_equals(body_field_value(&whole, i), body_field_value(&cut, i)));
    }
    free(one.content);
    free(other.content);
}

static void compare_model(struct span wire, size_t piece)
{
    static const struct body_limits none = {
        .size = UINT64_MAX, .header_size = UINT64_MAX, .line = UINT64_MAX, .received = UINT64_MAX};
    struct body body;
    struct body_result should = {.content = malloc(wire.len + 2)};
    struct body_result is = {.content = malloc(wire.len + 2)};
    check(should.content && is.content);
    body_init(&body, &none, (struct span){0}, (struct span){0});
    model_data(wire, &should);
    scan_data(&body, wire, piece, &is);
    check(is.ended == should.ended && (!is.ended || is.end == should.end));
    check(!is.ended || is.faults == should.faults);
    if (is.ended && !is.faults)
        check(is.len == should.len && (is.len == 0 || !memcmp(is.content, should.content, is.len)));
    free(should.content);
    free(is.content);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    struct span wire = span_of(data + 1, size - 1);
    size_t piece = data[0] % 100u + 1;
    struct span name = data[0] & 0x80 ? SPAN("X-T") : (struct span){0};
    compare_cuts(scan_data, wire, piece, name);
    compare_cuts(scan_chunks, wire, piece, name);
    compare_model(wire, piece);
    return 0;
}
