/* The nursery: messages that wait for their first attempt in memory, on disk as one `fresh` record.
 *
 * Bounded in count and bytes: what does not fit goes to `body` and `row` at once (accept.c).
 * Bounded in age: what was not tried within nursery_age moves there. A row that is lent stays where
 * it is: its settlement moves or removes it. */
#include "core/clock.h"
#include "queue/spool_private.h"

bool nursery_has_room(const struct share *share, uint64_t size)
{
    return share->usage.nursery_messages < share->limits.nursery_messages &&
           size <= share->limits.nursery_bytes &&
           share->usage.nursery_bytes <= share->limits.nursery_bytes - size;
}

void nursery_place(struct held *held)
{
    struct share *share = held->row.queue->share;
    struct stored_queue *queue = stored(held->row.queue);
    list_append(&share->nursery, &held->age);
    share->usage.nursery_messages++;
    share->usage.nursery_bytes += held->row.envelope.size;
    share->usage.rows++;
    queue->rows++;
    queue->window->fresh_rows++;
    held_wait(held);
}

void nursery_enter(struct held *held)
{
    held->entered_ns = held->row.queue->share->loop->now_ns;
    nursery_place(held);
    queue_look(stored(held->row.queue));
}

void nursery_leave(struct held *held, uint64_t group)
{
    struct share *share = held->row.queue->share;
    list_remove(&held->age);
    stored(held->row.queue)->window->fresh_rows--;
    share->usage.nursery_messages--;
    share->usage.nursery_bytes -= held->row.envelope.size;
    segments_release(held->intake, group);
}

static void demote(struct held *held)
{
    struct settlement *settlement = settlement_new(held, false);
    if (!settlement)
        return; /* no memory: the next tick tries again */
    uint64_t now_ms = held->row.queue->share->loop->wall_ms;
    uint64_t due_ms = held->row.due_ms < now_ms ? held->row.due_ms : now_ms; /* it was set back */
    if (settlement_fill(settlement, &held->row.envelope, &held->row.state, due_ms))
        settlement_begin(settlement);
    else
        settlement_abort(settlement);
}

void nursery_demote_old(struct share *share)
{
    uint64_t now_ns = share->loop->now_ns;
    uint64_t age_ns = share->limits.nursery_age_ms * NS_PER_MS;
    list_for_each (&share->nursery, link, following) {
        struct held *held = container_of(link, struct held, age);
        if (now_ns - held->entered_ns < age_ns || share->demotions >= DEMOTIONS_IN_FLIGHT)
            break;
        if (held->state == HELD_WAITING)
            demote(held);
    }
}
