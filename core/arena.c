#include "core/arena.h"

#include <stdlib.h>

/* Chunk sizes grow so that a small message costs 4 KB and a 10 KB one two allocations. */
static const size_t class_size[ARENA_CLASSES] = {4096, 16384, 65536};

struct arena_chunk {
    struct list_link link; /* in the pool while free */
    struct arena_chunk *older;
    size_t size; /* with this header */
    char data[] __attribute__((aligned(16)));
};

/* A block's own memory is whole pages, so what is known of it lies in a chunk; while it is free,
 * its place in the pool's list lies in itself. */
struct arena_block {
    struct arena_block *older;
    char *data;
    size_t size, used;
};

static int size_class(size_t size)
{
    for (int i = 0; i < ARENA_CLASSES; i++)
        if (size == class_size[i])
            return i;
    return -1;
}

void chunk_pool_init(struct chunk_pool *pool, size_t limit, size_t keep)
{
    *pool = (struct chunk_pool){.limit = limit, .keep = keep};
    for (int i = 0; i < ARENA_CLASSES; i++)
        list_init(&pool->free[i]);
    for (int i = 0; i < ARENA_BLOCK_PAGES; i++)
        list_init(&pool->free_blocks[i]);
}

void chunk_pool_fini(struct chunk_pool *pool)
{
    check(pool->in_use == 0);
    struct list_link *link;
    for (int i = 0; i < ARENA_CLASSES; i++) {
        while ((link = list_take_first(&pool->free[i])))
            free(container_of(link, struct arena_chunk, link));
    }
    for (int i = 0; i < ARENA_BLOCK_PAGES; i++)
        while ((link = list_take_first(&pool->free_blocks[i])))
            free(link);
    pool->kept = 0;
}

static struct arena_chunk *chunk_take(struct chunk_pool *pool, size_t size)
{
    if (size > pool->limit - pool->in_use)
        return NULL;
    int class = size_class(size);
    struct list_link *link = class >= 0 ? list_take_first(&pool->free[class]) : NULL;
    struct arena_chunk *chunk;
    if (link) {
        chunk = container_of(link, struct arena_chunk, link);
        pool->kept -= size;
    } else {
        chunk = malloc(size);
        if (!chunk)
            return NULL;
        chunk->link = (struct list_link){0};
        chunk->size = size;
    }
    pool->in_use += size;
    return chunk;
}

static void chunk_give(struct chunk_pool *pool, struct arena_chunk *chunk)
{
    pool->in_use -= chunk->size;
    int class = size_class(chunk->size);
    if (class < 0 || pool->kept + chunk->size > pool->keep) {
        free(chunk);
        return;
    }
    pool->kept += chunk->size;
    list_prepend(&pool->free[class], &chunk->link);
}

static char *pages_take(struct chunk_pool *pool, size_t size)
{
    if (size > pool->limit - pool->in_use)
        return NULL;
    void *data = list_take_first(&pool->free_blocks[size / ARENA_PAGE - 1]);
    if (data)
        pool->kept -= size;
    else
        data = aligned_alloc(ARENA_PAGE, size);
    if (data)
        pool->in_use += size;
    return data;
}

static void pages_give(struct chunk_pool *pool, char *data, size_t size)
{
    pool->in_use -= size;
    if (pool->kept + size > pool->keep) {
        free(data);
        return;
    }
    struct list_link *link = (struct list_link *)data;
    *link = (struct list_link){0};
    pool->kept += size;
    list_prepend(&pool->free_blocks[size / ARENA_PAGE - 1], link);
}

void arena_init(struct arena *arena, struct chunk_pool *pool, size_t limit)
{
    *arena = (struct arena){.pool = pool, .limit = limit};
}

void arena_fini(struct arena *arena)
{
    for (struct arena_block *block = arena->blocks; block; block = block->older)
        pages_give(arena->pool, block->data, block->size);
    arena->blocks = NULL;
    while (arena->chunks) {
        struct arena_chunk *chunk = arena->chunks;
        arena->chunks = chunk->older;
        chunk_give(arena->pool, chunk);
    }
    arena->at = arena->end = NULL;
    arena->taken = arena->paged = 0;
}

static bool add_chunk(struct arena *arena, size_t need)
{
    size_t size = class_size[ARENA_CLASSES - 1];
    for (int i = ARENA_CLASSES - 1; i >= 0; i--)
        if (need + sizeof(struct arena_chunk) <= class_size[i] &&
            arena->taken - arena->paged < 4 * class_size[i])
            size = class_size[i];
    if (need + sizeof(struct arena_chunk) > size)
        size = need + sizeof(struct arena_chunk);
    if (size > arena->limit - arena->taken)
        return false;
    struct arena_chunk *chunk = chunk_take(arena->pool, size);
    if (!chunk)
        return false;
    chunk->older = arena->chunks;
    arena->chunks = chunk;
    arena->taken += size;
    arena->at = chunk->data;
    arena->end = (char *)chunk + size;
    return true;
}

void *arena_take(struct arena *arena, size_t size)
{
    if (size > SIZE_MAX / 2)
        return NULL;
    size = size ? (size + 7) & ~(size_t)7 : 8; /* also nothing has an address */
    if (size > (size_t)(arena->end - arena->at) && !add_chunk(arena, size))
        return NULL;
    void *taken = arena->at;
    arena->at += size;
    return taken;
}

void *arena_take_zeroed(struct arena *arena, size_t size)
{
    void *taken = arena_take(arena, size);
    if (taken)
        memset(taken, 0, size);
    return taken;
}

bool arena_copy(struct arena *arena, struct span span, struct span *ret_copy)
{
    if (span.len == 0) {
        *ret_copy = (struct span){0};
        return true;
    }
    char *data = arena_take(arena, span.len);
    if (!data)
        return false;
    memcpy(data, span.data, span.len);
    *ret_copy = span_of(data, span.len);
    return true;
}

/* How many bytes the last piece can grow by, because nothing was taken behind it. */
static size_t room_behind(const struct text_piece *piece, const struct arena *arena)
{
    const char *end = piece->data + piece->len;
    size_t padding = (size_t)(-(uintptr_t)end & 7);
    return end + padding == arena->at ? (size_t)(arena->end - end) : 0;
}

static void extend(struct text *text, struct arena *arena, struct span span)
{
    struct text_piece *piece = text->last;
    char *end = piece->data + piece->len;
    memcpy(end, span.data, span.len);
    piece->len += span.len;
    text->len += span.len;
    size_t used = (size_t)(end + span.len - arena->at + 7) & ~(size_t)7;
    if (end + span.len > arena->at)
        arena->at += used;
}

bool text_append(struct text *text, struct arena *arena, struct span span)
{
    if (text->last && span.len) {
        struct span head = span_first(span, room_behind(text->last, arena));
        if (head.len)
            extend(text, arena, head);
        span = span_skip(span, head.len);
    }
    while (span.len) {
        size_t left = (size_t)(arena->end - arena->at);
        if (left < sizeof(struct text_piece) + 64) {
            size_t want = sizeof(struct text_piece) + (span.len < 1024 ? 1024 : span.len);
            size_t most = class_size[ARENA_CLASSES - 1] - sizeof(struct arena_chunk);
            if (!add_chunk(arena, want > most ? most : want))
                return false;
        }
        struct text_piece *piece = arena_take(arena, sizeof *piece);
        check(piece);
        *piece = (struct text_piece){.data = arena->at};
        if (text->last)
            text->last->next = piece;
        else
            text->first = piece;
        text->last = piece;
        text->pieces++;
        struct span head = span_first(span, (size_t)(arena->end - arena->at));
        extend(text, arena, head);
        span = span_skip(span, head.len);
    }
    return true;
}

bool text_prepend(struct text *text, struct arena *arena, struct span octets)
{
    struct text_piece *piece = arena_take(arena, sizeof *piece);
    if (!piece)
        return false;
    *piece = (struct text_piece){
        .next = text->first, .data = (char *)(uintptr_t)octets.data, .len = octets.len};
    text->first = piece;
    if (!text->last)
        text->last = piece;
    text->pieces++;
    text->len += octets.len;
    return true;
}

/* As large as what is known to come, or as what has come before. */
static size_t block_size(const struct text *text, size_t coming)
{
    size_t size = coming > text->len ? coming : text->len;
    size = (size + ARENA_PAGE - 1) / ARENA_PAGE * ARENA_PAGE;
    return size < ARENA_BLOCK_PAGES * ARENA_PAGE ? size : ARENA_BLOCK_PAGES * ARENA_PAGE;
}

static bool add_block(struct text *text, struct arena *arena, size_t coming)
{
    struct arena_block *block = arena_take(arena, sizeof *block);
    struct text_piece *piece = arena_take(arena, sizeof *piece);
    size_t size = block_size(text, coming);
    if (!block || !piece || size > arena->limit - arena->taken)
        return false;
    *block = (struct arena_block){.older = arena->blocks, .size = size};
    block->data = pages_take(arena->pool, size);
    if (!block->data)
        return false;
    arena->blocks = block;
    arena->taken += size;
    arena->paged += size;
    *piece = (struct text_piece){.data = block->data};
    if (text->last)
        text->last->next = piece;
    else
        text->first = piece;
    text->last = piece;
    text->pieces++;
    return true;
}

bool text_append_pages(struct text *text, struct arena *arena, struct span span)
{
    while (span.len) {
        struct arena_block *block = arena->blocks;
        if ((!block || block->used == block->size) && !add_block(text, arena, span.len))
            return false;
        block = arena->blocks;
        struct span head = span_first(span, block->size - block->used);
        memcpy(block->data + block->used, head.data, head.len);
        block->used += head.len;
        text->last->len += head.len;
        text->len += head.len;
        span = span_skip(span, head.len);
    }
    return true;
}

size_t text_copy(const struct text *text, size_t offset, void *data, size_t capacity)
{
    size_t copied = 0;
    for (const struct text_piece *piece = text->first; piece && copied < capacity;
         piece = piece->next) {
        if (offset >= piece->len) {
            offset -= piece->len;
            continue;
        }
        struct span part =
            span_first(span_skip(span_of(piece->data, piece->len), offset), capacity - copied);
        memcpy((char *)data + copied, part.data, part.len);
        copied += part.len;
        offset = 0;
    }
    return copied;
}
