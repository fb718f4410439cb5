/* The queues of a share: found by (shard, name), looked at when something may be due, written to
 * `queue` records, and forgotten when they have been empty for a while.
 *
 * `first_due` in a queue's record says where its rows begin, so that the first load after a start
 * does not cross what was consumed. It may be too low, never too high: a batch that puts a row
 * below it lowers it in the same batch, until one such batch is confirmed; checkpoints raise it,
 * but only while no lowering is in flight (the committer keeps the order of what is submitted, not
 * of what fails).
 *
 * `arrivals_until` is the same from the other side: after a crash the rows that came in last are
 * sought in those queues only into which something can have come by then (recover_young.c). It is
 * promised by the minute, so that a busy queue writes its record once in that time. */
#include "queue/spool_private.h"
#include "queue/walk.h"

#include <errno.h>
#include <stdlib.h>

enum {
    NAME_MAX_LEN = 4096,
    LOOKS_PER_TURN = 256,
    CHECKPOINT_QUEUES = 256,
    ARRIVALS_MS = 60000,
};

/* ---- finding and making ---- */

static uint64_t name_hash(const struct share *share, uint8_t shard, struct span name)
{
    return hash_key(share->options->seed, name) ^ (uint64_t)shard * UINT64_C(0x9e3779b97f4a7c15);
}

struct stored_queue *queue_find(struct share *share, uint8_t shard, struct span name)
{
    struct map_node *node = map_find(&share->queues, name_hash(share, shard, name));
    for (; node; node = map_find_next(node)) {
        struct stored_queue *queue = stored(container_of(node, struct queue, by_name));
        if (queue->shard == shard && span_equals(queue->queue.name, name))
            return queue;
    }
    return NULL;
}

struct stored_queue *queue_add(struct share *share, uint8_t shard, uint32_t number,
                               struct span name)
{
    struct stored_queue *queue = calloc(1, sizeof(*queue) + name.len);
    if (!queue || agenda_reserve(&share->agenda, share->queues.count + 1) != 0) {
        free(queue);
        return NULL;
    }
    memcpy(queue->text, name.data, name.len);
    queue->queue.share = share;
    queue->queue.name = span_of(queue->text, name.len);
    queue->queue.domain = address_domain(queue->queue.name);
    if (queue->queue.domain.len == 0)
        queue->queue.domain = queue->queue.name;
    queue->number = number;
    queue->shard = shard;
    queue->loaded_to = POSITION_END;
    queue->first_due_ms = UINT64_MAX;
    if (number >= share->next_number[shard])
        share->next_number[shard] = number + 1;
    map_insert(&share->queues, &queue->queue.by_name, name_hash(share, shard, name));
    list_append(&share->all, &queue->all);
    return queue;
}

struct stored_queue *queue_obtain(struct share *share, uint8_t shard, const struct envelope *row)
{
    char name[NAME_MAX_LEN];
    struct sink sink;
    sink_init(&sink, name, sizeof(name));
    queue_name_put(row->campaign, row->tenant, row->domain, &sink);
    if (sink.full)
        return NULL;
    struct stored_queue *queue = queue_find(share, shard, sink_span(&sink));
    return queue ? queue : queue_add(share, shard, share->next_number[shard], sink_span(&sink));
}

void queue_free(struct stored_queue *queue)
{
    struct share *share = queue->queue.share;
    agenda_drop(&share->agenda, &queue->look);
    walks_forget_queue(share, queue);
    list_remove(&queue->all);
    map_remove(&share->queues, &queue->queue.by_name);
    free(queue);
}

bool queue_open_window(struct stored_queue *queue)
{
    if (queue->window)
        return true;
    struct window *window = calloc(1, sizeof(*window));
    if (!window)
        return false;
    window->queue = queue;
    window->pending_due_ms = UINT64_MAX;
    list_init(&window->fresh);
    list_init(&window->busy);
    list_init(&window->gone);
    queue->window = window;
    return true;
}

static bool window_unused(const struct window *window)
{
    return window->tree.count == 0 && list_empty(&window->fresh) && list_empty(&window->busy) &&
           list_empty(&window->gone) && !window->load && !window->bodies && !window->job &&
           window->users == 0 && window->record_puts == 0 && !list_linked(&window->dirty);
}

void queue_trim_window(struct stored_queue *queue)
{
    struct window *window = queue->window;
    if (!window || !window_unused(window))
        return;
    free(window);
    queue->window = NULL;
}

/* ---- looking ---- */

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

uint64_t queue_first_due_ms(const struct stored_queue *queue)
{
    const struct window *window = queue->window;
    const struct due_node *first = window ? due_tree_first(&window->tree) : NULL;
    return first ? earlier(queue->loaded_to.due_ms, first->at.due_ms) : queue->loaded_to.due_ms;
}

/* When something waiting is due: in memory, or on disk (a lower bound). */
static uint64_t next_due_ms(const struct stored_queue *queue)
{
    const struct window *window = queue->window;
    if (!window)
        return queue->loaded_to.due_ms;
    if (!list_empty(&window->fresh))
        return 0;
    if (!window->load)
        return queue_first_due_ms(queue);
    const struct due_node *first = due_tree_first(&window->tree);
    return first ? first->at.due_ms : UINT64_MAX;
}

static void agenda_enter(struct stored_queue *queue, uint64_t at_ms)
{
    struct share *share = queue->queue.share;
    bool first = at_ms < agenda_next_ms(&share->agenda);
    agenda_set(&share->agenda, &queue->look, at_ms);
    if (first && share->loop)
        share_arm_look(share);
}

void queue_look_later(struct stored_queue *queue, uint64_t delay_ms)
{
    queue->empty = false;
    agenda_enter(queue, queue->queue.share->loop->wall_ms + delay_ms);
}

static void look_at_empty(struct stored_queue *queue)
{
    struct window *window = queue->window;
    if (window && (!list_empty(&window->busy) || window->load))
        return; /* its end looks again */
    if (!queue->empty)
        agenda_enter(queue, queue->queue.share->loop->wall_ms + EMPTY_QUEUE_MS);
    queue->empty = true;
    queue_set_rows(queue, 0); /* the counter of a crash may have been too high */
}

void queue_look(struct stored_queue *queue)
{
    struct share *share = queue->queue.share;
    struct window *window = queue->window;
    if (window && window->job) {
        queue_wake_job(queue);
        return;
    }
    if (queue->announced || share->draining || list_linked(&queue->waiting))
        return;
    uint64_t next_ms = next_due_ms(queue);
    if (next_ms == UINT64_MAX) {
        look_at_empty(queue);
        return;
    }
    queue->empty = false;
    if (next_ms > share->loop->wall_ms) {
        agenda_enter(queue, next_ms);
        return;
    }
    agenda_drop(&share->agenda, &queue->look);
    queue->announced = true;
    share->on_ready(share->context, &queue->queue);
}

/* ---- forgetting ---- */

struct farewell {
    struct commit commit;
    struct arena arena;
    struct share *share;
};

static void on_record_deleted(struct op *op)
{
    /* If it failed, a record of an empty queue stays: legal, and found again at the next start. */
    struct farewell *farewell = container_of(op, struct farewell, commit.op);
    struct share *share = farewell->share;
    arena_fini(&farewell->arena);
    free(farewell);
    share->writes--;
    share_look_drained(share);
}

static bool delete_record(struct stored_queue *queue)
{
    struct share *share = queue->queue.share;
    struct farewell *farewell = calloc(1, sizeof(*farewell));
    if (!farewell)
        return false;
    char key[KEY_MAX];
    farewell->share = share;
    arena_init(&farewell->arena, &share->own, ARENA_LIMIT);
    commit_init(&farewell->commit, share->loop, COMMIT_WRITTEN, on_record_deleted);
    if (!commit_delete(&farewell->commit, &farewell->arena, FAMILY_QUEUE,
                       queue_key(key, queue->shard, queue->number))) {
        arena_fini(&farewell->arena);
        free(farewell);
        return false;
    }
    share->writes++;
    share_submit(share, &farewell->commit);
    return true;
}

/* It has been empty for EMPTY_QUEUE_MS. */
static void forget(struct stored_queue *queue)
{
    struct window *window = queue->window;
    if (window && list_linked(&window->dirty)) {
        list_remove(&window->dirty);
        queue->queue.share->dirty_count--;
    }
    queue_trim_window(queue);
    bool held = list_linked(&queue->queue.want);
    bool busy = queue->window || list_linked(&queue->waiting); /* its record is being written */
    if (held || busy || (queue->recorded && !delete_record(queue))) {
        uint64_t again_ms = busy ? SHARE_TICK_MS : EMPTY_QUEUE_MS;
        agenda_enter(queue, queue->queue.share->loop->wall_ms + again_ms);
        return;
    }
    queue_free(queue);
}

void queues_look_due(struct share *share)
{
    uint64_t now_ms = share->loop->wall_ms;
    for (unsigned i = 0; i < LOOKS_PER_TURN; i++) {
        struct agenda_item *item = agenda_take(&share->agenda, now_ms);
        if (!item)
            break;
        struct stored_queue *queue = container_of(item, struct stored_queue, look);
        if (queue->empty && next_due_ms(queue) == UINT64_MAX)
            forget(queue);
        else
            queue_look(queue);
    }
    share_arm_look(share);
}

/* ---- records ---- */

void queue_set_rows(struct stored_queue *queue, uint32_t rows)
{
    struct share_usage *usage = &queue->queue.share->usage;
    usage->queues_uncounted -= queue->approximate;
    queue->approximate = false;
    if (rows == queue->rows)
        return;
    usage->rows += rows;
    usage->rows -= queue->rows;
    queue->rows = rows;
    if (queue->window)
        queue_mark_dirty(queue);
}

static bool put_record(const struct stored_queue *queue, struct commit *commit, struct arena *arena,
                       const struct record_promise *promise)
{
    uint32_t fresh = queue->window->fresh_rows; /* counted anew by the next start */
    struct queue_record record = {.name = queue->queue.name,
                                  .first_due_ms = promise->first_due_ms,
                                  .rows = queue->rows > fresh ? queue->rows - fresh : 0,
                                  .arrivals_until_ms = promise->arrivals_until_ms};
    char key[KEY_MAX];
    struct span *value = arena_take(arena, sizeof(*value));
    return value && queue_record_write(&record, arena, value) &&
           commit_put(commit, arena, FAMILY_QUEUE, queue_key(key, queue->shard, queue->number),
                      value, 1);
}

/* A row that is due already is one that has just come in; retries are due later. */
static bool arrives_late(const struct stored_queue *queue, uint64_t due_ms)
{
    return due_ms > queue->arrivals_until_ms && due_ms <= queue->queue.share->loop->wall_ms;
}

bool queue_put_record(struct stored_queue *queue, struct commit *commit, struct arena *arena,
                      uint64_t due_ms, struct record_promise *promise)
{
    bool again = promise->first_due_ms != 0, late = arrives_late(queue, due_ms);
    if (queue->recorded && due_ms >= queue->first_due_ms && !late && !again)
        return true;
    struct window *window = queue->window;
    struct record_promise next = {
        .first_due_ms = earlier(due_ms, earlier(window->pending_due_ms, queue->first_due_ms)),
        .arrivals_until_ms = later(window->pending_until_ms, queue->arrivals_until_ms),
    };
    if (late)
        next.arrivals_until_ms =
            later(next.arrivals_until_ms, (due_ms / ARRIVALS_MS + 1) * ARRIVALS_MS);
    if (!put_record(queue, commit, arena, &next))
        return false;
    if (!again)
        window->record_puts++;
    window->pending_due_ms = next.first_due_ms;
    window->pending_until_ms = next.arrivals_until_ms;
    *promise = next;
    return true;
}

void queue_record_put_over(struct stored_queue *queue)
{
    struct window *window = queue->window;
    if (--window->record_puts > 0)
        return;
    window->pending_due_ms = UINT64_MAX;
    window->pending_until_ms = 0;
}

void queue_record_done(struct stored_queue *queue, struct record_promise *promise, int result)
{
    if (promise->first_due_ms == 0)
        return;
    if (result == 0) {
        queue->recorded = true;
        queue->first_due_ms = earlier(queue->first_due_ms, promise->first_due_ms);
        queue->arrivals_until_ms = later(queue->arrivals_until_ms, promise->arrivals_until_ms);
    }
    queue_record_put_over(queue);
    *promise = (struct record_promise){0};
    queue_mark_dirty(queue);
}

void queue_mark_dirty(struct stored_queue *queue)
{
    struct share *share = queue->queue.share;
    if (list_linked(&queue->window->dirty))
        return;
    list_append(&share->dirty, &queue->window->dirty);
    share->dirty_count++;
}

/* ---- checkpoints ---- */

struct checkpoint {
    struct commit commit;
    struct arena arena;
    struct share *share;
    unsigned count;
    struct stored_queue *queues[CHECKPOINT_QUEUES];
};

static void on_checkpoint(struct op *op)
{
    struct checkpoint *checkpoint = container_of(op, struct checkpoint, commit.op);
    struct share *share = checkpoint->share;
    for (unsigned i = 0; i < checkpoint->count; i++) {
        queue_record_put_over(checkpoint->queues[i]);
        queue_trim_window(checkpoint->queues[i]);
    }
    arena_fini(&checkpoint->arena);
    free(checkpoint);
    share->writes--;
    share_look_drained(share);
}

/* Nothing of this queue on disk, nor on its way there, is due before this. */
static uint64_t floor_ms(const struct stored_queue *queue)
{
    struct window *window = queue->window;
    uint64_t first_ms = queue->loaded_to.due_ms;
    const struct due_node *first = due_tree_first(&window->tree);
    if (first)
        first_ms = earlier(first_ms, first->at.due_ms);
    list_for_each (&window->busy, link, following) {
        const struct held *held = container_of(link, struct held, link);
        first_ms = earlier(first_ms, earlier(held->row.due_ms, held->next_due_ms));
    }
    return first_ms == UINT64_MAX ? queue->queue.share->loop->wall_ms : first_ms;
}

/* Never below what was recorded: a row that is about to be put there lowers it in its own batch,
 * and this one may fail while that one does not. */
static void enter_checkpoint(struct checkpoint *checkpoint, struct stored_queue *queue)
{
    uint64_t floor = floor_ms(queue);
    struct record_promise promise = {later(floor, queue->first_due_ms), queue->arrivals_until_ms};
    if (!put_record(queue, &checkpoint->commit, &checkpoint->arena, &promise))
        return;
    /* From here on a batch below it has to lower it again, even if this one fails. */
    queue->first_due_ms = promise.first_due_ms;
    queue->window->record_puts++;
    checkpoint->queues[checkpoint->count++] = queue;
}

static struct checkpoint *checkpoint_new(struct share *share)
{
    struct checkpoint *checkpoint = malloc(sizeof(*checkpoint));
    if (!checkpoint)
        return NULL;
    checkpoint->share = share;
    checkpoint->count = 0;
    arena_init(&checkpoint->arena, &share->own, ARENA_LIMIT);
    commit_init(&checkpoint->commit, share->loop, COMMIT_WRITTEN, on_checkpoint);
    return checkpoint;
}

static void checkpoint_end(struct checkpoint *checkpoint)
{
    struct share *share = checkpoint->share;
    if (checkpoint->count == 0) {
        arena_fini(&checkpoint->arena);
        free(checkpoint);
        return;
    }
    share->writes++;
    share_submit(share, &checkpoint->commit);
}

void queues_checkpoint(struct share *share)
{
    struct list dirty;
    struct checkpoint *checkpoint = NULL;
    list_init(&dirty);
    list_append_all(&dirty, &share->dirty);
    share->dirty_count = 0;
    for (struct list_link *link; (link = list_take_first(&dirty));) {
        struct stored_queue *queue = container_of(link, struct window, dirty)->queue;
        if (queue->recorded && queue->window->record_puts > 0) {
            queue_mark_dirty(queue); /* next time */
            continue;
        }
        if (queue->recorded && !checkpoint)
            checkpoint = checkpoint_new(share);
        if (queue->recorded && checkpoint)
            enter_checkpoint(checkpoint, queue);
        queue_trim_window(queue);
        if (checkpoint && checkpoint->count == CHECKPOINT_QUEUES) {
            checkpoint_end(checkpoint);
            checkpoint = NULL;
        }
    }
    if (checkpoint)
        checkpoint_end(checkpoint);
}
