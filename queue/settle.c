/* Verdicts: what becomes of a row after an attempt, or without one.
 *
 * In this order: the reports that the verdicts call for (they are in the batch, and the journal
 * names them), the batch, the journal's lines. If memory runs out on the way nothing has happened
 * yet: the row waits again, and what was delivered may be delivered twice (counted). */
#include "queue/event.h"
#include "queue/spool_private.h"

enum { REPLY_TEXT_MAX = 512 };

static bool stays(const struct verdict *verdict)
{
    return verdict->outcome == OUTCOME_UNTRIED || verdict->outcome == OUTCOME_DEFERRED;
}

/* ---- the row as it goes on ---- */

static bool keep_open(const struct held *held, const struct attempt *attempt, struct arena *arena,
                      struct envelope *ret_envelope)
{
    const struct envelope *envelope = &held->row.envelope;
    struct recipient *open =
        arena_take(arena, (envelope->recipient_count + (size_t)1) * sizeof(*open));
    if (!open)
        return false;
    unsigned count = 0;
    for (unsigned i = 0; i < envelope->recipient_count; i++)
        if (stays(&attempt->verdicts[i]))
            open[count++] = envelope->recipients[i];
    *ret_envelope = *envelope;
    ret_envelope->recipients = open;
    ret_envelope->recipient_count = count;
    return true;
}

static const struct verdict *first_with(const struct attempt *attempt, unsigned count,
                                        enum outcome outcome)
{
    for (unsigned i = 0; i < count; i++)
        if (attempt->verdicts[i].outcome == outcome)
            return &attempt->verdicts[i];
    return NULL;
}

static struct span reply_line(const struct reply_summary *reply, struct arena *arena)
{
    struct sink sink;
    char *text = arena_take(arena, REPLY_TEXT_MAX);
    if (!text)
        return (struct span){0};
    sink_init(&sink, text, REPLY_TEXT_MAX);
    sink_decimal(&sink, reply->code);
    if (reply->enhanced.class)
        sink_format(&sink, " %u.%u.%u", reply->enhanced.class, reply->enhanced.subject,
                    reply->enhanced.detail);
    sink_byte(&sink, ' ');
    sink_put(&sink, span_first(reply->text, REPLY_TEXT_MAX - sink.len));
    return sink_span(&sink);
}

static struct span peer_line(const struct attempt *attempt, struct arena *arena)
{
    struct sink sink;
    char *text = arena_take(arena, REPLY_TEXT_MAX);
    if (!text)
        return (struct span){0};
    sink_init(&sink, text, REPLY_TEXT_MAX);
    sink_put(&sink, span_first(attempt->peer_name, REPLY_TEXT_MAX / 2));
    if (attempt->peer.family != AF_UNSPEC) {
        sink_put(&sink, attempt->peer_name.len ? SPAN(" (") : SPAN("("));
        address_put_host(&attempt->peer, &sink);
        sink_byte(&sink, ')');
    }
    return sink_span(&sink);
}

static struct row_state state_after(const struct held *held, const struct attempt *attempt,
                                    struct arena *arena)
{
    struct row_state state = held->row.state;
    const struct verdict *deferred =
        first_with(attempt, held->row.envelope.recipient_count, OUTCOME_DEFERRED);
    if (attempt->counts) {
        state.attempts++;
        state.last_attempt_ms = attempt->started_ms;
    }
    if (deferred)
        state.last_reply = reply_line(&deferred->reply, arena);
    if (attempt->peer_name.len || attempt->peer.family != AF_UNSPEC)
        state.last_peer = peer_line(attempt, arena);
    return state;
}

/* Untried alone: at once. Else by the attempt's own wish, or the schedule. */
static uint64_t next_due_ms(const struct held *held, const struct attempt *attempt,
                            uint32_t attempts)
{
    struct share *share = held->row.queue->share;
    const struct spool_options *options = share->options;
    uint64_t now_ms = share->loop->wall_ms, next_ms = now_ms;
    struct schedule schedule = {options->retry_intervals_ms, options->retry_interval_count,
                                options->retry_jitter};
    if (attempt->retry_at_ms)
        next_ms = attempt->retry_at_ms;
    else if (first_with(attempt, held->row.envelope.recipient_count, OUTCOME_DEFERRED))
        next_ms += schedule_wait_ms(&schedule, attempts, &share->loop->random);
    if (!share_may_expire(share))
        return next_ms;
    return schedule_due_ms(next_ms, held->row.envelope.expires_ms, now_ms);
}

/* ---- the journal ---- */

static bool event_of(const struct attempt *attempt, const struct verdict *verdict,
                     enum event_type *ret_type)
{
    static const enum event_type types[] = {
        [OUTCOME_DELIVERED] = EVENT_DELIVERY,
        [OUTCOME_DEFERRED] = EVENT_TRANSIENT_FAILURE,
        [OUTCOME_FAILED] = EVENT_BOUNCE,
        [OUTCOME_EXPIRED] = EVENT_EXPIRATION,
    };
    if (verdict->outcome == OUTCOME_UNTRIED)
        return false;
    *ret_type = attempt->administered ? EVENT_ADMIN_BOUNCE : types[verdict->outcome];
    return true;
}

static void count(struct share_usage *usage, const struct attempt *attempt,
                  const struct verdict *verdict)
{
    if (attempt->administered) {
        usage->admin_bounced++;
        return;
    }
    usage->delivered += verdict->outcome == OUTCOME_DELIVERED;
    usage->deferred += verdict->outcome == OUTCOME_DEFERRED;
    usage->bounced += verdict->outcome == OUTCOME_FAILED;
    usage->expired += verdict->outcome == OUTCOME_EXPIRED;
}

/* One line per recipient; the batch waits for the last of them. */
static void journal_verdicts(struct settlement *settlement, const struct attempt *attempt,
                             uint32_t attempts, uint64_t due_ms)
{
    struct share *share = settlement->share;
    const struct row *row = &settlement->held->row;
    unsigned last = 0;
    enum event_type type;
    for (unsigned i = 0; i < row->envelope.recipient_count; i++)
        if (event_of(attempt, &attempt->verdicts[i], &type))
            last = i;
    for (unsigned i = 0; i <= last; i++) {
        if (!event_of(attempt, &attempt->verdicts[i], &type))
            continue;
        struct event event = {
            .type = type,
            .envelope = &row->envelope,
            .recipient = &row->envelope.recipients[i],
            .queue = row->queue->name,
            .attempt = attempt,
            .reply = &attempt->verdicts[i].reply,
            .wall_ms = share->loop->wall_ms,
            .attempts = attempts,
            .row_due_ms = row->due_ms,
            .next_due_ms = type == EVENT_TRANSIENT_FAILURE ? due_ms : 0,
            .dsn_id = settlement->dsn_ids ? settlement->dsn_ids[i] : 0,
        };
        share_journal(share, &event, i == last ? &settlement->journaled : NULL);
    }
}

/* ---- settling ---- */

static bool fill(struct settlement *settlement, const struct attempt *attempt,
                 uint32_t *ret_attempts, uint64_t *ret_due_ms)
{
    struct held *held = settlement->held;
    struct arena *arena = &settlement->arena;
    struct envelope open;
    if (!keep_open(held, attempt, arena, &open))
        return false;
    struct row_state state = state_after(held, attempt, arena);
    uint64_t due_ms = next_due_ms(held, attempt, state.attempts);
    if (!reports_make(settlement, attempt, &state, open.recipients, open.recipient_count) ||
        !settlement_fill(settlement, &open, &state, due_ms))
        return false;
    *ret_attempts = state.attempts;
    *ret_due_ms = due_ms;
    return true;
}

static bool delivered_any(const struct held *held, const struct attempt *attempt)
{
    return first_with(attempt, held->row.envelope.recipient_count, OUTCOME_DELIVERED) != NULL;
}

void settle(struct held *held, const struct attempt *attempt, bool journal)
{
    struct share *share = held->row.queue->share;
    uint32_t attempts;
    uint64_t due_ms;
    struct settlement *settlement = settlement_new(held, true);
    if (!settlement || !fill(settlement, attempt, &attempts, &due_ms)) {
        share->usage.may_duplicate += attempt->may_duplicate || delivered_any(held, attempt);
        if (settlement)
            settlement_abort(settlement);
        else
            held_wait(held);
        return;
    }
    share->usage.may_duplicate += attempt->may_duplicate;
    share->usage.dsn_made += settlement->report_count;
    for (unsigned i = 0; i < held->row.envelope.recipient_count; i++)
        count(&share->usage, attempt, &attempt->verdicts[i]);
    if (journal)
        journal_verdicts(settlement, attempt, attempts, due_ms);
    settlement_begin(settlement);
}

static bool untouched(const struct row *row, const struct attempt *attempt)
{
    for (unsigned i = 0; i < row->envelope.recipient_count; i++)
        if (attempt->verdicts[i].outcome != OUTCOME_UNTRIED)
            return false;
    return !attempt->counts && attempt->retry_at_ms == 0;
}

void share_settle(struct share *share, struct row *row, const struct attempt *attempt)
{
    struct held *held = held_of(row);
    check(held->state == HELD_LENT);
    if (untouched(row, attempt)) {
        share_return(share, row);
        return;
    }
    share->lent--;
    settle(held, attempt, true);
}

/* ---- verdicts of our own ---- */

static void settle_with(struct held *held, struct attempt attempt, bool journal)
{
    struct share *share = held->row.queue->share;
    attempt.started_ms = share->loop->wall_ms;
    if (held->state == HELD_LENT)
        share->lent--;
    settle(held, &attempt, journal);
}

/* The same verdict for each recipient. */
static void settle_all(struct held *held, const struct verdict *verdict, struct attempt attempt,
                       bool journal)
{
    struct share *share = held->row.queue->share;
    struct arena scratch;
    arena_init(&scratch, &share->own, ARENA_LIMIT);
    unsigned recipients = held->row.envelope.recipient_count;
    struct verdict *verdicts = arena_take(&scratch, recipients * sizeof(*verdicts));
    if (verdicts) {
        for (unsigned i = 0; i < recipients; i++)
            verdicts[i] = *verdict;
        attempt.verdicts = verdicts;
        settle_with(held, attempt, journal);
    } else { /* no memory: it waits for a better moment */
        share->lent -= held->state == HELD_LENT;
        held_wait(held);
    }
    arena_fini(&scratch);
}

void settle_internal(struct held *held, const struct verdict *verdict, bool journal)
{
    settle_all(held, verdict, (struct attempt){0}, journal);
}

void settle_administered(struct held *held, const struct verdict *verdict, bool unreported)
{
    settle_all(held, verdict, (struct attempt){.administered = true, .unreported = unreported},
               true);
}

void settle_expired(struct held *held)
{
    char text[2 * REPLY_TEXT_MAX];
    struct sink sink;
    struct span last = held->row.state.last_reply;
    sink_init(&sink, text, sizeof(text));
    sink_put(&sink, SPAN("it could not be delivered within the time allowed"));
    if (last.len) {
        sink_put(&sink, SPAN("; the last answer was: "));
        sink_put(&sink, span_first(last, REPLY_TEXT_MAX));
    }
    struct verdict verdict = {
        .outcome = OUTCOME_EXPIRED,
        .reply = {.code = 554, .enhanced = {4, 4, 7}, .text = sink_span(&sink), .internal = true},
    };
    settle_internal(held, &verdict, true);
}

static struct verdict verdict_before(const struct settled_recipient *settled)
{
    static const uint8_t outcomes[EVENT_TYPES] = {
        [EVENT_DELIVERY] = OUTCOME_DELIVERED,
        [EVENT_BOUNCE] = OUTCOME_FAILED,
        [EVENT_ADMIN_BOUNCE] = OUTCOME_FAILED,
        [EVENT_EXPIRATION] = OUTCOME_EXPIRED,
    };
    return (struct verdict){.outcome = outcomes[settled->type], .reply = settled->reply};
}

void settle_journaled(struct held *held)
{
    struct share *share = held->row.queue->share;
    const struct spool *spool = share->spool;
    const struct envelope *envelope = &held->row.envelope;
    if (spool->verdicts.count == 0)
        return;
    struct arena scratch;
    arena_init(&scratch, &share->own, ARENA_LIMIT);
    struct verdict *verdicts =
        arena_take_zeroed(&scratch, envelope->recipient_count * sizeof(*verdicts));
    unsigned found = 0;
    bool unreported = true;
    for (unsigned i = 0; verdicts && i < envelope->recipient_count; i++) {
        const struct settled_recipient *settled =
            verdict_set_find(&spool->verdicts, envelope->id, envelope->recipients[i].address);
        if (settled) {
            verdicts[i] = verdict_before(settled);
            unreported &= settled->unreported;
            found++;
        }
    }
    share->usage.settled_by_journal += found;
    if (found)
        settle_with(held, (struct attempt){.verdicts = verdicts, .unreported = unreported}, false);
    arena_fini(&scratch);
}
