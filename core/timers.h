/* timers: a hierarchical timer wheel; arming and disarming are a list operation.
 *
 * One wheel per loop holds every deadline of every connection (a kernel timeout per connection
 * costs 310 us to update at 20,000 armed; this costs nanoseconds). Resolution is 1 ms: a timer
 * never fires early and fires at most one tick late, plus the length of a turn. Times are
 * monotonic nanoseconds (clock.h). A timer fires by becoming ready in the loop: its `op.done` runs
 * from dispatch with result 0.
 *
 * Varghese and Lauck, "Hashed and Hierarchical Timing Wheels", scheme 7: 7 levels of 64 slots,
 * 139 years. */
#pragma once

#include "core/op.h"

#include <stdint.h>

enum { TIMER_LEVELS = 7, TIMER_SLOTS = 64 };

struct timer {
    struct op op; /* BUSY while armed */
    uint64_t due_ns;
};

struct timers {
    struct list slots[TIMER_LEVELS][TIMER_SLOTS];
    uint64_t occupied[TIMER_LEVELS]; /* a bit per slot that holds something */
    uint64_t tick;                   /* milliseconds: everything before it has fired */
    size_t armed;
};

void timers_init(struct timers *timers, uint64_t now_ns);

static inline bool timer_armed(const struct timer *timer)
{
    return timer->op.state != OP_IDLE;
}

static inline void timer_init(struct timer *timer, op_done *done)
{
    op_init(&timer->op, done);
}

/* (Re-)arms: fires at or after `due_ns`; a time in the past fires in the next turn. Re-arming a
 * timer that has fired but was not dispatched yet takes that firing back. */
void timer_arm(struct timers *timers, struct timer *timer, uint64_t due_ns);

/* Idempotent. After it `done` will not be called for the old arming. */
void timer_disarm(struct timers *timers, struct timer *timer);

/* Moves all that is due at `now_ns` to `ready` (state READY). */
void timers_advance(struct timers *timers, uint64_t now_ns, struct list *ready);

/* A time at or before the first due timer (exact for the next 64 ms, a lower bound beyond), or
 * UINT64_MAX if none is armed. */
uint64_t timers_next_ns(const struct timers *timers);
