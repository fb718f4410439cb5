/* Tag lists and key records: RFC 6376 3.2 and 3.6.1, RFC 8463. */
#include "core/check.h"
#include "smtp/dkim_record.h"
#include "smtp/tags.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static void test_lists(void **state)
{
    struct tags tags;
    struct span value;
    assert_true(
        tags_read(SPAN(" v=1; a = rsa-sha256 ;\r\n\tb= x y\r\n z; h=A : b:C; empty=;"), &tags));
    assert_int_equal(tags.count, 5);
    assert_true(tags_find(&tags, "a", &value) && span_equals(value, SPAN("rsa-sha256")));
    assert_true(tags_find(&tags, "b", &value) && span_equals(value, SPAN("x y\r\n z")));
    assert_true(tags_find(&tags, "empty", &value) && value.len == 0);
    assert_false(tags_find(&tags, "A", &value));
    assert_true(tags_find(&tags, "h", &value));
    static const char *const names[] = {"A", "b", "C"};
    struct span item;
    for (size_t i = 0; i < countof(names); i++)
        assert_true(tags_next_item(&value, &item) && span_equals(item, span_string(names[i])));
    assert_false(tags_next_item(&value, &item));
    assert_true(tags_read(SPAN(""), &tags) && tags.count == 0);
}

static void test_broken_lists(void **state)
{
    static const char *const texts[] = {
        "v", "=1", "v=1; v=2", "v=1;;", "1a=x", "v=1; \x01=2", "a=\x01", "v=1; b c=2", "; v=1",
    };
    struct tags tags;
    for (size_t i = 0; i < countof(texts); i++)
        if (tags_read(span_string(texts[i]), &tags))
            fail_msg("'%s' was read", texts[i]);
    char many[1024];
    int len = 0;
    for (unsigned i = 0; i <= TAGS_MOST; i++)
        len += snprintf(many + len, sizeof many - (size_t)len, "a%u=1;", i);
    assert_false(tags_read(span_of(many, (size_t)len), &tags));
}

static void test_folded_base64(void **state)
{
    static const struct {
        const char *text, *octets;
    } table[] = {
        {"Zm9v", "foo"},    {" Z m\r\n\t9v Zg = =", "foof"},
        {"", ""},           {"Zm9", NULL},
        {"Zg==Zg==", NULL}, {"Zm9v!", NULL},
    };
    for (size_t i = 0; i < countof(table); i++) {
        char storage[32];
        struct sink sink;
        sink_init(&sink, storage, sizeof storage);
        bool read = tags_base64(span_string(table[i].text), &sink);
        assert_int_equal(read, table[i].octets != NULL);
        if (read)
            assert_true(span_equals(sink_span(&sink), span_string(table[i].octets)));
    }
}

static void test_records(void **state)
{
    static const struct {
        const char *text;
        enum dkim_record_fault fault;
    } table[] = {
        {"p=Zm9v", DKIM_RECORD_GOOD},
        {"v=DKIM1; p=Zm9v", DKIM_RECORD_GOOD},
        {"v=DKIM1; k=ed25519; p=Zm9v; t=y:s; n=note; x=unknown", DKIM_RECORD_GOOD},
        {"v=DKIM1; h=sha1:sha256; s=email; p=Zm9v", DKIM_RECORD_GOOD},
        {"v=DKIM1; s=*; p=Zm9v", DKIM_RECORD_GOOD},
        {"v=DKIM1; p=Zm 9v", DKIM_RECORD_GOOD},
        {"v=DKIM1; p=", DKIM_RECORD_REVOKED},
        {"v=DKIM1; k=dsa; p=Zm9v", DKIM_RECORD_UNKNOWN_KEY},
        {"v=DKIM1; s=tlsrpt; p=Zm9v", DKIM_RECORD_NOT_MAIL},
        {"v=DKIM1", DKIM_RECORD_BROKEN},
        {"v=DKIM2; p=Zm9v", DKIM_RECORD_BROKEN},
        {"p=Zm9v; v=DKIM1", DKIM_RECORD_BROKEN},
        {"v=DKIM1; p=Zm9", DKIM_RECORD_BROKEN},
        {"v=spf1 -all", DKIM_RECORD_BROKEN},
        {"", DKIM_RECORD_BROKEN},
    };
    for (size_t i = 0; i < countof(table); i++) {
        struct dkim_record record;
        enum dkim_record_fault fault = dkim_record_parse(span_string(table[i].text), &record);
        if (fault != table[i].fault)
            fail_msg("'%s': %d, wanted %d", table[i].text, (int)fault, (int)table[i].fault);
    }
}

static void test_record_fields(void **state)
{
    struct dkim_record record;
    dkim_record_parse(SPAN("k=ed25519; t=y:s; h=sha1; p=Zm9v"), &record);
    assert_int_equal(record.algorithm, SIGN_ED25519_SHA256);
    assert_true(record.testing && record.strict && !record.sha256);
    assert_true(span_equals(record.key, SPAN("foo")));
    dkim_record_parse(SPAN("p=Zm9v"), &record);
    assert_int_equal(record.algorithm, SIGN_RSA_SHA256);
    assert_true(!record.testing && !record.strict && record.sha256);
}

static void test_record_of_a_key(void **state)
{
    struct sign_key *key = sign_key_new(SIGN_ED25519_SHA256, 0);
    char text[256], own_text[64];
    struct sink sink, own;
    struct dkim_record record;
    sink_init(&sink, text, sizeof text);
    sink_init(&own, own_text, sizeof own_text);
    dkim_record_put(key, &sink);
    assert_true(sign_key_put_public(key, &own));
    assert_int_equal(dkim_record_parse(sink_span(&sink), &record), DKIM_RECORD_GOOD);
    assert_true(span_equals(record.key, sink_span(&own)));
    sign_key_free(key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lists),         cmocka_unit_test(test_broken_lists),
        cmocka_unit_test(test_folded_base64), cmocka_unit_test(test_records),
        cmocka_unit_test(test_record_fields), cmocka_unit_test(test_record_of_a_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
