/* SPF: the macros of RFC 7208 7.4, the examples of its appendix A, and a table per rule. Every zone
 * line is "name TYPE data"; a name in no line is NXDOMAIN, a type in no line has no data. */
#include "core/check.h"
#include "smtp/spf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* ---- the zone ---- */

static const struct {
    const char *name;
    enum rr_type type;
    const char *data;
} zone[] = {
    /* appendix A.1 */
    {"example.com", RR_A, "192.0.2.10 192.0.2.11"},
    {"amy.example.com", RR_A, "192.0.2.65"},
    {"bob.example.com", RR_A, "192.0.2.66"},
    {"mail-a.example.com", RR_A, "192.0.2.129"},
    {"mail-b.example.com", RR_A, "192.0.2.130"},
    {"www.example.com", RR_A, "192.0.2.10 192.0.2.11"},
    {"example.com", RR_MX, "mail-a.example.com mail-b.example.com"},
    {"example.org", RR_MX, "mail-c.example.org"},
    {"mail-c.example.org", RR_A, "192.0.2.140"},
    {"10.2.0.192.in-addr.arpa", RR_PTR, "example.com"},
    {"11.2.0.192.in-addr.arpa", RR_PTR, "example.com"},
    {"65.2.0.192.in-addr.arpa", RR_PTR, "amy.example.com"},
    {"66.2.0.192.in-addr.arpa", RR_PTR, "bob.example.com"},
    {"129.2.0.192.in-addr.arpa", RR_PTR, "mail-a.example.com"},
    {"130.2.0.192.in-addr.arpa", RR_PTR, "mail-b.example.com"},
    {"140.2.0.192.in-addr.arpa", RR_PTR, "mail-c.example.org"},
    {"4.0.0.10.in-addr.arpa", RR_PTR, "bob.example.com"}, /* a lie */
    /* v6 */
    {"six.example.com", RR_AAAA, "2001:db8::1"},
    {"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa", RR_PTR,
     "six.example.com"},
    /* records that others include */
    {"pass.test", RR_TXT, "v=spf1 +all"},
    {"fail.test", RR_TXT, "v=spf1 -all"},
    {"soft.test", RR_TXT, "v=spf1 ~all"},
    {"neutral.test", RR_TXT, "v=spf1 ?all"},
    {"broken.test", RR_TXT, "v=spf1 bogus"},
    {"temp.test", RR_TXT, "SERVFAIL"},
    {"temp.test", RR_A, "SERVFAIL"},
    {"temp.test", RR_MX, "SERVFAIL"},
    {"3.0.0.10.in-addr.arpa", RR_PTR, "SERVFAIL"},
    {"twice.test", RR_TXT, "v=spf1 -all|v=spf1 +all"},
    {"other.test", RR_TXT, "some text|v=spf10 +all|v=spf1 +all"},
    {"upper.test", RR_TXT, "V=SPF1 +ALL"},
    {"bare.test", RR_TXT, "v=spf1"},
    {"loop.test", RR_TXT, "v=spf1 include:loop.test -all"},
    {"loop2.test", RR_TXT, "v=spf1 redirect=loop2.test"},
    {"manymx.test", RR_MX,
     "a.test b.test c.test d.test e.test f.test g.test h.test i.test j.test k.test"},
    {"eight.test", RR_TXT, "v=spf1 ip4:1.2.3.4 \xc3\xa4 -all"},
    {"127.0.0.1._spf.rate.test", RR_A, "127.0.0.2"},
    {"ann.lp._spf.example.com", RR_A, "127.0.0.2"},
    {"bob.65.2.0.192.in-addr._x.test", RR_A, "127.0.0.2"},
    {"amy.example.com._p.test", RR_A, "127.0.0.2"},
    {"unknown._p.test", RR_A, "127.0.0.2"},
};

static bool address_bits_of(const char *text, uint8_t bits[16])
{
    struct address address;
    return address_parse(span_string(text), 0, &address) && address_bits(&address, bits);
}

struct made {
    struct answer_record records[ANSWER_RECORDS];
    char strings[8][512];
    unsigned count;
    bool failed;
};

static void make_records(const char *data, enum rr_type type, struct made *made)
{
    static char copies[8192]; /* of names, until the answer is made */
    char *rest, *at = copies;
    snprintf(copies, sizeof copies, "%s", data);
    made->failed = strcmp(data, "SERVFAIL") == 0;
    const char *separator = type == RR_TXT ? "|" : " ";
    for (char *word = strtok_r(at, separator, &rest); word && !made->failed;
         word = strtok_r(NULL, separator, &rest)) {
        struct answer_record *record = &made->records[made->count];
        if (type == RR_TXT) {
            /* in strings of at most 100 octets */
            struct sink sink;
            sink_init(&sink, made->strings[made->count], sizeof made->strings[0]);
            for (struct span text = span_string(word); text.len; text = span_skip(text, 100)) {
                sink_byte(&sink, (char)span_first(text, 100).len);
                sink_put(&sink, span_first(text, 100));
            }
            record->strings = sink_span(&sink);
        } else if (type == RR_MX || type == RR_PTR) {
            record->name = span_string(word);
        } else {
            assert_true(address_bits_of(word, record->bits));
        }
        made->count++;
    }
}

/* NULL: a temporary failure. */
static struct answer *look_up(const struct name *name, enum rr_type type)
{
    struct made made = {0};
    bool exists = false;
    for (size_t i = 0; i < countof(zone); i++) {
        if (!span_equals(span_string(zone[i].name), name_span(name)))
            continue;
        exists = true;
        if (zone[i].type == type)
            make_records(zone[i].data, type, &made);
    }
    struct answer header = {.count = (uint16_t)made.count,
                            .rcode = exists ? RCODE_NOERROR : RCODE_NXDOMAIN,
                            .name = name_span(name)};
    return made.failed ? NULL : answer_new(&header, made.records);
}

/* ---- running ---- */

/* `record` stands at the domain that is checked, if it is example.com. */
static enum spf_result run_spf(const char *record, const char *client, const char *sender,
                               const char *domain)
{
    struct chunk_pool pool;
    struct arena arena;
    struct spf_subject subject = {
        .local = span_string(sender), .domain = span_string(domain), .helo = SPAN("helo.example")};
    static struct spf spf;
    struct name name;
    enum rr_type type;
    unsigned lookups = 0;
    chunk_pool_init(&pool, SIZE_MAX / 2, 0);
    arena_init(&arena, &pool, SIZE_MAX / 2);
    assert_true(address_bits_of(client, subject.client));
    spf_init(&spf, &arena, &subject);
    while (spf_asks(&spf, &name, &type)) {
        struct answer *answer;
        if (record && type == RR_TXT && span_equals(name_span(&name), SPAN("example.com"))) {
            struct made made = {0};
            make_records(record, RR_TXT, &made);
            struct answer header = {.count = (uint16_t)made.count, .name = name_span(&name)};
            answer = answer_new(&header, made.records);
        } else {
            answer = look_up(&name, type);
        }
        spf_answer(&spf, answer);
        answer_free(answer);
        assert_true(++lookups < 200);
    }
    arena_fini(&arena);
    chunk_pool_fini(&pool);
    return spf.result;
}

struct spf_case {
    const char *record, *client;
    enum spf_result result;
};

static void expect_all(const struct spf_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        enum spf_result result = run_spf(cases[i].record, cases[i].client, "ann", "example.com");
        if (result != cases[i].result)
            fail_msg("'%s' for %s: %.*s, wanted %.*s", cases[i].record, cases[i].client,
                     SPAN_FORMAT(spf_result_name(result)),
                     SPAN_FORMAT(spf_result_name(cases[i].result)));
    }
}

#define EXPECT_ALL(cases) expect_all(cases, countof(cases))

static void test_appendix_a(void **state)
{
    static const struct spf_case cases[] = {
        {"v=spf1 +all", "203.0.113.1", SPF_PASS},
        {"v=spf1 a -all", "192.0.2.10", SPF_PASS},
        {"v=spf1 a -all", "192.0.2.12", SPF_FAIL},
        {"v=spf1 a:example.org -all", "192.0.2.10", SPF_FAIL},
        {"v=spf1 mx -all", "192.0.2.129", SPF_PASS},
        {"v=spf1 mx -all", "192.0.2.131", SPF_FAIL},
        {"v=spf1 mx:example.org -all", "192.0.2.140", SPF_PASS},
        {"v=spf1 mx mx:example.org -all", "192.0.2.140", SPF_PASS},
        {"v=spf1 mx/30 mx:example.org/30 -all", "192.0.2.131", SPF_PASS},
        {"v=spf1 mx/30 mx:example.org/30 -all", "192.0.2.143", SPF_PASS},
        {"v=spf1 mx/30 mx:example.org/30 -all", "192.0.2.144", SPF_FAIL},
        {"v=spf1 ptr -all", "192.0.2.65", SPF_PASS},
        {"v=spf1 ptr -all", "192.0.2.140", SPF_FAIL},
        {"v=spf1 ptr -all", "10.0.0.4", SPF_FAIL},
        {"v=spf1 ip4:192.0.2.128/28 -all", "192.0.2.129", SPF_PASS},
        {"v=spf1 ip4:192.0.2.128/28 -all", "192.0.2.65", SPF_FAIL},
    };
    EXPECT_ALL(cases);
}

static void test_mechanisms(void **state)
{
    static const struct spf_case cases[] = {
        {"v=spf1", "192.0.2.1", SPF_NEUTRAL},
        {"v=spf1 ", "192.0.2.1", SPF_NEUTRAL},
        {"v=spf1 ?all", "192.0.2.1", SPF_NEUTRAL},
        {"v=spf1 ~all", "192.0.2.1", SPF_SOFTFAIL},
        {"v=spf1   -ALL  ", "192.0.2.1", SPF_FAIL},
        {"v=spf1 ip4:192.0.2.1 -all", "192.0.2.1", SPF_PASS},
        {"v=spf1 -ip4:192.0.2.1 +all", "192.0.2.1", SPF_FAIL},
        {"v=spf1 ip4:0.0.0.0/0 -all", "203.0.113.9", SPF_PASS},
        {"v=spf1 ip4:0.0.0.0/0 -all", "2001:db8::1", SPF_FAIL},
        {"v=spf1 ip6:::/0 -all", "2001:db8::1", SPF_PASS},
        {"v=spf1 ip6:::/0 -all", "192.0.2.1", SPF_FAIL},
        {"v=spf1 ip6:2001:db8::/31 -all", "2001:db9::1", SPF_PASS},
        {"v=spf1 ip6:2001:db8::/32 -all", "2001:db9::1", SPF_FAIL},
        {"v=spf1 a:six.example.com -all", "2001:db8::1", SPF_PASS},
        {"v=spf1 a:six.example.com//64 -all", "2001:db8::2", SPF_PASS},
        {"v=spf1 a:six.example.com/8//64 -all", "2001:db8:1::2", SPF_FAIL},
        {"v=spf1 a/24 -all", "192.0.2.200", SPF_PASS},
        {"v=spf1 a:amy.example.com/0 -all", "203.0.113.1", SPF_PASS},
        {"v=spf1 ptr:six.example.com -all", "2001:db8::1", SPF_PASS},
        {"v=spf1 ptr -all", "10.0.0.3", SPF_FAIL}, /* a failing PTR does not match */
        {"v=spf1 exists:www.example.com -all", "2001:db8::1", SPF_PASS},
        {"v=spf1 exists:nowhere.example.com -all", "192.0.2.1", SPF_FAIL},
        {"v=spf1 a:exa..mple.com -all", "192.0.2.10", SPF_FAIL}, /* no name: no match */
    };
    EXPECT_ALL(cases);
}

static void test_includes(void **state)
{
    static const struct spf_case cases[] = {
        {"v=spf1 include:pass.test -all", "192.0.2.1", SPF_PASS},
        {"v=spf1 -include:pass.test +all", "192.0.2.1", SPF_FAIL},
        {"v=spf1 include:fail.test ?all", "192.0.2.1", SPF_NEUTRAL},
        {"v=spf1 include:soft.test -all", "192.0.2.1", SPF_FAIL},
        {"v=spf1 include:neutral.test -all", "192.0.2.1", SPF_FAIL},
        {"v=spf1 include:broken.test -all", "192.0.2.1", SPF_PERMERROR},
        {"v=spf1 include:nowhere.test -all", "192.0.2.1", SPF_PERMERROR},
        {"v=spf1 include:temp.test -all", "192.0.2.1", SPF_TEMPERROR},
        {"v=spf1 include:bare.test -all", "192.0.2.1", SPF_FAIL},
        {"v=spf1 redirect=pass.test", "192.0.2.1", SPF_PASS},
        {"v=spf1 redirect=fail.test ip4:192.0.2.1", "192.0.2.1", SPF_PASS},
        {"v=spf1 redirect=fail.test ip4:192.0.2.1", "192.0.2.2", SPF_FAIL},
        {"v=spf1 redirect=pass.test -all", "192.0.2.1", SPF_FAIL},
        {"v=spf1 redirect=nowhere.test", "192.0.2.1", SPF_PERMERROR},
        {"v=spf1 redirect=temp.test", "192.0.2.1", SPF_TEMPERROR},
        {"v=spf1 include:loop.test -all", "192.0.2.1", SPF_PERMERROR},
        {"v=spf1 redirect=loop2.test", "192.0.2.1", SPF_PERMERROR},
    };
    EXPECT_ALL(cases);
}

static void test_failures_and_limits(void **state)
{
    static const struct spf_case cases[] = {
        {"v=spf1 a:temp.test -all", "192.0.2.1", SPF_TEMPERROR},
        {"v=spf1 mx:temp.test -all", "192.0.2.1", SPF_TEMPERROR},
        {"v=spf1 exists:temp.test -all", "192.0.2.1", SPF_TEMPERROR},
        {"v=spf1 mx:manymx.test -all", "192.0.2.1", SPF_PERMERROR},
        /* ten terms may look up, the eleventh not */
        {"v=spf1 a a a a a a a a a a -all", "192.0.2.1", SPF_FAIL},
        {"v=spf1 a a a a a a a a a a a -all", "192.0.2.1", SPF_PERMERROR},
        {"v=spf1 a a a a a a a a a a ip4:192.0.2.1 a -all", "192.0.2.1", SPF_PASS},
        {"v=spf1 a a a a a a a a a a redirect=pass.test", "192.0.2.1", SPF_PERMERROR},
        /* two may find nothing, the third not */
        {"v=spf1 a:x.test a:y.test -all", "192.0.2.1", SPF_FAIL},
        {"v=spf1 a:x.test a:y.test a:z.test -all", "192.0.2.1", SPF_PERMERROR},
        {"v=spf1 a:x.test exists:y.test mx:z.test -all", "192.0.2.1", SPF_PERMERROR},
    };
    EXPECT_ALL(cases);
}

static void test_syntax(void **state)
{
    static const char *const broken[] = {
        "bogus",
        "all:x.test",
        "all/8",
        "include",
        "include:",
        "exists",
        "a:",
        "a/33",
        "a//129",
        "a/024",
        "a/",
        "a//",
        "a/8/8",
        "a:x.test/",
        "mx/x",
        "ip4",
        "ip4:",
        "ip4:1.2.3",
        "ip4:1.2.3.4/",
        "ip4:1.2.3.4/33",
        "ip4:1.2.3.4/08",
        "ip4:2001:db8::1",
        "ip6:1.2.3.4",
        "ip6:::1/129",
        "redirect:x.test",
        "redirect=",
        "redirect=a.test redirect=b.test",
        "exp=a.test exp=b.test",
        "exp=",
        "++all",
        "+",
        "a:%x.test",
        "a:%{z}.test",
        "a:%{d0}.test",
        "a:%{d",
        "a:%{c}.test",
        "a:%{dr2}.test",
        "a:x.123",
        "a:x",
        "a:x.-y",
        "ptr/24",
        "ip4:1.2.3.4\tall",
        "default=%{",
        "1x=y",
    };
    for (size_t i = 0; i < countof(broken); i++) {
        char record[256];
        snprintf(record, sizeof record, "v=spf1 ip4:192.0.2.1 %s", broken[i]);
        if (run_spf(record, "192.0.2.1", "ann", "example.com") != SPF_PERMERROR)
            fail_msg("'%s' was read", record);
    }
    static const char *const good[] = {
        "moo=cow",
        "ip4=1.2.3.4",
        "include=x.test",
        "moo=%{s}%%%_%-",
        "exp=why.test",
        "a:x.test.",
        "a:%{d}",
        "a:%{d2r.-+}x.test",
        "default=",
        "include:%{ir}.%{v}.test",
        "a:x_y.test",
        "a:_spf.x-y.te5t/8//8",
        "A:x.test",
        "x-y.z_1=.",
        "exists:%{L2r+}.%{O}.test",
    };
    for (size_t i = 0; i < countof(good); i++) {
        char record[256];
        snprintf(record, sizeof record, "v=spf1 ip4:192.0.2.1 %s", good[i]);
        if (run_spf(record, "192.0.2.1", "ann", "example.com") != SPF_PASS)
            fail_msg("'%s' was not read", record);
    }
}

static void test_records(void **state)
{
    static const struct {
        const char *domain;
        enum spf_result result;
    } table[] = {
        {"other.test", SPF_PASS},
        {"twice.test", SPF_PERMERROR},
        {"upper.test", SPF_PASS},
        {"bare.test", SPF_NEUTRAL},
        {"nowhere.test", SPF_NONE},
        {"temp.test", SPF_TEMPERROR},
        {"eight.test", SPF_PERMERROR},
        {"localhost", SPF_NONE},
        {"[192.0.2.1]", SPF_NONE},
        {"a..test", SPF_NONE},
        {"", SPF_NONE},
        {"PASS.Test.", SPF_PASS},
    };
    for (size_t i = 0; i < countof(table); i++)
        if (run_spf(NULL, "1.2.3.4", "", table[i].domain) != table[i].result)
            fail_msg("%s", table[i].domain);
}

/* ---- macros ---- */

static void test_expansion(void **state)
{
    static const struct {
        const char *spec, *client, *name;
    } table[] = {
        /* 7.4 */
        {"%{s}", "192.0.2.3", "strong-bad@email.example.com"},
        {"%{o}", "192.0.2.3", "email.example.com"},
        {"%{d}", "192.0.2.3", "email.example.com"},
        {"%{d4}", "192.0.2.3", "email.example.com"},
        {"%{d3}", "192.0.2.3", "email.example.com"},
        {"%{d2}", "192.0.2.3", "example.com"},
        {"%{d1}", "192.0.2.3", "com"},
        {"%{dr}", "192.0.2.3", "com.example.email"},
        {"%{d2r}", "192.0.2.3", "example.email"},
        {"%{l}", "192.0.2.3", "strong-bad"},
        {"%{l-}", "192.0.2.3", "strong.bad"},
        {"%{lr}", "192.0.2.3", "strong-bad"},
        {"%{lr-}", "192.0.2.3", "bad.strong"},
        {"%{l1r-}", "192.0.2.3", "strong"},
        {"%{ir}.%{v}._spf.%{d2}", "192.0.2.3", "3.2.0.192.in-addr._spf.example.com"},
        {"%{lr-}.lp._spf.%{d2}", "192.0.2.3", "bad.strong.lp._spf.example.com"},
        {"%{lr-}.lp.%{ir}.%{v}._spf.%{d2}", "192.0.2.3",
         "bad.strong.lp.3.2.0.192.in-addr._spf.example.com"},
        {"%{ir}.%{v}.%{l1r-}.lp._spf.%{d2}", "192.0.2.3",
         "3.2.0.192.in-addr.strong.lp._spf.example.com"},
        {"%{d2}.trusted-domains.example.net", "192.0.2.3",
         "example.com.trusted-domains.example.net"},
        {"%{ir}.%{v}._spf.%{d2}", "2001:db8::cb01",
         "1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6._spf.example.com"},
        {"%{S}.x", "192.0.2.3", "strong-bad%40email.example.com.x"},
        {"%{h}.%{p}", "192.0.2.3", "helo.example.unknown"},
        {"a%%b%_c%-d.x", "192.0.2.3", "a%b c%20d.x"},
    };
    for (size_t i = 0; i < countof(table); i++) {
        char text[512];
        struct sink sink;
        struct spf_macros macros = {.local = SPAN("strong-bad"),
                                    .sender_domain = SPAN("email.example.com"),
                                    .domain = SPAN("email.example.com"),
                                    .helo = SPAN("helo.example")};
        assert_true(address_bits_of(table[i].client, macros.client));
        sink_init(&sink, text, sizeof text);
        assert_true(spf_expand(span_string(table[i].spec), &macros, &sink));
        if (!span_equals(sink_span(&sink), span_string(table[i].name)))
            fail_msg("%s: '%.*s'", table[i].spec, SPAN_FORMAT(sink_span(&sink)));
    }
}

/* A name beyond 253 octets loses labels at its front. */
static void test_long_expansion(void **state)
{
    char local[201], text[512];
    struct sink sink;
    memset(local, 'x', 200);
    for (size_t i = 9; i < 200; i += 10)
        local[i] = '.';
    struct spf_macros macros = {.local = span_of(local, 200)};
    sink_init(&sink, text, sizeof text);
    assert_true(spf_expand(SPAN("%{l}%{l}example.org"), &macros, &sink));
    assert_true(sink.len <= 253 && sink.len > 240);
    assert_true(span_ends_with_any_case(sink_span(&sink), SPAN(".xxxxxxxxx.example.org")));
    assert_int_equal(text[0], 'x');
}

static void test_macros_in_records(void **state)
{
    static const struct spf_case cases[] = {
        {"v=spf1 exists:%{l}.lp._spf.%{d} -all", "192.0.2.3", SPF_PASS},
        {"v=spf1 exists:%{i}._spf.rate.test -all", "127.0.0.1", SPF_PASS},
        {"v=spf1 exists:%{i}._spf.rate.test -all", "127.0.0.3", SPF_FAIL},
        {"v=spf1 exists:%{p}._p.test -all", "192.0.2.65", SPF_PASS},
        {"v=spf1 exists:%{p}._p.test -all", "192.0.2.66", SPF_FAIL},
        {"v=spf1 exists:%{p}._p.test -all", "10.0.0.4", SPF_PASS}, /* not valid: unknown */
        {"v=spf1 exists:%{p}._p.test -all", "10.0.0.3", SPF_PASS}, /* failing: unknown */
        {"v=spf1 include:%{d2}.nowhere.test -all", "192.0.2.3", SPF_PERMERROR},
        {"v=spf1 redirect=%{l}.test", "192.0.2.3", SPF_PERMERROR},
    };
    EXPECT_ALL(cases);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_appendix_a),
        cmocka_unit_test(test_mechanisms),
        cmocka_unit_test(test_includes),
        cmocka_unit_test(test_failures_and_limits),
        cmocka_unit_test(test_syntax),
        cmocka_unit_test(test_records),
        cmocka_unit_test(test_expansion),
        cmocka_unit_test(test_long_expansion),
        cmocka_unit_test(test_macros_in_records),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
