/* One walk per share and pass. */
#include "queue/admin.h"

#include "core/clock.h"
#include "queue/event.h"
#include "queue/walk.h"

#include <errno.h>
#include <stdlib.h>

enum { PASSES = 3, PASS_WAIT_MS = 1000, REASON_MAX = 512 };

struct admin_part {
    struct walk walk;
    struct admin_job *job;
    unsigned pass;
    uint64_t told_matched, told_queues; /* of the walk, in the job's counters */
};

static const struct walk_kind *kind_of(const struct admin_order *order);

/* ---- jobs ---- */

static struct span *const *spans_of(struct admin_order *order, struct span **spans)
{
    spans[0] = &order->filter.queue;
    spans[1] = &order->filter.domain;
    spans[2] = &order->filter.tenant;
    spans[3] = &order->filter.campaign;
    spans[4] = &order->reason;
    spans[5] = &order->to_tenant;
    spans[6] = &order->to_campaign;
    spans[7] = &order->to_domain;
    spans[8] = NULL;
    return spans;
}

struct admin_job *admin_job_new(const struct admin_order *order)
{
    struct admin_order copy = *order;
    struct span *spans[9];
    size_t size = 0;
    for (struct span *const *at = spans_of(&copy, spans); *at; at++)
        size += (*at)->len;
    struct admin_job *job = calloc(1, sizeof(*job) + size);
    if (!job)
        return NULL;
    job->order = *order;
    char *text = job->text;
    for (struct span *const *at = spans_of(&job->order, spans); *at; at++) {
        if ((*at)->len)
            memcpy(text, (*at)->data, (*at)->len);
        (*at)->data = text;
        text += (*at)->len;
    }
    job->users = 1;
    return job;
}

void admin_job_cancel(struct admin_job *job)
{
    atomic_store(&job->cancelled, true);
}

void admin_job_put(struct admin_job *job)
{
    if (job && atomic_fetch_sub(&job->users, 1) == 1)
        free(job);
}

/* ---- the walk ---- */

static struct admin_part *part_of(const struct walk *walk)
{
    return walk->owner;
}

static const struct admin_order *order_of(const struct walk *walk)
{
    return &part_of(walk)->job->order;
}

static bool choose(struct walk *walk, struct stored_queue *queue, struct position *ret_from,
                   struct position *ret_to)
{
    const struct admin_order *order = order_of(walk);
    if (order->action == ADMIN_FLUSH)
        *ret_from = (struct position){walk->started_ms + 1, 0};
    return filter_takes_queue(&order->filter, queue->queue.name);
}

static bool match(const struct walk *walk, const struct envelope *envelope,
                  const struct row_state *state, uint64_t due_ms)
{
    const struct admin_order *order = order_of(walk);
    if (order->action == ADMIN_FLUSH && due_ms <= walk->started_ms)
        return false;
    return filter_takes_row(&order->filter, envelope, state, due_ms, walk->started_ms);
}

/* What each turn has found is told; when nobody wants to know any more, it ends. */
static bool keep_going(struct walk *walk)
{
    struct admin_part *part = part_of(walk);
    struct admin_job *job = part->job;
    if (part->pass == 0)
        atomic_fetch_add(&job->matched, walk->matched - part->told_matched);
    part->told_matched = walk->matched;
    atomic_fetch_add(&job->queues_done, walk->queues - part->told_queues);
    part->told_queues = walk->queues;
    return !atomic_load(&job->cancelled);
}

/* The share of the time that so many rows take, of all shares together. */
static uint64_t rest_ms(struct walk *walk, unsigned rows)
{
    struct admin_job *job = part_of(walk)->job;
    uint64_t now_ns = walk->share->loop->now_ns;
    if (job->order.per_second == 0)
        return 0;
    uint64_t takes_ns = rows * NS_PER_S / job->order.per_second;
    uint64_t at_ns = atomic_load(&job->next_ns), start_ns;
    do {
        start_ns = at_ns > now_ns ? at_ns : now_ns;
    } while (!atomic_compare_exchange_weak(&job->next_ns, &at_ns, start_ns + takes_ns));
    return (start_ns + takes_ns - now_ns) / NS_PER_MS;
}

static void end(struct walk *walk, bool whole)
{
    struct admin_part *part = part_of(walk);
    struct admin_job *job = part->job;
    bool going_on = keep_going(walk);
    if (whole && going_on && walk->busy && ++part->pass < PASSES) {
        walk->matched = walk->queues = walk->busy = 0;
        part->told_matched = part->told_queues = 0;
        walk->start_after_ms = PASS_WAIT_MS;
        walk_start(walk, walk->share, walk->kind);
        return;
    }
    atomic_fetch_add(&job->busy, walk->busy);
    free(part);
    atomic_fetch_sub(&job->running, 1);
    admin_job_put(job);
}

/* ---- what becomes of a row ---- */

static void give_verdict(struct walk *walk, struct held *held)
{
    const struct admin_order *order = order_of(walk);
    bool deleted = order->action == ADMIN_DELETE;
    char text[REASON_MAX];
    struct sink sink;
    sink_init(&sink, text, sizeof(text));
    sink_put(&sink, deleted ? SPAN("deleted by the administrator")
                            : SPAN("returned by the administrator"));
    if (order->reason.len) {
        sink_put(&sink, SPAN(": "));
        sink_printable(&sink, order->reason, REASON_MAX - sink.len);
    }
    struct verdict verdict = {
        .outcome = OUTCOME_FAILED,
        .reply = {.code = 554, .enhanced = {5, 7, 1}, .text = sink_span(&sink), .internal = true},
    };
    settle_administered(held, &verdict, deleted);
}

/* The envelope under its new name. */
static struct envelope renamed(const struct admin_order *order, const struct envelope *envelope)
{
    struct envelope to = *envelope;
    if (order->set_tenant)
        to.tenant = order->to_tenant;
    if (order->set_campaign)
        to.campaign = order->to_campaign;
    if (order->set_domain)
        to.domain = order->to_domain;
    return to;
}

static bool may_move(const struct admin_order *order, const struct envelope *envelope)
{
    return !order->set_domain || !(envelope->flags & ENVELOPE_SEVERAL_ROWS) ||
           span_equals(order->to_domain, envelope->domain);
}

static void journal_move(const struct admin_order *order, const struct row *row,
                         const struct stored_queue *target)
{
    struct share *share = row->queue->share;
    struct reply_summary reply = {.code = 250, .text = order->reason, .internal = true};
    for (unsigned at = 0; at < row->envelope.recipient_count; at += EVENT_RECIPIENTS) {
        unsigned left = row->envelope.recipient_count - at;
        struct event event = {
            .type = EVENT_ADMIN_REBIND,
            .envelope = &row->envelope,
            .recipient = &row->envelope.recipients[at],
            .recipient_count = left < EVENT_RECIPIENTS ? left : EVENT_RECIPIENTS,
            .queue = target->queue.name,
            .from_queue = row->queue->name,
            .reply = &reply,
            .wall_ms = share->loop->wall_ms,
            .attempts = row->state.attempts,
            .row_due_ms = row->due_ms,
        };
        share_journal(share, &event, NULL);
    }
}

/* False: it stays where it is. */
static bool move(const struct admin_order *order, struct held *held)
{
    struct share *share = held->row.queue->share;
    const struct envelope *envelope = &held->row.envelope;
    if (!may_move(order, envelope))
        return false;
    struct envelope to = renamed(order, envelope);
    struct stored_queue *target = queue_obtain(share, stored(held->row.queue)->shard, &to);
    if (!target || &target->queue == held->row.queue || !queue_open_window(target))
        return false;
    journal_move(order, &held->row, target);
    settlement_move(held, &to, target);
    return true;
}

static void visit(struct walk *walk, struct held *held)
{
    struct admin_job *job = part_of(walk)->job;
    bool done = true;
    if (atomic_load(&job->cancelled)) {
        walk_release(held);
        return;
    }
    switch (job->order.action) {
    case ADMIN_BOUNCE:
    case ADMIN_DELETE:
        give_verdict(walk, held);
        break;
    case ADMIN_FLUSH:
        settlement_reschedule(held, walk->share->loop->wall_ms);
        break;
    default:
        done = move(&job->order, held);
        if (!done)
            walk_release(held);
    }
    atomic_fetch_add(done ? &job->done : &job->refused, 1);
}

#define KIND(...)                                                                                  \
    {                                                                                              \
        .choose = choose, .match = match, .visit = visit, .keep_going = keep_going,                \
        .rest_ms = rest_ms, .end = end, __VA_ARGS__                                                \
    }

static const struct walk_kind count_kind = KIND(.fresh = true, .count_only = true);
static const struct walk_kind bounce_kind = KIND(.fresh = true, .with_body = true);
static const struct walk_kind fresh_kind = KIND(.fresh = true);
static const struct walk_kind flush_kind = KIND(.fresh = false); /* what is fresh is due */

static const struct walk_kind *kind_of(const struct admin_order *order)
{
    switch (order->action) {
    case ADMIN_COUNT:
        return &count_kind;
    case ADMIN_BOUNCE:
        return &bounce_kind;
    case ADMIN_FLUSH:
        return &flush_kind;
    default:
        return &fresh_kind;
    }
}

int share_admin(struct share *share, struct admin_job *job)
{
    if (share->draining)
        return -ECANCELED;
    struct admin_part *part = calloc(1, sizeof(*part));
    if (!part)
        return -ENOMEM;
    part->job = job;
    part->walk.owner = part;
    atomic_fetch_add(&job->users, 1);
    atomic_fetch_add(&job->running, 1);
    unsigned per_second = job->order.per_second;
    part->walk.at_once = per_second && per_second / 10 < WALK_ROWS ? per_second / 10 + 1 : 0;
    walk_start(&part->walk, share, kind_of(&job->order));
    return 0;
}
