/* clock_guard: whether the wall clock can be believed enough to expire mail by it. Pure.
 *
 * Expiry is the one thing that a wrong clock makes final: a clock that jumps a week ahead would
 * bounce the whole queue. So expiry stands still, and an alarm is raised, if wall and monotonic
 * clock part by more than an hour during a run, or if start-up finds the clock before the last time
 * that was recorded, or more than a week after it (a real pause of a week has to be confirmed, too:
 * nobody can tell it from a jump). It stands still until the operator confirms the clock. */
#pragma once

#include "core/span.h"

enum clock_fault {
    CLOCK_FINE,
    CLOCK_BEFORE_LAST, /* at start-up: earlier than the last recorded time */
    CLOCK_LONG_AFTER,  /* at start-up: more than a week later than it */
    CLOCK_STEPPED,     /* during a run: wall and monotonic time have parted */
};

#define CLOCK_GUARD_STEP_MS  (UINT64_C(3600) * 1000)
#define CLOCK_GUARD_PAUSE_MS (UINT64_C(7) * 24 * 3600 * 1000)
/* Recorded times are a minute old at most and clocks are slewed a little: no fault below this. */
#define CLOCK_GUARD_SLACK_MS UINT64_C(2000)

struct clock_guard {
    uint64_t wall_ms, mono_ms; /* where both clocks stood when they were last believed */
    enum clock_fault fault;
};

/* At start-up; `recorded_ms` is the last recorded wall time, 0 for none. */
void clock_guard_init(struct clock_guard *guard, uint64_t recorded_ms, uint64_t wall_ms,
                      uint64_t mono_ms);

/* Now and then. A fault stays until it is confirmed, even if the clock is set back right. */
void clock_guard_look(struct clock_guard *guard, uint64_t wall_ms, uint64_t mono_ms);

/* The operator says that the wall clock is right as it is now. */
void clock_guard_confirm(struct clock_guard *guard, uint64_t wall_ms, uint64_t mono_ms);

/* Where the wall clock stands against the monotonic one while it is believed (it may wrap), and
 * whether a pair of times agrees with that. For workers: they may see a step before the guard's
 * next look. */
static inline uint64_t clock_guard_offset_ms(const struct clock_guard *guard)
{
    return guard->wall_ms - guard->mono_ms;
}

bool clock_agrees(uint64_t offset_ms, uint64_t wall_ms, uint64_t mono_ms);

/* What is wrong, for a person; empty if nothing is. */
struct span clock_fault_text(enum clock_fault fault);
