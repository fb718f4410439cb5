/* map: intrusive hash map, chained, growing, for keys that peers may choose.
 *
 * A `struct map_node` is embedded in the object; the map never owns it. The hash is SipHash-1-3 of
 * the key under a secret seed (hash_key), so nobody outside can build a long chain. Growing
 * doubles the table in one go; a table of a million takes a few milliseconds. */
#pragma once

#include "core/check.h"
#include "core/span.h"

struct map_node {
    struct map_node *next;
    uint64_t hash;
};

struct hash_seed {
    uint64_t k0, k1;
};

struct map {
    struct map_node **buckets;
    size_t bucket_count, count;
};

uint64_t hash_key(struct hash_seed seed, struct span key);

/* -ENOMEM or 0. */
MUST_USE int map_init(struct map *map, size_t expected);
void map_fini(struct map *map); /* the nodes are their owners' */

/* The first node of this hash, then its followers: the caller compares keys.
 *     for (n = map_find(map, h); n; n = map_find_next(n)) if (same(n)) ... */
struct map_node *map_find(const struct map *map, uint64_t hash);
struct map_node *map_find_next(const struct map_node *node);

/* Never fails: if the table cannot grow it stays small and chains get longer. */
void map_insert(struct map *map, struct map_node *node, uint64_t hash);
void map_remove(struct map *map, struct map_node *node);

/* One bucket's nodes, for a walk that is taken up again later: begin with cursor 0, go on with what
 * is returned, 0: through. The map may change between calls: a node that is there all the time is
 * visited exactly once, if the map grows as well. `visit` must not change the map. */
uint64_t map_scan(const struct map *map, uint64_t cursor,
                  void (*visit)(struct map_node *node, void *context), void *context);

/* Visits every node; `visit` may remove and free the node it is given. */
void map_each(struct map *map, void (*visit)(struct map_node *node, void *context), void *context);
