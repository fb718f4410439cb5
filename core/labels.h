/* labels: counters by something that comes and goes while we run: a listener, a site. Their number
 * stays bounded: a set gives `most` values a time series of their own, all others are counted
 * together under the value "other".
 *
 * One set per worker and kind. A worker takes a cell when it begins to serve a listener or a site
 * (labels_get) and gives it back (labels_put); counting is metric_add's plain store. Each
 * labels_tick the busiest cell without a name (of LABELS_LOOKED_AT that are looked at in turn)
 * takes the place of the quietest with one, if it is twice as busy, so that the series are those
 * that matter. A cell that loses its name ends its series and is counted under "other" from then
 * on, so every series only grows.
 *
 * metric.def declares the counters of a set: LABELLED(SET, kind, NAME, "ringpost_name", "help").
 * The set's mutex is taken by get, put, tick and the exposition, never for counting. */
#pragma once

#include "core/list.h"
#include "core/map.h"
#include "core/sink.h"

#include <pthread.h>
#include <stdatomic.h>

enum { LABELS_LOOKED_AT = 1000 };

enum labels_kind { LABELS_LISTENER, LABELS_SITE, LABELS_KINDS };

enum labelled {
#define METRIC(kind, name, text, help)
#define HISTOGRAM(name, text, help)
#define LABELLED(set, kind, name, text, help) LABELLED_##name,
#include "core/metric.def"
#undef METRIC
#undef HISTOGRAM
#undef LABELLED
    LABELLED_COUNT,
};

struct label_cell {
    struct map_node by_value;
    struct list_link link; /* in `named` or `unnamed` */
    unsigned users;
    bool is_named;
    uint64_t recent; /* what was counted lately; halved by the ticks */
    _Atomic uint64_t values[LABELLED_COUNT];
    size_t len;
    char value[];
};

struct labels {
    pthread_mutex_t mutex;
    enum labels_kind kind;
    struct map by_value;
    struct list named, unnamed;
    struct label_cell *other; /* the sum of what has no name */
    struct hash_seed seed;
    unsigned most, named_count;
};

/* `most` series. 0 or -ENOMEM. */
MUST_USE int labels_init(struct labels *labels, enum labels_kind kind, unsigned most,
                         struct hash_seed seed);
void labels_fini(struct labels *labels); /* cells still in use too */

/* The cell of a value; without memory that of the others. Each get is paired with a put. */
struct label_cell *labels_get(struct labels *labels, struct span value);
void labels_put(struct labels *labels, struct label_cell *cell);

/* Each second or so, by the owner: names go where the traffic is. */
void labels_tick(struct labels *labels);

/* By the owner only: one writer. Gauges go up and down by adding, also (uint64_t)-1. */
void label_add(struct labels *labels, struct label_cell *cell, enum labelled counter,
               uint64_t count);

/* Rows for the tables of metrics_document. */
void labels_document(void (*line)(void *context, const char *text), void *context);

/* The exposition of one kind over all workers' sets (text format 0.0.4). Any thread. */
void labels_write(struct labels *const *sets, unsigned count, struct sink *sink);
