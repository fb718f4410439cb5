/* metrics: counters and gauges, each declared once in metric.def, one set per worker.
 *
 * A worker adds to its own set with relaxed stores (no locked instruction: one writer per set); the
 * control thread sums the sets when it is asked. metric.def makes the enum, the exposition
 * (Prometheus text format 0.0.4) and the manual's table.
 *
 *     METRIC(kind, NAME, "ringpost_name_total", "help: what it means and what to do about it")
 *     kind: COUNTER, GAUGE (summed over the workers)
 * Labels are written in the name where a family has several members:
 * "ringpost_x_total{reason=\"y\"}" (members of a family stand next to each other). HISTOGRAM(NAME,
 * "ringpost_x_seconds", "help") has fixed buckets from 100 us to 1,000,000 s, three per decade; one
 * whose name does not end in _seconds counts things, not time. LABELLED is labels.h's. */
#pragma once

#include "core/sink.h"

#include <stdatomic.h>

enum metric {
#define METRIC(kind, name, text, help) METRIC_##name,
#define HISTOGRAM(name, text, help)
#define LABELLED(set, kind, name, text, help)
#include "core/metric.def"
#undef METRIC
#undef HISTOGRAM
#undef LABELLED
    METRICS,
};

enum histogram {
#define METRIC(kind, name, text, help)
#define HISTOGRAM(name, text, help) HISTOGRAM_##name,
#define LABELLED(set, kind, name, text, help)
#include "core/metric.def"
#undef METRIC
#undef HISTOGRAM
#undef LABELLED
    HISTOGRAMS,
};

enum { HISTOGRAM_BUCKETS = 31 };

struct metrics {
    _Atomic uint64_t values[METRICS];
    struct {
        _Atomic uint64_t buckets[HISTOGRAM_BUCKETS + 1]; /* the last is +Inf */
        _Atomic uint64_t sum_ns;
    } histograms[HISTOGRAMS];
};

static inline void metric_add(struct metrics *metrics, enum metric metric, uint64_t count)
{
    uint64_t value = atomic_load_explicit(&metrics->values[metric], memory_order_relaxed);
    atomic_store_explicit(&metrics->values[metric], value + count, memory_order_relaxed);
}

static inline void metric_set(struct metrics *metrics, enum metric metric, uint64_t value)
{
    atomic_store_explicit(&metrics->values[metric], value, memory_order_relaxed);
}

/* Counts one duration, or a number of things. */
void metric_observe(struct metrics *metrics, enum histogram histogram, uint64_t ns);
void metric_observe_count(struct metrics *metrics, enum histogram histogram, uint64_t count);

/* Every family with its meaning, as Markdown tables, line by line. */
void metrics_document(void (*line)(void *context, const char *text), void *context);

/* Sums `count` sets and writes the whole exposition (about 150 bytes a metric, 1.2 KB a histogram).
 */
void metrics_write(struct metrics *const *sets, unsigned count, struct sink *sink);
