/* The body scanner against a slow model: all short strings of the octets that matter, at all
 * positions in its 64-octet blocks, in all cuts. Then what the model does not know: 8-bit flags,
 * counts, limits, giving a piece back. */
#include "tests/body_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

enum { WIRE_MOST = 4096 };

static const struct body_limits roomy = {
    .size = 1 << 20, .header_size = 1 << 20, .line = 1 << 20, .received = 100};

struct fixture {
    struct body body;
    struct body_result is, should;
    char is_content[WIRE_MOST], should_content[WIRE_MOST];
};

static void begin(struct fixture *fixture, const struct body_limits *limits)
{
    body_init(&fixture->body, limits, (struct span){0}, (struct span){0});
    fixture->is = (struct body_result){.content = fixture->is_content};
    fixture->should = (struct body_result){.content = fixture->should_content};
}

static void compare_data(struct span wire, size_t piece)
{
    struct fixture fixture;
    begin(&fixture, &roomy);
    model_data(wire, &fixture.should);
    scan_data(&fixture.body, wire, piece, &fixture.is);
    assert_int_equal(fixture.is.ended, fixture.should.ended);
    assert_int_equal(fixture.is.faults, fixture.should.faults);
    if (!fixture.should.ended)
        return;
    assert_int_equal(fixture.is.end, fixture.should.end);
    if (fixture.is.faults)
        return;
    assert_int_equal(fixture.body.size, fixture.body.stored);
    assert_true(span_equals(span_of(fixture.is.content, fixture.is.len),
                            span_of(fixture.should.content, fixture.should.len)));
}

/* `number` written in the alphabet, behind `filler` octets and in front of a true end. */
static struct span nth_string(unsigned number, unsigned len, size_t filler, char *storage)
{
    static const char alphabet[] = {'a', '\r', '\n', '.'};
    memset(storage, 'x', filler);
    size_t at = filler;
    for (unsigned i = 0; i < len; i++, number /= 4)
        storage[at++] = alphabet[number % 4];
    memcpy(storage + at, "\r\n.\r\nNOOP\r\n", 11);
    return span_of(storage, at + 11);
}

static void test_all_short_strings(void **state)
{
    char storage[WIRE_MOST];
    for (unsigned number = 0; number < 4 * 4 * 4 * 4 * 4 * 4 * 4; number++) {
        compare_data(nth_string(number, 7, 0, storage), WIRE_MOST);
        compare_data(nth_string(number, 7, 0, storage), 1);
        compare_data(nth_string(number, 7, 0, storage), 3);
    }
}

static void test_at_block_borders(void **state)
{
    char storage[WIRE_MOST];
    for (size_t filler = 54; filler < 68; filler++)
        for (unsigned number = 0; number < 4 * 4 * 4 * 4 * 4; number++) {
            struct span wire = nth_string(number, 5, filler, storage);
            compare_data(wire, WIRE_MOST);
            compare_data(wire, 64);
        }
}

static void test_one_octet_anywhere(void **state)
{
    char storage[WIRE_MOST];
    for (size_t at = 0; at < 200; at++)
        for (unsigned octet = 0; octet < 256; octet++) {
            memset(storage, 'x', 200);
            storage[at] = (char)octet;
            memcpy(storage + 200, "\r\n.\r\n", 5);
            compare_data(span_of(storage, 205), WIRE_MOST);
        }
}

static void test_chunks(void **state)
{
    static const struct {
        struct span wire, content;
        unsigned faults;
    } cases[] = {
        {SPAN(""), SPAN(""), 0},
        {SPAN("a: b\r\n\r\n.\r\n..\r\n"), SPAN("a: b\r\n\r\n.\r\n..\r\n"), 0},
        {SPAN("a: b\r\n\r\nno end"), SPAN("a: b\r\n\r\nno end\r\n"), 0},
        {SPAN("Subj"), SPAN("Subj\r\n"), 0},
        {SPAN(" x"), SPAN(" x\r\n"), 0},
        {SPAN("\r\n"), SPAN("\r\n"), 0},
        {SPAN("a: b\r"), SPAN(""), BODY_BARE},
        {SPAN("\r"), SPAN(""), BODY_BARE},
        {SPAN("a: b\n"), SPAN(""), BODY_BARE},
        {SPAN("a: b\r\n\0"), SPAN(""), BODY_BARE},
    };
    for (size_t i = 0; i < countof(cases); i++)
        for (size_t piece = 1; piece < 20; piece++) {
            struct fixture fixture;
            begin(&fixture, &roomy);
            scan_chunks(&fixture.body, cases[i].wire, piece, &fixture.is);
            assert_int_equal(fixture.is.faults, cases[i].faults);
            if (!cases[i].faults)
                assert_true(
                    span_equals(span_of(fixture.is.content, fixture.is.len), cases[i].content));
        }
}

static void test_8bit(void **state)
{
    static const struct {
        struct span wire;
        bool header, body;
    } cases[] = {
        {SPAN("a: b\r\n\r\nc\r\n.\r\n"), false, false},
        {SPAN("a: \xc3\xa4\r\n\r\nc\r\n.\r\n"), true, false},
        {SPAN("a: b\r\n\r\n\xc3\xa4\r\n.\r\n"), false, true},
        {SPAN("a: \x80\r\n\r\n\xff\r\n.\r\n"), true, true},
        {SPAN("\xc3\xa4\r\n.\r\n"), false, true}, /* no header section */
        {SPAN("a: b\r\n\xc3\xa4\r\n.\r\n"), false, true},
        {SPAN("a: b\r\n \xc3\xa4\r\n\r\n.\r\n"), true, false},
        {SPAN("a: b\r\n\r\n0123456789012345678901234567890123456789\x80\r\n.\r\n"), false, true},
    };
    for (size_t i = 0; i < countof(cases); i++)
        for (size_t piece = 1; piece <= cases[i].wire.len; piece++) {
            struct fixture fixture;
            begin(&fixture, &roomy);
            scan_data(&fixture.body, cases[i].wire, piece, &fixture.is);
            assert_true(fixture.is.ended);
            assert_int_equal(fixture.body.header_8bit, cases[i].header);
            assert_int_equal(fixture.body.body_8bit, cases[i].body);
        }
}

static void test_starts(void **state)
{
    static const struct {
        struct span wire;
        enum body_start starts;
    } cases[] = {
        {SPAN(".\r\n"), BODY_STARTS_EMPTY},
        {SPAN("\r\n.\r\n"), BODY_STARTS_BLANK},
        {SPAN("a: b\r\n.\r\n"), BODY_STARTS_FIELD},
        {SPAN("a :b\r\n.\r\n"), BODY_STARTS_FIELD},
        {SPAN("a b\r\n.\r\n"), BODY_STARTS_TEXT},
        {SPAN(" a: b\r\n.\r\n"), BODY_STARTS_TEXT},
        {SPAN("a\r\n.\r\n"), BODY_STARTS_TEXT},
        {SPAN(": b\r\n.\r\n"), BODY_STARTS_TEXT},
        {SPAN("From a@b today\r\n.\r\n"), BODY_STARTS_TEXT},
    };
    for (size_t i = 0; i < countof(cases); i++)
        for (size_t piece = 1; piece <= cases[i].wire.len; piece++) {
            struct fixture fixture;
            begin(&fixture, &roomy);
            scan_data(&fixture.body, cases[i].wire, piece, &fixture.is);
            assert_int_equal(fixture.body.starts, cases[i].starts);
        }
}

/* Every fault is found whatever others there are, in every cut. */
static void test_all_faults_at_once(void **state)
{
    struct body_limits tight = {.size = 40, .header_size = 10, .line = 20, .received = 1};
    struct span wire =
        SPAN("Received: a longer line\r\nb: c\n\r\n\r\n01234567890123456789\r\n.\r\n");
    for (size_t piece = 1; piece <= wire.len; piece++) {
        struct fixture fixture;
        begin(&fixture, &tight);
        scan_data(&fixture.body, wire, piece, &fixture.is);
        assert_true(fixture.is.ended && fixture.is.end == wire.len);
        assert_int_equal(fixture.is.faults, BODY_BARE | BODY_TOO_BIG | BODY_HEADER_TOO_BIG |
                                                BODY_LINE_TOO_LONG | BODY_LOOP);
    }
}

/* Each piece is given back once and then comes again. */
static void test_giving_back(void **state)
{
    struct span wire = SPAN("a: b\r\nX-T: v\r\nc: d\r\n\r\n..x\r\ny\r\n..z\r\n.\r\n");
    for (size_t piece = 1; piece <= wire.len; piece++) {
        struct body body;
        char content[256];
        size_t len = 0;
        enum body_progress progress = BODY_MORE;
        body_init(&body, &roomy, SPAN("X-T"), (struct span){0});
        for (size_t at = 0; at < wire.len; at += piece) {
            struct span input = span_first(span_skip(wire, at), piece), out;
            for (;;) {
                struct body before = body;
                struct span input_before = input;
                progress = body_data(&body, &input, &out);
                if (progress != BODY_PIECE)
                    break;
                body = before;
                input = input_before;
                assert_int_equal(body_data(&body, &input, &out), BODY_PIECE);
                memcpy(content + len, out.data, out.len);
                len += out.len;
            }
        }
        assert_int_equal(progress, BODY_END);
        assert_true(
            span_equals(span_of(content, len), SPAN("a: b\r\nc: d\r\n\r\n.x\r\ny\r\n.z\r\n")));
        assert_true(span_equals(body_field_value(&body, 0), SPAN("v")));
        assert_int_equal(body.stored, len);
    }
}

/* A usual message comes out in few pieces: storing it costs little. */
static void test_pieces_are_long(void **state)
{
    char wire[2000];
    size_t len = 0, pieces = 0;
    while (len < 1000)
        len += (size_t)sprintf(wire + len, "X-Field-%zu: some value\r\n", len);
    len += (size_t)sprintf(wire + len, "\r\n");
    while (len < 1900)
        len += (size_t)sprintf(wire + len, "some text of the body\r\n");
    len += (size_t)sprintf(wire + len, ".\r\n");
    struct fixture fixture;
    begin(&fixture, &roomy);
    struct span input = span_of(wire, len), out;
    while (body_data(&fixture.body, &input, &out) == BODY_PIECE)
        pieces++;
    assert_int_equal(input.len, 0);
    assert_int_equal(pieces, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_short_strings),
        cmocka_unit_test(test_at_block_borders),
        cmocka_unit_test(test_one_octet_anywhere),
        cmocka_unit_test(test_chunks),
        cmocka_unit_test(test_8bit),
        cmocka_unit_test(test_starts),
        cmocka_unit_test(test_all_faults_at_once),
        cmocka_unit_test(test_giving_back),
        cmocka_unit_test(test_pieces_are_long),
    };
    return cmocka_run_group_tests_name("body", tests, NULL, NULL);
}
