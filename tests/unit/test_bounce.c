#include "queue/bounce.h"

#include "queue/bounce_words.h"
#include "tests/unit/report_parse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

/* A message to three people, and what became of them; each test changes what it is about. */
struct fixture {
    struct recipient recipients[3];
    struct verdict verdicts[3];
    struct envelope envelope;
    struct row_state state;
    struct span original[3];
    struct bounce bounce;
    struct chunk_pool pool;
    struct arena arena;
    char flat[512 * 1024];
    size_t len;
    uint8_t flags;
};

static struct verdict refused(uint16_t code, uint8_t class, uint16_t subject, uint16_t detail,
                              struct span text)
{
    uint8_t outcome = code / 100 == 2   ? OUTCOME_DELIVERED
                      : code / 100 == 4 ? OUTCOME_DEFERRED
                                        : OUTCOME_FAILED;
    return (struct verdict){
        .outcome = outcome,
        .reply = {.code = code,
                  .enhanced = {class, subject, detail},
                  .text = text,
                  .command = SPAN("RCPT")},
    };
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->recipients[0].address = SPAN("bob@example.net");
    f->recipients[1].address = SPAN("eve@example.net");
    f->recipients[2].address = SPAN("zoe@example.net");
    f->verdicts[0] = refused(550, 5, 1, 1, SPAN("no such user"));
    f->verdicts[1] = refused(250, 2, 1, 5, SPAN("ok"));
    f->verdicts[2] = refused(450, 4, 2, 0, SPAN("try later"));
    f->envelope = (struct envelope){
        .id = 0x0123456789abcdef,
        .arrived_ms = 1795534000000,
        .reverse_path = SPAN("ann@example.org"),
        .domain = SPAN("example.net"),
        .recipients = f->recipients,
        .recipient_count = 3,
    };
    f->original[0] = SPAN("Received: from x\r\n\tby y\r\nSubject: hel");
    f->original[1] = SPAN("lo\r\nFrom: ann@example.org\r\n");
    f->original[2] = SPAN("\r\nthe body\r\n.\r\n");
    f->bounce = (struct bounce){
        .kind = BOUNCE_FAILURE,
        .hostname = SPAN("mail.example.org"),
        .id = 0xfedcba9876543210,
        .wall_ms = 1795534940123,
        .envelope = &f->envelope,
        .state = &f->state,
        .verdicts = f->verdicts,
        .remote_mta = SPAN("mx.example.net (192.0.2.1)"),
        .original = f->original,
        .original_pieces = 3,
        .original_whole = true,
    };
    chunk_pool_init(&f->pool, 8 << 20, 0);
    arena_init(&f->arena, &f->pool, 8 << 20);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    arena_fini(&f->arena);
    chunk_pool_fini(&f->pool);
    free(f);
    return 0;
}

static struct parsed_report write_report(struct fixture *f)
{
    struct text text;
    assert_true(bounce_wanted(&f->bounce));
    assert_true(bounce_write(&f->bounce, &f->arena, &text, &f->flags));
    f->len = text_copy(&text, 0, f->flat, sizeof f->flat);
    assert_int_equal(f->len, text.len);
    assert_true(f->flags & ENVELOPE_DSN);
    return parse_report(span_of(f->flat, f->len));
}

static bool contains(struct span text, const char *needle)
{
    return memmem(text.data, text.len, needle, strlen(needle)) != NULL;
}

static void assert_span(struct span span, const char *expected)
{
    if (!span_equals(span, span_string(expected)))
        fail_msg("\"%.*s\" is not \"%s\"", SPAN_FORMAT(span), expected);
}

static void assert_field(struct span headers, const char *name, const char *expected)
{
    assert_span(one_field(headers, name), expected);
}

static void assert_no_field(struct span headers, const char *name)
{
    unsigned count;
    field(headers, name, &count);
    assert_int_equal(count, 0);
}

static void test_failure(void **state)
{
    struct fixture *f = *state;
    struct parsed_report report = write_report(f);
    assert_field(report.headers, "From", "Mail Delivery System <MAILER-DAEMON@mail.example.org>");
    assert_field(report.headers, "To", "<ann@example.org>");
    assert_field(report.headers, "Subject", "Your message could not be delivered");
    assert_field(report.headers, "Date", "Tue, 24 Nov 2026 15:42:20 +0000");
    assert_field(report.headers, "Message-ID", "<fedcba9876543210.report@mail.example.org>");
    assert_field(report.headers, "Auto-Submitted", "auto-replied");
    assert_true(contains(report.headers, "report-type=delivery-status;"));

    struct span person = report.parts[0].body;
    assert_true(contains(person, "<bob@example.net>"));
    assert_true(contains(person, "There is no mailbox of this name there."));
    assert_true(contains(person, "The server mx.example.net (192.0.2.1) said:"));
    assert_true(contains(person, "550 5.1.1 no such user"));
    assert_true(contains(person, "will not be tried again"));
    assert_false(contains(person, "eve@") || contains(person, "zoe@"));

    assert_field(report.parts[1].headers, "Content-Type", "message/delivery-status");
    struct span message = report_group(&report, 0), recipient = report_group(&report, 1);
    assert_field(message, "Reporting-MTA", "dns; mail.example.org");
    assert_field(message, "Arrival-Date", "Tue, 24 Nov 2026 15:26:40 +0000");
    assert_no_field(message, "Original-Envelope-Id");
    assert_field(recipient, "Final-Recipient", "rfc822; bob@example.net");
    assert_no_field(recipient, "Original-Recipient");
    assert_field(recipient, "Action", "failed");
    assert_field(recipient, "Status", "5.1.1");
    assert_field(recipient, "Remote-MTA", "dns; mx.example.net");
    assert_field(recipient, "Diagnostic-Code", "smtp; 550 5.1.1 no such user");
    assert_field(recipient, "Last-Attempt-Date", "Tue, 24 Nov 2026 15:42:20 +0000");
    assert_no_field(recipient, "Will-Retry-Until");
    assert_int_equal(report_group(&report, 2).len, 0);

    assert_int_equal(report.part_count, 3);
    assert_field(report.parts[2].headers, "Content-Type", "text/rfc822-headers");
    assert_span(report.parts[2].body, "Received: from x\r\n\tby y\r\nSubject: hello\r\n"
                                      "From: ann@example.org\r\n");
    assert_int_equal(f->flags, ENVELOPE_DSN);
}

static void test_delay(void **state)
{
    struct fixture *f = *state;
    f->bounce.kind = BOUNCE_DELAY;
    f->bounce.retry_until_ms = 1795600000000;
    struct parsed_report report = write_report(f);
    struct span recipient = report_group(&report, 1);
    assert_field(recipient, "Final-Recipient", "rfc822; zoe@example.net");
    assert_field(recipient, "Action", "delayed");
    assert_field(recipient, "Status", "4.2.0");
    assert_field(recipient, "Will-Retry-Until", "Wed, 25 Nov 2026 09:46:40 +0000");
    assert_true(contains(report.parts[0].body, "Wed, 25 Nov 2026 09:46:40 +0000, and tell you"));
    f->recipients[2].delay_reported = true;
    assert_false(bounce_wanted(&f->bounce));
}

static void test_success_is_relayed(void **state)
{
    struct fixture *f = *state;
    f->bounce.kind = BOUNCE_SUCCESS;
    assert_false(bounce_wanted(&f->bounce));
    f->recipients[1].notify = NOTIFY_SUCCESS | NOTIFY_FAILURE;
    struct parsed_report report = write_report(f);
    struct span recipient = report_group(&report, 1);
    assert_field(recipient, "Final-Recipient", "rfc822; eve@example.net");
    assert_field(recipient, "Action", "relayed");
    assert_field(recipient, "Status", "2.1.5");
    f->envelope.flags = ENVELOPE_LOCAL;
    report = write_report(f);
    assert_field(report_group(&report, 1), "Action", "delivered");
    f->verdicts[1].dsn_passed_on = true;
    assert_false(bounce_wanted(&f->bounce));
}

static void test_expired(void **state)
{
    struct fixture *f = *state;
    f->verdicts[0] = (struct verdict){.outcome = OUTCOME_EXPIRED};
    f->state.last_reply = SPAN("451 4.7.0 greylisted");
    f->state.last_peer = SPAN("mx2.example.net (192.0.2.2)");
    f->state.last_attempt_ms = 1795534940123 - 60000;
    struct parsed_report report = write_report(f);
    struct span recipient = report_group(&report, 1);
    assert_field(recipient, "Action", "failed");
    assert_field(recipient, "Status", "4.4.7");
    assert_field(recipient, "Remote-MTA", "dns; mx2.example.net");
    assert_field(recipient, "Diagnostic-Code", "smtp; 451 4.7.0 greylisted");
    assert_field(recipient, "Last-Attempt-Date", "Tue, 24 Nov 2026 15:41:20 +0000");
    assert_true(contains(report.parts[0].body, "451 4.7.0 greylisted"));

    f->state = (struct row_state){0}; /* never tried at all */
    report = write_report(f);
    recipient = report_group(&report, 1);
    assert_no_field(recipient, "Remote-MTA");
    assert_no_field(recipient, "Diagnostic-Code");
    assert_no_field(recipient, "Last-Attempt-Date");
}

static void test_internal_verdict_names_no_peer(void **state)
{
    struct fixture *f = *state;
    f->verdicts[0] = refused(556, 5, 1, 10, SPAN("example.net takes no mail"));
    f->verdicts[0].reply.internal = true;
    struct parsed_report report = write_report(f);
    struct span recipient = report_group(&report, 1);
    assert_no_field(recipient, "Remote-MTA");
    assert_field(recipient, "Diagnostic-Code", "x-ringpost; 556 5.1.10 example.net takes no mail");
    assert_true(contains(report.parts[0].body, "Our mail system noted:"));
}

/* The status never contradicts the action. */
static void test_status_of_another_class(void **state)
{
    struct fixture *f = *state;
    f->verdicts[0] = refused(550, 2, 0, 0, SPAN("what?"));
    struct parsed_report report = write_report(f);
    assert_field(report_group(&report, 1), "Status", "5.0.0");
    f->verdicts[0] = refused(554, 0, 0, 0, SPAN(""));
    report = write_report(f);
    assert_field(report_group(&report, 1), "Status", "5.0.0");
    assert_field(report_group(&report, 1), "Diagnostic-Code", "smtp; 554");
}

static void test_who_is_told(void **state)
{
    static const struct {
        enum bounce_kind kind;
        uint8_t outcome, notify;
        bool told;
    } cases[] = {
        {BOUNCE_FAILURE, OUTCOME_FAILED, 0, true},
        {BOUNCE_FAILURE, OUTCOME_EXPIRED, 0, true},
        {BOUNCE_FAILURE, OUTCOME_FAILED, NOTIFY_NEVER, false},
        {BOUNCE_FAILURE, OUTCOME_FAILED, NOTIFY_SUCCESS, false},
        {BOUNCE_FAILURE, OUTCOME_FAILED, NOTIFY_DELAY, false},
        {BOUNCE_FAILURE, OUTCOME_FAILED, NOTIFY_FAILURE, true},
        {BOUNCE_FAILURE, OUTCOME_FAILED, NOTIFY_FAILURE | NOTIFY_NEVER, false},
        {BOUNCE_FAILURE, OUTCOME_DEFERRED, 0, false},
        {BOUNCE_FAILURE, OUTCOME_UNTRIED, 0, false},
        {BOUNCE_FAILURE, OUTCOME_DELIVERED, 0, false},
        {BOUNCE_DELAY, OUTCOME_DEFERRED, 0, true},
        {BOUNCE_DELAY, OUTCOME_DEFERRED, NOTIFY_FAILURE, false},
        {BOUNCE_DELAY, OUTCOME_DEFERRED, NOTIFY_DELAY, true},
        {BOUNCE_DELAY, OUTCOME_FAILED, 0, false},
        {BOUNCE_SUCCESS, OUTCOME_DELIVERED, 0, false},
        {BOUNCE_SUCCESS, OUTCOME_DELIVERED, NOTIFY_SUCCESS, true},
        {BOUNCE_SUCCESS, OUTCOME_DELIVERED, NOTIFY_FAILURE, false},
        {BOUNCE_SUCCESS, OUTCOME_FAILED, NOTIFY_SUCCESS, false},
    };
    struct fixture *f = *state;
    f->envelope.recipient_count = 1;
    for (size_t i = 0; i < countof(cases); i++) {
        f->bounce.kind = cases[i].kind;
        f->verdicts[0].outcome = cases[i].outcome;
        f->recipients[0].notify = cases[i].notify;
        assert_int_equal(bounce_wanted(&f->bounce), cases[i].told);
        f->envelope.reverse_path = SPAN("");
        assert_false(bounce_wanted(&f->bounce));
        f->envelope.reverse_path = SPAN("ann@example.org");
        f->envelope.flags = ENVELOPE_DSN;
        assert_false(bounce_wanted(&f->bounce));
        f->envelope.flags = 0;
    }
}

static void test_xtext(void **state)
{
    struct fixture *f = *state;
    f->envelope.envid = SPAN("QQ314159+2Bx+3D+0D+0AStatus:+zz+4");
    f->recipients[0].original = SPAN("rfc822;Bob+2BTag@Example.NET+0D+0AStatus: 2.0.0");
    struct parsed_report report = write_report(f);
    assert_field(report_group(&report, 0), "Original-Envelope-Id", "QQ314159+x=??Status:+zz+4");
    assert_field(report_group(&report, 1), "Original-Recipient",
                 "rfc822; Bob+Tag@Example.NET??Status: 2.0.0");
    static const struct span without_type[] = {SPAN("bob@example.net"), SPAN(";bob"),
                                               SPAN("rfc822;"), SPAN("rf c;bob"),
                                               SPAN("rfc\r\n;bob")};
    for (size_t i = 0; i < countof(without_type); i++) {
        f->recipients[0].original = without_type[i];
        report = write_report(f);
        assert_no_field(report_group(&report, 1), "Original-Recipient");
    }
}

static void test_whole_original(void **state)
{
    struct fixture *f = *state;
    f->envelope.ret = RET_FULL;
    struct parsed_report report = write_report(f);
    assert_field(report.parts[2].headers, "Content-Type", "message/rfc822");
    assert_span(report.parts[2].body,
                "Received: from x\r\n\tby y\r\nSubject: hello\r\nFrom: ann@example.org\r\n"
                "\r\nthe body\r\n.\r\n");
    f->original[2] = SPAN("\r\nth\xe9 body\r\n");
    report = write_report(f);
    assert_field(report.parts[2].headers, "Content-Type", "message/rfc822");
    assert_field(report.parts[2].headers, "Content-Transfer-Encoding", "8bit");
    assert_field(report.parts[1].headers, "Content-Transfer-Encoding", "7bit");
    assert_field(report.headers, "Content-Transfer-Encoding", "8bit");
    assert_int_equal(f->flags, ENVELOPE_DSN | ENVELOPE_8BIT | ENVELOPE_BODY_HAS_8BIT);
}

/* Only the headers come back if the whole would break the report, or was not asked for. */
static void test_not_whole(void **state)
{
    char long_line[2000];
    memset(long_line, 'x', sizeof long_line);
    memcpy(long_line, "\r\n", 2);
    memcpy(long_line + 1001, "\r\n", 2);
    const struct span bodies[] = {
        SPAN("\r\nbare\nLF\r\n"), SPAN("\r\nbare\rCR\r\n"), SPAN("\r\nNUL\0\r\n"),
        SPAN("\r\nno line end"),  SPAN("\r\nends in CR\r"), span_of(long_line, 1003),
    };
    struct fixture *f = *state;
    f->envelope.ret = RET_FULL;
    for (size_t i = 0; i < countof(bodies); i++) {
        f->original[2] = bodies[i];
        struct parsed_report report = write_report(f);
        assert_field(report.parts[2].headers, "Content-Type", "text/rfc822-headers");
    }
    memcpy(long_line + 1000, "\r\n", 2); /* 998 octets in the line */
    f->original[2] = span_of(long_line, 1002);
    struct parsed_report report = write_report(f);
    assert_field(report.parts[2].headers, "Content-Type", "message/rfc822");
    f->bounce.original_whole = false;
    report = write_report(f);
    assert_field(report.parts[2].headers, "Content-Type", "text/rfc822-headers");
    f->bounce.original_whole = true;
    f->envelope.ret = RET_HDRS;
    report = write_report(f);
    assert_field(report.parts[2].headers, "Content-Type", "text/rfc822-headers");
}

static void test_large_original(void **state)
{
    static char body[BOUNCE_ORIGINAL_MAX];
    for (size_t i = 0; i < sizeof body; i += 64) {
        memset(body + i, 'y', 62);
        memcpy(body + i + 62, "\r\n", 2);
    }
    memcpy(body, "\r\n", 2);
    struct fixture *f = *state;
    f->envelope.ret = RET_FULL;
    size_t headers_len = f->original[0].len + f->original[1].len;
    size_t room = (BOUNCE_ORIGINAL_MAX - headers_len) / 64 * 64;
    f->original[2] = span_of(body, room);
    struct parsed_report report = write_report(f);
    assert_field(report.parts[2].headers, "Content-Type", "message/rfc822");
    assert_int_equal(report.parts[2].body.len, headers_len + room);
    f->original[2] = span_of(body, sizeof body);
    report = write_report(f);
    assert_field(report.parts[2].headers, "Content-Type", "text/rfc822-headers");
    assert_int_equal(report.parts[2].body.len, headers_len);
}

static void test_no_original(void **state)
{
    struct fixture *f = *state;
    f->bounce.original_pieces = 0;
    assert_int_equal(write_report(f).part_count, 2);
}

/* Headers longer than a line may be are folded, never cut. */
static void test_long_header(void **state)
{
    char header[5001] = "Subject: ";
    memset(header + 9, 'z', sizeof header - 9);
    for (size_t at = 500; at + 1 < sizeof header; at += 2)
        memcpy(header + at, "\xc3\xbc", 2);
    header[sizeof header - 1] = '!';
    struct fixture *f = *state;
    f->original[0] = span_of(header, sizeof header);
    f->original[1] = SPAN("\r\n");
    struct parsed_report report = write_report(f);
    check_octets(report.parts[2].body);
    assert_field(report.parts[2].headers, "Content-Type", "message/global-headers");
    size_t text_len = 0;
    for (size_t i = 0; i < report.parts[2].body.len; i++)
        text_len += !strchr("\r\n ", report.parts[2].body.data[i]);
    assert_int_equal(text_len, sizeof header - 1); /* but for the blank behind the colon */
    assert_false(contains(report.parts[2].body, "?"));
}

static void test_hostile_headers_are_cleaned(void **state)
{
    struct fixture *f = *state;
    f->original[0] = SPAN("Subject: a\x1b[2Jb\rc\0d\x7f\xff\xc2\x9b\tz\nX: y\r\n");
    f->original[1] = SPAN("");
    struct parsed_report report = write_report(f);
    assert_span(report.parts[2].body, "Subject: a?[2Jb?c?d???\tz\r\nX: y\r\n");
}

static void test_hostile_texts_are_cleaned(void **state)
{
    struct fixture *f = *state;
    f->verdicts[0].reply.text = SPAN("no\r\n\r\n--x\r\nAction: delivered\x1b[31m\xff\0end");
    f->bounce.remote_mta = SPAN("mx\r\nX: y (evil)");
    f->recipients[0].address = SPAN("bob\r\nBcc: all@example.net");
    f->envelope.reverse_path = SPAN("ann>\r\nBcc: <all@example.org");
    f->bounce.hostname = SPAN("host\r\nname");
    struct parsed_report report = write_report(f);
    assert_field(report.headers, "To", "<ann>??Bcc: <all@example.org>");
    struct span recipient = report_group(&report, 1);
    assert_field(recipient, "Action", "failed");
    assert_field(recipient, "Diagnostic-Code",
                 "smtp; 550 5.1.1 no????"
                 "--x??Action: delivered?[31m??end");
    assert_field(recipient, "Remote-MTA", "dns; mx??X:");
    assert_field(recipient, "Final-Recipient", "rfc822; bob??Bcc: all@example.net");
}

static void test_long_texts_are_bounded(void **state)
{
    static char text[100000];
    memset(text, 'w', sizeof text);
    struct fixture *f = *state;
    struct span endless = span_of(text, sizeof text);
    f->verdicts[0].reply.text = f->bounce.remote_mta = f->bounce.hostname = endless;
    f->recipients[0].address = f->recipients[0].original = f->envelope.reverse_path = endless;
    f->envelope.envid = endless;
    write_report(f);
    assert_true(f->len < 16384);
}

static void test_utf8(void **state)
{
    struct fixture *f = *state;
    f->recipients[0].address = SPAN("b\xc3\xb6"
                                    "b@example.net");
    f->recipients[0].original = SPAN("utf-8;b\\x{F6}b@example.net");
    struct parsed_report report = write_report(f);
    assert_true(contains(report.headers, "report-type=global-delivery-status;"));
    assert_field(report.parts[0].headers, "Content-Type", "text/plain; charset=utf-8");
    assert_field(report.parts[1].headers, "Content-Type", "message/global-delivery-status");
    struct span recipient = report_group(&report, 1);
    assert_field(recipient, "Final-Recipient",
                 "utf-8; b\xc3\xb6"
                 "b@example.net");
    assert_field(recipient, "Original-Recipient", "utf-8; b\\x{F6}b@example.net");
    assert_int_equal(f->flags, ENVELOPE_DSN | ENVELOPE_8BIT | ENVELOPE_BODY_HAS_8BIT);

    f->envelope.reverse_path = SPAN("\xc3\xa4nn@example.org");
    report = write_report(f);
    assert_field(report.headers, "To", "<\xc3\xa4nn@example.org>");
    assert_int_equal(f->flags, ENVELOPE_DSN | ENVELOPE_8BIT | ENVELOPE_BODY_HAS_8BIT |
                                   ENVELOPE_UTF8 | ENVELOPE_HEADER_HAS_8BIT);
}

/* An original that holds the boundary we would have taken. */
static void test_boundary_is_not_in_the_original(void **state)
{
    struct fixture *f = *state;
    f->envelope.ret = RET_FULL;
    f->original[2] =
        SPAN("\r\n--=_report_fedcba9876543210_0--\r\n--=_report_fedcba9876543210_1\r\n");
    struct parsed_report report = write_report(f);
    assert_span(boundary_of(report.headers), "=_report_fedcba9876543210_2");
}

static void test_many_recipients(void **state)
{
    enum { COUNT = 1000 };
    struct fixture *f = *state;
    f->envelope.recipients = calloc(COUNT, sizeof *f->envelope.recipients);
    struct verdict *verdicts = calloc(COUNT, sizeof *verdicts);
    for (unsigned i = 0; i < COUNT; i++) {
        f->envelope.recipients[i] = f->recipients[0];
        verdicts[i] = f->verdicts[0];
    }
    f->envelope.recipient_count = COUNT;
    f->bounce.verdicts = verdicts;
    struct parsed_report report = write_report(f);
    assert_true(contains(report.parts[0].body, "these 1000 recipients"));
    assert_true(contains(report.parts[0].body, "and 950 more;"));
    assert_true(report_group(&report, COUNT).len > 0);
    assert_int_equal(report_group(&report, COUNT + 1).len, 0);
    free(verdicts);
    free(f->envelope.recipients);
}

/* Whatever the arena's limit: a whole report or none. */
static void test_no_memory(void **state)
{
    struct fixture *f = *state;
    unsigned refused_count = 0;
    for (size_t limit = 0; limit < 64 * 1024; limit += 512) {
        struct arena arena;
        struct text text;
        arena_init(&arena, &f->pool, limit);
        refused_count += !bounce_write(&f->bounce, &arena, &text, &f->flags);
        arena_fini(&arena);
    }
    assert_in_range(refused_count, 1, 40);
}

static void test_words(void **state)
{
    struct enhanced mailbox_full = {4, 2, 2}, unknown = {5, 2, 99}, none = {0};
    assert_true(contains(bounce_words(mailbox_full, 452, OUTCOME_DEFERRED), "full"));
    assert_true(contains(bounce_words(unknown, 550, OUTCOME_FAILED), "cannot take this message"));
    assert_true(contains(bounce_words(none, 552, OUTCOME_FAILED), "too large"));
    assert_true(contains(bounce_words(none, 0, OUTCOME_EXPIRED), "all the time"));
    for (unsigned class = 0; class < 10; class ++)
        for (unsigned subject = 0; subject < 12; subject++)
            for (unsigned detail = 0; detail < 40; detail++) {
                struct enhanced code = {(uint8_t) class, (uint16_t)subject, (uint16_t)detail};
                assert_true(bounce_words(code, 550, OUTCOME_FAILED).len > 0);
            }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_failure),
        TEST(test_delay),
        TEST(test_success_is_relayed),
        TEST(test_expired),
        TEST(test_internal_verdict_names_no_peer),
        TEST(test_status_of_another_class),
        TEST(test_who_is_told),
        TEST(test_xtext),
        TEST(test_whole_original),
        TEST(test_not_whole),
        TEST(test_large_original),
        TEST(test_no_original),
        TEST(test_long_header),
        TEST(test_hostile_headers_are_cleaned),
        TEST(test_hostile_texts_are_cleaned),
        TEST(test_long_texts_are_bounded),
        TEST(test_utf8),
        TEST(test_boundary_is_not_in_the_original),
        TEST(test_many_recipients),
        TEST(test_no_memory),
        cmocka_unit_test(test_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
