/* The loop alone, between threads, and with a ring that brings more than a turn's budget. The
 * threaded tests are worth most under ThreadSanitizer (-DRINGPOST_SANITIZE=thread). */
#include "tests/unit/loopback.h"

#include <poll.h>
#include <pthread.h>

static void loop_start(struct loop *loop, void **state, unsigned index)
{
    struct io_options options = {
        .entries = 64, .buffers = 16, .buffer_size = 512, .optional_features = *(bool *)*state};
    assert_int_equal(loop_init(loop, &options, index), 0);
}

struct counted {
    struct op op;
    struct loop *loop;
    unsigned count;
    bool again;
    int32_t last;
};

static void on_counted(struct op *op)
{
    struct counted *counted = container_of(op, struct counted, op);
    assert_true(op_idle(op));
    counted->count++;
    counted->last = op->result;
    if (counted->again)
        loop_nudge(counted->loop, op);
}

static void counted_init(struct counted *counted, struct loop *loop)
{
    *counted = (struct counted){.loop = loop};
    op_init(&counted->op, on_counted);
}

/* ---- one thread ---- */

static void test_ready(void **state)
{
    struct loop loop;
    struct counted counted;
    loop_start(&loop, state, 3);
    counted_init(&counted, &loop);
    assert_int_equal(loop.index, 3);
    loop_ready(&loop, &counted.op, -ENOENT);
    assert_int_equal(counted.count, 0); /* never called back at once */
    assert_int_equal(loop_turn(&loop, 0), 0);
    assert_int_equal(counted.count, 1);
    assert_int_equal(counted.last, -ENOENT);
    loop_nudge(&loop, &counted.op);
    loop_nudge(&loop, &counted.op);
    assert_int_equal(loop_turn(&loop, 0), 0);
    assert_int_equal(counted.count, 2);
    assert_int_equal(counted.last, 0);
    loop_nudge(&loop, &counted.op);
    loop_unready(&loop, &counted.op);
    assert_true(op_idle(&counted.op));
    assert_int_equal(loop_turn(&loop, 0), 0);
    assert_int_equal(counted.count, 2);
    loop_fini(&loop);
}

struct timed {
    struct timer timer;
    struct loop *stops;
    unsigned fired;
};

static void on_timed(struct op *op)
{
    struct timed *timed = container_of(op, struct timed, timer.op);
    timed->fired++;
    if (timed->stops)
        loop_stop(timed->stops);
}

static void test_timer(void **state)
{
    struct loop loop;
    struct timed timed = {0};
    loop_start(&loop, state, 0);
    timer_init(&timed.timer, on_timed);
    loop_arm(&loop, &timed.timer, 5 * NS_PER_MS);
    uint64_t due = timed.timer.due_ns;
    timed.stops = &loop;
    assert_int_equal(loop_run(&loop), 0); /* it waits for the timer, and not for ever */
    assert_int_equal(timed.fired, 1);
    assert_true(loop.now_ns >= due);
    assert_in_range(loop.turns, 2, 10);
    loop_arm(&loop, &timed.timer, 5 * NS_PER_MS);
    loop_disarm(&loop, &timed.timer);
    skipped_ns += NS_PER_S;
    turn_times(&loop, 2);
    assert_int_equal(timed.fired, 1);
    loop_fini(&loop);
}

/* An op that is always ready again keeps neither the ring nor the timers from being served. */
static void test_budget(void **state)
{
    struct loop loop;
    struct counted busy, readable;
    struct timed timed = {0};
    int ours, peer;
    loop_start(&loop, state, 0);
    counted_init(&busy, &loop);
    counted_init(&readable, &loop);
    timer_init(&timed.timer, on_timed);
    tcp_pair(&ours, &peer);
    busy.again = true;
    loop_nudge(&loop, &busy.op);
    assert_int_equal(loop_turn(&loop, 600 * NS_PER_S), 0);
    assert_int_equal(busy.count, LOOP_BUDGET);
    loop_arm(&loop, &timed.timer, NS_PER_MS);
    io_poll(loop.io, &readable.op, ours, POLLIN);
    assert_int_equal(send(peer, "x", 1, 0), 1);
    turn_until(&loop, readable.count && timed.fired);
    busy.again = false;
    turn_until(&loop, op_idle(&busy.op));
    io_close_now(loop.io, ours);
    close(peer);
    loop_fini(&loop);
}

/* More results than a turn may dispatch: the next turn does not wait for something new. */
static void test_budget_of_the_ring(void **state)
{
    enum { MANY = LOOP_BUDGET + 100 };
    struct loop loop;
    static struct counted polls[MANY];
    int ours, peer;
    loop_start(&loop, state, 0);
    tcp_pair(&ours, &peer);
    for (int i = 0; i < MANY; i++) {
        counted_init(&polls[i], &loop);
        io_poll(loop.io, &polls[i].op, ours, POLLOUT);
    }
    unsigned done = 0, turns = 0;
    do {
        bool last = done + LOOP_BUDGET >= MANY;
        assert_int_equal(loop_turn(&loop, last ? 0 : 600 * NS_PER_S), 0);
        done = 0;
        for (int i = 0; i < MANY; i++)
            done += polls[i].count;
        assert_true(done <= ++turns * LOOP_BUDGET);
    } while (done < MANY);
    io_close_now(loop.io, ours);
    close(peer);
    loop_fini(&loop);
}

/* Everything of a loop that was left in the middle of things goes. */
static void test_fini_in_flight(void **state)
{
    struct loop loop;
    struct conn conn = {0};
    int ours, peer;
    loop_start(&loop, state, 0);
    tcp_pair(&ours, &peer);
    conn_open(&conn, &loop, ours, NULL, loop.now_ns + 60 * NS_PER_S);
    static char data[4 << 20];
    struct iovec iov = {.iov_base = data, .iov_len = sizeof data};
    assert_true(conn_send(&conn, &iov, 1));
    turn_times(&loop, 3);
    assert_true(conn_sending(&conn));
    loop_fini(&loop);
    close(ours);
    close(peer);
}

/* ---- threads ---- */

static void *run(void *loop)
{
    return (void *)(intptr_t)loop_run(loop);
}

static pthread_t run_thread(struct loop *loop)
{
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, run, loop), 0);
    return thread;
}

static void stop_and_join(struct loop *loop, pthread_t thread)
{
    void *result;
    loop_stop(loop);
    pthread_join(thread, &result);
    assert_null(result);
}

static void test_stop(void **state)
{
    for (int i = 0; i < 20; i++) { /* before, during and after it falls asleep */
        struct loop loop;
        loop_start(&loop, state, 0);
        pthread_t thread = run_thread(&loop);
        for (int pause = 0; pause < i * 20; pause++)
            sched_yield();
        stop_and_join(&loop, thread);
        loop_fini(&loop);
    }
}

static void test_stop_before_run(void **state)
{
    struct loop loop;
    loop_start(&loop, state, 0);
    loop_stop(&loop);
    assert_int_equal(loop_run(&loop), 0);
    loop_fini(&loop);
}

static void test_idle_does_not_spin(void **state)
{
    struct loop loop;
    loop_start(&loop, state, 0);
    pthread_t thread = run_thread(&loop);
    usleep(50000);
    stop_and_join(&loop, thread);
    assert_in_range(loop.turns, 1, 5);
    loop_fini(&loop);
}

/* A message that goes to and fro between two loops, each in its thread. */
struct ball {
    struct op op;
    struct loop *loops[2];
    unsigned side, rounds, left;
    atomic_bool over;
};

static void on_ball(struct op *op)
{
    struct ball *ball = container_of(op, struct ball, op);
    if (ball->left-- == 0) {
        atomic_store(&ball->over, true);
        return;
    }
    struct loop *from = ball->loops[ball->side];
    ball->side = !ball->side;
    loop_post(ball->loops[ball->side], from, op);
}

enum { BALLS = 20, ROUNDS = 2000 };

static void wait_over(const struct ball *ball)
{
    while (!atomic_load(&ball->over))
        usleep(1000);
}

static void test_between_loops(void **state)
{
    static struct ball balls[BALLS];
    struct loop loops[2];
    pthread_t threads[2];
    for (unsigned i = 0; i < 2; i++) {
        loop_start(&loops[i], state, i);
        threads[i] = run_thread(&loops[i]);
    }
    for (unsigned i = 0; i < BALLS; i++) {
        balls[i] = (struct ball){.loops = {&loops[0], &loops[1]}, .left = ROUNDS, .side = i % 2};
        op_init(&balls[i].op, on_ball);
        loop_post(&loops[i % 2], NULL, &balls[i].op); /* served by a thread without a ring */
    }
    for (unsigned i = 0; i < BALLS; i++)
        wait_over(&balls[i]);
    for (unsigned i = 0; i < 2; i++)
        stop_and_join(&loops[i], threads[i]);
    for (unsigned i = 0; i < 2; i++)
        loop_fini(&loops[i]);
}

/* A thread without a loop sends chains, as a committer does; each must arrive, in order. */
struct receiver {
    struct loop loop;
    unsigned expected;
    atomic_uint received;
};

struct letter {
    struct op op;
    struct receiver *receiver;
    unsigned number;
};

static void on_letter(struct op *op)
{
    struct letter *letter = container_of(op, struct letter, op);
    struct receiver *receiver = letter->receiver;
    assert_int_equal(letter->number, receiver->expected);
    receiver->expected++;
    atomic_fetch_add(&receiver->received, 1);
}

enum { LETTERS = 6000, CHAIN = 3 };

static void test_chains_from_a_thread_without_a_loop(void **state)
{
    static struct letter letters[LETTERS];
    struct receiver receiver = {0};
    loop_start(&receiver.loop, state, 0);
    pthread_t thread = run_thread(&receiver.loop);
    for (unsigned i = 0; i < LETTERS; i++) {
        letters[i] = (struct letter){.receiver = &receiver, .number = i};
        op_init(&letters[i].op, on_letter);
    }
    for (unsigned i = 0; i < LETTERS; i += CHAIN) {
        for (unsigned k = 1; k < CHAIN; k++)
            letters[i + k - 1].op.inbox_next = &letters[i + k].op;
        loop_post_chain(&receiver.loop, NULL, &letters[i].op, &letters[i + CHAIN - 1].op);
        while (i % 100 == 0 && atomic_load(&receiver.received) < i + CHAIN)
            sched_yield(); /* let it fall asleep */
    }
    while (atomic_load(&receiver.received) < LETTERS)
        usleep(1000);
    stop_and_join(&receiver.loop, thread);
    loop_fini(&receiver.loop);
}

#define TESTS(features)                                                                            \
    cmocka_unit_test_prestate(test_ready, features),                                               \
        cmocka_unit_test_prestate(test_timer, features),                                           \
        cmocka_unit_test_prestate(test_budget, features),                                          \
        cmocka_unit_test_prestate(test_budget_of_the_ring, features),                              \
        cmocka_unit_test_prestate(test_fini_in_flight, features),                                  \
        cmocka_unit_test_prestate(test_stop, features),                                            \
        cmocka_unit_test_prestate(test_stop_before_run, features),                                 \
        cmocka_unit_test_prestate(test_idle_does_not_spin, features),                              \
        cmocka_unit_test_prestate(test_between_loops, features),                                   \
        cmocka_unit_test_prestate(test_chains_from_a_thread_without_a_loop, features)

static bool with_optional = true, without_optional = false;

int main(void)
{
    const struct CMUnitTest all[] = {TESTS(&with_optional)};
    const struct CMUnitTest floor_only[] = {TESTS(&without_optional)};
    int failed = cmocka_run_group_tests_name("loop, all features", all, NULL, NULL);
    return failed + cmocka_run_group_tests_name("loop, kernel 6.1", floor_only, NULL, NULL);
}
