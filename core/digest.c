#include "core/digest.h"

#include "core/check.h"

#include <openssl/sha.h>

_Static_assert(sizeof(SHA256_CTX) <= sizeof(struct digest), "room for the library's state");
_Static_assert(_Alignof(SHA256_CTX) <= _Alignof(struct digest), "and aligned for it");

static SHA256_CTX *context_of(struct digest *digest)
{
    return (SHA256_CTX *)(void *)digest->state;
}

void digest_init(struct digest *digest)
{
    SHA256_Init(context_of(digest));
}

void digest_add(struct digest *digest, struct span octets)
{
    SHA256_Update(context_of(digest), octets.data, octets.len);
}

void digest_finish(struct digest *digest, uint8_t ret_digest[DIGEST_LEN])
{
    SHA256_Final(ret_digest, context_of(digest));
}
