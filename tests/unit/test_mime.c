#include "retrieval/imap_address.h"
#include "retrieval/imap_envelope.h"
#include "retrieval/imap_string.h"

#include "core/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { ANSWER = 1 << 20 };

struct parsed {
    struct mime_parser parser;
    struct mime_part parts[MIME_PARTS];
};

static struct parsed *parse_cut(struct span message, size_t cut, unsigned capacity)
{
    struct parsed *parsed = malloc(sizeof *parsed);
    assert_non_null(parsed);
    mime_init(&parsed->parser, parsed->parts, capacity);
    mime_push(&parsed->parser, span_first(message, cut));
    mime_push(&parsed->parser, span_skip(message, cut));
    mime_finish(&parsed->parser);
    return parsed;
}

#define PLAIN_HEAD "From: A <a@x.example>\r\nSubject: s\r\n\r\n"
#define MULTI                                                                                      \
    "Content-Type: multipart/mixed; boundary=\"b\"\r\n\r\npreamble\r\n--b\r\n"                     \
    "Content-Type: text/html; charset=utf-8\r\n\r\n<p>\r\n.x\r\n\r\n--b \r\n"                      \
    "Content-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\nhi\r\n\r\n--b--\r\nepilogue\r\n"

static const struct {
    const char *message, *envelope, *structure;
} shapes[] = {
    {"", "(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)",
     "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 0 0 NIL NIL NIL NIL)"},
    {PLAIN_HEAD "one\r\ntwo",
     "(NIL \"s\" ((\"A\" NIL \"a\" \"x.example\")) ((\"A\" NIL \"a\" \"x.example\")) ((\"A\" NIL "
     "\"a\" \"x.example\")) NIL NIL NIL NIL NIL)",
     "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 8 1 NIL NIL NIL NIL)"},
    {MULTI, "(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)",
     "((\"text\" \"html\" (\"charset\" \"utf-8\") NIL NIL \"7bit\" 9 2 NIL NIL NIL NIL)"
     "(\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 22 (NIL \"inner\" NIL NIL NIL NIL NIL NIL NIL "
     "NIL) (\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 4 1 NIL NIL NIL NIL) 3 "
     "NIL NIL NIL NIL) \"mixed\" (\"boundary\" \"b\") NIL NIL NIL)"},
    /* What a multipart without a part, or with a boundary that never comes, is shown as. */
    {"Content-Type: multipart/mixed\r\n\r\ntext\r\n", NULL,
     "((\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 0 0 NIL NIL NIL NIL) "
     "\"mixed\" NIL NIL NIL NIL)"},
    /* A boundary ends a header, and an outer one ends everything inside. */
    {"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\nContent-Type: multipart/digest; "
     "boundary=ab\r\n\r\n--ab\r\n\r\nSubject: x\r\n--a\r\n\r\nlast\r\n",
     NULL,
     "(((\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 10 (NIL \"x\" NIL NIL NIL NIL NIL NIL NIL "
     "NIL) (\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 0 0 NIL NIL NIL NIL) 0 "
     "NIL NIL NIL NIL) \"digest\" (\"boundary\" \"ab\") NIL NIL NIL)(\"text\" \"plain\" "
     "(\"charset\" \"us-ascii\") NIL NIL \"7bit\" 6 1 NIL NIL NIL NIL) \"mixed\" (\"boundary\" "
     "\"a\") NIL NIL NIL)"},
    {"Content-Type: application/x; a*1=two; a*0=one; b*0*=utf-8''%c3%bc; c=\"q \\\" uoted\"\r\n"
     "Content-Disposition: attachment; filename=f\r\nContent-Language: en, de\r\nContent-MD5: m\r\n"
     "Content-ID: <i>\r\nContent-Description: fold\r\n ed\r\nContent-Transfer-Encoding: BASE64\r\n"
     "Content-Location: l\r\n\r\n",
     NULL,
     "(\"application\" \"x\" (\"a\" \"twoone\" \"b*\" \"utf-8''%c3%bc\" \"c\" \"q \\\" uoted\") "
     "\"<i>\" \"fold ed\" \"BASE64\" 0 \"m\" (\"attachment\" (\"filename\" \"f\")) (\"en\" \"de\") "
     "\"l\")"},
    {"Content-Type: garbage\r\n\r\nx\r\n", NULL,
     "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 3 1 NIL NIL NIL NIL)"},
};

static void assert_shape(struct span message, size_t cut, const char *envelope,
                         const char *structure)
{
    struct parsed *parsed = parse_cut(message, cut, MIME_PARTS);
    char *answer = malloc(ANSWER);
    struct sink sink;
    assert_non_null(answer);
    sink_init(&sink, answer, ANSWER - 1);
    imap_envelope_put(&sink, message, parsed->parts);
    answer[sink.len] = '\0';
    if (envelope)
        assert_string_equal(answer, envelope);
    sink.len = 0;
    imap_structure_put(&sink, message, parsed->parts, parsed->parser.count, true);
    answer[sink.len] = '\0';
    assert_string_equal(answer, structure);
    free(answer);
    free(parsed);
}

static void test_shapes_cut_at_every_octet(void **state)
{
    for (size_t i = 0; i < countof(shapes); i++) {
        struct span message = span_string(shapes[i].message);
        for (size_t cut = 0; cut <= message.len; cut++)
            assert_shape(message, cut, shapes[i].envelope, shapes[i].structure);
    }
}

static void test_sections_are_where_they_stand(void **state)
{
    struct span message = SPAN(MULTI);
    struct parsed *parsed = parse_cut(message, 7, MIME_PARTS);
    const struct mime_part *html = &parsed->parts[1], *inner = &parsed->parts[3];
    assert_int_equal(parsed->parser.count, 4);
    assert_true(parsed->parser.has_dot_line);
    assert_false(parsed->parser.has_8bit);
    assert_true(span_equals(span_first(span_skip(message, html->body.at), html->body.len),
                            SPAN("<p>\r\n.x\r\n")));
    assert_int_equal(html->header_lines, 2);
    assert_int_equal(inner->parent, 2);
    assert_true(span_equals(span_first(span_skip(message, inner->header.at), inner->header.len),
                            SPAN("Subject: inner\r\n\r\n")));
    assert_true(span_equals(span_first(span_skip(message, inner->body.at), inner->body.len),
                            SPAN("hi\r\n")));
    free(parsed);
}

static void test_body_has_no_extensions(void **state)
{
    struct span message = SPAN(PLAIN_HEAD "x\r\n");
    struct parsed *parsed = parse_cut(message, 0, 1);
    char answer[256];
    struct sink sink;
    sink_init(&sink, answer, sizeof answer);
    imap_structure_put(&sink, message, parsed->parts, 1, false);
    assert_true(
        span_equals(sink_span(&sink),
                    SPAN("(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 3 1)")));
    free(parsed);
}

/* More parts than there is room for are text of the last one that there is. */
static void test_limits(void **state)
{
    enum { PARTS = 3000 };
    static char text[64 + PARTS * 8];
    struct sink sink;
    sink_init(&sink, text, sizeof text);
    sink_put(&sink, SPAN("Content-Type: multipart/mixed; boundary=b\r\n\r\n"));
    for (unsigned i = 0; i < PARTS; i++)
        sink_put(&sink, SPAN("--b\r\n\r\n"));
    struct parsed *parsed = parse_cut(sink_span(&sink), 100, MIME_PARTS);
    assert_int_equal(parsed->parser.count, MIME_PARTS);
    assert_true(parsed->parser.cut);
    free(parsed);
    sink.len = 0;
    for (unsigned i = 0; i < 2 * MIME_DEPTH; i++)
        sink_put(&sink, SPAN("Content-Type: message/rfc822\r\n\r\n"));
    assert_false(sink.full);
    parsed = parse_cut(sink_span(&sink), 100, MIME_PARTS);
    assert_int_equal(parsed->parser.count, MIME_DEPTH);
    assert_true(parsed->parser.cut);
    free(parsed);
}

static const struct {
    const char *value, *list;
} addresses[] = {
    {"", "NIL"},
    {" , ,", "NIL"},
    {"a@b.c", "((NIL NIL \"a\" \"b.c\"))"},
    {"A B <a@b>, c@d", "((\"A B\" NIL \"a\" \"b\")(NIL NIL \"c\" \"d\"))"},
    {"\"Q, \\\"N\\\"\" <a@b>", "((\"Q, \\\"N\\\"\" NIL \"a\" \"b\"))"},
    {"a@b (Name (of) it)", "((\"Name (of) it\" NIL \"a\" \"b\"))"},
    {"J. R. Doe <\"q q\"@[192.0.2.1]>", "((\"J. R. Doe\" NIL \"q q\" \"[192.0.2.1]\"))"},
    {"<@r,@s:a@b>", "((NIL \"@r,@s\" \"a\" \"b\"))"},
    {"g: a@b, <c@d>;, e@f",
     "((NIL NIL \"g\" NIL)(NIL NIL \"a\" \"b\")(NIL NIL \"c\" \"d\")(NIL NIL NIL NIL)"
     "(NIL NIL \"e\" \"f\"))"},
    {"undisclosed-recipients:;", "((NIL NIL \"undisclosed-recipients\" NIL)(NIL NIL NIL NIL))"},
    {"g: a@b", "((NIL NIL \"g\" NIL)(NIL NIL \"a\" \"b\")(NIL NIL NIL NIL))"},
    {"bare", "((NIL NIL \"bare\" \"MISSING_DOMAIN\"))"},
    {"N <>", "((\"N\" NIL \"MISSING_MAILBOX\" \"MISSING_DOMAIN\"))"},
    {"x . y @ d . e", "((NIL NIL \"x.y\" \"d.e\"))"},
    {"\xfc <u@v>", "(({1}\r\n\xfc NIL \"u\" \"v\"))"},
    {"(never closed", "NIL"},
    {"\"never closed", "((NIL NIL \"never closed\" \"MISSING_DOMAIN\"))"},
    {"a@b@c, d@e", "((NIL NIL \"a\" \"b\")(NIL NIL \"d\" \"e\"))"},
};

static void test_addresses(void **state)
{
    for (size_t i = 0; i < countof(addresses); i++) {
        char answer[512];
        struct sink sink;
        struct imap_address_list list;
        sink_init(&sink, answer, sizeof answer - 1);
        imap_address_list_begin(&list, &sink);
        imap_address_list_add(&list, span_string(addresses[i].value));
        if (!imap_address_list_end(&list))
            sink_put(&sink, SPAN("NIL"));
        answer[sink.len] = '\0';
        assert_string_equal(answer, addresses[i].list);
    }
}

static void test_repeated_fields(void **state)
{
    struct span message = SPAN("To: a@b\r\nSubject: one\r\nTo: c@d\r\nSubject: two\r\n\r\n");
    assert_shape(
        message, 3,
        "(NIL \"two\" NIL NIL NIL ((NIL NIL \"a\" \"b\")(NIL NIL \"c\" \"d\")) NIL NIL NIL "
        "NIL)",
        "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 0 0 NIL NIL NIL "
        "NIL)");
}

static const struct {
    struct span text;
    const char *written;
} strings[] = {
    {{"", 0}, "\"\""},
    {{"a \"\\", 4}, "\"a \\\"\\\\\""},
    {{"\xe4", 1}, "{1}\r\n\xe4"},
    {{"a\r\nb", 4}, "{4}\r\na\r\nb"},
};

static void test_strings(void **state)
{
    for (size_t i = 0; i < countof(strings); i++) {
        char answer[64];
        struct sink sink;
        sink_init(&sink, answer, sizeof answer - 1);
        imap_string_put(&sink, strings[i].text);
        answer[sink.len] = '\0';
        assert_string_equal(answer, strings[i].written);
    }
    char answer[64];
    struct sink sink;
    sink_init(&sink, answer, sizeof answer);
    imap_unfolded_put(&sink, SPAN("a\r\n \t b \xe4\r\n"));
    assert_true(span_equals(sink_span(&sink), SPAN("{6}\r\na b \xe4 ")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes_cut_at_every_octet),
        cmocka_unit_test(test_sections_are_where_they_stand),
        cmocka_unit_test(test_body_has_no_extensions),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_repeated_fields),
        cmocka_unit_test(test_strings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
