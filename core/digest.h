/* digest: SHA-256, fed piece by piece (the caller's storage; may be copied in between), and what is
 * made of it: HMAC (RFC 2104), PBKDF2 (RFC 8018), and a comparison that tells nothing by its time.
 */
#pragma once

#include "core/span.h"

enum { DIGEST_LEN = 32 };

struct digest {
    uint64_t state[14]; /* the library's, see digest.c */
};

void digest_init(struct digest *digest);
void digest_add(struct digest *digest, struct span octets);

/* The digest must be initialised again before its next use. */
void digest_finish(struct digest *digest, uint8_t ret_digest[DIGEST_LEN]);

void digest_hmac(struct span key, struct span octets, uint8_t ret_digest[DIGEST_LEN]);

/* PBKDF2 with HMAC-SHA-256, one block. A millisecond for every 2,000 iterations or so. */
void digest_stretch(struct span password, struct span salt, unsigned iterations,
                    uint8_t ret_digest[DIGEST_LEN]);

/* The time depends on the lengths only. */
bool digest_same(struct span a, struct span b);

/* Overwrites what nobody shall find in memory later; the compiler does not take it out. */
void digest_wipe(void *data, size_t len);
