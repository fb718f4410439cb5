/* The vectors of RFC 4648 section 10, and what is not base64. */
#include "core/base64.h"

#include "core/check.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const struct {
    struct span octets, text;
} vectors[] = {
    {SPAN(""), SPAN("")},
    {SPAN("f"), SPAN("Zg==")},
    {SPAN("fo"), SPAN("Zm8=")},
    {SPAN("foo"), SPAN("Zm9v")},
    {SPAN("foob"), SPAN("Zm9vYg==")},
    {SPAN("fooba"), SPAN("Zm9vYmE=")},
    {SPAN("foobar"), SPAN("Zm9vYmFy")},
    {SPAN("\0\xff\xfe\xfb"), SPAN("AP/++w==")},
};

static void test_vectors(void **state)
{
    for (size_t i = 0; i < countof(vectors); i++) {
        char storage[16];
        struct sink sink;
        sink_init(&sink, storage, sizeof storage);
        base64_put(&sink, vectors[i].octets);
        assert_true(span_equals(sink_span(&sink), vectors[i].text));
        assert_int_equal(sink.len, BASE64_LEN(vectors[i].octets.len));
        sink_init(&sink, storage, sizeof storage);
        assert_true(base64_decode(vectors[i].text, &sink));
        assert_true(span_equals(sink_span(&sink), vectors[i].octets));
    }
}

static void test_not_base64(void **state)
{
    static const char *const texts[] = {
        "Z",    "Zg",       "Zg=",      "Zg===",        "=",    "====", "Z===", "Zg=v", "Zh==",
        "Zm9=", "Zm9v\r\n", "Zm 9vYg=", "Zm9vZg==Zm9v", "Zm9-", "Zm9_", "Zm9.",
    };
    for (size_t i = 0; i < countof(texts); i++) {
        char storage[16];
        struct sink sink;
        sink_init(&sink, storage, sizeof storage);
        if (base64_decode(span_string(texts[i]), &sink))
            fail_msg("'%s' was decoded", texts[i]);
    }
}

static void test_no_room(void **state)
{
    char storage[3];
    struct sink sink;
    sink_init(&sink, storage, sizeof storage);
    assert_true(base64_decode(SPAN("Zm9v"), &sink));
    assert_false(base64_decode(SPAN("Zg=="), &sink));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_not_base64),
        cmocka_unit_test(test_no_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
