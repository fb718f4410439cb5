/* The wheel. A timer sits in the level of the highest 6-bit digit in which its tick differs from
 * the present one, in the slot of that digit. When the present reaches a slot of a higher level,
 * its timers move down, at last into level 0, whose slots are single ticks.
 *
 * `tick` itself is never "past": its slot is looked at again at each advance, so a timer that is
 * armed for the past goes there and fires in the next turn. The occupied bits are exact, so time
 * jumps from one occupied slot to the next however long the pause was. */
#include "core/timers.h"

#include "core/clock.h"

enum { DIGIT = 6 };
#define LAST_TICK ((UINT64_C(1) << (DIGIT * TIMER_LEVELS)) - 1)

_Static_assert(1 << DIGIT == TIMER_SLOTS, "a slot per value of a digit");

static unsigned digit_of(uint64_t tick, unsigned level)
{
    return tick >> (DIGIT * level) & (TIMER_SLOTS - 1);
}

void timers_init(struct timers *timers, uint64_t now_ns)
{
    *timers = (struct timers){.tick = now_ns / NS_PER_MS};
    for (unsigned level = 0; level < TIMER_LEVELS; level++)
        for (unsigned slot = 0; slot < TIMER_SLOTS; slot++)
            list_init(&timers->slots[level][slot]);
}

/* Rounded up: never early. */
static uint64_t tick_due(uint64_t due_ns)
{
    uint64_t tick = due_ns / NS_PER_MS + (due_ns % NS_PER_MS != 0);
    return tick < LAST_TICK ? tick : LAST_TICK;
}

static void insert(struct timers *timers, struct timer *timer)
{
    uint64_t tick = tick_due(timer->due_ns);
    if (tick < timers->tick)
        tick = timers->tick;
    uint64_t difference = tick ^ timers->tick;
    unsigned level = difference ? (63 - (unsigned)__builtin_clzll(difference)) / DIGIT : 0;
    unsigned slot = digit_of(tick, level);
    list_append(&timers->slots[level][slot], &timer->op.link);
    timers->occupied[level] |= UINT64_C(1) << slot;
}

void timer_arm(struct timers *timers, struct timer *timer, uint64_t due_ns)
{
    timer_disarm(timers, timer);
    timer->due_ns = due_ns;
    timer->op.state = OP_BUSY;
    timers->armed++;
    insert(timers, timer);
}

/* A link that is alone in its slot has the slot's head on both sides. */
static void forget_slot_if_last(struct timers *timers, struct timer *timer)
{
    struct list_link *neighbour = timer->op.link.next;
    if (neighbour != timer->op.link.prev)
        return;
    const struct list *head = container_of(neighbour, struct list, head);
    size_t index = (size_t)(head - &timers->slots[0][0]);
    timers->occupied[index / TIMER_SLOTS] &= ~(UINT64_C(1) << index % TIMER_SLOTS);
}

void timer_disarm(struct timers *timers, struct timer *timer)
{
    if (timer->op.state == OP_IDLE)
        return;
    if (timer->op.state == OP_BUSY) {
        forget_slot_if_last(timers, timer);
        timers->armed--;
    }
    list_remove(&timer->op.link);
    timer->op.state = OP_IDLE;
}

/* The first tick after the present one at which a slot is reached that holds something. Lower
 * levels come first, they lie within the present slot of the higher ones. */
static bool next_occupied(const struct timers *timers, uint64_t *ret_tick, unsigned *ret_level)
{
    for (unsigned level = 0; level < TIMER_LEVELS; level++) {
        unsigned present = digit_of(timers->tick, level);
        uint64_t later = timers->occupied[level] & (~UINT64_C(1) << present);
        if (!later)
            continue;
        uint64_t slot = (uint64_t)__builtin_ctzll(later);
        unsigned shift = DIGIT * level;
        *ret_tick = (timers->tick >> (shift + DIGIT) << (shift + DIGIT)) | slot << shift;
        *ret_level = level;
        return true;
    }
    return false;
}

static void take_slot(struct timers *timers, unsigned level, struct list *ret_list)
{
    unsigned slot = digit_of(timers->tick, level);
    list_init(ret_list);
    list_append_all(ret_list, &timers->slots[level][slot]);
    timers->occupied[level] &= ~(UINT64_C(1) << slot);
}

static void move_down(struct timers *timers, unsigned level)
{
    struct list slot;
    take_slot(timers, level, &slot);
    struct list_link *link;
    while ((link = list_take_first(&slot)))
        insert(timers, container_of(link, struct timer, op.link));
}

static void fire(struct timers *timers, struct list *ready)
{
    struct list slot;
    take_slot(timers, 0, &slot);
    list_for_each (&slot, link, following) {
        struct op *op = container_of(link, struct op, link);
        op->state = OP_READY;
        op->result = 0;
        timers->armed--;
    }
    list_append_all(ready, &slot);
}

void timers_advance(struct timers *timers, uint64_t now_ns, struct list *ready)
{
    uint64_t now = now_ns / NS_PER_MS;
    if (now < timers->tick)
        return; /* a clock that steps back changes nothing */
    for (;;) {
        fire(timers, ready);
        uint64_t next;
        unsigned level;
        if (!next_occupied(timers, &next, &level) || next > now)
            break;
        timers->tick = next;
        if (level > 0)
            move_down(timers, level);
    }
    timers->tick = now;
}

uint64_t timers_next_ns(const struct timers *timers)
{
    uint64_t next;
    unsigned level;
    if (timers->occupied[0] & UINT64_C(1) << digit_of(timers->tick, 0))
        return timers->tick * NS_PER_MS;
    return next_occupied(timers, &next, &level) ? next * NS_PER_MS : UINT64_MAX;
}
