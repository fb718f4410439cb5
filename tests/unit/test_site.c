/* Site names: the roll-up of MX host names, and of configured routes. */
#include "dns/site.h"

#include "core/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

typedef void site_function(const struct span *, size_t, struct sink *);

/* `text`: names with blanks between. */
static const char *rolled(site_function *function, const char *text)
{
    static char site[SITE_BYTES + 1];
    struct span names[SITE_NAMES], rest = span_string(text);
    struct sink sink;
    size_t count = 0;
    while (rest.len > 0) {
        names[count] = span_first(rest, span_find(rest, ' '));
        rest = span_skip(rest, names[count].len + 1);
        count++;
    }
    sink_init(&sink, site, SITE_BYTES);
    function(names, count, &sink);
    assert_false(sink.full);
    site[sink.len] = 0;
    return site;
}

static void test_roll_up(void **state)
{
    static const struct {
        const char *names, *site;
    } cases[] = {
        {"", ""},
        {"mx.example", "mx.example"},
        {"gmail-smtp-in.l.google.com alt1.gmail-smtp-in.l.google.com "
         "alt2.gmail-smtp-in.l.google.com "
         "alt3.gmail-smtp-in.l.google.com alt4.gmail-smtp-in.l.google.com",
         "(alt1|alt2|alt3|alt4)?.gmail-smtp-in.l.google.com"},
        {"mx1.a.example mx2.b.example", "(mx1|mx2).(a|b).example"},
        {"mx1.a.example mx1.b.example", "mx1.(a|b).example"},
        {"a.example mx.a.example", "mx?.a.example"},
        {"a b", "(a|b)"},
        {"x.org y.net", "(x|y).(org|net)"},
    };
    for (size_t i = 0; i < countof(cases); i++)
        assert_string_equal(rolled(site_roll_up, cases[i].names), cases[i].site);
}

static void test_route(void **state)
{
    assert_string_equal(rolled(site_route, "A.example 127.0.0.1:2526"),
                        "mx_list:a.example,127.0.0.1:2526");
}

static void test_too_long(void **state)
{
    static char names[64 * 64];
    char first[SITE_BYTES + 1];
    site_function *const functions[] = {site_roll_up, site_route};
    for (size_t f = 0; f < countof(functions); f++) {
        size_t len = 0;
        for (unsigned i = 0; i < SITE_NAMES; i++)
            len += (size_t)sprintf(names + len, "%sabc%u.def%u.ghi%u", i ? " " : "", i, i, i);
        snprintf(first, sizeof(first), "%s", rolled(functions[f], names));
        assert_int_equal(strncmp(first, "mx_hash:", 8), 0);
        assert_int_equal(strlen(first), 24);
        assert_string_equal(rolled(functions[f], names), first);
        names[0] = 'z';
        assert_string_not_equal(rolled(functions[f], names), first);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_roll_up),
        cmocka_unit_test(test_route),
        cmocka_unit_test(test_too_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
