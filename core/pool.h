/* pool: blocks of one size, taken and given back, with the lifetime of their owner.
 *
 * A given block is kept for the next taker, up to `keep` of them, so that steady work does not go
 * through malloc and a peak does not stay. A pool belongs to one thread. Running out is an answer
 * (NULL). */
#pragma once

#include "core/check.h"

#include <stddef.h>

struct pool {
    void *spare; /* each begins with a pointer to the next */
    size_t size;
    unsigned spares, keep;
    unsigned taken; /* not given back yet */
};

void pool_init(struct pool *pool, size_t size, unsigned keep);
void pool_fini(struct pool *pool); /* blocks still taken stay their taker's, to free() */

MUST_USE void *pool_take(struct pool *pool); /* not cleared */
void pool_give(struct pool *pool, void *block);
