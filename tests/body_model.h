/* body_model: what the body scanner must find, said octet by octet and without haste; and the
 * scanner itself run over input in any cuts. For its unit test and its fuzz target. */
#pragma once

#include "core/check.h"
#include "smtp/body.h"

#include <stdlib.h>

struct body_result {
    bool ended;
    size_t end; /* octets consumed, the final dot included */
    unsigned faults;
    size_t len;
    char *content;
};

/* RFC 5321 4.1.1.4 and 4.5.2, with what a bare CR or LF is; knows no header section. */
static inline void model_data(struct span wire, struct body_result *result)
{
    bool line_start = true, after_cr = false;
    result->len = 0;
    for (size_t i = 0; i < wire.len; i++) {
        char c = wire.data[i];
        if (line_start && c == '.') {
            if (wire.len - i >= 3 && memcmp(wire.data + i, ".\r\n", 3) == 0) {
                result->ended = true;
                result->end = i + 3;
                return;
            }
            line_start = false;
            continue;
        }
        if ((c == '\n') != after_cr || c == '\0')
            result->faults |= BODY_BARE;
        line_start = c == '\n' && after_cr;
        after_cr = c == '\r';
        result->content[result->len++] = c;
    }
}

/* Consumes `piece` octets at a time, each in memory of its own that is gone afterwards. */
static inline void scan_data(struct body *body, struct span wire, size_t piece,
                             struct body_result *result)
{
    size_t consumed = 0;
    result->len = 0;
    while (consumed < wire.len && !result->ended) {
        size_t len = wire.len - consumed < piece ? wire.len - consumed : piece;
        char *copy = malloc(len);
        check(copy);
        memcpy(copy, wire.data + consumed, len);
        struct span input = span_of(copy, len), out;
        enum body_progress progress;
        while ((progress = body_data(body, &input, &out)) == BODY_PIECE) {
            memcpy(result->content + result->len, out.data, out.len);
            result->len += out.len;
        }
        result->ended = progress == BODY_END;
        consumed += len - input.len;
        free(copy);
    }
    result->end = consumed;
    result->faults = body->faults;
}

/* The same for the octets of a message that came by BDAT: chunks of `piece` octets. */
static inline void scan_chunks(struct body *body, struct span wire, size_t piece,
                               struct body_result *result)
{
    struct span out;
    result->len = 0;
    while (wire.len) {
        struct span input = span_first(wire, piece);
        wire = span_skip(wire, piece);
        while (body_chunk(body, &input, &out) == BODY_PIECE) {
            memcpy(result->content + result->len, out.data, out.len);
            result->len += out.len;
        }
        check(input.len == 0);
    }
    while (body_finish(body, &out)) {
        memcpy(result->content + result->len, out.data, out.len);
        result->len += out.len;
    }
    result->ended = true;
    result->faults = body->faults;
}
