/* SASL dialogues: each mechanism's good ways, and tables of messages that must not pass. The SCRAM
 * client here is written from RFC 5802; the wire tests have other people's. */
#include "core/sasl.h"

#include "core/base64.h"
#include "core/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { TEXT = 2048 };

static const uint8_t octets[SASL_RANDOM] = {1,  2,  3,  4,  5,  6,  7,  8,  9,
                                            10, 11, 12, 13, 14, 15, 16, 17, 18};

struct talk {
    struct sasl sasl;
    char text[TEXT];
    struct sink challenge;
};

static void begin(struct talk *talk, enum sasl_mechanism mechanism)
{
    sasl_begin(&talk->sasl, mechanism);
}

/* The message in memory of exactly its size. */
static enum sasl_want take(struct talk *talk, struct span message)
{
    char *copy = malloc(message.len ? message.len : 1);
    assert_non_null(copy);
    if (message.len)
        memcpy(copy, message.data, message.len);
    sink_init(&talk->challenge, talk->text, sizeof talk->text);
    enum sasl_want want = sasl_take(&talk->sasl, span_of(copy, message.len), &talk->challenge);
    free(copy);
    return want;
}

static bool challenged(const struct talk *talk, const char *text)
{
    return span_equals(sink_span(&talk->challenge), span_string(text));
}

static void test_names(void **state)
{
    enum sasl_mechanism mechanism;
    assert_true(sasl_mechanism_find(SPAN("scram-sha-256"), &mechanism));
    assert_int_equal(mechanism, SASL_SCRAM_SHA_256);
    assert_true(sasl_mechanism_find(SPAN("PLAIN"), &mechanism) && sasl_plaintext(mechanism));
    assert_false(sasl_mechanism_find(SPAN("PLAI"), &mechanism));
    assert_false(sasl_mechanism_find(SPAN(""), &mechanism));
    assert_false(sasl_mechanism_find(SPAN("SCRAM-SHA-256-PLUS"), &mechanism));
}

static void test_plain(void **state)
{
    struct talk talk;
    begin(&talk, SASL_PLAIN);
    assert_int_equal(take(&talk, SPAN("\0tim\0tanstaaftanstaaf")), SASL_PASSWORD);
    assert_true(span_equals(sasl_name(&talk.sasl), SPAN("tim")));
    assert_true(span_equals(sasl_password(&talk.sasl), SPAN("tanstaaftanstaaf")));
    begin(&talk, SASL_PLAIN);
    assert_int_equal(take(&talk, SPAN("tim\0tim\0a")), SASL_PASSWORD);
    sasl_end(&talk.sasl);
    for (size_t i = 0; i < sizeof talk.sasl; i++)
        assert_int_equal(((const char *)&talk.sasl)[i], 0);
}

static void test_plain_refused(void **state)
{
    static const struct span bad[] = {
        SPAN(""),           SPAN("\0"),          SPAN("\0\0"),          SPAN("tim"),
        SPAN("\0tim"),      SPAN("\0tim\0"),     SPAN("\0\0pass"),      SPAN("kurt\0tim\0pass"),
        SPAN("\0ti\nm\0p"), SPAN("\0tim\0p\0q"), SPAN("\0tim\0pa\rss"), SPAN("tim\0\0pass"),
    };
    struct talk talk;
    for (size_t i = 0; i < countof(bad); i++) {
        begin(&talk, SASL_PLAIN);
        if (take(&talk, bad[i]) != SASL_MALFORMED)
            fail_msg("message %zu is taken", i);
    }
}

static void test_plain_limits(void **state)
{
    char message[SASL_MESSAGE + 1] = {0};
    struct talk talk;
    memset(message + 1, 'n', SASL_NAME);
    memset(message + 1 + SASL_NAME + 1, 'p', PASSWORD_MOST);
    begin(&talk, SASL_PLAIN);
    assert_int_equal(take(&talk, span_of(message, 1 + SASL_NAME + 1 + PASSWORD_MOST)),
                     SASL_PASSWORD);
    assert_int_equal(sasl_name(&talk.sasl).len, SASL_NAME);
    assert_int_equal(sasl_password(&talk.sasl).len, PASSWORD_MOST);
    message[1 + SASL_NAME + 1 + PASSWORD_MOST] = 'p';
    begin(&talk, SASL_PLAIN);
    assert_int_equal(take(&talk, span_of(message, 1 + SASL_NAME + 1 + PASSWORD_MOST + 1)),
                     SASL_MALFORMED);
    message[1 + SASL_NAME] = 'n';
    begin(&talk, SASL_PLAIN);
    assert_int_equal(take(&talk, span_of(message, 1 + SASL_NAME + 1 + PASSWORD_MOST)),
                     SASL_MALFORMED);
    begin(&talk, SASL_PLAIN);
    assert_int_equal(take(&talk, span_of(message, SASL_MESSAGE + 1)), SASL_MALFORMED);
}

static void test_login(void **state)
{
    struct talk talk;
    begin(&talk, SASL_LOGIN);
    assert_int_equal(take(&talk, SPAN("")), SASL_CHALLENGE);
    assert_true(challenged(&talk, "Username:"));
    assert_int_equal(take(&talk, SPAN("tim")), SASL_CHALLENGE);
    assert_true(challenged(&talk, "Password:"));
    assert_int_equal(take(&talk, SPAN("secret")), SASL_PASSWORD);
    assert_true(span_equals(sasl_password(&talk.sasl), SPAN("secret")));
    begin(&talk, SASL_LOGIN); /* the name as initial response */
    assert_int_equal(take(&talk, SPAN("tim")), SASL_CHALLENGE);
    assert_true(challenged(&talk, "Password:"));
    assert_int_equal(take(&talk, SPAN("secret")), SASL_PASSWORD);
    begin(&talk, SASL_LOGIN);
    assert_int_equal(take(&talk, SPAN("")), SASL_CHALLENGE);
    assert_int_equal(take(&talk, SPAN("")), SASL_MALFORMED);
    begin(&talk, SASL_LOGIN);
    assert_int_equal(take(&talk, SPAN("tim")), SASL_CHALLENGE);
    assert_int_equal(take(&talk, SPAN("")), SASL_MALFORMED);
}

/* ---- SCRAM ---- */

static struct scram_verifier pencil(void)
{
    struct scram_verifier verifier;
    assert_true(password_scram(SPAN("{SCRAM-SHA-256}4096,W22ZaJ0SNY7soEsUEjb6gQ==,"
                                    "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,"
                                    "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="),
                               &verifier));
    return verifier;
}

static enum sasl_want verify(struct talk *talk)
{
    struct scram_verifier verifier = pencil();
    sink_init(&talk->challenge, talk->text, sizeof talk->text);
    return sasl_verify(&talk->sasl, &verifier, octets, &talk->challenge);
}

/* What a client that knows `password` answers to the server-first in `talk`; `bare` and `binding`
 * as it said and says them. */
static void put_client_final(struct talk *talk, const char *bare, const char *binding,
                             const char *password, struct sink *message, struct sink *auth)
{
    uint8_t salted[DIGEST_LEN], client_key[DIGEST_LEN], stored_key[DIGEST_LEN];
    uint8_t signature[DIGEST_LEN];
    char salt[64];
    struct sink decoded;
    struct digest digest;
    struct span first = sink_span(&talk->challenge);
    struct span nonce = span_first(first, span_find(first, ','));
    sink_init(&decoded, salt, sizeof salt);
    assert_true(base64_decode(SPAN("W22ZaJ0SNY7soEsUEjb6gQ=="), &decoded));
    digest_stretch(span_string(password), sink_span(&decoded), 4096, salted);
    digest_hmac(span_of(salted, DIGEST_LEN), SPAN("Client Key"), client_key);
    digest_init(&digest);
    digest_add(&digest, span_of(client_key, DIGEST_LEN));
    digest_finish(&digest, stored_key);
    sink_format(message, "%s,", binding);
    sink_put(message, nonce);
    sink_format(auth, "%s,", bare);
    sink_put(auth, first);
    sink_byte(auth, ',');
    sink_put(auth, sink_span(message));
    digest_hmac(span_of(stored_key, DIGEST_LEN), sink_span(auth), signature);
    for (unsigned i = 0; i < DIGEST_LEN; i++)
        client_key[i] ^= signature[i];
    sink_put(message, SPAN(",p="));
    base64_put(message, span_of(client_key, DIGEST_LEN));
}

static enum sasl_want run_scram(struct talk *talk, const char *gs2, const char *bare,
                                const char *binding, const char *password)
{
    char text[TEXT], auth_text[TEXT];
    struct sink message, auth;
    sink_init(&message, text, sizeof text);
    sink_init(&auth, auth_text, sizeof auth_text);
    begin(talk, SASL_SCRAM_SHA_256);
    sink_format(&message, "%s%s", gs2, bare);
    assert_int_equal(take(talk, sink_span(&message)), SASL_VERIFIER);
    assert_int_equal(verify(talk), SASL_CHALLENGE);
    message.len = 0;
    put_client_final(talk, bare, binding, password, &message, &auth);
    enum sasl_want want = take(talk, sink_span(&message));
    if (want == SASL_PROVED) { /* and the server proves that it knows the verifier */
        uint8_t signature[DIGEST_LEN];
        struct scram_verifier verifier = pencil();
        char expected[64];
        struct sink sink;
        sink_init(&sink, expected, sizeof expected);
        digest_hmac(span_of(verifier.server_key, DIGEST_LEN), sink_span(&auth), signature);
        sink_put(&sink, SPAN("v="));
        base64_put(&sink, span_of(signature, DIGEST_LEN));
        assert_true(span_equals(sink_span(&sink), sink_span(&talk->challenge)));
    }
    return want;
}

static void test_scram(void **state)
{
    struct talk talk;
    assert_int_equal(run_scram(&talk, "n,,", "n=user,r=abc", "c=biws", "pencil"), SASL_PROVED);
    assert_true(span_equals(sasl_name(&talk.sasl), SPAN("user")));
    assert_int_equal(take(&talk, SPAN("")), SASL_DONE);
    assert_int_equal(run_scram(&talk, "y,,", "n=user,r=abc", "c=eSws", "pencil"), SASL_PROVED);
    assert_int_equal(take(&talk, SPAN("x")), SASL_MALFORMED);
    assert_int_equal(
        run_scram(&talk, "n,a=us=2Cer,", "n=us=2Cer,r=abc,x=y", "c=bixhPXVzPTJDZXIs", "pencil"),
        SASL_PROVED);
    assert_true(span_equals(sasl_name(&talk.sasl), SPAN("us,er")));
}

static void test_scram_wrong(void **state)
{
    struct talk talk;
    assert_int_equal(run_scram(&talk, "n,,", "n=user,r=abc", "c=biws", "Pencil"), SASL_DISPROVED);
    /* says another binding than in the beginning: a man in the middle took it out */
    assert_int_equal(run_scram(&talk, "n,,", "n=user,r=abc", "c=eSws", "pencil"), SASL_MALFORMED);
    assert_int_equal(run_scram(&talk, "n,,", "n=user,r=abc", "c=biwsX", "pencil"), SASL_MALFORMED);
    assert_int_equal(run_scram(&talk, "n,,", "n=user,r=abc", "x=biws", "pencil"), SASL_MALFORMED);
}

static void test_scram_first_refused(void **state)
{
    static const struct span bad[] = {
        SPAN(""),
        SPAN("n"),
        SPAN("n,"),
        SPAN("n,,"),
        SPAN("n,,n=user"),
        SPAN("n,,n=user,"),
        SPAN("n,,n=user,r="),
        SPAN("n,,n=,r=abc"),
        SPAN("n,,r=abc,n=user"),
        SPAN("n,,n=user,r=a c"),
        SPAN("n,,n=user,r=a\x7f"),
        SPAN("p=tls-unique,,n=user,r=abc"),
        SPAN("x,,n=user,r=abc"),
        SPAN("n,b=user,n=user,r=abc"),
        SPAN("n,a=other,n=user,r=abc"),
        SPAN("n,,m=ext,n=user,r=abc"),
        SPAN("n,,n=us=er,r=abc"),
        SPAN("n,,n=us=2cer,r=abc"),
        SPAN("n,,n=us\0er,r=abc"),
        SPAN("n,,n=us\ner,r=abc"),
    };
    struct talk talk;
    for (size_t i = 0; i < countof(bad); i++) {
        begin(&talk, SASL_SCRAM_SHA_256);
        if (take(&talk, bad[i]) != SASL_MALFORMED)
            fail_msg("message %zu is taken", i);
    }
}

static void test_scram_limits(void **state)
{
    char text[TEXT], nonce[256];
    struct talk talk;
    struct sink sink;
    memset(nonce, 'r', sizeof nonce);
    for (unsigned len = 127; len < 131; len++) {
        sink_init(&sink, text, sizeof text);
        sink_format(&sink, "n,,n=user,r=%.*s", (int)len, nonce);
        begin(&talk, SASL_SCRAM_SHA_256);
        assert_int_equal(take(&talk, sink_span(&sink)),
                         len <= 128 ? SASL_VERIFIER : SASL_MALFORMED);
        if (len <= 128)
            assert_int_equal(verify(&talk), SASL_CHALLENGE);
    }
    sink_init(&sink, text, sizeof text);
    sink_put(&sink, SPAN("n,,n=user,r=abc,x="));
    while (sink.len < 600)
        sink_byte(&sink, 'x');
    begin(&talk, SASL_SCRAM_SHA_256);
    assert_int_equal(take(&talk, sink_span(&sink)), SASL_MALFORMED);
}

static void test_scram_final_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "p=",
        "c=biws,p=",
        "c=biws,r=NONCE",
        "c=biws,r=NONCE,p=AAAA",
        "c=biws,r=NONCE,p=!!!!",
        "r=NONCE,c=biws,p=PROOF",
        "c=biws,r=abc,p=PROOF",
        "c=biws,r=NONCEx,p=PROOF",
        "c=biws,r=NONCE,p=PROOFx",
        "c=biws,r=NONCE,p=PROOF,x=y",
    };
    for (size_t i = 0; i < countof(bad); i++) {
        char text[TEXT];
        struct sink sink;
        struct talk talk;
        begin(&talk, SASL_SCRAM_SHA_256);
        assert_int_equal(take(&talk, SPAN("n,,n=user,r=abc")), SASL_VERIFIER);
        assert_int_equal(verify(&talk), SASL_CHALLENGE);
        struct span first = sink_span(&talk.challenge);
        struct span nonce = span_skip(span_first(first, span_find(first, ',')), 2);
        sink_init(&sink, text, sizeof text);
        for (struct span rest = span_string(bad[i]); rest.len;) {
            bool is_nonce = span_starts_with(rest, SPAN("NONCE"));
            bool is_proof = span_starts_with(rest, SPAN("PROOF"));
            if (is_nonce)
                sink_put(&sink, nonce);
            else if (is_proof)
                sink_put(&sink, SPAN("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="));
            else
                sink_byte(&sink, rest.data[0]);
            rest = span_skip(rest, is_nonce || is_proof ? 5 : 1);
        }
        if (take(&talk, sink_span(&sink)) != SASL_MALFORMED)
            fail_msg("\"%s\" is taken", bad[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),         cmocka_unit_test(test_plain),
        cmocka_unit_test(test_plain_refused), cmocka_unit_test(test_plain_limits),
        cmocka_unit_test(test_login),         cmocka_unit_test(test_scram),
        cmocka_unit_test(test_scram_wrong),   cmocka_unit_test(test_scram_first_refused),
        cmocka_unit_test(test_scram_limits),  cmocka_unit_test(test_scram_final_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
