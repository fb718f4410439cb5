/* Bodies read ahead for the next due rows of a queue, within the share's memory for them.
 *
 * A row's size is known before its body is read, so memory is reserved when a load starts and the
 * sum is never passed, except by one body that alone is larger: it is read when no other is there.
 * Bodies that wait for a lane which does not come are dropped again, longest waiting first, if
 * another queue needs the room; bodies of lent rows stay. A queue that finds no room waits in
 * share->starved. */
#include "queue/spool_private.h"

#include <errno.h>
#include <stdlib.h>

struct body_load {
    struct load load;
    struct stored_queue *queue;
    uint64_t reserved;
};

enum { RETRY_BODIES_MS = 1000 };

static void release(struct share *share, uint64_t bytes)
{
    share->loaded_bytes -= bytes;
    pull_wake(share);
}

void held_drop_body(struct held *held)
{
    struct share *share = held->row.queue->share;
    if (!held->body_memory)
        return;
    if (held->state == HELD_WAITING) {
        stored(held->row.queue)->window->bodies_ready--;
        list_remove(&held->age);
    }
    free(held->body_memory);
    held->body_memory = NULL;
    held->row.body = NULL;
    held->row.body_pieces = 0;
    release(share, held->row.envelope.size);
}

/* ---- room ---- */

static void drop_waiting(struct share *share, const struct stored_queue *except, uint64_t bytes)
{
    uint64_t target = share->limits.loaded_memory > bytes ? share->limits.loaded_memory - bytes : 0;
    list_for_each (&share->bodies, link, following) {
        struct held *held = container_of(link, struct held, age);
        if (share->loaded_bytes <= target)
            break;
        if (held->row.queue != &except->queue && !window_in_use(stored(held->row.queue)->window))
            held_drop_body(held);
    }
}

static uint64_t room_for(struct share *share, const struct stored_queue *queue, uint64_t first)
{
    uint64_t limit = share->limits.loaded_memory;
    uint64_t wanted = first > AHEAD_BYTES ? first : AHEAD_BYTES;
    if (wanted > limit / 4 && wanted > first)
        wanted = first > limit / 4 ? first : limit / 4;
    if (share->loaded_bytes + wanted > limit)
        drop_waiting(share, queue, wanted);
    uint64_t room = limit > share->loaded_bytes ? limit - share->loaded_bytes : 0;
    if (room < first)
        return share->loaded_bytes == 0 ? first : 0;
    return room < wanted ? room : wanted;
}

/* ---- loading ---- */

static void take_body(struct stored_queue *queue, struct load *load, unsigned index)
{
    struct share *share = queue->queue.share;
    struct held *held = held_find(share, load->ids[index], queue);
    if (!held || held->state != HELD_WAITING || held->intake || held->body_memory)
        return;
    held->body_missing = load->found[index] == 0;
    held->body_broken =
        load->found[index] < 0 && load->found[index] != -EAGAIN && load->found[index] != -ENOMEM;
    if (load->found[index] != 1)
        return;
    held->body_memory = load->body_memory[index];
    held->body_span = load->bodies[index];
    load->body_memory[index] = NULL;
    share->loaded_bytes += held->row.envelope.size;
    queue->window->bodies_ready++;
    list_append(&share->bodies, &held->age);
}

static void on_bodies_loaded(struct op *op)
{
    struct body_load *bodies = container_of(op, struct body_load, load.op);
    struct stored_queue *queue = bodies->queue;
    struct share *share = queue->queue.share;

    share->loads--;
    window_touch(queue->window);
    queue->window->bodies = NULL;
    share->loaded_bytes -= bodies->reserved;
    for (unsigned i = 0; op->result >= 0 && i < bodies->load.id_count; i++)
        take_body(queue, &bodies->load, i);
    if (op->result < 0)
        queue_look_later(queue, RETRY_BODIES_MS);
    else
        queue_look(queue);
    load_release(&bodies->load);
    free(bodies);
    queue_trim_window(queue);
    pull_wake(share);
    share_look_drained(share);
}

/* The rows to read for, from the earliest on; *ret_bytes is their sum, 0 if there is no room. */
static unsigned select_rows(struct stored_queue *queue, struct load *load, uint64_t *ret_bytes)
{
    struct share *share = queue->queue.share;
    const struct due_tree *tree = &queue->window->tree;
    uint64_t now_ms = share->loop->wall_ms, room = 0, bytes = 0;
    unsigned count = 0;
    for (struct due_node *node = due_tree_first(tree); node && node->at.due_ms <= now_ms;
         node = due_tree_after(tree, node->at)) {
        const struct held *held = container_of(node, struct held, due);
        uint64_t size = held->row.envelope.size;
        if (held->body_memory || held->body_missing || held->body_broken)
            continue;
        if (count == 0)
            room = room_for(share, queue, size);
        if (count == AHEAD_ROWS || bytes + size > room)
            break;
        load->ids[count] = held->row.envelope.id;
        load->sizes[count++] = size;
        bytes += size;
        if (room == 0)
            break;
    }
    *ret_bytes = bytes;
    return count;
}

static bool any_body_needed(const struct stored_queue *queue)
{
    const struct window *window = queue->window;
    return window->tree.count > window->bodies_ready;
}

static bool first_lacks_body(const struct window *window)
{
    struct due_node *first = due_tree_first(&window->tree);
    const struct held *held = first ? container_of(first, struct held, due) : NULL;
    return held && !held->body_memory && !held->body_missing && !held->body_broken;
}

void bodies_load_start(struct stored_queue *queue)
{
    struct share *share = queue->queue.share;
    struct window *window = queue->window;
    if (window->bodies || list_linked(&queue->waiting) || !any_body_needed(queue))
        return;
    struct body_load *bodies = malloc(sizeof(*bodies));
    if (!bodies) {
        queue_look_later(queue, RETRY_BODIES_MS);
        return;
    }
    load_init(&bodies->load, share->loop, LOAD_BODIES, on_bodies_loaded);
    bodies->queue = queue;
    bodies->load.id_count = select_rows(queue, &bodies->load, &bodies->reserved);
    bodies->load.max_bytes = bodies->reserved;
    if (bodies->load.id_count == 0) {
        free(bodies);
        if (first_lacks_body(window))
            list_append(&share->starved, &queue->waiting);
        return;
    }
    window->bodies = bodies;
    share->loaded_bytes += bodies->reserved;
    share->loads++;
    share_load(share, &bodies->load);
}
