/* utf8: is this UTF-8, and nothing else (RFC 3629). Pure. */
#pragma once

#include "core/span.h"

/* Octets of the well-formed character at the front: 1 to 4. 0: empty, overlong, a surrogate, above
 * U+10FFFF, cut off, or not UTF-8 at all. */
size_t utf8_character(struct span span);

/* All of it well-formed, and no C1 control character (U+0080 to U+009F). Empty is. */
bool utf8_clean(struct span span);

bool span_is_ascii(struct span span);
