#include "smtp/reply_parser.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* Feeds all of it, `step` bytes at a time, up to the first whole or bad reply. */
static enum reply_event feed(struct reply_parser *parser, struct span bytes, size_t step,
                             size_t *ret_used)
{
    enum reply_event event = REPLY_MORE;
    size_t used = 0;
    while (used < bytes.len && event != REPLY_WHOLE && event != REPLY_BAD) {
        struct span input = span_first(span_skip(bytes, used), step);
        size_t given = input.len;
        event = reply_parser_feed(parser, &input);
        used += given - input.len;
    }
    *ret_used = used;
    return event;
}

static void test_valid(void **state)
{
    static const struct {
        struct span bytes;
        unsigned code, lines;
        struct enhanced enhanced;
        const char *text;
    } cases[] = {
        {SPAN("250 ok\r\n"), 250, 1, {0}, "ok"},
        {SPAN("250\r\n"), 250, 1, {0}, ""},
        {SPAN("250 \r\n"), 250, 1, {0}, ""},
        {SPAN("250-\r\n250\r\n"), 250, 2, {0}, ""},
        {SPAN("250-one\r\n250-two\r\n250 three\r\n"), 250, 3, {0}, "one two three"},
        {SPAN("250-one\r\n250-\r\n250 three\r\n"), 250, 3, {0}, "one three"},
        {SPAN("250 2.1.5 ok\r\n"), 250, 1, {2, 1, 5}, "ok"},
        {SPAN("250 2.1.5\r\n"), 250, 1, {2, 1, 5}, ""},
        {SPAN("550-5.7.26 no\r\n550 5.7.26 really\r\n"), 550, 2, {5, 7, 26}, "no really"},
        {SPAN("550-no\r\n550 5.1.1 x\r\n"), 550, 2, {5, 1, 1}, "no x"},
        {SPAN("550-5.1.1 a\r\n550 5.7.1 b\r\n"), 550, 2, {5, 1, 1}, "a b"},
        {SPAN("450 5.1.1 class of another code\r\n"), 450, 1, {0}, "5.1.1 class of another code"},
        {SPAN("354 3.0.0 go\r\n"), 354, 1, {0}, "3.0.0 go"},
        {SPAN("250 2.1.5ok\r\n"), 250, 1, {0}, "2.1.5ok"},
        {SPAN("250 2.1\r\n"), 250, 1, {0}, "2.1"},
        {SPAN("250 2..1 x\r\n"), 250, 1, {0}, "2..1 x"},
        {SPAN("250 2.1234.1 x\r\n"), 250, 1, {0}, "2.1234.1 x"},
        {SPAN("250 2.999.999 x\r\n"), 250, 1, {2, 999, 999}, "x"},
        {SPAN("571 5.7.1 second digit\r\n"), 571, 1, {5, 7, 1}, "second digit"},
        {SPAN("200 x\r\n"), 200, 1, {0}, "x"},
        {SPAN("599 x\r\n"), 599, 1, {0}, "x"},
        {SPAN("250 a\0b\t\x1b[1m\xff\r\n"), 250, 1, {0}, "a?b??[1m?"},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        for (size_t step = 1; step <= cases[i].bytes.len; step++) {
            struct reply_parser parser;
            size_t used;
            reply_parser_init(&parser);
            assert_int_equal(feed(&parser, cases[i].bytes, step, &used), REPLY_WHOLE);
            assert_int_equal(used, cases[i].bytes.len);
            assert_int_equal(parser.code, cases[i].code);
            assert_int_equal(parser.lines, cases[i].lines);
            assert_int_equal(parser.enhanced.class, cases[i].enhanced.class);
            assert_int_equal(parser.enhanced.subject, cases[i].enhanced.subject);
            assert_int_equal(parser.enhanced.detail, cases[i].enhanced.detail);
            if (!span_equals(reply_text(&parser), span_string(cases[i].text)))
                fail_msg("case %zu: text is %.*s", i, SPAN_FORMAT(reply_text(&parser)));
        }
    }
}

static void test_malformed(void **state)
{
    static const struct span cases[] = {
        SPAN("ok\r\n"),
        SPAN("\r\n"),
        SPAN(" 250 ok\r\n"),
        SPAN("25 ok\r\n"),
        SPAN("2500 ok\r\n"),
        SPAN("2x0 ok\r\n"),
        SPAN("150 ok\r\n"),
        SPAN("099 ok\r\n"),
        SPAN("600 ok\r\n"),
        SPAN("999 ok\r\n"),
        SPAN("-250 ok\r\n"),
        SPAN("250\tok\r\n"),
        SPAN("250_ok\r\n"),
        SPAN("250\0ok\r\n"),
        SPAN("250 ok\n"),
        SPAN("250\n"),
        SPAN("250 ok\r250 ok\r\n"),
        SPAN("250 ok\r\r\n"),
        SPAN("250 ok\r\0\n"),
        SPAN("250-ok\n250 ok\r\n"),
        SPAN("250-ok\r\n550 no\r\n"),
        SPAN("250-ok\r\n251 ok\r\n"),
        SPAN("250-ok\r\nok\r\n"),
        SPAN("250-ok\r\n\r\n"),
        SPAN("\xff\xfb\x01"),
        SPAN("HTTP/1.1 400 Bad Request\r\n"),
    };
    for (size_t i = 0; i < countof(cases); i++) {
        for (size_t step = 1; step <= cases[i].len; step++) {
            struct reply_parser parser;
            size_t used;
            reply_parser_init(&parser);
            if (feed(&parser, cases[i], step, &used) != REPLY_BAD)
                fail_msg("case %zu was taken", i);
            assert_non_null(parser.why);
            struct span more = SPAN("250 ok\r\n");
            assert_int_equal(reply_parser_feed(&parser, &more), REPLY_BAD);
        }
    }
}

static void test_several_replies(void **state)
{
    struct reply_parser parser;
    struct span input = SPAN("250-2.0.0 one\r\n250 two\r\n451 three\r\n220 fo");
    reply_parser_init(&parser);
    assert_int_equal(reply_parser_feed(&parser, &input), REPLY_PART);
    assert_true(span_equals(reply_line(&parser), SPAN("one")));
    assert_int_equal(reply_parser_feed(&parser, &input), REPLY_WHOLE);
    assert_true(span_equals(reply_line(&parser), SPAN("two")));
    assert_true(span_equals(reply_text(&parser), SPAN("one two")));
    assert_int_equal(parser.enhanced.class, 2);
    assert_int_equal(reply_parser_feed(&parser, &input), REPLY_WHOLE);
    assert_int_equal(parser.code, 451);
    assert_int_equal(parser.lines, 1);
    assert_int_equal(parser.enhanced.class, 0);
    assert_true(span_equals(reply_text(&parser), SPAN("three")));
    assert_int_equal(reply_parser_feed(&parser, &input), REPLY_MORE);
    assert_int_equal(input.len, 0);
    input = SPAN("ur\r\n");
    assert_int_equal(reply_parser_feed(&parser, &input), REPLY_WHOLE);
    assert_true(span_equals(reply_text(&parser), SPAN("four")));
}

/* How many lines "250-x" are taken before the parser refuses or the reply ends. */
static enum reply_event feed_lines(struct reply_parser *parser, unsigned count)
{
    enum reply_event event = REPLY_PART;
    reply_parser_init(parser);
    for (unsigned i = 0; i + 1 < count && event == REPLY_PART; i++) {
        struct span line = SPAN("250-KEYWORD\r\n");
        event = reply_parser_feed(parser, &line);
    }
    struct span line = SPAN("250 KEYWORD\r\n");
    return event == REPLY_PART ? reply_parser_feed(parser, &line) : event;
}

static void test_line_count(void **state)
{
    struct reply_parser parser;
    assert_int_equal(feed_lines(&parser, REPLY_LINES - 1), REPLY_WHOLE);
    assert_int_equal(feed_lines(&parser, REPLY_LINES), REPLY_WHOLE);
    assert_int_equal(parser.text_len, REPLY_TEXT);
    assert_int_equal(feed_lines(&parser, REPLY_LINES + 1), REPLY_BAD);
    assert_int_equal(feed_lines(&parser, REPLY_LINES * 1000), REPLY_BAD);
}

/* One line of `len` bytes in all. */
static enum reply_event feed_long(struct reply_parser *parser, size_t len)
{
    char *line = malloc(len);
    memset(line, 'x', len);
    memcpy(line, "250 ", 4);
    memcpy(line + len - 2, "\r\n", 2);
    size_t used;
    reply_parser_init(parser);
    enum reply_event event = feed(parser, span_of(line, len), 4096, &used);
    assert_true(used <= REPLY_BYTES + 4096);
    free(line);
    return event;
}

static void test_long_lines(void **state)
{
    static const struct {
        size_t len, kept;
    } cases[] = {{6 + 1, 1},
                 {6 + REPLY_LINE - 1, REPLY_LINE - 1},
                 {6 + REPLY_LINE, REPLY_LINE},
                 {6 + REPLY_LINE + 1, REPLY_LINE},
                 {REPLY_BYTES - 1, REPLY_LINE},
                 {REPLY_BYTES, REPLY_LINE}};
    struct reply_parser parser;
    for (size_t i = 0; i < countof(cases); i++) {
        assert_int_equal(feed_long(&parser, cases[i].len), REPLY_WHOLE);
        assert_int_equal(parser.text_len, cases[i].kept);
    }
    assert_int_equal(feed_long(&parser, REPLY_BYTES + 1), REPLY_BAD);
    assert_int_equal(feed_long(&parser, 100 * REPLY_BYTES), REPLY_BAD);
}

/* The bound is one reply's: any number of replies may follow each other. */
static void test_bound_is_per_reply(void **state)
{
    struct reply_parser parser;
    reply_parser_init(&parser);
    for (unsigned i = 0; i < 2 * REPLY_BYTES / 8; i++) {
        struct span input = SPAN("250 ok\r\n");
        assert_int_equal(reply_parser_feed(&parser, &input), REPLY_WHOLE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_valid),           cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_several_replies), cmocka_unit_test(test_line_count),
        cmocka_unit_test(test_long_lines),      cmocka_unit_test(test_bound_is_per_reply),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
