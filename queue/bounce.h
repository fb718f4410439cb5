/* bounce: the text of a delivery status notification. Pure.
 *
 * RFC 3461 (what is asked for), 3462/6522 (multipart/report), 3464 (message/delivery-status), 6533
 * (UTF-8 addresses), 3834 (Auto-Submitted). Three parts: for the person, for the machine, the
 * original (headers, or all of it if RET=FULL, at most BOUNCE_ORIGINAL_MAX and of legal line
 * lengths). Peer text is cleaned of control characters and bounded. Never made for a null
 * reverse-path or for a DSN: bounce_wanted says so. */
#pragma once

#include "core/arena.h"
#include "queue/record.h"
#include "queue/verdict.h"

enum bounce_kind { BOUNCE_FAILURE, BOUNCE_DELAY, BOUNCE_SUCCESS };

enum { BOUNCE_ORIGINAL_MAX = 64 * 1024 }; /* of the original that is returned, at most */

struct bounce {
    enum bounce_kind kind;
    struct span hostname; /* reporting MTA, also in Message-ID and From */
    uint64_t id;          /* of the DSN itself */
    uint64_t wall_ms;
    const struct envelope *envelope; /* of the original */
    const struct row_state *state;
    const struct verdict *verdicts; /* per recipient; others than this report's are skipped */
    struct span remote_mta;      /* "mx.example (192.0.2.1)" or a name; empty: none was reached */
    const struct span *original; /* pieces of the original message from its start; may be empty */
    unsigned original_pieces;
    bool original_whole;     /* the pieces are all of it (else: a beginning, for its headers) */
    uint64_t retry_until_ms; /* delay: until when it is tried */
};

/* Whether recipient `index` belongs into a report of this kind (outcome, NOTIFY, reverse-path). */
bool bounce_concerns(const struct bounce *bounce, unsigned index);
/* Whether any does. */
bool bounce_wanted(const struct bounce *bounce);

/* Writes headers and body in CRLF form, every line at most 998 octets. False: no memory. Must be
 * wanted. The envelope of the DSN is the caller's (null reverse-path, recipient = the original
 * reverse-path, ret_text->len as size); *ret_flags says its ENVELOPE_... bits: DSN always, 8BIT and
 * BODY_HAS_8BIT, UTF8 and HEADER_HAS_8BIT as its text needs. */
MUST_USE bool bounce_write(const struct bounce *bounce, struct arena *arena, struct text *ret_text,
                           uint8_t *ret_flags);
