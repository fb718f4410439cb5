/* cache: answers by name and type, each asked for once.
 *
 * A lookup is answered from the cache, or joins the fetch that is already under way for the same
 * name and type (single flight), or starts one; it never ends inside cache_find. The answer that
 * `ended` sees belongs to the cache and is gone when `ended` returns.
 *
 * Times: a positive answer lives for its TTL, a negative one for the SOA's (RFC 2308), both inside
 * bounds; a failure is remembered for CACHE_FAILURE_MS (RFC 9520), so a dead server is not asked
 * once per message. When a fetch fails, a positive answer that is not older than `stale_ttl_ms`
 * past its end is served instead (RFC 8767). A stale negative answer never is: it would bounce mail
 * on old knowledge.
 *
 * Limits: `max_entries`, the least recently used go first (entries in use stay, so the bound may be
 * exceeded by them); CACHE_FETCHES questions at the servers at once, the rest waits its turn, and a
 * fetch that nobody waits for any more is not started. */
#pragma once

#include "core/map.h"
#include "core/metrics.h"
#include "dns/resolver.h"

enum { CACHE_FETCHES = 256, CACHE_FAILURE_MS = 10 * 1000, CACHE_MIN_TTL_MS = 5 * 1000 };

struct cache_entry;

struct cache {
    struct loop *loop;
    struct resolver *resolver;
    struct metrics *metrics; /* may be NULL */
    uint64_t max_entries, max_ttl_ms, negative_ttl_ms, stale_ttl_ms;
    struct hash_seed seed;
    struct map entries;
    struct list ages;    /* entries, least recently used first */
    struct list pending; /* fetches not started */
    struct list fetches; /* fetches at the resolver */
    unsigned fetching;
};

struct lookup;
typedef void lookup_ended(struct lookup *lookup);

struct lookup {
    lookup_ended *ended;         /* runs from dispatch; may free the lookup */
    const struct answer *answer; /* NOERROR or NXDOMAIN; NULL: it failed */
    int error;                   /* negative errno, see resolver.h */
    uint64_t expires_ns;         /* how long this result may be believed */
    bool stale;
    struct op op; /* private from here */
    struct list_link waiting;
    struct cache *cache;
    struct cache_entry *entry;
};

/* `cache`: loop, resolver, metrics and the four limits are filled in. -ENOMEM or 0. */
MUST_USE int cache_init(struct cache *cache);
/* Every lookup must have ended or been cancelled. Open fetches are cancelled. */
void cache_fini(struct cache *cache);

/* The lookup (zeroed, or one that has ended) gets `ended` called later, once. */
void cache_find(struct cache *cache, struct lookup *lookup, const struct name *name,
                enum rr_type type, lookup_ended *ended);

/* At once: `ended` does not run. The fetch goes on for the cache. Idle lookups are left alone. */
void lookup_cancel(struct lookup *lookup);

static inline bool lookup_open(const struct lookup *lookup)
{
    return !op_idle(&lookup->op);
}
