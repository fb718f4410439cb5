#include "bench/histogram.h"

#include <inttypes.h>
#include <stdio.h>

static unsigned bucket_of(uint64_t ns)
{
    if (ns < 1 << HISTOGRAM_SUB_BITS)
        return (unsigned)ns;
    unsigned shift = 63 - HISTOGRAM_SUB_BITS - (unsigned)__builtin_clzll(ns);
    return ((shift + 1) << HISTOGRAM_SUB_BITS) + (unsigned)((ns >> shift) & 63);
}

static uint64_t upper_end(unsigned bucket)
{
    unsigned block = bucket >> HISTOGRAM_SUB_BITS;
    if (block == 0)
        return bucket;
    return ((uint64_t)(64 + (bucket & 63) + 1) << (block - 1)) - 1;
}

void histogram_add(struct histogram *histogram, uint64_t ns)
{
    histogram->count++;
    histogram->sum_ns += ns;
    if (ns > histogram->max_ns)
        histogram->max_ns = ns;
    histogram->buckets[bucket_of(ns)]++;
}

uint64_t histogram_quantile_ns(const struct histogram *histogram, double share)
{
    uint64_t wanted = (uint64_t)(share * (double)histogram->count), seen = 0;
    if (histogram->count == 0)
        return 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += histogram->buckets[i];
        if (seen > wanted || seen == histogram->count)
            return upper_end(i) < histogram->max_ns ? upper_end(i) : histogram->max_ns;
    }
    return histogram->max_ns;
}

/* [upper end, count], eight for each power of two, those that have something. */
static void print_buckets(const struct histogram *histogram)
{
    enum { MERGED = 8 };
    const char *between = "";
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i += MERGED) {
        uint64_t count = 0;
        for (unsigned j = i; j < i + MERGED; j++)
            count += histogram->buckets[j];
        if (count == 0)
            continue;
        printf("%s[%.1f,%" PRIu64 "]", between, (double)upper_end(i + MERGED - 1) / 1e3, count);
        between = ",";
    }
}

void histogram_print_us(const struct histogram *histogram)
{
    static const struct {
        const char *name;
        double share;
    } quantiles[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p999", 0.999}};
    double mean_ns = histogram->count ? (double)histogram->sum_ns / (double)histogram->count : 0;
    printf("{\"count\":%" PRIu64 ",\"mean\":%.1f", histogram->count, mean_ns / 1e3);
    for (unsigned i = 0; i < sizeof quantiles / sizeof *quantiles; i++)
        printf(",\"%s\":%.1f", quantiles[i].name,
               (double)histogram_quantile_ns(histogram, quantiles[i].share) / 1e3);
    printf(",\"max\":%.1f,\"buckets\":[", (double)histogram->max_ns / 1e3);
    print_buckets(histogram);
    printf("]}");
}
