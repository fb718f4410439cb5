/* arena: memory that lives exactly as long as one message (or one turn) and is freed at once.
 *
 * The arena takes chunks of 4 KB, 16 KB, then 64 KB from its worker's `chunk_pool`, which keeps
 * freed chunks for the next message and counts what is out: that count is the worker's inbound
 * memory budget. Nothing inside an arena is freed singly. An arena belongs to one thread.
 *
 * Running out is an answer (NULL), never an abort: the caller says 452. */
#pragma once

#include "core/check.h"
#include "core/list.h"
#include "core/span.h"

enum { ARENA_CLASSES = 3, ARENA_PAGE = 4096, ARENA_BLOCK_PAGES = 16 };

struct chunk_pool {
    struct list free[ARENA_CLASSES];
    struct list free_blocks[ARENA_BLOCK_PAGES]; /* by pages, less one */
    size_t kept;                                /* bytes in `free` */
    size_t keep;                                /* give back to malloc beyond this */
    size_t in_use;                              /* bytes handed out */
    size_t limit;                               /* most bytes handed out at once */
};

void chunk_pool_init(struct chunk_pool *pool, size_t limit, size_t keep);
void chunk_pool_fini(struct chunk_pool *pool); /* nothing may be handed out any more */

struct arena_chunk;
struct arena_block;
struct arena {
    struct chunk_pool *pool;
    struct arena_chunk *chunks; /* newest first */
    struct arena_block *blocks; /* the same */
    char *at, *end;
    size_t taken; /* bytes of all chunks and blocks */
    size_t paged; /* of these, blocks */
    size_t limit; /* of this arena */
};

void arena_init(struct arena *arena, struct chunk_pool *pool, size_t limit);
void arena_fini(struct arena *arena);

/* Aligned to 8, not cleared. NULL: the arena's or the pool's limit, or no memory. */
MUST_USE void *arena_take(struct arena *arena, size_t size);

/* As arena_take, cleared. */
MUST_USE void *arena_take_zeroed(struct arena *arena, size_t size);

/* The bytes of `span` copied. False when memory is out. An empty span is copied as empty. */
MUST_USE bool arena_copy(struct arena *arena, struct span span, struct span *ret_copy);

/* text: a growing byte sequence inside an arena, kept as a list of pieces (a body as it arrives).
 * The last piece is extended in place while the arena has room behind it. */
struct text_piece {
    struct text_piece *next;
    size_t len;
    char *data;
};

struct text {
    struct text_piece *first, *last;
    size_t len;
    unsigned pieces;
};

MUST_USE bool text_append(struct text *text, struct arena *arena, struct span span);

/* Puts `octets`, which lie in the arena, in front of the text without copying them. */
MUST_USE bool text_prepend(struct text *text, struct arena *arena, struct span octets);

/* As text_append, but every piece is a block of whole pages, aligned as direct I/O wants it, and
 * full before the next begins: what lies behind the text in its last block may be written to. One
 * text of an arena may grow this way, from its first byte on. */
MUST_USE bool text_append_pages(struct text *text, struct arena *arena, struct span span);

/* Copies the bytes [offset, offset + capacity) to `data`; returns how many there were. */
size_t text_copy(const struct text *text, size_t offset, void *data, size_t capacity);
