/* lines: the inner loop of the body scanner: where lines end, and whether every CR has its LF.
 * Pure.
 *
 * Works on 64 octets at a time: one bit per octet for LF and for CR. Every octet behind a CR must
 * be an LF and every LF must be behind a CR, so `LF xor (CR << 1)` has a bit set exactly where a
 * bare CR or LF is. Per line only the length and the octet behind it are looked at. */
#pragma once

#include "core/span.h"

struct lines {
    uint64_t line_len; /* octets of the line that is open, from before and across calls */
    uint64_t longest;  /* of the lines that ended or are open, with CR LF */
    bool after_cr;     /* the last octet was a CR */
    bool bare;         /* a bare CR or LF was met */
};

/* Scans `text` and returns how many octets it went over: all, or, with `stop_at_dot`, up to a dot
 * that begins a line. A dot at the front of `text` is not looked at. */
size_t lines_scan(struct lines *lines, struct span text, bool stop_at_dot);

bool span_has_8bit(struct span text);
