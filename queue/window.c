/* The rows that are in memory, and how they come there and go.
 *
 * Failure modes. A load that fails is tried again a second later. A row whose copy finds no memory,
 * or that is over the budget, stays on disk only: `loaded_to` is lowered to it, so that the next
 * load begins there. A load and a settlement may run at the same time, and the load may see the
 * store before or after it: so rows in memory win over what a load brings, and what goes while a
 * load is in flight leaves a marker (HELD_GONE) that wins as well. If not even a marker finds
 * memory, the load is stale and what it brings is dropped as a whole. */
#include "core/clock.h"
#include "queue/spool_private.h"
#include "queue/walk.h"

#include <stdlib.h>

struct window_load {
    struct load load;
    struct stored_queue *queue;
    bool stale;
};

enum { LOAD_ROWS_LEAST = 16, RETRY_LOAD_MS = 1000 };

/* ---- a row ---- */

static uint64_t held_hash(uint64_t id, uint32_t number)
{
    uint64_t hash = (id ^ (uint64_t)number << 32) * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ hash >> 29;
}

struct held *held_find(struct share *share, uint64_t id, const struct stored_queue *queue)
{
    struct map_node *node = map_find(&share->held, held_hash(id, queue->number));
    for (; node; node = map_find_next(node)) {
        struct held *held = container_of(node, struct held, by_id);
        if (held->row.envelope.id == id && held->row.queue == &queue->queue)
            return held;
    }
    return NULL;
}

void held_enter(struct held *held, struct stored_queue *queue)
{
    struct share *share = queue->queue.share;
    held->row.queue = &queue->queue;
    held->entered = true;
    map_insert(&share->held, &held->by_id, held_hash(held->row.envelope.id, queue->number));
    if (held->malloced)
        share->window_rows++;
}

static void leave_lists(struct held *held)
{
    struct window *window = stored(held->row.queue)->window;
    if (list_linked(&held->link))
        list_remove(&held->link);
    else if (held->state == HELD_WAITING && !held->intake)
        due_tree_remove(&window->tree, &held->due);
    if (window->tree.count == 0 && list_linked(&window->recent))
        list_remove(&window->recent);
}

void held_leave(struct held *held)
{
    struct share *share = held->row.queue->share;
    held_drop_body(held);
    leave_lists(held);
    map_remove(&share->held, &held->by_id);
    held->entered = false;
    if (held->malloced)
        share->window_rows--;
}

static struct envelope envelope_in(struct held *held, struct envelope envelope)
{
    struct recipient *recipients = (struct recipient *)(held + 1);
    memcpy(recipients, envelope.recipients, envelope.recipient_count * sizeof(*recipients));
    envelope.recipients = recipients;
    return envelope;
}

/* One block: the struct, the recipients, and a copy of the record that all strings point into. The
 * record is read twice, because only reading it tells how many recipients there are. */
static struct held *held_from(struct arena *scratch, struct span record, bool *ret_damaged)
{
    struct envelope envelope;
    struct row_state state;
    if (!row_record_read(record, scratch, &envelope, &state)) {
        *ret_damaged = true;
        return NULL;
    }
    size_t recipients_size = envelope.recipient_count * sizeof(struct recipient);
    struct held *held = malloc(sizeof(*held) + recipients_size + record.len);
    if (!held)
        return NULL;
    char *copy = (char *)(held + 1) + recipients_size;
    memcpy(copy, record.data, record.len);
    *held = (struct held){.malloced = true, .next_due_ms = UINT64_MAX};
    if (!row_record_read(span_of(copy, record.len), scratch, &envelope, &state)) {
        free(held);
        return NULL;
    }
    held->row.envelope = envelope_in(held, envelope);
    held->row.state = state;
    return held;
}

struct held *held_new(struct stored_queue *queue, struct position at, struct span record,
                      bool *ret_damaged)
{
    struct share *share = queue->queue.share;
    struct arena scratch;
    arena_init(&scratch, &share->own, ARENA_LIMIT);
    *ret_damaged = false;
    struct held *held = held_from(&scratch, record, ret_damaged);
    arena_fini(&scratch);
    if (!held)
        return NULL;
    held->row.queue = &queue->queue;
    held->row.envelope.id = at.id;
    held->row.due_ms = at.due_ms;
    held->due.at = at;
    held->due.priority = (uint32_t)random_next(&share->loop->random);
    held->state = HELD_WAITING;
    return held;
}

struct held *held_free(struct held *held)
{
    check(!held || (held->malloced && !held->entered));
    free(held);
    return NULL;
}

void held_set_busy(struct held *held, enum held_state state)
{
    struct window *window = stored(held->row.queue)->window;
    leave_lists(held);
    if (held->state == HELD_WAITING && held->body_memory) {
        window->bodies_ready--;
        list_remove(&held->age);
    }
    held->state = (uint8_t)state;
    list_append(&window->busy, &held->link);
}

/* By arrival, equal ones in order. Young ones belong near the end, those that come back near the
 * beginning: a search from both ends meets either at once, however many wait. */
static struct list_link *fresh_place(const struct window *window, uint64_t due_ms)
{
    struct list_link *front = window->fresh.head.next, *back = window->fresh.head.prev;
    for (;;) {
        if (back == &window->fresh.head ||
            container_of(back, struct held, link)->row.due_ms <= due_ms)
            return back->next;
        if (container_of(front, struct held, link)->row.due_ms > due_ms)
            return front;
        front = front->next;
        back = back->prev;
    }
}

void held_wait(struct held *held)
{
    struct share *share = held->row.queue->share;
    struct window *window = stored(held->row.queue)->window;
    if (list_linked(&held->link))
        list_remove(&held->link);
    held->state = HELD_WAITING;
    held->next_due_ms = UINT64_MAX;
    if (!held->intake) {
        if (window->tree.count == 0)
            window_touch(window);
        due_tree_insert(&window->tree, &held->due);
        if (!list_linked(&window->recent))
            list_append(&share->recent, &window->recent);
        if (held->body_memory) {
            window->bodies_ready++;
            list_append(&share->bodies, &held->age);
        }
        return;
    }
    list_insert_before(fresh_place(window, held->row.due_ms), &held->link);
}

/* ---- rows that come and go by our own batches ---- */

static void lower_loaded_to(struct stored_queue *queue, struct position at)
{
    if (position_before(at, queue->loaded_to))
        queue->loaded_to = at;
}

/* What lies behind the window is on disk as well. */
static void drop_behind(struct stored_queue *queue)
{
    struct due_node *node;
    while ((node = due_tree_last(&queue->window->tree)) &&
           !position_before(node->at, queue->loaded_to)) {
        struct held *held = container_of(node, struct held, due);
        held_leave(held);
        held_free(held);
    }
}

void window_put(struct stored_queue *queue, struct position at, struct span record)
{
    struct share *share = queue->queue.share;
    queue_mark_dirty(queue);
    walks_note(queue, at, 1);
    bool loading = queue->window->load != NULL; /* it may or may not see the row */
    if (!position_before(at, queue->loaded_to) && !loading)
        return;
    if (window_rows_used(share) >= share->limits.window_rows)
        window_evict(share, LOAD_ROWS_LEAST, NULL);
    bool damaged = false, room = window_rows_used(share) < share->limits.window_rows;
    struct held *held = room || loading ? held_new(queue, at, record, &damaged) : NULL;
    check(!damaged);
    if (held) {
        held_enter(held, queue);
        held_wait(held);
        return;
    }
    if (loading)
        queue->window->load->stale = true; /* it would go past this row */
    lower_loaded_to(queue, at);
    drop_behind(queue);
}

void window_forget(struct held *held)
{
    struct stored_queue *queue = stored(held->row.queue);
    struct window *window = queue->window;
    uint64_t id = held->row.envelope.id;
    queue_mark_dirty(queue);
    if (!held->intake)
        walks_note(queue, (struct position){held->row.due_ms, id}, -1);
    held_leave(held);
    if (!window->load || held->intake)
        return;
    struct held *marker = malloc(sizeof(*marker));
    if (!marker) {
        window->load->stale = true;
        return;
    }
    *marker = (struct held){.malloced = true, .state = HELD_GONE};
    marker->row.envelope.id = id;
    held_enter(marker, queue);
    list_append(&window->gone, &marker->link);
}

static void drop_markers(struct window *window)
{
    for (struct list_link *link; (link = list_first(&window->gone));) {
        struct held *marker = container_of(link, struct held, link);
        held_leave(marker);
        held_free(marker);
    }
}

/* ---- the budget ---- */

static unsigned evict_from(struct stored_queue *queue, unsigned rows)
{
    struct window *window = queue->window;
    unsigned evicted = 0;
    struct due_node *node;
    while (evicted < rows && (node = due_tree_last(&window->tree))) {
        struct held *held = container_of(node, struct held, due);
        lower_loaded_to(queue, node->at);
        held_leave(held);
        held_free(held);
        evicted++;
    }
    if (evicted)
        queue_look(queue);
    return evicted;
}

/* From the queue that was not touched for longest, its latest rows. Not from one that loads: the
 * load would bring them again and leave a gap behind. And not from one that has just been filled:
 * its lane is about to come, and many queues would only empty each other. */
void window_evict(struct share *share, unsigned rows, const struct stored_queue *except)
{
    list_for_each (&share->recent, link, following) {
        struct window *window = container_of(link, struct window, recent);
        struct stored_queue *queue = window->queue;
        if (rows == 0 || window_in_use(window))
            break;
        if (queue == except || window->load)
            continue;
        rows -= evict_from(queue, rows);
        queue_trim_window(queue);
    }
}

void window_touch(struct window *window)
{
    struct share *share = window->queue->queue.share;
    window->touched_ns = share->loop->now_ns;
    if (!list_linked(&window->recent))
        return;
    list_remove(&window->recent);
    list_append(&share->recent, &window->recent);
}

bool window_in_use(const struct window *window)
{
    const struct share *share = window->queue->queue.share;
    return share->loop->now_ns - window->touched_ns < WINDOW_REST_MS * NS_PER_MS;
}

unsigned window_rows_used(const struct share *share)
{
    return share->window_rows + share->loading_rows;
}

/* ---- loading ---- */

unsigned window_load_rows(const struct share *share)
{
    unsigned rows = share->limits.window_rows / 4;
    if (rows > WINDOW_LOAD_ROWS)
        return WINDOW_LOAD_ROWS;
    return rows < LOAD_ROWS_LEAST ? LOAD_ROWS_LEAST : rows;
}

/* No more than the queue has: many small queues must not shut each other out by room that none of
 * them fills. */
static unsigned rows_wanted(const struct share *share, const struct stored_queue *queue)
{
    unsigned most = window_load_rows(share);
    if (queue->approximate || queue->rows >= most)
        return most;
    return queue->rows > LOAD_ROWS_LEAST ? queue->rows : LOAD_ROWS_LEAST;
}

/* How many rows a load may bring; 0: there is no room now. One is always let through. */
static unsigned load_budget(struct share *share, const struct stored_queue *queue)
{
    unsigned most = rows_wanted(share, queue), limit = share->limits.window_rows;
    if (window_rows_used(share) + most > limit)
        window_evict(share, window_rows_used(share) + most - limit, queue);
    unsigned used = window_rows_used(share);
    unsigned room = limit > used ? limit - used : 0;
    if (room >= most)
        return most;
    if (room < LOAD_ROWS_LEAST)
        return used == 0 ? LOAD_ROWS_LEAST : 0;
    return room;
}

/* One row that a load brought. False: no memory, this and the following stay on disk only. */
static bool take_row(struct stored_queue *queue, struct position at, struct span record)
{
    struct share *share = queue->queue.share;
    if (held_find(share, at.id, queue))
        return true;
    bool damaged;
    struct held *held = held_new(queue, at, record, &damaged);
    if (!held) {
        share->usage.damaged += damaged;
        return damaged; /* `queue check` names it; it cannot be delivered */
    }
    held_enter(held, queue);
    held_wait(held);
    share->usage.rows_loaded++;
    settle_journaled(held);
    return true;
}

static void take_rows(struct stored_queue *queue, const struct load *load)
{
    struct position loaded_to = queue->loaded_to;
    for (unsigned i = 0; i < load->row_count; i++) {
        uint8_t shard;
        uint32_t number;
        struct position at;
        if (!row_key_read(load->rows[i].key, &shard, &number, &at.due_ms, &at.id))
            continue;
        if (!take_row(queue, at, load->rows[i].value)) {
            queue->loaded_to = at;
            return;
        }
        loaded_to = (struct position){at.due_ms, at.id + 1};
    }
    queue->loaded_to = load->at_end ? POSITION_END : loaded_to;
}

/* The whole queue is in memory: what the counter says is replaced by what there is. It differs
 * after a crash, when the record on disk is older than the rows. */
static void recount(struct stored_queue *queue)
{
    struct window *window = queue->window;
    uint32_t rows = window->tree.count + window->fresh_rows;
    list_for_each (&window->busy, link, following) {
        const struct held *held = container_of(link, struct held, link);
        rows += held->state != HELD_ACCEPTING && !held->intake;
    }
    queue_set_rows(queue, rows);
}

static void on_window_loaded(struct op *op)
{
    struct window_load *loaded = container_of(op, struct window_load, load.op);
    struct stored_queue *queue = loaded->queue;
    struct share *share = queue->queue.share;

    share->loads--;
    share->loading_rows -= loaded->load.max_rows;
    window_touch(queue->window);
    if (op->result >= 0 && !loaded->stale)
        take_rows(queue, &loaded->load);
    queue->window->load = NULL;
    drop_markers(queue->window);
    drop_behind(queue);
    if (!position_before(queue->loaded_to, POSITION_END))
        recount(queue);
    load_release(&loaded->load);
    if (op->result < 0)
        queue_look_later(queue, RETRY_LOAD_MS);
    else
        queue_look(queue);
    queue_trim_window(queue);
    free(loaded);
    pull_wake(share);
    share_look_drained(share);
}

bool window_load_start(struct stored_queue *queue)
{
    struct share *share = queue->queue.share;
    if (queue->window->load)
        return true;
    unsigned rows = load_budget(share, queue);
    struct window_load *loaded = rows ? calloc(1, sizeof(*loaded)) : NULL;
    if (!loaded)
        return false;
    struct load *load = &loaded->load;
    load_init(load, share->loop, LOAD_WINDOW, on_window_loaded);
    loaded->queue = queue;
    load->lower_len = (uint8_t)row_key(load->lower, queue->shard, queue->number,
                                       queue->loaded_to.due_ms, queue->loaded_to.id)
                          .len;
    load->upper_len = (uint8_t)row_key(load->upper, queue->shard, queue->number + 1, 0, 0).len;
    load->max_rows = rows;
    load->max_bytes = WINDOW_LOAD_BYTES;
    queue->window->load = loaded;
    share->loads++;
    share->loading_rows += rows;
    share_load(share, load);
    return true;
}
