/* The DNS cache: one question per name and type, times, bounds, staleness. */
#include "dns/cache.h"

#include "tests/unit/dns_fake.h"

enum { ENTRIES = 50 };

struct asker {
    struct lookup lookup;
    unsigned ended;
    uint16_t count; /* of records */
    uint8_t rcode;
    bool found;
};

static struct loop loop;
static struct cache cache;
static struct metrics metrics;

static void on_ended(struct lookup *lookup)
{
    struct asker *asker = container_of(lookup, struct asker, lookup);
    asker->ended++;
    asker->found = lookup->answer != NULL;
    asker->count = lookup->answer ? lookup->answer->count : 0;
    asker->rcode = lookup->answer ? lookup->answer->rcode : 0xff;
}

static void ask(struct asker *asker, const char *text, enum rr_type type)
{
    struct name name;
    assert_true(name_parse(span_string(text), &name));
    cache_find(&cache, &asker->lookup, &name, type, on_ended);
}

/* Asks and lets it happen; returns how many questions went to the resolver. */
static unsigned asked_for(struct asker *asker, const char *text, enum rr_type type)
{
    unsigned before = fake.asked;
    ask(asker, text, type);
    fake_pass(&loop, 0);
    return fake.asked - before;
}

static uint64_t metric(enum metric which)
{
    return atomic_load(&metrics.values[which]);
}

static int setup(void **state)
{
    static struct resolver_options none;
    memset(&metrics, 0, sizeof(metrics));
    assert_int_equal(loop_init(&loop, &fake_io, 0), 0);
    assert_int_equal(resolver_new(&loop, &none, &cache.resolver), 0);
    cache = (struct cache){
        .loop = &loop,
        .metrics = &metrics,
        .max_entries = ENTRIES,
        .max_ttl_ms = 3600 * 1000,
        .negative_ttl_ms = 600 * 1000,
        .stale_ttl_ms = 1800 * 1000,
    };
    return cache_init(&cache);
}

static int teardown(void **state)
{
    cache_fini(&cache);
    loop_fini(&loop);
    return 0;
}

static void test_hit_until_ttl(void **state)
{
    static const struct fake_line zone[] = {{"a.example", RR_A, "ttl=100 192.0.2.1 192.0.2.2"}};
    FAKE_ZONE(zone);
    struct asker asker = {0};
    assert_int_equal(asked_for(&asker, "a.example", RR_A), 1);
    assert_int_equal(asker.count, 2);
    assert_int_equal(asker.lookup.expires_ns, fake.now_ns + 100 * NS_PER_S);
    fake_pass(&loop, 99 * 1000);
    assert_int_equal(asked_for(&asker, "a.example", RR_A), 0);
    assert_int_equal(asked_for(&asker, "a.example", RR_AAAA), 1); /* another key */
    assert_int_equal(asker.count, 0);
    fake_pass(&loop, 1000);
    assert_int_equal(asked_for(&asker, "a.example", RR_A), 1);
    assert_int_equal(asker.ended, 4);
    assert_int_equal(metric(METRIC_DNS_QUERIES), 3);
    assert_int_equal(metric(METRIC_DNS_CACHE_HITS), 1);
}

static void test_ttl_bounds(void **state)
{
    static const struct fake_line zone[] = {
        {"long.example", RR_A, "ttl=99999999 192.0.2.1"},
        {"zero.example", RR_A, "ttl=0 192.0.2.1"},
        {"none.example", RR_A, "ttl=99999999 NXDOMAIN"},
    };
    static const struct {
        const char *name;
        uint64_t lives_ms;
    } cases[] = {
        {"long.example", 3600 * 1000},
        {"zero.example", CACHE_MIN_TTL_MS},
        {"none.example", 600 * 1000},
    };
    FAKE_ZONE(zone);
    for (size_t i = 0; i < countof(cases); i++) {
        struct asker asker = {0};
        assert_int_equal(asked_for(&asker, cases[i].name, RR_A), 1);
        fake_pass(&loop, cases[i].lives_ms - 1);
        assert_int_equal(asked_for(&asker, cases[i].name, RR_A), 0);
        fake_pass(&loop, 1);
        assert_int_equal(asked_for(&asker, cases[i].name, RR_A), 1);
    }
}

static void test_single_flight(void **state)
{
    static const struct fake_line zone[] = {{"a.example", RR_MX, "10 mx.example"}};
    FAKE_ZONE(zone);
    struct asker askers[20] = {0};
    unsigned before = fake.asked;
    for (size_t i = 0; i < countof(askers); i++) {
        ask(&askers[i], "a.example", RR_MX);
        assert_int_equal(askers[i].ended, 0); /* never from inside the call */
    }
    lookup_cancel(&askers[7].lookup);
    fake_pass(&loop, 0);
    assert_int_equal(fake.asked - before, 1);
    for (size_t i = 0; i < countof(askers); i++)
        assert_int_equal(askers[i].ended, i == 7 ? 0 : 1);
    assert_int_equal(askers[19].count, 1);
}

static void test_failure_is_remembered(void **state)
{
    static const struct fake_line bad[] = {{"a.example", RR_A, "SERVFAIL"}};
    static const struct fake_line good[] = {{"a.example", RR_A, "192.0.2.1"}};
    struct asker asker = {0};
    FAKE_ZONE(bad);
    assert_int_equal(asked_for(&asker, "a.example", RR_A), 1);
    assert_false(asker.found);
    assert_int_equal(asker.lookup.error, -EREMOTEIO);
    assert_int_equal(metric(METRIC_DNS_FAILURES), 1);
    FAKE_ZONE(good);
    fake_pass(&loop, CACHE_FAILURE_MS - 1);
    assert_int_equal(asked_for(&asker, "a.example", RR_A), 0);
    assert_false(asker.found);
    fake_pass(&loop, 1);
    assert_int_equal(asked_for(&asker, "a.example", RR_A), 1);
    assert_true(asker.found);
}

static void test_stale(void **state)
{
    static const struct fake_line good[] = {
        {"a.example", RR_A, "ttl=100 192.0.2.1"},
        {"no.example", RR_A, "ttl=100 NXDOMAIN"},
    };
    static const struct fake_line bad[] = {
        {"a.example", RR_A, "SERVFAIL"},
        {"no.example", RR_A, "SERVFAIL"},
    };
    struct asker asker = {0};
    FAKE_ZONE(good);
    asked_for(&asker, "a.example", RR_A);
    asked_for(&asker, "no.example", RR_A);
    FAKE_ZONE(bad);
    fake_pass(&loop, 101 * 1000);
    assert_int_equal(asked_for(&asker, "a.example", RR_A), 1);
    assert_true(asker.found && asker.lookup.stale);
    assert_int_equal(asker.count, 1);
    assert_int_equal(asker.lookup.expires_ns, fake.now_ns + CACHE_FAILURE_MS * NS_PER_MS);
    assert_int_equal(asked_for(&asker, "a.example", RR_A), 0); /* and the server is left alone */
    assert_true(asker.found && asker.lookup.stale);

    /* Nobody is bounced on old knowledge. */
    asked_for(&asker, "no.example", RR_A);
    assert_false(asker.found);

    fake_pass(&loop, 1800 * 1000);
    assert_int_equal(asked_for(&asker, "a.example", RR_A), 1);
    assert_false(asker.found);

    FAKE_ZONE(good);
    fake_pass(&loop, CACHE_FAILURE_MS);
    assert_int_equal(asked_for(&asker, "a.example", RR_A), 1);
    assert_true(asker.found && !asker.lookup.stale);
}

static void test_least_recently_used_goes(void **state)
{
    static const struct fake_line zone[] = {{"x.example", RR_A, "192.0.2.1"}};
    FAKE_ZONE(zone);
    struct asker asker = {0};
    char name[32];
    for (unsigned i = 0; i < ENTRIES; i++) {
        snprintf(name, sizeof(name), "n%u.example", i);
        assert_int_equal(asked_for(&asker, name, RR_A), 1);
    }
    assert_int_equal(asked_for(&asker, "n0.example", RR_A), 0); /* young again */
    for (unsigned i = 0; i < 10; i++) {
        snprintf(name, sizeof(name), "m%u.example", i);
        assert_int_equal(asked_for(&asker, name, RR_A), 1);
        assert_true(cache.entries.count <= ENTRIES);
    }
    assert_int_equal(asked_for(&asker, "n0.example", RR_A), 0);
    assert_int_equal(asked_for(&asker, "n1.example", RR_A), 1);
    assert_int_equal(asked_for(&asker, "n40.example", RR_A), 0);
}

/* With every entry in use the bound gives way, not the waiters. */
static void test_entries_in_use_stay(void **state)
{
    static struct fake_line zone[ENTRIES + 10];
    static char names[ENTRIES + 10][32];
    static struct asker askers[ENTRIES + 10];
    for (unsigned i = 0; i < countof(zone); i++) {
        snprintf(names[i], sizeof(names[i]), "h%u.example", i);
        zone[i] = (struct fake_line){names[i], RR_A, "HANG"};
    }
    FAKE_ZONE(zone);
    for (unsigned i = 0; i < countof(zone); i++)
        ask(&askers[i], names[i], RR_A);
    fake_pass(&loop, 0);
    assert_int_equal(cache.entries.count, countof(zone));
    for (unsigned i = 0; i < countof(zone); i++) {
        assert_true(lookup_open(&askers[i].lookup));
        lookup_cancel(&askers[i].lookup);
        assert_false(lookup_open(&askers[i].lookup));
    }
}

static void test_fetches_are_bounded(void **state)
{
    static struct fake_line zone[CACHE_FETCHES + 20];
    static char names[countof(zone)][32];
    static struct asker askers[countof(zone)];
    for (unsigned i = 0; i < countof(zone); i++) {
        snprintf(names[i], sizeof(names[i]), "h%u.example", i);
        zone[i] = (struct fake_line){names[i], RR_A, "192.0.2.1"};
    }
    FAKE_ZONE(zone);
    unsigned before = fake.asked;
    for (unsigned i = 0; i < countof(zone); i++)
        ask(&askers[i], names[i], RR_A);
    assert_int_equal(fake.asked - before, CACHE_FETCHES);
    lookup_cancel(&askers[countof(zone) - 1].lookup); /* its fetch is never started */
    fake_pass(&loop, 0);
    assert_int_equal(fake.asked - before, countof(zone) - 1);
    for (unsigned i = 0; i < countof(zone) - 1; i++)
        assert_int_equal(askers[i].count, 1);
}

static void cancel_other(struct lookup *lookup)
{
    struct asker *asker = container_of(lookup, struct asker, lookup);
    asker->ended++;
    lookup_cancel(&asker[1].lookup);
}

static void test_cancel_from_ended(void **state)
{
    static const struct fake_line zone[] = {{"a.example", RR_A, "192.0.2.1"}};
    FAKE_ZONE(zone);
    struct asker askers[2] = {0};
    ask(&askers[0], "a.example", RR_A);
    ask(&askers[1], "a.example", RR_A);
    askers[0].lookup.ended = cancel_other;
    fake_pass(&loop, 0);
    assert_int_equal(askers[0].ended, 1);
    assert_int_equal(askers[1].ended, 0);
}

#define CACHE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CACHE_TEST(test_hit_until_ttl),
        CACHE_TEST(test_ttl_bounds),
        CACHE_TEST(test_single_flight),
        CACHE_TEST(test_failure_is_remembered),
        CACHE_TEST(test_stale),
        CACHE_TEST(test_least_recently_used_goes),
        CACHE_TEST(test_entries_in_use_stay),
        CACHE_TEST(test_fetches_are_bounded),
        CACHE_TEST(test_cancel_from_ended),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
