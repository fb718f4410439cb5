/* Header sections field by field, and whose mail it is. */
#include "core/check.h"
#include "smtp/fields.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void test_section(void **state)
{
    struct span rest = SPAN("From: a\r\nSubject : b\r\n\tc\r\n d\r\nX:\r\n\r\nbody: no\r\n");
    static const struct {
        struct span name, value;
    } wanted[] = {
        {SPAN("From"), SPAN(" a\r\n")},
        {SPAN("Subject"), SPAN(" b\r\n\tc\r\n d\r\n")},
        {SPAN("X"), SPAN("\r\n")},
    };
    struct header_field field;
    for (size_t i = 0; i < countof(wanted); i++) {
        assert_int_equal(fields_next(&rest, &field), FIELDS_FIELD);
        assert_true(span_equals(field.name, wanted[i].name));
        assert_true(span_equals(field.value, wanted[i].value));
    }
    assert_int_equal(fields_next(&rest, &field), FIELDS_END);
    assert_true(span_starts_with(rest, SPAN("\r\nbody")));
}

static void test_broken(void **state)
{
    static const char *const texts[] = {" a: b\r\n", "no colon\r\n", ": x\r\n", "a b: c\r\n",
                                        "\xc3\xa4: x\r\n"};
    struct header_field field;
    for (size_t i = 0; i < countof(texts); i++) {
        struct span rest = span_string(texts[i]);
        assert_int_equal(fields_next(&rest, &field), FIELDS_BROKEN);
    }
    struct span end = SPAN("a: b"); /* the last line may be open */
    assert_int_equal(fields_next(&end, &field), FIELDS_FIELD);
    assert_int_equal(fields_next(&end, &field), FIELDS_END);
}

static void test_author(void **state)
{
    static const struct {
        const char *value, *domain; /* NULL: none */
    } table[] = {
        {" ann@example.org\r\n", "example.org"},
        {" Ann <ann@Example.ORG>", "example.org"},
        {" \"Ann, <x@y.test>\" <ann@example.org>", "example.org"},
        {" Ann (at x@y.test (or (not))) <ann@example.org> (z@w.test)", "example.org"},
        {"\r\n\tAnn\r\n <ann@\r\n example.org>", "example.org"},
        {" a@one.test, b@two.test", "one.test"},
        {" Friends: a@one.test, b@two.test;", "one.test"},
        {" Undisclosed:;, b@two.test", "two.test"},
        {" <@relay.test,@other.test:ann@example.org>", "example.org"},
        {" \"a@b\"@example.org", "example.org"},
        {" =?utf-8?q?a=40b.test?= <ann@example.org>", "example.org"},
        {" ann@b\xc3\xbc"
         "cher.example",
         "xn--bcher-kva.example"},
        {" ann(comment)@(comment)example.org", "example.org"},
        {" \"quote \\\" <no@no.test>\" <ann@example.org>", "example.org"},
        {"", NULL},
        {" Ann", NULL},
        {" <>", NULL},
        {" @example.org", NULL},
        {" ann@", NULL},
        {" ann@[192.0.2.1]", NULL},
        {" ann@exa mple..org", NULL},
        {" (ann@example.org", NULL},
        {" \"ann@example.org", NULL},
    };
    for (size_t i = 0; i < countof(table); i++) {
        char storage[256];
        struct sink sink;
        sink_init(&sink, storage, sizeof storage);
        bool found = author_domain(span_string(table[i].value), &sink);
        if (found != (table[i].domain != NULL))
            fail_msg("'%s': %s", table[i].value, found ? "has an author" : "has none");
        if (found && !span_equals(sink_span(&sink), span_string(table[i].domain)))
            fail_msg("'%s': '%.*s'", table[i].value, SPAN_FORMAT(sink_span(&sink)));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_section),
        cmocka_unit_test(test_broken),
        cmocka_unit_test(test_author),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
