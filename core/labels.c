#include "core/labels.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum kind { COUNTER, GAUGE };

static const struct {
    enum labels_kind set;
    enum kind kind;
    const char *name, *help;
} families[LABELLED_COUNT] = {
#define METRIC(type, id, text, explanation)
#define HISTOGRAM(id, text, explanation)
#define LABELLED(of, type, id, text, explanation) {LABELS_##of, type, text, explanation},
#include "core/metric.def"
#undef METRIC
#undef HISTOGRAM
#undef LABELLED
};

static const char *const label_names[LABELS_KINDS] = {
    [LABELS_LISTENER] = "listener", [LABELS_SITE] = "site"};

/* ---- cells ---- */

static struct label_cell *cell_new(struct span value)
{
    struct label_cell *cell = calloc(1, sizeof *cell + value.len);
    if (!cell)
        return NULL;
    cell->len = value.len;
    if (value.len > 0)
        memcpy(cell->value, value.data, value.len);
    return cell;
}

static struct span value_of(const struct label_cell *cell)
{
    return span_of(cell->value, cell->len);
}

static struct label_cell *find(const struct labels *labels, struct span value)
{
    struct map_node *node = map_find(&labels->by_value, hash_key(labels->seed, value));
    for (; node; node = map_find_next(node)) {
        struct label_cell *cell = container_of(node, struct label_cell, by_value);
        if (span_equals(value_of(cell), value))
            return cell;
    }
    return NULL;
}

int labels_init(struct labels *labels, enum labels_kind kind, unsigned most, struct hash_seed seed)
{
    *labels = (struct labels){.kind = kind, .most = most, .seed = seed};
    list_init(&labels->named);
    list_init(&labels->unnamed);
    labels->other = cell_new(SPAN("other"));
    if (!labels->other)
        return -ENOMEM;
    if (map_init(&labels->by_value, most) < 0) {
        free(labels->other);
        return -ENOMEM;
    }
    pthread_mutex_init(&labels->mutex, NULL);
    return 0;
}

static void free_all(struct list *cells)
{
    struct list_link *link;
    while ((link = list_take_first(cells)))
        free(container_of(link, struct label_cell, link));
}

void labels_fini(struct labels *labels)
{
    free_all(&labels->named);
    free_all(&labels->unnamed);
    free(labels->other);
    map_fini(&labels->by_value);
    pthread_mutex_destroy(&labels->mutex);
}

static void give_name(struct labels *labels, struct label_cell *cell)
{
    cell->is_named = true;
    labels->named_count++;
    list_append(&labels->named, &cell->link);
}

static struct label_cell *add(struct labels *labels, struct span value)
{
    struct label_cell *cell = cell_new(value);
    if (!cell)
        return NULL;
    map_insert(&labels->by_value, &cell->by_value, hash_key(labels->seed, value));
    if (labels->named_count < labels->most)
        give_name(labels, cell);
    else
        list_append(&labels->unnamed, &cell->link);
    return cell;
}

struct label_cell *labels_get(struct labels *labels, struct span value)
{
    pthread_mutex_lock(&labels->mutex);
    struct label_cell *cell = find(labels, value);
    if (!cell)
        cell = add(labels, value);
    if (cell)
        cell->users++;
    pthread_mutex_unlock(&labels->mutex);
    return cell ? cell : labels->other;
}

void labels_put(struct labels *labels, struct label_cell *cell)
{
    if (cell == labels->other)
        return;
    pthread_mutex_lock(&labels->mutex);
    check(cell->users > 0);
    if (--cell->users == 0) {
        labels->named_count -= cell->is_named;
        list_remove(&cell->link);
        map_remove(&labels->by_value, &cell->by_value);
        free(cell);
    }
    pthread_mutex_unlock(&labels->mutex);
}

/* ---- counting ---- */

static uint64_t load(const struct label_cell *cell, unsigned counter)
{
    return atomic_load_explicit(&cell->values[counter], memory_order_relaxed);
}

/* One writer: a plain load and store. */
static void add_to(struct label_cell *cell, unsigned counter, uint64_t count)
{
    atomic_store_explicit(&cell->values[counter], load(cell, counter) + count,
                          memory_order_relaxed);
}

void label_add(struct labels *labels, struct label_cell *cell, enum labelled counter,
               uint64_t count)
{
    bool gauge = families[counter].kind == GAUGE;
    cell->recent += gauge ? 0 : count;
    if (!cell->is_named)
        add_to(labels->other, counter, count);
    if (cell != labels->other && (cell->is_named || gauge))
        add_to(cell, counter, count);
}

/* ---- names ---- */

static struct label_cell *quietest_named(struct labels *labels)
{
    struct label_cell *found = NULL;
    list_for_each (&labels->named, link, following) {
        struct label_cell *cell = container_of(link, struct label_cell, link);
        cell->recent /= 2;
        if (!found || cell->recent < found->recent)
            found = cell;
    }
    return found;
}

/* Those that were looked at go to the end. */
static struct label_cell *busiest_unnamed(struct labels *labels)
{
    struct label_cell *found = NULL;
    struct list looked_at;
    struct list_link *link;
    list_init(&looked_at);
    for (unsigned i = 0; i < LABELS_LOOKED_AT && (link = list_take_first(&labels->unnamed)); i++) {
        struct label_cell *cell = container_of(link, struct label_cell, link);
        cell->recent /= 2;
        if (!found || cell->recent > found->recent)
            found = cell;
        list_append(&looked_at, link);
    }
    list_append_all(&labels->unnamed, &looked_at);
    return found;
}

/* Gauges move between the cell and the sum of the others; counters begin again. */
static void take_name(struct labels *labels, struct label_cell *cell)
{
    list_remove(&cell->link);
    labels->named_count--;
    cell->is_named = false;
    list_append(&labels->unnamed, &cell->link);
    for (unsigned i = 0; i < LABELLED_COUNT; i++)
        if (families[i].kind == GAUGE)
            add_to(labels->other, i, load(cell, i));
        else
            atomic_store_explicit(&cell->values[i], 0, memory_order_relaxed);
}

static void move_name(struct labels *labels, struct label_cell *from, struct label_cell *to)
{
    take_name(labels, from);
    list_remove(&to->link);
    give_name(labels, to);
    for (unsigned i = 0; i < LABELLED_COUNT; i++)
        if (families[i].kind == GAUGE)
            add_to(labels->other, i, (uint64_t)0 - load(to, i));
}

void labels_tick(struct labels *labels)
{
    pthread_mutex_lock(&labels->mutex);
    struct label_cell *quiet = quietest_named(labels), *busy = busiest_unnamed(labels);
    if (quiet && busy && busy->recent > 2 * quiet->recent)
        move_name(labels, quiet, busy);
    pthread_mutex_unlock(&labels->mutex);
}

/* ---- exposition ---- */

/* Text format 0.0.4: backslash, quote and line feed are escaped; a peer's other controls, which may
 * stand in a host name that DNS gave, are not let through. */
static void put_value(struct sink *sink, struct span value)
{
    for (size_t i = 0; i < value.len; i++) {
        char c = value.data[i];
        if (c == '\\' || c == '"')
            sink_byte(sink, '\\');
        sink_byte(sink, (unsigned char)c < 0x20 || c == 0x7f ? '?' : c);
    }
}

void labels_document(void (*line)(void *context, const char *text), void *context)
{
    for (unsigned i = 0; i < LABELLED_COUNT; i++) {
        char row[512];
        snprintf(row, sizeof row, "| `%s` | %s | `%s` | %s |", families[i].name,
                 families[i].kind == COUNTER ? "counter" : "gauge", label_names[families[i].set],
                 families[i].help);
        line(context, row);
    }
}

static void put_line(struct sink *sink, unsigned family, struct span value, uint64_t number)
{
    sink_format(sink, "%s{%s=\"", families[family].name, label_names[families[family].set]);
    put_value(sink, value);
    sink_format(sink, "\"} %" PRIu64 "\n", number);
}

static uint64_t sum_of(struct labels *const *sets, unsigned count, struct span value,
                       unsigned family)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < count; i++) {
        const struct label_cell *cell = find(sets[i], value);
        if (cell && cell->is_named)
            sum += load(cell, family);
    }
    return sum;
}

static bool is_named_before(struct labels *const *sets, unsigned count, struct span value)
{
    for (unsigned i = 0; i < count; i++) {
        const struct label_cell *cell = find(sets[i], value);
        if (cell && cell->is_named)
            return true;
    }
    return false;
}

static void put_family(struct labels *const *sets, unsigned count, unsigned family,
                       struct sink *sink)
{
    const char *type = families[family].kind == COUNTER ? "counter" : "gauge";
    sink_format(sink, "# HELP %s %s\n# TYPE %s %s\n", families[family].name, families[family].help,
                families[family].name, type);
    uint64_t other = 0;
    for (unsigned i = 0; i < count; i++) {
        other += load(sets[i]->other, family);
        list_for_each (&sets[i]->named, link, following) {
            struct span value = value_of(container_of(link, struct label_cell, link));
            if (!is_named_before(sets, i, value))
                put_line(sink, family, value, sum_of(sets, count, value, family));
        }
    }
    put_line(sink, family, SPAN("other"), other);
}

void labels_write(struct labels *const *sets, unsigned count, struct sink *sink)
{
    for (unsigned i = 0; i < count; i++)
        pthread_mutex_lock(&sets[i]->mutex);
    for (unsigned family = 0; family < LABELLED_COUNT && count > 0; family++)
        if (families[family].set == sets[0]->kind)
            put_family(sets, count, family, sink);
    for (unsigned i = 0; i < count; i++)
        pthread_mutex_unlock(&sets[i]->mutex);
}
