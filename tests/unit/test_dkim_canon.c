/* The canonical forms: RFC 6376 3.4.5, what real mail does to them, and every cut of each body. */
#include "core/check.h"
#include "core/sink.h"
#include "smtp/dkim_canon.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void emit(void *context, struct span octets)
{
    sink_put(context, octets);
}

static void expect(struct span found, struct span wanted, struct span input)
{
    if (!span_equals(found, wanted))
        fail_msg("of '%.*s' became '%.*s', wanted '%.*s'", SPAN_FORMAT(input), SPAN_FORMAT(found),
                 SPAN_FORMAT(wanted));
}

/* ---- bodies ---- */

static const struct {
    struct span body, simple, relaxed;
} bodies[] = {
    /* 3.4.5 */
    {SPAN(" C \r\nD \t E\r\n\r\n\r\n"), SPAN(" C \r\nD \t E\r\n"), SPAN(" C\r\nD E\r\n")},
    /* 3.4.3, 3.4.4: the empty body, and one of line ends only */
    {SPAN(""), SPAN("\r\n"), SPAN("")},
    {SPAN("\r\n"), SPAN("\r\n"), SPAN("")},
    {SPAN("\r\n\r\n\r\n"), SPAN("\r\n"), SPAN("")},
    {SPAN(" \t\r\n  \r\n"), SPAN(" \t\r\n  \r\n"), SPAN("")},
    /* a last line without its end */
    {SPAN("a"), SPAN("a\r\n"), SPAN("a\r\n")},
    {SPAN("a \t"), SPAN("a \t\r\n"), SPAN("a\r\n")},
    {SPAN("a\r\n\r\n "), SPAN("a\r\n\r\n \r\n"), SPAN("a\r\n")},
    /* empty lines inside stay, those at the end go */
    {SPAN("\r\na\r\n\r\n\r\nb\r\n\r\n"), SPAN("\r\na\r\n\r\n\r\nb\r\n"),
     SPAN("\r\na\r\n\r\n\r\nb\r\n")},
    {SPAN("a\r\n \r\n\t\r\nb"), SPAN("a\r\n \r\n\t\r\nb\r\n"), SPAN("a\r\n\r\n\r\nb\r\n")},
    /* white space */
    {SPAN("\ta  b\t \tc \r\n"), SPAN("\ta  b\t \tc \r\n"), SPAN(" a b c\r\n")},
    {SPAN("one two three four five six\r\nseven eight nine ten\r\n"),
     SPAN("one two three four five six\r\nseven eight nine ten\r\n"),
     SPAN("one two three four five six\r\nseven eight nine ten\r\n")},
    {SPAN("0123456789abcdefghijklmnopqrstuvwxyz \t 0123456789abcdef \r\n.\r\n..\r\n"),
     SPAN("0123456789abcdefghijklmnopqrstuvwxyz \t 0123456789abcdef \r\n.\r\n..\r\n"),
     SPAN("0123456789abcdefghijklmnopqrstuvwxyz 0123456789abcdef\r\n.\r\n..\r\n")},
    /* octets above 127 are like others */
    {SPAN("\xc3\xa4  \xff\r\n"), SPAN("\xc3\xa4  \xff\r\n"), SPAN("\xc3\xa4 \xff\r\n")},
    /* a CR or an LF alone is text */
    {SPAN("a\rb \r c\r\n"), SPAN("a\rb \r c\r\n"), SPAN("a\rb \r c\r\n")},
    {SPAN("a\nb\r\n"), SPAN("a\nb\r\n"), SPAN("a\nb\r\n")},
    {SPAN("a\r\r\n"), SPAN("a\r\r\n"), SPAN("a\r\r\n")},
    {SPAN("a\r\n\r"), SPAN("a\r\n\r\r\n"), SPAN("a\r\n\r\r\n")},
};

static void canonical_body(enum dkim_canon canon, struct span first, struct span second,
                           struct span third, struct sink *sink)
{
    struct dkim_body body;
    dkim_body_init(&body, canon, emit, sink);
    dkim_body_add(&body, first);
    dkim_body_add(&body, second);
    dkim_body_add(&body, third);
    dkim_body_end(&body);
}

static void every_cut(enum dkim_canon canon, struct span input, struct span wanted)
{
    for (size_t one = 0; one <= input.len; one++)
        for (size_t two = one; two <= input.len; two++) {
            char storage[512];
            struct sink sink;
            sink_init(&sink, storage, sizeof storage);
            canonical_body(canon, span_first(input, one), span_skip(span_first(input, two), one),
                           span_skip(input, two), &sink);
            expect(sink_span(&sink), wanted, input);
        }
}

static void test_bodies(void **state)
{
    for (size_t i = 0; i < countof(bodies); i++) {
        every_cut(DKIM_SIMPLE, bodies[i].body, bodies[i].simple);
        every_cut(DKIM_RELAXED, bodies[i].body, bodies[i].relaxed);
    }
}

/* More line ends than are written at once. */
static void test_many_line_ends(void **state)
{
    char input[514], wanted[516], storage[600];
    for (size_t i = 0; i < 512; i += 2)
        memcpy(input + i, "\r\n", 2);
    input[512] = 'x';
    memcpy(wanted, input, 513);
    memcpy(wanted + 513, "\r\n", 2);
    for (unsigned canon = 0; canon < DKIM_CANONS; canon++) {
        struct sink sink;
        sink_init(&sink, storage, sizeof storage);
        canonical_body((enum dkim_canon)canon, span_of(input, 513), SPAN(""), SPAN(""), &sink);
        expect(sink_span(&sink), span_of(wanted, 515), SPAN("256 line ends and x"));
    }
}

/* The form written down slowly: line by line, octet by octet. */
static void relaxed_by_definition(struct span body, struct sink *sink)
{
    size_t end = 0; /* behind the last line that is not empty */
    while (body.len) {
        size_t len = 0;
        while (len + 1 < body.len && !(body.data[len] == '\r' && body.data[len + 1] == '\n'))
            len++;
        bool ended = len + 1 < body.len;
        struct span line = span_first(body, ended ? len : body.len);
        body = span_skip(body, line.len + (ended ? 2 : 0));
        while (line.len && (line.data[line.len - 1] == ' ' || line.data[line.len - 1] == '\t'))
            line.len--;
        for (size_t i = 0; i < line.len; i++) {
            bool blank = line.data[i] == ' ' || line.data[i] == '\t';
            bool before = i && (line.data[i - 1] == ' ' || line.data[i - 1] == '\t');
            if (!blank || !before)
                sink_byte(sink, blank ? ' ' : line.data[i]);
        }
        sink_put(sink, SPAN("\r\n"));
        if (line.len)
            end = sink->len;
    }
    sink->len = end;
}

static void test_against_the_definition(void **state)
{
    static const char few[] = "ab  \t\r\n.xyz0123456789";
    static const char fewer[] = "abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz \n";
    unsigned seed = 1;
    for (unsigned round = 0; round < 20000; round++) {
        char input[400], found[1024], wanted[1024];
        size_t len = 0;
        for (unsigned left = (unsigned)rand_r(&seed) % (round % 4 ? 64 : 380); left; left--) {
            char c = round % 4 ? few[(unsigned)rand_r(&seed) % (sizeof few - 1)]
                               : fewer[(unsigned)rand_r(&seed) % (sizeof fewer - 1)];
            if (c == '\r' || c == '\n')
                input[len++] = '\r';
            input[len++] = c == '\r' ? '\n' : c;
            if (len > sizeof input - 3)
                break;
        }
        struct sink sink, slow;
        sink_init(&sink, found, sizeof found);
        sink_init(&slow, wanted, sizeof wanted);
        size_t cut = len ? (unsigned)rand_r(&seed) % len : 0;
        struct span text = span_of(input, len);
        canonical_body(DKIM_RELAXED, span_first(text, cut), span_skip(text, cut), SPAN(""), &sink);
        relaxed_by_definition(text, &slow);
        expect(sink_span(&sink), sink_span(&slow), text);
    }
}

/* ---- header fields ---- */

static const struct {
    struct span field, relaxed;
} fields[] = {
    {SPAN("A: X\r\n"), SPAN("a:X\r\n")}, /* 3.4.5 */
    {SPAN("B : Y\t\r\n\tZ  \r\n"), SPAN("b:Y Z\r\n")},
    {SPAN("Subject:\r\n"), SPAN("subject:\r\n")},
    {SPAN("Subject: \r\n \r\n"), SPAN("subject:\r\n")},
    {SPAN("SubJect:a"), SPAN("subject:a\r\n")},
    {SPAN("x:\r\n  folded\r\n\tonce\r\n more "), SPAN("x:folded once more\r\n")},
    {SPAN("x: a:b  c:d\r\n"), SPAN("x:a:b c:d\r\n")},
    {SPAN("x: \xc3\xa4\r\n"), SPAN("x:\xc3\xa4\r\n")},
    {SPAN("A-very-long-name-of-a-field-that-is-longer-than-the-room-for-lower-case-letters: x\r\n"),
     SPAN("a-very-long-name-of-a-field-that-is-longer-than-the-room-for-lower-case-letters:x\r\n")},
};

static void test_fields(void **state)
{
    for (size_t i = 0; i < countof(fields); i++) {
        char storage[256];
        struct sink sink;
        sink_init(&sink, storage, sizeof storage);
        dkim_field_put(DKIM_RELAXED, fields[i].field, true, emit, &sink);
        expect(sink_span(&sink), fields[i].relaxed, fields[i].field);
        sink_init(&sink, storage, sizeof storage);
        dkim_field_put(DKIM_RELAXED, fields[i].field, false, emit, &sink);
        expect(sink_span(&sink), span_first(fields[i].relaxed, fields[i].relaxed.len - 2),
               fields[i].field);
    }
}

static void test_simple_fields(void **state)
{
    char storage[64];
    struct sink sink;
    sink_init(&sink, storage, sizeof storage);
    dkim_field_put(DKIM_SIMPLE, SPAN("B : Y\t\r\n\tZ  \r\n"), true, emit, &sink);
    expect(sink_span(&sink), SPAN("B : Y\t\r\n\tZ  \r\n"), SPAN("B"));
    sink_init(&sink, storage, sizeof storage);
    dkim_field_put(DKIM_SIMPLE, SPAN("B : Y\t\r\n\tZ  \r\n"), false, emit, &sink);
    expect(sink_span(&sink), SPAN("B : Y\t\r\n\tZ  "), SPAN("B"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_many_line_ends),
        cmocka_unit_test(test_against_the_definition),
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_simple_fields),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
