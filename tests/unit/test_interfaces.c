#include "core/interfaces.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static bool contains(const struct address *addresses, size_t count, const char *text)
{
    struct address wanted;
    assert_true(address_parse(span_string(text), 25, &wanted));
    for (size_t i = 0; i < count; i++)
        if (addresses[i].len == wanted.len &&
            memcmp(&addresses[i].any, &wanted.any, wanted.len) == 0)
            return true;
    return false;
}

static void one_address_is_itself(void **state)
{
    static const char *const texts[] = {"192.0.2.1:25", "[2001:db8::1]:25", "unix:/run/smtp"};
    for (size_t i = 0; i < countof(texts); i++) {
        struct address address, *found;
        size_t count;
        assert_true(address_parse(span_string(texts[i]), 25, &address));
        assert_int_equal(interfaces_behind(&address, &found, &count), 0);
        assert_int_equal(count, 1);
        assert_true(contains(found, count, texts[i]));
        free(found);
    }
}

static void a_wildcard_is_all_of_its_family(void **state)
{
    struct address address, *found;
    size_t count;
    assert_true(address_parse(SPAN("0.0.0.0:25"), 0, &address));
    assert_int_equal(interfaces_behind(&address, &found, &count), 0);
    assert_true(contains(found, count, "127.0.0.1:25"));
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(found[i].family, AF_INET);
        assert_int_equal(address_port(&found[i]), 25);
    }
    free(found);
    assert_true(address_parse(SPAN("[::]:25"), 0, &address));
    assert_int_equal(interfaces_behind(&address, &found, &count), 0);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(found[i].family, AF_INET6);
    free(found);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_address_is_itself),
        cmocka_unit_test(a_wildcard_is_all_of_its_family),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
