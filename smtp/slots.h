/* slots: equal pieces of memory that sessions borrow for a short while.
 *
 * For what an idle session must not hold: an incomplete command line, the scanner of a message's
 * data. Freed slots are kept, up to `keep`, the others go back to malloc. One thread.
 *
 * Running out is an answer (NULL), never an abort. */
#pragma once

#include <stddef.h>

struct slot;
struct slots {
    struct slot *free;
    size_t size;
    unsigned kept, keep;
    unsigned in_use, limit;
};

void slots_init(struct slots *slots, size_t size, unsigned limit, unsigned keep);
void slots_fini(struct slots *slots); /* nothing may be borrowed any more */

/* `size` bytes, not cleared, aligned for any object. NULL: the limit, or no memory. */
void *slot_take(struct slots *slots);
/* Takes NULL, returns NULL. */
void *slot_give(struct slots *slots, void *slot);
