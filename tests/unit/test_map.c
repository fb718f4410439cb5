#include "core/list.h"
#include "core/map.h"
#include "core/random.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include <stdlib.h>

/* ---- hash ---- */

/* The bytes 0, 1, 2, ... under a key of zeros, as CPython's hash() of bytes gives with
 * PYTHONHASHSEED=0. */
static void test_hash_is_siphash_1_3(void **state)
{
    static const struct {
        size_t len;
        uint64_t hash;
    } cases[] = {
        {1, UINT64_C(0x68a914128e01e473)},  {3, UINT64_C(0x4d4c9a4a8ef6e0ad)},
        {7, UINT64_C(0x2f098ab0c751325a)},  {8, UINT64_C(0xead411e67ebe2eea)},
        {9, UINT64_C(0x75927f9d95124362)},  {15, UINT64_C(0xf30eb725bb91c9ea)},
        {16, UINT64_C(0x8972188433a5c5b7)}, {31, UINT64_C(0x169739443111d49b)},
    };
    char key[32];
    for (size_t i = 0; i < sizeof key; i++)
        key[i] = (char)i;
    for (size_t i = 0; i < countof(cases); i++)
        assert_int_equal(hash_key((struct hash_seed){0}, span_of(key, cases[i].len)),
                         cases[i].hash);
}

static void test_hash_depends_on_everything(void **state)
{
    struct hash_seed seed = {UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908)};
    struct hash_seed other = {seed.k0, seed.k1 ^ 1};
    char key[40];
    uint64_t seen[40];
    for (size_t i = 0; i < sizeof key; i++)
        key[i] = (char)i;
    for (size_t len = 0; len < sizeof key; len++) {
        struct span span = span_of(key, len);
        seen[len] = hash_key(seed, span);
        assert_int_equal(seen[len], hash_key(seed, span));
        assert_int_not_equal(seen[len], hash_key(other, span));
        for (size_t before = 0; before < len; before++)
            assert_int_not_equal(seen[len], seen[before]);
        for (size_t at = 0; at < len; at++) {
            key[at] ^= 1;
            assert_int_not_equal(seen[len], hash_key(seed, span));
            key[at] ^= 1;
        }
    }
}

/* ---- map ---- */

struct item {
    struct map_node node;
    unsigned key;
    bool in;
};

static struct item *find(const struct map *map, uint64_t hash, unsigned key)
{
    for (struct map_node *node = map_find(map, hash); node; node = map_find_next(node))
        if (container_of(node, struct item, node)->key == key)
            return container_of(node, struct item, node);
    return NULL;
}

/* Few distinct hashes, so that chains and equal hashes are long. */
static uint64_t hash_of(unsigned key)
{
    return key % 64 * UINT64_C(0x9e3779b97f4a7c15);
}

static void test_against_model(void **state)
{
    enum { ITEMS = 2000 };
    struct item *items = calloc(ITEMS, sizeof *items);
    struct map map;
    struct random random = {{1, 2, 3, 4}};
    assert_int_equal(map_init(&map, 0), 0);
    size_t count = 0;
    for (unsigned i = 0; i < ITEMS; i++)
        items[i].key = i;
    for (unsigned step = 0; step < 20000; step++) {
        struct item *item = &items[random_below(&random, ITEMS)];
        struct item *found = find(&map, hash_of(item->key), item->key);
        assert_ptr_equal(found, item->in ? item : NULL);
        if (item->in)
            map_remove(&map, &item->node);
        else
            map_insert(&map, &item->node, hash_of(item->key));
        count = item->in ? count - 1 : count + 1;
        item->in = !item->in;
        assert_int_equal(map.count, count);
    }
    map_fini(&map);
    free(items);
}

static void remove_and_free(struct map_node *node, void *context)
{
    unsigned *visits = context;
    ++*visits;
    free(container_of(node, struct item, node));
}

static void test_each_may_free(void **state)
{
    struct map map;
    assert_int_equal(map_init(&map, 8), 0);
    for (unsigned i = 0; i < 1000; i++) {
        struct item *item = calloc(1, sizeof *item);
        map_insert(&map, &item->node, hash_of(i));
    }
    assert_true(map.bucket_count >= 1000); /* it grew */
    unsigned visits = 0;
    map_each(&map, remove_and_free, &visits);
    assert_int_equal(visits, 1000);
    map_fini(&map);
}

/* ---- list ---- */

struct entry {
    struct list_link link;
    int value;
};

static void expect_values(struct list *list, const char *expected)
{
    size_t at = 0;
    list_for_each (list, link, following)
        assert_int_equal(container_of(link, struct entry, link)->value, expected[at++]);
    assert_int_equal(expected[at], 0);
}

static void test_list(void **state)
{
    struct list list, other;
    struct entry a = {.value = 'a'}, b = {.value = 'b'}, c = {.value = 'c'}, d = {.value = 'd'};
    list_init(&list);
    list_init(&other);
    assert_true(list_empty(&list));
    assert_null(list_first(&list));
    assert_null(list_take_first(&list));
    assert_false(list_linked(&a.link));
    list_append(&list, &b.link);
    list_prepend(&list, &a.link);
    list_append(&list, &d.link);
    list_insert_before(&d.link, &c.link);
    expect_values(&list, "abcd");
    assert_true(list_linked(&c.link));
    list_remove(&c.link);
    assert_false(list_linked(&c.link));
    list_append(&other, &c.link);
    list_append_all(&other, &list);
    assert_true(list_empty(&list));
    list_append_all(&other, &list); /* nothing */
    expect_values(&other, "cabd");
    list_append_all(&list, &other); /* to an empty one */
    expect_values(&list, "cabd");
    list_for_each (&list, link, following)
        list_remove(link);
    assert_true(list_empty(&list));
}

/* ---- random ---- */

static void test_random(void **state)
{
    struct random one, two;
    random_init(&one);
    random_init(&two);
    assert_int_not_equal(random_next(&one), random_next(&two));
    two = one;
    unsigned counts[10] = {0};
    for (int i = 0; i < 10000; i++) {
        uint64_t value = random_below(&one, 10);
        assert_int_equal(value, random_below(&two, 10)); /* same state, same sequence */
        assert_true(value < 10);
        counts[value]++;
    }
    for (int i = 0; i < 10; i++)
        assert_in_range(counts[i], 800, 1200);
    assert_int_equal(random_below(&one, 1), 0);
    assert_true(random_below(&one, UINT64_MAX) < UINT64_MAX);
    char filled[64] = {0}, zero[64] = {0};
    random_fill(filled, sizeof filled);
    assert_memory_not_equal(filled, zero, sizeof filled);
    random_fill(NULL, 0);
}

/* ---- scanning ---- */

enum { SCANNED = 3000 };

struct scanned {
    struct map_node node;
    unsigned met;
};

static void meet(struct map_node *node, void *context)
{
    container_of(node, struct scanned, node)->met++;
}

/* Taken up again and again while others come: who is there all the time is met exactly once. */
static void test_scan_of_a_growing_map(void **state)
{
    struct scanned *all = calloc(SCANNED, sizeof *all);
    struct random random = {{1, 2, 3, 4}};
    struct map map;
    unsigned inserted = 500;
    assert_int_equal(map_init(&map, 16), 0);
    for (unsigned i = 0; i < inserted; i++)
        map_insert(&map, &all[i].node, random_next(&random));
    uint64_t cursor = 0;
    size_t buckets = map.bucket_count;
    do {
        cursor = map_scan(&map, cursor, meet, NULL);
        for (unsigned i = 0; i < 5 && inserted < SCANNED; i++, inserted++)
            map_insert(&map, &all[inserted].node, random_next(&random));
    } while (cursor);
    assert_true(map.bucket_count > 2 * buckets); /* it did grow */
    for (unsigned i = 0; i < SCANNED; i++)
        assert_true(i < 500 ? all[i].met == 1 : all[i].met <= 1);
    map_fini(&map);
    free(all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hash_is_siphash_1_3),
        cmocka_unit_test(test_hash_depends_on_everything),
        cmocka_unit_test(test_against_model),
        cmocka_unit_test(test_each_may_free),
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_scan_of_a_growing_map),
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
