#include "core/digest.h"

#include "core/check.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/mem.h>
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

static struct span never_null(struct span octets)
{
    return octets.data ? octets : SPAN("");
}

/* The library fails here only without memory for a few hundred octets. */
void digest_hmac(struct span key, struct span octets, uint8_t ret_digest[DIGEST_LEN])
{
    unsigned len;
    key = never_null(key);
    check(HMAC(EVP_sha256(), key.data, key.len, (const uint8_t *)octets.data, octets.len,
               ret_digest, &len));
}

void digest_stretch(struct span password, struct span salt, unsigned iterations,
                    uint8_t ret_digest[DIGEST_LEN])
{
    password = never_null(password);
    check(PKCS5_PBKDF2_HMAC(password.data, password.len, (const uint8_t *)salt.data, salt.len,
                            iterations, EVP_sha256(), DIGEST_LEN, ret_digest));
}

bool digest_same(struct span a, struct span b)
{
    return a.len == b.len && (a.len == 0 || CRYPTO_memcmp(a.data, b.data, a.len) == 0);
}

void digest_wipe(void *data, size_t len)
{
    OPENSSL_cleanse(data, len);
}
