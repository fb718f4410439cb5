/* Who a proxy says it speaks for: PROXY headers of both versions, and XCLIENT. */
#include "core/check.h"
#include "core/proxy_header.h"
#include "smtp/xclient.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define V2 "\r\n\r\n\0\r\nQUIT\n"

static const struct header_case {
    struct span input;
    enum proxy_result result;
    const char *source; /* with port; "": none */
    size_t left;        /* octets behind the header */
} headers[] = {
    {SPAN("PROXY TCP4 192.0.2.1 192.0.2.2 4711 25\r\nEHLO"), PROXY_DONE, "192.0.2.1:4711", 4},
    {SPAN("PROXY TCP6 2001:db8::1 ::1 65535 0\r\n"), PROXY_DONE, "[2001:db8::1]:65535", 0},
    {SPAN("PROXY UNKNOWN\r\n"), PROXY_DONE, "", 0},
    {SPAN("PROXY UNKNOWN ffff::1 ffff::2 1 2\r\nE"), PROXY_DONE, "", 1},
    {SPAN("PROXY TCP4 192.0.2.1 192.0.2.2 4711 25\n"), PROXY_BAD, "", 0},
    {SPAN("PROXY TCP4 192.0.2.1 192.0.2.2 4711\r\n"), PROXY_BAD, "", 0},
    {SPAN("PROXY TCP4 192.0.2.1 192.0.2.2 4711 25 6\r\n"), PROXY_BAD, "", 0},
    {SPAN("PROXY TCP4 192.0.2.1 192.0.2.2 65536 25\r\n"), PROXY_BAD, "", 0},
    {SPAN("PROXY TCP4 192.0.2.1 192.0.2.2 -1 25\r\n"), PROXY_BAD, "", 0},
    {SPAN("PROXY TCP4  192.0.2.1 192.0.2.2 1 25\r\n"), PROXY_BAD, "", 0},
    {SPAN("PROXY TCP4 2001:db8::1 192.0.2.2 1 25\r\n"), PROXY_BAD, "", 0},
    {SPAN("PROXY TCP6 192.0.2.1 192.0.2.2 1 25\r\n"), PROXY_BAD, "", 0},
    {SPAN("PROXY TCP4 unix:/x 192.0.2.2 1 25\r\n"), PROXY_BAD, "", 0},
    {SPAN("PROXY TCP4 192.0.2.1:9 192.0.2.2 1 25\r\n"), PROXY_BAD, "", 0},
    {SPAN("PROXY UDP4 192.0.2.1 192.0.2.2 1 25\r\n"), PROXY_BAD, "", 0},
    {SPAN("proxy TCP4 192.0.2.1 192.0.2.2 1 25\r\n"), PROXY_BAD, "", 0},
    {SPAN("PROXYTCP4 192.0.2.1 192.0.2.2 1 25\r\n"), PROXY_BAD, "", 0},
    {SPAN("EHLO client.example\r\n"), PROXY_BAD, "", 0},
    {SPAN(
         "PROXY UNKNOWN xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
         "xxxxxxxxxxxxxxxxxxxxx"),
     PROXY_BAD, "", 0},
    {SPAN(V2 "\x21\x11\0\x0c\xc0\0\2\1\xc0\0\2\2\x12\x67\0\x19"
             "EHLO"),
     PROXY_DONE, "192.0.2.1:4711", 4},
    {SPAN(V2 "\x21\x11\0\x10\xc0\0\2\1\xc0\0\2\2\x12\x67\0\x19\x04\0\1xE"), PROXY_DONE,
     "192.0.2.1:4711", 1},
    {SPAN(V2 "\x20\x11\0\x0c\xc0\0\2\1\xc0\0\2\2\x12\x67\0\x19"), PROXY_DONE, "", 0},
    {SPAN(V2 "\x21\0\0\0E"), PROXY_DONE, "", 1},
    {SPAN(V2 "\x21\x11\0\x0b\xc0\0\2\1\xc0\0\2\2\x12\x67\0"), PROXY_BAD, "", 0},
    {SPAN(V2 "\x21\x21\0\x0c\xc0\0\2\1\xc0\0\2\2\x12\x67\0\x19"), PROXY_BAD, "", 0},
    {SPAN(V2 "\x21\x12\0\x0c\xc0\0\2\1\xc0\0\2\2\x12\x67\0\x19"), PROXY_BAD, "", 0},
    {SPAN(V2 "\x11\x11\0\x0c\xc0\0\2\1\xc0\0\2\2\x12\x67\0\x19"), PROXY_BAD, "", 0},
    {SPAN(V2 "\x22\x11\0\x0c\xc0\0\2\1\xc0\0\2\2\x12\x67\0\x19"), PROXY_BAD, "", 0},
    {SPAN(V2 "\x21\x11\xff\xff\xc0\0\2\1\xc0\0\2\2\x12\x67\0\x19xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"),
     PROXY_BAD, "", 0},
    {SPAN("\r\n\r\n\0\r\nQUIX"), PROXY_BAD, "", 0},
    {SPAN("PROXY TCP4"), PROXY_MORE, "", 0},
    {SPAN(V2), PROXY_MORE, "", 0},
};

static void judge(const struct header_case *test, size_t piece)
{
    struct proxy_header header = {0};
    struct address source = {0};
    enum proxy_result result = PROXY_MORE;
    size_t consumed = 0;
    for (struct span rest = test->input; rest.len && result == PROXY_MORE;) {
        struct span part = span_first(rest, piece), left = part;
        result = proxy_header_read(&header, &left, &source);
        consumed += part.len - left.len;
        rest = span_skip(rest, part.len);
    }
    if (result != test->result)
        fail_msg("case %zu in pieces of %zu: %d", (size_t)(test - headers), piece, result);
    if (result != PROXY_DONE)
        return;
    char text[ADDRESS_TEXT];
    struct sink sink;
    sink_init(&sink, text, sizeof text);
    if (source.family != AF_UNSPEC)
        address_put(&source, &sink);
    if (!span_equals(sink_span(&sink), span_string(test->source)))
        fail_msg("case %zu: %.*s", (size_t)(test - headers), SPAN_FORMAT(sink_span(&sink)));
    assert_int_equal(consumed, test->input.len - test->left);
}

static void test_headers(void **state)
{
    for (size_t i = 0; i < countof(headers); i++)
        for (size_t piece = 1; piece <= headers[i].input.len; piece++)
            judge(&headers[i], piece);
}

/* What follows the addresses is skipped, up to the bound and not beyond it. */
static void test_header_bound(void **state)
{
    static char text[PROXY_HEADER_MOST + 2];
    for (size_t len = PROXY_HEADER_MOST - 1; len <= PROXY_HEADER_MOST + 1; len++) {
        struct proxy_header header = {0};
        struct address source;
        memcpy(text, V2 "\x21\x11", 14);
        text[14] = (char)((len - 16) >> 8);
        text[15] = (char)(len - 16);
        struct span input = span_of(text, len);
        assert_int_equal(proxy_header_read(&header, &input, &source),
                         len <= PROXY_HEADER_MOST ? PROXY_DONE : PROXY_BAD);
    }
}

static void test_xclient(void **state)
{
    struct xclient client;
    assert_true(xclient_read(
        SPAN(" ADDR=192.0.2.1  port=4711 LOGIN=jo+2Be NAME=a HELO=b PROTO=smtp"), &client));
    assert_int_equal(client.address.family, AF_INET);
    assert_int_equal(address_port(&client.address), 4711);
    assert_true(client.has_login && span_equals(client.login, SPAN("jo+e")));
    assert_true(xclient_read(SPAN(" addr=ipv6:2001:db8::1"), &client));
    assert_int_equal(client.address.family, AF_INET6);
    assert_true(
        xclient_read(SPAN(" ADDR=[UNAVAILABLE] PORT=[UNAVAILABLE] LOGIN=[TEMPUNAVAIL]"), &client));
    assert_true(client.has_address && client.address.family == AF_UNSPEC && !client.has_login);
}

static void test_xclient_refused(void **state)
{
    static const struct span bad[] = {
        SPAN(""),
        SPAN(" "),
        SPAN(" ADDR"),
        SPAN(" ADDR="),
        SPAN(" =x"),
        SPAN(" ADDR=2001:db8::1"),
        SPAN(" ADDR=IPV6:192.0.2.1"),
        SPAN(" ADDR=192.0.2.1:25"),
        SPAN(" ADDR=unix:/x"),
        SPAN(" ADDR=192.0.2.256"),
        SPAN(" ADDR=192.0.2.1 ADDR=192.0.2.1"),
        SPAN(" PORT=65536"),
        SPAN(" PORT=-1"),
        SPAN(" PROTO=LMTP"),
        SPAN(" REVERSE=x"),
        SPAN(" LOGIN=a+0Ab"),
        SPAN(" LOGIN=a+00"),
        SPAN(" LOGIN=a+7F"),
        SPAN(" LOGIN=a+4"),
        SPAN(" LOGIN=a+GG"),
        SPAN(" HELO=a+0D"),
    };
    char text[2 * XCLIENT_VALUE];
    struct xclient client;
    for (size_t i = 0; i < countof(bad); i++)
        if (xclient_read(bad[i], &client))
            fail_msg("case %zu is taken", i);
    for (size_t len = XCLIENT_VALUE - 1; len <= XCLIENT_VALUE + 1; len++) {
        struct sink sink;
        sink_init(&sink, text, sizeof text);
        sink_put(&sink, SPAN(" LOGIN="));
        for (size_t i = 0; i < len; i++)
            sink_byte(&sink, 'x');
        assert_int_equal(xclient_read(sink_span(&sink), &client), len <= XCLIENT_VALUE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_headers),
        cmocka_unit_test(test_header_bound),
        cmocka_unit_test(test_xclient),
        cmocka_unit_test(test_xclient_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
