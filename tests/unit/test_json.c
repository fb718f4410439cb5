#include "core/json.h"
#include "core/utf8.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void test_utf8(void **state)
{
    static const struct {
        struct span text;
        size_t len;
    } cases[] = {
        {SPAN(""), 0},
        {SPAN("a"), 1},
        {SPAN("\x7f"), 1},
        {SPAN("\x80"), 0},
        {SPAN("\xc0\x80"), 0}, /* overlong NUL */
        {SPAN("\xc1\xbf"), 0},
        {SPAN("\xc2\x80"), 2},
        {SPAN("\xc2"), 0},
        {SPAN("\xc2\x20"), 0},
        {SPAN("\xdf\xbf"), 2},
        {SPAN("\xe0\x9f\xbf"), 0}, /* overlong */
        {SPAN("\xe0\xa0\x80"), 3},
        {SPAN("\xed\x9f\xbf"), 3},
        {SPAN("\xed\xa0\x80"), 0}, /* surrogate */
        {SPAN("\xef\xbf\xbf"), 3},
        {SPAN("\xf0\x8f\xbf\xbf"), 0}, /* overlong */
        {SPAN("\xf0\x90\x80\x80"), 4},
        {SPAN("\xf4\x8f\xbf\xbf"), 4},
        {SPAN("\xf4\x90\x80\x80"), 0}, /* above U+10FFFF */
        {SPAN("\xf5\x80\x80\x80"), 0},
        {SPAN("\xf0\x90\x80"), 0},
        {SPAN("\xff"), 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(utf8_sequence(cases[i].text), cases[i].len);
    assert_true(utf8_valid(SPAN("gr\xc3\xbc\xc3\x9f")));
    assert_false(utf8_valid(SPAN("gr\xc3\xbc\xc3")));
    assert_true(utf8_is_ascii(SPAN("gruss")));
    assert_false(utf8_is_ascii(SPAN("gr\xc3\xbc")));
}

static void test_write_string(void **state)
{
    static const struct {
        struct span text;
        size_t max;
        struct span json;
    } cases[] = {
        {SPAN(""), 9, SPAN("\"\"")},
        {SPAN("plain"), 9, SPAN("\"plain\"")},
        {SPAN("plain"), 3, SPAN("\"pla\"")},
        {SPAN("a\"b\\c"), 9, SPAN("\"a\\\"b\\\\c\"")},
        {SPAN("\r\n\t"), 9, SPAN("\"\\r\\n\\t\"")},
        {SPAN("\0\x1b[2J\x7f"), 9, SPAN("\"\\u0000\\u001b[2J\\u007f\"")},
        {SPAN("\xc3\xbc"), 9, SPAN("\"\xc3\xbc\"")},
        {SPAN("\xc3\xbc"), 1, SPAN("\"\"")},
        {SPAN("\xc2\x9b"), 9, SPAN("\"\\u009b\"")}, /* CSI */
        {SPAN("\xff"
              "a\xc3"),
         9,
         SPAN("\"\xef\xbf\xbd"
              "a\xef\xbf\xbd\"")},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[64];
        struct sink sink;
        sink_init(&sink, text, sizeof text);
        json_put_string(&sink, cases[i].text, cases[i].max);
        assert_true(span_equals(sink_span(&sink), cases[i].json));
    }
}

static void test_read_string(void **state)
{
    static const struct {
        struct span json;
        bool good;
        struct span text;
    } cases[] = {
        {SPAN("\"\""), true, SPAN("")},
        {SPAN("\"a\\\"\\\\\\/\\b\\f\\n\\r\\tz\""), true, SPAN("a\"\\/\b\f\n\r\tz")},
        {SPAN("\"\\u0041\\u00FC\\u20ac\\ud83d\\ude00\""), true,
         SPAN("A\xc3\xbc\xe2\x82\xac\xf0\x9f\x98\x80")},
        {SPAN("\"\\u0000\""), true, SPAN("\0")},
        {SPAN("\"\\ud83d\""), false, SPAN("")},
        {SPAN("\"\\ude00\""), false, SPAN("")},
        {SPAN("\"\\ud83dx\""), false, SPAN("")},
        {SPAN("\"\\u12\""), false, SPAN("")},
        {SPAN("\"\\x\""), false, SPAN("")},
        {SPAN("\"a"), false, SPAN("")},
        {SPAN("a"), false, SPAN("")},
        {SPAN("\"a\"b"), false, SPAN("")},
        {SPAN("\"\n\""), false, SPAN("")},
        {SPAN("\"longer than the scratch space that is there\""), false, SPAN("")},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[32];
        struct sink scratch;
        struct span read;
        sink_init(&scratch, text, sizeof text);
        assert_int_equal(json_read_string(cases[i].json, &scratch, &read), cases[i].good);
        if (cases[i].good)
            assert_true(span_equals(read, cases[i].text));
    }
}

static void test_walk(void **state)
{
    struct json_walk walk =
        json_walk_over(SPAN(" { \"a\" : 1 , \"b\":[{\"c\":\"}\"},[]],\"d\":{},\"e\":null } "));
    static const struct span expected[][2] = {
        {SPAN("a"), SPAN("1")},
        {SPAN("b"), SPAN("[{\"c\":\"}\"},[]]")},
        {SPAN("d"), SPAN("{}")},
        {SPAN("e"), SPAN("null")},
    };
    struct span key, value;
    for (size_t i = 0; i < 4; i++) {
        assert_true(json_next(&walk, &key, &value));
        assert_true(span_equals(key, expected[i][0]));
        assert_true(span_equals(value, expected[i][1]));
    }
    assert_false(json_next(&walk, &key, &value));
    assert_false(json_next(&walk, &key, &value));
    assert_false(walk.bad);
}

static void test_walk_refuses(void **state)
{
    static const struct span cases[] = {
        SPAN(""),
        SPAN("[]"),
        SPAN("{"),
        SPAN("{\"a\"}"),
        SPAN("{\"a\":}"),
        SPAN("{\"a\":1"),
        SPAN("{\"a\":1}x"),
        SPAN("{\"a\":[1}}"),
        SPAN("{\"a\":1 \"b\":2}"),
        SPAN("{a:1}"),
        SPAN("{\"a\":\"b}"),
        SPAN("{\"a\":[}"),
        SPAN("{,\"a\":1}"),
        SPAN("{\"a\":1,}"),
        SPAN("{\"a\":[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]}"),
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct json_walk walk = json_walk_over(cases[i]);
        struct span key, value;
        for (int members = 0; members < 4 && json_next(&walk, &key, &value);)
            members++;
        assert_true(walk.bad);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_utf8),         cmocka_unit_test(test_write_string),
        cmocka_unit_test(test_read_string),  cmocka_unit_test(test_walk),
        cmocka_unit_test(test_walk_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
