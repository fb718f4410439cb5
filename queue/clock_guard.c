#include "queue/clock_guard.h"

void clock_guard_init(struct clock_guard *guard, uint64_t recorded_ms, uint64_t wall_ms,
                      uint64_t mono_ms)
{
    *guard = (struct clock_guard){.wall_ms = wall_ms, .mono_ms = mono_ms};
    if (recorded_ms == 0)
        return;
    if (wall_ms + CLOCK_GUARD_SLACK_MS < recorded_ms)
        guard->fault = CLOCK_BEFORE_LAST;
    else if (wall_ms > recorded_ms && wall_ms - recorded_ms > CLOCK_GUARD_PAUSE_MS)
        guard->fault = CLOCK_LONG_AFTER;
}

bool clock_agrees(uint64_t offset_ms, uint64_t wall_ms, uint64_t mono_ms)
{
    uint64_t expected_ms = mono_ms + offset_ms;
    uint64_t apart_ms = wall_ms > expected_ms ? wall_ms - expected_ms : expected_ms - wall_ms;
    return apart_ms <= CLOCK_GUARD_STEP_MS;
}

void clock_guard_look(struct clock_guard *guard, uint64_t wall_ms, uint64_t mono_ms)
{
    if (guard->fault == CLOCK_FINE && !clock_agrees(clock_guard_offset_ms(guard), wall_ms, mono_ms))
        guard->fault = CLOCK_STEPPED;
}

void clock_guard_confirm(struct clock_guard *guard, uint64_t wall_ms, uint64_t mono_ms)
{
    *guard = (struct clock_guard){.wall_ms = wall_ms, .mono_ms = mono_ms};
}

struct span clock_fault_text(enum clock_fault fault)
{
    switch (fault) {
    case CLOCK_FINE:
        break;
    case CLOCK_BEFORE_LAST:
        return SPAN("the clock is earlier than the last time that was recorded");
    case CLOCK_LONG_AFTER:
        return SPAN("the clock is more than a week later than the last time that was recorded");
    case CLOCK_STEPPED:
        return SPAN("the clock was stepped by more than an hour");
    }
    return (struct span){0};
}
