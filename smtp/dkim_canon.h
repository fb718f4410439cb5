/* dkim_canon: the canonical forms of a body and of header fields (RFC 6376 3.4), piece by piece.
 * Pure.
 *
 * A form is not built up anywhere: its octets are handed to `emit` in runs that mostly lie in the
 * input itself, so that hashing a usual body copies nothing. How the input was cut into pieces
 * makes no difference to what is emitted (only to the runs).
 *
 * The input is message text with CRLF line ends, without dot-stuffing. A CR or LF by itself is an
 * octet like any other. */
#pragma once

#include "core/digest.h"

enum dkim_canon { DKIM_SIMPLE, DKIM_RELAXED, DKIM_CANONS };

typedef void dkim_emit(void *context, struct span octets);

/* The usual one: `context` is a struct digest. */
void dkim_emit_to_digest(void *context, struct span octets);

struct dkim_body {
    dkim_emit *emit;
    void *context;
    uint64_t line_ends; /* held back: they count only if something follows */
    uint8_t canon;      /* enum dkim_canon */
    bool after_cr;      /* a CR held back: it may be half of a line end */
    bool blank;         /* relaxed: white space held back */
    bool any;           /* something was emitted */
};

void dkim_body_init(struct dkim_body *body, enum dkim_canon canon, dkim_emit *emit, void *context);
void dkim_body_add(struct dkim_body *body, struct span piece);
/* No more octets: an unended last line gets its end, an empty body its one (simple only). */
void dkim_body_end(struct dkim_body *body);

/* One whole field, "Name: value" with its folded lines; a line end behind it is not looked at.
 * `ended`: the form ends with CRLF, as all but the signature's own field do (RFC 6376 3.7). */
void dkim_field_put(enum dkim_canon canon, struct span field, bool ended, dkim_emit *emit,
                    void *context);

/* The same without `cut`, a part of the field's value, and without CRLF: how a signature's own
 * field is hashed. */
void dkim_field_put_cut(enum dkim_canon canon, struct span field, struct span cut, dkim_emit *emit,
                        void *context);
