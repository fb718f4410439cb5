/* pool: blocks of one size, taken and given back, with the lifetime of their owner.
 *
 * A given block is kept for the next taker, up to `keep` of them, so that steady work does not go
 * through malloc and a peak does not stay. pool_fini frees all blocks, also those not given back. A
 * pool belongs to one thread. Running out is an answer (NULL). */
#pragma once

#include "core/list.h"

struct pool {
    struct list spare, out;
    size_t size;
    unsigned spare_count, keep;
};

void pool_init(struct pool *pool, size_t size, unsigned keep);
void pool_fini(struct pool *pool);

MUST_USE void *pool_take(struct pool *pool); /* aligned to 16, not cleared */
void pool_give(struct pool *pool, void *block);
