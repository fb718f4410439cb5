/* One function decides (on_turn): the next queue, its rows in the nursery, the next load.
 * Completions only take what was read.
 *
 * Failure modes. A load that fails, or brings what cannot be believed, is made again a second
 * later. A row that finds no memory is counted as busy. While verdicts wait to be recorded, or the
 * disk is full, the walk waits as lanes do. */
#include "queue/walk.h"

#include "core/clock.h"

#include <errno.h>
#include <stdlib.h>

enum {
    QUEUES_PER_TURN = 256,
    WAIT_MS = 100, /* for verdicts to be recorded */
    SCRATCH_KEEP = 64 << 10,
};

static void on_turn(struct op *op);
static void on_pause(struct op *op);

/* ---- life ---- */

void walk_start(struct walk *walk, struct share *share, const struct walk_kind *kind)
{
    walk->share = share;
    walk->kind = kind;
    walk->queue = NULL;
    walk->next = share->all.head.next;
    walk->loading = walk->again = walk->stopped = false;
    walk->started_ms = share->loop->wall_ms;
    chunk_pool_init(&walk->scratch, SIZE_MAX, SCRATCH_KEEP);
    op_init(&walk->turn, on_turn);
    timer_init(&walk->pause, on_pause);
    list_append(&share->walks, &walk->link);
    loop_arm(share->loop, &walk->pause, walk->start_after_ms * NS_PER_MS);
}

static void leave_queue(struct walk *walk)
{
    struct stored_queue *queue = walk->queue;
    walk->queue = NULL;
    if (!queue)
        return;
    queue->window->users--;
    queue_trim_window(queue);
}

static void end(struct walk *walk, bool whole)
{
    struct share *share = walk->share;
    leave_queue(walk);
    loop_disarm(share->loop, &walk->pause);
    list_remove(&walk->link);
    chunk_pool_fini(&walk->scratch);
    free(walk->moved);
    walk->moved = NULL;
    walk->moved_count = walk->moved_capacity = 0;
    walk->kind->end(walk, whole);
    share_look_drained(share);
}

void walk_stop(struct walk *walk)
{
    walk->stopped = true;
    if (!walk->loading)
        loop_arm(walk->share->loop, &walk->pause, 0);
}

void walks_drain(struct share *share)
{
    list_for_each (&share->walks, link, following)
        walk_stop(container_of(link, struct walk, link));
}

void walks_fini(struct share *share)
{
    for (struct list_link *link; (link = list_first(&share->walks));) {
        struct walk *walk = container_of(link, struct walk, link);
        walk->queue = NULL; /* its queue is freed with all others */
        end(walk, false);
    }
}

static void rest(struct walk *walk, uint64_t ms)
{
    loop_arm(walk->share->loop, &walk->pause, ms * NS_PER_MS);
}

static void on_pause(struct op *op)
{
    struct walk *walk = container_of(op, struct walk, pause.op);
    loop_nudge(walk->share->loop, &walk->turn);
}

/* ---- what changes meanwhile ---- */

static void note(struct walk *walk, struct position at)
{
    if (walk->moved_count == walk->moved_capacity) {
        unsigned capacity = walk->moved_capacity ? 2 * walk->moved_capacity : 64;
        struct position *moved = realloc(walk->moved, capacity * sizeof(*moved));
        if (!moved) {
            walk->again = true;
            return;
        }
        walk->moved = moved;
        walk->moved_capacity = capacity;
    }
    walk->moved[walk->moved_count++] = at;
}

void walks_note(struct stored_queue *queue, struct position at, int rows)
{
    list_for_each (&queue->queue.share->walks, link, following) {
        struct walk *walk = container_of(link, struct walk, link);
        if (walk->queue != queue)
            continue;
        if (walk->kind->counted && position_before(at, walk->from))
            walk->matched += (uint64_t)(int64_t)rows;
        else if (walk->loading)
            note(walk, at);
    }
}

void walks_forget_queue(struct share *share, struct stored_queue *queue)
{
    list_for_each (&share->walks, link, following) {
        struct walk *walk = container_of(link, struct walk, link);
        if (walk->next == &queue->all)
            walk->next = queue->all.next;
    }
}

static bool has_moved(const struct walk *walk, uint64_t id)
{
    for (unsigned i = 0; i < walk->moved_count; i++)
        if (walk->moved[i].id == id)
            return true;
    return false;
}

/* Whether a row came or went, or is about to, between these places while they were counted. */
static bool moved_between(const struct walk *walk, struct position from, struct position to)
{
    for (unsigned i = 0; i < walk->moved_count; i++)
        if (!position_before(walk->moved[i], from) && position_before(walk->moved[i], to))
            return true;
    list_for_each (&walk->queue->window->busy, link, following) {
        const struct held *held = container_of(link, struct held, link);
        struct position at = {held->row.due_ms, held->row.envelope.id};
        struct position next = {held->next_due_ms, held->row.envelope.id};
        if (held->state == HELD_LENT)
            continue;
        if (!position_before(at, from) && position_before(at, to))
            return true;
        if (!position_before(next, from) && position_before(next, to))
            return true;
    }
    return false;
}

/* ---- claiming ---- */

static unsigned rows_at_once(const struct walk *walk)
{
    return walk->at_once ? walk->at_once : WALK_ROWS;
}

/* Into the hands of the walk. */
static void claim(struct walk *walk, struct held *held)
{
    held_lend(held);
    settle_journaled(held);
    if (held->state == HELD_LENT)
        walk->claimed[walk->claimed_count++] = held;
}

static bool wanted(const struct walk *walk, const struct held *held)
{
    return walk->kind->match(walk, &held->row.envelope, &held->row.state, held->row.due_ms);
}

static void take_stored(struct walk *walk, struct position at, struct span record)
{
    struct stored_queue *queue = walk->queue;
    bool damaged = false;
    /* All rows before loaded_to are in memory: it has gone since it was read. */
    if (position_before(at, queue->loaded_to) || has_moved(walk, at.id))
        return;
    struct held *held = held_new(queue, at, record, &damaged);
    if (!held) {
        walk->share->usage.damaged += damaged;
        walk->busy += !damaged;
        return;
    }
    held_enter(held, queue);
    held->state = HELD_LENT; /* in no list yet */
    claim(walk, held);
}

static void take(struct walk *walk, struct position at, struct span record)
{
    struct held *held = held_find(walk->share, at.id, walk->queue);
    if (!held)
        take_stored(walk, at, record);
    else if (held->state == HELD_WAITING && !held->intake && wanted(walk, held))
        claim(walk, held);
}

void walk_release(struct held *held)
{
    struct stored_queue *queue = stored(held->row.queue);
    struct share *share = queue->queue.share;
    struct position at = {held->row.due_ms, held->row.envelope.id};
    if (held->intake || position_before(at, queue->loaded_to)) {
        share_return(share, &held->row);
        return;
    }
    share->lent--;
    held_leave(held);
    held_free(held);
}

static void visit_claimed(struct walk *walk)
{
    for (unsigned i = 0; i < walk->claimed_count; i++) {
        walk->visited++;
        walk->kind->visit(walk, walk->claimed[i]);
    }
    walk->claimed_count = 0;
}

static void release_from(struct walk *walk, unsigned first)
{
    for (unsigned i = first; i < walk->claimed_count; i++)
        walk_release(walk->claimed[i]);
    walk->claimed_count = first;
}

/* ---- the nursery ---- */

/* True: there may be more of them. */
static bool work_on_fresh(struct walk *walk)
{
    struct window *window = walk->queue->window;
    if (!walk->kind->fresh || walk->fresh_seen)
        return false;
    list_for_each (&window->fresh, link, following) {
        struct held *held = container_of(link, struct held, link);
        if (!wanted(walk, held))
            continue;
        walk->matched++;
        if (walk->kind->count_only)
            continue;
        claim(walk, held);
        if (walk->claimed_count == rows_at_once(walk))
            break;
    }
    bool more = walk->claimed_count == rows_at_once(walk);
    walk->fresh_seen = !more;
    visit_claimed(walk);
    return more;
}

/* ---- bodies ---- */

static void on_bodies(struct op *op);

/* For those that have none yet. False: nothing to read. */
static bool load_bodies(struct walk *walk)
{
    struct load *load = &walk->load;
    if (!walk->kind->with_body)
        return false;
    load_init(load, walk->share->loop, LOAD_BODIES, on_bodies);
    load->max_bytes = WALK_BYTES;
    for (unsigned i = 0; i < walk->claimed_count; i++) {
        const struct held *held = walk->claimed[i];
        if (held->intake || held->body_memory)
            continue;
        load->ids[load->id_count] = held->row.envelope.id;
        load->sizes[load->id_count++] = held->row.envelope.size;
    }
    if (load->id_count == 0)
        return false;
    walk->loading = true;
    walk->share->loads++;
    share_load(walk->share, load);
    return true;
}

static void give_body(struct held *held, struct load *load, unsigned index)
{
    if (load->found[index] != 1)
        return; /* a report does without */
    held->body_memory = load->body_memory[index];
    held->body_span = load->bodies[index];
    held->row.body = &held->body_span;
    held->row.body_pieces = 1;
    load->body_memory[index] = NULL;
    held->row.queue->share->loaded_bytes += held->row.envelope.size;
}

/* What no longer fitted into the load is for the next one. */
static void on_bodies(struct op *op)
{
    struct walk *walk = container_of(op, struct walk, load.op);
    struct load *load = &walk->load;
    unsigned at = 0;
    walk->share->loads--;
    walk->loading = false;
    for (unsigned i = 0; op->result >= 0 && i < walk->claimed_count && at < load->id_count; i++) {
        struct held *held = walk->claimed[i];
        if (held->row.envelope.id != load->ids[at])
            continue;
        if (load->found[at] == -EAGAIN) {
            walk->from = (struct position){held->row.due_ms, held->row.envelope.id};
            walk->at_end = false;
            release_from(walk, i);
            break;
        }
        give_body(held, load, at++);
    }
    load_release(load);
    visit_claimed(walk);
    loop_nudge(walk->share->loop, &walk->turn);
}

/* ---- rows ---- */

static bool match_record(void *context, struct span key, struct span value)
{
    struct walk *walk = context;
    struct envelope envelope;
    struct row_state state;
    struct arena arena;
    uint8_t shard;
    uint32_t number;
    uint64_t due_ms;
    if (walk->kind->counted)
        return true;
    arena_init(&arena, &walk->scratch, ARENA_LIMIT);
    bool matches = row_key_read(key, &shard, &number, &due_ms, &envelope.id) &&
                   row_record_read(value, &arena, &envelope, &state);
    if (matches) {
        row_key_read(key, &shard, &number, &due_ms, &envelope.id);
        matches = walk->kind->match(walk, &envelope, &state, due_ms);
    }
    arena_fini(&arena);
    return matches;
}

static bool key_position(struct span key, struct position *ret_at)
{
    uint8_t shard;
    uint32_t number;
    return row_key_read(key, &shard, &number, &ret_at->due_ms, &ret_at->id);
}

static void take_all(struct walk *walk)
{
    const struct load *load = &walk->load;
    for (unsigned i = 0; i < load->row_count; i++) {
        struct position at;
        if (key_position(load->rows[i].key, &at))
            take(walk, at, load->rows[i].value);
    }
}

/* What was read is taken; where to go on is set. False: it has to be read again. */
static bool take_load(struct walk *walk)
{
    const struct load *load = &walk->load;
    struct position next = walk->to;
    if (walk->again)
        return false;
    if (!load->at_end && load->last_len && key_position(span_of(load->last, load->last_len), &next))
        next.id++;
    if (walk->kind->counted) {
        if (moved_between(walk, walk->from, next) ||
            !walk->kind->counted(walk, next, load->scanned, load->at_end))
            return false;
    } else {
        walk->matched += load->matched;
        take_all(walk);
    }
    walk->from = next;
    walk->at_end = load->at_end;
    return true;
}

static void on_rows(struct op *op)
{
    struct walk *walk = container_of(op, struct walk, load.op);
    walk->share->loads--;
    walk->loading = false;
    bool taken = op->result >= 0 && !walk->stopped && take_load(walk);
    walk->again = false;
    walk->moved_count = 0;
    load_release(&walk->load);
    if (taken && load_bodies(walk))
        return;
    visit_claimed(walk);
    if (taken || walk->stopped)
        loop_nudge(walk->share->loop, &walk->turn);
    else
        rest(walk, WALK_RETRY_MS);
}

static void load_rows(struct walk *walk)
{
    const struct stored_queue *queue = walk->queue;
    struct load *load = &walk->load;
    bool open = !position_before(walk->to, POSITION_END);
    load_init(load, walk->share->loop, LOAD_WINDOW, on_rows);
    load->lower_len =
        (uint8_t)row_key(load->lower, queue->shard, queue->number, walk->from.due_ms, walk->from.id)
            .len;
    load->upper_len = (uint8_t)(open ? row_key(load->upper, queue->shard, queue->number + 1, 0, 0)
                                     : row_key(load->upper, queue->shard, queue->number,
                                               walk->to.due_ms, walk->to.id))
                          .len;
    load->match = match_record;
    load->match_context = walk;
    load->max_rows = walk->kind->counted || walk->kind->count_only ? 0 : rows_at_once(walk);
    load->max_scanned = WALK_SCANNED;
    load->max_bytes = WALK_BYTES;
    walk->moved_count = 0;
    walk->loading = true;
    walk->share->loads++;
    share_load(walk->share, load);
}

/* ---- queues ---- */

/* Lent, or on its way to its next state: also rows that no load would bring. */
static unsigned count_busy(const struct walk *walk, const struct window *window)
{
    unsigned count = 0;
    if (walk->kind->counted || walk->kind->count_only)
        return 0;
    list_for_each (&window->busy, link, following) {
        const struct held *held = container_of(link, struct held, link);
        count += held->state != HELD_ACCEPTING && wanted(walk, held);
    }
    return count;
}

/* The next queue is the walk's if it has anything to do there. False: that was the last one. */
static bool next_queue(struct walk *walk)
{
    struct share *share = walk->share;
    if (walk->next == &share->all.head)
        return false;
    struct stored_queue *queue = container_of(walk->next, struct stored_queue, all);
    walk->next = walk->next->next;
    walk->queues++;
    walk->from = (struct position){queue_first_due_ms(queue), 0};
    walk->to = POSITION_END;
    bool chosen = !walk->kind->choose || walk->kind->choose(walk, queue, &walk->from, &walk->to);
    if (!chosen || !queue_open_window(queue))
        return true;
    walk->queue = queue;
    walk->busy += count_busy(walk, queue->window);
    queue->window->users++;
    walk->fresh_seen = false;
    walk->at_end = !position_before(walk->from, walk->to);
    return true;
}

static bool must_wait(const struct walk *walk)
{
    const struct share *share = walk->share;
    return !walk->kind->counted && !walk->kind->count_only &&
           (share_capped(share) || share->demotions >= DEMOTIONS_IN_FLIGHT);
}

/* How long it has to rest for what it did since the last time. */
static uint64_t pace_ms(struct walk *walk)
{
    unsigned rows = (unsigned)(walk->visited - walk->paced);
    walk->paced = walk->visited;
    return rows && walk->kind->rest_ms ? walk->kind->rest_ms(walk, rows) : 0;
}

static void on_turn(struct op *op)
{
    struct walk *walk = container_of(op, struct walk, turn);
    if (walk->loading)
        return;
    if (walk->stopped || (walk->kind->keep_going && !walk->kind->keep_going(walk))) {
        end(walk, false);
        return;
    }
    uint64_t pace = pace_ms(walk);
    if (pace || must_wait(walk)) {
        rest(walk, pace ? pace : WAIT_MS);
        return;
    }
    for (unsigned i = 0; i < QUEUES_PER_TURN; i++) {
        if (!walk->queue && !next_queue(walk)) {
            end(walk, true);
            return;
        }
        if (!walk->queue)
            continue;
        if (work_on_fresh(walk))
            break;
        if (!walk->at_end) {
            load_rows(walk);
            return;
        }
        leave_queue(walk);
    }
    loop_nudge(walk->share->loop, &walk->turn);
}
