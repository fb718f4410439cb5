#include "queue/agenda.h"

#include <errno.h>
#include <stdlib.h>

void agenda_init(struct agenda *agenda)
{
    *agenda = (struct agenda){0};
}

void agenda_fini(struct agenda *agenda)
{
    free(agenda->entries);
    *agenda = (struct agenda){0};
}

int agenda_reserve(struct agenda *agenda, size_t count)
{
    if (count < agenda->capacity)
        return 0;
    size_t capacity = agenda->capacity ? agenda->capacity : 64;
    while (capacity <= count)
        capacity *= 2;
    if (capacity > UINT32_MAX)
        return -ENOMEM;
    struct agenda_entry *entries = realloc(agenda->entries, capacity * sizeof(*entries));
    if (!entries)
        return -ENOMEM;
    agenda->entries = entries;
    agenda->capacity = (uint32_t)capacity;
    return 0;
}

static void set_down(struct agenda *agenda, uint32_t place, struct agenda_entry entry)
{
    agenda->entries[place] = entry;
    entry.item->place = place;
}

static void rise(struct agenda *agenda, uint32_t place, struct agenda_entry entry)
{
    for (; place > 1 && agenda->entries[place / 2].at_ms > entry.at_ms; place /= 2)
        set_down(agenda, place, agenda->entries[place / 2]);
    set_down(agenda, place, entry);
}

static void sink(struct agenda *agenda, uint32_t place, struct agenda_entry entry)
{
    for (;;) {
        uint64_t child = (uint64_t)place * 2;
        if (child > agenda->count)
            break;
        if (child < agenda->count &&
            agenda->entries[child + 1].at_ms < agenda->entries[child].at_ms)
            child++;
        if (agenda->entries[child].at_ms >= entry.at_ms)
            break;
        set_down(agenda, place, agenda->entries[child]);
        place = (uint32_t)child;
    }
    set_down(agenda, place, entry);
}

void agenda_set(struct agenda *agenda, struct agenda_item *item, uint64_t at_ms)
{
    struct agenda_entry entry = {at_ms, item};
    if (item->place == 0) {
        check(agenda->count + 1 < agenda->capacity);
        rise(agenda, ++agenda->count, entry);
    } else if (at_ms < agenda->entries[item->place].at_ms) {
        rise(agenda, item->place, entry);
    } else {
        sink(agenda, item->place, entry);
    }
}

void agenda_drop(struct agenda *agenda, struct agenda_item *item)
{
    uint32_t place = item->place;
    if (place == 0)
        return;
    item->place = 0;
    struct agenda_entry last = agenda->entries[agenda->count--];
    if (last.item == item)
        return;
    if (place > 1 && agenda->entries[place / 2].at_ms > last.at_ms)
        rise(agenda, place, last);
    else
        sink(agenda, place, last);
}

uint64_t agenda_next_ms(const struct agenda *agenda)
{
    return agenda->count ? agenda->entries[1].at_ms : UINT64_MAX;
}

struct agenda_item *agenda_take(struct agenda *agenda, uint64_t now_ms)
{
    if (agenda_next_ms(agenda) > now_ms)
        return NULL;
    struct agenda_item *item = agenda->entries[1].item;
    agenda_drop(agenda, item);
    return item;
}
