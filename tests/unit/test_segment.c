/* Blocks of a segment: taken, marked, given back at once or when a group is synced. */
#include "queue/segment.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void runs_lie_side_by_side(void **state)
{
    struct segment *segment = segment_new(7, 100);
    uint32_t first;
    for (uint32_t at = 0; at < 99; at += 3) {
        assert_true(segment_take(segment, 3, &first));
        assert_int_equal(first, at);
    }
    assert_false(segment_take(segment, 3, &first));
    assert_true(segment_take(segment, 1, &first));
    assert_int_equal(first, 99);
    assert_int_equal(segment->used, 100);
    segment_free(segment);
}

static void what_was_given_back_comes_again_later(void **state)
{
    struct segment *segment = segment_new(0, 256);
    uint32_t first;
    assert_true(segment_take(segment, 60, &first));
    segment_give(segment, 0, 60);
    assert_true(segment_take(segment, 140, &first));
    assert_int_equal(first, 60); /* behind the last one, although the beginning is free */
    assert_true(segment_take(segment, 58, &first)); /* 56 are left behind it */
    assert_int_equal(first, 0);
    segment_free(segment);
}

static void holes_must_be_large_enough(void **state)
{
    struct segment *segment = segment_new(0, 130);
    uint32_t first;
    for (uint32_t at = 0; at < 130; at += 2)
        assert_true(segment_take(segment, 2, &first));
    segment_give(segment, 62, 2);
    segment_give(segment, 66, 2);
    assert_false(segment_take(segment, 4, &first)); /* enough are free, but not in a row */
    segment_give(segment, 64, 2);
    assert_true(segment_take(segment, 6, &first));
    assert_int_equal(first, 62);
    segment_free(segment);
}

static void marks_may_not_meet(void **state)
{
    struct segment *segment = segment_new(0, 64);
    assert_true(segment_mark(segment, 10, 5));
    assert_false(segment_mark(segment, 14, 1));
    assert_false(segment_mark(segment, 8, 3));
    assert_false(segment_mark(segment, 20, 0));
    assert_false(segment_mark(segment, 64, 1));
    assert_false(segment_mark(segment, 60, 5));
    assert_false(segment_mark(segment, 1, UINT32_MAX));
    assert_true(segment_mark(segment, 60, 4));
    assert_int_equal(segment->used, 9);
    segment_free(segment);
}

/* Against a model that is a plain array. */
static void any_order_is_right(void **state)
{
    enum { BLOCKS = 200, STEPS = 20000, RUNS = 64 };
    struct segment *segment = segment_new(0, BLOCKS);
    struct run {
        uint32_t first, blocks;
    } runs[RUNS] = {0};
    bool taken[BLOCKS] = {0};
    srand(4711);
    for (unsigned step = 0; step < STEPS; step++) {
        struct run *run = &runs[rand() % RUNS];
        if (run->blocks) {
            segment_give(segment, run->first, run->blocks);
            memset(taken + run->first, 0, run->blocks);
            run->blocks = 0;
            continue;
        }
        uint32_t want = 1 + (uint32_t)rand() % 20;
        if (segment_take(segment, want, &run->first)) {
            run->blocks = want;
            assert_true(run->first + want <= BLOCKS);
            for (uint32_t i = 0; i < want; i++) {
                assert_false(taken[run->first + i]);
                taken[run->first + i] = true;
            }
            continue;
        }
        uint32_t longest = 0, length = 0;
        for (uint32_t i = 0; i < BLOCKS; i++) {
            length = taken[i] ? 0 : length + 1;
            longest = length > longest ? length : longest;
        }
        assert_true(longest < want);
    }
    segment_free(segment);
}

static void slots_leave_when_their_group_is_synced(void **state)
{
    struct segment *segment = segment_new(0, 1024);
    struct leaving leaving = {0};
    for (uint32_t i = 0; i < 1000; i++) {
        struct segment_slot slot = {.segment = segment, .blocks = 1};
        assert_true(segment_take(segment, 1, &slot.first));
        assert_true(leaving_add(&leaving, slot, 1 + i / 10));
        if (i == 500)
            leaving_give(&leaving, 20);
    }
    assert_int_equal(segment->used, 800);
    leaving_give(&leaving, 20);
    assert_int_equal(segment->used, 800);
    leaving_give(&leaving, 99);
    assert_int_equal(segment->used, 10);
    leaving_give(&leaving, UINT64_MAX);
    assert_int_equal(segment->used, 0);
    leaving_fini(&leaving);
    segment_free(segment);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_lie_side_by_side),
        cmocka_unit_test(what_was_given_back_comes_again_later),
        cmocka_unit_test(holes_must_be_large_enough),
        cmocka_unit_test(marks_may_not_meet),
        cmocka_unit_test(any_order_is_right),
        cmocka_unit_test(slots_leave_when_their_group_is_synced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
