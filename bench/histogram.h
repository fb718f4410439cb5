/* histogram: durations, log-linear: 64 buckets for each power of two, so a quantile is at most 1.6
 * % too high. Fixed memory, no allocation, any number of values. */
#pragma once

#include <stdint.h>

enum {
    HISTOGRAM_SUB_BITS = 6,
    HISTOGRAM_BUCKETS = (64 - HISTOGRAM_SUB_BITS + 1) << HISTOGRAM_SUB_BITS
};

struct histogram {
    uint64_t count, sum_ns, max_ns;
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_add(struct histogram *histogram, uint64_t ns);

/* The upper end of the bucket below which `share` (0 to 1) of the values lie; 0 if there are none.
 */
uint64_t histogram_quantile_ns(const struct histogram *histogram, double share);

/* {"count":..,"mean":..,"p50":..,"p90":..,"p99":..,"p999":..,"max":..,"buckets":[[upper,count],..]},
 * in microseconds. */
void histogram_print_us(const struct histogram *histogram);
