#include "core/config_value.h"

struct unit {
    const char *name;
    uint64_t factor;
};

static const struct unit durations[] = {
    {"w", UINT64_C(604800000)}, {"d", UINT64_C(86400000)}, {"h", UINT64_C(3600000)},
    {"m", UINT64_C(60000)},     {"s", UINT64_C(1000)},     {"ms", UINT64_C(1)},
};

static const struct unit sizes[] = {
    {"TB", UINT64_C(1) << 40}, {"GB", UINT64_C(1) << 30}, {"MB", UINT64_C(1) << 20},
    {"KB", UINT64_C(1) << 10}, {"B", UINT64_C(1)},
};

static const struct unit rate_units[] = {
    {"s", 1000},       {"sec", 1000},     {"second", 1000},  {"m", 60000},
    {"min", 60000},    {"minute", 60000}, {"h", 3600000},    {"hr", 3600000},
    {"hour", 3600000}, {"d", 86400000},   {"day", 86400000},
};

/* How many of the first bytes are digits. */
static size_t digits_len(struct span text)
{
    size_t len = 0;
    while (len < text.len && text.data[len] >= '0' && text.data[len] <= '9')
        len++;
    return len;
}

static bool find_unit(const struct unit *units, size_t count, struct span name,
                      uint64_t *ret_factor)
{
    for (size_t i = 0; i < count; i++) {
        if (!span_equals_any_case(span_string(units[i].name), name))
            continue;
        *ret_factor = units[i].factor;
        return true;
    }
    return false;
}

/* What is left of INT64_MAX keeps every later sum of two such values in range. */
static bool multiply(uint64_t number, uint64_t factor, uint64_t *ret_product)
{
    if (number > (uint64_t)INT64_MAX / factor)
        return false;
    *ret_product = number * factor;
    return true;
}

static bool number_and_unit(const struct unit *units, size_t count, struct span text,
                            uint64_t *ret_value)
{
    size_t digits = digits_len(text);
    uint64_t number, factor;
    return span_decimal(span_first(text, digits), INT64_MAX, &number) &&
           find_unit(units, count, span_skip(text, digits), &factor) &&
           multiply(number, factor, ret_value);
}

/* The largest unit that divides the value; the last one is 1. */
static void put_with_unit(struct sink *sink, const struct unit *units, size_t count, uint64_t value)
{
    size_t i = 0;
    while (i + 1 < count && (value == 0 || value % units[i].factor != 0))
        i++;
    sink_decimal(sink, value / units[i].factor);
    sink_put(sink, span_string(units[i].name));
}

bool value_duration(struct span text, uint64_t *ret_ms)
{
    return number_and_unit(durations, countof(durations), text, ret_ms);
}

void value_put_duration(struct sink *sink, uint64_t ms)
{
    if (ms == 0)
        sink_put(sink, SPAN("0s"));
    else
        put_with_unit(sink, durations, countof(durations), ms);
}

bool value_size(struct span text, uint64_t *ret_bytes)
{
    return number_and_unit(sizes, countof(sizes), text, ret_bytes);
}

void value_put_size(struct sink *sink, uint64_t bytes)
{
    put_with_unit(sink, sizes, countof(sizes), bytes);
}

bool value_percent(struct span text, double *ret_fraction)
{
    if (text.len == 0 || text.data[text.len - 1] != '%')
        return false;
    text.len--;
    size_t point = span_find(text, '.');
    struct span decimals = span_skip(text, point + 1);
    uint64_t whole, thousandths = 0;
    if (!span_decimal(span_first(text, point), 100, &whole))
        return false;
    if (point < text.len && (decimals.len > 3 || !span_decimal(decimals, 999, &thousandths)))
        return false;
    for (size_t i = decimals.len; i < 3; i++)
        thousandths *= 10;
    if (whole == 100 && thousandths)
        return false;
    *ret_fraction = (double)(whole * 1000 + thousandths) / 100000;
    return true;
}

void value_put_percent(struct sink *sink, double fraction)
{
    unsigned thousandths = (unsigned)(fraction * 100000 + 0.5);
    if (thousandths % 1000)
        sink_format(sink, "%u.%03u%%", thousandths / 1000, thousandths % 1000);
    else
        sink_format(sink, "%u%%", thousandths / 1000);
}

/* A positive number in which '_' and ',' may separate digits. */
static bool separated_number(struct span text, uint64_t *ret_number)
{
    char digits[24];
    size_t len = 0;
    if (text.len == 0 || digits_len(text) == 0)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] == '_' || text.data[i] == ',')
            continue;
        if (len == sizeof digits)
            return false;
        digits[len++] = text.data[i];
    }
    return span_decimal(span_of(digits, len), INT64_MAX, ret_number) && *ret_number > 0;
}

/* "s", "30min": a count of units, one if none is given. */
static bool rate_period(struct span text, uint64_t *ret_ms)
{
    size_t digits = digits_len(text);
    uint64_t count = 1, factor;
    if (digits && !span_decimal(span_first(text, digits), INT64_MAX, &count))
        return false;
    return count > 0 &&
           find_unit(rate_units, countof(rate_units), span_skip(text, digits), &factor) &&
           multiply(count, factor, ret_ms);
}

bool value_rate(struct span text, struct rate *ret_rate)
{
    struct rate rate = {0};
    if (span_starts_with(text, SPAN("local:")))
        text = span_skip(text, 6);
    size_t slash = span_find(text, '/');
    struct span period = span_skip(text, slash + 1);
    size_t comma = span_find(period, ',');
    struct span burst = span_skip(period, comma);
    if (slash == text.len || !separated_number(span_first(text, slash), &rate.count) ||
        !rate_period(span_first(period, comma), &rate.period_ms))
        return false;
    if (burst.len && (!span_starts_with(burst, SPAN(",max_burst=")) ||
                      !separated_number(span_skip(burst, 11), &rate.burst)))
        return false;
    *ret_rate = rate;
    return true;
}

void value_put_rate(struct sink *sink, const struct rate *rate)
{
    static const struct unit written[] = {
        {"d", 86400000}, {"h", 3600000}, {"min", 60000}, {"s", 1000}};
    size_t i = 0;
    while (i + 1 < countof(written) && rate->period_ms % written[i].factor != 0)
        i++;
    uint64_t count = rate->period_ms / written[i].factor;
    sink_decimal(sink, rate->count);
    sink_byte(sink, '/');
    if (count != 1)
        sink_decimal(sink, count);
    sink_put(sink, span_string(written[i].name));
    if (rate->burst) {
        sink_put(sink, SPAN(",max_burst="));
        sink_decimal(sink, rate->burst);
    }
}

static bool label_byte(char c)
{
    char lower = ascii_lower(c);
    return (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

static bool label(struct span text)
{
    if (text.len == 0 || text.len > 63 || text.data[0] == '-' || text.data[text.len - 1] == '-')
        return false;
    for (size_t i = 0; i < text.len; i++)
        if (!label_byte(text.data[i]))
            return false;
    return true;
}

static bool labels(struct span text, size_t most, struct span *ret_last)
{
    if (text.len == 0 || text.len > most || text.data[text.len - 1] == '.')
        return false;
    while (text.len) {
        *ret_last = span_first(text, span_find(text, '.'));
        if (!label(*ret_last))
            return false;
        text = span_skip(text, ret_last->len + 1);
    }
    return true;
}

bool value_domain(struct span text)
{
    struct span last;
    return labels(text, 253, &last) && digits_len(last) < last.len;
}

bool value_selector(struct span text)
{
    struct span last;
    return labels(text, 63, &last);
}

bool value_header(struct span text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.data[i] <= ' ' || text.data[i] > '~' || text.data[i] == ':')
            return false;
    return text.len > 0 && text.len <= 76;
}

void value_put_string(struct sink *sink, struct span text)
{
    sink_byte(sink, '"');
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (c == '"' || c == '\\')
            sink_byte(sink, '\\');
        if (c < 0x20 || c == 0x7f)
            sink_format(sink, "\\u%04x", c);
        else
            sink_byte(sink, (char)c);
    }
    sink_byte(sink, '"');
}

enum { DISTANCE_NAME = 63 };

static unsigned smallest(unsigned a, unsigned b, unsigned c)
{
    unsigned least = a < b ? a : b;
    return least < c ? least : c;
}

/* Optimal string alignment: three rows of the table are enough. */
unsigned value_distance(struct span a, struct span b)
{
    unsigned rows[3][DISTANCE_NAME + 1];
    if (a.len > DISTANCE_NAME || b.len > DISTANCE_NAME)
        return DISTANCE_NAME;
    for (size_t j = 0; j <= b.len; j++)
        rows[0][j] = (unsigned)j;
    for (size_t i = 1; i <= a.len; i++) {
        unsigned *row = rows[i % 3], *above = rows[(i + 2) % 3], *above_that = rows[(i + 1) % 3];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= b.len; j++) {
            char x = ascii_lower(a.data[i - 1]), y = ascii_lower(b.data[j - 1]);
            row[j] = smallest(above[j] + 1, row[j - 1] + 1, above[j - 1] + (x != y));
            if (i > 1 && j > 1 && x == ascii_lower(b.data[j - 2]) &&
                y == ascii_lower(a.data[i - 2]) && above_that[j - 2] + 1 < row[j])
                row[j] = above_that[j - 2] + 1;
        }
    }
    return rows[a.len % 3][b.len];
}
