/* Days are turned into a civil date by counting years from a 1 March, so that the leap day is the
 * last of its year and a month's first day is a linear function of the month. */
#include "core/date.h"

#define MS_PER_DAY UINT64_C(86400000)
#define LAST_MS    UINT64_C(253402300799999) /* 9999-12-31T23:59:59.999Z */

struct civil {
    unsigned year, month, day; /* month 1..12 */
    unsigned weekday;          /* 0: Sunday */
    unsigned hour, minute, second, ms;
};

static void set_date(struct civil *civil, uint64_t days)
{
    civil->weekday = (unsigned)((days + 4) % 7); /* 1 January 1970 was a Thursday */
    uint64_t since_march = days + 719468;        /* since 0000-03-01 */
    uint64_t era = since_march / 146097;         /* of 400 years */
    uint64_t day_of_era = since_march % 146097;
    uint64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    uint64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    uint64_t month = (5 * day_of_year + 2) / 153; /* 0: March */
    civil->day = (unsigned)(day_of_year - (153 * month + 2) / 5 + 1);
    civil->month = (unsigned)(month < 10 ? month + 3 : month - 9);
    civil->year = (unsigned)(era * 400 + year_of_era + (civil->month <= 2));
}

static struct civil civil_of(uint64_t wall_ms)
{
    if (wall_ms > LAST_MS)
        wall_ms = LAST_MS;
    struct civil civil = {0};
    set_date(&civil, wall_ms / MS_PER_DAY);
    uint64_t rest = wall_ms % MS_PER_DAY;
    civil.ms = (unsigned)(rest % 1000);
    civil.second = (unsigned)(rest / 1000 % 60);
    civil.minute = (unsigned)(rest / 60000 % 60);
    civil.hour = (unsigned)(rest / 3600000);
    return civil;
}

static void put_padded(struct sink *sink, unsigned value, unsigned digits)
{
    char text[4];
    for (unsigned i = digits; i-- > 0; value /= 10)
        text[i] = (char)('0' + value % 10);
    sink_put(sink, span_of(text, digits));
}

static void put_clock(struct sink *sink, const struct civil *civil)
{
    put_padded(sink, civil->hour, 2);
    sink_byte(sink, ':');
    put_padded(sink, civil->minute, 2);
    sink_byte(sink, ':');
    put_padded(sink, civil->second, 2);
}

void date_put_rfc5322(struct sink *sink, uint64_t wall_ms)
{
    static const char weekdays[] = "SunMonTueWedThuFriSat";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    struct civil civil = civil_of(wall_ms);
    sink_put(sink, span_of(weekdays + 3 * civil.weekday, 3));
    sink_put(sink, SPAN(", "));
    put_padded(sink, civil.day, 2);
    sink_byte(sink, ' ');
    sink_put(sink, span_of(months + 3 * (civil.month - 1), 3));
    sink_byte(sink, ' ');
    put_padded(sink, civil.year, 4);
    sink_byte(sink, ' ');
    put_clock(sink, &civil);
    sink_put(sink, SPAN(" +0000"));
}

void date_put_rfc3339(struct sink *sink, uint64_t wall_ms)
{
    struct civil civil = civil_of(wall_ms);
    put_padded(sink, civil.year, 4);
    sink_byte(sink, '-');
    put_padded(sink, civil.month, 2);
    sink_byte(sink, '-');
    put_padded(sink, civil.day, 2);
    sink_byte(sink, 'T');
    put_clock(sink, &civil);
    sink_byte(sink, '.');
    put_padded(sink, civil.ms, 3);
    sink_byte(sink, 'Z');
}
