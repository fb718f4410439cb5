/* The way of a batch that moves a row to its next state:
 *
 *     journal durable --> reports sealed --> (several rows: references known, its turn) -->
 * submitted --> committed ^                                        |
 *                                   +---- tick, when the disk has room <-- failed: stuck
 *
 * Failure modes. A journal that cannot follow does not hold up the queue: the store decides whether
 * mail is safe. A full disk makes the settlement stuck, and it is submitted again, as it was, when
 * there is room; only the queue's record and the id ceiling are put anew, since others may have
 * written newer ones meanwhile. A dead store: it stays stuck, and recovery finds the row as it was
 * and the verdict in the journal. */
#include "queue/spool_private.h"
#include "queue/walk.h"

#include <errno.h>

static void on_journaled(struct op *op);
static void on_sealed(struct op *op);
static void on_committed(struct op *op);

struct settlement *settlement_new(struct held *held, bool verdict)
{
    struct share *share = held->row.queue->share;
    struct arena arena;
    arena_init(&arena, &share->own, ARENA_LIMIT);
    struct settlement *settlement = arena_take_zeroed(&arena, sizeof(*settlement));
    if (!settlement) {
        arena_fini(&arena);
        return NULL;
    }
    settlement->share = share;
    settlement->held = held;
    settlement->arena = arena;
    settlement->verdict = verdict;
    op_init(&settlement->journaled, on_journaled);
    op_init(&settlement->sealed, on_sealed);
    commit_init(&settlement->commit, share->loop, COMMIT_WRITTEN, on_committed);
    held_set_busy(held, HELD_SETTLING);
    share->settling++;
    share->unrecorded += verdict;
    share->demotions += !verdict;
    return settlement;
}

static struct stored_queue *goes_to(const struct settlement *settlement)
{
    return settlement->target ? settlement->target : stored(settlement->held->row.queue);
}

/* Its window stays, and its first_due is not raised, while a row is on its way to it. */
static void expect_row(struct stored_queue *target)
{
    target->window->users++;
    target->window->record_puts++;
}

static void expect_no_row(struct stored_queue *target)
{
    target->window->users--;
    queue_record_put_over(target);
    queue_look(target); /* it may have been made for nothing */
    queue_trim_window(target);
}

static void settlement_free(struct settlement *settlement)
{
    struct share *share = settlement->share;
    struct arena arena = settlement->arena;
    struct stored_queue *target = settlement->target;
    share->settling--;
    share->unrecorded -= settlement->verdict;
    share->demotions -= !settlement->verdict;
    arena_fini(&arena);
    if (target)
        expect_no_row(target);
    pull_wake(share);
    share_look_drained(share);
}

void settlement_abort(struct settlement *settlement)
{
    struct held *held = settlement->held;
    struct stored_queue *queue = stored(held->row.queue);
    for (unsigned i = 0; i < settlement->report_count; i++)
        intake_failed(settlement->reports[i], -ECANCELED);
    held_wait(held);
    settlement_free(settlement);
    queue_look_later(queue, SHARE_TICK_MS);
}

void settlement_reschedule(struct held *held, uint64_t due_ms)
{
    struct share *share = held->row.queue->share;
    struct settlement *settlement = settlement_new(held, false);
    share->lent--;
    if (!settlement)
        held_wait(held); /* no memory: it stays as it is */
    else if (settlement_fill(settlement, &held->row.envelope, &held->row.state, due_ms))
        settlement_begin(settlement);
    else
        settlement_abort(settlement);
}

void settlement_move(struct held *held, const struct envelope *envelope,
                     struct stored_queue *target)
{
    struct share *share = held->row.queue->share;
    struct settlement *settlement = settlement_new(held, false);
    share->lent--;
    if (!settlement) {
        held_wait(held); /* no memory: it stays where it is */
        queue_trim_window(target);
        return;
    }
    settlement->target = target;
    expect_row(target);
    if (settlement_fill(settlement, envelope, &held->row.state, held->row.due_ms))
        settlement_begin(settlement);
    else
        settlement_abort(settlement);
}

/* ---- what the batch says ---- */

bool body_delete(struct commit *commit, struct arena *arena, uint64_t id, uint64_t size)
{
    /* Small bodies are part 0 alone; of large ones that holds the head, so that the rest fills no
     * more parts than all of it would. */
    uint64_t last = size <= BODY_PART ? 0 : (size + BODY_PART - 1) / BODY_PART;
    char key[KEY_MAX];
    for (uint64_t part = 0; part <= last; part++)
        if (!commit_delete(commit, arena, FAMILY_BODY, body_key(key, id, (uint32_t)part)))
            return false;
    return true;
}

static bool delete_fresh(struct settlement *settlement)
{
    char key[KEY_MAX];
    return commit_delete(&settlement->commit, &settlement->arena, FAMILY_FRESH,
                         fresh_key(key, settlement->held->sequence));
}

/* The row's key; for a row that ends also its reference, or the body that is its alone. */
static bool delete_stored(struct settlement *settlement, bool ends)
{
    const struct held *held = settlement->held;
    const struct stored_queue *queue = stored(held->row.queue);
    struct commit *commit = &settlement->commit;
    struct arena *arena = &settlement->arena;
    uint64_t id = held->row.envelope.id;
    char key[KEY_MAX];
    if (!commit_delete(commit, arena, FAMILY_ROW,
                       row_key(key, queue->shard, queue->number, held->row.due_ms, id)))
        return false;
    if (!ends)
        return true;
    if (held->row.envelope.flags & ENVELOPE_SEVERAL_ROWS)
        return commit_delete(commit, arena, FAMILY_REF, ref_key(key, id, queue->number));
    return body_delete(commit, arena, id, held->row.envelope.size);
}

/* A row that moves takes its reference along. */
static bool move_ref(struct settlement *settlement)
{
    static const struct span nothing = {"", 0};
    const struct held *held = settlement->held;
    struct commit *commit = &settlement->commit;
    struct arena *arena = &settlement->arena;
    uint64_t id = held->row.envelope.id;
    char key[KEY_MAX];
    if (!settlement->target || !(held->row.envelope.flags & ENVELOPE_SEVERAL_ROWS))
        return true;
    return commit_delete(commit, arena, FAMILY_REF,
                         ref_key(key, id, stored(held->row.queue)->number)) &&
           commit_put(commit, arena, FAMILY_REF, ref_key(key, id, settlement->target->number),
                      &nothing, 1);
}

static bool put_row(struct settlement *settlement)
{
    const struct held *held = settlement->held;
    const struct stored_queue *queue = goes_to(settlement);
    struct commit *commit = &settlement->commit;
    struct arena *arena = &settlement->arena;
    static const struct span nothing = {"", 0};
    struct position at = settlement->put_at;
    char key[KEY_MAX];
    if (held->intake && !held->body_missing) {
        const struct span *pieces = held->row.body_pieces ? held->row.body : &nothing;
        unsigned count = held->row.body_pieces ? held->row.body_pieces : 1;
        if (!commit_put(commit, arena, FAMILY_BODY, body_key(key, at.id, 0), pieces, count))
            return false;
    }
    return commit_put(commit, arena, FAMILY_ROW,
                      row_key(key, queue->shard, queue->number, at.due_ms, at.id),
                      &settlement->record, 1);
}

bool settlement_fill(struct settlement *settlement, const struct envelope *envelope,
                     const struct row_state *state, uint64_t due_ms)
{
    struct held *held = settlement->held;
    bool goes_on = envelope->recipient_count > 0;
    if (!(held->intake ? delete_fresh(settlement) : delete_stored(settlement, !goes_on)))
        return false;
    if (!goes_on)
        return true;
    settlement->put_at = (struct position){due_ms, envelope->id};
    held->next_due_ms = due_ms;
    return row_record_write(envelope, state, &settlement->arena, &settlement->record) &&
           put_row(settlement) && move_ref(settlement);
}

/* ---- its way ---- */

static bool ends_one_of_several(const struct settlement *settlement)
{
    const struct held *held = settlement->held;
    return settlement->record.len == 0 && !held->intake &&
           (held->row.envelope.flags & ENVELOPE_SEVERAL_ROWS);
}

static void stick(struct settlement *settlement)
{
    list_append(&settlement->share->stuck, &settlement->link);
    settlement->share->stuck_count++;
    share_look_drained(settlement->share);
}

/* What others may write as well is put last, so that it is newest. */
static bool put_records(struct settlement *settlement)
{
    struct stored_queue *queue = goes_to(settlement);
    struct commit *commit = &settlement->commit;
    struct arena *arena = &settlement->arena;
    if (settlement->record.len &&
        !queue_put_record(queue, commit, arena, settlement->put_at.due_ms, &settlement->promise))
        return false;
    for (unsigned i = 0; i < settlement->report_count; i++)
        if (!intake_put_records(settlement->reports[i], commit, arena, settlement->submitted))
            return false;
    return true;
}

void settlement_go(struct settlement *settlement, bool last)
{
    const struct envelope *envelope = &settlement->held->row.envelope;
    bool filled = put_records(settlement);
    if (filled && last && !settlement->body_deleted) {
        filled = body_delete(&settlement->commit, &settlement->arena, envelope->id, envelope->size);
        settlement->body_deleted = filled;
    }
    if (!filled) {
        if (settlement->several)
            several_leave(settlement, false);
        stick(settlement);
        return;
    }
    settlement->submitted = true;
    share_submit(settlement->share, &settlement->commit);
}

/* True: a report waits for its seal. */
static bool seal_reports(struct settlement *settlement)
{
    struct share *share = settlement->share;
    for (unsigned i = 0; i < settlement->report_count; i++) {
        if (!settlement->reports[i]->seal)
            continue;
        settlement->sealing = i;
        share->fill_seal(share->seal_context, settlement->reports[i]->seal, &settlement->sealed);
        return true;
    }
    return false;
}

static void on_sealed(struct op *op)
{
    struct settlement *settlement = container_of(op, struct settlement, sealed);
    if (op->result < 0) {
        stick(settlement);
        return;
    }
    intake_drop_seal(settlement->reports[settlement->sealing]);
    settlement_retry(settlement);
}

void settlement_retry(struct settlement *settlement)
{
    bool last = false;
    if (seal_reports(settlement))
        return;
    if (!ends_one_of_several(settlement) || several_join(settlement, &last))
        settlement_go(settlement, last);
}

void settlement_begin(struct settlement *settlement)
{
    if (op_idle(&settlement->journaled))
        settlement_retry(settlement);
}

static void on_journaled(struct op *op)
{
    /* Whether it worked or not: a loss is counted by the journal. */
    settlement_retry(container_of(op, struct settlement, journaled));
}

/* ---- its end ---- */

static void row_goes_on(struct settlement *settlement)
{
    struct held *held = settlement->held;
    struct stored_queue *queue = stored(held->row.queue);
    struct intake *intake = held->intake;
    if (intake)
        nursery_leave(held, settlement->commit.group);
    else
        walks_note(queue, (struct position){held->row.due_ms, held->row.envelope.id}, -1);
    held_leave(held);
    window_put(queue, settlement->put_at, settlement->record);
    if (intake)
        intake_free(intake);
    else
        held_free(held);
}

static void row_ends(struct settlement *settlement)
{
    struct held *held = settlement->held;
    struct stored_queue *queue = stored(held->row.queue);
    struct intake *intake = held->intake;
    if (intake)
        nursery_leave(held, settlement->commit.group);
    window_forget(held);
    if (intake)
        intake_free(intake);
    else
        held_free(held);
    settlement->share->usage.rows -= queue->rows > 0;
    queue->rows -= queue->rows > 0; /* too low after a crash */
}

static void row_moves(struct settlement *settlement)
{
    struct stored_queue *target = settlement->target;
    row_ends(settlement);
    target->rows++;
    settlement->share->usage.rows++;
    window_put(target, settlement->put_at, settlement->record);
    queue_look(target);
}

static void on_committed(struct op *op)
{
    struct settlement *settlement = container_of(op, struct settlement, commit.op);
    struct stored_queue *queue = stored(settlement->held->row.queue);
    bool committed = op->result == 0;

    if (settlement->several)
        several_leave(settlement, committed);
    if (!committed) {
        stick(settlement);
        return;
    }
    queue_record_done(goes_to(settlement), &settlement->promise, 0);
    if (settlement->target)
        row_moves(settlement);
    else if (settlement->record.len)
        row_goes_on(settlement);
    else
        row_ends(settlement);
    for (unsigned i = 0; i < settlement->report_count; i++)
        intake_committed(settlement->reports[i], settlement->commit.sequence);
    queue_look(queue);
    settlement_free(settlement);
}

void settlements_retry(struct share *share)
{
    struct list stuck;
    list_init(&stuck);
    list_append_all(&stuck, &share->stuck);
    share->stuck_count = 0;
    for (struct list_link *link; (link = list_take_first(&stuck));)
        settlement_retry(container_of(link, struct settlement, link));
}
