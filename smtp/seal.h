/* seal: the DKIM signatures of one message (RFC 6376, 8301, 8463), made while it arrives.
 *
 * The body is hashed in the one pass in which it is stored, and only in the canonical forms that
 * the author's keys want: at the end of the header section the author is known. What costs time, a
 * signature, is a step of its own:
 *
 *     seal_new --> seal_add ... --> seal_end --> seal_reserve, the fields stand in front of the
 * head
 *                                                --> while (seal_prepare) sign_batch, seal_complete
 *
 * seal_reserve writes the finished fields but for the signatures themselves, whose lengths are
 * known: where they lie may be handed on while they are being made.
 *
 * A message that cannot be signed so that every verifier agrees (no From, a header section with a
 * line that is no field, too large a one) gets no signature and goes out without: seal->skipped
 * says why. Memory is the message's arena.
 *
 * Header fields: each that the key lists is signed as often as it occurs, from the bottom up (RFC
 * 6376 5.4.2), and once more, so that nobody can add another one. Fields that lists and relays may
 * rightly add (Sender, List-*, ...) are signed that way only if they are there. */
#pragma once

#include "core/arena.h"
#include "smtp/dkim_keys.h"
#include "smtp/fields.h"

enum {
    SEAL_KEYS = 8,      /* signatures on one message, at most */
    SEAL_FIELDS = 1024, /* fields of a header section that is signed, at most */
    SEAL_NAMES = 256,   /* names in h=, at most */
};

enum seal_skipped {
    SEAL_SIGNED,
    SEAL_NO_KEY,    /* none for this author */
    SEAL_NO_AUTHOR, /* no From field, or none with a domain */
    SEAL_NO_HEADER, /* it has a line that is no field */
    SEAL_TOO_LARGE, /* the header section, or the number of fields */
    SEAL_FAILED,    /* no memory */
};

struct seal_body {
    struct dkim_body form;
    struct digest digest;
    uint8_t result[DIGEST_LEN];
    bool wanted;
};

/* A signature that is to be made. */
struct seal_place {
    const struct sign_key *key;
    char *at; /* behind "b=" */
    uint8_t digest[DIGEST_LEN];
};

struct seal {
    struct arena *arena;
    const struct dkim_keys *keys;
    const struct text *message; /* what was stored so far; its beginning is the header section */
    size_t seen;                /* octets given to seal_add */
    size_t header_len;          /* with the blank line; 0: it has not ended */
    uint8_t line_at;            /* for header_end_find */
    bool ended;
    uint8_t skipped; /* enum seal_skipped */
    struct seal_body bodies[DKIM_CANONS];
    struct header_field *fields;
    unsigned field_count;
    const struct dkim_key *chosen[SEAL_KEYS];
    struct seal_place places[SEAL_KEYS];
    unsigned chosen_count, made;
    struct span added; /* fields that stand above the message's, set before seal_end */
};

/* `message` is the text that the octets given to seal_add have been appended to. NULL: no memory.
 */
struct seal *seal_new(struct arena *arena, const struct dkim_keys *keys,
                      const struct text *message);

/* The next stored octets, in order, after they were stored. */
void seal_add(struct seal *seal, struct span octets);
/* They were all. */
void seal_end(struct seal *seal);

/* Behind seal_end: puts the signatures in front of `head`, which is in the seal's arena; the first
 * key's on top. The fields in `head` are the message's as well: what h= names of them is signed.
 * `wall_ms` is the time in the signatures. False: no memory, the message is to be given up. */
MUST_USE bool seal_reserve(struct seal *seal, uint64_t wall_ms, struct text *head);

/* True: `ret_signing` has a key and a digest to sign; then seal_complete, which writes the
 * signature where it belongs (if it could not be made, it may be asked for again). */
bool seal_prepare(const struct seal *seal, struct signing *ret_signing);
void seal_complete(struct seal *seal, const struct signing *signing);

/* Behind seal_reserve: seal_prepare will say false. */
static inline bool seal_finished(const struct seal *seal)
{
    return seal->skipped != SEAL_SIGNED || seal->made == seal->chosen_count;
}
