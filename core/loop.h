/* loop: one thread's turn of events: ring, wheel, inbox and ready list.
 *
 * A turn: read the clock; take the inbox; fire due timers; dispatch what is ready, at most a budget
 * of ops, so that the ring is looked at regularly; submit and collect I/O, waiting only if nothing
 * is ready. `done` functions run here and nowhere else.
 *
 * Multishot ops (io_accept, io_receive) deliver each result by its own dispatch: io_turn may
 * collect several results of one op; they are dispatched in order, each with result, buffer and
 * `more` set for that one.
 *
 * There are no globals: N loops run in N threads, or in one thread under the simulator, which calls
 * loop_turn itself. */
#pragma once

#include "core/inbox.h"
#include "core/io.h"
#include "core/random.h"
#include "core/timers.h"

struct loop {
    struct io *io;
    struct timers timers;
    struct inbox inbox;
    struct list ready;
    struct random random;
    uint64_t now_ns;  /* monotonic, read once per turn */
    uint64_t wall_ms; /* Unix time, read once per turn */
    unsigned index;   /* which worker, for names and shard maps */
    atomic_bool stop;
    uint64_t turns;
};

enum { LOOP_BUDGET = 512 }; /* ops dispatched per turn before the ring is looked at again */

MUST_USE int loop_init(struct loop *loop, const struct io_options *options, unsigned index);
void loop_fini(struct loop *loop);

/* One turn; waits at most `max_wait_ns` if nothing is ready. 0 or negative errno of the ring. */
MUST_USE int loop_turn(struct loop *loop, uint64_t max_wait_ns);

/* Turns until loop_stop. */
MUST_USE int loop_run(struct loop *loop);
void loop_stop(struct loop *loop); /* from any thread */

/* This thread: `op` becomes ready with `result`. It must not be ready already. */
void loop_ready(struct loop *loop, struct op *op, int32_t result);

/* An op that only says "look at yourself": becomes ready unless it already is. */
void loop_nudge(struct loop *loop, struct op *op);

/* This thread takes back a readiness that was not dispatched yet (a timer re-armed, an owner that
 * goes away). The op is idle afterwards. Only for ops whose mechanism is done with them. */
void loop_unready(struct loop *loop, struct op *op);

/* Any thread: hands `op` to `loop`, whose dispatch calls done. `from` is the sender's loop, or NULL
 * for threads without one. Chains arrive in order with one wake. */
void loop_post(struct loop *loop, struct loop *from, struct op *op);
void loop_post_chain(struct loop *loop, struct loop *from, struct op *first, struct op *last);

static inline void loop_arm(struct loop *loop, struct timer *timer, uint64_t delay_ns)
{
    timer_arm(&loop->timers, timer, loop->now_ns + delay_ns);
}

static inline void loop_disarm(struct loop *loop, struct timer *timer)
{
    timer_disarm(&loop->timers, timer);
}
