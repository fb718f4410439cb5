/* A search looks at each block at most once, and passes 64 taken ones at a time: 16 MB are 64
 * words. A run never crosses the end of its segment. */
#include "queue/segment.h"

#include <stdlib.h>

enum { WORD = 64 };

struct segment *segment_new(uint32_t number, uint32_t blocks)
{
    size_t words = (blocks + WORD - 1) / WORD;
    struct segment *segment = calloc(1, sizeof *segment + words * sizeof *segment->map);
    if (!segment)
        return NULL;
    segment->number = number;
    segment->fd = -1;
    segment->blocks = blocks;
    return segment;
}

struct segment *segment_free(struct segment *segment)
{
    free(segment);
    return NULL;
}

static bool taken(const struct segment *segment, uint32_t block)
{
    return segment->map[block / WORD] >> block % WORD & 1;
}

static void set(struct segment *segment, uint32_t first, uint32_t blocks)
{
    for (uint32_t block = first; block < first + blocks; block++)
        segment->map[block / WORD] |= UINT64_C(1) << block % WORD;
    segment->used += blocks;
}

/* A run that begins in [from, to). */
static bool find_run(const struct segment *segment, uint32_t from, uint32_t to, uint32_t blocks,
                     uint32_t *ret_first)
{
    uint32_t start = from;
    for (uint32_t at = from; at < segment->blocks && start < to; at++) {
        if (at % WORD == 0 && segment->map[at / WORD] == UINT64_MAX) {
            at += WORD - 1;
            start = at + 1;
        } else if (taken(segment, at)) {
            start = at + 1;
        } else if (at + 1 - start == blocks) {
            *ret_first = start;
            return true;
        }
    }
    return false;
}

bool segment_take(struct segment *segment, uint32_t blocks, uint32_t *ret_first)
{
    check(blocks > 0);
    if (blocks > segment->blocks - segment->used)
        return false;
    uint32_t first;
    if (!find_run(segment, segment->next, segment->blocks, blocks, &first) &&
        !find_run(segment, 0, segment->next, blocks, &first))
        return false;
    set(segment, first, blocks);
    segment->next = first + blocks;
    *ret_first = first;
    return true;
}

bool segment_mark(struct segment *segment, uint32_t first, uint32_t blocks)
{
    if (blocks == 0 || first >= segment->blocks || blocks > segment->blocks - first)
        return false;
    for (uint32_t block = first; block < first + blocks; block++)
        if (taken(segment, block))
            return false;
    set(segment, first, blocks);
    return true;
}

void segment_give(struct segment *segment, uint32_t first, uint32_t blocks)
{
    for (uint32_t block = first; block < first + blocks; block++) {
        check(taken(segment, block));
        segment->map[block / WORD] &= ~(UINT64_C(1) << block % WORD);
    }
    segment->used -= blocks;
}

/* ---- leaving ---- */

static bool grow(struct leaving *leaving)
{
    size_t capacity = leaving->capacity ? 2 * leaving->capacity : 256;
    struct leaving_slot *slots = malloc(capacity * sizeof *slots);
    if (!slots)
        return false;
    for (size_t i = 0; i < leaving->count; i++)
        slots[i] = leaving->slots[(leaving->first + i) % leaving->capacity];
    free(leaving->slots);
    leaving->slots = slots;
    leaving->capacity = capacity;
    leaving->first = 0;
    return true;
}

bool leaving_add(struct leaving *leaving, struct segment_slot slot, uint64_t group)
{
    if (leaving->count == leaving->capacity && !grow(leaving))
        return false;
    size_t at = (leaving->first + leaving->count++) % leaving->capacity;
    leaving->slots[at] = (struct leaving_slot){slot, group};
    return true;
}

void leaving_give(struct leaving *leaving, uint64_t synced)
{
    while (leaving->count && leaving->slots[leaving->first].group <= synced) {
        struct segment_slot slot = leaving->slots[leaving->first].slot;
        leaving->first = (leaving->first + 1) % leaving->capacity;
        leaving->count--;
        segment_give(slot.segment, slot.first, slot.blocks);
    }
}

void leaving_fini(struct leaving *leaving)
{
    free(leaving->slots);
    *leaving = (struct leaving){0};
}
