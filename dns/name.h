/* name: a domain name as text: lower case, no dot at the end, by value. Pure.
 *
 * Only names that can be mail domains and mail hosts are valid: labels of letters, digits, hyphens
 * and underscores (RFC 1123 2.1; the underscore exists in the wild), 1 to 63 bytes, 253 in all. The
 * root is the empty name. */
#pragma once

#include "core/span.h"

enum { NAME_BYTES = 253, LABEL_BYTES = 63 };

struct name {
    uint8_t len;
    char text[NAME_BYTES + 2]; /* NUL-terminated; the decoder may stand one byte over */
};

/* "Example.ORG." becomes "example.org". False: not a valid name, or empty. */
bool name_parse(struct span text, struct name *ret_name);

/* A byte that a valid label may hold (either case). */
bool name_byte_valid(char byte);

/* Is `name` the same as `domain`, or of it? Any case. */
bool name_is_below(struct span name, struct span domain);

static inline struct span name_span(const struct name *name)
{
    return span_of(name->text, name->len);
}

static inline bool name_equals(const struct name *a, const struct name *b)
{
    return span_equals(name_span(a), name_span(b));
}
