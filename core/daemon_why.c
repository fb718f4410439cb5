/* queue why, lane why, message show, message why.
 *
 * Queues and lanes are their workers': each is visited and writes what it has. A message lies in
 * one shard, so in one worker; its rows that are on disk only are found by the control thread
 * first, which goes through the shard's rows some at a time (it may block, workers may not). Rows
 * in memory are the worker's to tell, and win over what was read. */
#include "core/daemon.h"
#include "queue/why.h"
#include "smtp/lane.h"
#include "smtp/why.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    ROWS_MAX = 64, /* of one message that are shown: each is another domain */
    KEYS_PER_STEP = 20000,
    REASONS_MAX = 24,
};

/* ---- a card of reasons ---- */

/* Reasons are told before the record's list can be written: kept until then. */
struct kept {
    struct why why;
    char text[600];
};

struct card {
    struct control_call *call;
    const struct config *config;
    unsigned count;
    struct kept reasons[REASONS_MAX];
};

static void keep_reason(void *context, const struct why *why)
{
    struct card *card = context;
    if (card->count == REASONS_MAX)
        return;
    struct kept *kept = &card->reasons[card->count++];
    struct sink sink;
    sink_init(&sink, kept->text, sizeof kept->text);
    sink_put_cut(&sink, why->text);
    kept->why = *why;
    kept->why.text = sink_span(&sink);
}

static void put_option(struct record *record, const struct config *config, const char *option)
{
    char text[600];
    struct sink sink;
    sink_init(&sink, text, sizeof text);
    sink_put(&sink, span_string(option));
    unsigned line = config_where(config, option);
    if (line)
        sink_format(&sink, " (%.*s:%u)", SPAN_FORMAT(config->file), line);
    else
        sink_put(&sink, SPAN(" (default)"));
    record_text(record, "option", sink_span(&sink));
}

static void put_reasons(struct record *record, const struct card *card)
{
    record_list(record, "reasons");
    for (unsigned i = 0; i < card->count; i++) {
        const struct why *why = &card->reasons[i].why;
        record_item(record);
        record_text(record, "reason", span_string(reason_name(why->reason)));
        record_text(record, "text", why->text);
        if (why->since_ms)
            record_count(record, "since_ms", why->since_ms);
        if (why->until_ms)
            record_count(record, "until_ms", why->until_ms);
        if (why->option)
            put_option(record, card->config, why->option);
        record_item_end(record);
    }
    record_list_end(record);
}

static struct card *card_new(struct control_call *call)
{
    struct card *card = calloc(1, sizeof *card);
    if (!card) {
        control_fail(call, "no memory");
        return NULL;
    }
    card->call = call;
    card->config = daemon_of(call)->config;
    return card;
}

/* ---- queue why ---- */

struct named {
    bool found;
    unsigned written; /* in this worker */
};

static struct span name_of(const struct control_call *call)
{
    return values_text(call->command, &call->values, "NAME");
}

static bool put_queue(struct card *card, const struct worker *worker, struct queue *queue)
{
    struct record record;
    record_begin(&record, &card->call->out);
    record_text(&record, "queue", queue->name);
    record_count(&record, "worker", worker->loop.index);
    put_reasons(&record, card);
    return control_put(card->call, &record);
}

static enum control_step visit_queue(struct control_call *call, void *worker_)
{
    struct worker *worker = worker_;
    struct named *named = call->state;
    struct card *card = card_new(call);
    struct queue *queue = NULL;
    bool full = false;
    for (unsigned i = 0;
         card && !full && (queue = share_next_queue(worker->share, name_of(call), queue)); i++) {
        if (i < named->written)
            continue;
        card->count = 0;
        egress_why_queue(&worker->egress, queue, keep_reason, card);
        full = !put_queue(card, worker, queue);
        named->written += !full;
        named->found = true;
    }
    free(card);
    if (full)
        return CONTROL_MORE;
    named->written = 0;
    return CONTROL_DONE;
}

static enum control_step finish_queue(struct control_call *call)
{
    const struct named *named = call->state;
    if (!named->found)
        control_fail(call, "no queue is called %.*s: nothing waits there",
                     SPAN_FORMAT(name_of(call)));
    return CONTROL_DONE;
}

/* ---- lane why ---- */

static bool put_lane(struct card *card, const struct worker *worker, const struct lane *lane)
{
    struct record record;
    record_begin(&record, &card->call->out);
    record_text(&record, "lane", lane->key);
    record_count(&record, "worker", worker->loop.index);
    put_reasons(&record, card);
    return control_put(card->call, &record);
}

static enum control_step visit_lane(struct control_call *call, void *worker_)
{
    struct worker *worker = worker_;
    struct named *named = call->state;
    struct card *card = card_new(call);
    const struct lane *lane = NULL;
    bool full = false;
    for (unsigned i = 0;
         card && !full && (lane = egress_next_lane(&worker->egress, name_of(call), lane)); i++) {
        if (i < named->written)
            continue;
        card->count = 0;
        lane_why(lane, keep_reason, card);
        full = !put_lane(card, worker, lane);
        named->written += !full;
        named->found = true;
    }
    free(card);
    if (full)
        return CONTROL_MORE;
    named->written = 0;
    return CONTROL_DONE;
}

static enum control_step finish_lane(struct control_call *call)
{
    const struct named *named = call->state;
    if (!named->found)
        control_fail(call, "no lane is called %.*s: it is not in use now",
                     SPAN_FORMAT(name_of(call)));
    return CONTROL_DONE;
}

/* ---- a message's rows on disk ---- */

struct found_row {
    uint32_t number; /* of its queue */
    uint64_t due_ms;
    char *record; /* a copy */
    size_t record_len;
    char *queue_name;
    size_t queue_name_len;
};

struct message_search {
    uint64_t id;
    uint8_t shard;
    char at[32]; /* where to go on: a row's key */
    size_t at_len;
    struct found_row rows[ROWS_MAX];
    unsigned count;
    unsigned written; /* cards */
    bool found, cut;
};

static bool copy_span(struct span from, char **ret_data, size_t *ret_len)
{
    char *data = malloc(from.len + 1);
    if (!data)
        return false;
    if (from.len)
        memcpy(data, from.data, from.len);
    *ret_data = data;
    *ret_len = from.len;
    return true;
}

static void name_row(struct store *store, uint8_t shard, struct found_row *row)
{
    char key[32];
    struct store_value value;
    struct queue_record record;
    if (store_get(store, FAMILY_QUEUE, queue_key(key, shard, row->number), &value) != 1)
        return;
    if (queue_record_read(value.span, &record) &&
        !copy_span(record.name, &row->queue_name, &row->queue_name_len))
        row->queue_name = NULL;
    store_value_release(&value);
}

static void add_row(struct message_search *search, struct store *store, uint32_t number,
                    uint64_t due_ms, struct span record)
{
    if (search->count == ROWS_MAX) {
        search->cut = true;
        return;
    }
    struct found_row *row = &search->rows[search->count];
    *row = (struct found_row){.number = number, .due_ms = due_ms};
    if (!copy_span(record, &row->record, &row->record_len))
        return;
    name_row(store, search->shard, row);
    search->count++;
}

/* Some of the shard's rows. False: through (or it failed). */
static bool search_some(struct control_call *call, struct message_search *search)
{
    struct store *store = spool_store(daemon_of(call)->spool);
    char upper[32];
    struct span key, value, end = row_key(upper, (uint8_t)(search->shard + 1), 0, 0, 0);
    struct store_scan *scan =
        store_scan_new(store, FAMILY_ROW, span_of(search->at, search->at_len), end);
    int found = scan ? 1 : -ENOMEM;
    for (unsigned i = 0; i < KEYS_PER_STEP && found == 1; i++) {
        uint8_t shard;
        uint32_t number;
        uint64_t due_ms, id;
        found = store_scan_next(scan, &key, &value);
        if (found != 1 || !row_key_read(key, &shard, &number, &due_ms, &id))
            continue;
        if (id == search->id)
            add_row(search, store, number, due_ms, value);
        search->at_len = row_key(search->at, shard, number, due_ms, id + 1).len;
    }
    store_scan_free(scan);
    if (found < 0)
        control_fail(call, "the queue cannot be read: %s", strerror(-found));
    return found == 1;
}

static enum control_step begin_message(struct control_call *call)
{
    struct message_search *search = call->state;
    struct span text = values_text(call->command, &call->values, "ID");
    if (search->at_len == 0) {
        if (!id_parse(text, &search->id)) {
            control_refuse(call, "this is no message's number: 16 hexadecimal digits");
            return CONTROL_DONE;
        }
        search->shard = id_shard(search->id) % SHARD_COUNT;
        search->at_len = row_key(search->at, search->shard, 0, 0, 0).len;
    }
    if (!search_some(call, search))
        return CONTROL_DONE;
    return CONTROL_MORE;
}

static void end_message(struct control_call *call)
{
    struct message_search *search = call->state;
    for (unsigned i = 0; i < search->count; i++) {
        free(search->rows[i].record);
        free(search->rows[i].queue_name);
    }
}

static bool is_the_worker(const struct control_call *call, const struct message_search *search)
{
    return search->shard % daemon_of(call)->worker_count == call->worker;
}

/* ---- message show, message why: in the worker ---- */

/* One row of the message, wherever it is; what a card needs. */
struct message_row {
    const struct envelope *envelope;
    const struct row_state *state;
    uint64_t due_ms;
    struct span queue_name;
    struct queue *queue;   /* NULL: the worker does not know it */
    const struct row *row; /* in memory; NULL: on disk */
    bool waiting, fresh;
};

struct telling {
    struct control_call *call;
    struct worker *worker;
    struct message_search *search;
    struct card *card;
    unsigned met; /* rows so far */
    bool full, shows;
    bool open; /* a row in memory whose reasons are being collected */
    struct message_row row;
};

static struct span state_name(const struct telling *telling, const struct message_row *row)
{
    if (!row->waiting && telling->card->count)
        return span_string(reason_name(telling->card->reasons[0].why.reason));
    if (row->fresh || row->due_ms <= telling->worker->loop.wall_ms)
        return row->state->attempts ? SPAN("due") : SPAN("new");
    return SPAN("deferred");
}

static void put_notify(struct record *record, uint8_t notify)
{
    static const struct {
        uint8_t bit;
        const char *name;
    } names[] = {{NOTIFY_NEVER, "NEVER"},
                 {NOTIFY_SUCCESS, "SUCCESS"},
                 {NOTIFY_FAILURE, "FAILURE"},
                 {NOTIFY_DELAY, "DELAY"}};
    char text[64];
    struct sink sink;
    sink_init(&sink, text, sizeof text);
    for (size_t i = 0; i < countof(names); i++)
        if (notify & names[i].bit)
            sink_format(&sink, "%s%s", sink.len ? "," : "", names[i].name);
    record_text(record, "notify", sink_span(&sink));
}

static void put_recipients(struct record *record, const struct envelope *envelope)
{
    enum { SHOWN = 100 };
    record_list(record, "recipients");
    for (unsigned i = 0; i < envelope->recipient_count && i < SHOWN; i++) {
        const struct recipient *recipient = &envelope->recipients[i];
        record_item(record);
        record_text(record, "address", recipient->address);
        if (recipient->notify)
            put_notify(record, recipient->notify);
        if (recipient->original.len)
            record_text(record, "orcpt", recipient->original);
        record_item_end(record);
    }
    record_list_end(record);
}

static void put_state(struct record *record, const struct message_row *row)
{
    const struct row_state *state = row->state;
    record_count(record, "attempts", state->attempts);
    if (state->last_attempt_ms)
        record_count(record, "last_attempt_ms", state->last_attempt_ms);
    record_count(record, "due_ms", row->due_ms);
    if (state->last_reply.len)
        record_text(record, "last_reply", state->last_reply);
}

static void put_message(const struct telling *telling, struct record *record)
{
    const struct message_row *row = &telling->row;
    const struct envelope *envelope = row->envelope;
    record_text(record, "state", state_name(telling, row));
    record_text(record, "from", envelope->reverse_path);
    record_count(record, "size", envelope->size);
    record_count(record, "arrived_ms", envelope->arrived_ms);
    record_count(record, "expires_ms", envelope->expires_ms);
    put_state(record, row);
    if (row->state->last_peer.len)
        record_text(record, "last_peer", row->state->last_peer);
    if (envelope->envid.len)
        record_text(record, "envid", envelope->envid);
    put_recipients(record, envelope);
}

static void put_why(const struct telling *telling, struct record *record)
{
    record_count(record, "worker", telling->worker->loop.index);
    put_state(record, &telling->row);
    put_reasons(record, telling->card);
}

/* The card of a row whose own reasons are known: with those of its queue, if it waits its turn. */
static void put_card(struct telling *telling)
{
    struct message_row *row = &telling->row;
    char id[ID_TEXT];
    struct record record;
    telling->search->found = true;
    if (telling->full || telling->met++ < telling->search->written)
        return;
    if (!telling->shows && row->waiting && row->queue && telling->card->count == 0)
        egress_why_queue(&telling->worker->egress, row->queue, keep_reason, telling->card);
    id_text(telling->search->id, id);
    record_begin(&record, &telling->call->out);
    record_text(&record, "id", span_string(id));
    record_text(&record, "queue", row->queue_name);
    if (telling->shows)
        put_message(telling, &record);
    else
        put_why(telling, &record);
    if (control_put(telling->call, &record))
        telling->search->written++;
    else
        telling->full = true;
}

static void close_row(struct telling *telling)
{
    if (telling->open)
        put_card(telling);
    telling->open = false;
    telling->card->count = 0;
}

static void on_row(void *context, const struct why_row *row)
{
    struct telling *telling = context;
    close_row(telling);
    telling->open = true;
    telling->row = (struct message_row){
        .envelope = &row->row->envelope,
        .state = &row->row->state,
        .due_ms = row->row->due_ms,
        .queue_name = row->queue->name,
        .queue = row->queue,
        .row = row->row,
        .waiting = row->waiting,
        .fresh = row->fresh,
    };
}

/* Who has it, and which step it is at, is the outbound side's to say. */
static void on_reason(void *context, const struct why *why)
{
    struct telling *telling = context;
    char text[512];
    struct sink sink;
    struct why better = *why;
    sink_init(&sink, text, sizeof text);
    if (why->reason == REASON_IN_DELIVERY && telling->row.row &&
        egress_why_lent(&telling->worker->egress, telling->row.row, &sink, &better.since_ms))
        better.text = sink_span(&sink);
    keep_reason(telling->card, &better);
}

static bool read_found(const struct message_search *search, const struct found_row *found,
                       struct arena *arena, struct envelope *envelope, struct row_state *state)
{
    if (!row_record_read(span_of(found->record, found->record_len), arena, envelope, state))
        return false;
    envelope->id = search->id;
    return true;
}

static void tell_stored(struct telling *telling, const struct found_row *found)
{
    struct message_search *search = telling->search;
    struct share *share = telling->worker->share;
    struct span name = span_of(found->queue_name, found->queue_name_len);
    struct queue *queue = name.len ? share_find_queue(share, search->shard, name) : NULL;
    struct envelope envelope;
    struct row_state state;
    struct chunk_pool chunks;
    struct arena arena;
    chunk_pool_init(&chunks, SIZE_MAX, 0);
    arena_init(&arena, &chunks, SIZE_MAX);
    if (read_found(search, found, &arena, &envelope, &state)) {
        telling->row = (struct message_row){.envelope = &envelope,
                                            .state = &state,
                                            .due_ms = found->due_ms,
                                            .queue_name = name,
                                            .queue = queue,
                                            .waiting = true};
        bool in_memory = queue && share_why_stored(share, queue, search->id, found->due_ms,
                                                   state.attempts, keep_reason, telling->card);
        if (!in_memory && queue && found->due_ms <= telling->worker->loop.wall_ms)
            egress_why_queue(&telling->worker->egress, queue, keep_reason, telling->card);
        if (!in_memory)
            put_card(telling);
        telling->card->count = 0;
    }
    arena_fini(&arena);
    chunk_pool_fini(&chunks);
}

static enum control_step tell_message(struct control_call *call, struct worker *worker, bool shows)
{
    struct message_search *search = call->state;
    struct telling telling = {.call = call, .worker = worker, .search = search, .shows = shows};
    if (!is_the_worker(call, search))
        return CONTROL_DONE;
    telling.card = card_new(call);
    if (!telling.card)
        return CONTROL_DONE;
    share_why_message(worker->share, search->id, on_row, on_reason, &telling);
    close_row(&telling);
    for (unsigned i = 0; i < search->count; i++)
        tell_stored(&telling, &search->rows[i]);
    free(telling.card);
    return telling.full ? CONTROL_MORE : CONTROL_DONE;
}

static enum control_step visit_show(struct control_call *call, void *worker)
{
    return tell_message(call, worker, true);
}

static enum control_step visit_why(struct control_call *call, void *worker)
{
    return tell_message(call, worker, false);
}

static enum control_step finish_message(struct control_call *call)
{
    const struct message_search *search = call->state;
    if (!search->found)
        control_fail(call, "this message does not wait here (any more): the journal knows what "
                           "became of it");
    return CONTROL_DONE;
}

#define QUEUE .state_size = sizeof(struct named)
#define MESSAGE                                                                                    \
    .state_size = sizeof(struct message_search), .begin = begin_message, .finish = finish_message, \
    .end = end_message

const struct control_handler daemon_why_handlers[] = {
    {"queue", "why", QUEUE, .visit = visit_queue, .finish = finish_queue},
    {"lane", "why", QUEUE, .visit = visit_lane, .finish = finish_lane},
    {"message", "show", MESSAGE, .visit = visit_show},
    {"message", "why", MESSAGE, .visit = visit_why},
    {NULL},
};
