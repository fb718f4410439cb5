/* random: the only source of randomness.
 *
 * `random_fill` is the kernel's (start-up: seeds, node id; entropy.c, replaced at link time by the
 * simulator). `struct random` is a fast generator per
 * loop (xoshiro256++) for jitter, shuffles and sampling: not for secrets. */
#pragma once

#include <stddef.h>
#include <stdint.h>

void random_fill(void *data, size_t len); /* from getrandom(2); aborts if the kernel has none */

struct random {
    uint64_t state[4];
};

void random_init(struct random *random); /* seeded by random_fill */
uint64_t random_next(struct random *random);
uint64_t random_below(struct random *random, uint64_t bound); /* 0 <= result < bound, bound > 0 */
