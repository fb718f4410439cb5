#include "smtp/slots.h"

#include "core/check.h"

#include <stdlib.h>

struct slot {
    struct slot *next;
};

void slots_init(struct slots *slots, size_t size, unsigned limit, unsigned keep)
{
    check(size >= sizeof(struct slot));
    *slots = (struct slots){.size = size, .limit = limit, .keep = keep};
}

void slots_fini(struct slots *slots)
{
    check(slots->in_use == 0);
    while (slots->free) {
        struct slot *slot = slots->free;
        slots->free = slot->next;
        free(slot);
    }
    slots->kept = 0;
}

void *slot_take(struct slots *slots)
{
    if (slots->in_use >= slots->limit)
        return NULL;
    struct slot *slot = slots->free;
    if (slot) {
        slots->free = slot->next;
        slots->kept--;
    } else {
        slot = malloc(slots->size);
        if (!slot)
            return NULL;
    }
    slots->in_use++;
    return slot;
}

void *slot_give(struct slots *slots, void *taken)
{
    struct slot *slot = taken;
    if (!slot)
        return NULL;
    slots->in_use--;
    if (slots->kept == slots->keep) {
        free(slot);
        return NULL;
    }
    slot->next = slots->free;
    slots->free = slot;
    slots->kept++;
    return NULL;
}
