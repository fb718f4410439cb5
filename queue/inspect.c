#include "queue/inspect.h"

#include "queue/share_private.h"

#include <errno.h>

enum { RECORD_ARENA = 4 << 20 };

/* ---- in memory ---- */

struct queue_scan {
    inspect_queue *visit;
    void *context;
};

static void view_queue(struct map_node *node, void *context)
{
    const struct queue_scan *scan = context;
    const struct stored_queue *queue = stored(container_of(node, struct queue, by_name));
    const struct window *window = queue->window;
    bool busy = window && (!list_empty(&window->fresh) || !list_empty(&window->busy));
    uint64_t next_ms = queue_first_due_ms(queue);
    struct queue_view view = {
        .name = queue->queue.name,
        .shard = queue->shard,
        .number = queue->number,
        .rows = queue->rows,
        .fresh = window ? window->fresh_rows : 0,
        .approximate = queue->approximate,
        .due = busy || queue->announced || next_ms <= queue->queue.share->loop->wall_ms,
        .next_due_ms = next_ms,
        .disk_due_ms = queue->first_due_ms,
        .queue = &queue->queue,
    };
    scan->visit(scan->context, &view);
}

uint64_t share_scan_queues(const struct share *share, uint64_t cursor, inspect_queue *visit,
                           void *context)
{
    struct queue_scan scan = {visit, context};
    return map_scan(&share->queues, cursor, view_queue, &scan);
}

static bool view_held(const struct held *held, inspect_row *visit, void *context)
{
    if (!held->intake || held->state == HELD_ACCEPTING || held->state == HELD_GONE)
        return true;
    struct row_view view = {
        .queue = held->row.queue->name,
        .envelope = &held->row.envelope,
        .state = &held->row.state,
        .due_ms = held->row.due_ms,
        .fresh = true,
        .lent = held->state != HELD_WAITING,
    };
    return visit(context, &view);
}

void queue_view_fresh(const struct queue_view *view, inspect_row *visit, void *context)
{
    const struct window *window = ((const struct stored_queue *)view->queue)->window;
    if (!window)
        return;
    const struct list *const lists[] = {&window->fresh, &window->busy};
    for (size_t i = 0; i < countof(lists); i++)
        list_for_each (lists[i], link, following)
            if (!view_held(container_of(link, struct held, link), visit, context))
                return;
}

struct row_scan {
    inspect_row *visit;
    void *context;
};

static void view_fresh(struct map_node *node, void *context)
{
    const struct row_scan *scan = context;
    view_held(container_of(node, struct held, by_id), scan->visit, scan->context);
}

uint64_t share_scan_fresh(const struct share *share, uint64_t cursor, inspect_row *visit,
                          void *context)
{
    struct row_scan scan = {visit, context};
    return map_scan(&share->held, cursor, view_fresh, &scan);
}

/* ---- on disk ---- */

/* What cannot be read is passed over; `queue check` names it. */
static bool view_record(struct span value, uint64_t due_ms, struct chunk_pool *chunks,
                        inspect_row *visit, void *context)
{
    struct envelope envelope;
    struct row_state state;
    struct arena arena;
    arena_init(&arena, chunks, RECORD_ARENA);
    struct row_view view = {.envelope = &envelope, .state = &state, .due_ms = due_ms};
    bool more = !row_record_read(value, &arena, &envelope, &state) || visit(context, &view);
    arena_fini(&arena);
    return more;
}

int store_scan_rows(struct store *store, uint8_t shard, uint32_t number, uint64_t *due_ms,
                    uint64_t *id, unsigned max, inspect_row *visit, void *context)
{
    char lower[LOAD_KEY_MAX], upper[LOAD_KEY_MAX];
    struct span from = row_key(lower, shard, number, *due_ms, *id);
    struct span to = row_key(upper, shard, number, UINT64_MAX, UINT64_MAX);
    struct store_scan *scan = store_scan_new(store, FAMILY_ROW, from, to);
    if (!scan)
        return -ENOMEM;
    struct chunk_pool chunks;
    chunk_pool_init(&chunks, SIZE_MAX, 64 << 10);
    struct span key, value;
    int found = 1;
    for (unsigned i = 0; i < max && (found = store_scan_next(scan, &key, &value)) == 1; i++) {
        struct position at;
        if (!row_key_read(key, &shard, &number, &at.due_ms, &at.id)) {
            found = -EIO;
            break;
        }
        if (!view_record(value, at.due_ms, &chunks, visit, context))
            break;
        *due_ms = at.due_ms;
        *id = at.id + 1; /* ids are never the highest number */
    }
    store_scan_free(scan);
    chunk_pool_fini(&chunks);
    return found;
}
