#include "core/config.h"
#include "core/config_value.h"
#include "core/log.h"
#include "core/option.h"
#include "core/toml_shim.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define HEAD   "hostname = \"mx.example.org\"\ndata_dir = \"/d\"\n"
#define LISTEN "[[listener]]\naddress = \"127.0.0.1:2525\"\n"

static struct config *load_good(const char *text)
{
    char error[CONFIG_ERROR];
    struct config *config = NULL;
    int result = config_parse(span_string(text), "f", &config, error);
    if (result)
        fail_msg("%s", error);
    return config;
}

static void assert_bad(const char *text, const char *expected)
{
    char error[CONFIG_ERROR];
    struct config *config = NULL;
    assert_int_equal(config_parse(span_string(text), "f", &config, error), -EINVAL);
    assert_null(config);
    assert_string_equal(error, expected);
}

/* ---- values ---- */

static void test_durations(void **state)
{
    static const struct {
        const char *text;
        uint64_t ms;
        const char *written;
    } good[] = {
        {"500ms", 500, "500ms"},
        {"2s", 2000, "2s"},
        {"5m", 300000, "5m"},
        {"4h", 14400000, "4h"},
        {"5d", 432000000, "5d"},
        {"2w", 1209600000, "2w"},
        {"0s", 0, "0s"},
        {"60s", 60000, "1m"},
        {"90s", 90000, "90s"},
        {"1500ms", 1500, "1500ms"},
        {"5M", 300000, "5m"},
        {"007s", 7000, "7s"},
        {"9223372036854775807ms", INT64_MAX, "9223372036854775807ms"},
    };
    static const char *const bad[] = {
        "",
        "5",
        "s",
        "-5s",
        "+5s",
        "5 s",
        " 5s",
        "5s ",
        "1h30m",
        "1.5h",
        "5y",
        "5µs",
        "0x5s",
        "99999999999999999999s",
        "9223372036854775807s",
        "9223372036854775808ms",
    };
    for (size_t i = 0; i < countof(good); i++) {
        uint64_t ms;
        char text[40];
        struct sink sink;
        assert_true(value_duration(span_string(good[i].text), &ms));
        assert_int_equal(ms, good[i].ms);
        sink_init(&sink, text, sizeof text);
        value_put_duration(&sink, ms);
        assert_true(span_equals(sink_span(&sink), span_string(good[i].written)));
    }
    for (size_t i = 0; i < countof(bad); i++) {
        uint64_t ms = 77;
        assert_false(value_duration(span_string(bad[i]), &ms));
        assert_int_equal(ms, 77);
    }
}

static void test_sizes(void **state)
{
    static const struct {
        const char *text;
        uint64_t bytes;
        const char *written;
    } good[] = {
        {"0B", 0, "0B"},
        {"1B", 1, "1B"},
        {"1KB", 1024, "1KB"},
        {"1024b", 1024, "1KB"},
        {"50MB", 52428800, "50MB"},
        {"1000KB", 1024000, "1000KB"},
        {"2gb", UINT64_C(2) << 30, "2GB"},
        {"1TB", UINT64_C(1) << 40, "1TB"},
    };
    static const char *const bad[] = {"",   "5",    "MB",    "5 MB",        "-1B",
                                      "5M", "5KiB", "1.5GB", "9999999999TB"};
    for (size_t i = 0; i < countof(good); i++) {
        uint64_t bytes;
        char text[40];
        struct sink sink;
        assert_true(value_size(span_string(good[i].text), &bytes));
        assert_int_equal(bytes, good[i].bytes);
        sink_init(&sink, text, sizeof text);
        value_put_size(&sink, bytes);
        assert_true(span_equals(sink_span(&sink), span_string(good[i].written)));
    }
    for (size_t i = 0; i < countof(bad); i++) {
        uint64_t bytes;
        assert_false(value_size(span_string(bad[i]), &bytes));
    }
}

static void test_rates(void **state)
{
    static const struct {
        const char *text;
        struct rate rate;
        const char *written;
    } good[] = {
        {"100/s", {100, 1000, 0}, "100/s"},
        {"100/sec", {100, 1000, 0}, "100/s"},
        {"100/second", {100, 1000, 0}, "100/s"},
        {"20/30min", {20, 1800000, 0}, "20/30min"},
        {"20/60m", {20, 3600000, 0}, "20/h"},
        {"1_000/h", {1000, 3600000, 0}, "1000/h"},
        {"1,000,000/d", {1000000, 86400000, 0}, "1000000/d"},
        {"5/2hr", {5, 7200000, 0}, "5/2h"},
        {"5/day,max_burst=1_0", {5, 86400000, 10}, "5/d,max_burst=10"},
        {"local:7/minute,max_burst=1", {7, 60000, 1}, "7/min,max_burst=1"},
    };
    static const char *const bad[] = {
        "",
        "100",
        "/s",
        "100/",
        "0/s",
        "100/0s",
        "100/ms",
        "100 / s",
        "-1/s",
        "_1/s",
        "1/hours",
        "1/s,",
        "1/s,burst=3",
        "1/s,max_burst=",
        "1/s,max_burst=0",
        "1/s,max_burst=x",
        "99999999999999999999/s",
        "1/99999999999999999d",
        "global:1/s",
    };
    for (size_t i = 0; i < countof(good); i++) {
        struct rate rate;
        char text[60];
        struct sink sink;
        assert_true(value_rate(span_string(good[i].text), &rate));
        assert_int_equal(rate.count, good[i].rate.count);
        assert_int_equal(rate.period_ms, good[i].rate.period_ms);
        assert_int_equal(rate.burst, good[i].rate.burst);
        sink_init(&sink, text, sizeof text);
        value_put_rate(&sink, &rate);
        assert_true(span_equals(sink_span(&sink), span_string(good[i].written)));
    }
    for (size_t i = 0; i < countof(bad); i++) {
        struct rate rate;
        assert_false(value_rate(span_string(bad[i]), &rate));
    }
}

static void test_percentages(void **state)
{
    static const struct {
        const char *text;
        double fraction;
        const char *written;
    } good[] = {
        {"0%", 0, "0%"},
        {"10%", 0.1, "10%"},
        {"100%", 1, "100%"},
        {"12.5%", 0.125, "12.500%"},
        {"0.001%", 0.00001, "0.001%"},
    };
    static const char *const bad[] = {"",    "%",   "10",      "101%", "100.1%",
                                      "-1%", "1.%", "1.2345%", ".5%"};
    for (size_t i = 0; i < countof(good); i++) {
        double fraction;
        char text[40];
        struct sink sink;
        assert_true(value_percent(span_string(good[i].text), &fraction));
        assert_true(fraction > good[i].fraction - 1e-9 && fraction < good[i].fraction + 1e-9);
        sink_init(&sink, text, sizeof text);
        value_put_percent(&sink, fraction);
        assert_true(span_equals(sink_span(&sink), span_string(good[i].written)));
    }
    for (size_t i = 0; i < countof(bad); i++) {
        double fraction;
        assert_false(value_percent(span_string(bad[i]), &fraction));
    }
}

static void test_names(void **state)
{
    static const char *const good[] = {"a",         "localhost", "mx.example.org",
                                       "a-b.c_d.e", "1.example", "x.xn--p1ai"};
    static const char *const bad[] = {
        "",          ".",
        "a.",        ".a",
        "a..b",      "-a.b",
        "a-.b",      "a b",
        "192.0.2.1", "a.1",
        "[::1]",     "ä.example",
        "a/b",       "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.example",
    };
    for (size_t i = 0; i < countof(good); i++)
        assert_true(value_domain(span_string(good[i])));
    for (size_t i = 0; i < countof(bad); i++)
        assert_false(value_domain(span_string(bad[i])));
    char longest[255];
    for (size_t i = 0; i < sizeof longest; i++)
        longest[i] = i % 2 ? '.' : 'a';
    assert_true(value_domain(span_of(longest, 253)));
    assert_false(value_domain(span_of(longest, 255)));

    assert_true(value_header(SPAN("X-Tenant")));
    assert_false(value_header(SPAN("X-Tenant:")));
    assert_false(value_header(SPAN("X Tenant")));
    assert_false(value_header(SPAN("")));
}

static void test_distance(void **state)
{
    static const struct {
        const char *a, *b;
        unsigned distance;
    } cases[] = {
        {"", "", 0},       {"abc", "abc", 0},
        {"abc", "ABC", 0}, {"abc", "acb", 1},
        {"abc", "ab", 1},  {"ab", "abc", 1},
        {"abc", "axc", 1}, {"kitten", "sitting", 3},
        {"", "abc", 3},    {"conection_limit", "connection_limit", 1},
    };
    for (size_t i = 0; i < countof(cases); i++)
        assert_int_equal(value_distance(span_string(cases[i].a), span_string(cases[i].b)),
                         cases[i].distance);
}

/* ---- TOML ---- */

static void test_toml_order(void **state)
{
    struct toml_error error;
    struct toml_node *top = toml_parse(SPAN("z = 1\n a = [true, 2.5]\n[m]\nb = 'x'\n"), &error);
    assert_non_null(top);
    struct toml_node *z = top->first, *a = z->next, *m = a->next;
    assert_true(span_equals(z->key, SPAN("z")));
    assert_int_equal(z->type, TOML_INTEGER);
    assert_int_equal(z->integer, 1);
    assert_int_equal(z->column, 5);
    assert_true(span_equals(a->key, SPAN("a")));
    assert_int_equal(a->key_line, 2);
    assert_int_equal(a->key_column, 2);
    assert_int_equal(a->first->type, TOML_BOOLEAN);
    assert_true(a->first->boolean);
    assert_true(a->first->next->real == 2.5);
    assert_int_equal(a->first->next->column, 13);
    assert_int_equal(m->type, TOML_TABLE);
    assert_true(span_equals(m->first->string, SPAN("x")));
    assert_null(m->next);
    assert_null(toml_free(top));
}

static void test_toml_errors(void **state)
{
    static const struct {
        const char *text;
        unsigned line, column;
    } bad[] = {
        {"a = \n", 1, 5}, {"a = 1\nb == 2\n", 2, 4}, {"a = 1\na = 2\n", 2, 5},
        {"[x\n", 1, 3},   {"x = \"\xff\"", 1, 5},
    };
    struct toml_error error;
    for (size_t i = 0; i < countof(bad); i++) {
        assert_null(toml_parse(span_string(bad[i].text), &error));
        assert_int_equal(error.line, bad[i].line);
        assert_int_equal(error.column, bad[i].column);
        assert_true(error.message[0] != '\0');
    }
    char deep[200] = "a = ";
    memset(deep + 4, '[', 60);
    memset(deep + 64, ']', 60);
    assert_null(toml_parse(span_of(deep, 124), &error));
    assert_string_equal(error.message, "tables or arrays are nested too deeply");
}

/* ---- configurations ---- */

static void test_smallest(void **state)
{
    struct config *config = load_good(HEAD LISTEN);
    assert_string_equal(config->file.data, "f");
    assert_string_equal(config->hostname.data, "mx.example.org");
    assert_string_equal(config->data_dir.data, "/d");
    assert_string_equal(config->control.socket.data, "/d/control.socket");
    assert_int_equal(config->workers, 0);
    assert_int_equal(config->listener_count, 1);
    assert_int_equal(config->listeners[0].service, SERVICE_SMTP);
    assert_int_equal(config->listeners[0].line, 3);
    assert_int_equal(address_port(&config->listeners[0].address), 2525);
    assert_int_equal(config->listeners[0].relay_from_count, 0);
    assert_int_equal(config->route_count, 0);
    config_free(config);
}

/* The defaults that the manual and RFC 5321 promise. */
static void test_defaults(void **state)
{
    struct config *config = load_good(HEAD LISTEN);
    const struct config_delivery *delivery = &config->delivery;
    assert_int_equal(delivery->smtp_port, 25);
    assert_int_equal(delivery->prohibited_host_count, 8);
    assert_int_equal(delivery->skip_host_count, 0);
    assert_int_equal(delivery->connection_limit, 32);
    assert_int_equal(delivery->max_deliveries_per_connection, 1024);
    assert_int_equal(delivery->max_recipients_per_batch, 100);
    assert_int_equal(delivery->consecutive_connection_failures_before_delay, 100);
    assert_int_equal(delivery->max_message_rate.count, 0);
    assert_int_equal(delivery->connect_timeout_ms, 60000);
    assert_int_equal(delivery->rcpt_to_timeout_ms, 300000);
    assert_int_equal(delivery->data_dot_timeout_ms, 600000);
    assert_int_equal(delivery->idle_timeout_ms, 5000);
    assert_true(delivery->enable_pipelining);
    assert_int_equal(delivery->ip_lookup_strategy, IP_V4_AND_V6);
    assert_int_equal(delivery->source_address.family, AF_UNSPEC);
    static const uint64_t minutes[] = {5, 10, 20, 40, 60, 120, 240};
    assert_int_equal(config->retry.interval_count, countof(minutes));
    for (size_t i = 0; i < countof(minutes); i++)
        assert_int_equal(config->retry.intervals_ms[i], minutes[i] * 60000);
    assert_true(config->retry.jitter == 0.1);
    assert_int_equal(config->retry.max_age_ms, UINT64_C(432000000));
    assert_false(config->bounce.event_only);
    assert_int_equal(config->limits.message_size, 50 << 20);
    assert_int_equal(config->limits.recipients, 1000);
    assert_int_equal(config->limits.line, 4096);
    assert_int_equal(config->limits.data_rate, 500);
    assert_int_equal(config->limits.connections, 32768);
    assert_int_equal(config->queue.window_rows, 65536);
    assert_int_equal(config->ring.receive_buffer_size, 16384);
    assert_true(config->ring.optional_features);
    assert_int_equal(config->log.level, LOG_INFO);
    config_free(config);
}

static void test_everything_set(void **state)
{
    struct config *config = load_good(
        HEAD "workers = 3\n"
             "[[listener]]\naddress = \"[::1]:25\"\nrelay_from = [\"10.0.0.0/8\", \"::1\"]\n"
             "[[listener]]\naddress = \"127.0.0.1:80\"\nservice = \"http\"\n"
             "[dns]\nservers = [\"127.0.0.1:5353\", \"::1\"]\n"
             "[delivery]\nsmtp_port = 2526\nprohibited_hosts = []\nmax_message_rate = \"1_000/h\"\n"
             "source_address = \"192.0.2.9\"\nip_lookup_strategy = \"Ipv6ThenIpv4\"\n"
             "ehlo_domain = \"out.example.org\"\n"
             "[route.\"Example.NET\"]\nhosts = [\"127.0.0.1:2526\", \"mx.example.net\"]\n"
             "[route.\"*\"]\nhosts = [\"[::1]:2525\"]\n"
             "[retry]\nintervals = [\"1s\"]\njitter = \"0%\"\nmax_age = \"30s\"\n"
             "[bounce]\nmode = \"event\"\n"
             "[[bounce.stream]]\ntenant = \"t\"\nmode = \"dsn\"\n"
             "[[bounce.stream]]\ncampaign = \"c\"\nmode = \"event\"\n"
             "[control]\nsocket = \"/run/x\"\n"
             "[policy]\ntenant_header = \"X-Tenant\"\n"
             "[log]\nlevel = \"debug\"\n");
    assert_int_equal(config->workers, 3);
    assert_int_equal(config->listener_count, 2);
    assert_int_equal(config->listeners[0].relay_from_count, 2);
    assert_int_equal(config->listeners[0].relay_from[0].prefix, 96 + 8);
    assert_int_equal(config->listeners[0].relay_from[1].prefix, 128);
    assert_int_equal(config->listeners[1].service, SERVICE_HTTP);
    assert_int_equal(config->dns.server_count, 2);
    assert_int_equal(address_port(&config->dns.servers[0]), 5353);
    assert_int_equal(address_port(&config->dns.servers[1]), 53);
    assert_int_equal(config->delivery.smtp_port, 2526);
    assert_int_equal(config->delivery.prohibited_host_count, 0);
    assert_int_equal(config->delivery.max_message_rate.count, 1000);
    assert_int_equal(config->delivery.source_address.family, AF_INET);
    assert_int_equal(config->delivery.ip_lookup_strategy, IP_V6_THEN_V4);
    assert_string_equal(config->delivery.ehlo_domain.data, "out.example.org");
    assert_int_equal(config->route_count, 2);
    assert_string_equal(config->routes[0].domain.data, "example.net");
    assert_int_equal(config->routes[0].host_count, 2);
    assert_string_equal(config->routes[0].hosts[1].data, "mx.example.net");
    assert_string_equal(config->routes[1].domain.data, "*");
    assert_int_equal(config->retry.interval_count, 1);
    assert_int_equal(config->retry.intervals_ms[0], 1000);
    assert_true(config->bounce.event_only);
    assert_int_equal(config->bounce.stream_count, 2);
    assert_string_equal(config->bounce.streams[0].tenant.data, "t");
    assert_false(config->bounce.streams[0].event_only);
    assert_true(config->bounce.streams[1].event_only);
    assert_string_equal(config->control.socket.data, "/run/x");
    assert_string_equal(config->policy.tenant_header.data, "X-Tenant");
    assert_int_equal(config->policy.campaign_header.len, 0);
    assert_int_equal(config->log.level, LOG_DEBUG);
    config_free(config);
}

/* Each body stands behind HEAD and LISTEN: its first line is line 5 of the file. */
static void test_mistakes(void **state)
{
    static const struct {
        const char *body, *error;
    } cases[] = {
        {"[delivery]\nconection_limit = 5\n",
         "f:6:1: unknown key 'conection_limit' in [delivery]; did you mean 'connection_limit'?"},
        {"[delivery]\n  quite_something_else = 5\n",
         "f:6:3: unknown key 'quite_something_else' in [delivery]"},
        {"[delivery]\nmessage_size = \"5MB\"\n",
         "f:6:1: unknown key 'message_size' in [delivery]; it belongs in [limits]"},
        {"[dns]\ndata_dir = \"/x\"\n",
         "f:6:1: unknown key 'data_dir' in [dns]; it belongs at the top of the file"},
        {"relay_form = []\n",
         "f:5:1: unknown key 'relay_form' in [[listener]]; did you mean 'relay_from'?"},
        {"[delivry]\nsmtp_port = 1\n", "f:5:2: unknown table [delivry]; did you mean [delivery]?"},
        {"[bounce.streams]\nx = 1\n",
         "f:5:9: unknown table [bounce.streams]; did you mean [bounce.stream]?"},
        {"[nonsense]\n", "f:5:2: unknown table [nonsense]"},
        {"[dns.servers]\n",
         "f:5:1: 'servers' in [dns]: a table is not a list of addresses like [\"127.0.0.1:5353\"]"},
        {"[[delivery]]\n", "f:5:3: 'delivery' is one table; write [delivery]"},
        {"[route]\nhosts = [\"a\"]\n",
         "f:6:1: [route] holds one table per domain; write [route.\"example.net\"]"},
        {"[delivery]\nconnect_timeout = \"60\"\n",
         "f:6:19: 'connect_timeout' in [delivery]: \"60\" is not a duration: a number and a unit "
         "(ms, s, m, h, d, w) like \"30s\""},
        {"[delivery]\nconnect_timeout = 60\n",
         "f:6:19: 'connect_timeout' in [delivery]: 60 is not a duration: a number and a unit "
         "(ms, s, m, h, d, w) like \"30s\""},
        {"[delivery]\nconnect_timeout = \"2h\"\n",
         "f:6:19: 'connect_timeout' in [delivery]: \"2h\" is out of range; it must be from 100ms "
         "to 1h"},
        {"[limits]\nmessage_size = \"50 MB\"\n", "f:6:16: 'message_size' in [limits]: \"50 MB\" is "
                                                 "not a size: a number and a unit (B, KB, MB, "
                                                 "GB, TB) like \"50MB\""},
        {"[limits]\nrecipients = 99\n",
         "f:6:14: 'recipients' in [limits]: 99 is out of range; it must be from 100 to 100000"},
        {"[limits]\nrecipients = -5\n",
         "f:6:14: 'recipients' in [limits]: -5 is out of range; it must be from 100 to 100000"},
        {"[limits]\nrecipients = \"500\"\n",
         "f:6:14: 'recipients' in [limits]: \"500\" is not a whole number"},
        {"[limits]\nrecipients = 500.5\n",
         "f:6:14: 'recipients' in [limits]: 500.5 is not a whole number"},
        {"[ring]\nentries = 1000\n", "f:6:11: 'entries' in [ring]: 1000 is not a power of two"},
        {"[ring]\noptional_features = \"yes\"\n",
         "f:6:21: 'optional_features' in [ring]: \"yes\" is not true or false"},
        {"[delivery]\nmax_message_rate = \"100\"\n",
         "f:6:20: 'max_message_rate' in [delivery]: \"100\" is not a rate like \"100/s\", "
         "\"20/30min\" or "
         "\"1_000/h,max_burst=10\""},
        {"[delivery]\nip_lookup_strategy = \"ipv4only\"\n",
         "f:6:22: 'ip_lookup_strategy' in [delivery]: \"ipv4only\" is not one of \"Ipv4AndIpv6\", "
         "\"Ipv4Only\", \"Ipv6Only\", \"Ipv6ThenIpv4\", \"Ipv4ThenIpv6\"; did you mean "
         "\"Ipv4Only\"?"},
        {"[bounce]\nmode = 1\n", "f:6:8: 'mode' in [bounce]: 1 is not one of \"dsn\", \"event\""},
        {"[retry]\njitter = 0.1\n",
         "f:6:10: 'jitter' in [retry]: 0.1 is not a percentage like \"10%\""},
        {"[retry]\nintervals = []\n",
         "f:6:13: 'intervals' in [retry]: a list is not a list of durations like [\"5m\", \"1h\"]"},
        {"[retry]\nintervals = \"5m\"\n",
         "f:6:13: 'intervals' in [retry]: \"5m\" is not a list of durations like [\"5m\", \"1h\"]"},
        {"[retry]\nintervals = [\"5m\",\n  \"x\"]\n",
         "f:7:3: 'intervals' in [retry]: \"x\" is not a duration: a number and a unit (ms, s, m, "
         "h, d, "
         "w) like \"30s\""},
        {"relay_from = [\"10.0.0.1/8\"]\n", "f:5:15: 'relay_from' in [[listener]]: \"10.0.0.1/8\" "
                                            "is not a network like \"10.0.0.0/8\" or "
                                            "\"fd00::/8\" (no bits behind the prefix)"},
        {"[delivery]\nsource_address = \"192.0.2.1:25\"\n",
         "f:6:18: 'source_address' in [delivery]: \"192.0.2.1:25\" is not an address without a "
         "port "
         "like \"192.0.2.1\""},
        {"[policy]\ntenant_header = \"X-Tenant:\"\n",
         "f:6:17: 'tenant_header' in [policy]: \"X-Tenant:\" is not a header field's name like "
         "\"X-Tenant\""},
        {"[delivery]\nehlo_domain = \"a b\"\n", "f:6:15: 'ehlo_domain' in [delivery]: \"a b\" is "
                                                "not a host name like \"mail.example.org\""},
        {"[route.\"example.net\"]\n",
         "f:5:8: [route.\"example.net\"] says nothing: it needs 'hosts' or 'enable_tls'"},
        {"[[listener]]\naddress = \"127.0.0.1:2526\"\ntls = \"starttls\"\n",
         "f:7:7: 'tls' in [[listener]] needs 'certificate' and 'key'"},
        {"[[listener]]\naddress = \"127.0.0.1:2526\"\ntls = \"implicit\"\nkey = \"k\"\n",
         "f:7:7: 'tls' in [[listener]] needs 'certificate' and 'key'"},
        {"[[listener]]\naddress = \"127.0.0.1:2526\"\nservice = \"http\"\n"
         "tls = \"implicit\"\nkey = \"k\"\ncertificate = \"c\"\n",
         "f:8:7: 'tls' in [[listener]]: \"http\" is served in the clear only"},
        {"[[certificate]]\nnames = [\"a.example\", \"*b.example\"]\ncertificate = \"c\"\n"
         "key = \"k\"\n",
         "f:6:9: 'names' in [[certificate]]: host names, like \"mail.example.com\" or "
         "\"*.example.com\""},
        {"[[certificate]]\nnames = [\"*.a.example\"]\nkey = \"k\"\n",
         "f:5:1: 'certificate' is missing in [[certificate]]; it is a path"},
        {"[route.\"example.net\"]\nhosts = []\n",
         "f:5:8: [route.\"example.net\"] says nothing: it needs 'hosts' or 'enable_tls'"},
        {"[route.\"example.net\"]\nhosts = [\"mx:0\", \"a:b:c\"]\n",
         "f:6:10: 'hosts' in [route.\"DOMAIN\"]: \"mx:0\" is not a host like \"mx.example.net\", "
         "\"192.0.2.1:25\" or \"[::1]:2525\"\n"
         "f:6:18: 'hosts' in [route.\"DOMAIN\"]: \"a:b:c\" is not a host like \"mx.example.net\", "
         "\"192.0.2.1:25\" or \"[::1]:2525\""},
        {"[route.\"*.example.net\"]\nhosts = [\"a\"]\n",
         "f:5:8: [route.\"*.example.net\"]: the name is not a domain in ASCII, nor \"*\""},
        {"[route.\"a.b\"]\nhosts = [\"a\"]\n[route.\"A.b\"]\nhosts = [\"b\"]\n",
         "f:8:9: [route.\"a.b\"] is there twice (domains have no case)"},
        {"[[listener]]\nservice = \"smtp\"\n",
         "f:5:1: 'address' is missing in [[listener]]; it is an address with a port like "
         "\"127.0.0.1:25\" or \"[::1]:25\""},
        {"[[listener]]\naddress = \"127.0.0.1\"\n",
         "f:6:11: 'address' in [[listener]]: \"127.0.0.1\" is not an address with a port like "
         "\"127.0.0.1:25\" or \"[::1]:25\""},
        {"[[listener]]\naddress = \"localhost:25\"\n",
         "f:6:11: 'address' in [[listener]]: \"localhost:25\" is not an address with a port like "
         "\"127.0.0.1:25\" or \"[::1]:25\""},
        {"[[listener]]\naddress = \"127.0.0.1:2525\"\nservice = \"http\"\n",
         "f:6:11: another [[listener]] has this address, in line 3"},
        {"[[listener]]\naddress = \"127.0.0.1:80\"\nservice = \"http\"\nrelay_from = [\"::1\"]\n",
         "f:8:14: 'relay_from' in [[listener]]: only a listener for \"smtp\" relays"},
        {"[[listener]]\naddress = \"127.0.0.1:587\"\nservice = \"submission\"\n",
         "f:7:11: 'service' in [[listener]]: a listener for \"submission\" needs 'passwd_file' in "
         "[accounts], else nobody could log in"},
        {"[[listener]]\naddress = \"127.0.0.1:587\"\nservice = \"submission\"\nrelay_from = "
         "[\"::1\"]\n[accounts]\npasswd_file = \"p\"\n",
         "f:8:14: 'relay_from' in [[listener]]: only a listener for \"smtp\" relays"},
        {"[accounts]\nfailure_delay = \"10s\"\nfailure_delay_most = \"5s\"\n",
         "f:7:22: 'failure_delay_most' in [accounts] is shorter than 'failure_delay'"},
        {"[domain.\"*\"]\nrelay_to = true\n",
         "f:5:9: [domain.\"*\"]: the name is not a domain in ASCII"},
        {"[domain.\"a.b\"]\nrelay_to = true\n[domain.\"A.b\"]\nrelay_to = false\n",
         "f:7:9: [domain.\"a.b\"] is there twice (domains have no case)"},
        {"[bounce]\ndelay_after = \"5d\"\n", "f:6:15: 'delay_after' in [bounce] is not before "
                                             "'max_age' in [retry]: no delay would ever be "
                                             "reported"},
        {"[policy]\ncampaign_header = \"received\"\n",
         "f:6:19: 'campaign_header' in [policy]: it is removed from each message, and 'received' "
         "must stay; choose a field of your own like \"X-Tenant\""},
        {"[[bounce.stream]]\nmode = \"dsn\"\n", "f:6:8: [[bounce.stream]] fits everything; name a "
                                                "'tenant' or a 'campaign', or set 'mode' in "
                                                "[bounce]"},
        {"[[bounce.stream]]\ntenant = \"x\"\n",
         "f:5:1: 'mode' is missing in [[bounce.stream]]; it is a choice: dsn event"},
        {"[control]\nsocket = "
         "\"/0123456789012345678901234567890123456789012345678901234567890123456789"
         "0123456789012345678901234567890123456789\"\n",
         "f:6:10: 'socket' in [control]: the path (default: control.socket in data_dir) is longer "
         "than "
         "the 107 bytes that a Unix socket may have; set a shorter one"},
        {"[log]\nlevel = \"\\u001b[31m\"\n", "f:6:9: 'level' in [log]: \"?[31m\" is not one of "
                                             "\"error\", \"warning\", \"notice\", \"info\", "
                                             "\"debug\""},
        {"[log]\nlevel = 2020-01-01\n", "f:6:9: 'level' in [log]: a date or time is not one of "
                                        "\"error\", \"warning\", \"notice\", "
                                        "\"info\", \"debug\""},
        /* everything is reported, in the order of the file */
        {"[limits]\nidle = 5\nlime = 7\n[delivery]\nsmtp_port = 70000\n",
         "f:6:8: 'idle' in [limits]: 5 is not a duration: a number and a unit (ms, s, m, h, d, w) "
         "like "
         "\"30s\"\n"
         "f:7:1: unknown key 'lime' in [limits]; did you mean 'line'?\n"
         "f:9:13: 'smtp_port' in [delivery]: 70000 is out of range; it must be from 1 to 65535"},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        char text[1024];
        snprintf(text, sizeof text, "%s%s", HEAD LISTEN, cases[i].body);
        assert_bad(text, cases[i].error);
    }
}

static void test_whole_files(void **state)
{
    assert_bad("hostname = \"h.example\"\n" LISTEN,
               "f:1:1: 'data_dir' is missing at the top of the file; it is a path");
    assert_bad(HEAD, "f:1:1: no [[listener]]: nothing could come in; add one with address = "
                     "\"127.0.0.1:2525\"");
    assert_bad(
        "hostname = \"no host\"\ndata_dir = \"\"\nworkers = 257\n" LISTEN,
        "f:1:12: 'hostname' at the top of the file: \"no host\" is not a host name like "
        "\"mail.example.org\"\n"
        "f:2:12: 'data_dir' at the top of the file: \"\" is not a path\n"
        "f:3:11: 'workers' at the top of the file: 257 is out of range; it must be from 0 to 256");
    assert_bad(HEAD "listener = 5\n", "f:3:1: 'listener' is a list of tables; write [[listener]]\n"
                                      "f:1:1: no [[listener]]: nothing could come in; add one with "
                                      "address = \"127.0.0.1:2525\"");
    /* what follows the place is toml++'s own sentence */
    char error[CONFIG_ERROR];
    struct config *config = NULL;
    assert_int_equal(config_parse(SPAN(HEAD "workers = 1\nworkers = 2\n"), "f", &config, error),
                     -EINVAL);
    assert_true(span_starts_with(span_string(error), SPAN("f:4:11: ")));
}

/* Without `hostname` the machine's own name is taken if it is a full one. */
static void test_own_hostname(void **state)
{
    char own[256] = "", error[CONFIG_ERROR];
    struct config *config = NULL;
    gethostname(own, sizeof own - 1);
    int result = config_parse(SPAN("data_dir = \"/d\"\n" LISTEN), "f", &config, error);
    if (strchr(own, '.')) {
        assert_int_equal(result, 0);
        assert_string_equal(config->hostname.data, own);
    } else {
        assert_int_equal(result, -EINVAL);
        assert_non_null(strstr(error, "f:1:1: 'hostname' is missing"));
    }
    config_free(config);
}

/* More mistakes than there is room for: whole lines, and the end says so. */
static void test_many_mistakes(void **state)
{
    char *text = malloc(1 << 16), error[CONFIG_ERROR];
    size_t len = 0;
    for (int i = 0; i < 1000; i++)
        len += (size_t)snprintf(text + len, 64, "wrong_key_%d = %d\n", i, i);
    struct config *config = NULL;
    assert_int_equal(config_parse(span_of(text, len), "f", &config, error), -EINVAL);
    size_t said = strlen(error);
    assert_true(said < CONFIG_ERROR);
    assert_string_equal(error + said - 11, "\n(and more)");
    assert_int_not_equal(error[said - 12], '\n');
    free(text);
}

/* ---- files ---- */

static void test_files(void **state)
{
    char error[CONFIG_ERROR], path[] = "/tmp/ringpost-config-XXXXXX";
    struct config *config = NULL;
    assert_int_equal(config_load("/nonexistent/x.toml", &config, error), -ENOENT);
    assert_string_equal(error, "/nonexistent/x.toml: No such file or directory");
    assert_int_equal(config_load("/tmp", &config, error), -EISDIR);

    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, HEAD LISTEN, sizeof(HEAD LISTEN) - 1), sizeof(HEAD LISTEN) - 1);
    close(fd);
    setenv("RINGPOST_RING_OPTIONAL", "0", 1);
    assert_int_equal(config_load(path, &config, error), 0);
    assert_false(config->ring.optional_features);
    config_free(config);
    unsetenv("RINGPOST_RING_OPTIONAL");
    assert_int_equal(config_load(path, &config, error), 0);
    assert_true(config->ring.optional_features);
    assert_string_equal(config->file.data, path);
    config_free(config);
    assert_int_equal(truncate(path, 5 << 20), 0);
    assert_int_equal(config_load(path, &config, error), -EFBIG);
    unlink(path);
}

struct text {
    char *data;
    size_t len;
};

static void append_line(void *context, const char *line)
{
    struct text *text = context;
    size_t len = strlen(line);
    text->data = realloc(text->data, text->len + len + 2);
    memcpy(text->data + text->len, line, len);
    text->len += len;
    text->data[text->len++] = '\n';
    text->data[text->len] = '\0';
}

/* Without the comment about where a value comes from. */
static void strip_comments(struct text *text)
{
    size_t to = 0;
    for (size_t from = 0; from < text->len; from++) {
        if (strncmp(text->data + from, "  # ", 4) == 0)
            while (text->data[from] != '\n')
                from++;
        text->data[to++] = text->data[from];
    }
    text->data[to] = '\0';
    text->len = to;
}

static void assert_dump_loads(const char *source)
{
    struct text first = {0}, second = {0};
    struct config *config = load_good(source);
    config_dump(config, append_line, &first);
    config_free(config);
    config = load_good(first.data);
    config_dump(config, append_line, &second);
    config_free(config);
    strip_comments(&first);
    strip_comments(&second);
    assert_string_equal(first.data, second.data);
    free(first.data);
    free(second.data);
}

static void test_dump(void **state)
{
    struct text text = {0};
    struct config *config =
        load_good(HEAD LISTEN "[delivery]\nconnect_timeout = \"90s\"\n"
                              "[route.\"a.example\"]\nhosts = [\"b\", \"[::1]:26\"]\n");
    config_dump(config, append_line, &text);
    config_free(config);
    static const char *const lines[] = {
        "hostname = \"mx.example.org\"  # line 1\n",
        "workers = 0  # default\n",
        "\n[[listener]]\naddress = \"127.0.0.1:2525\"  # line 4\nservice = \"smtp\"  # default\n",
        "connect_timeout = \"90s\"  # line 6\n",
        "ehlo_timeout = \"5m\"  # default\n",
        "# max_message_rate: not set\n",
        "intervals = [\"5m\", \"10m\", \"20m\",",
        "\n[route.\"a.example\"]\nhosts = [\"b\", \"[::1]:26\"]  # line 8\n",
        "\"127.0.0.0/8\", \"::1/128\", \"0.0.0.0/8\", \"::/128\"",
        "jitter = \"10%\"  # default\n",
    };
    for (size_t i = 0; i < countof(lines); i++)
        if (!strstr(text.data, lines[i]))
            fail_msg("missing: %s in\n%s", lines[i], text.data);
    free(text.data);
    assert_dump_loads(HEAD LISTEN);
    assert_dump_loads(
        HEAD LISTEN
        "relay_from = [\"10.0.0.0/8\", \"10.1.0.0/16\", \"10.2.0.0/16\", \"10.3.0.0/16\", "
        "\"10.4.0.0/16\", \"10.5.0.0/16\", \"10.6.0.0/16\", \"::/0\", \"0.0.0.0/0\"]\n"
        "[bounce]\nmode = \"event\"\n[[bounce.stream]]\ntenant = \"a \\\"b\\\" \\\\ "
        "\\u0007\"\nmode = \"dsn\"\n[delivery]\nmax_message_rate = "
        "\"5/2hr,max_burst=9\"\nsource_address = \"2001:db8::1\"\n");
}

static void test_document(void **state)
{
    struct text text = {0};
    config_document(append_line, &text);
    for (unsigned id = 0; id < TABLE_IDS; id++) {
        unsigned count;
        const struct option *options = option_table_options((enum table_id)id, &count);
        assert_true(count > 0);
        for (unsigned i = 0; i < count; i++) {
            char row[128];
            snprintf(row, sizeof row, "| `%s` | ", options[i].key);
            assert_non_null(strstr(text.data, row));
        }
    }
    assert_non_null(
        strstr(text.data, "| `connect_timeout` | duration, 100ms to 1h | `\"60s\"` | "));
    assert_non_null(strstr(
        text.data, "| `service` | `\"smtp\"`, `\"submission\"`, `\"http\"` | `\"smtp\"` | "));
    free(text.data);
}

/* docs/CONFIGURATION.md is config_document's text. RINGPOST_UPDATE=1 writes it anew. */
static void test_manual(void **state)
{
    static const char path[] = RINGPOST_TESTS_DIR "/../docs/CONFIGURATION.md";
    struct text expected = {0};
    append_line(&expected, "# Configuration");
    append_line(&expected, "");
    append_line(&expected,
                "Made from core/options.def; `RINGPOST_UPDATE=1 test_config` writes it.");
    append_line(&expected, "packaging/ringpost.toml is the same as a file to start from.");
    append_line(&expected, "");
    config_document(append_line, &expected);
    expected.len--; /* the last table needs no empty line behind it */
    if (getenv("RINGPOST_UPDATE")) {
        FILE *file = fopen(path, "w");
        assert_non_null(file);
        assert_int_equal(fwrite(expected.data, 1, expected.len, file), expected.len);
        fclose(file);
    }
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    char *found = calloc(1, expected.len + 2);
    size_t len = fread(found, 1, expected.len + 1, file);
    fclose(file);
    if (!span_equals(span_of(found, len), span_of(expected.data, expected.len)))
        fail_msg("docs/CONFIGURATION.md is old: run test_config with RINGPOST_UPDATE=1");
    free(found);
    free(expected.data);
}

static void test_reload(void **state)
{
    char error[CONFIG_ERROR];
    struct config *running = load_good(HEAD LISTEN "[route.\"a\"]\nhosts = [\"b\"]\n");
    struct config *harmless =
        load_good(HEAD LISTEN "relay_from = [\"::1\"]\n[log]\nlevel = \"debug\"\n"
                              "[delivery]\nmax_message_rate = \"5/s\"\n");
    struct config *changed =
        load_good("hostname = \"other.example\"\ndata_dir = \"/d\"\nworkers = 2\n"
                  "[[listener]]\naddress = \"127.0.0.1:2526\"\n");
    struct config *more = load_good(HEAD LISTEN "[[listener]]\naddress = \"127.0.0.1:2526\"\n");
    struct config *other = load_good(HEAD LISTEN "service = \"http\"\n");
    assert_true(config_reloadable(running, running, error));
    assert_true(config_reloadable(running, harmless, error));
    assert_string_equal(error, "");
    assert_false(config_reloadable(running, changed, error));
    assert_string_equal(error, "'hostname' at the top of the file changes only with a restart\n"
                               "'workers' at the top of the file changes only with a restart");
    assert_true(config_reloadable(running, more, error)); /* listeners come and go */
    assert_true(config_reloadable(more, running, error));
    assert_false(config_reloadable(running, other, error)); /* one that stays is the same kind */
    assert_string_equal(error, "'service' in [[listener]] changes only with a restart");
    config_free(running);
    config_free(harmless);
    config_free(changed);
    config_free(more);
    config_free(other);
}

/* ---- the sample ---- */

static char *read_sample(void)
{
    FILE *file = fopen(RINGPOST_TESTS_DIR "/../packaging/ringpost.toml", "r");
    assert_non_null(file);
    char *text = calloc(1, 1 << 16);
    size_t len = fread(text, 1, (1 << 16) - 1, file);
    assert_true(len > 0 && len < (1 << 16) - 1);
    fclose(file);
    return text;
}

/* "key =" or "#key =" at the start of a line, below its table's header. */
static void find_in_sample(const char *text, const struct option *option)
{
    const struct option_table *table = option_table(option->table);
    char header[64], key[64];
    const char *at = text;
    snprintf(header, sizeof header, "[%s%s", table->name, table->kind == TABLE_NAMED ? "." : "]");
    if (option->table != TABLE_TOP)
        at = strstr(text, header);
    if (!at)
        fail_msg("packaging/ringpost.toml has no [%s]", table->name);
    snprintf(key, sizeof key, "%s = ", option->key);
    for (const char *line = at; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        line += *line == '#';
        if (strncmp(line, key, strlen(key)) == 0)
            return;
    }
    fail_msg("packaging/ringpost.toml has no '%s' in [%s]", option->key, table->name);
}

static void test_sample(void **state)
{
    char *text = read_sample();
    config_free(load_good(text));
    for (unsigned id = 0; id < TABLE_IDS; id++) {
        unsigned count;
        const struct option *options = option_table_options((enum table_id)id, &count);
        for (unsigned i = 0; i < count; i++)
            find_in_sample(text, &options[i]);
    }
    /* with every comment sign in front of an option taken away it must load too */
    for (char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (line[0] == '#' && (line[1] == '[' || (line[1] >= 'a' && line[1] <= 'z')))
            line[0] = ' ';
    }
    config_free(load_good(text));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_durations),      cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_rates),          cmocka_unit_test(test_percentages),
        cmocka_unit_test(test_names),          cmocka_unit_test(test_distance),
        cmocka_unit_test(test_toml_order),     cmocka_unit_test(test_toml_errors),
        cmocka_unit_test(test_smallest),       cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_everything_set), cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_whole_files),    cmocka_unit_test(test_own_hostname),
        cmocka_unit_test(test_many_mistakes),  cmocka_unit_test(test_files),
        cmocka_unit_test(test_dump),           cmocka_unit_test(test_document),
        cmocka_unit_test(test_manual),         cmocka_unit_test(test_reload),
        cmocka_unit_test(test_sample),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
