#include "smtp/suspended.h"

#include "smtp/lane.h"
#include "smtp/route.h"

enum {
    QUEUES_PER_TURN = 256,
    LOOK_AT_MOST_MS = 60000, /* the wall clock may be set while the timer waits */
};

static void on_end(struct op *op);
static void on_ask_again(struct op *op);

/* ---- lanes ---- */

const struct suspension *lane_suspension(const struct lane *lane)
{
    const struct egress *egress = lane->egress;
    const struct suspensions *all = &egress->suspensions;
    uint64_t wall_ms = egress->loop->wall_ms;
    if (all->count == 0)
        return NULL;
    const struct suspension *found = suspensions_find(all, SUSPEND_LANE, lane->key, wall_ms);
    return found ? found : suspensions_find(all, SUSPEND_SOURCE, egress->source, wall_ms);
}

static void nudge_lanes(struct egress *egress)
{
    list_for_each (&egress->old_lanes, link, following)
        loop_nudge(egress->loop, &container_of(link, struct lane, old)->advance);
}

/* ---- queues ---- */

bool egress_take_suspended(struct egress *egress, struct queue *queue)
{
    if (!suspensions_of_queue(&egress->suspensions, queue->name, egress->loop->wall_ms))
        return false;
    list_append(&egress->suspended, &queue->want);
    egress->suspended_count++;
    return true;
}

/* Those that were there when it began, each once. */
static void on_ask_again(struct op *op)
{
    struct egress *egress = container_of(op, struct egress, ask_suspended);
    for (unsigned i = 0; i < QUEUES_PER_TURN && egress->ask_count && !egress->draining; i++) {
        struct list_link *link = list_take_first(&egress->suspended);
        egress->ask_count--;
        egress->suspended_count--;
        egress_on_ready(egress, container_of(link, struct queue, want));
    }
    if (egress->ask_count && !egress->draining)
        loop_nudge(egress->loop, &egress->ask_suspended);
}

static void ask_all(struct egress *egress)
{
    egress->ask_count = egress->suspended_count;
    loop_nudge(egress->loop, &egress->ask_suspended);
    nudge_lanes(egress);
}

/* ---- their ends ---- */

static void arm(struct egress *egress)
{
    uint64_t wall_ms = egress->loop->wall_ms;
    uint64_t end_ms = suspensions_next_end_ms(&egress->suspensions, wall_ms);
    if (end_ms == UINT64_MAX || egress->draining)
        return;
    uint64_t wait_ms = end_ms - wall_ms;
    egress->suspension_end_ms = end_ms;
    loop_arm(egress->loop, &egress->suspension_end,
             (wait_ms < LOOK_AT_MOST_MS ? wait_ms : LOOK_AT_MOST_MS) * NS_PER_MS);
}

static void on_end(struct op *op)
{
    struct egress *egress = container_of(op, struct egress, suspension_end.op);
    uint64_t wall_ms = egress->loop->wall_ms;
    uint64_t end_ms = suspensions_next_end_ms(&egress->suspensions, wall_ms);
    if (end_ms != egress->suspension_end_ms) /* that one is over, or the clock went back */
        ask_all(egress);
    arm(egress);
}

int egress_suspend(struct egress *egress, const struct suspension *suspension)
{
    int result = suspensions_put(&egress->suspensions, suspension);
    if (result == 0) {
        ask_all(egress); /* it may end another one earlier */
        arm(egress);
    }
    return result;
}

void egress_resume(struct egress *egress, enum suspension_scope scope, struct span name)
{
    if (suspensions_remove(&egress->suspensions, scope, name))
        ask_all(egress);
}

/* ---- life ---- */

int suspended_init(struct egress *egress)
{
    list_init(&egress->suspended);
    op_init(&egress->ask_suspended, on_ask_again);
    timer_init(&egress->suspension_end, on_end);
    return suspensions_init(&egress->suspensions);
}

void suspended_start(struct egress *egress)
{
    arm(egress);
}

void suspended_stop(struct egress *egress)
{
    timer_disarm(&egress->loop->timers, &egress->suspension_end);
}

void suspended_fini(struct egress *egress)
{
    timer_disarm(&egress->loop->timers, &egress->suspension_end);
    suspensions_fini(&egress->suspensions);
}
