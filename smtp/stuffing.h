/* stuffing: a message body as iovecs for the wire, with dots doubled on the way (RFC 5321 4.5.2).
 *
 * Nothing is copied: where a line starts with a dot the iovec ends behind that dot and the next
 * one starts with the same dot again. The body lies in pieces, cut anywhere, and is in CRLF form
 * (the receiving side refuses everything else), so a line starts behind each LF.
 *
 *     STUFFING_DOT    doubles dots, completes a missing last line end, ends with CR LF . CR LF
 *     STUFFING_NONE   for BDAT: the octets as they are */
#pragma once

#include "core/span.h"

#include <sys/uio.h>

enum stuffing_mode { STUFFING_DOT, STUFFING_NONE };

struct stuffing {
    const struct span *pieces; /* the caller's, as are their bytes, until they were sent */
    unsigned piece_count;
    unsigned piece; /* next to emit from */
    size_t offset;
    uint8_t mode;
    bool after_lf, after_crlf, after_cr; /* what the emitted bytes end with */
    bool dot_doubled;                    /* the dot at `offset` has gone out once already */
    bool done;
};

void stuffing_start(struct stuffing *stuffing, enum stuffing_mode mode, const struct span *pieces,
                    unsigned piece_count);

/* Fills at most `max` iovecs with at most about `max_bytes` bytes; returns how many. `done` is set
 * when the end has been emitted. */
unsigned stuffing_emit(struct stuffing *stuffing, struct iovec *iov, unsigned max,
                       size_t max_bytes);
