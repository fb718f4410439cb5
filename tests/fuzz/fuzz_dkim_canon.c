/* Fuzz: canonical bodies do not depend on how they were cut. The first octet says where. */
#include "core/check.h"
#include "smtp/dkim_canon.h"

#include "core/sink.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void emit(void *context, struct span octets)
{
    sink_put(context, octets);
}

static void canonical(enum dkim_canon canon, struct span text, size_t step, struct sink *sink)
{
    struct dkim_body body;
    dkim_body_init(&body, canon, emit, sink);
    for (; text.len; text = span_skip(text, step))
        dkim_body_add(&body, span_first(text, step));
    dkim_body_end(&body);
    check(!sink->full);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct span text = span_of(data + 1, size - 1);
    size_t room = 2 * size + 16;
    char *whole = malloc(room), *cut = malloc(room);
    check(whole && cut);
    for (unsigned canon = 0; canon < DKIM_CANONS; canon++) {
        struct sink one, other;
        sink_init(&one, whole, room);
        sink_init(&other, cut, room);
        canonical((enum dkim_canon)canon, text, SIZE_MAX, &one);
        canonical((enum dkim_canon)canon, text, data[0] ? data[0] : 1, &other);
        check(span_equals(sink_span(&one), sink_span(&other)));
        sink_init(&one, whole, room);
        dkim_field_put((enum dkim_canon)canon, text, true, emit, &one);
        check(!one.full);
    }
    free(whole);
    free(cut);
    return 0;
}
