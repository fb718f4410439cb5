/* The client dialogue where a transcript would be too long or too many: hostile bytes at every
 * step, bodies larger than one send, answers before their time, keywords. */
#include "smtp/client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct talk {
    struct client client;
    struct config_delivery delivery;
    struct chunk_pool pool;
    struct arena arena;
    struct recipient recipients[2];
    struct envelope envelope;
    struct verdict verdicts[2];
    struct span body;
    struct client_transaction transaction;
    size_t said; /* bytes since the last hear */
};

static void talk_init(struct talk *talk)
{
    *talk = (struct talk){
        .delivery = {.enable_pipelining = true, .enable_chunking = true},
        .recipients = {{.address = SPAN("b@d.example")}, {.address = SPAN("c@d.example")}},
        .body = SPAN("Subject: x\r\n\r\nx\r\n"),
    };
    talk->envelope = (struct envelope){
        .reverse_path = SPAN("a@s.example"), .recipients = talk->recipients, .recipient_count = 2};
    talk->transaction = (struct client_transaction){.envelope = &talk->envelope,
                                                    .verdicts = talk->verdicts,
                                                    .body = &talk->body,
                                                    .body_pieces = 1,
                                                    .arena = &talk->arena,
                                                    .owner = talk};
    struct client_settings settings = {.delivery = &talk->delivery, .ehlo_name = SPAN("me")};
    chunk_pool_init(&talk->pool, 1 << 20, 0);
    arena_init(&talk->arena, &talk->pool, 1 << 20);
    client_init(&talk->client, &settings);
}

static void talk_fini(struct talk *talk)
{
    arena_fini(&talk->arena);
    chunk_pool_fini(&talk->pool);
}

static size_t say(struct talk *talk, bool once)
{
    struct iovec iov[16];
    size_t bytes = 0;
    unsigned count;
    while ((count = client_output(&talk->client, iov, countof(iov)))) {
        for (unsigned i = 0; i < count; i++)
            bytes += iov[i].iov_len;
        if (once)
            break;
        client_sent(&talk->client);
    }
    return bytes;
}

static void hear(struct talk *talk, struct span bytes)
{
    client_input(&talk->client, &bytes);
    assert_int_equal(bytes.len, 0);
    talk->said = say(talk, false);
}

static void hear_text(struct talk *talk, const char *text)
{
    hear(talk, span_string(text));
}

static void greet(struct talk *talk, const char *keywords)
{
    hear_text(talk, "220 mx\r\n");
    hear_text(talk, keywords);
    assert_int_equal(client_state(&talk->client), CLIENT_READY);
}

/* Takes one clean transaction, so that the connection is proven. */
static void prove(struct talk *talk)
{
    struct client_result result;
    client_begin(&talk->client, &talk->transaction);
    say(talk, false);
    hear_text(talk, "250 ok\r\n250 ok\r\n250 ok\r\n");
    hear_text(talk, capable(&talk->client.capabilities, CAPABILITY_CHUNKING) ? "250 ok\r\n"
                                                                             : "354 ok\r\n");
    if (client_state(&talk->client) == CLIENT_BUSY)
        hear_text(talk, "250 ok\r\n");
    assert_true(client_take_result(&talk->client, &result));
    assert_int_equal(result.delivered, 2);
    memset(talk->verdicts, 0, sizeof talk->verdicts);
}

static const struct span hostile[] = {
    SPAN("\r\n"),
    SPAN("\n"),
    SPAN("250\n"),
    SPAN("250 ok\n"),
    SPAN("250 o\rk\r\n"),
    SPAN("250 ok\r\r\n"),
    SPAN("25\r\n"),
    SPAN("2500 ok\r\n"),
    SPAN("000 ok\r\n"),
    SPAN("100 ok\r\n"),
    SPAN("199 ok\r\n"),
    SPAN("600 ok\r\n"),
    SPAN("999 ok\r\n"),
    SPAN("ok\r\n"),
    SPAN("250-a\r\n251 b\r\n"),
    SPAN("250-a\r\n\r\n"),
    SPAN("\0\0\0\0"),
    SPAN("\x16\x03\x01\x02\x00"),
    SPAN("GET / HTTP/1.1\r\n"),
};

/* Replies up to the step at which the hostile bytes come. */
static const char *const until[] = {
    NULL,
    "220 mx\r\n",
    "",
    "250 ok\r\n",
    "250 ok\r\n250 ok\r\n",
    "250 ok\r\n250 ok\r\n250 ok\r\n",
    "250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n",
};

static void expect_deferred(struct talk *talk, bool may_duplicate)
{
    struct client_result result;
    assert_int_equal(client_state(&talk->client), CLIENT_FAILED);
    assert_int_equal(client_trouble(&talk->client), CLIENT_NONSENSE);
    assert_true(client_take_result(&talk->client, &result));
    assert_ptr_equal(result.owner, talk);
    assert_int_equal(result.deferred, 2);
    assert_int_equal(result.may_duplicate, may_duplicate);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(talk->verdicts[i].outcome, OUTCOME_DEFERRED);
        assert_true(talk->verdicts[i].reply.internal);
        assert_int_equal(talk->verdicts[i].reply.code, 451);
    }
}

static void run_hostile(struct span bytes, unsigned step)
{
    struct talk talk;
    talk_init(&talk);
    if (step == 1)
        hear_text(&talk, until[1]);
    if (step > 1) {
        greet(&talk, "250-mx\r\n250 PIPELINING\r\n");
        client_begin(&talk.client, &talk.transaction);
        say(&talk, false);
        hear_text(&talk, until[step]);
    }
    hear(&talk, bytes);
    assert_int_equal(talk.said, 0);
    if (step > 1)
        expect_deferred(&talk, step == 6);
    else
        assert_int_equal(client_trouble(&talk.client), CLIENT_NONSENSE);
    hear_text(&talk, "250 ok\r\n");
    client_quit(&talk.client);
    client_lost(&talk.client, false);
    assert_int_equal(client_state(&talk.client), CLIENT_FAILED);
    assert_int_equal(say(&talk, false), 0);
    talk_fini(&talk);
}

static void test_hostile(void **state)
{
    for (unsigned step = 0; step < countof(until); step++)
        for (size_t i = 0; i < countof(hostile); i++)
            run_hostile(hostile[i], step);
}

/* Well-formed replies that are impossible at their step. */
static void test_impossible_codes(void **state)
{
    static const char *const impossible[] = {
        "354 go\r\n", "354 go\r\n", "354 go\r\n", "354 go\r\n",
        "354 go\r\n", "250 ok\r\n", "354 go\r\n",
    };
    for (unsigned step = 0; step < countof(until); step++)
        run_hostile(span_string(impossible[step]), step);
}

static void test_endless(void **state)
{
    static const struct {
        const char *before, *again;
    } cases[] = {{"220 ", "xxxxxxxxxxxxxxxx"}, {"", "220-x\r\n"}, {"", "220-\r\n"}};
    for (size_t i = 0; i < countof(cases); i++) {
        struct talk talk;
        talk_init(&talk);
        uint32_t progress = client_progress(&talk.client);
        hear_text(&talk, cases[i].before);
        unsigned rounds = 0;
        while (client_state(&talk.client) == CLIENT_GREETING) {
            assert_int_equal(client_progress(&talk.client), progress);
            hear_text(&talk, cases[i].again);
            assert_true(++rounds <= REPLY_BYTES);
        }
        assert_int_equal(client_trouble(&talk.client), CLIENT_NONSENSE);
        talk_fini(&talk);
    }
}

/* A body goes out in sends of bounded size; each is progress; nothing goes while one is held. */
static void test_large_body(void **state)
{
    struct talk talk;
    size_t len = 3 * CLIENT_OUTPUT + 10, sent = 0;
    char *body = malloc(len);
    memset(body, 'x', len);
    memcpy(body + len - 2, "\r\n", 2);
    talk_init(&talk);
    talk.body = span_of(body, len);
    talk.delivery.data_timeout_ms = 5;
    talk.delivery.data_dot_timeout_ms = 6;
    greet(&talk, "250-mx\r\n250 PIPELINING\r\n");
    client_begin(&talk.client, &talk.transaction);
    say(&talk, false);
    struct span replies = SPAN("250 ok\r\n250 ok\r\n250 ok\r\n354 ok\r\n");
    client_input(&talk.client, &replies);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(client_wait_ms(&talk.client), 5);
        uint32_t progress = client_progress(&talk.client);
        size_t bytes = say(&talk, true);
        assert_true(bytes > 0 && bytes <= CLIENT_OUTPUT + 5);
        assert_int_equal(say(&talk, true), 0);
        client_sent(&talk.client);
        assert_int_not_equal(client_progress(&talk.client), progress);
        sent += bytes;
    }
    assert_int_equal(sent, len + 3);
    assert_int_equal(client_wait_ms(&talk.client), 6);
    hear_text(&talk, "250 ok\r\n");
    assert_int_equal(talk.verdicts[1].outcome, OUTCOME_DELIVERED);
    talk_fini(&talk);
    free(body);
}

/* What the server says while the body is on its way. */
static void test_early_answers(void **state)
{
    static const struct {
        const char *reply;
        unsigned outcome, code, trouble;
    } cases[] = {
        {"552 5.3.4 too big\r\n", OUTCOME_FAILED, 552, CLIENT_NONSENSE},
        {"451 4.3.0 disk\r\n", OUTCOME_DEFERRED, 451, CLIENT_NONSENSE},
        {"250 2.0.0 thanks\r\n", OUTCOME_DEFERRED, 451, CLIENT_NONSENSE},
        {"354 go on\r\n", OUTCOME_DEFERRED, 451, CLIENT_NONSENSE},
        {"421 4.3.0 bye\r\n", OUTCOME_DEFERRED, 421, CLIENT_CLOSING},
    };
    size_t len = 2 * CLIENT_OUTPUT;
    char *body = calloc(1, len);
    memset(body, 'x', len);
    for (size_t i = 0; i < countof(cases); i++) {
        for (unsigned chunking = 0; chunking < 2; chunking++) {
            struct talk talk;
            struct client_result result;
            talk_init(&talk);
            talk.body = span_of(body, len);
            greet(&talk, chunking ? "250-mx\r\n250-CHUNKING\r\n250 PIPELINING\r\n"
                                  : "250-mx\r\n250 PIPELINING\r\n");
            client_begin(&talk.client, &talk.transaction);
            say(&talk, false);
            struct span replies =
                span_string(chunking ? "250 ok\r\n250 ok\r\n250 ok\r\n"
                                     : "250 ok\r\n250 ok\r\n250 ok\r\n354 ok\r\n");
            client_input(&talk.client, &replies);
            assert_true(say(&talk, true) > 0);
            replies = span_string(cases[i].reply);
            client_input(&talk.client, &replies);
            assert_int_equal(client_trouble(&talk.client), cases[i].trouble);
            assert_false(client_take_result(&talk.client, &result)); /* the kernel has the body */
            client_sent(&talk.client);
            assert_true(client_take_result(&talk.client, &result));
            assert_false(result.may_duplicate);
            assert_int_equal(talk.verdicts[0].outcome, cases[i].outcome);
            assert_int_equal(talk.verdicts[1].reply.code, cases[i].code);
            assert_int_equal(say(&talk, true), 0);
            talk_fini(&talk);
        }
    }
    free(body);
}

/* A peer that answers a body it cannot have read: its bytes stay while a send has them. */
static void test_answer_overtakes_send(void **state)
{
    struct talk talk;
    struct client_result result;
    talk_init(&talk);
    greet(&talk, "250-mx\r\n250-CHUNKING\r\n250 PIPELINING\r\n");
    prove(&talk);
    client_begin(&talk.client, &talk.transaction);
    assert_true(say(&talk, true) > 0);
    struct span replies = SPAN("250 ok\r\n250 ok\r\n250 ok\r\n250 taken\r\n");
    client_input(&talk.client, &replies);
    assert_int_equal(client_state(&talk.client), CLIENT_READY);
    assert_false(client_take_result(&talk.client, &result));
    client_sent(&talk.client);
    assert_true(client_take_result(&talk.client, &result));
    assert_int_equal(result.delivered, 2);
    talk_fini(&talk);
}

/* A reply to a command that was never handed out. */
static void test_reply_before_command(void **state)
{
    struct talk talk;
    struct client_result result;
    for (unsigned used = 0; used < 2; used++) {
        talk_init(&talk);
        greet(&talk, "250-mx\r\n250 PIPELINING\r\n");
        if (used)
            prove(&talk);
        client_begin(&talk.client, &talk.transaction);
        hear_text(&talk, "250 ok\r\n");
        assert_int_equal(client_trouble(&talk.client), CLIENT_NONSENSE);
        assert_true(client_take_result(&talk.client, &result));
        assert_int_equal(result.untried, used ? 2 : 0);
        assert_int_equal(result.attempted, !used);
        talk_fini(&talk);
    }
}

/* No memory for texts: the verdicts stand without them. */
static void test_arena_full(void **state)
{
    struct talk talk;
    talk_init(&talk);
    talk.arena.limit = 0;
    greet(&talk, "250-mx\r\n250 PIPELINING\r\n");
    client_begin(&talk.client, &talk.transaction);
    say(&talk, false);
    hear_text(&talk, "550 5.7.1 go away\r\n");
    assert_int_equal(talk.verdicts[0].outcome, OUTCOME_FAILED);
    assert_int_equal(talk.verdicts[0].reply.code, 550);
    assert_int_equal(talk.verdicts[0].reply.enhanced.subject, 7);
    assert_int_equal(talk.verdicts[0].reply.text.len, 0);
    talk_fini(&talk);
}

/* However few iovecs the caller has, the bytes are the same. */
static void test_few_iovecs(void **state)
{
    for (unsigned max = 4; max <= 8; max++) {
        struct talk talk;
        char wire[512];
        size_t len = 0;
        talk_init(&talk);
        talk.body = SPAN(".\r\n.\r\n.\r\n.\r\n.\r\n.\r\n");
        greet(&talk, "250-mx\r\n250 PIPELINING\r\n");
        client_begin(&talk.client, &talk.transaction);
        say(&talk, false);
        struct span replies = SPAN("250 ok\r\n250 ok\r\n250 ok\r\n354 ok\r\n");
        client_input(&talk.client, &replies);
        struct iovec iov[8];
        unsigned count;
        while ((count = client_output(&talk.client, iov, max))) {
            for (unsigned i = 0; i < count; i++) {
                memcpy(wire + len, iov[i].iov_base, iov[i].iov_len);
                len += iov[i].iov_len;
            }
            client_sent(&talk.client);
        }
        assert_true(
            span_equals(span_of(wire, len), SPAN("..\r\n..\r\n..\r\n..\r\n..\r\n..\r\n.\r\n")));
        talk_fini(&talk);
    }
}

static void test_capabilities(void **state)
{
    static const struct {
        const char *line;
        unsigned set;
        uint64_t size, rcpt_max, mail_max;
    } cases[] = {
        {"PIPELINING", CAPABILITY_PIPELINING, 0, 0, 0},
        {"pipelining", CAPABILITY_PIPELINING, 0, 0, 0},
        {"  PIPELINING  ", CAPABILITY_PIPELINING, 0, 0, 0},
        {"PIPELINING2", 0, 0, 0, 0},
        {"PIPE", 0, 0, 0, 0},
        {"", 0, 0, 0, 0},
        {"SIZE", CAPABILITY_SIZE, 0, 0, 0},
        {"SIZE 0", CAPABILITY_SIZE, 0, 0, 0},
        {"SIZE 123456", CAPABILITY_SIZE, 123456, 0, 0},
        {"SIZE 18446744073709551615", CAPABILITY_SIZE, UINT64_MAX, 0, 0},
        {"SIZE 18446744073709551616", CAPABILITY_SIZE, 0, 0, 0},
        {"SIZE -1", CAPABILITY_SIZE, 0, 0, 0},
        {"SIZE 12x", CAPABILITY_SIZE, 0, 0, 0},
        {"SIZE=5", 0, 0, 0, 0},
        {"8BITMIME", CAPABILITY_8BITMIME, 0, 0, 0},
        {"SMTPUTF8", CAPABILITY_SMTPUTF8, 0, 0, 0},
        {"DSN", CAPABILITY_DSN, 0, 0, 0},
        {"CHUNKING", CAPABILITY_CHUNKING, 0, 0, 0},
        {"ENHANCEDSTATUSCODES", CAPABILITY_ENHANCED_CODES, 0, 0, 0},
        {"LIMITS RCPTMAX=7", 0, 0, 7, 0},
        {"limits mailmax=3 rcptmax=7", 0, 0, 7, 3},
        {"LIMITS RCPTDOMAINMAX=1 RCPTMAX=0 MAILMAX=-2", 0, 0, 0, 0},
        {"LIMITS RCPTMAX= MAILMAX=9999999", 0, 0, 0, 0},
        {"LIMITS", 0, 0, 0, 0},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct capabilities capabilities = {0};
        capabilities_add(&capabilities, span_string(cases[i].line));
        assert_int_equal(capabilities.set, cases[i].set);
        assert_true(capabilities.size == cases[i].size);
        assert_true(capabilities.rcpt_max == cases[i].rcpt_max);
        assert_true(capabilities.mail_max == cases[i].mail_max);
    }
}

/* What the greeting line says is a name, not a keyword; keywords beyond the kept text count. */
static void test_ehlo_lines(void **state)
{
    struct talk talk;
    char reply[8192] = "250-PIPELINING\r\n";
    for (unsigned i = 0; i < 100; i++)
        strcat(reply, "250-XKEYWORD some words to fill the text that is kept\r\n");
    strcat(reply, "250 CHUNKING\r\n");
    talk_init(&talk);
    greet(&talk, reply);
    assert_int_equal(talk.client.capabilities.set, CAPABILITY_CHUNKING);
    assert_true(span_equals(client_peer_name(&talk.client), SPAN("PIPELINING")));
    talk_fini(&talk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_impossible_codes),
        cmocka_unit_test(test_endless),
        cmocka_unit_test(test_large_body),
        cmocka_unit_test(test_early_answers),
        cmocka_unit_test(test_reply_before_command),
        cmocka_unit_test(test_answer_overtakes_send),
        cmocka_unit_test(test_arena_full),
        cmocka_unit_test(test_few_iovecs),
        cmocka_unit_test(test_capabilities),
        cmocka_unit_test(test_ehlo_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
