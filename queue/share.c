/* The share's life: its timers, its ticks, its end. Everything else is in the files named in
 * share.h.
 *
 * Draining: nothing is handed out any more; when nothing is lent, settling, loading or being
 * written, the counters are written, then the journal is closed. What the disk refuses does not
 * hold up the end: the rows are on disk as they were, and their verdicts are in the journal. */
#include "core/clock.h"
#include "queue/event.h"
#include "queue/spool_private.h"
#include "queue/walk.h"

#include <errno.h>
#include <stdlib.h>

enum {
    LOOK_AT_MOST_MS = 60000, /* the wall clock may be set while a timer waits */
    QUEUES_EXPECTED = 1024,
    KEEP_BYTES = 8 << 20, /* of freed chunks */
    WALL_RECORD_MS = 60000,
};

static void on_look(struct op *op);
static void on_tick(struct op *op);
static void on_journal_closed(struct op *op);

/* ---- init ---- */

static void init_lists(struct share *share)
{
    list_init(&share->nursery);
    list_init(&share->recent);
    list_init(&share->dirty);
    list_init(&share->bodies);
    list_init(&share->capped);
    list_init(&share->starved);
    list_init(&share->stuck);
    list_init(&share->stuck_withdrawals);
    list_init(&share->jobs);
    list_init(&share->unreported);
    list_init(&share->all);
    list_init(&share->walks);
}

int share_init(struct share *share, struct spool *spool, unsigned worker)
{
    *share = (struct share){.spool = spool, .worker = worker, .options = &spool->options};
    share->limits = spool->options.limits;
    for (unsigned shard = worker; shard < SHARD_COUNT; shard += spool->options.workers)
        share->shards[share->shard_count++] = (uint8_t)shard;
    init_lists(share);
    ids_init(&share->ids, spool->ceiling_ms);
    agenda_init(&share->agenda);
    chunk_pool_init(&share->inbound, share->limits.inbound_memory, KEEP_BYTES);
    chunk_pool_init(&share->own, SIZE_MAX, KEEP_BYTES);
    timer_init(&share->look, on_look);
    timer_init(&share->tick, on_tick);
    op_init(&share->jobs_turn, on_jobs_turn);
    op_init(&share->wake_turn, on_wake_turn);
    op_init(&share->journal_closed, on_journal_closed);
    share->line = malloc(EVENT_LINE_MAX);
    int result = segments_init(&share->segments, spool->segment_directory, spool->segment_limit,
                               spool->options.segment_size);
    if (result)
        return result;
    if (!share->line || map_init(&share->queues, QUEUES_EXPECTED) != 0 ||
        map_init(&share->held, QUEUES_EXPECTED) != 0 || map_init(&share->several, 64) != 0)
        return -ENOMEM;
    return upkeep_init(share);
}

/* ---- end ---- */

static void free_held(struct map_node *node, void *context)
{
    struct held *held = container_of(node, struct held, by_id);
    struct share *share = context;
    map_remove(&share->held, node);
    if (held->intake) {
        intake_free(held->intake);
        return;
    }
    free(held->body_memory);
    if (held->malloced)
        free(held);
}

static void free_queue(struct map_node *node, void *context)
{
    struct stored_queue *queue = stored(container_of(node, struct queue, by_name));
    struct share *share = context;
    map_remove(&share->queues, node);
    if (queue->window)
        job_free(queue->window->job);
    free(queue->window);
    free(queue);
}

/* Settlements that the disk refused, and messages whose withdrawal it refused. */
static void free_stuck(struct share *share)
{
    for (struct list_link *link; (link = list_take_first(&share->stuck));) {
        struct settlement *settlement = container_of(link, struct settlement, link);
        struct arena arena = settlement->arena;
        for (unsigned i = 0; i < settlement->report_count; i++)
            intake_discard(settlement->reports[i]);
        arena_fini(&arena);
    }
    for (struct list_link *link; (link = list_take_first(&share->stuck_withdrawals));)
        intake_discard(container_of(link, struct intake, link));
}

void share_fini(struct share *share)
{
    walks_fini(share);
    free_stuck(share);
    receptions_forget(share);
    map_each(&share->held, free_held, share);
    map_each(&share->queues, free_queue, share);
    map_fini(&share->held);
    map_fini(&share->queues);
    map_fini(&share->several);
    agenda_fini(&share->agenda);
    upkeep_fini(share);
    segments_fini(&share->segments);
    share->journal = journal_free(share->journal);
    chunk_pool_fini(&share->inbound);
    chunk_pool_fini(&share->own);
    free(share->line);
}

/* ---- start ---- */

static int open_journal(struct share *share)
{
    struct spool *spool = share->spool;
    struct journal_options options = {
        .directory = spool->journal_directory,
        .worker = share->worker,
        .first_sequence = spool->journal_sequence[share->worker],
        .torn_from = spool->journal_torn[share->worker],
        .file_bytes = spool->options.journal_file_bytes,
        .file_ms = spool->options.journal_file_ms,
        .head = &spool->journal_heads[share->worker],
    };
    return journal_open(&options, share->loop, &share->journal);
}

int share_start(struct spool *spool, struct loop *loop, share_on_ready *on_ready, void *context,
                struct share **ret_share)
{
    struct share *share = spool->shares[loop->index];
    share->loop = loop;
    share->on_ready = on_ready;
    share->context = context;
    int result = open_journal(share);
    if (result)
        return result;
    loop_arm(loop, &share->tick, SHARE_TICK_MS * NS_PER_MS);
    share_arm_look(share);
    receptions_write(share);
    segments_start(share);
    list_for_each (&share->nursery, link, following) {
        struct held *held = container_of(link, struct held, age);
        held->entered_ns = loop->now_ns;
        settle_journaled(held);
    }
    upkeep_start(share);
    *ret_share = share;
    return 0;
}

/* ---- ways to the others ---- */

void share_submit(struct share *share, struct commit *commit)
{
    commit_submit(share->spool->committing, commit);
}

void share_load(struct share *share, struct load *load)
{
    load_submit(share->spool->loading, load);
}

/* The guard looks once a second; a step is seen here in the same turn. */
bool share_may_expire(const struct share *share)
{
    const struct spool *spool = share->spool;
    const struct loop *loop = share->loop;
    return atomic_load_explicit(&spool->clock_fault, memory_order_relaxed) == CLOCK_FINE &&
           clock_agrees(atomic_load_explicit(&spool->clock_offset_ms, memory_order_relaxed),
                        loop->wall_ms, loop->now_ns / NS_PER_MS);
}

uint8_t share_shard(const struct share *share, struct span domain)
{
    /* A fixed seed: after a restart the same domain must come to the same shard. Whoever finds
     * names that collide only fills one shard more than the others. */
    static const struct hash_seed seed = {0x72696e67, 0x706f7374};
    return share->shards[hash_key(seed, domain) % share->shard_count];
}

void share_journal(struct share *share, struct event *event, struct op *durable)
{
    struct sink sink;
    event->node = span_string(share->spool->node);
    sink_init(&sink, share->line, EVENT_LINE_MAX);
    event_write(event, &sink);
    journal_append(share->journal, sink_span(&sink), durable);
}

/* ---- time ---- */

void share_arm_look(struct share *share)
{
    uint64_t next_ms = agenda_next_ms(&share->agenda), now_ms = share->loop->wall_ms;
    if (next_ms == UINT64_MAX || share->draining)
        return;
    uint64_t wait_ms = next_ms > now_ms ? next_ms - now_ms : 0;
    if (wait_ms > LOOK_AT_MOST_MS)
        wait_ms = LOOK_AT_MOST_MS;
    loop_arm(share->loop, &share->look, wait_ms * NS_PER_MS);
}

static void on_look(struct op *op)
{
    struct share *share = container_of(op, struct share, look.op);
    if (!share->draining)
        queues_look_due(share);
}

struct wall_record {
    struct commit commit;
    struct arena arena;
    struct share *share;
};

static void on_wall_recorded(struct op *op)
{
    struct wall_record *record = container_of(op, struct wall_record, commit.op);
    struct share *share = record->share;
    arena_fini(&record->arena);
    free(record);
    share->writes--;
    share_look_drained(share);
}

/* The first worker's business. A clock that is in doubt is not recorded: it would be believed after
 * the next start. */
static void record_wall(struct share *share)
{
    if (share->worker != 0 || !share_may_expire(share))
        return;
    struct wall_record *record = calloc(1, sizeof(*record));
    if (!record)
        return;
    record->share = share;
    arena_init(&record->arena, &share->own, ARENA_LIMIT);
    commit_init(&record->commit, share->loop, COMMIT_WRITTEN, on_wall_recorded);
    char *number = arena_take(&record->arena, META_U64_LEN);
    struct span value = number ? meta_u64_write(number, share->loop->wall_ms) : (struct span){0};
    if (!number ||
        !commit_put(&record->commit, &record->arena, FAMILY_META, SPAN(META_WALL), &value, 1)) {
        arena_fini(&record->arena);
        free(record);
        return;
    }
    share->wall_recorded_ns = share->loop->now_ns;
    share->writes++;
    share_submit(share, &record->commit);
}

static void on_tick(struct op *op)
{
    struct share *share = container_of(op, struct share, tick.op);
    uint64_t now_ns = share->loop->now_ns;
    if (committer_state(share->spool->committing) == 0) {
        nursery_demote_old(share);
        settlements_retry(share);
        withdrawals_retry(share);
    }
    if (now_ns - share->checkpoint_ns >= CHECKPOINT_MS * NS_PER_MS ||
        share->dirty_count >= DIRTY_QUEUES) {
        share->checkpoint_ns = now_ns;
        queues_checkpoint(share);
    }
    if (share->wall_recorded_ns == 0 ||
        now_ns - share->wall_recorded_ns >= WALL_RECORD_MS * NS_PER_MS)
        record_wall(share);
    pull_make_room(share);
    upkeep_tick(share);
    loop_arm(share->loop, &share->tick, SHARE_TICK_MS * NS_PER_MS);
}

/* ---- numbers ---- */

void share_reconfigure(struct share *share, const struct spool_options *options)
{
    struct spool_options reloaded = *share->options;
    reloaded.retry_intervals_ms = options->retry_intervals_ms;
    reloaded.retry_interval_count = options->retry_interval_count;
    reloaded.retry_jitter = options->retry_jitter;
    reloaded.max_age_ms = options->max_age_ms;
    reloaded.bounce_mode = options->bounce_mode;
    reloaded.bounce_context = options->bounce_context;
    reloaded.delay_report_after_ms = options->delay_report_after_ms;
    reloaded.expiry_sweep_ms = options->expiry_sweep_ms;
    share->reloaded = reloaded;
    share->options = &share->reloaded;
}

void share_usage(const struct share *share, struct share_usage *ret_usage)
{
    *ret_usage = share->usage;
    ret_usage->queues = share->queues.count;
    ret_usage->rows_in_memory = share->held.count;
    ret_usage->unrecorded = share->unrecorded;
    ret_usage->inbound_bytes = share->inbound.in_use;
    ret_usage->loaded_bytes = share->loaded_bytes;
    struct journal_usage journal;
    journal_usage(share->journal, &journal);
    ret_usage->journal_frames = journal.frames;
    ret_usage->journal_syncs = journal.syncs;
    ret_usage->journal_bytes = journal.bytes;
    ret_usage->journal_lost = journal.lost;
    ret_usage->journal_errors = journal.errors;
    ret_usage->journal_behind = journal_behind(share->journal);
    segments_usage(&share->segments, &ret_usage->segments);
    ret_usage->segment_bodies = share->segments.bodies;
    ret_usage->segment_inlined = share->segments.inlined;
    ret_usage->segment_errors = share->segments.errors;
}

/* ---- draining ---- */

static void on_journal_closed(struct op *op)
{
    struct share *share = container_of(op, struct share, journal_closed);
    loop_ready(share->loop, share->drained, 0);
}

void share_look_drained(struct share *share)
{
    if (!share->drained || !list_empty(&share->walks) || share->lent || share->accepting ||
        share->loads || share->writes || share->settling > share->stuck_count)
        return;
    if (share->drain_step == DRAIN_WORK) {
        share->drain_step = DRAIN_COUNTERS;
        loop_disarm(share->loop, &share->tick);
        loop_disarm(share->loop, &share->look);
        queues_checkpoint(share);
        record_wall(share);
        if (share->writes)
            return;
    }
    if (share->drain_step == DRAIN_COUNTERS) {
        share->drain_step = DRAIN_JOURNAL;
        segments_close(share);
        share->journal_closed.state = OP_BUSY;
        journal_close(share->journal, &share->journal_closed);
    }
}

void share_seal_reports(struct share *share, share_reserve_seal *reserve, share_fill_seal *fill,
                        share_drop_seal *drop, void *context)
{
    share->reserve_seal = reserve;
    share->fill_seal = fill;
    share->drop_seal = drop;
    share->seal_context = context;
}

void share_drain(struct share *share, struct op *done)
{
    share->draining = true;
    share->drained = done;
    done->state = OP_BUSY;
    walks_drain(share);
    share_look_drained(share);
}
