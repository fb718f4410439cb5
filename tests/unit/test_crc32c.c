#include "core/crc32c.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* RFC 3720, appendix B.4, and the customary check value. */
static void test_known_values(void **state)
{
    char zeros[32] = {0}, ones[32], rising[32], falling[32];
    memset(ones, 0xff, sizeof ones);
    for (int i = 0; i < 32; i++) {
        rising[i] = (char)i;
        falling[i] = (char)(31 - i);
    }
    const struct {
        struct span bytes;
        uint32_t crc;
    } cases[] = {
        {SPAN(""), 0},
        {SPAN("123456789"), 0xe3069283},
        {span_of(zeros, 32), 0x8a9136aa},
        {span_of(ones, 32), 0x62a8ab43},
        {span_of(rising, 32), 0x46dd794e},
        {span_of(falling, 32), 0x113fdb5c},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(crc32c(0, cases[i].bytes), cases[i].crc);
        assert_int_equal(crc32c_portable(0, cases[i].bytes), cases[i].crc);
    }
}

/* Both forms agree at every length and alignment, whole and cut anywhere. */
static void test_forms_agree(void **state)
{
    char bytes[160];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)(i * 151 + i / 7);
    for (size_t start = 0; start < 9; start++)
        for (size_t len = 0; len < 140; len++) {
            struct span span = span_of(bytes + start, len);
            uint32_t whole = crc32c_portable(0, span);
            assert_int_equal(crc32c(0, span), whole);
            size_t cut = len / 3;
            assert_int_equal(crc32c(crc32c(0, span_first(span, cut)), span_skip(span, cut)), whole);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_values),
        cmocka_unit_test(test_forms_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
