#include "core/metrics.h"

#include "core/check.h"
#include "core/clock.h"

#include <inttypes.h>
#include <stdio.h>

enum kind { COUNTER, GAUGE };

static const struct {
    enum kind kind;
    const char *name, *help;
} metrics[METRICS] = {
#define METRIC(type, id, text, explanation) {type, text, explanation},
#define HISTOGRAM(id, text, explanation)
#define LABELLED(set, type, id, text, explanation)
#include "core/metric.def"
#undef METRIC
#undef HISTOGRAM
#undef LABELLED
};

static const struct {
    const char *name, *help;
} histograms[HISTOGRAMS] = {
#define METRIC(type, id, text, explanation)
#define HISTOGRAM(id, text, explanation) {text, explanation},
#define LABELLED(set, type, id, text, explanation)
#include "core/metric.def"
#undef METRIC
#undef HISTOGRAM
#undef LABELLED
};

/* 1-2-5 per decade, so that a reader can name each bound. */
static const struct {
    uint64_t ns;
    const char *seconds;
} bounds[HISTOGRAM_BUCKETS] = {
    {UINT64_C(100000), "0.0001"},
    {UINT64_C(200000), "0.0002"},
    {UINT64_C(500000), "0.0005"},
    {UINT64_C(1000000), "0.001"},
    {UINT64_C(2000000), "0.002"},
    {UINT64_C(5000000), "0.005"},
    {UINT64_C(10000000), "0.01"},
    {UINT64_C(20000000), "0.02"},
    {UINT64_C(50000000), "0.05"},
    {UINT64_C(100000000), "0.1"},
    {UINT64_C(200000000), "0.2"},
    {UINT64_C(500000000), "0.5"},
    {UINT64_C(1000000000), "1"},
    {UINT64_C(2000000000), "2"},
    {UINT64_C(5000000000), "5"},
    {UINT64_C(10000000000), "10"},
    {UINT64_C(20000000000), "20"},
    {UINT64_C(50000000000), "50"},
    {UINT64_C(100000000000), "100"},
    {UINT64_C(200000000000), "200"},
    {UINT64_C(500000000000), "500"},
    {UINT64_C(1000000000000), "1000"},
    {UINT64_C(2000000000000), "2000"},
    {UINT64_C(5000000000000), "5000"},
    {UINT64_C(10000000000000), "10000"},
    {UINT64_C(20000000000000), "20000"},
    {UINT64_C(50000000000000), "50000"},
    {UINT64_C(100000000000000), "100000"},
    {UINT64_C(200000000000000), "200000"},
    {UINT64_C(500000000000000), "500000"},
    {UINT64_C(1000000000000000), "1000000"},
};

/* One writer per set: a plain load and store, no locked instruction. */
static void add(_Atomic uint64_t *counter, uint64_t count)
{
    uint64_t value = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, value + count, memory_order_relaxed);
}

void metric_observe(struct metrics *set, enum histogram histogram, uint64_t ns)
{
    unsigned bucket = 0;
    while (bucket < HISTOGRAM_BUCKETS && ns > bounds[bucket].ns)
        bucket++;
    add(&set->histograms[histogram].buckets[bucket], 1);
    add(&set->histograms[histogram].sum_ns, ns);
}

void metric_observe_count(struct metrics *set, enum histogram histogram, uint64_t count)
{
    metric_observe(set, histogram, count * NS_PER_S); /* the bounds read as numbers */
}

static struct span family_of(const char *name)
{
    struct span text = span_string(name);
    return span_first(text, span_find(text, '{'));
}

/* Text format 0.0.4: in HELP a backslash and a line feed are escaped. */
static void put_heading(struct sink *sink, struct span family, const char *type, const char *help)
{
    sink_put(sink, SPAN("# HELP "));
    sink_put(sink, family);
    sink_byte(sink, ' ');
    for (; *help; help++) {
        if (*help == '\\' || *help == '\n')
            sink_byte(sink, '\\');
        sink_byte(sink, *help == '\n' ? 'n' : *help);
    }
    sink_format(sink, "\n# TYPE %.*s %s\n", SPAN_FORMAT(family), type);
}

static void put_metric(struct sink *sink, struct metrics *const *sets, unsigned count,
                       unsigned metric)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < count; i++)
        sum += atomic_load_explicit(&sets[i]->values[metric], memory_order_relaxed);
    struct span family = family_of(metrics[metric].name);
    if (metric == 0 || !span_equals(family, family_of(metrics[metric - 1].name)))
        put_heading(sink, family, metrics[metric].kind == COUNTER ? "counter" : "gauge",
                    metrics[metric].help);
    sink_format(sink, "%s %" PRIu64 "\n", metrics[metric].name, sum);
}

static void put_histogram(struct sink *sink, struct metrics *const *sets, unsigned count,
                          unsigned histogram)
{
    const char *name = histograms[histogram].name;
    uint64_t total = 0, sum_ns = 0;
    put_heading(sink, span_string(name), "histogram", histograms[histogram].help);
    for (unsigned bucket = 0; bucket <= HISTOGRAM_BUCKETS; bucket++) {
        for (unsigned i = 0; i < count; i++)
            total += atomic_load_explicit(&sets[i]->histograms[histogram].buckets[bucket],
                                          memory_order_relaxed);
        sink_format(sink, "%s_bucket{le=\"%s\"} %" PRIu64 "\n", name,
                    bucket < HISTOGRAM_BUCKETS ? bounds[bucket].seconds : "+Inf", total);
    }
    for (unsigned i = 0; i < count; i++)
        sum_ns +=
            atomic_load_explicit(&sets[i]->histograms[histogram].sum_ns, memory_order_relaxed);
    sink_format(sink, "%s_sum %" PRIu64 ".%09" PRIu64 "\n", name, sum_ns / NS_PER_S,
                sum_ns % NS_PER_S);
    sink_format(sink, "%s_count %" PRIu64 "\n", name, total);
}

void metrics_write(struct metrics *const *sets, unsigned count, struct sink *sink)
{
    for (unsigned i = 0; i < METRICS; i++)
        put_metric(sink, sets, count, i);
    for (unsigned i = 0; i < HISTOGRAMS; i++)
        put_histogram(sink, sets, count, i);
}

/* ---- the manual ---- */

enum { ROW_MOST = 1024 };

/* A family once, with the values that its label can have. */
static void document_metric(unsigned metric, void (*line)(void *context, const char *text),
                            void *context)
{
    char row[ROW_MOST];
    struct sink sink;
    struct span family = family_of(metrics[metric].name);
    if (metric > 0 && span_equals(family, family_of(metrics[metric - 1].name)))
        return;
    sink_init(&sink, row, sizeof row - 1);
    sink_format(&sink, "| `%.*s` | %s | ", SPAN_FORMAT(family),
                metrics[metric].kind == COUNTER ? "counter" : "gauge");
    for (unsigned i = metric; i < METRICS && span_equals(family, family_of(metrics[i].name)); i++) {
        struct span labels = span_skip(span_string(metrics[i].name), family.len);
        if (labels.len > 2)
            sink_format(&sink, "%s`%.*s`", i > metric ? ", " : "", (int)labels.len - 2,
                        labels.data + 1);
    }
    sink_format(&sink, " | %s |", metrics[metric].help);
    row[sink.len] = '\0';
    line(context, row);
}

void metrics_document(void (*line)(void *context, const char *text), void *context)
{
    line(context, "| name | type | labels | what it means, what to do |");
    line(context, "|---|---|---|---|");
    for (unsigned i = 0; i < METRICS; i++)
        document_metric(i, line, context);
    for (unsigned i = 0; i < HISTOGRAMS; i++) {
        char row[ROW_MOST];
        snprintf(row, sizeof row, "| `%s` | histogram | | %s |", histograms[i].name,
                 histograms[i].help);
        line(context, row);
    }
}
