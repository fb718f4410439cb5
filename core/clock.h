/* clock: the only source of time. Replaced at link time by the simulator.
 *
 * Monotonic time is for waiting, wall time for what leaves the process (headers, journal, due times
 * on disk). A worker reads the clock once per turn (loop.now_ns, loop.wall_ms). */
#pragma once

#include <stdint.h>

#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S  UINT64_C(1000000000)

uint64_t clock_mono_ns(void);
uint64_t clock_wall_ms(void); /* Unix time in milliseconds; may step */
