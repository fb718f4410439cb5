#include "smtp/lane_limit.h"

#include "core/clock.h"

#include <stdlib.h>

int lane_limits_init(struct lane_limits *limits, struct hash_seed seed)
{
    limits->seed = seed;
    pthread_mutex_init(&limits->mutex, NULL);
    return map_init(&limits->cells, 64);
}

static void free_cell(struct map_node *node, void *context)
{
    free(container_of(node, struct lane_limit, by_key));
}

void lane_limits_fini(struct lane_limits *limits)
{
    map_each(&limits->cells, free_cell, NULL);
    map_fini(&limits->cells);
    pthread_mutex_destroy(&limits->mutex);
}

static struct lane_limit *find(struct lane_limits *limits, struct span key, uint64_t hash)
{
    struct map_node *node = map_find(&limits->cells, hash);
    for (; node; node = map_find_next(node)) {
        struct lane_limit *limit = container_of(node, struct lane_limit, by_key);
        if (span_equals(span_of(limit->key, limit->key_len), key))
            return limit;
    }
    return NULL;
}

static struct lane_limit *add(struct lane_limits *limits, struct span key, uint64_t hash)
{
    struct lane_limit *limit = calloc(1, sizeof *limit + key.len);
    if (!limit)
        return NULL;
    limit->key_len = key.len;
    memcpy(limit->key, key.data, key.len);
    map_insert(&limits->cells, &limit->by_key, hash);
    return limit;
}

struct lane_limit *lane_limit_get(struct lane_limits *limits, struct span key)
{
    uint64_t hash = hash_key(limits->seed, key);
    pthread_mutex_lock(&limits->mutex);
    struct lane_limit *limit = find(limits, key, hash);
    if (!limit)
        limit = add(limits, key, hash);
    if (limit)
        limit->users++;
    pthread_mutex_unlock(&limits->mutex);
    return limit;
}

/* A cell whose rate has been spent must outlive its lanes, or closing a lane would refill it. */
static bool forgettable(const struct lane_limit *limit, uint64_t now_ns)
{
    return limit->users == 0 && atomic_load(&limit->message_tat_ns) <= now_ns &&
           atomic_load(&limit->connection_tat_ns) <= now_ns;
}

void lane_limit_put(struct lane_limits *limits, struct lane_limit *limit)
{
    pthread_mutex_lock(&limits->mutex);
    check(limit->users > 0);
    limit->users--;
    if (forgettable(limit, clock_mono_ns())) {
        check(atomic_load(&limit->slots) == 0);
        map_remove(&limits->cells, &limit->by_key);
        free(limit);
    }
    pthread_mutex_unlock(&limits->mutex);
}

static uint64_t worker_bit(unsigned worker)
{
    return UINT64_C(1) << (worker % 64);
}

void lane_limit_stop_waiting(struct lane_limit *limit, unsigned worker)
{
    if (atomic_load_explicit(&limit->waiting, memory_order_relaxed) & worker_bit(worker))
        atomic_fetch_and(&limit->waiting, ~worker_bit(worker));
}

bool lane_limit_take_slot(struct lane_limit *limit, uint64_t total, unsigned worker)
{
    uint32_t slots = atomic_load(&limit->slots);
    while (slots < total) {
        if (!atomic_compare_exchange_weak(&limit->slots, &slots, slots + 1))
            continue;
        lane_limit_stop_waiting(limit, worker);
        return true;
    }
    atomic_fetch_or(&limit->waiting, worker_bit(worker));
    return false;
}

void lane_limit_give_slot(struct lane_limit *limit)
{
    check(atomic_fetch_sub(&limit->slots, 1) > 0);
}

bool lane_limit_contended(const struct lane_limit *limit, unsigned worker)
{
    uint64_t waiting = atomic_load_explicit(&limit->waiting, memory_order_relaxed);
    return (waiting & ~worker_bit(worker)) != 0;
}

uint64_t rate_take(_Atomic uint64_t *tat_ns, const struct rate *rate, uint64_t now_ns)
{
    if (rate->count == 0)
        return 0;
    uint64_t burst = rate->burst ? rate->burst : rate->count;
    /* 128 bits: a year's period times a large burst must not overflow. */
    uint64_t interval = rate->period_ms * NS_PER_MS / rate->count;
    uint64_t tolerance =
        (uint64_t)((unsigned __int128)rate->period_ms * NS_PER_MS * (burst - 1) / rate->count);
    uint64_t tat = atomic_load(tat_ns);
    for (;;) {
        uint64_t start = tat > now_ns ? tat : now_ns;
        if (start - now_ns > tolerance)
            return start - tolerance;
        if (atomic_compare_exchange_weak(tat_ns, &tat, start + interval))
            return 0;
    }
}
