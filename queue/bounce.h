/* bounce: the text of a delivery status notification. Pure.
 *
 * RFC 3461 (what is asked for), 3462/6522 (multipart/report), 3464 (message/delivery-status), 6533
 * (UTF-8 addresses), 3834 (Auto-Submitted). Three parts: for the person, for the machine, the
 * original (headers, or all of it if RET=FULL and it is small). Peer text is cleaned of control
 * characters and bounded. Never made for a null reverse-path or for a DSN: bounce_wanted says so. */
#pragma once

#include "core/arena.h"
#include "queue/record.h"
#include "queue/verdict.h"

enum bounce_kind { BOUNCE_FAILURE, BOUNCE_DELAY, BOUNCE_SUCCESS };

struct bounce {
    enum bounce_kind kind;
    struct span hostname; /* reporting MTA, also in Message-ID and From */
    uint64_t id;          /* of the DSN itself */
    uint64_t wall_ms;
    const struct envelope *envelope; /* of the original */
    const struct row_state *state;
    const struct verdict *verdicts;  /* per recipient; those that this report is not about are skipped */
    struct span remote_mta;          /* empty: none was reached */
    const struct span *original;     /* pieces of the original message, may be empty */
    unsigned original_pieces;
    uint64_t retry_until_ms;         /* delay: until when it is tried */
};

/* Whether recipient `index` belongs into a report of this kind (outcome, NOTIFY, reverse-path). */
bool bounce_concerns(const struct bounce *bounce, unsigned index);
/* Whether any does. */
bool bounce_wanted(const struct bounce *bounce);

/* Writes headers and body in CRLF form. False: no memory. The envelope of the DSN is the caller's
 * (null reverse-path, recipient = the original reverse-path); *ret_flags says ENVELOPE_... bits. */
MUST_USE bool bounce_write(const struct bounce *bounce, struct arena *arena, struct text *ret_text,
                           uint8_t *ret_flags);
