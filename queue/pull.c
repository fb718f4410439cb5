/* Handing out rows. The earliest due row first, whether it is fresh or read back; a row whose body
 * is not there yet does not hold up a fresh one.
 *
 * What makes a pull say no is a state that ends by itself (a load, memory, unrecorded verdicts),
 * and whatever ends it looks at the queue again: no wake-up can be lost. */
#include "queue/spool_private.h"

enum { WAKES_PER_TURN = 64 };

bool share_capped(const struct share *share)
{
    return share->unrecorded >= share->limits.unrecorded ||
           committer_state(share->spool->committing) != 0;
}

static void wait_in(struct list *list, struct stored_queue *queue)
{
    if (!list_linked(&queue->waiting))
        list_append(list, &queue->waiting);
}

void pull_wake(struct share *share)
{
    if (!list_empty(&share->capped) || !list_empty(&share->starved))
        loop_nudge(share->loop, &share->wake_turn);
}

/* Always due: it arrived, even if the clock was set back since then. */
static struct held *due_fresh(const struct window *window)
{
    struct list_link *link = list_first(&window->fresh);
    return link ? container_of(link, struct held, link) : NULL;
}

static struct held *due_stored(const struct window *window, uint64_t now_ms)
{
    struct due_node *node = due_tree_first(&window->tree);
    struct held *held = node ? container_of(node, struct held, due) : NULL;
    return held && held->row.due_ms <= now_ms ? held : NULL;
}

static void announce_some(struct list *waiting)
{
    struct list_link *link;
    for (unsigned i = 0; i < WAKES_PER_TURN && (link = list_take_first(waiting)); i++) {
        queue_look(container_of(link, struct stored_queue, waiting));
    }
}

static bool room_for_loads(const struct share *share)
{
    return share->loaded_bytes <= share->limits.loaded_memory / 4 * 3 &&
           window_rows_used(share) + window_load_rows(share) <= share->limits.window_rows;
}

/* Reads for a queue that waited for room. It is announced when that is done: a lane with a million
 * queues would come back too late for what was only promised. */
static void feed(struct share *share, struct stored_queue *queue)
{
    uint64_t now_ms = share->loop->wall_ms;
    if (!queue_open_window(queue)) {
        queue_look_later(queue, SHARE_TICK_MS);
        return;
    }
    if (due_stored(queue->window, now_ms))
        bodies_load_start(queue);
    else if (queue->loaded_to.due_ms <= now_ms && !window_load_start(queue))
        wait_in(&share->starved, queue);
    if (!queue->window->load && !queue->window->bodies)
        queue_look(queue);
    queue_trim_window(queue);
}

static void feed_some(struct share *share)
{
    struct list_link *link;
    for (unsigned i = 0; i < WAKES_PER_TURN && (link = list_take_first(&share->starved)); i++)
        feed(share, container_of(link, struct stored_queue, waiting));
}

/* With some way to go, so that a share at its limit does not wake everybody for each row. */
void on_wake_turn(struct op *op)
{
    struct share *share = container_of(op, struct share, wake_turn);
    bool uncapped = !share_capped(share) && share->unrecorded <= share->limits.unrecorded / 4 * 3;
    if (share->draining)
        return;
    if (uncapped)
        announce_some(&share->capped);
    unsigned loads = share->loads;
    if (room_for_loads(share))
        feed_some(share);
    bool fed = share->loads > loads; /* else only a release or the tick helps */
    if ((uncapped && !list_empty(&share->capped)) ||
        (fed && room_for_loads(share) && !list_empty(&share->starved)))
        loop_nudge(share->loop, &share->wake_turn);
}

/* Once a second: what was not touched for a while makes room for who waits. */
void pull_make_room(struct share *share)
{
    if (!share->draining)
        feed_some(share);
    pull_wake(share);
}

/* The next one to hand out; *ret_loading: something due is not ready yet. */
static struct held *choose(struct stored_queue *queue, bool with_body, bool *ret_loading)
{
    struct share *share = queue->queue.share;
    struct window *window = queue->window;
    uint64_t now_ms = share->loop->wall_ms;
    bool more_on_disk = queue->loaded_to.due_ms <= now_ms;
    struct held *fresh = due_fresh(window);
    struct held *stored_row = due_stored(window, now_ms);
    bool wanted = more_on_disk && (!stored_row || window->tree.count < window_load_rows(share) / 4);
    bool in_turn = stored_row || list_empty(&share->starved) || window->load;
    if (wanted && !(in_turn && window_load_start(queue)) && !stored_row && !fresh)
        wait_in(&share->starved, queue);
    *ret_loading = more_on_disk || window->load;
    if (!stored_row)
        return fresh;
    *ret_loading = true;
    bool ready = !with_body || stored_row->body_memory || stored_row->body_missing ||
                 stored_row->body_broken;
    if (with_body && (!ready || window->bodies_ready < AHEAD_LOW_ROWS))
        bodies_load_start(queue);
    if (fresh && (!ready || fresh->row.due_ms < stored_row->row.due_ms))
        return fresh;
    return ready ? stored_row : NULL;
}

void held_lend(struct held *held)
{
    held_set_busy(held, HELD_LENT);
    held->row.queue->share->lent++;
    if (held->body_memory) {
        held->row.body = &held->body_span;
        held->row.body_pieces = 1;
    }
}

/* A damaged disk: what is gone cannot be delivered, what cannot be read perhaps later. */
static void settle_without_body(struct held *held)
{
    bool missing = held->body_missing;
    struct verdict lost = {
        .outcome = OUTCOME_FAILED,
        .reply = {.code = 554,
                  .enhanced = {5, 3, 0},
                  .text = SPAN("the message's text was lost by a damaged disk"),
                  .internal = true},
    };
    struct verdict unreadable = {
        .outcome = OUTCOME_DEFERRED,
        .reply = {.code = 451,
                  .enhanced = {4, 3, 0},
                  .text = SPAN("the message's text cannot be read from the disk"),
                  .internal = true},
    };
    held->body_missing = held->body_broken = false;
    settle_internal(held, missing ? &lost : &unreadable, true);
}

/* Rows that are not for a lane: settles them here. */
static bool settled_here(struct share *share, struct held *held)
{
    bool broken = held->body_missing || held->body_broken;
    if (!broken &&
        (held->row.envelope.expires_ms > share->loop->wall_ms || !share_may_expire(share)))
        return false;
    if (broken)
        settle_without_body(held);
    else
        settle_expired(held);
    return true;
}

enum pull_result pull_row(struct share *share, struct stored_queue *queue, bool with_body,
                          struct held **ret_held)
{
    if (share->draining)
        return PULL_EMPTY;
    if (!queue_open_window(queue)) {
        queue_look_later(queue, SHARE_TICK_MS);
        return PULL_LOADING;
    }
    struct window *window = queue->window;
    window_touch(window);
    for (;;) {
        if (share_capped(share)) {
            wait_in(&share->capped, queue);
            return PULL_CAPPED;
        }
        bool loading;
        struct held *held = choose(queue, with_body, &loading);
        if (!held)
            return loading ? PULL_LOADING : PULL_EMPTY;
        held_lend(held);
        if (!settled_here(share, held)) {
            *ret_held = held;
            return PULL_ROW;
        }
    }
}

enum pull_result share_pull(struct share *share, struct queue *public_queue, struct row **ret_row)
{
    struct stored_queue *queue = stored(public_queue);
    struct held *held;
    enum pull_result result = PULL_LOADING;
    if (!queue->window || !queue->window->job)
        result = pull_row(share, queue, true, &held);
    if (result == PULL_ROW) {
        *ret_row = &held->row;
        return PULL_ROW;
    }
    queue->announced = false;
    if (result == PULL_EMPTY)
        queue_look(queue);
    queue_trim_window(queue);
    return result;
}

unsigned share_due_rows(const struct queue *public_queue, unsigned enough)
{
    const struct window *window = ((const struct stored_queue *)public_queue)->window;
    uint64_t now_ms = public_queue->share->loop->wall_ms;
    unsigned count = 0;
    if (!window)
        return 0;
    list_for_each (&window->fresh, link, following) {
        if (count == enough)
            break;
        count++;
    }
    const struct due_node *node = due_tree_first(&window->tree);
    while (node && count < enough && node->at.due_ms <= now_ms) {
        count++;
        node = due_tree_after(&window->tree, node->at);
    }
    return count;
}

void share_return(struct share *share, struct row *row)
{
    struct held *held = held_of(row);
    struct stored_queue *queue = stored(row->queue);
    check(held->state == HELD_LENT);
    share->lent--;
    held_wait(held);
    queue_look(queue);
    share_look_drained(share);
}
