/* utf8: is this well-formed UTF-8 (RFC 3629)? Pure. */
#pragma once

#include "core/span.h"

/* Length of the well-formed sequence at the front, 1 to 4; 0: none (empty, cut, overlong, a
 * surrogate, above U+10FFFF). */
size_t utf8_sequence(struct span span);

bool utf8_valid(struct span span);
bool utf8_is_ascii(struct span span);
