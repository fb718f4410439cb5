/* Paths and addresses: what is taken and in which normal form, what is refused. Lengths at their
 * limits. Every read is also tried on every prefix, which must be refused without a read beyond it.
 */
#include "core/check.h"
#include "smtp/mailbox.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

struct good {
    const char *path, *local, *domain;
    bool utf8, literal;
};

static const struct good both[] = {
    {"<a@b.example>", "a", "b.example", false, false},
    {"<A.b-C+d@B.Example>", "A.b-C+d", "b.example", false, false},
    {"<!#$%&'*+-/=?^_`{|}~@x>", "!#$%&'*+-/=?^_`{|}~", "x", false, false},
    {"<\"a\"@b.example>", "a", "b.example", false, false},
    {"<\"a.b\"@b.example>", "a.b", "b.example", false, false},
    {"<\"\\a\"@b.example>", "a", "b.example", false, false},
    {"<\"a b\"@b.example>", "\"a b\"", "b.example", false, false},
    {"<\"a..b\"@b.example>", "\"a..b\"", "b.example", false, false},
    {"<\"\\\"\\\\\"@b.example>", "\"\\\"\\\\\"", "b.example", false, false},
    {"<\"a@b>c\"@b.example>", "\"a@b>c\"", "b.example", false, false},
    {"<a@1.example>", "a", "1.example", false, false},
    {"<a@1-2.3x>", "a", "1-2.3x", false, false},
    {"<a@xn--bcher-kva.EXAMPLE>", "a", "xn--bcher-kva.example", false, false},
    {"<a@b\xc3\xbc"
     "cher.example>",
     "a", "xn--bcher-kva.example", true, false},
    {"<a@B\xc3\x9c"
     "CHER.example>",
     "a", "xn--bcher-kva.example", true, false},
    {"<a@bu\xcc\x88"
     "cher.example>",
     "a", "xn--bcher-kva.example", true, false}, /* not yet NFC */
    {"<a@stra\xc3\x9f"
     "e.example>",
     "a", "xn--strae-oqa.example", true, false},
    {"<\xce\xb1@b.example>", "\xce\xb1", "b.example", true, false},
    {"<\"\xce\xb1 b\"@b.example>", "\"\xce\xb1 b\"", "b.example", true, false},
    {"<a@[192.0.2.1]>", "a", "[192.0.2.1]", false, true},
    {"<a@[IPv6:2001:DB8:0:0::1]>", "a", "[IPv6:2001:db8::1]", false, true},
    {"<a@[ipv6:::1]>", "a", "[IPv6:::1]", false, true},
    {"<a@[IPv6:::ffff:192.0.2.1]>", "a", "[IPv6:::ffff:192.0.2.1]", false, true},
    {"<@r.example:a@b.example>", "a", "b.example", false, false},
    {"<@r.example,@[192.0.2.1],@[IPv6:::1]:a@b.example>", "a", "b.example", false, false},
};

static const char *const bad[] = {
    "",
    "a@b.example",
    "<a@b.example",
    "<",
    "<a>",
    "<a@>",
    "<@b.example>",
    "<@>",
    "<@:a@b.example>",
    "<@r.example a@b.example>",
    "<@r.example,a@b.example>",
    "<@r.example,:a@b.example>",
    "<@r.example:>",
    "<@r.example:postmaster>",
    "<@r.example:@s.example:a@b.example>",
    "<a@b@c.example>",
    "<a b@c.example>",
    "<a@b c.example>",
    "<.a@b.example>",
    "<a.@b.example>",
    "<a..b@c.example>",
    "<a@.b.example>",
    "<a@b..example>",
    "<a@b.example.>",
    "<a@.>",
    "<a@->",
    "<a@-b.example>",
    "<a@b-.example>",
    "<a@b_c.example>",
    "<a@b!c.example>",
    "<a@192.0.2.1>",
    "<a@1>",
    "<\"\"@b.example>",
    "<\"a\"b@c.example>",
    "<a\"b\"@c.example>",
    "<\"a@b.example>",
    "<\"a\\\"@b.example>",
    "<\"a\tb\"@c.example>",
    "<\"a\rb\"@c.example>",
    "<\"a\x7f\"@c.example>",
    "<a\\@b@c.example>",
    "<a(b)@c.example>",
    "<a@c.example (b)>",
    "<<a@c.example>>",
    "<a,b@c.example>",
    "<a@[]>",
    "<a@[192.0.2]>",
    "<a@[127.1]>",
    "<a@[2130706433]>",
    "<a@[0x7f.0.0.1]>",
    "<a@[192.0.2.256]>",
    "<a@[192.0.2.01]>",
    "<a@[192.0.2.1 ]>",
    "<a@[192.0.2.1>",
    "<a@192.0.2.1]>",
    "<a@[IPv6:]>",
    "<a@[IPv6:1::2::3]>",
    "<a@[IPv6:12345::]>",
    "<a@[2001:db8::1]>",
    "<a@[IPv6 ::1]>",
    "<a@[b.example]>",
    "<a@[X-tag:abc]>",
    "<a@[192.0.2.1]x>",
    "<a@[192.0.2.1].example>",
    "<\xff@b.example>",
    "<\xc0\x80@b.example>",
    "<\xed\xa0\x80@b.example>",
    "<\xf4\x90\x80\x80@b.example>",
    "<\xc2\x85@b.example>",
    "<a@\xff.example>",
    "<a\xef\xbc\xa0"
    "b.example>",
    "<a@b\xef\xbc\x8e"
    "c.example>",
    "<a@b\xe2\x80\xa4"
    "c.example>",
    "<a@b\xe3\x80\x82"
    "c.example>",
    "<a@\xe2\x80\x8d.example>",
    "<a@a\xc3\xbc"
    "_b.example>",
};

static bool read_copy(struct span path, enum mailbox_kind kind, struct mailbox *ret_mailbox,
                      size_t *ret_left)
{
    char *copy = malloc(path.len ? path.len : 1); /* its end is the end of the path */
    assert_non_null(copy);
    memcpy(copy, path.data, path.len);
    struct span input = span_of(copy, path.len);
    bool taken = mailbox_read_path(&input, kind, ret_mailbox);
    *ret_left = input.len;
    free(copy);
    return taken;
}

static void test_good(void **state)
{
    for (size_t i = 0; i < countof(both); i++) {
        for (enum mailbox_kind kind = MAILBOX_REVERSE; kind <= MAILBOX_FORWARD; kind++) {
            struct mailbox mailbox;
            size_t left;
            if (!read_copy(span_string(both[i].path), kind, &mailbox, &left))
                fail_msg("%s is refused", both[i].path);
            assert_int_equal(left, 0);
            assert_true(span_equals(mailbox.local, span_string(both[i].local)));
            assert_true(span_equals(mailbox.domain, span_string(both[i].domain)));
            assert_int_equal(mailbox.utf8, both[i].utf8);
            assert_int_equal(mailbox.literal, both[i].literal);
            assert_int_equal(mailbox.address.len, mailbox.local.len + 1 + mailbox.domain.len);
            assert_false(mailbox_null(&mailbox));
        }
    }
}

/* The normal form read again is itself. */
static void test_normal_form_is_stable(void **state)
{
    for (size_t i = 0; i < countof(both); i++) {
        struct mailbox once, twice;
        size_t left;
        assert_true(read_copy(span_string(both[i].path), MAILBOX_FORWARD, &once, &left));
        assert_true(mailbox_parse(once.address, &twice));
        assert_true(span_equals(once.address, twice.address));
        assert_true(span_equals(once.local, twice.local));
    }
}

static void test_bad(void **state)
{
    for (size_t i = 0; i < countof(bad); i++) {
        for (enum mailbox_kind kind = MAILBOX_REVERSE; kind <= MAILBOX_FORWARD; kind++) {
            struct mailbox mailbox;
            size_t left;
            if (read_copy(span_string(bad[i]), kind, &mailbox, &left))
                fail_msg("%s is taken", bad[i]);
            assert_int_equal(left, strlen(bad[i]));
        }
    }
}

static void test_nul_inside(void **state)
{
    static const struct span paths[] = {SPAN("<a\0@b.example>"), SPAN("<a@b\0.example>"),
                                        SPAN("<a@[192.0.2.1\0]>"), SPAN("<\"\0\"@b.example>")};
    for (size_t i = 0; i < countof(paths); i++) {
        struct mailbox mailbox;
        size_t left;
        assert_false(read_copy(paths[i], MAILBOX_FORWARD, &mailbox, &left));
    }
}

static void test_prefixes(void **state)
{
    for (size_t i = 0; i < countof(both); i++) {
        struct span path = span_string(both[i].path);
        for (size_t len = 0; len < path.len; len++) {
            struct mailbox mailbox;
            size_t left;
            assert_false(read_copy(span_first(path, len), MAILBOX_FORWARD, &mailbox, &left));
        }
    }
}

static void test_null_and_postmaster(void **state)
{
    struct mailbox mailbox;
    size_t left;
    assert_true(read_copy(SPAN("<>"), MAILBOX_REVERSE, &mailbox, &left));
    assert_true(mailbox_null(&mailbox));
    assert_false(read_copy(SPAN("<>"), MAILBOX_FORWARD, &mailbox, &left));
    assert_false(read_copy(SPAN("< >"), MAILBOX_REVERSE, &mailbox, &left));
    assert_true(read_copy(SPAN("<PostMaster>"), MAILBOX_FORWARD, &mailbox, &left));
    assert_true(span_equals(mailbox.address, SPAN("PostMaster")));
    assert_int_equal(mailbox.domain.len, 0);
    assert_false(read_copy(SPAN("<postmaster>"), MAILBOX_REVERSE, &mailbox, &left));
    assert_false(read_copy(SPAN("<postmasters>"), MAILBOX_FORWARD, &mailbox, &left));
    assert_false(read_copy(SPAN("<postmaster%b.example>"), MAILBOX_FORWARD, &mailbox, &left));
    assert_false(mailbox_parse(SPAN("postmaster"), &mailbox));
}

static void test_rest_is_left(void **state)
{
    struct span input = SPAN("<a@b.example> SIZE=1");
    struct mailbox mailbox;
    assert_true(mailbox_read_path(&input, MAILBOX_REVERSE, &mailbox));
    assert_true(span_equals(input, SPAN(" SIZE=1")));
    assert_false(mailbox_parse(SPAN("a@b.example>"), &mailbox));
    assert_false(mailbox_parse(SPAN("a@b.example "), &mailbox));
}

/* A path with a local part and labels of these lengths. */
static bool try_lengths(unsigned local, unsigned label, unsigned labels, unsigned last)
{
    char text[1024];
    struct sink sink;
    sink_init(&sink, text, sizeof text);
    sink_byte(&sink, '<');
    for (unsigned i = 0; i < local; i++)
        sink_byte(&sink, 'l');
    sink_byte(&sink, '@');
    for (unsigned i = 0; i < labels; i++) {
        for (unsigned j = 0; j < label; j++)
            sink_byte(&sink, 'd');
        sink_byte(&sink, '.');
    }
    for (unsigned i = 0; i < last; i++)
        sink_byte(&sink, 'e');
    sink_byte(&sink, '>');
    struct mailbox mailbox;
    size_t left;
    return read_copy(sink_span(&sink), MAILBOX_FORWARD, &mailbox, &left);
}

static void test_lengths(void **state)
{
    assert_true(try_lengths(63, 1, 1, 1));
    assert_true(try_lengths(64, 1, 1, 1));
    assert_false(try_lengths(65, 1, 1, 1));
    assert_true(try_lengths(1, 63, 1, 1));
    assert_false(try_lengths(1, 64, 1, 1));
    assert_true(try_lengths(1, 1, 1, 63));
    assert_false(try_lengths(1, 1, 1, 64));
    /* "<" 62 "@" 3 * 64 ">" would be 257: one label shorter fits. */
    assert_true(try_lengths(61, 62, 3, 2));  /* 1 + 61 + 1 + 3 * 63 + 2 + 1 = 255 */
    assert_true(try_lengths(61, 62, 3, 3));  /* 256 */
    assert_false(try_lengths(61, 62, 3, 4)); /* 257 */
    assert_false(try_lengths(64, 63, 1000 / 64 - 2, 1));
}

/* What a source route adds counts, although it is dropped. */
static void test_length_with_route(void **state)
{
    for (unsigned len = 255; len <= 257; len++) {
        char text[300];
        struct sink sink;
        sink_init(&sink, text, sizeof text);
        sink_byte(&sink, '<');
        while (sink.len + strlen("@r.x:a@b.x>") < len - 8)
            sink_put(&sink, SPAN("@r.x,"));
        sink_put(&sink, SPAN("@r"));
        while (sink.len + strlen(".x:a@b.x>") < len)
            sink_byte(&sink, 'r');
        sink_put(&sink, SPAN(".x:a@b.x>"));
        assert_int_equal(sink.len, len);
        struct mailbox mailbox;
        size_t left;
        assert_int_equal(read_copy(sink_span(&sink), MAILBOX_FORWARD, &mailbox, &left), len <= 256);
    }
}

/* U-labels that fit as given but not as A-labels. */
static void test_length_in_a_labels(void **state)
{
    char text[256];
    struct sink sink;
    sink_init(&sink, text, sizeof text);
    for (unsigned i = 0; i < 40; i++)
        sink_put(&sink, SPAN("\xe4\xb8\x80.")); /* 4 octets here, 8 as "xn--4gq." */
    sink_put(&sink, SPAN("example"));
    char storage[512];
    struct sink normal;
    sink_init(&normal, storage, sizeof storage);
    assert_false(domain_normalise(sink_span(&sink), &normal));
}

static void test_domains(void **state)
{
    static const struct {
        const char *domain, *normal;
    } cases[] = {
        {"Example.COM", "example.com"},
        {"localhost", "localhost"},
        {"\xc3\xa4.example", "xn--4ca.example"},
        {"", NULL},
        {".", NULL},
        {"a.", NULL},
        {"[192.0.2.1]", NULL},
        {"a b", NULL},
        {"a.123", NULL},
        {"123.a", "123.a"},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        char storage[MAILBOX_DOMAIN];
        struct sink sink;
        sink_init(&sink, storage, sizeof storage);
        bool good = domain_normalise(span_string(cases[i].domain), &sink);
        assert_int_equal(good, cases[i].normal != NULL);
        if (good)
            assert_true(span_equals(sink_span(&sink), span_string(cases[i].normal)));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_normal_form_is_stable),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_nul_inside),
        cmocka_unit_test(test_prefixes),
        cmocka_unit_test(test_null_and_postmaster),
        cmocka_unit_test(test_rest_is_left),
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_length_with_route),
        cmocka_unit_test(test_length_in_a_labels),
        cmocka_unit_test(test_domains),
    };
    return cmocka_run_group_tests_name("mailbox", tests, NULL, NULL);
}
