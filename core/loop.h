/* loop: one thread's turn of events: ring, wheel, inbox and ready list.
 *
 * A turn: read the clock; take the inbox; fire due timers; dispatch the ring's results, then what
 * is ready, at most a budget of each, so that neither starves the other; submit, waiting only if
 * nothing is left to do. `done` functions run here and nowhere else. The ring first: what one turn
 * brought for an object is recorded by then, and its one advance sees all of it.
 *
 * Multishot ops (io_accept, io_receive) deliver each result by its own dispatch, in order, each
 * with result, buffer and `more` set for that one.
 *
 * There are no globals: N loops run in N threads, or in one thread under the simulator, which calls
 * loop_turn itself. */
#pragma once

#include "core/inbox.h"
#include "core/io.h"
#include "core/pool.h"
#include "core/random.h"
#include "core/timers.h"

/* A receive buffer while it is lent to a conn. */
struct loop_lent {
    uint32_t len;
    uint16_t next;
};

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
    struct loop_lent *lent; /* conn.c: one per receive buffer */
    struct pool sends;      /* conn.c: sends in flight */
    struct pool blocks;     /* conn_tls.c: records on their way */
    uint64_t shakes_turn;   /* conn_tls.c: the turn in which `shakes` handshakes went on */
    unsigned shakes;
};

enum { LOOP_BUDGET = 512 }; /* results of the ring, and ready ops, dispatched per turn */

/* Failing: io_explain. What is still in flight at loop_fini is abandoned, never dispatched. */
MUST_USE int loop_init(struct loop *loop, const struct io_options *options, unsigned index);
void loop_fini(struct loop *loop);

/* One turn; waits at most `max_wait_ns` if nothing is ready. 0, or a negative errno: the ring is
 * broken for good. */
MUST_USE int loop_turn(struct loop *loop, uint64_t max_wait_ns);

/* Turns until loop_stop. */
MUST_USE int loop_run(struct loop *loop);
void loop_stop(struct loop *loop); /* from any thread */

/* This thread: `op` becomes ready with `result`. It must not be ready already. */
void loop_ready(struct loop *loop, struct op *op, int32_t result);

/* An idle op that only says "look at yourself": becomes ready (result 0) unless it already is. */
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
