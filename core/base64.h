/* base64: RFC 4648 section 4, strict. Pure.
 *
 * What is decoded must be the one way to write its octets: full groups of four, '=' only at the
 * end and only where needed, no bits left over, no white space. Callers whose format allows folding
 * take the white space out before. */
#pragma once

#include "core/sink.h"

/* Characters for so many octets. */
#define BASE64_LEN(octets) (((octets) + 2) / 3 * 4)

void base64_put(struct sink *sink, struct span octets);

/* Appends the octets that `text` stands for. False: it is not base64, or the sink is full. */
bool base64_decode(struct span text, struct sink *sink);
