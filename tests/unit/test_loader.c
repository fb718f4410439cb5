/* Loads against a real store: windows, bodies in one and in many parts, references; and the
 * threads. */
#include "queue/loader_thread.h"
#include "queue/record.h"
#include "tests/unit/folder.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
/* cmocka wants the four above first */
#include <cmocka.h>

void loop_post_chain(struct loop *loop, struct loop *from, struct op *first, struct op *last)
{
    if (inbox_push(&loop->inbox, first, last))
        inbox_awake(&loop->inbox); /* nobody sleeps on it: the tests look */
}

void loop_post(struct loop *loop, struct loop *from, struct op *op)
{
    loop_post_chain(loop, from, op, op);
}

enum { QUEUE = 3, SHARD = 5 };

struct fixture {
    char folder[FOLDER_PATH], path[FOLDER_PATH + 8];
    struct store *store;
    struct store_batch *batch;
    struct loop home;
};

static void commit(struct fixture *fixture)
{
    assert_int_equal(store_commit(fixture->store, fixture->batch, true), 0);
    store_batch_clear(fixture->batch);
}

static int begin(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    struct store_report report;
    folder_make(fixture->folder);
    snprintf(fixture->path, sizeof fixture->path, "%s/queue", fixture->folder);
    struct store_options options = {.path = fixture->path, .memory = 16 << 20};
    if (store_open(&options, &fixture->store, &report) < 0)
        return -1;
    fixture->batch = store_batch_new(fixture->store);
    inbox_init(&fixture->home.inbox);
    *state = fixture;
    return 0;
}

static int end(void **state)
{
    struct fixture *fixture = *state;
    store_batch_free(fixture->batch);
    store_close(fixture->store);
    folder_remove(fixture->folder);
    free(fixture);
    return 0;
}

static struct load *load_new(struct fixture *fixture, enum load_kind kind)
{
    struct load *load = malloc(sizeof *load);
    load_init(load, &fixture->home, kind, NULL);
    return load;
}

static void load_free(struct load *load)
{
    load_release(load);
    free(load);
}

/* ---- windows ---- */

static void put_row(struct fixture *fixture, uint32_t queue, uint64_t due)
{
    char key[32], value[32];
    struct span part =
        span_of(value, (size_t)snprintf(value, sizeof value, "row %llu", (unsigned long long)due));
    store_batch_put(fixture->batch, FAMILY_ROW, row_key(key, SHARD, queue, due, due * 10), &part,
                    1);
}

static struct load *window(struct fixture *fixture, uint64_t from_due, unsigned max_rows,
                           size_t max_bytes)
{
    struct load *load = load_new(fixture, LOAD_WINDOW);
    load->lower_len = (uint8_t)row_key(load->lower, SHARD, QUEUE, from_due, 0).len;
    load->upper_len = (uint8_t)row_key(load->upper, SHARD, QUEUE + 1, 0, 0).len;
    load->max_rows = max_rows;
    load->max_bytes = max_bytes;
    loader_run(fixture->store, load);
    assert_int_equal(load->op.result, 0);
    return load;
}

static uint64_t due_of(const struct loaded *row)
{
    uint8_t shard;
    uint32_t queue;
    uint64_t due, id;
    char expected[32];
    assert_true(row_key_read(row->key, &shard, &queue, &due, &id));
    assert_int_equal(queue, QUEUE);
    snprintf(expected, sizeof expected, "row %llu", (unsigned long long)due);
    assert_true(span_equals(row->value, span_string(expected)));
    return due;
}

static void a_window_has_the_earliest_rows_of_one_queue(void **state)
{
    struct fixture *f = *state;
    static const struct {
        uint64_t from;
        unsigned max_rows;
        size_t max_bytes;
        unsigned count;
        bool at_end;
    } cases[] = {
        {0, 3, 0, 3, false},   {0, 20, 0, 20, true}, {0, 100, 0, 20, true}, {15, 100, 0, 5, true},
        {15, 5, 0, 5, true},   {15, 4, 0, 4, false}, {20, 100, 0, 0, true}, {0, 100, 60, 2, false},
        {0, 100, 1, 1, false}, {0, 0, 0, 0, false},
    };
    put_row(f, QUEUE - 1, 7);
    put_row(f, QUEUE + 1, 1);
    for (unsigned due = 20; due-- > 0;)
        put_row(f, QUEUE, due);
    commit(f);
    for (size_t i = 0; i < countof(cases); i++) {
        struct load *load = window(f, cases[i].from, cases[i].max_rows, cases[i].max_bytes);
        assert_int_equal(load->row_count, cases[i].count);
        assert_int_equal(load->at_end, cases[i].at_end);
        for (unsigned row = 0; row < load->row_count; row++)
            assert_int_equal(due_of(&load->rows[row]), cases[i].from + row);
        load_free(load);
    }
}

static void a_large_window_stays_whole(void **state)
{
    struct fixture *f = *state;
    for (unsigned due = 0; due < 20000; due++)
        put_row(f, QUEUE, due);
    commit(f);
    struct load *load = window(f, 0, 15000, 0);
    assert_int_equal(load->row_count, 15000);
    for (unsigned row = 0; row < load->row_count; row++)
        assert_int_equal(due_of(&load->rows[row]), row);
    load_free(load);
}

/* ---- bodies ---- */

static char pattern(uint64_t id, size_t at)
{
    return (char)(id * 17 + at * 31 + at / 251);
}

static void put_part(struct fixture *fixture, uint64_t id, uint32_t number, size_t from, size_t len)
{
    char key[32];
    char *bytes = malloc(len ? len : 1);
    for (size_t i = 0; i < len; i++)
        bytes[i] = pattern(id, from + i);
    struct span part = span_of(bytes, len);
    store_batch_put(fixture->batch, FAMILY_BODY, body_key(key, id, number), &part, 1);
    free(bytes);
}

static void assert_body(const struct load *load, unsigned index)
{
    assert_int_equal(load->found[index], 1);
    assert_int_equal(load->bodies[index].len, load->sizes[index]);
    assert_ptr_equal(load->bodies[index].data, load->body_memory[index]);
    for (size_t i = 0; i < load->bodies[index].len; i++)
        if (load->bodies[index].data[i] != pattern(load->ids[index], i))
            fail_msg("body %u differs at %zu", index, i);
}

static struct load *bodies(struct fixture *fixture, const uint64_t *ids, const uint64_t *sizes,
                           unsigned count, size_t max_bytes)
{
    struct load *load = load_new(fixture, LOAD_BODIES);
    load->id_count = count;
    load->max_bytes = max_bytes;
    memcpy(load->ids, ids, count * sizeof *ids);
    memcpy(load->sizes, sizes, count * sizeof *sizes);
    loader_run(fixture->store, load);
    assert_int_equal(load->op.result, 0);
    return load;
}

static void bodies_are_joined_from_their_parts(void **state)
{
    struct fixture *f = *state;
    put_part(f, 10, 0, 0, 1000);
    put_part(f, 11, 0, 0, 300); /* the headers that we add */
    put_part(f, 11, 1, 300, BODY_PART);
    put_part(f, 11, 2, 300 + BODY_PART, BODY_PART);
    put_part(f, 12, 0, 0, BODY_PART);
    put_part(f, 13, 0, 0, 0);
    commit(f);
    const uint64_t ids[] = {12, 10, 11, 99, 13};
    const uint64_t sizes[] = {BODY_PART, 1000, 300 + 2 * BODY_PART, 5, 0};
    struct load *load = bodies(f, ids, sizes, 5, 1 << 24);
    assert_body(load, 0);
    assert_body(load, 1);
    assert_body(load, 2);
    assert_int_equal(load->found[3], 0);
    assert_body(load, 4);
    load_free(load);
}

static void a_body_of_the_wrong_size_is_an_error(void **state)
{
    struct fixture *f = *state;
    put_part(f, 10, 0, 0, 1000);
    put_part(f, 11, 0, 0, 300);
    put_part(f, 11, 2, 300, 300);
    put_part(f, 12, 0, 0, 10);
    commit(f);
    const uint64_t ids[] = {10, 10, 11, 11, 12};
    const uint64_t sizes[] = {999, 1001, 700, 500, 10};
    struct load *load = bodies(f, ids, sizes, 5, 1 << 24);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(load->found[i], -EIO);
        assert_null(load->body_memory[i]);
    }
    assert_body(load, 4);
    load_free(load);
}

static void the_bytes_of_a_load_are_bounded_but_the_first_comes_whole(void **state)
{
    struct fixture *f = *state;
    for (uint64_t id = 0; id < 5; id++)
        put_part(f, id, 0, 0, 1000);
    commit(f);
    const uint64_t ids[] = {0, 1, 2, 3, 4}, sizes[] = {1000, 1000, 1000, 1000, 1000};
    static const struct {
        size_t max_bytes;
        unsigned count;
    } cases[] = {{0, 1}, {500, 1}, {1999, 1}, {2000, 2}, {4999, 4}, {5000, 5}};
    for (size_t i = 0; i < countof(cases); i++) {
        struct load *load = bodies(f, ids, sizes, 5, cases[i].max_bytes);
        for (unsigned body = 0; body < 5; body++)
            assert_int_equal(load->found[body], body < cases[i].count ? 1 : -EAGAIN);
        load_free(load);
    }
}

static void the_worker_may_take_a_body(void **state)
{
    struct fixture *f = *state;
    const uint64_t id = 10, size = 1000;
    put_part(f, 10, 0, 0, 1000);
    commit(f);
    struct load *load = bodies(f, &id, &size, 1, 0);
    char *taken = load->body_memory[0];
    load->body_memory[0] = NULL;
    load_free(load);
    assert_int_equal(taken[999], pattern(10, 999));
    free(taken);
}

static void references_are_counted(void **state)
{
    struct fixture *f = *state;
    char key[32];
    for (uint32_t queue = 0; queue < 7; queue++)
        store_batch_put(f->batch, FAMILY_REF, ref_key(key, 20, queue), NULL, 0);
    store_batch_put(f->batch, FAMILY_REF, ref_key(key, 21, 0), NULL, 0);
    commit(f);
    for (uint64_t id = 19; id < 23; id++) {
        struct load *load = load_new(f, LOAD_REFS);
        load->ids[0] = id;
        loader_run(f->store, load);
        assert_int_equal(load->op.result, 0);
        assert_int_equal(load->ref_count, id == 20 ? 7 : id == 21);
        load_free(load);
    }
}

/* ---- threads ---- */

static void count_done(struct op *op)
{
}

static void threads_run_all_that_was_submitted(void **state)
{
    struct fixture *f = *state;
    enum { LOADS = 200 };
    struct loader_threads *threads;
    struct list ready;
    unsigned done = 0;
    put_part(f, 10, 0, 0, 1000);
    commit(f);
    assert_int_equal(loader_start(f->store, 3, &threads), 0);
    struct load *loads = calloc(LOADS, sizeof *loads);
    for (unsigned i = 0; i < LOADS; i++) {
        load_init(&loads[i], &f->home, LOAD_BODIES, count_done);
        loads[i].id_count = 1;
        loads[i].ids[0] = 10;
        loads[i].sizes[0] = 1000;
        load_submit(threads, &loads[i]);
    }
    loader_stop(threads);
    list_init(&ready);
    inbox_take(&f->home.inbox, &ready);
    struct list_link *link;
    while ((link = list_take_first(&ready))) {
        struct load *load = container_of(container_of(link, struct op, link), struct load, op);
        assert_body(load, 0);
        load_release(load);
        done++;
    }
    assert_int_equal(done, LOADS);
    free(loads);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_window_has_the_earliest_rows_of_one_queue),
        TEST(a_large_window_stays_whole),
        TEST(bodies_are_joined_from_their_parts),
        TEST(a_body_of_the_wrong_size_is_an_error),
        TEST(the_bytes_of_a_load_are_bounded_but_the_first_comes_whole),
        TEST(the_worker_may_take_a_body),
        TEST(references_are_counted),
        TEST(threads_run_all_that_was_submitted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
