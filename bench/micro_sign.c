/* What a DKIM signature is made of: the hash of a body, and the signature itself. */
#include "bench/micro.h"
#include "core/digest.h"
#include "smtp/dkim_canon.h"
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

/* A body as people write it, hashed in its relaxed form in the pieces in which it arrives. */
static void relaxed_10k(struct micro *micro)
{
    static const struct span line =
        SPAN("The quick brown fox jumps over the lazy dog, and so it goes on for 10 KB.\r\n");
    static char text[10240];
    struct sink sink;
    sink_init(&sink, text, sizeof text);
    while (sink.len + line.len <= sizeof text)
        sink_put(&sink, line);
    while (micro_next(micro)) {
        struct digest digest;
        struct dkim_body body;
        uint8_t result[DIGEST_LEN];
        digest_init(&digest);
        dkim_body_init(&body, DKIM_RELAXED, dkim_emit_to_digest, &digest);
        dkim_body_add(&body, span_first(sink_span(&sink), 5000));
        dkim_body_add(&body, span_skip(sink_span(&sink), 5000));
        dkim_body_end(&body);
        digest_finish(&digest, result);
        micro_use(result);
    }
    micro_bytes(micro, sink.len);
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
    {"sign/relaxed_10k", relaxed_10k},
    {"sign/rsa_2048", sign_rsa},
    {"sign/ed25519", sign_ed25519},
    {0},
};
