/* Event lines, read by an independent JSON library and by our own reader. */
#include "queue/event.h"

#include "core/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>
#include <jansson.h>

struct fixture {
    struct recipient recipients[EVENT_RECIPIENTS];
    struct envelope envelope;
    struct attempt attempt;
    struct reply_summary reply;
    struct event event;
    char text[EVENT_LINE_MAX], scratch[EVENT_LINE_MAX];
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->recipients[0] = (struct recipient){.address = SPAN("bob@example.net"),
                                          .original = SPAN("rfc822;Bob@example.net")};
    f->recipients[1].address = SPAN("eve@example.net");
    f->envelope = (struct envelope){
        .id = 0x00aa00bb00cc00dd,
        .arrived_ms = 1795534000500,
        .size = 10240,
        .reverse_path = SPAN("ann@example.org"),
        .envid = SPAN("QQ314159"),
        .tenant = SPAN("acme"),
        .campaign = SPAN("spring"),
        .recipient_count = 2,
        .recipients = f->recipients,
    };
    f->attempt = (struct attempt){
        .source = SPAN("ip-1"),
        .site = SPAN("mx.example.net"),
        .peer_name = SPAN("mx.example.net"),
        .protocol = SPAN("ESMTP"),
        .started_ms = 1795534940000,
    };
    assert_true(address_parse(SPAN("192.0.2.1"), 25, &f->attempt.peer));
    assert_true(address_parse(SPAN("[2001:db8::9]:4711"), 0, &f->attempt.local));
    f->reply = (struct reply_summary){
        .code = 550,
        .enhanced = {5, 1, 1},
        .text = SPAN("no such user"),
        .command = SPAN("RCPT"),
    };
    f->event = (struct event){
        .type = EVENT_BOUNCE,
        .envelope = &f->envelope,
        .recipient = &f->recipients[0],
        .queue = SPAN("spring:acme@example.net"),
        .attempt = &f->attempt,
        .reply = &f->reply,
        .wall_ms = 1795534940123,
        .attempts = 2,
        .row_due_ms = 1795534939000,
        .dsn_id = 0x1111222233334444,
        .node = SPAN("6f9619ff-8b86-d011-b42d-00c04fc964ff"),
    };
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    free(*state);
    return 0;
}

static struct span write_line(struct fixture *f)
{
    struct sink sink;
    sink_init(&sink, f->text, sizeof f->text);
    event_write(&f->event, &sink);
    assert_false(sink.full);
    struct span line = sink_span(&sink);
    assert_true(utf8_valid(line));
    for (size_t i = 0; i < line.len; i++)
        assert_true((unsigned char)line.data[i] >= 0x20 && line.data[i] != 0x7f);
    return line;
}

static json_t *write_json(struct fixture *f)
{
    struct span line = write_line(f);
    json_error_t error;
    json_t *json = json_loadb(line.data, line.len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (!json)
        fail_msg("%s in %.*s", error.text, SPAN_FORMAT(line));
    return json;
}

/* "a.b" looks into the object a. */
static json_t *member(json_t *json, const char *path)
{
    const char *dot = strchr(path, '.');
    if (!dot)
        return json_object_get(json, path);
    char first[64] = {0};
    memcpy(first, path, (size_t)(dot - path));
    return member(json_object_get(json, first), dot + 1);
}

static void assert_text(json_t *json, const char *path, const char *expected)
{
    const char *value = json_string_value(member(json, path));
    if (!value || strcmp(value, expected) != 0)
        fail_msg("%s is \"%s\", not \"%s\"", path, value ? value : "(no string)", expected);
}

static void assert_number(json_t *json, const char *path, long long expected)
{
    assert_true(json_is_integer(member(json, path)));
    assert_int_equal(json_integer_value(member(json, path)), expected);
}

static void assert_null_member(json_t *json, const char *path)
{
    assert_true(json_is_null(member(json, path)));
}

static void test_bounce(void **state)
{
    json_t *json = write_json(*state);
    assert_text(json, "type", "Bounce");
    assert_text(json, "id", "00aa00bb00cc00dd");
    assert_text(json, "sender", "ann@example.org");
    assert_text(json, "recipient", "bob@example.net");
    assert_text(json, "queue", "spring:acme@example.net");
    assert_text(json, "site", "ip-1->mx.example.net@smtp_client");
    assert_number(json, "size", 10240);
    assert_number(json, "response.code", 550);
    assert_number(json, "response.enhanced_code.class", 5);
    assert_number(json, "response.enhanced_code.subject", 1);
    assert_number(json, "response.enhanced_code.detail", 1);
    assert_text(json, "response.content", "no such user");
    assert_text(json, "response.command", "RCPT");
    assert_text(json, "peer_address.name", "mx.example.net");
    assert_text(json, "peer_address.addr", "192.0.2.1");
    assert_number(json, "timestamp", 1795534940);
    assert_text(json, "event_time", "2026-11-24T15:42:20.123Z");
    assert_number(json, "created", 1795534000);
    assert_text(json, "created_time", "2026-11-24T15:26:40.500Z");
    assert_number(json, "num_attempts", 2);
    assert_text(json, "bounce_classification", "Uncategorized");
    assert_null_member(json, "egress_pool");
    assert_text(json, "egress_source", "ip-1");
    assert_text(json, "source_address.address", "[2001:db8::9]:4711");
    assert_text(json, "delivery_protocol", "ESMTP");
    assert_null_member(json, "reception_protocol");
    assert_null_member(json, "feedback_report");
    assert_text(json, "meta.tenant", "acme");
    assert_text(json, "meta.campaign", "spring");
    assert_true(json_is_object(member(json, "headers")));
    assert_text(json, "nodeid", "6f9619ff-8b86-d011-b42d-00c04fc964ff");
    assert_number(json, "row_due", 1795534939000);
    assert_text(json, "attempt_started", "2026-11-24T15:42:20.000Z");
    assert_number(json, "duration_ms", 123);
    assert_text(json, "envid", "QQ314159");
    assert_text(json, "orcpt", "rfc822;Bob@example.net");
    assert_text(json, "dsn_id", "1111222233334444");
    assert_null(member(json, "is_dsn"));
    assert_null(member(json, "internal"));
    assert_null(member(json, "may_duplicate"));
    assert_null(member(json, "next_attempt"));
    json_decref(json);
}

/* How safe it travelled, in the field names of KumoMTA and one of our own; nothing in the clear. */
static void test_tls(void **state)
{
    struct fixture *f = *state;
    json_t *json = write_json(f);
    assert_null(member(json, "tls_cipher"));
    assert_null(member(json, "tls_protocol_version"));
    assert_null(member(json, "tls_verified"));
    assert_null(member(json, "tls_peer_subject_name"));
    json_decref(json);
    f->attempt.tls_version = SPAN("TLSv1.3");
    f->attempt.tls_cipher = SPAN("TLS_AES_256_GCM_SHA384");
    json = write_json(f);
    assert_text(json, "tls_protocol_version", "TLSv1.3");
    assert_text(json, "tls_cipher", "TLS_AES_256_GCM_SHA384");
    assert_true(json_is_false(member(json, "tls_verified")));
    json_decref(json);
    f->attempt.tls_verified = true;
    f->attempt.tls_subject = SPAN("/C=DE/O=Either/Or/CN=mx.example.net");
    json = write_json(f);
    assert_true(json_is_true(member(json, "tls_verified")));
    json_t *subject = member(json, "tls_peer_subject_name");
    static const char *const names[] = {"C=DE", "O=Either/Or", "CN=mx.example.net"};
    assert_int_equal(json_array_size(subject), countof(names));
    for (size_t n = 0; n < countof(names); n++)
        assert_string_equal(json_string_value(json_array_get(subject, n)), names[n]);
    json_decref(json);
}

static void test_reception(void **state)
{
    struct fixture *f = *state;
    f->event = (struct event){
        .type = EVENT_RECEPTION,
        .envelope = &f->envelope,
        .queue = SPAN("example.net"),
        .peer_name = SPAN("client.example"),
        .wall_ms = 1795534940123,
        .reception_protocol = SPAN("ESMTP"),
    };
    assert_true(address_parse(SPAN("127.0.0.1"), 25, &f->event.peer));
    f->envelope.tenant = f->envelope.campaign = f->envelope.reverse_path = SPAN("");
    f->envelope.flags = ENVELOPE_DSN;
    json_t *json = write_json(f);
    assert_text(json, "type", "Reception");
    assert_text(json, "sender", "");
    assert_int_equal(json_array_size(member(json, "recipient")), 2);
    assert_string_equal(json_string_value(json_array_get(member(json, "recipient"), 1)),
                        "eve@example.net");
    assert_text(json, "site", "");
    assert_number(json, "response.code", 250);
    assert_text(json, "response.content", "");
    assert_null_member(json, "response.command");
    assert_text(json, "peer_address.name", "client.example");
    assert_text(json, "peer_address.addr", "127.0.0.1");
    assert_null_member(json, "egress_source");
    assert_null_member(json, "source_address");
    assert_null_member(json, "delivery_protocol");
    assert_text(json, "reception_protocol", "ESMTP");
    assert_int_equal(json_object_size(member(json, "meta")), 0);
    assert_true(json_is_true(member(json, "is_dsn")));
    assert_null(member(json, "row_due"));
    assert_null(member(json, "attempt_started"));
    assert_null(member(json, "orcpt"));
    json_decref(json);
}

static void test_transient(void **state)
{
    struct fixture *f = *state;
    f->event.type = EVENT_TRANSIENT_FAILURE;
    f->event.next_due_ms = 1795535000000;
    f->event.dsn_id = 0;
    f->attempt.may_duplicate = true;
    f->attempt.peer = (struct address){0};
    f->attempt.source = (struct span){0};
    f->attempt.started_ms = f->event.wall_ms + 5; /* the clock stepped back */
    f->reply = (struct reply_summary){.code = 451, .internal = true, .text = SPAN("no answer")};
    json_t *json = write_json(f);
    assert_text(json, "type", "TransientFailure");
    assert_text(json, "next_attempt", "2026-11-24T15:43:20.000Z");
    assert_true(json_is_true(member(json, "may_duplicate")));
    assert_true(json_is_true(member(json, "internal")));
    assert_null_member(json, "peer_address");
    assert_null_member(json, "response.enhanced_code");
    assert_text(json, "site", "unspecified->mx.example.net@smtp_client");
    assert_number(json, "duration_ms", 0);
    assert_null(member(json, "dsn_id"));
    json_decref(json);
}

/* Whatever a string holds, a JSON library reads the same text back; bad UTF-8 becomes U+FFFD. */
static void test_hostile_strings(void **state)
{
    struct fixture *f = *state;
    char every_byte[256];
    for (int i = 0; i < 256; i++)
        every_byte[i] = (char)i;
    f->recipients[0].address = f->recipients[0].original = f->reply.text = f->reply.command =
        f->event.queue = f->envelope.reverse_path = f->envelope.envid = f->envelope.tenant =
            f->envelope.campaign = f->attempt.source = f->attempt.site = f->attempt.peer_name =
                f->attempt.protocol = f->event.node = span_of(every_byte, 256);
    json_t *json = write_json(f);
    const char *text = json_string_value(member(json, "response.content"));
    assert_memory_equal(text, every_byte, 128);
    assert_int_equal(json_string_length(member(json, "response.content")), 128 + 128 * 3);
    assert_memory_equal(text + 128, "\xef\xbf\xbd\xef\xbf\xbd", 6);
    json_decref(json);
}

/* The promise of EVENT_LINE_MAX, with everything as long and as bad as it can be. */
static void test_longest_line(void **state)
{
    static char controls[100000];
    struct fixture *f = *state;
    memset(controls, 1, sizeof controls);
    struct span endless = span_of(controls, sizeof controls);
    for (int i = 0; i < EVENT_RECIPIENTS; i++)
        f->recipients[i].address = f->recipients[i].original = endless;
    f->event.recipient = NULL;
    f->envelope.recipient_count = EVENT_RECIPIENTS;
    f->reply.text = f->reply.command = f->event.queue = f->envelope.reverse_path =
        f->envelope.envid = f->envelope.tenant = f->envelope.campaign = f->attempt.source =
            f->attempt.site = f->attempt.peer_name = f->attempt.protocol = f->event.node =
                f->event.reception_protocol = endless;
    f->attempt.may_duplicate = f->reply.internal = true;
    f->event.next_due_ms = f->event.wall_ms = f->event.row_due_ms = UINT64_MAX;
    f->envelope.size = f->envelope.arrived_ms = UINT64_MAX;
    struct span line = write_line(f);
    assert_true(line.len > EVENT_LINE_MAX / 2);
}

static void test_some_recipients(void **state)
{
    struct fixture *f = *state;
    f->event.recipient_count = 2;
    json_t *json = write_json(f);
    assert_int_equal(json_array_size(member(json, "recipient")), 2);
    json_decref(json);
}

static void test_small_sink(void **state)
{
    struct fixture *f = *state;
    size_t len = write_line(f).len;
    for (size_t capacity = 0; capacity <= len; capacity++) {
        struct sink sink;
        sink_init(&sink, f->scratch, capacity);
        event_write(&f->event, &sink);
        assert_int_equal(sink.full, capacity < len);
    }
}

static bool read_back(struct fixture *f, struct span line, struct event_summary *ret_summary)
{
    struct sink scratch;
    sink_init(&scratch, f->scratch, line.len);
    return event_read(line, &scratch, ret_summary);
}

static void test_read_back(void **state)
{
    struct fixture *f = *state;
    for (unsigned type = 0; type < EVENT_TYPES; type++) {
        struct event_summary summary;
        f->event.type = (enum event_type)type;
        f->recipients[0].address = SPAN("\"b\\\"\xc3\xb6\"@example.net");
        f->reply.internal = type % 2;
        assert_true(read_back(f, write_line(f), &summary));
        assert_int_equal(summary.type, type);
        assert_int_equal(summary.final, type == EVENT_DELIVERY || type == EVENT_BOUNCE ||
                                            type == EVENT_EXPIRATION || type == EVENT_ADMIN_BOUNCE);
        assert_int_equal(summary.id, f->envelope.id);
        assert_int_equal(summary.dsn_id, f->event.dsn_id);
        assert_int_equal(summary.row_due_ms, f->event.row_due_ms);
        assert_int_equal(summary.wall_ms, 1795534940000);
        assert_true(span_equals(summary.recipient, f->recipients[0].address));
        assert_true(span_equals(summary.queue, f->event.queue));
        assert_true(span_equals(summary.peer_name, f->attempt.peer_name));
        assert_int_equal(summary.reply.code, 550);
        assert_int_equal(summary.reply.enhanced.class, 5);
        assert_int_equal(summary.reply.enhanced.detail, 1);
        assert_true(span_equals(summary.reply.text, f->reply.text));
        assert_true(span_equals(summary.reply.command, f->reply.command));
        assert_int_equal(summary.reply.internal, type % 2);
    }
}

static void test_read_several_recipients(void **state)
{
    struct fixture *f = *state;
    struct event_summary summary;
    f->event.recipient = NULL;
    assert_true(read_back(f, write_line(f), &summary));
    assert_int_equal(summary.recipient.len, 0);
}

/* A line cut anywhere is no line. */
static void test_read_cut(void **state)
{
    struct fixture *f = *state;
    struct event_summary summary;
    struct span line = write_line(f);
    for (size_t len = 0; len < line.len; len++)
        assert_false(read_back(f, span_first(line, len), &summary));
}

static void test_read_refuses(void **state)
{
    static const struct span lines[] = {
        SPAN("{}"),
        SPAN("{\"type\":\"Bounce\",\"id\":\"00aa00bb00cc00dd\",\"queue\":\"q\"}"),
        SPAN("{\"type\":\"Bounced\",\"id\":\"00aa00bb00cc00dd\",\"queue\":\"q\",\"timestamp\":1}"),
        SPAN("{\"type\":\"Bounce\",\"id\":\"00aa00bb00cc00d\",\"queue\":\"q\",\"timestamp\":1}"),
        SPAN("{\"type\":\"Bounce\",\"id\":\"00aa00bb00cc00dd\",\"queue\":\"q\",\"timestamp\":-1}"),
        SPAN("{\"type\":\"Bounce\",\"id\":\"00aa00bb00cc00dd\",\"queue\":\"q\",\"timestamp\":1,"
             "\"response\":{\"code\":1000}}"),
        SPAN("{\"type\":\"Bounce\",\"id\":\"00aa00bb00cc00dd\",\"queue\":\"q\",\"timestamp\":1,"
             "\"recipient\":\"\\ud800\"}"),
    };
    struct fixture *f = *state;
    struct event_summary summary;
    for (size_t i = 0; i < countof(lines); i++)
        assert_false(read_back(f, lines[i], &summary));
    assert_true(read_back(f,
                          SPAN("{\"type\":\"Bounce\",\"id\":\"00aa00bb00cc00dd\",\"queue\":\"q\","
                               "\"timestamp\":1,\"new\":[{\"a\":[]}]}"),
                          &summary));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_bounce),          TEST(test_tls),
        TEST(test_reception),       TEST(test_transient),
        TEST(test_hostile_strings), TEST(test_longest_line),
        TEST(test_some_recipients), TEST(test_small_sink),
        TEST(test_read_back),       TEST(test_read_several_recipients),
        TEST(test_read_cut),        TEST(test_read_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
