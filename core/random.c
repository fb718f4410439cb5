#include "core/random.h"

#include "core/check.h"

void random_init(struct random *random)
{
    random_fill(random->state, sizeof random->state);
    random->state[0] |= 1; /* all zero would stay all zero */
}

static uint64_t rotate(uint64_t x, int bits)
{
    return x << bits | x >> (64 - bits);
}

/* Blackman and Vigna, xoshiro256++ 1.0. */
uint64_t random_next(struct random *random)
{
    uint64_t *s = random->state;
    uint64_t result = rotate(s[0] + s[3], 23) + s[0];
    uint64_t shifted = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= shifted;
    s[3] = rotate(s[3], 45);
    return result;
}

/* Lemire, "Fast Random Integer Generation in an Interval": the low word tells what would be
 * unfair. */
uint64_t random_below(struct random *random, uint64_t bound)
{
    check(bound > 0);
    unsigned __int128 product = (unsigned __int128)random_next(random) * bound;
    if ((uint64_t)product < bound) {
        uint64_t unfair = -bound % bound;
        while ((uint64_t)product < unfair)
            product = (unsigned __int128)random_next(random) * bound;
    }
    return (uint64_t)(product >> 64);
}
