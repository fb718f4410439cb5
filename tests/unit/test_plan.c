/* Plans: RFC 5321 5.1 and RFC 7505 over a resolver that answers from a table. */
#include "dns/plan.h"

#include "tests/unit/dns_fake.h"

static struct loop loop;
static struct dns *dns;
static struct address own[2];
static struct network prohibited[2], skipped[1];
static struct dns_options options;
static struct plan *got;
static unsigned done_count;
static int done_result;

static void on_plan(struct op *op)
{
    struct plan_request *request = container_of(op, struct plan_request, op);
    done_count++;
    done_result = op->result;
    got = request->plan;
}

static void request_init(struct plan_request *request)
{
    *request = (struct plan_request){0};
    op_init(&request->op, on_plan);
}

/* Looks `domain` up until the plan is there; the caller looks at `got`. */
static const struct plan *find(const char *domain)
{
    struct plan_request request;
    request_init(&request);
    got = plan_free(got);
    unsigned before = done_count;
    plan_find(dns, &request, span_string(domain));
    assert_int_equal(done_count, before); /* never from inside the call */
    fake_pass(&loop, 0);
    assert_int_equal(done_count, before + 1);
    assert_int_equal(done_result, 0);
    assert_non_null(got);
    return got;
}

static const struct plan *find_hosts(const char *const *texts, size_t count)
{
    struct plan_request request;
    struct span hosts[64];
    for (size_t i = 0; i < count; i++)
        hosts[i] = span_string(texts[i]);
    request_init(&request);
    got = plan_free(got);
    plan_find_hosts(dns, &request, hosts, count);
    fake_pass(&loop, 0);
    assert_int_equal(done_result, 0);
    assert_non_null(got);
    return got;
}

/* "name@preference=address,address name@..." */
static const char *shown(const struct plan *plan)
{
    static char text[8192];
    struct sink sink;
    sink_init(&sink, text, sizeof(text) - 1);
    for (size_t i = 0; i < plan->host_count; i++) {
        const struct plan_host *host = &plan->hosts[i];
        sink_format(&sink, "%s%.*s@%u=", i ? " " : "", SPAN_FORMAT(host->name), host->preference);
        for (size_t j = 0; j < host->address_count; j++) {
            struct address address = plan_address(&host->addresses[j]);
            if (j)
                sink_byte(&sink, ',');
            address_put(&address, &sink);
        }
    }
    text[sink.len] = 0;
    return text;
}

static void assert_span(struct span span, const char *expected)
{
    if (!span_equals(span, span_string(expected)))
        fail_msg("\"%.*s\" instead of \"%s\"", SPAN_FORMAT(span), expected);
}

static void assert_refused(const struct plan *plan, enum plan_status status, unsigned code,
                           unsigned class, unsigned subject, unsigned detail)
{
    assert_int_equal(plan->status, status);
    assert_int_equal(plan->code, code);
    assert_int_equal(plan->enhanced.class, class);
    assert_int_equal(plan->enhanced.subject, subject);
    assert_int_equal(plan->enhanced.detail, detail);
    assert_int_equal(plan->host_count, 0);
    assert_true(strlen(plan->text) > 10);
    assert_true(plan->expires_ns >= fake.now_ns + 5 * NS_PER_S);
}

static void set_options(void)
{
    options = (struct dns_options){
        .timeout_ms = 5000,
        .cache_entries = 1000,
        .max_ttl_ms = 3600 * 1000,
        .negative_ttl_ms = 600 * 1000,
        .stale_ttl_ms = 0,
        .hostname = SPAN("Us.Example"),
        .own_addresses = own,
        .own_address_count = countof(own),
        .prohibited_hosts = prohibited,
        .prohibited_host_count = countof(prohibited),
        .skip_hosts = skipped,
        .skip_host_count = countof(skipped),
        .ip_lookup_strategy = IP_V4_AND_V6,
        .smtp_port = 25,
    };
    assert_true(address_parse(SPAN("192.0.2.99"), 0, &own[0]));
    assert_true(address_parse(SPAN("[2001:db8::99]:2525"), 0, &own[1]));
    assert_true(network_parse(SPAN("127.0.0.0/8"), &prohibited[0]));
    assert_true(network_parse(SPAN("::1"), &prohibited[1]));
    assert_true(network_parse(SPAN("203.0.113.0/24"), &skipped[0]));
}

static int setup(void **state)
{
    set_options();
    assert_int_equal(loop_init(&loop, &fake_io, 0), 0);
    assert_int_equal(dns_new(&loop, &options, &dns), 0);
    return 0;
}

static int teardown(void **state)
{
    got = plan_free(got);
    dns = dns_free(dns);
    loop_fini(&loop);
    return 0;
}

/* With other options. */
static void restart(void)
{
    dns_free(dns);
    assert_int_equal(dns_new(&loop, &options, &dns), 0);
}

static void test_order_and_addresses(void **state)
{
    static const struct fake_line zone[] = {
        {"d.example", RR_MX, "ttl=100 ad 20 b.example 10 a.example"},
        {"a.example", RR_A, "ttl=50 ad 192.0.2.1"},
        {"a.example", RR_AAAA, "ad 2001:db8::1"},
        {"b.example", RR_A, "192.0.2.2"},
    };
    FAKE_ZONE(zone);
    const struct plan *plan = find("D.example.");
    assert_int_equal(plan->status, PLAN_OK);
    assert_int_equal(plan->code, 0);
    assert_string_equal(shown(plan),
                        "a.example@10=192.0.2.1:25,[2001:db8::1]:25 b.example@20=192.0.2.2:25");
    assert_span(plan->site, "(a|b).example");
    assert_true(plan->authentic && plan->hosts[0].authentic && !plan->hosts[1].authentic);
    assert_int_equal(plan->expires_ns, fake.now_ns + 50 * NS_PER_S);
    unsigned before = fake.asked;
    find("d.example");
    assert_int_equal(fake.asked, before);
}

static void test_shuffle_inside_one_preference(void **state)
{
    static const struct fake_line zone[] = {
        {"d.example", RR_MX, "10 a.example 10 b.example 10 c.example 20 z.example"},
        {"a.example", RR_A, "192.0.2.1"},
        {"b.example", RR_A, "192.0.2.2"},
        {"c.example", RR_A, "192.0.2.3"},
        {"z.example", RR_A, "192.0.2.4"},
    };
    FAKE_ZONE(zone);
    unsigned first[3] = {0};
    for (unsigned i = 0; i < 300; i++) {
        const struct plan *plan = find("d.example");
        assert_int_equal(plan->host_count, 4);
        assert_span(plan->hosts[3].name, "z.example");
        assert_span(plan->site, "(a|b|c|z).example");
        first[plan->hosts[0].name.data[0] - 'a']++;
    }
    for (unsigned i = 0; i < 3; i++)
        assert_in_range(first[i], 40, 180); /* 100 expected; 6 sigma off */
}

static void test_addresses_share_the_load(void **state)
{
    static const struct fake_line zone[] = {
        {"d.example", RR_A, "192.0.2.1 192.0.2.2 192.0.2.3"},
    };
    FAKE_ZONE(zone);
    unsigned first[4] = {0};
    for (unsigned i = 0; i < 300; i++) {
        const struct plan *plan = find("d.example");
        assert_int_equal(plan->hosts[0].address_count, 3);
        first[plan->hosts[0].addresses[0].bits[15]]++;
    }
    for (unsigned i = 1; i <= 3; i++)
        assert_in_range(first[i], 40, 180);
}

static void test_ip_strategies(void **state)
{
    static const struct fake_line zone[] = {
        {"d.example", RR_A, "192.0.2.1"},
        {"d.example", RR_AAAA, "2001:db8::1"},
        {"m.example", RR_AAAA, "::ffff:127.0.0.1"}, /* an IPv4 in disguise */
    };
    static const struct {
        enum ip_strategy strategy;
        const char *expected;
        unsigned questions;
    } cases[] = {
        {IP_V4_AND_V6, "d.example@0=192.0.2.1:25,[2001:db8::1]:25", 3},
        {IP_V4_ONLY, "d.example@0=192.0.2.1:25", 2},
        {IP_V6_ONLY, "d.example@0=[2001:db8::1]:25", 2},
        {IP_V6_THEN_V4, "d.example@0=[2001:db8::1]:25,192.0.2.1:25", 3},
        {IP_V4_THEN_V6, "d.example@0=192.0.2.1:25,[2001:db8::1]:25", 3},
    };
    FAKE_ZONE(zone);
    for (size_t i = 0; i < countof(cases); i++) {
        options.ip_lookup_strategy = cases[i].strategy;
        restart();
        unsigned before = fake.asked;
        assert_string_equal(shown(find("d.example")), cases[i].expected);
        assert_int_equal(fake.asked - before, cases[i].questions);
    }
    assert_int_equal(find("m.example")->status, PLAN_PROHIBITED);
}

/* Everything that ends in a reply. */
static void test_refusals(void **state)
{
    static const struct fake_line zone[] = {
        {"fail.example", RR_MX, "SERVFAIL"},
        {"null.example", RR_MX, "NULL"},
        {"odd.example", RR_MX, "UNUSABLE"},
        {"odd.example", RR_A, "192.0.2.1"},
        {"empty.example", RR_MX, "NODATA"},
        {"empty.example", RR_A, "NODATA"},
        {"half.example", RR_MX, "NODATA"},
        {"half.example", RR_A, "NXDOMAIN"},
        {"half.example", RR_AAAA, "NXDOMAIN"},
        {"dangling.example", RR_MX, "10 nowhere.example"},
        {"dangling.example", RR_A, "192.0.2.1"}, /* no fall-back: there is an MX */
        {"shaky.example", RR_MX, "10 nowhere.example 20 fails.example"},
        {"fails.example", RR_A, "SERVFAIL"},
        {"fails.example", RR_AAAA, "SERVFAIL"},
        {"shaky4.example", RR_A, "NODATA"},
        {"shaky4.example", RR_AAAA, "SERVFAIL"},
        {"us.example", RR_A, "198.51.100.7"},
        {"us-only.example", RR_MX, "10 US.example"},
        {"us-best.example", RR_MX, "10 us.example 10 other.example 20 worse.example"},
        {"us-address.example", RR_MX, "10 alias.example 20 other.example"},
        {"alias.example", RR_A, "192.0.2.99"},
        {"other.example", RR_A, "192.0.2.5"},
        {"worse.example", RR_A, "192.0.2.6"},
        {"us-implicit.example", RR_A, "192.0.2.99"},
        {"us-dead.example", RR_MX, "5 nowhere.example 10 us.example"},
        {"us-shaky.example", RR_MX, "5 fails.example 10 us.example"},
        {"inside.example", RR_MX, "10 lo.example"},
        {"lo.example", RR_A, "127.0.0.1"},
        {"lo.example", RR_AAAA, "::1"},
        {"skip.example", RR_A, "203.0.113.5"},
        {"ring.example", RR_MX, "FOLLOW ring.example"},
    };
    static const struct {
        const char *domain;
        enum plan_status status;
        unsigned code, class, subject, detail;
    } cases[] = {
        {"nothing.example", PLAN_NO_DOMAIN, 550, 5, 1, 2},
        {"", PLAN_NO_DOMAIN, 550, 5, 1, 2},
        {"a..b", PLAN_NO_DOMAIN, 550, 5, 1, 2},
        {"caf\xc3\xa9.example", PLAN_NO_DOMAIN, 550, 5, 1, 2},
        {"[bad]", PLAN_NO_DOMAIN, 550, 5, 1, 2},
        {"[]", PLAN_NO_DOMAIN, 550, 5, 1, 2},
        {"[192.0.2.1:25]", PLAN_NO_DOMAIN, 550, 5, 1, 2},
        {"[2001:db8::1]", PLAN_NO_DOMAIN, 550, 5, 1, 2},
        {"[IPv6:192.0.2.1]", PLAN_NO_DOMAIN, 550, 5, 1, 2},
        {"[IPv6:[2001:db8::1]:25]", PLAN_NO_DOMAIN, 550, 5, 1, 2},
        {"[unix:/run/x]", PLAN_NO_DOMAIN, 550, 5, 1, 2},
        {"fail.example", PLAN_TEMPORARY, 451, 4, 4, 3},
        {"null.example", PLAN_NULL_MX, 556, 5, 1, 10},
        {"odd.example", PLAN_NO_ADDRESS, 550, 5, 4, 4},
        {"empty.example", PLAN_NO_ADDRESS, 550, 5, 4, 4},
        {"half.example", PLAN_NO_DOMAIN, 550, 5, 1, 2},
        {"dangling.example", PLAN_NO_ADDRESS, 550, 5, 4, 4},
        {"shaky.example", PLAN_TEMPORARY, 451, 4, 4, 3},
        {"shaky4.example", PLAN_TEMPORARY, 451, 4, 4, 3},
        {"us-only.example", PLAN_LOOP, 554, 5, 4, 6},
        {"us-best.example", PLAN_LOOP, 554, 5, 4, 6},
        {"us-address.example", PLAN_LOOP, 554, 5, 4, 6},
        {"us-implicit.example", PLAN_LOOP, 554, 5, 4, 6},
        {"us.example", PLAN_LOOP, 554, 5, 4, 6}, /* by name, whatever its address */
        {"us-dead.example", PLAN_NO_ADDRESS, 550, 5, 4, 4},
        {"us-shaky.example", PLAN_TEMPORARY, 451, 4, 4, 3},
        {"[192.0.2.99]", PLAN_LOOP, 554, 5, 4, 6},
        {"inside.example", PLAN_PROHIBITED, 550, 5, 4, 4},
        {"[127.0.0.1]", PLAN_PROHIBITED, 550, 5, 4, 4},
        {"[IPv6:::1]", PLAN_PROHIBITED, 550, 5, 4, 4},
        {"skip.example", PLAN_NO_ADDRESS, 451, 4, 4, 4},
        {"ring.example", PLAN_TEMPORARY, 451, 4, 4, 3},
    };
    FAKE_ZONE(zone);
    for (size_t i = 0; i < countof(cases); i++) {
        const struct plan *plan = find(cases[i].domain);
        if (plan->status != cases[i].status)
            fail_msg("%s: status %d: %s", cases[i].domain, plan->status, plan->text);
        assert_refused(plan, cases[i].status, cases[i].code, cases[i].class, cases[i].subject,
                       cases[i].detail);
    }
}

static void test_texts(void **state)
{
    static const struct fake_line zone[] = {{"fail.example", RR_MX, "SERVFAIL"}};
    FAKE_ZONE(zone);
    assert_string_equal(find("Fail.example")->text,
                        "DNS look-up of the mail servers of Fail.example failed: server failure");
    assert_string_equal(find("no\r\n250 ok.example")->text,
                        "Domain no??250 ok.example does not exist");
}

static void test_better_hosts_than_us(void **state)
{
    static const struct fake_line zone[] = {
        {"name.example", RR_MX, "5 good.example 10 us.example 10 same.example 20 worse.example"},
        {"good.example", RR_A, "192.0.2.1"},
        {"same.example", RR_A, "192.0.2.2"},
        {"worse.example", RR_A, "192.0.2.3"},
        {"address.example", RR_MX, "5 good.example 10 alias.example 20 worse.example"},
        {"alias.example", RR_A, "192.0.2.99"},
        {"port.example", RR_MX, "10 port6.example"},
        {"port6.example", RR_AAAA, "2001:db8::99"}, /* ours, but at another port */
    };
    FAKE_ZONE(zone);
    assert_string_equal(shown(find("name.example")), "good.example@5=192.0.2.1:25");
    assert_string_equal(shown(find("address.example")), "good.example@5=192.0.2.1:25");
    assert_string_equal(shown(find("port.example")), "port6.example@10=[2001:db8::99]:25");
    options.smtp_port = 2525;
    restart();
    assert_int_equal(find("port.example")->status, PLAN_LOOP);
}

static void test_bad_addresses_fall_out(void **state)
{
    static const struct fake_line zone[] = {
        {"d.example", RR_MX, "5 lo.example 10 mixed.example 15 fails.example"},
        {"lo.example", RR_A, "127.0.0.1"},
        {"mixed.example", RR_A, "127.0.0.2"},
        {"mixed.example", RR_AAAA, "2001:db8::5"},
        {"fails.example", RR_A, "SERVFAIL"},
    };
    FAKE_ZONE(zone);
    assert_string_equal(shown(find("d.example")), "mixed.example@10=[2001:db8::5]:25");
}

static void test_implicit_mx_and_cname(void **state)
{
    static const struct fake_line zone[] = {
        {"plain.example", RR_A, "192.0.2.1"},
        {"other.example", RR_MX, "FOLLOW target.example"},
        {"target.example", RR_MX, "10 mx.example"},
        {"mx.example", RR_A, "FOLLOW real.example"},
        {"real.example", RR_A, "192.0.2.7"},
        {"mx.example", RR_AAAA, "FOLLOW real.example"},
    };
    FAKE_ZONE(zone);
    const struct plan *plan = find("plain.example");
    assert_string_equal(shown(plan), "plain.example@0=192.0.2.1:25");
    assert_span(plan->site, "plain.example");
    plan = find("other.example");
    assert_string_equal(shown(plan), "mx.example@10=192.0.2.7:25");
    assert_span(plan->site, "mx.example");
}

static void test_literals(void **state)
{
    FAKE_ZONE(((const struct fake_line[]){{"x.example", RR_A, "NODATA"}}));
    unsigned before = fake.asked;
    const struct plan *plan = find("[192.0.2.1]");
    assert_string_equal(shown(plan), "192.0.2.1@0=192.0.2.1:25");
    assert_span(plan->site, "192.0.2.1");
    plan = find("[ipv6:2001:DB8::1]");
    assert_string_equal(shown(plan), "2001:db8::1@0=[2001:db8::1]:25");
    assert_int_equal(fake.asked, before);
}

static void test_bounds(void **state)
{
    static struct fake_line zone[65];
    static char names[64][32], mx[2048], many[512];
    struct sink sink;
    sink_init(&sink, mx, sizeof(mx) - 1);
    for (unsigned i = 0; i < 64; i++) {
        snprintf(names[i], sizeof(names[i]), "h%02u.example", i);
        sink_format(&sink, "%s%u %s", i ? " " : "", 100 - i, names[i]);
        zone[i] = (struct fake_line){names[i], RR_A, many};
    }
    zone[64] = (struct fake_line){"d.example", RR_MX, mx};
    sink_init(&sink, many, sizeof(many) - 1);
    for (unsigned i = 1; i < 40; i++)
        sink_format(&sink, "192.0.2.%u ", i);
    FAKE_ZONE(zone);
    unsigned before = fake.asked;
    const struct plan *plan = find("d.example");
    assert_int_equal(fake.asked - before, 1 + 2 * PLAN_HOSTS);
    assert_int_equal(plan->host_count, PLAN_HOSTS);
    assert_span(plan->hosts[0].name, "h63.example"); /* the best ones */
    for (size_t i = 0; i < plan->host_count; i++)
        assert_int_equal(plan->hosts[i].address_count, PLAN_ADDRESSES);
}

static void test_deadline(void **state)
{
    static const struct fake_line zone[] = {
        {"hang.example", RR_MX, "HANG"},
        {"part.example", RR_MX, "5 slow.example 10 good.example"},
        {"slow.example", RR_A, "HANG"},
        {"good.example", RR_A, "192.0.2.1"},
        {"none.example", RR_MX, "5 slow.example"},
    };
    static const struct {
        const char *domain;
        enum plan_status status;
    } cases[] = {
        {"hang.example", PLAN_TEMPORARY},
        {"part.example", PLAN_OK},
        {"none.example", PLAN_TEMPORARY},
    };
    FAKE_ZONE(zone);
    for (size_t i = 0; i < countof(cases); i++) {
        struct plan_request request;
        request_init(&request);
        got = plan_free(got);
        unsigned before = done_count;
        plan_find(dns, &request, span_string(cases[i].domain));
        fake_pass(&loop, PLAN_DEADLINE_MS - 1);
        assert_int_equal(done_count, before);
        fake_pass(&loop, 2);
        assert_int_equal(done_count, before + 1);
        assert_int_equal(got->status, cases[i].status);
        assert_true(got->expires_ns <= fake.now_ns + 10 * NS_PER_S); /* ask again soon */
    }
    assert_string_equal(got->text,
                        "DNS look-up of the mail servers of none.example failed: time-out");
}

static void test_route(void **state)
{
    static const struct fake_line zone[] = {
        {"smart.example", RR_A, "127.0.0.9"},
        {"us.example", RR_A, "192.0.2.99"},
        {"fails.example", RR_A, "SERVFAIL"},
        {"smart.example", RR_MX, "1 wrong.example"},
    };
    static const char *const hosts[] = {"Smart.example:2526", "gone.example", "127.0.0.1:2527",
                                        "[::1]:2528",         "us.example",   "192.0.2.9"};
    FAKE_ZONE(zone);
    const struct plan *plan = find_hosts(hosts, countof(hosts));
    assert_int_equal(plan->status, PLAN_OK);
    assert_string_equal(shown(plan), "smart.example@0=127.0.0.9:2526 127.0.0.1@2=127.0.0.1:2527 "
                                     "::1@3=[::1]:2528 us.example@4=192.0.2.99:25 "
                                     "192.0.2.9@5=192.0.2.9:25");
    assert_span(plan->site, "mx_list:smart.example:2526,gone.example,127.0.0.1:2527,[::1]:2528,"
                            "us.example,192.0.2.9");
    assert_refused(find_hosts((const char *const[]){"gone.example"}, 1), PLAN_NO_ADDRESS, 451, 4, 4,
                   4);
    assert_refused(find_hosts((const char *const[]){"gone.example", "fails.example"}, 2),
                   PLAN_TEMPORARY, 451, 4, 4, 3);
    assert_refused(find_hosts((const char *const[]){"bad host"}, 1), PLAN_NO_ADDRESS, 451, 4, 4, 4);
    assert_refused(find_hosts(NULL, 0), PLAN_NO_ADDRESS, 451, 4, 4, 4);
}

static void test_cancel_in_every_state(void **state)
{
    static const struct fake_line zone[] = {
        {"hang.example", RR_MX, "HANG"},
        {"part.example", RR_MX, "5 slow.example 10 good.example"},
        {"slow.example", RR_A, "HANG"},
        {"good.example", RR_A, "192.0.2.1"},
    };
    FAKE_ZONE(zone);
    struct plan_request request;
    request_init(&request);
    unsigned before = done_count;
    plan_cancel(dns, &request); /* idle */
    plan_find(dns, &request, SPAN("hang.example"));
    plan_cancel(dns, &request); /* at once */
    plan_find(dns, &request, SPAN("hang.example"));
    fake_pass(&loop, 0);
    plan_cancel(dns, &request); /* MX under way */
    plan_find(dns, &request, SPAN("part.example"));
    fake_pass(&loop, 0);
    plan_cancel(dns, &request); /* addresses under way */
    plan_find(dns, &request, SPAN("[192.0.2.1]"));
    plan_cancel(dns, &request); /* ready, not dispatched */
    assert_true(op_idle(&request.op));
    fake_pass(&loop, PLAN_DEADLINE_MS + 1);
    assert_int_equal(done_count, before);
}

static void on_stopped(struct op *op)
{
    op->result = 1;
}

static void test_stop(void **state)
{
    static const struct fake_line zone[] = {{"hang.example", RR_MX, "HANG"}};
    FAKE_ZONE(zone);
    struct plan_request requests[3];
    struct op stopped;
    op_init(&stopped, on_stopped);
    unsigned before = done_count;
    for (size_t i = 0; i < 2; i++) {
        request_init(&requests[i]);
        plan_find(dns, &requests[i], SPAN("hang.example"));
    }
    fake_pass(&loop, 0);
    dns_stop(dns, &stopped);
    request_init(&requests[2]);
    plan_find(dns, &requests[2], SPAN("late.example"));
    got = NULL;
    fake_pass(&loop, 0);
    assert_int_equal(stopped.result, 1);
    assert_int_equal(done_count, before + 3);
    assert_int_equal(done_result, -ECANCELED);
    assert_null(got);
}

#define PLAN_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLAN_TEST(test_order_and_addresses),
        PLAN_TEST(test_shuffle_inside_one_preference),
        PLAN_TEST(test_addresses_share_the_load),
        PLAN_TEST(test_ip_strategies),
        PLAN_TEST(test_refusals),
        PLAN_TEST(test_texts),
        PLAN_TEST(test_better_hosts_than_us),
        PLAN_TEST(test_bad_addresses_fall_out),
        PLAN_TEST(test_implicit_mx_and_cname),
        PLAN_TEST(test_literals),
        PLAN_TEST(test_bounds),
        PLAN_TEST(test_deadline),
        PLAN_TEST(test_route),
        PLAN_TEST(test_cancel_in_every_state),
        PLAN_TEST(test_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
