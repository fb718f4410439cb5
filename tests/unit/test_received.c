/* The trace field, whole, and what peers put into it. */
#include "core/check.h"
#include "smtp/received.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

struct received_case {
    const char *helo, *peer, *protocol, *wanted, *recipient;
};

static const struct received_case cases[] = {
    {"client.example", "192.0.2.7", "ESMTP",
     "Received: from client.example ([192.0.2.7])\r\n"
     "\tby mx.example with ESMTP id 00000000000000ff;\r\n"
     "\tThu, 01 Jan 1970 00:00:01 +0000\r\n"},
    {"[192.0.2.9]", "2001:db8::1", "UTF8SMTP",
     "Received: from [192.0.2.9] ([IPv6:2001:db8::1])\r\n"
     "\tby mx.example with UTF8SMTP id 00000000000000ff;\r\n"
     "\tThu, 01 Jan 1970 00:00:01 +0000\r\n"},
    {"", "192.0.2.7", "SMTP",
     "Received: from [192.0.2.7] ([192.0.2.7])\r\n"
     "\tby mx.example with SMTP id 00000000000000ff;\r\n"
     "\tThu, 01 Jan 1970 00:00:01 +0000\r\n"},
    {"client.example", "", "SMTP",
     "Received: from client.example\r\n"
     "\tby mx.example with SMTP id 00000000000000ff;\r\n"
     "\tThu, 01 Jan 1970 00:00:01 +0000\r\n"},
    {"", "", "SMTP",
     "Received: from unknown\r\n"
     "\tby mx.example with SMTP id 00000000000000ff;\r\n"
     "\tThu, 01 Jan 1970 00:00:01 +0000\r\n"},
    {"", "", "SMTP",
     "Received: from unknown\r\n"
     "\tby mx.example with SMTP id 00000000000000ff\r\n"
     "\tfor <\"a;b\"@d.example>;\r\n"
     "\tThu, 01 Jan 1970 00:00:01 +0000\r\n",
     "\"a;b\"@d.example"},
};

static void peer_of(const char *text, struct address *ret_peer)
{
    *ret_peer = (struct address){0};
    if (inet_pton(AF_INET, text, &ret_peer->v4.sin_addr) == 1)
        ret_peer->v4.sin_family = AF_INET;
    else if (inet_pton(AF_INET6, text, &ret_peer->v6.sin6_addr) == 1)
        ret_peer->v6.sin6_family = AF_INET6;
}

static void test_whole(void **state)
{
    for (size_t i = 0; i < countof(cases); i++) {
        struct address peer;
        peer_of(cases[i].peer, &peer);
        struct received received = {
            .helo = span_string(cases[i].helo),
            .peer = &peer,
            .hostname = SPAN("mx.example"),
            .protocol = span_string(cases[i].protocol),
            .id = 255,
            .recipient = span_string(cases[i].recipient ? cases[i].recipient : ""),
            .wall_ms = 1999,
        };
        char text[RECEIVED_TEXT];
        struct sink sink;
        sink_init(&sink, text, sizeof text);
        received_put(&received, &sink);
        assert_false(sink.full);
        assert_true(span_equals(sink_span(&sink), span_string(cases[i].wanted)));
    }
}

static void test_tls(void **state)
{
    struct address peer;
    struct tls_facts tls = {.version = SPAN("TLSv1.3"), .cipher = SPAN("TLS_AES_128_GCM_SHA256")};
    struct received received = {
        .helo = SPAN("client.example"),
        .peer = &peer,
        .hostname = SPAN("mx.example"),
        .protocol = SPAN("ESMTPS"),
        .tls = &tls,
        .id = 255,
        .wall_ms = 1999,
    };
    char text[RECEIVED_TEXT];
    struct sink sink;
    peer_of("192.0.2.7", &peer);
    sink_init(&sink, text, sizeof text);
    received_put(&received, &sink);
    assert_true(span_equals(sink_span(&sink),
                            SPAN("Received: from client.example ([192.0.2.7])\r\n"
                                 "\t(using TLSv1.3 with cipher TLS_AES_128_GCM_SHA256)\r\n"
                                 "\tby mx.example with ESMTPS id 00000000000000ff;\r\n"
                                 "\tThu, 01 Jan 1970 00:00:01 +0000\r\n")));
    tls.verified = true;
    tls.subject = SPAN("/CN=(client)\\\r\n\xe4");
    sink_init(&sink, text, sizeof text);
    received_put(&received, &sink);
    assert_true(span_starts_with(sink_span(&sink),
                                 SPAN("Received: from client.example ([192.0.2.7])\r\n"
                                      "\t(using TLSv1.3 with cipher TLS_AES_128_GCM_SHA256,\r\n"
                                      "\tverified client /CN=?client??"
                                      "??"
                                      "?)\r\n\tby mx")));
}

/* The longest names that can come still fit. */
static void test_room(void **state)
{
    char name[RECEIVED_FOR_MAX];
    memset(name, 'x', sizeof name);
    char subject[1000];
    struct tls_facts tls = {
        .version = SPAN("TLSv1.3"),
        .cipher = SPAN("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"),
        .subject = span_of(memset(subject, '(', sizeof subject), sizeof subject),
        .verified = true,
    };
    struct address peer;
    peer_of("2001:db8:1111:2222:3333:4444:5555:6666", &peer);
    struct received received = {
        .helo = span_of(name, 255),
        .peer = &peer,
        .hostname = span_of(name, 255),
        .protocol = SPAN("UTF8SMTPSA"),
        .tls = &tls,
        .id = UINT64_MAX,
        .recipient = span_of(name, sizeof name),
        .wall_ms = UINT64_MAX,
    };
    char text[RECEIVED_TEXT];
    struct sink sink;
    sink_init(&sink, text, sizeof text);
    received_put(&received, &sink);
    sink_put(&sink, SPAN("\r\n"));
    assert_false(sink.full);
}

static void test_clean(void **state)
{
    static const struct {
        struct span helo, cleaned;
    } names[] = {
        {SPAN("a-b_c.D9"), SPAN("a-b_c.D9")},
        {SPAN("[IPv6:::1]"), SPAN("[IPv6:::1]")},
        {SPAN("a(b)c;d\"e\\f<g>h,i@j"), SPAN("a?b?c?d?e?f?g?h?i?j")},
        {SPAN("\r\n\t\0\x1b\x7f\xc3\xa4"), SPAN("????????")},
    };
    for (size_t i = 0; i < countof(names); i++) {
        char text[64];
        struct sink sink;
        sink_init(&sink, text, sizeof text);
        helo_clean(names[i].helo, &sink);
        assert_true(span_equals(sink_span(&sink), names[i].cleaned));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole),
        cmocka_unit_test(test_tls),
        cmocka_unit_test(test_room),
        cmocka_unit_test(test_clean),
    };
    return cmocka_run_group_tests_name("received", tests, NULL, NULL);
}
