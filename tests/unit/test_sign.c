/* Keys and signatures: round trips, the forms of keys, and what must be refused. */
#include "smtp/sign.h"

#include "core/base64.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

struct text {
    char data[SIGN_KEY_TEXT];
    size_t len;
};

static struct span run(const char *command, struct text *text)
{
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    text->len = fread(text->data, 1, sizeof text->data, pipe);
    assert_int_equal(pclose(pipe), 0);
    return span_of(text->data, text->len);
}

static void fill_digest(uint8_t digest[DIGEST_LEN], struct span octets)
{
    struct digest context;
    digest_init(&context);
    digest_add(&context, octets);
    digest_finish(&context, digest);
}

static void round_trip(enum sign_algorithm algorithm, unsigned bits)
{
    char private_text[SIGN_KEY_TEXT], public_text[1024];
    struct sink private_key, public_key;
    const char *why = NULL;
    struct sign_key *made = sign_key_new(algorithm, bits);
    assert_non_null(made);
    sink_init(&private_key, private_text, sizeof private_text);
    sink_init(&public_key, public_text, sizeof public_text);
    assert_true(sign_key_put_private(made, &private_key));
    assert_true(sign_key_put_public(made, &public_key));
    struct sign_key *key = sign_key_parse(sink_span(&private_key), &why);
    assert_non_null(key);
    assert_int_equal(sign_key_algorithm(key), algorithm);
    assert_int_equal(sign_key_bits(key), bits);

    struct signing batch[3] = {{.key = key}, {.key = made}, {.key = key}};
    for (unsigned i = 0; i < countof(batch); i++)
        batch[i].digest[0] = (uint8_t)i;
    sign_batch(batch, countof(batch));
    for (unsigned i = 0; i < countof(batch); i++) {
        struct span signature = span_of(batch[i].signature, sign_key_signature_len(key));
        unsigned seen_bits;
        assert_false(batch[i].failed);
        assert_int_equal(
            sign_verify(algorithm, sink_span(&public_key), batch[i].digest, signature, &seen_bits),
            SIGN_GOOD);
        assert_int_equal(seen_bits, bits);
        batch[i].digest[31] ^= 1;
        assert_int_equal(
            sign_verify(algorithm, sink_span(&public_key), batch[i].digest, signature, NULL),
            SIGN_BAD);
        batch[i].digest[31] ^= 1;
        assert_int_equal(sign_verify(algorithm, sink_span(&public_key), batch[i].digest,
                                     span_first(signature, signature.len - 1), NULL),
                         SIGN_BAD);
    }
    sign_key_free(key);
    sign_key_free(made);
}

static void test_round_trips(void **state)
{
    round_trip(SIGN_RSA_SHA256, 1024);
    round_trip(SIGN_RSA_SHA256, 2048);
    round_trip(SIGN_ED25519_SHA256, 256);
}

static void test_digest(void **state)
{
    static const uint8_t abc[DIGEST_LEN] = {0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea,
                                            0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23,
                                            0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c,
                                            0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad};
    uint8_t digest[DIGEST_LEN];
    fill_digest(digest, SPAN("abc"));
    assert_memory_equal(digest, abc, sizeof abc);
}

/* What `openssl` writes in each of its forms is read. */
static void test_key_forms(void **state)
{
    static const struct {
        const char *command;
        enum sign_algorithm algorithm;
        unsigned bits;
    } forms[] = {
        {"openssl genrsa -traditional 1536 2>/dev/null", SIGN_RSA_SHA256, 1536},
        {"openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:1024 2>/dev/null || "
         "openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024 2>/dev/null",
         SIGN_RSA_SHA256, 1024},
        {"openssl genpkey -algorithm ED25519", SIGN_ED25519_SHA256, 256},
    };
    for (size_t i = 0; i < countof(forms); i++) {
        struct text text;
        const char *why = NULL;
        struct sign_key *key = sign_key_parse(run(forms[i].command, &text), &why);
        if (!key)
            fail_msg("%s: %s", forms[i].command, why);
        assert_int_equal(sign_key_algorithm(key), forms[i].algorithm);
        assert_int_equal(sign_key_bits(key), forms[i].bits);
        sign_key_free(key);
    }
}

static void refused(struct span pem, const char *what)
{
    const char *why = NULL;
    struct sign_key *key = sign_key_parse(pem, &why);
    if (key || !why || !strstr(why, what))
        fail_msg("%s, wanted: %s", key ? "taken" : why, what);
}

static void test_refused_keys(void **state)
{
    struct text text;
    refused(SPAN(""), "PEM");
    refused(SPAN("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), "PEM");
    refused(run("openssl genrsa -traditional 768 2>/dev/null", &text), "1024");
    refused(run("openssl ecparam -name prime256v1 -genkey -noout", &text), "neither");
    refused(run("openssl genrsa -traditional -aes128 -passout pass:secret 1024 2>/dev/null", &text),
            "passphrase");
    struct span cut = run("openssl genrsa -traditional 1024 2>/dev/null", &text);
    refused(span_first(cut, cut.len / 2), "PEM");
}

/* A PKCS #1 key whose modulus is another key's. */
static void test_parts_of_two_keys(void **state)
{
    struct text text;
    struct span pem =
        run("/usr/bin/python3 -c '\n"
            "import base64, subprocess\n"
            "def der():\n"
            "    out = subprocess.run([\"openssl\", \"genrsa\", \"-traditional\", \"1024\"], "
            "capture_output=True).stdout.decode()\n"
            "    return base64.b64decode(\"\".join(out.splitlines()[1:-1]))\n"
            "a, b = der(), der()\n"
            "while len(a) != len(b): b = der()\n"
            "at = 11\n"
            "mixed = a[:at] + b[at:at + 128] + a[at + 128:]\n"
            "print(\"-----BEGIN RSA PRIVATE KEY-----\")\n"
            "print(base64.encodebytes(mixed).decode().strip())\n"
            "print(\"-----END RSA PRIVATE KEY-----\")'",
            &text);
    const char *why = NULL;
    assert_null(sign_key_parse(pem, &why));
    assert_non_null(why);
}

static void test_weak_and_broken_public_keys(void **state)
{
    struct text der, longer;
    static const uint8_t digest[DIGEST_LEN];
    char signature[512] = {0};
    struct span weak = run("openssl genrsa 512 2>/dev/null | "
                           "openssl rsa -pubout -outform DER 2>/dev/null",
                           &der);
    unsigned bits;
    assert_int_equal(sign_verify(SIGN_RSA_SHA256, weak, digest, span_of(signature, 64), &bits),
                     SIGN_KEY_WEAK);
    assert_int_equal(bits, 512);
    struct span bare = run("openssl genrsa 1024 2>/dev/null | "
                           "openssl rsa -RSAPublicKey_out -outform DER 2>/dev/null",
                           &longer);
    assert_int_equal(sign_verify(SIGN_RSA_SHA256, bare, digest, span_of(signature, 128), &bits),
                     SIGN_BAD);
    assert_int_equal(bits, 1024);
    assert_int_equal(
        sign_verify(SIGN_RSA_SHA256, SPAN("no key"), digest, span_of(signature, 64), NULL),
        SIGN_KEY_BROKEN);
    assert_int_equal(
        sign_verify(SIGN_ED25519_SHA256, SPAN("too short"), digest, span_of(signature, 64), NULL),
        SIGN_KEY_BROKEN);
    assert_int_equal(
        sign_verify(SIGN_ED25519_SHA256, span_of(digest, 32), digest, span_of(signature, 63), NULL),
        SIGN_BAD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trips),
        cmocka_unit_test(test_digest),
        cmocka_unit_test(test_key_forms),
        cmocka_unit_test(test_refused_keys),
        cmocka_unit_test(test_parts_of_two_keys),
        cmocka_unit_test(test_weak_and_broken_public_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
