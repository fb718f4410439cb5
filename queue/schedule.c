#include "queue/schedule.h"

uint64_t schedule_wait_ms(const struct schedule *schedule, uint32_t attempts, struct random *random)
{
    unsigned at = attempts == 0 ? 0 : attempts - 1;
    if (at >= schedule->count)
        at = schedule->count - 1;
    uint64_t interval_ms = schedule->intervals_ms[at];
    uint64_t spread_ms = (uint64_t)((double)interval_ms * schedule->jitter);
    uint64_t wait_ms = interval_ms - spread_ms + random_below(random, 2 * spread_ms + 1);
    return wait_ms ? wait_ms : 1;
}

uint64_t schedule_due_ms(uint64_t next_ms, uint64_t expires_ms, uint64_t wall_ms)
{
    return expires_ms > wall_ms && expires_ms < next_ms ? expires_ms : next_ms;
}
