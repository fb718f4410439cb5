#include "core/date.h"

#include <setjmp.h>
#include <stdarg.h>
#include <time.h>

#include <cmocka.h>

static const struct {
    uint64_t wall_ms;
    const char *rfc5322, *rfc3339;
} dates[] = {
    {UINT64_C(0), "Thu, 01 Jan 1970 00:00:00 +0000", "1970-01-01T00:00:00.000Z"},
    {UINT64_C(999), "Thu, 01 Jan 1970 00:00:00 +0000", "1970-01-01T00:00:00.999Z"},
    {UINT64_C(86399999), "Thu, 01 Jan 1970 23:59:59 +0000", "1970-01-01T23:59:59.999Z"},
    {UINT64_C(86400000), "Fri, 02 Jan 1970 00:00:00 +0000", "1970-01-02T00:00:00.000Z"},
    {UINT64_C(951782400000), "Tue, 29 Feb 2000 00:00:00 +0000", "2000-02-29T00:00:00.000Z"},
    {UINT64_C(951868799999), "Tue, 29 Feb 2000 23:59:59 +0000", "2000-02-29T23:59:59.999Z"},
    {UINT64_C(951868800000), "Wed, 01 Mar 2000 00:00:00 +0000", "2000-03-01T00:00:00.000Z"},
    {UINT64_C(1709164800000), "Thu, 29 Feb 2024 00:00:00 +0000", "2024-02-29T00:00:00.000Z"},
    {UINT64_C(1709251200000), "Fri, 01 Mar 2024 00:00:00 +0000", "2024-03-01T00:00:00.000Z"},
    {UINT64_C(4107542400000), "Mon, 01 Mar 2100 00:00:00 +0000", "2100-03-01T00:00:00.000Z"},
    {UINT64_C(1795534940123), "Tue, 24 Nov 2026 15:42:20 +0000", "2026-11-24T15:42:20.123Z"},
    {UINT64_C(1767225599999), "Wed, 31 Dec 2025 23:59:59 +0000", "2025-12-31T23:59:59.999Z"},
    {UINT64_C(1767225600000), "Thu, 01 Jan 2026 00:00:00 +0000", "2026-01-01T00:00:00.000Z"},
    {UINT64_C(13569465600000), "Sat, 01 Jan 2400 00:00:00 +0000", "2400-01-01T00:00:00.000Z"},
    {UINT64_C(253402300799999), "Fri, 31 Dec 9999 23:59:59 +0000", "9999-12-31T23:59:59.999Z"},
    {UINT64_C(253402300800000), "Fri, 31 Dec 9999 23:59:59 +0000", "9999-12-31T23:59:59.999Z"},
    {UINT64_C(18446744073709551615), "Fri, 31 Dec 9999 23:59:59 +0000", "9999-12-31T23:59:59.999Z"},
};

static void test_table(void **state)
{
    for (size_t i = 0; i < sizeof dates / sizeof *dates; i++) {
        char text[80];
        struct sink sink;
        sink_init(&sink, text, sizeof text);
        date_put_rfc5322(&sink, dates[i].wall_ms);
        assert_int_equal(sink.len, DATE_RFC5322_LENGTH);
        assert_memory_equal(text, dates[i].rfc5322, DATE_RFC5322_LENGTH);
        sink_init(&sink, text, sizeof text);
        date_put_rfc3339(&sink, dates[i].wall_ms);
        assert_int_equal(sink.len, DATE_RFC3339_LENGTH);
        assert_memory_equal(text, dates[i].rfc3339, DATE_RFC3339_LENGTH);
    }
}

/* Every day for four centuries, against the C library. */
static void test_every_day(void **state)
{
    for (time_t day = 0; day < 400 * 366; day++) {
        time_t seconds = day * 86400 + day % 86400;
        struct tm tm;
        char expected[40], text[40];
        assert_non_null(gmtime_r(&seconds, &tm));
        assert_true(strftime(expected, sizeof expected, "%a, %d %b %Y %H:%M:%S +0000", &tm) > 0);
        struct sink sink;
        sink_init(&sink, text, sizeof text);
        date_put_rfc5322(&sink, (uint64_t)seconds * 1000);
        assert_false(sink.full);
        assert_memory_equal(text, expected, DATE_RFC5322_LENGTH);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_every_day),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
