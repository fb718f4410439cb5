/* core/: timer wheel, map, inbox, checksum. */
#include "bench/micro.h"
#include "core/clock.h"
#include "core/crc32c.h"
#include "core/inbox.h"
#include "core/map.h"
#include "core/random.h"
#include "core/timers.h"

#include <stdlib.h>

enum { TIMERS = 20000, KEYS = 100000, OPS = 64 };

static void on_nothing(struct op *op)
{
}

/* ---- timers: each of 20,000 connections moves its deadline again and again ---- */

static void timer_move(struct micro *micro)
{
    static struct timers timers;
    struct timer *list = calloc(TIMERS, sizeof *list);
    struct random random = {.state = {1, 2, 3, 4}};
    uint64_t now_ns = NS_PER_S;
    unsigned i = 0;
    timers_init(&timers, now_ns);
    for (i = 0; i < TIMERS; i++) {
        timer_init(&list[i], on_nothing);
        timer_arm(&timers, &list[i], now_ns + random_below(&random, 300 * NS_PER_S));
    }
    for (i = 0; micro_next(micro); i = (i + 7919) % TIMERS)
        timer_arm(&timers, &list[i], now_ns + 300 * NS_PER_S + i);
    micro_items(micro, 1);
    free(list);
}

/* A millisecond passes with 20,000 armed; what fires is armed again. */
static void timer_tick(struct micro *micro)
{
    static struct timers timers;
    struct timer *list = calloc(TIMERS, sizeof *list);
    struct random random = {.state = {1, 2, 3, 4}};
    uint64_t now_ns = NS_PER_S;
    timers_init(&timers, now_ns);
    for (unsigned i = 0; i < TIMERS; i++) {
        timer_init(&list[i], on_nothing);
        timer_arm(&timers, &list[i], now_ns + random_below(&random, 10 * NS_PER_S));
    }
    while (micro_next(micro)) {
        struct list ready;
        struct list_link *link;
        list_init(&ready);
        now_ns += NS_PER_MS;
        timers_advance(&timers, now_ns, &ready);
        while ((link = list_take_first(&ready))) {
            struct op *op = container_of(link, struct op, link);
            op->state = OP_IDLE;
            timer_arm(&timers, container_of(op, struct timer, op), now_ns + 10 * NS_PER_S);
        }
    }
    free(list);
}

/* ---- map ---- */

struct entry {
    struct map_node node;
    uint64_t key;
};

static void map_look_up(struct micro *micro)
{
    struct hash_seed seed = {1, 2};
    struct map map;
    struct entry *entries = calloc(KEYS, sizeof *entries);
    check(entries && map_init(&map, 16) == 0);
    for (uint64_t i = 0; i < KEYS; i++) {
        entries[i].key = i * UINT64_C(0x9e3779b97f4a7c15);
        map_insert(&map, &entries[i].node, hash_key(seed, span_of(&entries[i].key, 8)));
    }
    for (uint64_t i = 0; micro_next(micro); i = (i + 7919) % KEYS) {
        struct map_node *node = map_find(&map, hash_key(seed, span_of(&entries[i].key, 8)));
        while (node && container_of(node, struct entry, node)->key != entries[i].key)
            node = map_find_next(node);
        micro_use(node);
    }
    micro_items(micro, 1);
    map_fini(&map);
    free(entries);
}

static void map_come_and_go(struct micro *micro)
{
    struct hash_seed seed = {1, 2};
    struct map map;
    struct entry *entries = calloc(KEYS, sizeof *entries);
    check(entries && map_init(&map, KEYS) == 0);
    for (uint64_t i = 0; micro_next(micro); i = (i + 1) % KEYS) {
        entries[i].key = i;
        map_insert(&map, &entries[i].node, hash_key(seed, span_of(&entries[i].key, 8)));
        map_remove(&map, &entries[i].node);
    }
    micro_items(micro, 1);
    map_fini(&map);
    free(entries);
}

/* ---- inbox: a burst of 64 ops from one thread ---- */

static void inbox_burst(struct micro *micro)
{
    struct inbox inbox;
    struct op ops[OPS];
    inbox_init(&inbox);
    for (unsigned i = 0; i < OPS; i++)
        op_init(&ops[i], on_nothing);
    while (micro_next(micro)) {
        struct list ready;
        struct list_link *link;
        list_init(&ready);
        for (unsigned i = 0; i < OPS; i++)
            micro_use((const void *)(uintptr_t)inbox_push(&inbox, &ops[i], &ops[i]));
        inbox_take(&inbox, &ready);
        while ((link = list_take_first(&ready)))
            container_of(link, struct op, link)->state = OP_IDLE;
    }
    micro_items(micro, OPS);
}

/* ---- checksum ---- */

static void checksum(struct micro *micro)
{
    static char text[10240];
    uint32_t crc = 0;
    while (micro_next(micro))
        crc = crc32c(crc, span_of(text, sizeof text));
    micro_use(&crc);
    micro_bytes(micro, sizeof text);
}

const struct micro_case micro_core_cases[] = {
    {"core/timer_move", timer_move},
    {"core/timer_tick", timer_tick},
    {"core/map_look_up", map_look_up},
    {"core/map_come_and_go", map_come_and_go},
    {"core/inbox_burst_of_64", inbox_burst},
    {"core/crc32c_10k", checksum},
    {0},
};
