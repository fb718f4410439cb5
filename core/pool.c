#include "core/pool.h"

#include <stdlib.h>

struct block {
    struct list_link link;
    char data[] __attribute__((aligned(16)));
};

void pool_init(struct pool *pool, size_t size, unsigned keep)
{
    *pool = (struct pool){.size = size, .keep = keep};
    list_init(&pool->spare);
    list_init(&pool->out);
}

static void free_all(struct list *list)
{
    struct list_link *link;
    while ((link = list_take_first(list)))
        free(container_of(link, struct block, link));
}

void pool_fini(struct pool *pool)
{
    free_all(&pool->spare);
    free_all(&pool->out);
    pool->spare_count = 0;
}

static struct block *take_spare(struct pool *pool)
{
    struct list_link *link = list_take_first(&pool->spare);
    if (!link)
        return NULL;
    pool->spare_count--;
    return container_of(link, struct block, link);
}

static struct block *block_new(const struct pool *pool)
{
    struct block *block = malloc(sizeof *block + pool->size);
    if (block)
        block->link = (struct list_link){0};
    return block;
}

void *pool_take(struct pool *pool)
{
    struct block *block = take_spare(pool);
    if (!block)
        block = block_new(pool);
    if (!block)
        return NULL;
    list_append(&pool->out, &block->link);
    return block->data;
}

void pool_give(struct pool *pool, void *data)
{
    struct block *block = container_of(data, struct block, data);
    list_remove(&block->link);
    if (pool->spare_count >= pool->keep) {
        free(block);
        return;
    }
    list_prepend(&pool->spare, &block->link);
    pool->spare_count++;
}
