/* digest: SHA-256, fed piece by piece. The caller's storage; may be copied in between. */
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
