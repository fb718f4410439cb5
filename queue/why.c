#include "queue/why.h"

#include "queue/spool_private.h"

#include <errno.h>

enum { TEXT_MAX = 512 };

const char *reason_name(enum reason reason)
{
    static const char *const names[REASON_COUNT] = {
#define NAME(reason, name) [REASON_##reason] = name,
        REASONS(NAME)
#undef NAME
    };
    return names[reason];
}

/* Where reasons go. */
struct listener {
    why_tell *tell;
    void *context;
};

static void say(const struct listener *listener, enum reason reason, struct span text)
{
    struct why why = {.reason = reason, .text = text};
    listener->tell(listener->context, &why);
}

/* ---- of all the share ---- */

static void tell_state(const struct share *share, const struct listener *listener)
{
    int state = committer_state(share->spool->committing);
    if (share->draining)
        say(listener, REASON_STOPPING, SPAN("the daemon is stopping"));
    if (state == -ENOSPC)
        say(listener, REASON_DISK_FULL,
            SPAN("the disk is full: no verdict could be recorded, so nothing is tried"));
    else if (state)
        say(listener, REASON_DISK_FULL, SPAN("the queue's disk has failed"));
    else if (atomic_load(&share->spool->disk)) {
        struct why why = {.reason = REASON_DISK_RESERVE,
                          .text = SPAN("the disk's reserve is touched: new mail is refused with "
                                       "452, what is here goes on"),
                          .option = "queue.disk_reserve"};
        listener->tell(listener->context, &why);
    }
    if (!share_may_expire(share))
        say(listener, REASON_CLOCK,
            SPAN("the clock is in doubt: nothing expires until it is confirmed"));
}

static void tell_unrecorded(const struct share *share, const struct listener *listener)
{
    char text[TEXT_MAX];
    struct sink sink;
    sink_init(&sink, text, sizeof(text));
    sink_format(&sink, "%u verdicts wait to be recorded, %u may: the disk or the journal is slow",
                share->unrecorded, share->limits.unrecorded);
    say(listener, REASON_UNRECORDED, sink_span(&sink));
}

static void tell_no_memory(const struct share *share, const struct listener *listener)
{
    char text[TEXT_MAX];
    struct sink sink;
    bool rows = window_rows_used(share) + window_load_rows(share) > share->limits.window_rows;
    sink_init(&sink, text, sizeof(text));
    sink_format(
        &sink, "waits for room to read into: %u of %u rows, %llu of %llu bytes of bodies are used",
        window_rows_used(share), share->limits.window_rows, (unsigned long long)share->loaded_bytes,
        (unsigned long long)share->limits.loaded_memory);
    struct why why = {.reason = REASON_NO_MEMORY,
                      .text = sink_span(&sink),
                      .option = rows ? "queue.window_rows" : "queue.loaded_memory"};
    listener->tell(listener->context, &why);
}

/* ---- of a queue ---- */

static void tell_loads(const struct stored_queue *queue, const struct listener *listener)
{
    const struct window *window = queue->window;
    if (window && window->load)
        say(listener, REASON_LOADING_ROWS, SPAN("its next rows are being read from disk"));
    if (window && window->bodies)
        say(listener, REASON_LOADING_BODY, SPAN("bodies of its next messages are being read"));
}

static void tell_job(const struct stored_queue *queue, const struct listener *listener)
{
    char text[TEXT_MAX];
    struct sink sink;
    struct reply_summary reply = job_reply(queue->window->job);
    sink_init(&sink, text, sizeof(text));
    sink_format(&sink, "all that is due is being answered in turns: %u ", reply.code);
    sink_put_cut(&sink, reply.text);
    say(listener, REASON_SETTLING_QUEUE, sink_span(&sink));
}

static bool any_fresh(const struct stored_queue *queue)
{
    return queue->window && !list_empty(&queue->window->fresh);
}

static void tell_nothing_waits(const struct stored_queue *queue, const struct listener *listener)
{
    char text[TEXT_MAX];
    struct sink sink;
    unsigned busy = 0;
    if (queue->window)
        list_for_each (&queue->window->busy, link, following)
            busy++;
    if (busy == 0) {
        say(listener, REASON_EMPTY, SPAN("nothing waits in this queue"));
        return;
    }
    sink_init(&sink, text, sizeof(text));
    sink_format(&sink, "nothing waits: %u messages are with connections, or being recorded", busy);
    say(listener, REASON_IN_DELIVERY, sink_span(&sink));
}

bool share_why_queue(struct queue *public_queue, why_tell *tell, void *context)
{
    struct stored_queue *queue = stored(public_queue);
    struct share *share = public_queue->share;
    struct listener listener = {tell, context};
    uint64_t due_ms = queue_first_due_ms(queue);
    tell_state(share, &listener);
    if (queue->window && queue->window->job) {
        tell_job(queue, &listener);
        return false;
    }
    if (list_linked(&queue->waiting) && share_capped(share))
        tell_unrecorded(share, &listener);
    else if (list_linked(&queue->waiting))
        tell_no_memory(share, &listener);
    tell_loads(queue, &listener);
    if (!any_fresh(queue) && due_ms == UINT64_MAX) {
        tell_nothing_waits(queue, &listener);
        return false;
    }
    if (any_fresh(queue) || due_ms <= share->loop->wall_ms)
        return true;
    struct why why = {.reason = REASON_NOT_DUE,
                      .text = SPAN("the next attempt of all that waits is later"),
                      .until_ms = due_ms,
                      .option = "retry.intervals"};
    tell(context, &why);
    return false;
}

/* ---- of a message ---- */

static void tell_not_due(uint64_t due_ms, uint32_t attempts, uint64_t last_attempt_ms,
                         const struct listener *listener)
{
    char text[TEXT_MAX];
    struct sink sink;
    sink_init(&sink, text, sizeof(text));
    sink_format(&sink, "attempt %u comes later, by the retry schedule", attempts + 1);
    struct why why = {.reason = REASON_NOT_DUE,
                      .text = sink_span(&sink),
                      .since_ms = last_attempt_ms,
                      .until_ms = due_ms,
                      .option = "retry.intervals"};
    listener->tell(listener->context, &why);
}

static void tell_row(const struct held *held, const struct listener *listener)
{
    const struct row *row = &held->row;
    switch (held->state) {
    case HELD_ACCEPTING:
        say(listener, REASON_ACCEPTING, SPAN("its first commit is under way"));
        return;
    case HELD_LENT:
        say(listener, REASON_IN_DELIVERY, SPAN("a connection, or the administrator, has it now"));
        return;
    case HELD_SETTLING:
        say(listener, REASON_RECORDING, SPAN("its verdict is on the way to journal and disk"));
        return;
    default:
        if (!held->intake && row->due_ms > row->queue->share->loop->wall_ms)
            tell_not_due(row->due_ms, row->state.attempts, row->state.last_attempt_ms, listener);
    }
}

struct search {
    uint64_t id;
    why_on_row *on_row;
    struct listener listener;
};

static void look_at(struct map_node *node, void *context)
{
    const struct search *search = context;
    const struct held *held = container_of(node, struct held, by_id);
    if (held->row.envelope.id != search->id || held->state == HELD_GONE)
        return;
    struct why_row row = {
        .queue = held->row.queue,
        .row = &held->row,
        .fresh = held->intake != NULL,
        .waiting = held->state == HELD_WAITING,
    };
    search->on_row(search->listener.context, &row);
    tell_row(held, &search->listener);
}

void share_why_message(struct share *share, uint64_t id, why_on_row *on_row, why_tell *tell,
                       void *context)
{
    struct search search = {id, on_row, {tell, context}};
    map_each(&share->held, look_at, &search);
}

bool share_why_stored(struct share *share, struct queue *queue, uint64_t id, uint64_t due_ms,
                      uint32_t attempts, why_tell *tell, void *context)
{
    struct listener listener = {tell, context};
    const struct held *held = held_find(share, id, stored(queue));
    if (held && held->state != HELD_GONE)
        return true;
    if (due_ms > share->loop->wall_ms)
        tell_not_due(due_ms, attempts, 0, &listener);
    else
        say(&listener, REASON_ON_DISK,
            SPAN("it is due, and waits on disk until those of its queue that were due earlier have "
                 "gone"));
    return false;
}

struct queue *share_find_queue(struct share *share, uint8_t shard, struct span name)
{
    struct stored_queue *queue = queue_find(share, shard, name);
    return queue ? &queue->queue : NULL;
}

struct queue *share_next_queue(struct share *share, struct span name, const struct queue *after)
{
    bool behind = !after;
    for (unsigned i = 0; i < share->shard_count; i++) {
        struct stored_queue *queue = queue_find(share, share->shards[i], name);
        if (queue && behind)
            return &queue->queue;
        behind |= queue && &queue->queue == after;
    }
    return NULL;
}
