/* fields: a header section, field by field, and the author's domain in a From field. Pure. */
#pragma once

#include "core/sink.h"

struct header_field {
    struct span text;  /* all of it, with the line end of its last line if there is one */
    struct span name;  /* without blanks behind it */
    struct span value; /* behind the colon: blanks and folding are still in it */
};

enum fields_next {
    FIELDS_FIELD,
    FIELDS_END,    /* nothing is left, or the blank line: `rest` begins with it */
    FIELDS_BROKEN, /* `rest` begins with a line that belongs to no field */
};

/* Takes the next field off the front of `rest`. */
enum fields_next fields_next(struct span *rest, struct header_field *ret_field);

/* Where a header section's blank line ends, counted from the front of `octets`; 0: not in them.
 * `state` is 0 before the first octets, and nobody else's. */
size_t header_end_find(uint8_t *state, struct span octets);

/* The domain of the first mailbox in a From field's value (RFC 5322 3.4, with comments, groups and
 * obsolete routes), in lower-case A-labels. False: there is none that could be a domain. */
bool author_domain(struct span value, struct sink *sink);
