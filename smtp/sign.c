/* The plain BoringSSL path, one signature at a time. Its errors are not read: the caller is told
 * what it can act on, and the library's queue of errors is emptied so that it cannot grow. */
#include "smtp/sign.h"

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/bytestring.h>
#include <openssl/curve25519.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/mem.h>
#include <openssl/nid.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <stdlib.h>

enum { PUBLIC_EXPONENT = 65537 };

struct sign_key {
    EVP_PKEY *pkey;
    enum sign_algorithm algorithm;
    unsigned bits, signature_len;
};

/* ---- keys ---- */

struct sign_key *sign_key_free(struct sign_key *key)
{
    if (!key)
        return NULL;
    EVP_PKEY_free(key->pkey);
    free(key);
    return NULL;
}

/* Owns `pkey` from here on. */
static struct sign_key *wrap(EVP_PKEY *pkey, const char **ret_why)
{
    int kind = EVP_PKEY_id(pkey);
    struct sign_key *key = calloc(1, sizeof *key);
    *ret_why = key ? NULL : "no memory";
    if (key) {
        key->pkey = pkey;
        key->algorithm = kind == EVP_PKEY_RSA ? SIGN_RSA_SHA256 : SIGN_ED25519_SHA256;
        key->bits = kind == EVP_PKEY_RSA ? (unsigned)EVP_PKEY_bits(pkey) : 256;
        key->signature_len =
            kind == EVP_PKEY_RSA ? (unsigned)EVP_PKEY_size(pkey) : ED25519_SIGNATURE_LEN;
    } else {
        EVP_PKEY_free(pkey);
    }
    if (key && kind != EVP_PKEY_RSA && kind != EVP_PKEY_ED25519)
        *ret_why = "neither an RSA nor an Ed25519 key";
    else if (key && key->bits < SIGN_BITS_LEAST && kind == EVP_PKEY_RSA)
        *ret_why = "less than 1024 bits: no verifier may accept its signatures (RFC 8301)";
    else if (key && key->bits > SIGN_BITS_MOST)
        *ret_why = "more than 4096 bits: verifiers need not accept its signatures (RFC 8301)";
    return *ret_why ? sign_key_free(key) : key;
}

/* Signs once and verifies with the public part. */
static bool pair_fits(const struct sign_key *key)
{
    struct signing trial = {.key = key, .digest = "a digest to try the key pair on"};
    char storage[1024];
    struct sink sink;
    sink_init(&sink, storage, sizeof storage);
    sign_batch(&trial, 1);
    if (trial.failed || !sign_key_put_public(key, &sink))
        return false;
    return sign_verify(key->algorithm, sink_span(&sink), trial.digest,
                       span_of(trial.signature, key->signature_len), NULL) == SIGN_GOOD;
}

/* Without this the library would ask for a passphrase on the terminal. */
static int no_passphrase(char *buffer, int size, int writing, void *context)
{
    return -1;
}

struct sign_key *sign_key_parse(struct span pem, const char **ret_why)
{
    BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.len);
    EVP_PKEY *pkey = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL) : NULL;
    BIO_free(bio);
    ERR_clear_error();
    if (!pkey) {
        *ret_why = "not a private key in PEM (without a passphrase)";
        return NULL;
    }
    struct sign_key *key = wrap(pkey, ret_why);
    if (!key || pair_fits(key))
        return key;
    *ret_why = "its public and its private part do not belong together";
    return sign_key_free(key);
}

static EVP_PKEY *new_rsa(unsigned bits)
{
    RSA *rsa = RSA_new();
    BIGNUM *exponent = BN_new();
    EVP_PKEY *pkey = EVP_PKEY_new();
    bool made = rsa && exponent && pkey && BN_set_word(exponent, PUBLIC_EXPONENT) &&
                RSA_generate_key_ex(rsa, (int)bits, exponent, NULL) && EVP_PKEY_set1_RSA(pkey, rsa);
    RSA_free(rsa);
    BN_free(exponent);
    if (made)
        return pkey;
    EVP_PKEY_free(pkey);
    return NULL;
}

static EVP_PKEY *new_ed25519(void)
{
    uint8_t public_key[ED25519_PUBLIC_KEY_LEN], private_key[ED25519_PRIVATE_KEY_LEN];
    ED25519_keypair(public_key, private_key);
    EVP_PKEY *pkey = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, private_key, 32);
    OPENSSL_cleanse(private_key, sizeof private_key);
    return pkey;
}

struct sign_key *sign_key_new(enum sign_algorithm algorithm, unsigned bits)
{
    const char *why;
    EVP_PKEY *pkey = algorithm == SIGN_RSA_SHA256 ? new_rsa(bits) : new_ed25519();
    ERR_clear_error();
    return pkey ? wrap(pkey, &why) : NULL;
}

enum sign_algorithm sign_key_algorithm(const struct sign_key *key)
{
    return key->algorithm;
}

unsigned sign_key_bits(const struct sign_key *key)
{
    return key->bits;
}

size_t sign_key_signature_len(const struct sign_key *key)
{
    return key->signature_len;
}

static bool put_raw(const struct sign_key *key, struct sink *sink)
{
    uint8_t octets[ED25519_PUBLIC_KEY_LEN];
    size_t len = sizeof octets;
    if (!EVP_PKEY_get_raw_public_key(key->pkey, octets, &len))
        return false;
    sink_put(sink, span_of(octets, len));
    return !sink->full;
}

bool sign_key_put_public(const struct sign_key *key, struct sink *sink)
{
    uint8_t *der = NULL;
    size_t len = 0;
    CBB cbb;
    if (key->algorithm == SIGN_ED25519_SHA256)
        return put_raw(key, sink);
    if (!CBB_init(&cbb, 1024))
        return false;
    bool made = EVP_marshal_public_key(&cbb, key->pkey) && CBB_finish(&cbb, &der, &len);
    CBB_cleanup(&cbb);
    if (made)
        sink_put(sink, span_of(der, len));
    OPENSSL_free(der);
    return made && !sink->full;
}

bool sign_key_put_private(const struct sign_key *key, struct sink *sink)
{
    BIO *bio = BIO_new(BIO_s_mem());
    const uint8_t *pem = NULL;
    size_t len = 0;
    bool made = bio && PEM_write_bio_PKCS8PrivateKey(bio, key->pkey, NULL, NULL, 0, NULL, NULL) &&
                BIO_mem_contents(bio, &pem, &len);
    if (made)
        sink_put(sink, span_of(pem, len));
    BIO_free(bio);
    ERR_clear_error();
    return made && !sink->full;
}

/* ---- signing ---- */

static bool sign_rsa(struct signing *signing)
{
    unsigned len = 0;
    RSA *rsa = EVP_PKEY_get0_RSA(signing->key->pkey);
    return RSA_sign(NID_sha256, signing->digest, DIGEST_LEN, signing->signature, &len, rsa) &&
           len == signing->key->signature_len;
}

static bool sign_ed25519(struct signing *signing)
{
    size_t len = signing->key->signature_len;
    EVP_MD_CTX context;
    EVP_MD_CTX_init(&context);
    bool made = EVP_DigestSignInit(&context, NULL, NULL, NULL, signing->key->pkey) &&
                EVP_DigestSign(&context, signing->signature, &len, signing->digest, DIGEST_LEN);
    EVP_MD_CTX_cleanup(&context);
    return made;
}

unsigned sign_batch_width(void)
{
    return 1;
}

void sign_batch(struct signing *batch, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        batch[i].failed = !(batch[i].key->algorithm == SIGN_RSA_SHA256 ? sign_rsa(&batch[i])
                                                                       : sign_ed25519(&batch[i]));
    ERR_clear_error();
}

/* ---- verifying ---- */

static RSA *parse_rsa(struct span public_key)
{
    CBS cbs;
    CBS_init(&cbs, (const uint8_t *)public_key.data, public_key.len);
    EVP_PKEY *pkey = EVP_parse_public_key(&cbs);
    RSA *rsa = pkey && CBS_len(&cbs) == 0 ? EVP_PKEY_get1_RSA(pkey) : NULL;
    EVP_PKEY_free(pkey);
    return rsa ? rsa : RSA_public_key_from_bytes((const uint8_t *)public_key.data, public_key.len);
}

static enum sign_verdict verify_rsa(struct span public_key, const uint8_t *digest,
                                    struct span signature, unsigned *ret_bits)
{
    enum sign_verdict verdict = SIGN_BAD;
    RSA *rsa = parse_rsa(public_key);
    if (!rsa)
        return SIGN_KEY_BROKEN;
    *ret_bits = RSA_bits(rsa);
    if (*ret_bits < SIGN_BITS_LEAST)
        verdict = SIGN_KEY_WEAK;
    else if (*ret_bits > SIGN_BITS_MOST)
        verdict = SIGN_KEY_BROKEN; /* what an attacker could make us compute is bounded */
    else if (RSA_verify(NID_sha256, digest, DIGEST_LEN, (const uint8_t *)signature.data,
                        signature.len, rsa))
        verdict = SIGN_GOOD;
    RSA_free(rsa);
    return verdict;
}

static enum sign_verdict verify_ed25519(struct span public_key, const uint8_t *digest,
                                        struct span signature, unsigned *ret_bits)
{
    if (public_key.len != ED25519_PUBLIC_KEY_LEN)
        return SIGN_KEY_BROKEN;
    *ret_bits = 256;
    return signature.len == ED25519_SIGNATURE_LEN &&
                   ED25519_verify(digest, DIGEST_LEN, (const uint8_t *)signature.data,
                                  (const uint8_t *)public_key.data)
               ? SIGN_GOOD
               : SIGN_BAD;
}

enum sign_verdict sign_verify(enum sign_algorithm algorithm, struct span public_key,
                              const uint8_t digest[DIGEST_LEN], struct span signature,
                              unsigned *ret_bits)
{
    unsigned bits = 0;
    enum sign_verdict verdict = algorithm == SIGN_RSA_SHA256
                                    ? verify_rsa(public_key, digest, signature, &bits)
                                    : verify_ed25519(public_key, digest, signature, &bits);
    ERR_clear_error();
    if (ret_bits)
        *ret_bits = bits;
    return verdict;
}
