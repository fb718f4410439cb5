#include "core/pool.h"

#include <stdlib.h>
#include <string.h>

void pool_init(struct pool *pool, size_t size, unsigned keep)
{
    check(size >= sizeof(void *));
    *pool = (struct pool){.size = size, .keep = keep};
}

static void *take_spare(struct pool *pool)
{
    void *block = pool->spare;
    memcpy(&pool->spare, block, sizeof(void *));
    pool->spares--;
    return block;
}

void pool_fini(struct pool *pool)
{
    while (pool->spare)
        free(take_spare(pool));
}

void *pool_take(struct pool *pool)
{
    void *block = pool->spare ? take_spare(pool) : malloc(pool->size);
    if (block)
        pool->taken++;
    return block;
}

void pool_give(struct pool *pool, void *block)
{
    check(pool->taken > 0);
    pool->taken--;
    if (pool->spares >= pool->keep) {
        free(block);
        return;
    }
    memcpy(block, &pool->spare, sizeof(void *));
    pool->spare = block;
    pool->spares++;
}
