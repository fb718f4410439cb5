/* World: the list of what happens when is a binary heap ordered by time, then by when it was
 * planned. */
#include "tests/sim/sim.h"

#include "core/clock.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

struct planned {
    uint64_t at_ns, order;
    happening *what;
    void *context;
    uint64_t argument;
    unsigned life; /* 0: belongs to no life */
};

struct world world;

static struct {
    struct planned *heap;
    size_t count, capacity;
    uint64_t order;
} plan;

static const uint64_t wall_start_ms = UINT64_C(1800000000000);

uint64_t clock_mono_ns(void)
{
    return world.now_ns;
}

uint64_t clock_wall_ms(void)
{
    return (uint64_t)((int64_t)(wall_start_ms + world.now_ns / NS_PER_MS) + world.wall_offset_ms);
}

/* The daemon's generators are seeded from the world's. */
void random_fill(void *data, size_t len)
{
    unsigned char *bytes = data;
    for (size_t i = 0; i < len; i++)
        bytes[i] = (unsigned char)(random_next(&world.random) >> 56);
}

static uint64_t split_mix(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

void world_begin(uint64_t seed, const char *folder, bool trace)
{
    world = (struct world){.seed = seed, .folder = folder, .life = 1, .trace = trace};
    world.now_ns = NS_PER_S;
    for (int i = 0; i < 4; i++)
        world.random.state[i] = split_mix(&seed);
}

static bool before(const struct planned *a, const struct planned *b)
{
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->order < b->order;
}

static void swap(size_t a, size_t b)
{
    struct planned held = plan.heap[a];
    plan.heap[a] = plan.heap[b];
    plan.heap[b] = held;
}

void world_later(uint64_t delay_ns, bool mortal, happening *what, void *context, uint64_t argument)
{
    if (plan.count == plan.capacity) {
        plan.capacity = plan.capacity ? 2 * plan.capacity : 256;
        plan.heap = realloc(plan.heap, plan.capacity * sizeof *plan.heap);
        check(plan.heap);
    }
    size_t at = plan.count++;
    plan.heap[at] = (struct planned){world.now_ns + delay_ns, plan.order++, what, context, argument,
                                     mortal ? world.life : 0};
    while (at > 0 && before(&plan.heap[at], &plan.heap[(at - 1) / 2])) {
        swap(at, (at - 1) / 2);
        at = (at - 1) / 2;
    }
}

static struct planned take_first(void)
{
    struct planned first = plan.heap[0];
    plan.heap[0] = plan.heap[--plan.count];
    for (size_t at = 0;;) {
        size_t child = 2 * at + 1;
        if (child >= plan.count)
            break;
        if (child + 1 < plan.count && before(&plan.heap[child + 1], &plan.heap[child]))
            child++;
        if (!before(&plan.heap[child], &plan.heap[at]))
            break;
        swap(at, child);
        at = child;
    }
    return first;
}

uint64_t world_next_ns(void)
{
    return plan.count ? plan.heap[0].at_ns : UINT64_MAX;
}

bool world_step(uint64_t until_ns)
{
    if (world_next_ns() > until_ns)
        return false;
    struct planned next = take_first();
    if (next.at_ns > world.now_ns)
        world.now_ns = next.at_ns;
    if (next.life == 0 || next.life == world.life) {
        world.happened++;
        next.what(next.context, next.argument);
    }
    return true;
}

uint64_t world_draw(uint64_t bound)
{
    return random_below(&world.random, bound);
}

bool world_chance(unsigned of_thousand)
{
    return world_draw(1000) < of_thousand;
}

bool world_fault(unsigned of_thousand)
{
    return !world.calm && world_chance(of_thousand);
}

void say(const char *format, ...)
{
    if (!world.trace)
        return;
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "%12.6f  ", (double)world.now_ns / 1e9);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
}
