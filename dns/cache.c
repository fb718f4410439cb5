/* cache.c: an entry is pinned by its waiters, by its fetch, and while it is being told about;
 * eviction takes only what is not pinned. A waiter's op is BUSY while it waits for the fetch, then
 * READY, and the entry is read when the op is dispatched: what it holds then is the result. */
#include "dns/cache.h"

#include "core/clock.h"

#include <errno.h>
#include <stdlib.h>

enum { EVICTION_TRIES = 8 };

struct fetch {
    struct resolver_query query;
    struct list_link link; /* in cache->pending or cache->fetches */
    struct cache *cache;
    struct cache_entry *entry;
};

struct cache_entry {
    struct map_node node;
    struct list_link age;
    struct list waiters;
    struct fetch *fetch;
    struct answer *answer;
    uint64_t expires_ns, stale_until_ns;
    uint64_t failed_until_ns;
    int failure; /* 0: the last fetch was good */
    uint16_t type;
    uint8_t telling; /* > 0: a waiter's `ended` is looking at the answer */
    uint8_t name_len;
    char name[];
};

static void count(struct cache *cache, enum metric metric)
{
    if (cache->metrics)
        metric_add(cache->metrics, metric, 1);
}

/* ---- entries ---- */

static uint64_t key_hash(const struct cache *cache, const struct name *name, enum rr_type type)
{
    char key[2 + sizeof(name->text)];
    struct sink sink;
    sink_init(&sink, key, sizeof(key));
    sink_u16(&sink, (uint16_t)type);
    sink_put(&sink, name_span(name));
    return hash_key(cache->seed, sink_span(&sink));
}

static struct cache_entry *find_entry(struct cache *cache, uint64_t hash, const struct name *name,
                                      enum rr_type type)
{
    for (struct map_node *node = map_find(&cache->entries, hash); node;
         node = map_find_next(node)) {
        struct cache_entry *entry = container_of(node, struct cache_entry, node);
        if (entry->type == type &&
            span_equals(span_of(entry->name, entry->name_len), name_span(name)))
            return entry;
    }
    return NULL;
}

static bool pinned(const struct cache_entry *entry)
{
    return entry->fetch || entry->telling > 0 || !list_empty(&entry->waiters);
}

static void remove_entry(struct cache *cache, struct cache_entry *entry)
{
    map_remove(&cache->entries, &entry->node);
    list_remove(&entry->age);
    answer_free(entry->answer);
    free(entry);
}

static void make_young(struct cache *cache, struct cache_entry *entry)
{
    list_remove(&entry->age);
    list_append(&cache->ages, &entry->age);
}

static void evict(struct cache *cache)
{
    for (unsigned i = 0; i < EVICTION_TRIES && cache->entries.count >= cache->max_entries; i++) {
        struct list_link *oldest = list_first(&cache->ages);
        if (!oldest)
            return;
        struct cache_entry *entry = container_of(oldest, struct cache_entry, age);
        if (pinned(entry))
            make_young(cache, entry);
        else
            remove_entry(cache, entry);
    }
}

static struct cache_entry *add_entry(struct cache *cache, uint64_t hash, const struct name *name,
                                     enum rr_type type)
{
    evict(cache);
    struct cache_entry *entry = calloc(1, sizeof(*entry) + name->len);
    if (!entry)
        return NULL;
    entry->type = (uint16_t)type;
    entry->name_len = name->len;
    memcpy(entry->name, name->text, name->len);
    list_init(&entry->waiters);
    list_append(&cache->ages, &entry->age);
    map_insert(&cache->entries, &entry->node, hash);
    return entry;
}

/* ---- what an entry knows ---- */

static bool fresh(const struct cache_entry *entry, uint64_t now_ns)
{
    return (entry->answer && now_ns < entry->expires_ns) || now_ns < entry->failed_until_ns;
}

static void keep_answer(struct cache *cache, struct cache_entry *entry, struct answer *answer)
{
    bool positive = answer_positive(answer) || answer->follow;
    uint64_t most_ms = positive ? cache->max_ttl_ms : cache->negative_ttl_ms;
    uint64_t ttl_ms = answer->ttl_known ? answer->ttl_s * UINT64_C(1000) : 0;
    if (ttl_ms > most_ms)
        ttl_ms = most_ms;
    if (ttl_ms < CACHE_MIN_TTL_MS)
        ttl_ms = CACHE_MIN_TTL_MS;
    answer_free(entry->answer);
    entry->answer = answer;
    entry->expires_ns = cache->loop->now_ns + ttl_ms * NS_PER_MS;
    entry->stale_until_ns = entry->expires_ns + (positive ? cache->stale_ttl_ms * NS_PER_MS : 0);
    entry->failure = 0;
    entry->failed_until_ns = 0;
}

static void keep_failure(struct cache *cache, struct cache_entry *entry, int error)
{
    entry->failure = error;
    entry->failed_until_ns = cache->loop->now_ns + CACHE_FAILURE_MS * NS_PER_MS;
    count(cache, METRIC_DNS_FAILURES);
}

/* ---- waiters ---- */

static void tell(struct lookup *lookup, const struct cache_entry *entry, uint64_t now_ns)
{
    bool current = entry->answer && (now_ns < entry->expires_ns || entry->failure == 0);
    bool stale = !current && entry->answer && now_ns < entry->stale_until_ns;
    lookup->answer = current || stale ? entry->answer : NULL;
    lookup->stale = stale;
    lookup->error = lookup->answer ? 0 : entry->failure;
    lookup->expires_ns = current ? entry->expires_ns : entry->failed_until_ns;
}

static void on_lookup(struct op *op)
{
    struct lookup *lookup = container_of(op, struct lookup, op);
    struct cache_entry *entry = lookup->entry;
    lookup->entry = NULL;
    if (!entry) { /* it could not even be asked */
        lookup->answer = NULL;
        lookup->error = op->result;
        lookup->expires_ns = lookup->cache->loop->now_ns;
        lookup->ended(lookup);
        return;
    }
    list_remove(&lookup->waiting);
    tell(lookup, entry, lookup->cache->loop->now_ns);
    entry->telling++;
    lookup->ended(lookup);
    entry->telling--;
}

static void wake_waiters(struct cache *cache, struct cache_entry *entry)
{
    list_for_each (&entry->waiters, link, following) {
        struct lookup *lookup = container_of(link, struct lookup, waiting);
        if (lookup->op.state == OP_BUSY)
            loop_ready(cache->loop, &lookup->op, 0);
    }
}

/* ---- fetches ---- */

static void end_fetch(struct fetch *fetch)
{
    list_remove(&fetch->link);
    fetch->entry->fetch = NULL;
    free(fetch);
}

static void start_fetches(struct cache *cache);

static void on_fetched(struct op *op)
{
    struct fetch *fetch = container_of(op, struct fetch, query.op);
    struct cache *cache = fetch->cache;
    struct cache_entry *entry = fetch->entry;
    if (op->result < 0)
        keep_failure(cache, entry, op->result);
    else
        keep_answer(cache, entry, fetch->query.answer);
    end_fetch(fetch);
    cache->fetching--;
    wake_waiters(cache, entry);
    start_fetches(cache);
}

static void start_fetches(struct cache *cache)
{
    while (cache->fetching < CACHE_FETCHES) {
        struct list_link *link = list_first(&cache->pending);
        if (!link)
            return;
        struct fetch *fetch = container_of(link, struct fetch, link);
        if (list_empty(&fetch->entry->waiters)) {
            end_fetch(fetch);
            continue;
        }
        list_remove(link);
        list_append(&cache->fetches, link);
        cache->fetching++;
        count(cache, METRIC_DNS_QUERIES);
        resolver_ask(cache->resolver, &fetch->query);
    }
}

static bool add_fetch(struct cache *cache, struct cache_entry *entry, const struct name *name)
{
    struct fetch *fetch = calloc(1, sizeof(*fetch));
    if (!fetch)
        return false;
    op_init(&fetch->query.op, on_fetched);
    fetch->query.name = *name;
    fetch->query.type = entry->type;
    fetch->cache = cache;
    fetch->entry = entry;
    entry->fetch = fetch;
    list_append(&cache->pending, &fetch->link);
    return true;
}

/* ---- the outside ---- */

int cache_init(struct cache *cache)
{
    list_init(&cache->ages);
    list_init(&cache->pending);
    list_init(&cache->fetches);
    cache->fetching = 0;
    random_fill(&cache->seed, sizeof(cache->seed));
    return map_init(&cache->entries, 64);
}

void cache_fini(struct cache *cache)
{
    list_for_each (&cache->fetches, link, following) {
        struct fetch *fetch = container_of(link, struct fetch, link);
        resolver_cancel(cache->resolver, &fetch->query);
        end_fetch(fetch);
    }
    list_for_each (&cache->pending, link, following)
        end_fetch(container_of(link, struct fetch, link));
    list_for_each (&cache->ages, link, following) {
        struct cache_entry *entry = container_of(link, struct cache_entry, age);
        check(!pinned(entry));
        remove_entry(cache, entry);
    }
    map_fini(&cache->entries);
}

void cache_find(struct cache *cache, struct lookup *lookup, const struct name *name,
                enum rr_type type, lookup_ended *ended)
{
    check(op_idle(&lookup->op));
    *lookup = (struct lookup){.ended = ended, .cache = cache};
    op_init(&lookup->op, on_lookup);

    uint64_t hash = key_hash(cache, name, type);
    struct cache_entry *entry = find_entry(cache, hash, name, type);
    if (entry)
        make_young(cache, entry);
    else
        entry = add_entry(cache, hash, name, type);
    bool known = entry && !entry->fetch && fresh(entry, cache->loop->now_ns);
    if (!entry || (!known && !entry->fetch && !add_fetch(cache, entry, name))) {
        loop_ready(cache->loop, &lookup->op, -ENOMEM);
        return;
    }
    lookup->entry = entry;
    list_append(&entry->waiters, &lookup->waiting);
    if (known) {
        count(cache, METRIC_DNS_CACHE_HITS);
        loop_ready(cache->loop, &lookup->op, 0);
        return;
    }
    lookup->op.state = OP_BUSY;
    start_fetches(cache);
}

void lookup_cancel(struct lookup *lookup)
{
    if (op_idle(&lookup->op))
        return;
    if (lookup->op.state == OP_READY)
        loop_unready(lookup->cache->loop, &lookup->op);
    lookup->op.state = OP_IDLE;
    if (lookup->entry)
        list_remove(&lookup->waiting);
    lookup->entry = NULL;
}
