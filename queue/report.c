/* Reports to the sender, as messages of our own in the batch of the verdict that causes them.
 *
 * A report is accepted like any message, with the null reverse-path, and is never answered by
 * another one. Whatever is wanted is made before anything is decided: a verdict without its report
 * does not become durable. */
#include "queue/bounce.h"
#include "queue/spool_private.h"

static enum bounce_mode mode(const struct share *share, const struct envelope *envelope)
{
    const struct spool_options *options = share->options;
    if (!options->bounce_mode)
        return BOUNCE_DSN;
    return options->bounce_mode(options->bounce_context, envelope->tenant, envelope->campaign);
}

static bool delay_is_due(const struct share *share, const struct envelope *envelope)
{
    uint64_t after_ms = share->options->delay_report_after_ms;
    uint64_t now_ms = share->loop->wall_ms;
    return after_ms && now_ms >= envelope->arrived_ms && now_ms - envelope->arrived_ms >= after_ms;
}

/* A report of ours has the form that server dialogues give to a message. */
static struct intake *report_message(struct share *share, const struct envelope *original)
{
    struct intake *intake = intake_new(share, &share->own);
    if (!intake)
        return NULL;
    struct recipient sender = {.address = original->reverse_path};
    intake->message.protocol = SPAN("DSN");
    if (!message_add_recipient(&intake->message, &sender)) {
        intake_free(intake);
        return NULL;
    }
    return intake;
}

static bool write_report(struct intake *intake, struct bounce *bounce)
{
    struct message *message = &intake->message;
    uint8_t flags = 0;
    bounce->id = message->envelope.id;
    if (!bounce_write(bounce, &message->arena, &message->body, &flags))
        return false;
    message->body_len = message->body.len;
    message->envelope.flags = flags | ENVELOPE_DSN;
    struct share *share = message->share;
    if (!share->reserve_seal)
        return true;
    intake->seal = share->reserve_seal(share->seal_context, message);
    return intake->seal != NULL;
}

static bool holds_fresh(const struct settlement *settlement)
{
    for (unsigned i = 0; i < settlement->report_count; i++)
        if (settlement->reports[i]->fresh)
            return true;
    return false;
}

/* The journal's lines name the report that follows from them. */
static bool note_ids(struct settlement *settlement, const struct bounce *bounce)
{
    unsigned count = bounce->envelope->recipient_count;
    if (!settlement->dsn_ids)
        settlement->dsn_ids =
            arena_take_zeroed(&settlement->arena, count * sizeof(*settlement->dsn_ids));
    if (!settlement->dsn_ids)
        return false;
    for (unsigned i = 0; i < count; i++)
        if (bounce_concerns(bounce, i))
            settlement->dsn_ids[i] = bounce->id;
    return true;
}

static bool make(struct settlement *settlement, struct bounce *bounce)
{
    struct intake *intake = report_message(settlement->share, bounce->envelope);
    if (!intake)
        return false;
    if (!write_report(intake, bounce)) {
        intake_free(intake);
        return false;
    }
    /* A commit gives one sequence: at most one of its reports is fresh. */
    if (intake_fill(intake, &settlement->commit,
                    holds_fresh(settlement) ? FRESH_NEVER : FRESH_INLINE) != 0) {
        intake_failed(intake, -1);
        return false;
    }
    settlement->reports[settlement->report_count++] = intake;
    return note_ids(settlement, bounce);
}

static void mark_delay_reported(const struct bounce *bounce, struct recipient *open,
                                unsigned open_count)
{
    unsigned at = 0;
    for (unsigned i = 0; i < bounce->envelope->recipient_count && at < open_count; i++) {
        uint8_t outcome = bounce->verdicts[i].outcome;
        if (outcome != OUTCOME_DEFERRED && outcome != OUTCOME_UNTRIED)
            continue;
        if (bounce_concerns(bounce, i))
            open[at].delay_reported = true;
        at++;
    }
}

bool reports_make(struct settlement *settlement, const struct attempt *attempt,
                  const struct row_state *state, struct recipient *open, unsigned open_count)
{
    static const enum bounce_kind kinds[] = {BOUNCE_FAILURE, BOUNCE_DELAY, BOUNCE_SUCCESS};
    struct share *share = settlement->share;
    const struct row *row = &settlement->held->row;
    struct bounce bounce = {
        .hostname = span_string(share->options->hostname),
        .wall_ms = share->loop->wall_ms,
        .envelope = &row->envelope,
        .state = state,
        .verdicts = attempt->verdicts,
        .remote_mta = state->last_peer,
        .original = row->body,
        .original_pieces = row->body ? row->body_pieces : 0,
        .original_whole = row->body != NULL,
        .retry_until_ms = row->envelope.expires_ms,
    };
    if (attempt->unreported || address_domain(row->envelope.reverse_path).len == 0 ||
        mode(share, &row->envelope) == BOUNCE_EVENT)
        return true;
    for (unsigned i = 0; i < countof(kinds); i++) {
        bounce.kind = kinds[i];
        if ((kinds[i] == BOUNCE_DELAY && !delay_is_due(share, &row->envelope)) ||
            !bounce_wanted(&bounce))
            continue;
        if (!make(settlement, &bounce))
            return false;
        if (kinds[i] == BOUNCE_DELAY)
            mark_delay_reported(&bounce, open, open_count);
    }
    return true;
}
