/* What a DKIM signature is made of: the hash of a body, and the signature itself. */
#include "bench/micro.h"
#include "core/digest.h"
#include "smtp/sign.h"

static void digest_10k(struct micro *micro)
{
    static char text[10240];
    while (micro_next(micro)) {
        struct digest digest;
        uint8_t result[DIGEST_LEN];
        digest_init(&digest);
        digest_add(&digest, span_of(text, sizeof text));
        digest_finish(&digest, result);
        micro_use(result);
    }
    micro_bytes(micro, sizeof text);
}

static void sign_with(struct micro *micro, enum sign_algorithm algorithm, unsigned bits)
{
    struct sign_key *key = sign_key_new(algorithm, bits);
    check(key);
    struct signing signing = {.key = key};
    while (micro_next(micro))
        sign_batch(&signing, 1);
    check(!signing.failed);
    micro_items(micro, 1);
    sign_key_free(key);
}

static void sign_rsa(struct micro *micro)
{
    sign_with(micro, SIGN_RSA_SHA256, 2048);
}

static void sign_ed25519(struct micro *micro)
{
    sign_with(micro, SIGN_ED25519_SHA256, 0);
}

const struct micro_case micro_sign_cases[] = {
    {"sign/digest_10k", digest_10k},
    {"sign/rsa_2048", sign_rsa},
    {"sign/ed25519", sign_ed25519},
    {0},
};
