/* From a received message to its first durable state.
 *
 * The recipients are grouped by domain: a group is a row, in the queue of its domain. One small,
 * single row whose lane is open becomes a `fresh` record, body inline, one key; anything else is
 * `body` and `row`s (and a `ref` each, if there are several), in one batch as well. The rows stand
 * in share->held from before the batch is submitted, so that a window load that already sees them
 * does not bring them a second time.
 *
 * Reports of our own come the same way, in the batch of the verdict that causes them (settle.c):
 * hence intake_fill into somebody else's commit. */
#include "queue/event.h"
#include "queue/spool_private.h"

#include <errno.h>
#include <stdlib.h>

enum { PARTS_MAX_EXTRA = 1 };

struct intake *intake_blank(struct share *share, struct chunk_pool *pool)
{
    struct arena arena;
    arena_init(&arena, pool, ARENA_LIMIT);
    struct intake *intake = arena_take_zeroed(&arena, sizeof(*intake));
    if (!intake) {
        arena_fini(&arena);
        return NULL;
    }
    intake->message.share = share;
    intake->message.arena = arena;
    return intake;
}

/* The moment of acceptance: recovery relies on messages arriving in the order of their commits. */
static void stamp(struct intake *intake)
{
    const struct share *share = intake->message.share;
    struct envelope *envelope = &intake->message.envelope;
    envelope->arrived_ms = share->loop->wall_ms;
    envelope->expires_ms = envelope->arrived_ms + share->options->max_age_ms;
}

struct intake *intake_new(struct share *share, struct chunk_pool *pool)
{
    struct intake *intake = intake_blank(share, pool);
    if (intake)
        stamp(intake);
    return intake;
}

void intake_drop_seal(struct intake *intake)
{
    const struct share *share = intake->message.share;
    if (intake->seal)
        share->drop_seal(share->seal_context, intake->seal);
    intake->seal = NULL;
}

void intake_free(struct intake *intake)
{
    intake_drop_seal(intake);
    segments_release(intake, 0);
    intake->upload = upload_free(intake->upload);
    struct arena arena = intake->message.arena;
    arena_fini(&arena);
}

void intake_discard(struct intake *intake)
{
    struct share *share = intake->message.share;
    for (unsigned i = 0; i < intake->row_count; i++)
        if (intake->rows[i].entered)
            map_remove(&share->held, &intake->rows[i].by_id);
    intake_free(intake);
}

unsigned text_spans(const struct text *text, struct span *ret_spans)
{
    unsigned count = 0;
    for (const struct text_piece *piece = text->first; piece; piece = piece->next)
        ret_spans[count++] = span_of(piece->data, piece->len);
    return count;
}

/* ---- grouping ---- */

static int compare_recipients(const void *one, const void *other)
{
    const struct recipient *a = one, *b = other;
    struct span domain_a = address_domain(a->address), domain_b = address_domain(b->address);
    size_t common = domain_a.len < domain_b.len ? domain_a.len : domain_b.len;
    int order = common ? memcmp(domain_a.data, domain_b.data, common) : 0;
    if (order)
        return order;
    if (domain_a.len != domain_b.len)
        return domain_a.len < domain_b.len ? -1 : 1;
    /* The domain is the end of the address: what is left to compare are the local parts. */
    common = a->address.len < b->address.len ? a->address.len : b->address.len;
    order = common ? memcmp(a->address.data, b->address.data, common) : 0;
    if (order)
        return order;
    return a->address.len < b->address.len ? -1 : a->address.len > b->address.len;
}

static bool same_domain(const struct recipient *a, const struct recipient *b)
{
    return span_equals(address_domain(a->address), address_domain(b->address));
}

/* Sorts by domain and address and drops repetitions; returns the number of domains. */
static unsigned sort_recipients(struct envelope *envelope)
{
    struct recipient *recipients = envelope->recipients;
    qsort(recipients, envelope->recipient_count, sizeof(*recipients), compare_recipients);
    unsigned kept = 0, domains = 0;
    for (unsigned i = 0; i < envelope->recipient_count; i++) {
        if (kept && span_equals(recipients[kept - 1].address, recipients[i].address))
            continue;
        domains += kept == 0 || !same_domain(&recipients[kept - 1], &recipients[i]);
        recipients[kept++] = recipients[i];
    }
    envelope->recipient_count = kept;
    return domains;
}

static void fill_row(struct held *held, const struct message *message, unsigned first,
                     unsigned count, bool several)
{
    struct envelope *envelope = &held->row.envelope;
    *envelope = message->envelope;
    envelope->recipients = message->envelope.recipients + first;
    envelope->recipient_count = count;
    envelope->domain = address_domain(envelope->recipients[0].address);
    if (several)
        envelope->flags |= ENVELOPE_SEVERAL_ROWS;
    held->row.due_ms = message->share->loop->wall_ms;
    held->next_due_ms = held->row.due_ms;
}

static bool make_rows(struct intake *intake)
{
    struct message *message = &intake->message;
    unsigned rows = sort_recipients(&message->envelope);
    intake->rows = arena_take_zeroed(&message->arena, rows * sizeof(*intake->rows));
    intake->records = arena_take_zeroed(&message->arena, rows * sizeof(*intake->records));
    if (!intake->rows || !intake->records)
        return false;
    unsigned count = message->envelope.recipient_count;
    for (unsigned first = 0, row = 0, end; first < count; first = end, row++) {
        const struct recipient *recipients = message->envelope.recipients;
        for (end = first + 1; end < count && same_domain(&recipients[first], &recipients[end]);)
            end++;
        fill_row(&intake->rows[row], message, first, end - first, rows > 1);
    }
    intake->row_count = rows;
    return true;
}

static bool obtain_queues(struct intake *intake)
{
    struct share *share = intake->message.share;
    uint8_t shard = id_shard(intake->message.envelope.id);
    for (unsigned i = 0; i < intake->row_count; i++) {
        struct held *held = &intake->rows[i];
        struct stored_queue *queue = queue_obtain(share, shard, &held->row.envelope);
        if (!queue || !queue_open_window(queue))
            return false;
        held->row.queue = &queue->queue;
    }
    return true;
}

/* ---- the batch ---- */

/* Head and body as one list of pieces, with room for one in front. */
static struct span *all_pieces(struct intake *intake, struct arena *arena, unsigned *ret_count)
{
    const struct message *message = &intake->message;
    size_t room = PARTS_MAX_EXTRA + message->head.pieces + message->body.pieces;
    struct span *pieces = arena_take_zeroed(arena, room * sizeof(*pieces));
    if (!pieces)
        return NULL;
    unsigned count = text_spans(&message->head, pieces + PARTS_MAX_EXTRA);
    *ret_count = count + text_spans(&message->body, pieces + PARTS_MAX_EXTRA + count);
    return pieces;
}

/* With the body in a segment the record holds no more of it than our own headers. */
static bool fill_fresh(struct intake *intake, struct commit *commit, bool segment_allowed)
{
    struct held *held = &intake->rows[0];
    struct arena *arena = &intake->message.arena;
    unsigned count;
    struct span *pieces = all_pieces(intake, arena, &count);
    struct fresh_record record = {
        .shard = id_shard(held->row.envelope.id),
        .id = held->row.envelope.id,
        .place = {.kind = PLACE_INLINE, .len = (uint32_t)held->row.envelope.size},
        .envelope = held->row.envelope,
    };
    if (!pieces)
        return false;
    bool placed = segment_allowed && segments_take(intake, &record.place);
    if (!fresh_record_write_head(&record, arena, &pieces[0]))
        return false;
    held->row.body = pieces + PARTS_MAX_EXTRA;
    held->row.body_pieces = count;
    held->intake = intake;
    if (placed)
        count = intake->message.head.pieces;
    return commit_put(commit, arena, FAMILY_FRESH, (struct span){0}, pieces, count + 1);
}

static bool fill_body(struct intake *intake, struct commit *commit)
{
    static const struct span nothing = {"", 0};
    struct arena *arena = &intake->message.arena;
    char key[KEY_MAX];
    unsigned count = 0;
    if (intake->upload)
        return upload_fill(intake, commit, arena);
    struct span *pieces = all_pieces(intake, arena, &count);
    const struct span *body = count ? pieces + PARTS_MAX_EXTRA : &nothing;
    return pieces &&
           commit_put(commit, arena, FAMILY_BODY, body_key(key, intake->message.envelope.id, 0),
                      body, count ? count : 1);
}

static bool fill_rows(struct intake *intake, struct commit *commit)
{
    static const struct span nothing = {"", 0};
    struct arena *arena = &intake->message.arena;
    char key[KEY_MAX];
    for (unsigned i = 0; i < intake->row_count; i++) {
        struct held *held = &intake->rows[i];
        struct stored_queue *queue = stored(held->row.queue);
        uint64_t id = held->row.envelope.id;
        struct span *record = &intake->records[i].record;
        if (!row_record_write(&held->row.envelope, &held->row.state, arena, record) ||
            !commit_put(commit, arena, FAMILY_ROW,
                        row_key(key, queue->shard, queue->number, held->row.due_ms, id), record, 1))
            return false;
        if (intake->row_count > 1 &&
            !commit_put(commit, arena, FAMILY_REF, ref_key(key, id, queue->number), &nothing, 1))
            return false;
    }
    return true;
}

static bool may_be_fresh(const struct intake *intake)
{
    const struct share *share = intake->message.share;
    if (intake->row_count != 1 || intake->upload)
        return false;
    const struct queue *queue = intake->rows[0].row.queue;
    return queue->held_until_ms <= share->loop->wall_ms &&
           nursery_has_room(share, intake->message.envelope.size);
}

int intake_fill(struct intake *intake, struct commit *commit, enum fresh_form form)
{
    struct message *message = &intake->message;
    message->envelope.size = message->head.len + message->body_len;
    if (!make_rows(intake) || !obtain_queues(intake))
        return -ENOMEM;
    intake->fresh = form != FRESH_NEVER && may_be_fresh(intake);
    bool filled = intake->fresh ? fill_fresh(intake, commit, form == FRESH_OR_SEGMENT)
                                : fill_body(intake, commit) && fill_rows(intake, commit);
    if (!filled)
        return -ENOMEM;
    for (unsigned i = 0; i < intake->row_count; i++) {
        held_enter(&intake->rows[i], stored(intake->rows[i].row.queue));
        held_set_busy(&intake->rows[i], HELD_ACCEPTING);
    }
    return 0;
}

static bool put_ceiling(struct intake *intake, struct commit *commit, struct arena *arena,
                        bool again)
{
    struct share *share = intake->message.share;
    char key[KEY_MAX];
    if (!ids_need_ceiling(&share->ids, intake->message.envelope.id, &intake->ceiling_ms)) {
        if (!again || intake->ceiling_ms == 0)
            return true;
        intake->ceiling_ms = ids_ceiling(&share->ids); /* not below what others have written */
    }
    char *number = arena_take(arena, META_U64_LEN);
    if (!number)
        return false;
    struct span value = meta_u64_write(number, intake->ceiling_ms);
    return commit_put(commit, arena, FAMILY_META, ceiling_key(key, share->worker), &value, 1);
}

bool intake_put_records(struct intake *intake, struct commit *commit, struct arena *arena,
                        bool again)
{
    for (unsigned i = 0; !intake->fresh && i < intake->row_count; i++) {
        struct held *held = &intake->rows[i];
        if (!queue_put_record(stored(held->row.queue), commit, arena, held->row.due_ms,
                              &intake->records[i].promise))
            return false;
    }
    return put_ceiling(intake, commit, arena, again);
}

/* ---- the end of the commit ---- */

void journal_reception(struct share *share, const struct row *row, const struct message *message)
{
    for (unsigned at = 0; at < row->envelope.recipient_count; at += EVENT_RECIPIENTS) {
        unsigned left = row->envelope.recipient_count - at;
        struct event event = {
            .type = EVENT_RECEPTION,
            .envelope = &row->envelope,
            .recipient = &row->envelope.recipients[at],
            .recipient_count = left < EVENT_RECIPIENTS ? left : EVENT_RECIPIENTS,
            .queue = row->queue->name,
            .wall_ms = row->envelope.arrived_ms,
            .row_due_ms = row->due_ms,
            .recovered = message == NULL,
        };
        if (message) {
            event.peer = message->peer;
            event.peer_name = message->peer_name;
            event.reception_protocol = message->protocol;
            event.authentication = message->authentication;
            event.user = message->user;
            event.tls_version = message->tls_version;
            event.tls_cipher = message->tls_cipher;
            event.tls_subject = message->tls_subject;
        }
        share_journal(share, &event, NULL);
    }
}

static void records_done(struct intake *intake, int result)
{
    for (unsigned i = 0; i < intake->row_count; i++)
        queue_record_done(stored(intake->rows[i].row.queue), &intake->records[i].promise, result);
    if (result == 0 && intake->ceiling_ms)
        ids_confirm(&intake->message.share->ids, intake->ceiling_ms);
}

void intake_committed(struct intake *intake, uint64_t sequence)
{
    struct share *share = intake->message.share;
    records_done(intake, 0);
    for (unsigned i = 0; i < intake->row_count; i++)
        journal_reception(share, &intake->rows[i].row, &intake->message);
    if (intake->fresh) {
        struct held *held = &intake->rows[0];
        held->sequence = sequence;
        nursery_enter(held);
        return;
    }
    for (unsigned i = 0; i < intake->row_count; i++) {
        struct held *held = &intake->rows[i];
        struct stored_queue *queue = stored(held->row.queue);
        struct position at = {held->row.due_ms, held->row.envelope.id};
        held_leave(held);
        queue->rows++;
        share->usage.rows++;
        window_put(queue, at, intake->records[i].record);
        queue_look(queue);
    }
    intake_free(intake);
}

void intake_failed(struct intake *intake, int result)
{
    records_done(intake, result);
    for (unsigned i = 0; i < intake->row_count; i++) {
        struct held *held = &intake->rows[i];
        if (!held->row.queue)
            continue;
        struct stored_queue *queue = stored(held->row.queue);
        if (held->entered)
            held_leave(held);
        queue_look(queue);
    }
    if (intake->upload)
        upload_abandon(intake);
    else
        intake_free(intake);
}

/* ---- a message from outside ---- */

static void on_accepted(struct op *op)
{
    struct intake *intake = container_of(op, struct intake, commit.op);
    struct share *share = intake->message.share;
    struct op *done = intake->done;
    int result = op->result;

    share->accepting--;
    if (result == 0 && intake->withdrawn) {
        records_done(intake, 0);
        intake_withdraw(intake);
        return;
    }
    if (!intake->withdrawn)
        loop_ready(share->loop, done, result);
    if (result == 0) {
        share->usage.accepted++;
        intake_committed(intake, intake->commit.sequence);
    } else {
        intake_failed(intake, result);
    }
    share_look_drained(share);
}

static void refuse(struct intake *intake, int result)
{
    struct share *share = intake->message.share;
    share->accepting--;
    if (!intake->withdrawn)
        loop_ready(share->loop, intake->done, result);
    intake_failed(intake, result);
    share_look_drained(share);
}

/* Records that others write as well are put last, so that they are newest. */
static void submit(struct intake *intake)
{
    if (intake_put_records(intake, &intake->commit, &intake->message.arena, false))
        share_submit(intake->message.share, &intake->commit);
    else
        refuse(intake, -ENOMEM);
}

static void on_body_written(struct op *op)
{
    struct intake *intake = container_of(op, struct intake, body_written);
    int result = segments_written(intake);
    if (result == 0 && intake->withdrawn)
        result = -ECANCELED; /* nothing of it is in the store yet */
    if (result)
        refuse(intake, result);
    else
        submit(intake);
}

static void accept_now(struct intake *intake)
{
    struct share *share = intake->message.share;
    int result = intake->error;
    stamp(intake);
    share->accepting++;
    if (result == 0) {
        commit_init(&intake->commit, share->loop, COMMIT_SYNC, on_accepted);
        op_init(&intake->body_written, on_body_written);
        result = intake_fill(intake, &intake->commit, FRESH_OR_SEGMENT);
    }
    if (result)
        refuse(intake, result);
    else if (!intake->slot.segment)
        submit(intake);
    else if (!segments_write(intake))
        refuse(intake, -ENOMEM);
}

void share_accept(struct share *share, struct message *message, struct op *done)
{
    struct intake *intake = intake_of(message);
    check(message->envelope.recipient_count > 0 && !intake->done);
    intake->done = done;
    done->state = OP_BUSY;
    if (!upload_busy(intake))
        accept_now(intake);
}

void intake_parts_written(struct intake *intake)
{
    if (intake->withdrawn)
        upload_abandon(intake);
    else
        accept_now(intake);
}
