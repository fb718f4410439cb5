/* What a trace keeps, what it never keeps, and that it is bounded. */
#include "smtp/trace.h"

#include "core/clock.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct address peer;
static uint64_t interesting;

static int setup(void **state)
{
    static struct traces traces;
    traces_init(&traces);
    peer = (struct address){0};
    peer.v4.sin_family = AF_INET;
    inet_pton(AF_INET, "192.0.2.7", &peer.v4.sin_addr);
    interesting = 0;
    *state = &traces;
    return 0;
}

static int teardown(void **state)
{
    traces_fini(*state);
    return 0;
}

static void tell(struct traces *traces, char side, const char *text, const char *queue)
{
    struct trace_event event = {
        .wall_ms = 1,
        .side = side,
        .peer = &peer,
        .text = span_string(text),
        .queue = span_string(queue),
        .domain = span_string(queue),
        .interesting = &interesting,
    };
    traces_tell(traces, &event, NS_PER_S);
}

static unsigned fetch(struct traces *traces, uint64_t number, const char *expected)
{
    struct traced line;
    unsigned count = 0;
    char text[1024];
    struct sink sink;
    sink_init(&sink, text, sizeof text);
    while (trace_next(traces, number, NS_PER_S, &line)) {
        sink_put(&sink, line.text);
        sink_byte(&sink, '|');
        trace_take(traces, number);
        count++;
    }
    if (expected && !span_equals(sink_span(&sink), span_string(expected)))
        fail_msg("%.*s", SPAN_FORMAT(sink_span(&sink)));
    return count;
}

static void lines_and_secrets(void **state)
{
    struct traces *traces = *state;
    struct trace_filter all = {0};
    assert_false(traces_any(traces));
    uint64_t number = trace_start(traces, &all, 0);
    tell(traces, 'C', "EHLO x\r\nAUTH PLAIN AGFubgBzZWNyZXQ=\r\nauth login\r\nQUIT", "");
    tell(traces, 'S', "250-a\r\n250 b\r\n", "");
    fetch(traces, number, "EHLO x|AUTH PLAIN|auth login|QUIT|250-a|250 b|");
    struct trace_event event = {.side = 'C',
                                .peer = &peer,
                                .text = SPAN("c2VjcmV0\r\n"),
                                .hidden = true,
                                .interesting = &interesting};
    traces_tell(traces, &event, NS_PER_S);
    fetch(traces, number, "[hidden]|");
}

static void filters(void **state)
{
    struct traces *traces = *state;
    struct trace_filter here = {.address = "192.0.2.7"}, there = {.address = "192.0.2.8"};
    struct trace_filter domain = {.domain = "d.Example"}, queue = {.queue = "t@d.example"};
    uint64_t numbers[] = {trace_start(traces, &here, 0), trace_start(traces, &there, 0),
                          trace_start(traces, &domain, 0), trace_start(traces, &queue, 0)};
    assert_int_equal(trace_start(traces, &here, 0), 0);
    tell(traces, 'C', "RCPT TO:<a@dd.example>\r\nRCPT TO:<a@d.example.org>\r\n", "");
    fetch(traces, numbers[2], "");
    tell(traces, 'C', "RCPT TO:<a@D.example>\r\n", "");
    tell(traces, 'S', "250 ok\r\n", "");
    fetch(traces, numbers[2], "RCPT TO:<a@D.example>|250 ok|");
    assert_int_equal(fetch(traces, numbers[0], NULL), 4);
    fetch(traces, numbers[1], "");
    interesting = 0;
    tell(traces, 'C', "MAIL\r\n", "t@d.examples");
    fetch(traces, numbers[3], "");
    tell(traces, 'C', "RCPT\r\n", "t@d.example");
    fetch(traces, numbers[3], "RCPT|");
}

static void bounded(void **state)
{
    struct traces *traces = *state;
    struct trace_filter all = {0};
    uint64_t number = trace_start(traces, &all, 0);
    static char line[5000];
    memset(line, 'x', sizeof line - 1);
    for (unsigned i = 0; i < 1000; i++)
        tell(traces, 'S', line, "");
    unsigned kept = fetch(traces, number, NULL);
    assert_true(kept > 50 && kept < TRACE_BUFFER / TRACE_LINE + 1);
    assert_int_equal(trace_dropped(traces, number), 1000 - kept);
    assert_int_equal(trace_dropped(traces, number), 0);
    tell(traces, 'S', "again", "");
    fetch(traces, number, "again|");
}

static void forgotten(void **state)
{
    struct traces *traces = *state;
    struct trace_filter all = {0};
    uint64_t number = trace_start(traces, &all, 0);
    struct trace_event event = {
        .side = 'S', .peer = &peer, .text = SPAN("x"), .interesting = &interesting};
    traces_tell(traces, &event, (TRACE_FORGOTTEN_MS - 1) * NS_PER_MS);
    assert_true(traces_any(traces));
    traces_tell(traces, &event, TRACE_FORGOTTEN_MS * NS_PER_MS);
    assert_false(traces_any(traces));
    struct traced line;
    assert_false(trace_next(traces, number, 0, &line));
    trace_take(traces, number);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {TEST(lines_and_secrets), TEST(filters), TEST(bounded),
                                       TEST(forgotten)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
