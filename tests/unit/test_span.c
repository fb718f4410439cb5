#include "core/check.h"
#include "core/sink.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void test_equality(void **state)
{
    assert_true(span_equals(SPAN(""), span_of(NULL, 0)));
    assert_true(span_equals(span_string(NULL), SPAN("")));
    assert_true(span_equals(SPAN("abc"), span_string("abc")));
    assert_false(span_equals(SPAN("abc"), SPAN("abC")));
    assert_false(span_equals(SPAN("abc"), SPAN("ab")));
    assert_true(span_equals(span_of("a\0b", 3), span_of("a\0b", 3)));
    assert_false(span_equals(span_of("a\0b", 3), span_of("a\0c", 3)));
}

static void test_any_case(void **state)
{
    assert_true(span_equals_any_case(SPAN("MaIl"), SPAN("mAiL")));
    assert_false(span_equals_any_case(SPAN("mail"), SPAN("mails")));
    /* Only letters: '[' and '{', '@' and '`' differ in the same bit; ASCII only. */
    assert_false(span_equals_any_case(SPAN("["), SPAN("{")));
    assert_false(span_equals_any_case(SPAN("@"), SPAN("`")));
    assert_false(span_equals_any_case(SPAN("\xc4"), SPAN("\xe4")));
    assert_true(span_starts_with_any_case(SPAN("FROM:<a>"), SPAN("from:")));
    assert_false(span_starts_with_any_case(SPAN("FRO"), SPAN("from:")));
    assert_true(span_ends_with_any_case(SPAN("mail.Example"), SPAN(".eXAMPLE")));
    assert_false(span_ends_with_any_case(SPAN("e"), SPAN(".example")));
}

static void test_parts(void **state)
{
    struct span span = SPAN("abcdef");
    assert_true(span_equals(span_first(span, 2), SPAN("ab")));
    assert_true(span_equals(span_first(span, 99), span));
    assert_true(span_equals(span_skip(span, 2), SPAN("cdef")));
    assert_true(span_equals(span_skip(span, 99), SPAN("")));
    assert_true(span_starts_with(span, SPAN("abc")));
    assert_true(span_starts_with(span, SPAN("")));
    assert_false(span_starts_with(SPAN("ab"), SPAN("abc")));
    assert_int_equal(span_find(span, 'c'), 2);
    assert_int_equal(span_find(span, 'x'), 6);
    assert_int_equal(span_find(span_of(NULL, 0), 'x'), 0);
}

static void test_trim(void **state)
{
    static const struct {
        const char *text, *trimmed;
    } cases[] = {{"", ""},      {" ", ""},      {" \t ", ""},    {"a", "a"},
                 {" a\t", "a"}, {"a b", "a b"}, {"\r\n", "\r\n"}};
    for (size_t i = 0; i < countof(cases); i++)
        assert_true(
            span_equals(span_trim(span_string(cases[i].text)), span_string(cases[i].trimmed)));
}

static void test_decimal(void **state)
{
    static const struct {
        const char *text;
        uint64_t max, value;
    } good[] = {
        {"0", 0, 0},
        {"7", 7, 7},
        {"007", 7, 7},
        {"65535", 65535, 65535},
        {"18446744073709551615", UINT64_MAX, UINT64_MAX},
    };
    for (size_t i = 0; i < countof(good); i++) {
        uint64_t value = 1;
        assert_true(span_decimal(span_string(good[i].text), good[i].max, &value));
        assert_int_equal(value, good[i].value);
    }
    static const struct {
        const char *text;
        uint64_t max;
    } bad[] = {
        {"", UINT64_MAX},
        {"-1", UINT64_MAX},
        {"+1", UINT64_MAX},
        {" 1", UINT64_MAX},
        {"1 ", UINT64_MAX},
        {"1a", UINT64_MAX},
        {"0x1", UINT64_MAX},
        {"65536", 65535},
        {"1", 0},
        {"18446744073709551616", UINT64_MAX},
        {"99999999999999999999", UINT64_MAX},
        {"184467440737095516150", UINT64_MAX},
    };
    for (size_t i = 0; i < countof(bad); i++) {
        uint64_t value = 12345;
        if (span_decimal(span_string(bad[i].text), bad[i].max, &value))
            fail_msg("taken: '%s'", bad[i].text);
        assert_int_equal(value, 12345);
    }
}

/* ---- sink ---- */

static void test_sink_overflow(void **state)
{
    char storage[8];
    struct sink sink;
    sink_init(&sink, storage, sizeof storage);
    sink_put(&sink, SPAN("12345"));
    sink_put(&sink, SPAN("6789")); /* does not fit whole: not at all */
    assert_true(sink.full);
    assert_true(span_equals(sink_span(&sink), SPAN("12345")));
    sink_byte(&sink, 'x'); /* would fit, but something is missing before it */
    sink_decimal(&sink, 1);
    sink_format(&sink, "%d", 1);
    sink_u16(&sink, 1);
    assert_true(span_equals(sink_span(&sink), SPAN("12345")));
    sink_init(&sink, storage, sizeof storage);
    sink_put(&sink, SPAN("12345678"));
    assert_false(sink.full);
    sink_put(&sink, SPAN(""));
    assert_false(sink.full);
    sink_init(&sink, NULL, 0);
    sink_put(&sink, SPAN(""));
    assert_false(sink.full);
    sink_byte(&sink, 'x');
    assert_true(sink.full);
}

static void test_sink_numbers(void **state)
{
    char storage[64];
    struct sink sink;
    sink_init(&sink, storage, sizeof storage);
    sink_decimal(&sink, 0);
    sink_byte(&sink, ' ');
    sink_decimal(&sink, UINT64_MAX);
    sink_format(&sink, " %03d", 7);
    assert_true(span_equals(sink_span(&sink), SPAN("0 18446744073709551615 007")));
    sink_init(&sink, storage, sizeof storage);
    sink_u8(&sink, 1);
    sink_u16(&sink, 0x0203);
    sink_u32(&sink, 0x04050607);
    sink_u64(&sink, UINT64_C(0x08090a0b0c0d0e0f));
    for (int i = 0; i < 15; i++)
        assert_int_equal(storage[i], i + 1);
    assert_int_equal(sink.len, 15);
}

/* Integers sort as bytes do. */
static void test_sink_order(void **state)
{
    static const uint64_t values[] = {0, 1, 255, 256, 65535, 65536, UINT32_MAX, UINT64_MAX};
    for (size_t i = 1; i < countof(values); i++) {
        char low[8], high[8];
        struct sink sink;
        sink_init(&sink, low, 8);
        sink_u64(&sink, values[i - 1]);
        sink_init(&sink, high, 8);
        sink_u64(&sink, values[i]);
        assert_true(memcmp(low, high, 8) < 0);
    }
}

static void test_sink_printable(void **state)
{
    char storage[32];
    struct sink sink;
    sink_init(&sink, storage, sizeof storage);
    sink_printable(&sink, SPAN("a\r\n\x1b[31m\x7f\x80\xff~"), 99);
    assert_true(span_equals(sink_span(&sink), SPAN("a???[31m???~")));
    sink_init(&sink, storage, sizeof storage);
    sink_printable(&sink, SPAN("abcdef"), 3);
    assert_true(span_equals(sink_span(&sink), SPAN("abc")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equality),       cmocka_unit_test(test_any_case),
        cmocka_unit_test(test_parts),          cmocka_unit_test(test_trim),
        cmocka_unit_test(test_decimal),        cmocka_unit_test(test_sink_overflow),
        cmocka_unit_test(test_sink_numbers),   cmocka_unit_test(test_sink_order),
        cmocka_unit_test(test_sink_printable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
