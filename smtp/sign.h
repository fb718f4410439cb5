/* sign: public-key signatures over SHA-256 digests, for DKIM and ARC. The one place that knows
 * keys.
 *
 * Signing takes a batch: digests in, signatures out. Today each is made by itself by BoringSSL;
 * an implementation that computes several at once takes sign.c's place and says so by
 * sign_batch_width. Nothing else changes: callers hand over at most that many at a time, because
 * one call is how long a worker's other connections wait.
 *
 * A key is read-only after it was parsed and may be used by all threads.
 *
 * rsa-sha256: RFC 6376 3.3.2 (PKCS #1 v1.5). ed25519-sha256: RFC 8463 (Ed25519 over the digest).
 * Keys: at least 1024 bits (RFC 8301 3.2: less must not be used), at most 4096. */
#pragma once

#include "core/check.h"
#include "core/digest.h"
#include "core/sink.h"

enum sign_algorithm { SIGN_RSA_SHA256, SIGN_ED25519_SHA256 };

enum {
    SIGN_BITS_LEAST = 1024,
    SIGN_BITS_GOOD = 2048, /* below: worth a warning */
    SIGN_BITS_MOST = 4096,
    SIGN_LEN = SIGN_BITS_MOST / 8, /* the longest signature */
    SIGN_KEY_TEXT = 8192,          /* room for any key in PEM */
};

struct sign_key;

/* A PEM private key (PKCS #8 or RSA's own). The pair is tried out: a key whose public part does not
 * belong to its private part is refused. NULL: *ret_why says what is wrong, in words. */
MUST_USE struct sign_key *sign_key_parse(struct span pem, const char **ret_why);
struct sign_key *sign_key_free(struct sign_key *key);

/* A new one (`bits` for RSA only; see the limits above). NULL: no memory. */
MUST_USE struct sign_key *sign_key_new(enum sign_algorithm algorithm, unsigned bits);

enum sign_algorithm sign_key_algorithm(const struct sign_key *key);
unsigned sign_key_bits(const struct sign_key *key);        /* of RSA's modulus; 256 for Ed25519 */
size_t sign_key_signature_len(const struct sign_key *key); /* always exactly so many octets */

/* What stands in p= of the DNS record before base64: SubjectPublicKeyInfo in DER, or Ed25519's 32
 * octets. False: the sink is full. */
bool sign_key_put_public(const struct sign_key *key, struct sink *sink);

/* PKCS #8 in PEM. */
bool sign_key_put_private(const struct sign_key *key, struct sink *sink);

struct signing {
    const struct sign_key *key;
    uint8_t digest[DIGEST_LEN];
    uint8_t signature[SIGN_LEN]; /* sign_key_signature_len octets, once made */
    bool failed;                 /* no memory */
};

/* How many signatures one call should be given. */
unsigned sign_batch_width(void);
void sign_batch(struct signing *batch, unsigned count);

/* ---- the other side ---- */

enum sign_verdict {
    SIGN_GOOD,
    SIGN_BAD,        /* the signature is not of this key and digest */
    SIGN_KEY_BROKEN, /* not a key of this algorithm */
    SIGN_KEY_WEAK,   /* less than SIGN_BITS_LEAST */
};

/* `public_key`: as sign_key_put_public wrote it; for RSA also a bare RSAPublicKey. *ret_bits (may
 * be NULL) is the key's size, 0 if it is broken. */
enum sign_verdict sign_verify(enum sign_algorithm algorithm, struct span public_key,
                              const uint8_t digest[DIGEST_LEN], struct span signature,
                              unsigned *ret_bits);
