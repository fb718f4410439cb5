/* Verification of others' signatures: the message of RFC 8463 appendix A, what is wrong with a
 * signature, what is told about it, and fields in our name. */
#include "smtp/auth_results.h"
#include "smtp/vet.h"
#include "tests/message_fake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define RFC_ED                                                                                     \
    "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;\r\n"                                \
    " d=football.example.com; i=@football.example.com;\r\n"                                        \
    " q=dns/txt; s=brisbane; t=1528637909; h=from : to :\r\n"                                      \
    " subject : date : message-id : from : subject : date;\r\n"                                    \
    " bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n"                                        \
    " b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus\r\n"                              \
    " Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==\r\n"
#define RFC_RSA                                                                                    \
    "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;\r\n"                                    \
    " d=football.example.com; i=@football.example.com;\r\n"                                        \
    " q=dns/txt; s=test; t=1528637909; h=from : to : subject :\r\n"                                \
    " date : message-id : from : subject : date;\r\n"                                              \
    " bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n"                                        \
    " b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3\r\n"                              \
    " DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz\r\n"                              \
    " dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=\r\n"
#define RFC_HEADER                                                                                 \
    "From: Joe SixPack <joe@football.example.com>\r\n"                                             \
    "To: Suzie Q <suzie@shopping.example.net>\r\n"                                                 \
    "Subject: Is dinner ready?\r\n"                                                                \
    "Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\n"                                              \
    "Message-ID: <20030712040037.46341.5F8J@football.example.com>\r\n"
#define RFC_BODY "\r\nHi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n"

static const struct {
    const char *name, *text; /* NULL: a temporary failure */
} zone[] = {
    {"brisbane._domainkey.football.example.com",
     "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="},
    {"test._domainkey.football.example.com",
     "v=DKIM1; k=rsa; "
     "p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5"
     "bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/"
     "8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9Pzox"
     "ZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB"},
    {"other._domainkey.football.example.com",
     "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURp="},
    {"strict._domainkey.football.example.com",
     "v=DKIM1; t=s; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="},
    {"football.example.com", "v=spf1 ip4:192.0.2.1 -all"},
    {"fails._domainkey.football.example.com", NULL},
};

static struct answer *look_up(const struct name *name)
{
    static char strings[512];
    struct answer_record record = {0};
    struct answer header = {.name = name_span(name), .rcode = RCODE_NXDOMAIN};
    struct sink sink;
    for (size_t i = 0; i < countof(zone); i++) {
        if (!span_equals(span_string(zone[i].name), name_span(name)))
            continue;
        if (!zone[i].text)
            return NULL;
        sink_init(&sink, strings, sizeof strings);
        for (struct span text = span_string(zone[i].text); text.len; text = span_skip(text, 200)) {
            sink_byte(&sink, (char)(unsigned char)span_first(text, 200).len);
            sink_put(&sink, span_first(text, 200));
        }
        record.strings = sink_span(&sink);
        header.rcode = RCODE_NOERROR;
        header.count = 1;
    }
    return answer_new(&header, &record);
}

/* ---- running ---- */

struct vetted {
    char results[VET_RESULTS], summary[VET_RESULTS], stored[16384];
    unsigned removed;
};

static void give(struct vet *vet, struct message *message, struct span piece)
{
    int error;
    do
        error = vet_add(vet, message, piece, NULL);
    while (error == -EAGAIN);
    assert_int_equal(error, 0);
}

static void answer_all(struct vet *vet)
{
    struct name name;
    enum rr_type type;
    for (unsigned line = 0; line < VET_LINES; line++)
        while (vet_asks(vet, (enum vet_line)line, &name, &type)) {
            struct answer *answer = look_up(&name);
            vet_answer(vet, (enum vet_line)line, answer, 1600000000);
            answer_free(answer);
        }
}

static void run_vet(struct span text, size_t step, unsigned room_every, bool answered,
                    struct vetted *outcome)
{
    struct share share = {.next_id = 1};
    struct vet_subject subject = {.hostname = SPAN("mail.example.org"),
                                  .client = SPAN("192.0.2.1"),
                                  .helo = SPAN("client.example"),
                                  .sender = SPAN("joe@football.example.com"),
                                  .client_bits = {[10] = 0xff, [11] = 0xff, 192, 0, 2, 1}};
    struct sink sink;
    chunk_pool_init(&share.pool, SIZE_MAX / 2, 0);
    struct message *message = message_new(&share);
    struct vet *vet = vet_new(&message->arena, &subject);
    while (text.len) {
        share.room_every = message->body.len ? room_every : 0; /* the header always has room */
        give(vet, message, span_first(text, step));
        text = span_skip(text, step);
    }
    share.room_every = 0;
    assert_int_equal(vet_end(vet, message), 0);
    if (answered)
        answer_all(vet);
    sink_init(&sink, outcome->results, VET_RESULTS - 1);
    vet_put_results(vet, &sink);
    outcome->results[sink.len] = '\0';
    sink_init(&sink, outcome->summary, VET_RESULTS - 1);
    vet_put_summary(vet, &sink);
    outcome->summary[sink.len] = '\0';
    size_t len = text_copy(&message->body, 0, outcome->stored, sizeof outcome->stored - 1);
    outcome->stored[len] = '\0';
    outcome->removed = vet->removed;
    message_abandon(message);
    chunk_pool_fini(&share.pool);
}

static struct vetted outcome;

static void expect_summary(const char *text, const char *summary)
{
    run_vet(span_string(text), SIZE_MAX, 0, true, &outcome);
    if (strcmp(outcome.summary, summary) != 0)
        fail_msg("'%s'\nwanted '%s'", outcome.summary, summary);
    assert_string_equal(outcome.stored, text);
}

/* ---- the standard's example ---- */

#define SPF_PASSES "spf=pass smtp.mailfrom=joe@football.example.com; "

static void test_rfc8463(void **state)
{
    static const char text[] = RFC_ED RFC_RSA RFC_HEADER RFC_BODY;
    static const char wanted[] =
        "Authentication-Results: mail.example.org;\r\n"
        "\tspf=pass smtp.mailfrom=joe@football.example.com;\r\n"
        "\tdkim=pass (256-bit key) header.d=football.example.com header.s=brisbane "
        "header.a=ed25519-sha256 header.b=\"/gCrinpc\";\r\n"
        "\tdkim=pass (1024-bit key) header.d=football.example.com header.s=test "
        "header.a=rsa-sha256 header.b=F45dVWDf\r\n";
    for (size_t step = 1; step < sizeof text; step += step < 60 ? 1 : 97) {
        run_vet(SPAN(RFC_ED RFC_RSA RFC_HEADER RFC_BODY), step, step % 3, true, &outcome);
        assert_string_equal(outcome.results, wanted);
        assert_string_equal(outcome.stored, text);
    }
}

static void test_changed(void **state)
{
    expect_summary(RFC_ED RFC_HEADER RFC_BODY "more\r\n",
                   SPF_PASSES "dkim=fail reason=\"the body has changed\" "
                              "header.d=football.example.com header.s=brisbane "
                              "header.a=ed25519-sha256 header.b=\"/gCrinpc\"");
    expect_summary(RFC_ED "Subject: x\r\n" RFC_HEADER RFC_BODY,
                   SPF_PASSES "dkim=fail (256-bit key) reason=\"the signature does not fit\" "
                              "header.d=football.example.com header.s=brisbane "
                              "header.a=ed25519-sha256 header.b=\"/gCrinpc\"");
    expect_summary("X: y\r\n" RFC_ED "Received: z\r\n" RFC_HEADER RFC_BODY "\r\n\r\n",
                   SPF_PASSES "dkim=pass (256-bit key) header.d=football.example.com "
                              "header.s=brisbane header.a=ed25519-sha256 header.b=\"/gCrinpc\"");
}

/* ---- signatures that are wrong ---- */

#define B  "; bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=; b=Zm9v"
#define OK "v=1; a=ed25519-sha256; d=football.example.com; s=brisbane; h=from"

static void test_wrong_signatures(void **state)
{
    static const struct {
        const char *value, *result;
    } table[] = {
        {"nonsense", "permerror reason=\"it is not a list of tags\""},
        {OK "; v=1" B, "permerror reason=\"it is not a list of tags\""},
        {"a=rsa-sha256; d=x.test; s=s; h=from" B, "permerror reason=\"a tag is missing\""},
        {"v=2; a=rsa-sha256; d=x.test; s=s; h=from" B, "permerror reason=\"unknown version\""},
        {"v=1; a=rsa-sha1; d=x.test; s=s; h=from" B,
         "permerror reason=\"unknown or outdated algorithm\""},
        {"v=1; a=rsa-sha256; s=s; h=from" B, "permerror reason=\"a tag is missing\""},
        {"v=1; a=rsa-sha256; d=x.test; s=s; h=to" B, "permerror reason=\"From is not signed\""},
        {OK "; c=relaxed/other" B, "permerror reason=\"unknown canonicalization\""},
        {OK "; i=a@other.test" B, "permerror reason=\"i= is not of the domain in d=\""},
        {OK "; i=a@xfootball.example.com" B, "permerror reason=\"i= is not of the domain in d=\""},
        {OK "; q=http" B, "permerror reason=\"its key is not in DNS\""},
        {OK "; t=2; x=1" B, "permerror reason=\"it expires before it was made\""},
        {OK "; l=x" B, "permerror reason=\"a number is wrong\""},
        {OK "; bh=Zm9v; b=Zm9v", "permerror reason=\"bh= is not a digest\""},
        {OK "; bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=; b=!",
         "permerror reason=\"b= is not a signature\""},
        {OK "; c=relaxed/relaxed; x=1500000000" B, "fail reason=\"expired\""},
        {OK "; c=relaxed/relaxed" B, "fail (256-bit key) reason=\"the signature does not fit\""},
        {OK "; c=relaxed/relaxed; l=3" B, "fail reason=\"the body has changed\""},
        {OK "; c=relaxed/relaxed; l=999" B, "fail reason=\"the body has changed\""},
        {OK B, "fail reason=\"the body has changed\""}, /* simple is another body */
        {"v=1; a=rsa-sha256; d=football.example.com; s=brisbane; h=from" B,
         "permerror reason=\"the key is for another algorithm\""},
        {"v=1; a=ed25519-sha256; d=football.example.com; s=none; h=from" B,
         "permerror reason=\"there is no key\""},
        {"v=1; a=ed25519-sha256; d=football.example.com; s=fails; h=from" B,
         "temperror reason=\"the key could not be looked up\""},
        {"v=1; a=ed25519-sha256; d=foot..ball; s=s; h=from" B,
         "permerror reason=\"no key can have this name\""},
        {"v=1; a=ed25519-sha256; d=football.example.com; s=strict; h=from; "
         "i=@x.football.example.com" B,
         "permerror reason=\"the key is not for subdomains\""},
    };
    for (size_t i = 0; i < countof(table); i++) {
        char text[2048], wanted[256];
        snprintf(text, sizeof text, "DKIM-Signature: %s\r\n%s", table[i].value,
                 RFC_HEADER RFC_BODY);
        snprintf(wanted, sizeof wanted, SPF_PASSES "dkim=%s", table[i].result);
        run_vet(span_string(text), SIZE_MAX, 0, true, &outcome);
        if (strncmp(outcome.summary, wanted, strlen(wanted)) != 0)
            fail_msg("'%s': '%s'\nwanted '%s'", table[i].value, outcome.summary, wanted);
    }
}

/* Only so many are looked at, and without answers nothing is known. */
static void test_limits_and_silence(void **state)
{
    char text[8192] = "";
    for (unsigned i = 0; i < VET_SIGNATURES + 3; i++)
        strcat(text, RFC_ED);
    strcat(text, RFC_HEADER RFC_BODY);
    run_vet(span_string(text), SIZE_MAX, 0, true, &outcome);
    unsigned count = 0;
    for (const char *at = outcome.summary; (at = strstr(at, "dkim=pass")); at++)
        count++;
    assert_int_equal(count, VET_SIGNATURES);
    run_vet(SPAN(RFC_ED RFC_HEADER RFC_BODY), SIZE_MAX, 0, false, &outcome);
    assert_non_null(strstr(outcome.summary, "spf=temperror "));
    assert_non_null(strstr(outcome.summary, "dkim=temperror reason=\"no time was left\" "));
}

/* ---- fields in our name ---- */

static void test_claims(void **state)
{
    static const struct {
        const char *value;
        bool ours;
    } table[] = {
        {" mail.example.org; none", true},
        {"mail.example.org", true},
        {" MAIL.Example.ORG 1; spf=pass", true},
        {"\r\n\t(a (b) \\) c)\r\n mail.example.org(x);", true},
        {" \"mail.example.org\"; none", true},
        {" \"mail.ex\\ample.org\"; none", true},
        {" mail.example.org.; none", false},
        {" x.mail.example.org; none", false},
        {" example.org; mail.example.org", false},
        {" (mail.example.org) other.test", false},
        {" (mail.example.org", false},
        {" \"mail.example.org", true}, /* broken, and better gone */
        {"", false},
    };
    for (size_t i = 0; i < countof(table); i++)
        if (auth_results_claims(span_string(table[i].value), SPAN("mail.example.org")) !=
            table[i].ours)
            fail_msg("'%s'", table[i].value);
}

#define FORGED "Authentication-Results: mail.example.org;\r\n\tdkim=pass\r\n"

static void test_forged(void **state)
{
    static const char text[] = FORGED "From: a@b.test\r\n" FORGED FORGED "X: y\r\n\r\n" FORGED;
    static const char wanted[] = "From: a@b.test\r\nX: y\r\n\r\n" FORGED;
    for (size_t step = 1; step < sizeof text; step++) {
        run_vet(span_string(text), step, 0, true, &outcome);
        assert_string_equal(outcome.stored, wanted);
        assert_int_equal(outcome.removed, 3);
    }
    /* also behind a line that is no field, and when nothing follows */
    run_vet(SPAN("From: a\r\nbroken\r\n" FORGED "X: y\r\n\r\n"), 5, 0, true, &outcome);
    assert_string_equal(outcome.stored, "From: a\r\nbroken\r\nX: y\r\n\r\n");
    run_vet(SPAN("From: a\r\n" FORGED), 5, 0, true, &outcome);
    assert_string_equal(outcome.stored, "From: a\r\n");
}

static void test_values(void **state)
{
    static const struct {
        const char *address, *text;
    } table[] = {
        {"a@b.test", "a@b.test"},
        {"\"a b\"@b.test", "b.test"},
        {"a@[192.0.2.1]", "\"[192.0.2.1]\""},
        {"a+b=c@b.test", "b.test"},
    };
    for (size_t i = 0; i < countof(table); i++) {
        char text[128];
        struct sink sink;
        sink_init(&sink, text, sizeof text);
        auth_results_put_mailbox(&sink, span_string(table[i].address));
        assert_true(span_equals(sink_span(&sink), span_string(table[i].text)));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rfc8463),          cmocka_unit_test(test_changed),
        cmocka_unit_test(test_wrong_signatures), cmocka_unit_test(test_limits_and_silence),
        cmocka_unit_test(test_claims),           cmocka_unit_test(test_forged),
        cmocka_unit_test(test_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
