/* schedule: when a row is tried again, and until when. Pure.
 *
 * An explicit list of intervals, the last of which repeats; jitter spreads the rows of an outage,
 * so that they do not come back as one wave. Expiry is a property of time, not of an attempt: a row
 * is due at the earlier of its next attempt and its expiry. */
#pragma once

#include "core/random.h"

struct schedule {
    const uint64_t *intervals_ms;
    unsigned count;
    double jitter; /* 0.10: each wait is 90 to 110 % of its interval */
};

/* The wait after the `attempts`-th failed attempt (1 is the first). At least 1 ms. */
uint64_t schedule_wait_ms(const struct schedule *schedule, uint32_t attempts,
                          struct random *random);

/* When to look at a row again that is to be tried at `next_ms`: not after its expiry, unless that
 * has passed already (then expiry stands still, see clock_guard, and the schedule alone counts). */
uint64_t schedule_due_ms(uint64_t next_ms, uint64_t expires_ms, uint64_t wall_ms);
