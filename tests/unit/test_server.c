/* What transcripts cannot show: the calls a binding makes from outside (deadlines, draining,
 * refusals), phases, memory that is borrowed and comes back, pools that are empty. */
#include "tests/server_harness.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

struct fixture {
    struct harness harness;
    struct server server;
};

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    harness_init(&fixture->harness, 4096);
    harness_begin(&fixture->harness, &fixture->server);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    harness_end(&fixture->harness, &fixture->server);
    harness_fini(&fixture->harness);
    free(fixture);
    return 0;
}

static void say(struct fixture *fixture, const char *input)
{
    harness_feed(&fixture->harness, &fixture->server, span_string(input));
}

static void expect(struct fixture *fixture, const char *replies)
{
    struct span is = sink_span(&fixture->harness.replies);
    if (!span_equals(is, span_string(replies)))
        fail_msg("replied \"%.*s\", should be \"%s\"", SPAN_FORMAT(is), replies);
    fixture->harness.replies.len = 0;
}

static void begin_data(struct fixture *fixture)
{
    say(fixture, "HELO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nDATA\r\n");
    fixture->harness.replies.len = 0;
}

static void test_greeting(void **state)
{
    struct fixture *fixture = *state;
    server_greet(&fixture->server, &fixture->harness.replies);
    expect(fixture, "220 mx.example ESMTP Ringpost\r\n");
    server_refuse(LIMIT_connections, &fixture->harness.replies);
    expect(fixture, "421 4.7.0 Too many connections, please try again later\r\n");
    server_refuse(LIMIT_connections_per_address, &fixture->harness.replies);
    expect(fixture, "421 4.7.0 Too many connections from your address\r\n");
}

static void test_phases(void **state)
{
    struct fixture *fixture = *state;
    struct server *server = &fixture->server;
    assert_int_equal(server_phase(server), PHASE_IDLE);
    say(fixture, "HELO");
    assert_int_equal(server_phase(server), PHASE_COMMAND);
    say(fixture, " c\r\n");
    assert_int_equal(server_phase(server), PHASE_IDLE);
    say(fixture, "MAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\n");
    assert_int_equal(server_phase(server), PHASE_IDLE);
    assert_false(server_between_messages(server));
    say(fixture, "BDAT 4\r\na: ");
    assert_int_equal(server_phase(server), PHASE_DATA);
    assert_int_equal(server->data_octets, 3);
    say(fixture, "b");
    assert_int_equal(server_phase(server), PHASE_IDLE);
    say(fixture, "RSET\r\n");
    assert_true(server_between_messages(server));
    begin_data(fixture);
    assert_int_equal(server_phase(server), PHASE_DATA);
    say(fixture, "a: b\r\n");
    assert_int_equal(server->data_octets, 10);
    say(fixture, ".\r\n");
    assert_int_equal(server_phase(server), PHASE_IDLE);
    say(fixture, "QUIT\r\n");
    assert_int_equal(server_phase(server), PHASE_CLOSED);
}

static void test_idle_borrows_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct slots *slots = &fixture->harness.slots;
    say(fixture, "HELO c\r\nMAIL FR");
    assert_int_equal(slots->in_use, 1);
    say(fixture, "OM:<>\r\nRCPT TO:<a@b.example>\r\n");
    assert_int_equal(slots->in_use, 0);
    say(fixture, "BDAT 1\r\naNO");
    assert_int_equal(slots->in_use, 2);
    say(fixture, "OP\r\nBDAT 0 LAST\r\n");
    assert_int_equal(slots->in_use, 0);
    assert_int_equal(fixture->harness.share.alive, 0);
    assert_true(sizeof(struct server) <= 440);
}

static void test_ends(void **state)
{
    static const struct {
        enum limit limit;
        const char *reply;
    } ends[] = {
        {LIMIT_idle_ms, "421 4.4.2 Idle for too long\r\n"},
        {LIMIT_command_ms, "421 4.4.2 Command took too long\r\n"},
        {LIMIT_data_rate, "421 4.4.2 Message arrives too slowly\r\n"},
    };
    struct fixture *fixture = *state;
    for (size_t i = 0; i < countof(ends); i++) {
        begin_data(fixture);
        assert_int_equal(fixture->harness.share.alive, 1);
        server_end(&fixture->server, ends[i].limit, &fixture->harness.replies);
        expect(fixture, ends[i].reply);
        assert_int_equal(fixture->harness.share.alive, 0);
        say(fixture, "NOOP\r\n");
        assert_true(fixture->harness.closed);
        expect(fixture, "");
        harness_end(&fixture->harness, &fixture->server);
        harness_begin(&fixture->harness, &fixture->server);
    }
}

static void test_drain(void **state)
{
    struct fixture *fixture = *state;
    begin_data(fixture);
    server_drain(&fixture->server);
    say(fixture, "a: b\r\n.\r\nNOOP\r\nMAIL FROM:<>\r\nNOOP\r\n");
    expect(fixture, "250 2.0.0 Ok: queued as 0000000000000001\r\n250 2.0.0 Ok\r\n"
                    "421 4.3.2 Shutting down, please reconnect later\r\n");
    assert_true(fixture->harness.closed);
}

static void test_shutdown(void **state)
{
    struct fixture *fixture = *state;
    say(fixture, "HELO c\r\n");
    fixture->harness.replies.len = 0;
    server_shutdown(&fixture->server, &fixture->harness.replies);
    expect(fixture, "421 4.3.2 Shutting down, please reconnect later\r\n");
    assert_int_equal(server_phase(&fixture->server), PHASE_CLOSED);
}

/* The owner gives up on a commit: what it learns later is not answered. */
static void test_end_while_storing(void **state)
{
    struct fixture *fixture = *state;
    struct sink *replies = &fixture->harness.replies;
    begin_data(fixture);
    struct seal *seal;
    struct vet *vet;
    struct span input = SPAN("a: b\r\n.\r\nNOOP\r\n");
    assert_int_equal(server_input(&fixture->server, &input, replies, 1), WANT_STORE);
    assert_true(span_equals(input, SPAN("NOOP\r\n")));
    assert_int_equal(server_phase(&fixture->server), PHASE_STORE);
    assert_false(server_between_messages(&fixture->server));
    message_abandon(server_take_message(&fixture->server, &seal, &vet));
    assert_int_equal(server_input(&fixture->server, &input, replies, 1), WANT_STORE);
    expect(fixture, "");
    server_shutdown(&fixture->server, replies);
    server_stored(&fixture->server, 0, replies);
    expect(fixture, "421 4.3.2 Shutting down, please reconnect later\r\n");
}

/* The connection goes before the message is taken: it is not ours. */
static void test_gone_before_taken(void **state)
{
    struct fixture *fixture = *state;
    begin_data(fixture);
    struct span input = SPAN("a: b\r\n.\r\n");
    assert_int_equal(server_input(&fixture->server, &input, &fixture->harness.replies, 1),
                     WANT_STORE);
    assert_int_equal(fixture->harness.share.alive, 1);
    server_fini(&fixture->server);
    assert_int_equal(fixture->harness.share.alive, 0);
}

static void test_no_slots(void **state)
{
    struct fixture *fixture = *state;
    say(fixture, "HELO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\n");
    fixture->harness.replies.len = 0;
    fixture->harness.slots.limit = 0;
    say(fixture, "NOOP\r\nDATA\r\n");
    expect(fixture, "250 2.0.0 Ok\r\n452 4.3.1 Not enough storage now, please try again later\r\n");
    say(fixture, "BDAT 6 LAST\r\nQUIT\r\n");
    expect(fixture, "452 4.3.1 Not enough storage now, please try again later\r\n");
    say(fixture, "NOO");
    expect(fixture, "421 4.3.2 Too busy, please reconnect later\r\n");
    assert_true(fixture->harness.closed);
}

/* Replies never pile up beyond the sink: input waits instead. */
static void test_output_is_bounded(void **state)
{
    struct fixture *fixture = *state;
    char room[SERVER_REPLY_ROOM + 100];
    struct sink sink;
    sink_init(&sink, room, sizeof room);
    struct span input =
        SPAN("HELO c\r\nNOOP\r\nNOOP\r\nNOOP\r\nNOOP\r\nNOOP\r\nNOOP\r\nNOOP\r\nNOOP\r\n"
             "NOOP\r\nNOOP\r\nNOOP\r\nNOOP\r\nNOOP\r\nNOOP\r\nNOOP\r\n");
    assert_int_equal(server_input(&fixture->server, &input, &sink, 1), WANT_OUTPUT);
    assert_true(input.len > 0 && !sink.full);
    sink.len = 0;
    while (server_input(&fixture->server, &input, &sink, 1) == WANT_OUTPUT)
        sink.len = 0;
    assert_int_equal(input.len, 0);
}

static void test_protocol(void **state)
{
    struct fixture *fixture = *state;
    say(fixture, "HELO cli(ent\r\n");
    assert_true(span_equals(server_protocol(&fixture->server), SPAN("SMTP")));
    assert_true(span_equals(server_helo(&fixture->server), SPAN("cli?ent")));
    say(fixture, "EHLO other\r\n");
    assert_true(span_equals(server_protocol(&fixture->server), SPAN("ESMTP")));
    say(fixture, "MAIL FROM:<> SMTPUTF8\r\n");
    assert_true(span_equals(server_protocol(&fixture->server), SPAN("UTF8SMTP")));
    say(fixture, "RSET\r\n");
    assert_true(span_equals(server_protocol(&fixture->server), SPAN("ESMTP")));
}

/* ---- STARTTLS: what stands behind it ---- */

static const char smuggled[] = "421 4.7.0 Nothing may follow STARTTLS before its answer\r\n";

static void test_plain_text_behind_starttls(void **state)
{
    struct fixture *fixture = *state;
    fixture->harness.settings.starttls = true;
    say(fixture, "STARTTLS\r\nEHLO thief.example\r\nMAIL FROM:<a@b.example>\r\n");
    expect(fixture, smuggled);
    assert_true(fixture->harness.closed);
    say(fixture, "RSET\r\n");
    expect(fixture, "");
}

/* One octet is enough, and so is the beginning of a handshake. */
static void test_octet_behind_starttls(void **state)
{
    struct fixture *fixture = *state;
    fixture->harness.settings.starttls = true;
    say(fixture, "NOOP\r\nSTARTTLS\r\n\x16");
    expect(fixture, "250 2.0.0 Ok\r\n421 4.7.0 Nothing may follow STARTTLS before its answer\r\n");
    assert_true(fixture->harness.closed);
}

/* In the next segment: the binding sees it. */
static void test_segment_behind_starttls(void **state)
{
    struct fixture *fixture = *state;
    fixture->harness.settings.starttls = true;
    fixture->harness.start_tls = START_TLS_SMUGGLED;
    say(fixture, "STARTTLS\r\n");
    expect(fixture, smuggled);
    assert_int_equal(server_phase(&fixture->server), PHASE_CLOSED);
}

static void test_phase_of_the_handshake(void **state)
{
    struct fixture *fixture = *state;
    fixture->harness.settings.starttls = true;
    say(fixture, "EHLO client.example\r\nSTARTTLS\r\n");
    assert_int_equal(server_phase(&fixture->server), PHASE_TLS);
    assert_false(server_between_messages(&fixture->server)); /* a drain cannot say 421 now */
    assert_false(server_is_secured(&fixture->server));
    say(fixture, "EHLO client.example\r\n");
    assert_int_equal(server_phase(&fixture->server), PHASE_IDLE);
    assert_true(server_is_secured(&fixture->server));
    assert_true(span_equals(server_protocol(&fixture->server), SPAN("ESMTPS")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_greeting, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_phases, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_idle_borrows_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_ends, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_drain, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_shutdown, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_end_while_storing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_gone_before_taken, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_slots, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_output_is_bounded, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_protocol, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_plain_text_behind_starttls, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_octet_behind_starttls, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_segment_behind_starttls, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_phase_of_the_handshake, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("server", tests, NULL, NULL);
}
