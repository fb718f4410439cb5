#include "queue/ids.h"

#include "queue/record.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define NOW UINT64_C(1800000000000)
#define DAY UINT64_C(86400000)

static uint64_t order(uint64_t id)
{
    return (id >> 22) << 14 | (id & (IDS_COUNTERS - 1)); /* without the shard */
}

static void they_rise_whatever_the_clock_does(void **state)
{
    static const uint64_t walls_ms[] = {NOW, NOW,           NOW + 1, NOW - 1, NOW - 3 * DAY,
                                        0,   NOW + 3 * DAY, NOW,     NOW + 1};
    struct ids ids;
    ids_init(&ids, 0);
    uint64_t last = 0;
    for (unsigned i = 0; i < countof(walls_ms); i++) {
        uint64_t id = ids_next(&ids, walls_ms[i], (uint8_t)(i * 7));
        assert_int_equal(id_shard(id), i * 7);
        assert_true(order(id) > last);
        assert_true(id_wall_ms(id) >= walls_ms[i]);
        last = order(id);
    }
}

static void a_full_millisecond_borrows_from_the_next(void **state)
{
    struct ids ids;
    ids_init(&ids, 0);
    uint64_t last = order(ids_next(&ids, NOW, 3));
    for (unsigned i = 0; i < 3 * IDS_COUNTERS; i++) {
        uint64_t id = ids_next(&ids, NOW, 3);
        assert_int_equal(id_shard(id), 3);
        assert_true(order(id) > last);
        last = order(id);
    }
    assert_int_equal(id_wall_ms(ids_next(&ids, NOW, 3)), NOW + 3);
}

/* Whatever the clock said then and says now: no id of the last run is below the ceiling that went
 * with it, and none of this run is below that. */
static void runs_do_not_overlap(void **state)
{
    uint64_t floor_ms = 0, last = 0;
    static const uint64_t walls_ms[] = {NOW, NOW - 30 * DAY, NOW + 30 * DAY, NOW, NOW + 1};
    for (unsigned run = 0; run < countof(walls_ms); run++) {
        struct ids ids;
        ids_init(&ids, floor_ms);
        for (unsigned i = 0; i < 100; i++) {
            uint64_t ceiling_ms, id = ids_next(&ids, walls_ms[run] + i * 1000, 0);
            assert_true(order(id) > last);
            if (ids_need_ceiling(&ids, id, &ceiling_ms)) {
                floor_ms = ceiling_ms;
                ids_confirm(&ids, ceiling_ms);
            }
            assert_true(id_wall_ms(id) < floor_ms);
            last = order(id);
        }
    }
}

static void a_ceiling_goes_with_every_batch_until_one_is_confirmed(void **state)
{
    struct ids ids;
    uint64_t first_ms, second_ms;
    ids_init(&ids, 0);
    assert_true(ids_need_ceiling(&ids, ids_next(&ids, NOW, 0), &first_ms));
    assert_int_equal(first_ms, NOW + IDS_AHEAD_MS);
    assert_true(ids_need_ceiling(&ids, ids_next(&ids, NOW + 1, 0), &second_ms));
    assert_true(second_ms >= first_ms);
    ids_confirm(&ids, second_ms);
    ids_confirm(&ids, first_ms); /* late: changes nothing */
    assert_false(ids_need_ceiling(&ids, ids_next(&ids, NOW + 2, 0), &first_ms));
    assert_int_equal(ids_ceiling(&ids), second_ms);
    /* Half of the reserve is used up. */
    assert_true(ids_need_ceiling(&ids, ids_next(&ids, NOW + 6000, 0), &first_ms));
    /* An older message never asks for a lower one. */
    assert_true(ids_need_ceiling(&ids, ids_next(&ids, NOW, 0), &second_ms));
    assert_true(second_ms >= first_ms);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(they_rise_whatever_the_clock_does),
        cmocka_unit_test(a_full_millisecond_borrows_from_the_next),
        cmocka_unit_test(runs_do_not_overlap),
        cmocka_unit_test(a_ceiling_goes_with_every_batch_until_one_is_confirmed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
