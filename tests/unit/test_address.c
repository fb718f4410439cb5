#include "core/address.h"
#include "core/check.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include <stdio.h>

static struct span text_of(const struct address *address, char storage[ADDRESS_TEXT],
                           void (*put)(const struct address *, struct sink *))
{
    struct sink sink;
    sink_init(&sink, storage, ADDRESS_TEXT);
    put(address, &sink);
    assert_false(sink.full);
    return sink_span(&sink);
}

static void assert_span(struct span span, const char *expected)
{
    if (!span_equals(span, span_string(expected)))
        fail_msg("'%.*s' is not '%s'", SPAN_FORMAT(span), expected);
}

static void test_parse_and_put(void **state)
{
    static const struct {
        const char *text, *with_port, *host, *literal;
    } cases[] = {
        {"192.0.2.1", "192.0.2.1:25", "192.0.2.1", "[192.0.2.1]"},
        {"192.0.2.1:2525", "192.0.2.1:2525", "192.0.2.1", "[192.0.2.1]"},
        {"0.0.0.0:0", "0.0.0.0:0", "0.0.0.0", "[0.0.0.0]"},
        {"255.255.255.255:65535", "255.255.255.255:65535", "255.255.255.255", "[255.255.255.255]"},
        {"::1", "[::1]:25", "::1", "[IPv6:::1]"},
        {"[::1]", "[::1]:25", "::1", "[IPv6:::1]"},
        {"[::1]:587", "[::1]:587", "::1", "[IPv6:::1]"},
        {"2001:DB8::1:25", "[2001:db8::1:25]:25", "2001:db8::1:25", "[IPv6:2001:db8::1:25]"},
        {"[::]:25", "[::]:25", "::", "[IPv6:::]"},
        {"::ffff:192.0.2.1", "[::ffff:192.0.2.1]:25", "::ffff:192.0.2.1",
         "[IPv6:::ffff:192.0.2.1]"},
        {"unix:/run/ringpost", "unix:/run/ringpost", "unix:/run/ringpost", "[unix:/run/ringpost]"},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct address address;
        char storage[ADDRESS_TEXT];
        if (!address_parse(span_string(cases[i].text), 25, &address))
            fail_msg("refused: %s", cases[i].text);
        assert_span(text_of(&address, storage, address_put), cases[i].with_port);
        assert_span(text_of(&address, storage, address_put_host), cases[i].host);
        assert_span(text_of(&address, storage, address_put_literal), cases[i].literal);
    }
}

static void test_no_addresses(void **state)
{
    static const char *const cases[] = {
        "",
        " ",
        "localhost",
        "mail.example",
        "127.1",
        "127.0.0",
        "127.0.0.1.",
        "127.0.0.1.5",
        ".127.0.0.1",
        "127..0.1",
        "010.0.0.1",
        "00.0.0.1",
        "0x7f.0.0.1",
        "2130706433",
        "256.0.0.1",
        "1.2.3.+4",
        "1.2.3. 4",
        " 1.2.3.4",
        "1.2.3.4 ",
        "1.2.3.4:",
        "1.2.3.4:65536",
        "1.2.3.4:-1",
        "1.2.3.4:25:25",
        "1.2.3.4:smtp",
        "[1.2.3.4]",
        "[1.2.3.4]:25",
        "[::1",
        "::1]",
        "[]",
        "[]:25",
        "[::1]25",
        "[::1]:",
        "[::1]:x",
        ":25",
        ":::",
        "1::2::3",
        "12345::",
        "fe80::1%eth0",
        "unix:",
        "unix",
        "::1/128",
        "1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb:cccc",
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct address address;
        if (address_parse(span_string(cases[i]), 25, &address))
            fail_msg("taken: '%s'", cases[i]);
    }
    struct address address;
    assert_false(address_parse(span_of("::1\0", 4), 25, &address));
    assert_false(address_parse(span_of("unix:/a\0b", 9), 25, &address));
}

static void test_unix_path_length(void **state)
{
    char text[5 + sizeof(((struct sockaddr_un *)0)->sun_path) + 1] = "unix:";
    struct address address;
    char storage[ADDRESS_TEXT + 8];
    size_t longest = sizeof address.unix_path.sun_path - 1;
    memset(text + 5, 'p', longest);
    assert_true(address_parse(span_of(text, 5 + longest), 0, &address));
    struct sink sink;
    sink_init(&sink, storage, sizeof storage);
    address_put(&address, &sink);
    assert_true(span_equals(sink_span(&sink), span_of(text, 5 + longest)));
    text[5 + longest] = 'p';
    assert_false(address_parse(span_of(text, 5 + longest + 1), 0, &address));
}

/* What accept reports for a Unix peer: a family without a path. */
static void test_unix_without_path(void **state)
{
    struct address address = {.len = sizeof(sa_family_t)};
    address.any.sa_family = AF_UNIX;
    char storage[ADDRESS_TEXT];
    assert_span(text_of(&address, storage, address_put), "unix:");
}

static void test_no_address_has_a_text(void **state)
{
    struct address address = {0};
    char storage[ADDRESS_TEXT];
    assert_span(text_of(&address, storage, address_put), "none");
    assert_int_equal(address_port(&address), 0);
    uint8_t bits[16];
    assert_false(address_bits(&address, bits));
}

static void test_ports(void **state)
{
    static const char *const hosts[] = {"192.0.2.1", "2001:db8::1"};
    for (size_t i = 0; i < countof(hosts); i++) {
        struct address address;
        assert_true(address_parse(span_string(hosts[i]), 25, &address));
        assert_int_equal(address_port(&address), 25);
        address_set_port(&address, 587);
        assert_int_equal(address_port(&address), 587);
    }
}

static void test_split_host(void **state)
{
    static const struct {
        const char *text, *host;
        unsigned port;
    } good[] = {
        {"mail.example", "mail.example", 25}, {"mail.example:2525", "mail.example", 2525},
        {"[::1]:2525", "::1", 2525},          {"[::1]", "::1", 25},
        {"192.0.2.1:26", "192.0.2.1", 26},
    };
    for (size_t i = 0; i < countof(good); i++) {
        struct span host;
        uint16_t port;
        assert_true(address_split_host(span_string(good[i].text), 25, &host, &port));
        assert_span(host, good[i].host);
        assert_int_equal(port, good[i].port);
    }
    static const char *const bad[] = {"",   ":25",  "a:",   "a:b",    "a:25:26",
                                      "[a", "[]:1", "[a]b", "a:65536"};
    for (size_t i = 0; i < countof(bad); i++) {
        struct span host;
        uint16_t port;
        if (address_split_host(span_string(bad[i]), 25, &host, &port))
            fail_msg("taken: '%s'", bad[i]);
    }
}

static void test_networks(void **state)
{
    static const struct {
        const char *network, *address;
        bool contains;
    } cases[] = {
        {"10.0.0.0/8", "10.255.1.2", true},
        {"10.0.0.0/8", "11.0.0.0", false},
        {"10.0.0.0/8", "9.255.255.255", false},
        {"192.0.2.128/25", "192.0.2.128", true},
        {"192.0.2.128/25", "192.0.2.127", false},
        {"192.0.2.1", "192.0.2.1", true},
        {"192.0.2.1", "192.0.2.2", false},
        {"192.0.2.1/32", "192.0.2.1", true},
        {"0.0.0.0/0", "203.0.113.9", true},
        {"0.0.0.0/0", "2001:db8::1", false},
        {"::/0", "2001:db8::1", true},
        {"::/0", "192.0.2.1", true},
        {"fd00::/8", "fd12::1", true},
        {"fd00::/8", "fe00::1", false},
        {"2001:db8::/33", "2001:db8:7fff::", true},
        {"2001:db8::/33", "2001:db8:8000::", false},
        {"::1", "::1", true},
        {"::1/128", "::2", false},
        {"10.0.0.0/8", "::ffff:10.1.1.1", true},
        {"::ffff:10.0.0.0/104", "10.1.1.1", true},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct network network;
        struct address address;
        assert_true(network_parse(span_string(cases[i].network), &network));
        assert_true(address_parse(span_string(cases[i].address), 0, &address));
        if (network_contains(&network, &address) != cases[i].contains)
            fail_msg("%s and %s", cases[i].network, cases[i].address);
    }
    static const char *const bad[] = {
        "",
        "/8",
        "10.0.0.0/",
        "10.0.0.0/33",
        "10.0.0.0/-1",
        "10.0.0.0/8/8",
        "10.0.0.1/8",
        "10/8",
        "10.0.0.0:25/8",
        "::/129",
        "fd00::1/8",
        "[::1]/128",
        "2001:db8::/31x",
        "localhost",
    };
    for (size_t i = 0; i < countof(bad); i++) {
        struct network network;
        if (network_parse(span_string(bad[i]), &network))
            fail_msg("taken: '%s'", bad[i]);
    }
}

static void test_network_lists(void **state)
{
    struct network networks[2];
    struct address inside, outside, local;
    assert_true(network_parse(SPAN("127.0.0.0/8"), &networks[0]));
    assert_true(network_parse(SPAN("::1"), &networks[1]));
    assert_true(address_parse(SPAN("::1"), 0, &inside));
    assert_true(address_parse(SPAN("192.0.2.1"), 0, &outside));
    assert_true(address_parse(SPAN("unix:/x"), 0, &local));
    assert_true(networks_contain(networks, 2, &inside));
    assert_false(networks_contain(networks, 1, &inside));
    assert_false(networks_contain(networks, 0, &inside));
    assert_false(networks_contain(networks, 2, &outside));
    assert_false(networks_contain(networks, 2, &local));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse_and_put),
        cmocka_unit_test(test_no_addresses),
        cmocka_unit_test(test_unix_path_length),
        cmocka_unit_test(test_unix_without_path),
        cmocka_unit_test(test_no_address_has_a_text),
        cmocka_unit_test(test_ports),
        cmocka_unit_test(test_split_host),
        cmocka_unit_test(test_networks),
        cmocka_unit_test(test_network_lists),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
