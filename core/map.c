#include "core/map.h"

#include <errno.h>
#include <stdlib.h>

static inline uint64_t rotate(uint64_t x, int bits)
{
    return x << bits | x >> (64 - bits);
}

struct sip {
    uint64_t v0, v1, v2, v3;
};

static inline void sip_round(struct sip *s)
{
    s->v0 += s->v1;
    s->v1 = rotate(s->v1, 13) ^ s->v0;
    s->v0 = rotate(s->v0, 32);
    s->v2 += s->v3;
    s->v3 = rotate(s->v3, 16) ^ s->v2;
    s->v0 += s->v3;
    s->v3 = rotate(s->v3, 21) ^ s->v0;
    s->v2 += s->v1;
    s->v1 = rotate(s->v1, 17) ^ s->v2;
    s->v2 = rotate(s->v2, 32);
}

/* Aumasson and Bernstein, "SipHash: a fast short-input PRF", with 1 and 3 rounds. */
uint64_t hash_key(struct hash_seed seed, struct span key)
{
    struct sip s = {seed.k0 ^ 0x736f6d6570736575ull, seed.k1 ^ 0x646f72616e646f6dull,
                    seed.k0 ^ 0x6c7967656e657261ull, seed.k1 ^ 0x7465646279746573ull};
    size_t whole = key.len & ~(size_t)7;
    for (size_t at = 0; at < whole; at += 8) {
        uint64_t word;
        memcpy(&word, key.data + at, 8);
        s.v3 ^= word;
        sip_round(&s);
        s.v0 ^= word;
    }
    uint64_t last = (uint64_t)key.len << 56;
    for (size_t at = whole; at < key.len; at++)
        last |= (uint64_t)(unsigned char)key.data[at] << (8 * (at - whole));
    s.v3 ^= last;
    sip_round(&s);
    s.v0 ^= last;
    s.v2 ^= 0xff;
    sip_round(&s);
    sip_round(&s);
    sip_round(&s);
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

int map_init(struct map *map, size_t expected)
{
    size_t count = 16;
    while (count < expected)
        count *= 2;
    map->buckets = calloc(count, sizeof *map->buckets);
    if (!map->buckets)
        return -ENOMEM;
    map->bucket_count = count;
    map->count = 0;
    return 0;
}

void map_fini(struct map *map)
{
    free(map->buckets);
    *map = (struct map){0};
}

static struct map_node **bucket_of(const struct map *map, uint64_t hash)
{
    return &map->buckets[hash & (map->bucket_count - 1)];
}

static struct map_node *same_hash(struct map_node *node, uint64_t hash)
{
    while (node && node->hash != hash)
        node = node->next;
    return node;
}

struct map_node *map_find(const struct map *map, uint64_t hash)
{
    return same_hash(*bucket_of(map, hash), hash);
}

struct map_node *map_find_next(const struct map_node *node)
{
    return same_hash(node->next, node->hash);
}

static void grow(struct map *map)
{
    struct map old = *map;
    struct map_node **buckets = calloc(old.bucket_count * 2, sizeof *buckets);
    if (!buckets)
        return;
    map->buckets = buckets;
    map->bucket_count = old.bucket_count * 2;
    for (size_t i = 0; i < old.bucket_count; i++) {
        struct map_node *node = old.buckets[i];
        while (node) {
            struct map_node *next = node->next;
            struct map_node **bucket = bucket_of(map, node->hash);
            node->next = *bucket;
            *bucket = node;
            node = next;
        }
    }
    free(old.buckets);
}

void map_insert(struct map *map, struct map_node *node, uint64_t hash)
{
    if (map->count >= map->bucket_count)
        grow(map);
    struct map_node **bucket = bucket_of(map, hash);
    node->hash = hash;
    node->next = *bucket;
    *bucket = node;
    map->count++;
}

void map_remove(struct map *map, struct map_node *node)
{
    struct map_node **at = bucket_of(map, node->hash);
    while (*at && *at != node)
        at = &(*at)->next;
    check(*at);
    *at = node->next;
    node->next = NULL;
    map->count--;
}

static uint64_t reverse_bits(uint64_t x)
{
    x = (x >> 1 & 0x5555555555555555ull) | (x & 0x5555555555555555ull) << 1;
    x = (x >> 2 & 0x3333333333333333ull) | (x & 0x3333333333333333ull) << 2;
    x = (x >> 4 & 0x0f0f0f0f0f0f0f0full) | (x & 0x0f0f0f0f0f0f0f0full) << 4;
    return __builtin_bswap64(x);
}

/* The cursor counts with its bits reversed, highest bucket bit first: when the table doubles, a
 * bucket becomes the two whose lower bits it had, and both lie on the same side of the cursor. */
uint64_t map_scan(const struct map *map, uint64_t cursor,
                  void (*visit)(struct map_node *node, void *context), void *context)
{
    uint64_t mask = map->bucket_count - 1;
    for (struct map_node *node = map->buckets[cursor & mask]; node; node = node->next)
        visit(node, context);
    return reverse_bits(reverse_bits(cursor | ~mask) + 1);
}

void map_each(struct map *map, void (*visit)(struct map_node *node, void *context), void *context)
{
    for (size_t i = 0; i < map->bucket_count; i++) {
        struct map_node *node = map->buckets[i];
        while (node) {
            struct map_node *next = node->next;
            visit(node, context);
            node = next;
        }
    }
}
