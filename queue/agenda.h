/* agenda: which queue is to be looked at next, and when. Pure.
 *
 * One binary heap per share instead of a timer per queue: a million sleeping queues cost 16 bytes
 * each here and 4 in the queue (where it stands in the heap). Times are wall time, as due times on
 * disk are; the share arms one timer for the first. */
#pragma once

#include "core/check.h"

#include <stddef.h>
#include <stdint.h>

struct agenda_item {
    uint32_t place; /* in the heap, from 1; 0: not in it */
};

struct agenda_entry {
    uint64_t at_ms;
    struct agenda_item *item;
};

struct agenda {
    struct agenda_entry *entries; /* [1 .. count] */
    uint32_t count, capacity;
};

void agenda_init(struct agenda *agenda);
void agenda_fini(struct agenda *agenda);

/* Room for `count` items in all: after it, agenda_set cannot fail for that many. -ENOMEM or 0. */
MUST_USE int agenda_reserve(struct agenda *agenda, size_t count);

/* Enters or moves. Room must have been reserved. */
void agenda_set(struct agenda *agenda, struct agenda_item *item, uint64_t at_ms);
void agenda_drop(struct agenda *agenda, struct agenda_item *item);

/* UINT64_MAX if it is empty. */
uint64_t agenda_next_ms(const struct agenda *agenda);
/* Takes the first out if its time has come, else NULL. */
struct agenda_item *agenda_take(struct agenda *agenda, uint64_t now_ms);
