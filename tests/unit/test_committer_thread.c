/* The thread around the committer under load: several workers, bursts, sleeps, stops and errors.
 * Run under ThreadSanitizer too. The store and the loop's posting are replaced at link time: what
 * is tried here is the hand-over. */
#include "core/clock.h"
#include "queue/committer_thread.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
/* cmocka wants the four above first */
#include <cmocka.h>

/* ---- the store ---- */

struct store {
    atomic_uint commits, puts;
    atomic_int result; /* of the next commits */
    unsigned sync_us;
};

struct store_batch {
    struct store *store;
    unsigned puts;
};

struct store_batch *store_batch_new(struct store *store)
{
    struct store_batch *batch = calloc(1, sizeof *batch);
    batch->store = store;
    return batch;
}

struct store_batch *store_batch_free(struct store_batch *batch)
{
    free(batch);
    return NULL;
}

void store_batch_clear(struct store_batch *batch)
{
    batch->puts = 0;
}

void store_batch_put(struct store_batch *batch, enum store_family family, struct span key,
                     const struct span *parts, unsigned part_count)
{
    batch->puts++;
}

void store_batch_delete(struct store_batch *batch, enum store_family family, struct span key)
{
}

size_t store_batch_bytes(const struct store_batch *batch)
{
    return 0;
}

int store_commit(struct store *store, struct store_batch *batch, bool sync)
{
    int result = atomic_load(&store->result);
    if (result < 0)
        return result;
    if (sync && store->sync_us)
        usleep(store->sync_us);
    atomic_fetch_add(&store->commits, 1);
    atomic_fetch_add(&store->puts, batch->puts);
    return 0;
}

int store_revive(struct store *store)
{
    return atomic_load(&store->result);
}

/* ---- the workers' loops: an inbox that is looked at, and a count of wakes ---- */

static atomic_uint wakes; /* of all loops in this program */

void loop_post_chain(struct loop *loop, struct loop *from, struct op *first, struct op *last)
{
    if (inbox_push(&loop->inbox, first, last))
        atomic_fetch_add(&wakes, 1);
}

void loop_post(struct loop *loop, struct loop *from, struct op *op)
{
    loop_post_chain(loop, from, op, op);
}

enum { WORKERS = 3, IN_FLIGHT = 64, ROUNDS = 6000 };

struct worker {
    struct loop loop;
    struct committer_thread *thread;
    struct chunk_pool pool;
    struct arena arena;
    struct commit commits[IN_FLIGHT];
    unsigned submitted, finished, failed;
    uint64_t sequence; /* last seen */
    uint32_t seed;
    bool order_broken;
};

static void on_done(struct op *op)
{
    struct commit *commit = container_of(op, struct commit, op);
    struct worker *worker = container_of(commit->home, struct worker, loop);
    if (commit != &worker->commits[worker->finished % IN_FLIGHT])
        worker->order_broken = true;
    if (op->result == 0 && commit->sequence <= worker->sequence)
        worker->order_broken = true;
    worker->sequence = commit->sequence;
    worker->failed += op->result < 0;
    worker->finished++;
}

static void collect(struct worker *worker)
{
    struct list ready;
    struct list_link *link;
    list_init(&ready);
    inbox_take(&worker->loop.inbox, &ready);
    while ((link = list_take_first(&ready))) {
        struct op *op = container_of(link, struct op, link);
        op->state = OP_IDLE;
        op->done(op);
    }
}

static void submit(struct worker *worker, enum commit_urgency urgency)
{
    struct commit *commit = &worker->commits[worker->submitted++ % IN_FLIGHT];
    struct span part = SPAN("value");
    commit_init(commit, &worker->loop, urgency, on_done);
    worker->loop.now_ns = clock_mono_ns();
    check(commit_put(commit, &worker->arena, FAMILY_FRESH, SPAN(""), &part, 1));
    commit_submit(worker->thread, commit);
}

static void worker_init(struct worker *worker, struct committer_thread *thread, uint32_t seed)
{
    *worker = (struct worker){.thread = thread, .seed = seed};
    inbox_init(&worker->loop.inbox);
    chunk_pool_init(&worker->pool, 1 << 26, 0);
    arena_init(&worker->arena, &worker->pool, 1 << 26);
}

static void worker_fini(struct worker *worker)
{
    arena_fini(&worker->arena);
    chunk_pool_fini(&worker->pool);
}

/* Submits in bursts with pauses between them, so that the committer falls asleep now and then. */
static void *work(void *context)
{
    struct worker *worker = context;
    while (worker->finished < ROUNDS) {
        unsigned burst = worker->seed >> 28;
        while (burst-- && worker->submitted < ROUNDS &&
               worker->submitted - worker->finished < IN_FLIGHT)
            submit(worker, worker->submitted % 3 ? COMMIT_SYNC : COMMIT_WRITTEN);
        if ((worker->seed >> 24 & 15) == 0)
            usleep(300);
        worker->seed = worker->seed * 1664525 + 1013904223;
        collect(worker);
    }
    return NULL;
}

static void every_commit_comes_back_in_order(void **state)
{
    struct store store = {.sync_us = 50};
    struct committer committer;
    struct committer_thread *thread;
    static struct worker workers[WORKERS];
    pthread_t threads[WORKERS];
    assert_int_equal(committer_init(&committer, &store, 1), 0);
    assert_int_equal(committer_start(&committer, &thread), 0);
    for (unsigned i = 0; i < WORKERS; i++) {
        worker_init(&workers[i], thread, i + 1);
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    }
    for (unsigned i = 0; i < WORKERS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(committer_stop(thread), 0);
    for (unsigned i = 0; i < WORKERS; i++) {
        assert_int_equal(workers[i].finished, ROUNDS);
        assert_int_equal(workers[i].failed, 0);
        assert_false(workers[i].order_broken);
        worker_fini(&workers[i]);
    }
    assert_int_equal(atomic_load(&store.puts), WORKERS * ROUNDS);
    assert_int_equal(committer.commits, WORKERS * ROUNDS);
    assert_true(committer.groups < WORKERS * ROUNDS / 2); /* they are grouped */
    committer_fini(&committer);
}

/* ---- one worker, step by step ---- */

struct single {
    struct store store;
    struct committer committer;
    struct committer_thread *thread;
    struct worker worker;
};

static int begin(void **state)
{
    struct single *single = calloc(1, sizeof *single);
    *state = single;
    if (committer_init(&single->committer, &single->store, 1) < 0 ||
        committer_start(&single->committer, &single->thread) < 0)
        return -1;
    worker_init(&single->worker, single->thread, 1);
    return 0;
}

static int end(void **state)
{
    struct single *single = *state;
    if (single->thread)
        committer_stop(single->thread);
    worker_fini(&single->worker);
    committer_fini(&single->committer);
    free(single);
    return 0;
}

static void wait_for(struct worker *worker, unsigned finished)
{
    while (worker->finished < finished) {
        usleep(100);
        collect(worker);
    }
}

static void a_stop_finishes_what_was_submitted(void **state)
{
    struct single *s = *state;
    for (unsigned i = 0; i < IN_FLIGHT; i++)
        submit(&s->worker, i % 2 ? COMMIT_SYNC : COMMIT_WRITTEN);
    assert_int_equal(committer_stop(s->thread), 0);
    s->thread = NULL;
    collect(&s->worker);
    assert_int_equal(s->worker.finished, IN_FLIGHT);
    assert_int_equal(s->worker.failed, 0);
    assert_int_equal(s->committer.unsynced_since_ns, 0);
}

static void a_burst_posts_one_chain(void **state)
{
    struct single *s = *state;
    s->store.sync_us = 20000; /* the burst arrives while this one is being synced */
    submit(&s->worker, COMMIT_SYNC);
    usleep(5000);
    for (unsigned i = 0; i < 40; i++)
        submit(&s->worker, COMMIT_SYNC);
    wait_for(&s->worker, 1);
    atomic_store(&wakes, 0);
    assert_true(inbox_sleep(&s->worker.loop.inbox) || s->worker.finished);
    wait_for(&s->worker, 41);
    assert_true(atomic_load(&wakes) <= 1);
    assert_true(s->committer.groups <= 3);
}

static void an_error_reaches_everybody_and_stays(void **state)
{
    struct single *s = *state;
    submit(&s->worker, COMMIT_SYNC);
    wait_for(&s->worker, 1);
    assert_int_equal(committer_state(s->thread), 0);
    atomic_store(&s->store.result, -EIO);
    submit(&s->worker, COMMIT_SYNC);
    wait_for(&s->worker, 2);
    assert_int_equal(committer_state(s->thread), -EIO);
    atomic_store(&s->store.result, 0);
    submit(&s->worker, COMMIT_SYNC);
    wait_for(&s->worker, 3);
    assert_int_equal(s->worker.failed, 2);
    assert_int_equal(committer_stop(s->thread), -EIO);
    s->thread = NULL;
}

static void a_full_disk_shows_and_refuses(void **state)
{
    struct single *s = *state;
    atomic_store(&s->store.result, -ENOSPC);
    submit(&s->worker, COMMIT_SYNC);
    wait_for(&s->worker, 1);
    assert_int_equal(committer_state(s->thread), -ENOSPC);
    submit(&s->worker, COMMIT_SYNC);
    wait_for(&s->worker, 2);
    assert_int_equal(s->worker.failed, 2);
    assert_int_equal(atomic_load(&s->store.commits), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_commit_comes_back_in_order),
        cmocka_unit_test_setup_teardown(a_stop_finishes_what_was_submitted, begin, end),
        cmocka_unit_test_setup_teardown(a_burst_posts_one_chain, begin, end),
        cmocka_unit_test_setup_teardown(an_error_reaches_everybody_and_stays, begin, end),
        cmocka_unit_test_setup_teardown(a_full_disk_shows_and_refuses, begin, end),
    };
    alarm(120); /* a lost wake-up would wait for ever */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
