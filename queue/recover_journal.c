/* What the journals' tails tell a start.
 *
 * Verdicts: a row that still names a recipient who had a final verdict lost only its batch in the
 * crash; it is settled when it comes into memory (settle.c).
 *
 * Receptions: their lines are written behind the commit, so a crash takes those of the last
 * JOURNAL_SYNC_MS, and their messages are in the store. They are written now, before anything else
 * of those messages: fresh records are all read anyway; rows are sought among those that were due
 * in the last minute, in queues into which something may have come then (arrivals_until). Whether a
 * message's line is in the part of the journal that was not read is decided by when it arrived. */
#include "core/clock.h"
#include "queue/event.h"
#include "queue/spool_private.h"

#include <errno.h>
#include <stdlib.h>

enum {
    JOURNAL_TAIL_BYTES = 32 << 20, /* far more than what a crash can leave unrecorded */
    YOUNG_MS = 60000,              /* from a message's arrival to its line, at most */
    REACH_SLACK_MS = 1000,         /* lines of verdicts are read in whole seconds */
};

/* ---- verdicts ---- */

static uint64_t verdict_hash(uint64_t id, struct span address)
{
    static const struct hash_seed seed = {0};
    return hash_key(seed, address) ^ id * UINT64_C(0x9e3779b97f4a7c15);
}

const struct settled_recipient *verdict_set_find(const struct verdict_set *set, uint64_t id,
                                                 struct span address)
{
    struct map_node *node = map_find(&set->map, verdict_hash(id, address));
    for (; node; node = map_find_next(node)) {
        const struct settled_recipient *settled =
            container_of(node, struct settled_recipient, node);
        if (settled->id == id && span_equals(settled->address, address))
            return settled;
    }
    return NULL;
}

void verdict_set_fini(struct verdict_set *set)
{
    if (!set->scratch)
        return;
    map_fini(&set->map);
    arena_fini(&set->arena);
    chunk_pool_fini(&set->pool);
    free(set->scratch);
}

static bool keep_verdict(struct verdict_set *set, const struct event_summary *summary)
{
    struct settled_recipient *settled = arena_take_zeroed(&set->arena, sizeof(*settled));
    if (!settled || !arena_copy(&set->arena, summary->recipient, &settled->address) ||
        !arena_copy(&set->arena, summary->reply.text, &settled->reply.text))
        return false;
    struct span text = settled->reply.text;
    settled->reply = summary->reply;
    settled->reply.text = text;
    settled->reply.command = (struct span){0};
    settled->id = summary->id;
    settled->type = (uint8_t)summary->type;
    settled->unreported = summary->type == EVENT_ADMIN_BOUNCE && summary->dsn_id == 0;
    map_insert(&set->map, &settled->node, verdict_hash(settled->id, settled->address));
    set->count++;
    return true;
}

/* ---- receptions ---- */

static bool witnessed(const struct witness_set *set, uint64_t id, struct span queue)
{
    uint64_t hash = verdict_hash(id, queue);
    for (struct map_node *node = map_find(&set->map, hash); node; node = map_find_next(node))
        if (container_of(node, struct witness, node)->id == id)
            return true;
    return false;
}

/* Where the journal begins nothing is unknown. Else what arrived before the first line that was
 * read may have its own line further back. Lines of receptions follow each other as the messages
 * arrived, but for our own reports, which wait for their batch. */
static void note_reach(struct journal_reach *reach, const struct journal_line *line,
                       const struct event_summary *summary)
{
    bool reception = summary->type == EVENT_RECEPTION && summary->row_due_ms;
    uint64_t at_ms = reception ? summary->row_due_ms : summary->wall_ms;
    if (!reach->seen)
        reach->known_from_ms = line->sequence == 1 ? 0 : at_ms + REACH_SLACK_MS;
    reach->seen = true;
    reach->went_back |= at_ms + YOUNG_MS < reach->newest_ms;
    if (at_ms > reach->newest_ms)
        reach->newest_ms = at_ms;
}

static bool keep_witness(struct witness_set *set, const struct event_summary *summary)
{
    if (witnessed(set, summary->id, summary->queue))
        return true;
    struct witness *witness = arena_take_zeroed(&set->arena, sizeof(*witness));
    if (!witness)
        return false;
    witness->id = summary->id;
    map_insert(&set->map, &witness->node, verdict_hash(summary->id, summary->queue));
    return true;
}

bool reception_missing(const struct spool *spool, uint8_t shard, const struct envelope *envelope,
                       struct span queue)
{
    const struct witness_set *set = &spool->witnesses;
    const struct journal_reach *reach = &set->reach[shard % spool->workers_before];
    return spool->counters_approximate && envelope->arrived_ms >= reach->known_from_ms &&
           !witnessed(set, envelope->id, queue);
}

/* Nothing that came in before this lacks its line. What came in after the clock was set back has an
 * earlier time than lines before it. */
static uint64_t arrivals_floor_ms(const struct spool *spool, uint8_t shard)
{
    const struct journal_reach *reach = &spool->witnesses.reach[shard % spool->workers_before];
    uint64_t newest_ms = reach->seen ? reach->newest_ms : spool->ceiling_ms;
    if (reach->went_back || clock_wall_ms() < newest_ms)
        return reach->known_from_ms;
    uint64_t floor_ms = newest_ms > YOUNG_MS ? newest_ms - YOUNG_MS : 0;
    return floor_ms > reach->known_from_ms ? floor_ms : reach->known_from_ms;
}

struct young_row {
    struct list_link link; /* share->unreported */
    struct arena arena;
    struct row row;
};

static int keep_young(struct stored_queue *queue, uint64_t due_ms, struct span record)
{
    struct share *share = queue->queue.share;
    struct arena arena;
    struct row row = {.queue = &queue->queue, .due_ms = due_ms};
    struct span copy;
    arena_init(&arena, &share->own, ARENA_LIMIT);
    struct young_row *young = arena_take_zeroed(&arena, sizeof(*young));
    bool copied = young && arena_copy(&arena, record, &copy);
    if (!copied || !row_record_read(copy, &arena, &row.envelope, &row.state) ||
        row.state.attempts > 0 ||
        !reception_missing(share->spool, queue->shard, &row.envelope, queue->queue.name)) {
        arena_fini(&arena);
        return copied ? 0 : -ENOMEM; /* one that cannot be read is `queue check`'s business */
    }
    young->row = row;
    young->arena = arena;
    list_append(&share->unreported, &young->link);
    return 0;
}

static int look_for_young(struct stored_queue *queue)
{
    struct spool *spool = queue->queue.share->spool;
    char lower[KEY_MAX], upper[KEY_MAX];
    struct span key, value;
    uint64_t floor_ms = arrivals_floor_ms(spool, queue->shard), until_ms = queue->arrivals_until_ms;
    if (!queue->recorded || until_ms < floor_ms)
        return 0;
    struct store_scan *scan = store_scan_new(
        spool->store, FAMILY_ROW, row_key(lower, queue->shard, queue->number, floor_ms, 0),
        row_key(upper, queue->shard, queue->number, until_ms + 1, 0));
    int result = scan ? 0 : -ENOMEM;
    while (result == 0 && (result = store_scan_next(scan, &key, &value)) == 1) {
        uint8_t shard;
        uint32_t number;
        uint64_t due_ms, id;
        result =
            row_key_read(key, &shard, &number, &due_ms, &id) ? keep_young(queue, due_ms, value) : 0;
    }
    store_scan_free(scan);
    return result;
}

struct young_search {
    int result;
};

static void search_queue(struct map_node *node, void *context)
{
    struct young_search *search = context;
    if (search->result == 0)
        search->result = look_for_young(stored(container_of(node, struct queue, by_name)));
}

int recover_receptions(struct spool *spool)
{
    struct young_search search = {0};
    for (unsigned i = 0; spool->counters_approximate && i < spool->options.workers; i++)
        map_each(&spool->shares[i]->queues, search_queue, &search);
    witness_set_fini(&spool->witnesses);
    return search.result;
}

void receptions_write(struct share *share)
{
    for (struct list_link *link; (link = list_take_first(&share->unreported));) {
        struct young_row *young = container_of(link, struct young_row, link);
        struct arena arena = young->arena;
        journal_reception(share, &young->row, NULL);
        arena_fini(&arena);
    }
    list_for_each (&share->nursery, link, following) {
        struct held *held = container_of(link, struct held, age);
        if (held->unreported)
            journal_reception(share, &held->row, NULL);
        held->unreported = false;
    }
}

void receptions_forget(struct share *share)
{
    for (struct list_link *link; (link = list_take_first(&share->unreported));) {
        struct arena arena = container_of(link, struct young_row, link)->arena;
        arena_fini(&arena);
    }
}

/* ---- reading ---- */

static void on_line(void *context, const struct journal_line *line)
{
    struct spool *spool = context;
    struct verdict_set *set = &spool->verdicts;
    struct event_summary summary;
    struct sink sink;
    sink_init(&sink, set->scratch, JOURNAL_LINE_MAX);
    if (!event_read(line->text, &sink, &summary))
        return;
    if (summary.final && summary.recipient.len > 0)
        set->short_of_memory |= !keep_verdict(set, &summary);
    if (!spool->counters_approximate)
        return;
    note_reach(&spool->witnesses.reach[line->worker], line, &summary);
    set->short_of_memory |= !keep_witness(&spool->witnesses, &summary);
}

static int witness_set_init(struct witness_set *set)
{
    chunk_pool_init(&set->pool, SIZE_MAX, 0);
    arena_init(&set->arena, &set->pool, SIZE_MAX);
    return map_init(&set->map, 1024);
}

void witness_set_fini(struct witness_set *set)
{
    if (!set->map.buckets)
        return;
    map_fini(&set->map);
    arena_fini(&set->arena);
    chunk_pool_fini(&set->pool);
    set->map = (struct map){0};
}

int recover_journals(struct spool *spool, struct spool_report *report)
{
    struct verdict_set *set = &spool->verdicts;
    struct journal_tail *tail = calloc(1, sizeof(*tail));
    set->scratch = malloc(JOURNAL_LINE_MAX);
    chunk_pool_init(&set->pool, SIZE_MAX, 0);
    arena_init(&set->arena, &set->pool, SIZE_MAX);
    int result = tail && set->scratch ? map_init(&set->map, 1024) : -ENOMEM;
    if (result == 0)
        result = witness_set_init(&spool->witnesses);
    if (result == 0)
        result =
            journal_recover(spool->journal_directory, JOURNAL_TAIL_BYTES, on_line, spool, tail);
    if (result == 0 && set->short_of_memory)
        result = -ENOMEM;
    for (unsigned i = 0; result == 0 && i < SHARD_COUNT; i++) {
        spool->journal_sequence[i] = tail->next_sequence[i];
        spool->journal_torn[i] = tail->torn_from[i];
    }
    if (result == 0 && (tail->gaps || tail->damaged))
        report_line(report, "the journal has %llu gaps and %llu damaged places",
                    (unsigned long long)tail->gaps, (unsigned long long)tail->damaged);
    free(tail);
    return result;
}
