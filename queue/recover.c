/* What start-up reads and repairs, straight and blocking, before the committer runs.
 *
 * Fresh records come back into the nursery as they were; what no longer fits (smaller limits, fewer
 * workers) is moved to `body` and `row` at once. Records that cannot be read are left where they
 * are and named in the report: `queue check` says more.
 *
 * A body in a segment may be missing in one case that is no damage: the power failed when the log
 * had its record already and the sync that was to flush both had not ended. Nobody was promised
 * such a message, and its record is in the last group that put any: groups are a sequence number
 * apart (committer.h), so that one is the run of numbers at the end. There a wrong checksum
 * discards the record; anywhere else the message is lost, which its sender is told. */
#include "queue/spool_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { MOVE_BYTES = 1 << 20 };

static struct share *share_of(struct spool *spool, uint8_t shard)
{
    return spool->shares[shard % spool->options.workers];
}

/* ---- meta ---- */

struct span ceiling_key(char *key, unsigned worker)
{
    struct sink sink;
    sink_init(&sink, key, KEY_MAX);
    sink_put(&sink, SPAN(META_CEILING));
    sink_decimal(&sink, worker);
    return sink_span(&sink);
}

static int commit_now(struct spool *spool, struct store_batch *batch)
{
    int result = store_commit(spool->store, batch, true);
    store_batch_clear(batch);
    return result;
}

static int make_node(struct spool *spool, struct store_batch *batch)
{
    uint64_t number;
    random_fill(&number, sizeof(number));
    snprintf(spool->node, sizeof(spool->node), "%016llx", (unsigned long long)number);
    struct span node = span_string(spool->node);
    store_batch_put(batch, FAMILY_META, SPAN(META_NODE), &node, 1);
    return commit_now(spool, batch);
}

/* One that cannot be read is left: `queue check` names it. */
static int read_suspension(struct spool *spool, uint64_t number, struct span value)
{
    struct suspension suspension;
    if (number >= spool->next_suspension)
        spool->next_suspension = number + 1;
    if (!suspension_read(value, &suspension))
        return 0;
    suspension.number = number;
    return suspensions_put(&spool->suspensions, &suspension);
}

static int read_meta(struct spool *spool, struct span key, struct span value)
{
    uint64_t number;
    if (suspension_key_read(key, &number))
        return read_suspension(spool, number, value);
    if (span_equals(key, SPAN(META_NODE)) && value.len < sizeof(spool->node))
        memcpy(spool->node, value.data, value.len);
    else if (span_equals(key, SPAN(META_CLEAN)))
        spool->counters_approximate = false;
    else if (span_equals(key, SPAN(META_WALL)) && meta_u64_read(value, &number))
        spool->recorded_wall_ms = number;
    else if (span_starts_with(key, SPAN(META_CEILING)) && meta_u64_read(value, &number) &&
             number > spool->ceiling_ms)
        spool->ceiling_ms = number;
    else if (span_equals(key, SPAN(META_WORKERS)) && meta_u64_read(value, &number) && number > 0 &&
             number <= SHARD_COUNT)
        spool->workers_before = (unsigned)number;
    return 0;
}

int recover_meta(struct spool *spool)
{
    struct store_scan *scan =
        store_scan_new(spool->store, FAMILY_META, (struct span){0}, (struct span){0});
    struct store_batch *batch = store_batch_new(spool->store);
    struct span key, value;
    int result = scan && batch ? 0 : -ENOMEM;
    spool->counters_approximate = true;
    spool->workers_before = spool->options.workers;
    if (result == 0)
        result = suspensions_init(&spool->suspensions);
    while (result == 0 && (result = store_scan_next(scan, &key, &value)) == 1)
        result = read_meta(spool, key, value);
    if (result == 0 && !spool->node[0]) {
        spool->counters_approximate = false; /* a new database */
        result = make_node(spool, batch);
    }
    if (result == 0) { /* from here on the counters on disk grow old */
        char number[META_U64_LEN];
        struct span workers = meta_u64_write(number, spool->options.workers);
        store_batch_put(batch, FAMILY_META, SPAN(META_WORKERS), &workers, 1);
        store_batch_delete(batch, FAMILY_META, SPAN(META_CLEAN));
        result = commit_now(spool, batch);
    }
    store_batch_free(batch);
    store_scan_free(scan);
    return result;
}

/* ---- uploads ---- */

static int delete_parts(struct spool *spool, struct store_batch *batch, uint64_t id)
{
    char lower[KEY_MAX], upper[KEY_MAX];
    struct store_scan *scan = store_scan_new(spool->store, FAMILY_BODY, body_key(lower, id, 0),
                                             body_key(upper, id + 1, 0));
    if (!scan)
        return -ENOMEM;
    struct span key, value;
    int found;
    while ((found = store_scan_next(scan, &key, &value)) == 1)
        store_batch_delete(batch, FAMILY_BODY, key);
    store_scan_free(scan);
    return found;
}

/* A marker stands: the message was never acknowledged, and no row names it. */
int recover_uploads(struct spool *spool)
{
    struct store_scan *scan = store_scan_new(spool->store, FAMILY_META, SPAN(META_UPLOAD),
                                             SPAN(META_UPLOAD "\xff\xff\xff\xff\xff\xff\xff\xff"));
    struct store_batch *batch = store_batch_new(spool->store);
    struct span key, value;
    int result = scan && batch ? 0 : -ENOMEM;
    while (result == 0 && (result = store_scan_next(scan, &key, &value)) == 1) {
        uint64_t id;
        result = upload_key_read(key, &id) ? delete_parts(spool, batch, id) : 0;
        store_batch_delete(batch, FAMILY_META, key);
    }
    if (result == 0)
        result = commit_now(spool, batch);
    store_batch_free(batch);
    store_scan_free(scan);
    return result;
}

/* ---- queues ---- */

static int recover_queue(struct spool *spool, struct span key, struct span value)
{
    uint8_t shard;
    uint32_t number;
    struct queue_record record;
    if (!queue_key_read(key, &shard, &number) || !queue_record_read(value, &record) ||
        shard >= SHARD_COUNT)
        return -EINVAL;
    struct share *share = share_of(spool, shard);
    struct stored_queue *queue = queue_add(share, shard, number, record.name);
    if (!queue)
        return -ENOMEM;
    queue->recorded = true;
    queue->first_due_ms = record.first_due_ms;
    queue->arrivals_until_ms = record.arrivals_until_ms;
    queue->loaded_to = (struct position){record.first_due_ms, 0};
    queue->rows = (uint32_t)record.rows;
    queue->approximate = spool->counters_approximate;
    share->usage.queues_uncounted += queue->approximate;
    share->usage.rows += record.rows;
    agenda_set(&share->agenda, &queue->look, record.first_due_ms);
    return 0;
}

int recover_queues(struct spool *spool, struct spool_report *report)
{
    struct store_scan *scan =
        store_scan_new(spool->store, FAMILY_QUEUE, (struct span){0}, (struct span){0});
    struct span key, value;
    uint64_t damaged = 0;
    int result = scan ? 0 : -ENOMEM;
    while (result == 0 && (result = store_scan_next(scan, &key, &value)) == 1) {
        result = recover_queue(spool, key, value);
        if (result == -EINVAL) {
            damaged++;
            result = 0;
        } else {
            report->queues++;
        }
    }
    store_scan_free(scan);
    if (damaged) {
        report->alarm = true;
        report_line(report, "%llu queue records cannot be read: see `ringpost queue check`",
                    (unsigned long long)damaged);
    }
    return result;
}

/* ---- fresh ---- */

/* A record whose body has another checksum than it should. */
struct bad_body {
    struct bad_body *next;
    uint64_t sequence;
    struct span value;
};

struct fresh_scan {
    struct spool *spool;
    struct store_batch *batch; /* what moves to body and row */
    struct chunk_pool pool;
    struct segment_files files;
    struct arena bad_arena;
    struct bad_body *bad;
    uint64_t last_sequence, last_run; /* of the run at the end, the first */
    uint64_t count, moved, damaged, discarded, lost;
};

/* What is in a record's place, in memory. */
struct found_body {
    struct segment_slot slot;
    struct span text; /* what lies in a segment */
    bool missing;
};

static bool copy_body(struct held *held, const struct fresh_record *record,
                      const struct found_body *found, struct arena *arena)
{
    struct span *pieces = arena_take(arena, 2 * sizeof(*pieces));
    if (!pieces || !arena_copy(arena, found->text, &pieces[1]))
        return false;
    pieces[0] = record->body;
    held->row.body = pieces;
    held->row.body_pieces = found->missing ? 0 : found->text.len ? 2 : 1;
    held->body_missing = found->missing;
    return true;
}

/* Back into the nursery: the message's arena holds a copy of the record, and all strings point into
 * it. False: no memory. */
static bool enter_nursery(struct share *share, uint64_t sequence, struct span bytes,
                          const struct found_body *found)
{
    struct intake *intake = intake_blank(share, &share->inbound);
    struct fresh_record record;
    struct span copy;
    if (!intake)
        return false;
    struct arena *arena = &intake->message.arena;
    intake->rows = arena_take_zeroed(arena, sizeof(*intake->rows));
    intake->records = arena_take_zeroed(arena, sizeof(*intake->records));
    if (!intake->rows || !intake->records || !arena_copy(arena, bytes, &copy) ||
        !fresh_record_read(copy, arena, &record) || !copy_body(intake->rows, &record, found, arena))
        goto fail;
    struct stored_queue *queue = queue_obtain(share, record.shard, &record.envelope);
    if (!queue || !queue_open_window(queue))
        goto fail;
    struct held *held = intake->rows;
    intake->row_count = 1;
    intake->fresh = true;
    intake->slot = found->slot;
    intake->message.envelope = record.envelope;
    held->row.envelope = record.envelope;
    held->row.state = record.state;
    held->row.due_ms = record.envelope.arrived_ms;
    held->intake = intake;
    held->sequence = sequence;
    held->unreported =
        reception_missing(share->spool, record.shard, &record.envelope, queue->queue.name);
    held_enter(held, queue);
    nursery_place(held);
    agenda_set(&share->agenda, &queue->look, held->row.due_ms);
    return true;
fail:
    intake_free(intake);
    return false;
}

/* Over the nursery's bounds: what a demotion does, in a batch of ours. */
static int move_to_row(struct fresh_scan *scan, struct share *share, uint64_t sequence,
                       const struct fresh_record *record, struct span text, struct arena *arena)
{
    struct stored_queue *queue = queue_obtain(share, record->shard, &record->envelope);
    uint64_t due_ms = record->envelope.arrived_ms;
    char key[KEY_MAX];
    struct span row, header;
    if (!queue || !row_record_write(&record->envelope, &record->state, arena, &row))
        return -ENOMEM;
    if (due_ms < queue->first_due_ms)
        queue->first_due_ms = due_ms;
    if (due_ms > queue->arrivals_until_ms)
        queue->arrivals_until_ms = due_ms;
    if (position_before((struct position){queue->first_due_ms, 0}, queue->loaded_to))
        queue->loaded_to = (struct position){queue->first_due_ms, 0};
    queue->rows++;
    share->usage.rows++;
    struct queue_record described = {queue->queue.name, queue->first_due_ms, queue->rows,
                                     queue->arrivals_until_ms};
    if (!queue_record_write(&described, arena, &header))
        return -ENOMEM;
    struct span pieces[] = {record->body, text};
    store_batch_delete(scan->batch, FAMILY_FRESH, fresh_key(key, sequence));
    store_batch_put(scan->batch, FAMILY_BODY, body_key(key, record->id, 0), pieces, 2);
    store_batch_put(scan->batch, FAMILY_ROW,
                    row_key(key, queue->shard, queue->number, due_ms, record->id), &row, 1);
    store_batch_put(scan->batch, FAMILY_QUEUE, queue_key(key, queue->shard, queue->number), &header,
                    1);
    queue->recorded = true;
    agenda_set(&share->agenda, &queue->look, queue->first_due_ms);
    scan->moved++;
    if (store_batch_bytes(scan->batch) < MOVE_BYTES)
        return 0;
    return commit_now(scan->spool, scan->batch);
}

/* A place that two records name was overwritten by one of them. */
static int recover_sound(struct fresh_scan *scan, uint64_t sequence, struct span value,
                         const struct fresh_record *record, struct found_body *found,
                         struct arena *arena)
{
    struct share *share = share_of(scan->spool, record->shard);
    bool placed = record->place.kind == PLACE_SEGMENT;
    bool ours = !placed || segments_find(&share->segments, record->place.segment);
    if (placed && ours && !segments_mark(&share->segments, &record->place, &found->slot)) {
        scan->damaged++;
        return 0;
    }
    scan->count++;
    if (ours && nursery_has_room(share, record->envelope.size) &&
        enter_nursery(share, sequence, value, found))
        return 0;
    if (found->slot.segment) /* nothing is written there before this batch is on disk */
        segment_give(found->slot.segment, found->slot.first, found->slot.blocks);
    return move_to_row(scan, share, sequence, record, found->text, arena);
}

static int note_bad(struct fresh_scan *scan, uint64_t sequence, struct span value)
{
    struct bad_body *bad = arena_take_zeroed(&scan->bad_arena, sizeof(*bad));
    if (!bad || !arena_copy(&scan->bad_arena, value, &bad->value))
        return -ENOMEM;
    bad->sequence = sequence;
    bad->next = scan->bad;
    scan->bad = bad;
    return 0;
}

/* What is there and cannot be read stays there: perhaps another start can. */
static void keep_place(struct fresh_scan *scan, const struct fresh_record *record)
{
    struct segment_slot slot;
    struct share *share = share_of(scan->spool, record->shard);
    bool marked = segments_mark(&share->segments, &record->place, &slot);
    (void)marked;
    scan->damaged++;
}

static int recover_one(struct fresh_scan *scan, uint64_t sequence, struct span value)
{
    struct arena arena;
    struct fresh_record record;
    struct found_body found = {0};
    int result = 0;
    arena_init(&arena, &scan->pool, ARENA_LIMIT);
    if (!fresh_record_read(value, &arena, &record) || record.shard >= SHARD_COUNT) {
        scan->damaged++;
        arena_fini(&arena);
        return 0;
    }
    if (record.place.kind == PLACE_SEGMENT) {
        char *text =
            record.place.len <= ARENA_LIMIT / 2 ? arena_take(&arena, record.place.len) : NULL;
        result = text ? segment_files_read(&scan->files, &record.place, text) : -ENOMEM;
        found.text = span_of(text, record.place.len);
    }
    if (result == 0)
        result = recover_sound(scan, sequence, value, &record, &found, &arena);
    else if (result == -EBADMSG)
        result = note_bad(scan, sequence, value);
    else if (result != -ENOMEM) {
        keep_place(scan, &record);
        result = 0;
    }
    arena_fini(&arena);
    return result;
}

/* The message is lost, and goes the way of those: a report to its sender, a line in the journal. */
static int enter_lost(struct fresh_scan *scan, const struct bad_body *bad)
{
    struct arena arena;
    struct fresh_record record;
    struct found_body found = {.missing = true};
    arena_init(&arena, &scan->pool, ARENA_LIMIT);
    bool read = fresh_record_read(bad->value, &arena, &record);
    bool entered = false;
    if (read) {
        struct share *share = share_of(scan->spool, record.shard);
        bool marked = segments_mark(&share->segments, &record.place, &found.slot);
        (void)marked; /* not ours: nobody writes there any more */
        entered = enter_nursery(share, bad->sequence, bad->value, &found);
    }
    arena_fini(&arena);
    return entered ? 0 : -ENOMEM;
}

static int judge_bad(struct fresh_scan *scan)
{
    int result = 0;
    char key[KEY_MAX];
    for (const struct bad_body *bad = scan->bad; bad && result == 0; bad = bad->next) {
        if (bad->sequence >= scan->last_run) {
            store_batch_delete(scan->batch, FAMILY_FRESH, fresh_key(key, bad->sequence));
            scan->discarded++;
        } else {
            scan->lost++;
            result = enter_lost(scan, bad);
        }
    }
    return result;
}

static int scan_fresh(struct fresh_scan *fresh, uint64_t *ret_next_sequence)
{
    struct store_scan *scan =
        store_scan_new(fresh->spool->store, FAMILY_FRESH, (struct span){0}, (struct span){0});
    struct span key, value;
    uint64_t sequence;
    int result = scan ? 0 : -ENOMEM;
    while (result == 0 && (result = store_scan_next(scan, &key, &value)) == 1) {
        if (!fresh_key_read(key, &sequence)) {
            fresh->damaged++;
            result = 0;
            continue;
        }
        if (sequence != fresh->last_sequence + 1)
            fresh->last_run = sequence;
        fresh->last_sequence = sequence;
        *ret_next_sequence = sequence + 1;
        result = recover_one(fresh, sequence, value);
    }
    store_scan_free(scan);
    return result;
}

/* Files of another size or number than are wanted now take no new bodies; when their records have
 * been moved they go. */
static void add_segments(struct fresh_scan *fresh)
{
    struct spool *spool = fresh->spool;
    for (unsigned i = 0; i < fresh->files.count; i++) {
        const struct segment_file *file = &fresh->files.files[i];
        struct share *share = spool->shares[file->number % spool->options.workers];
        if (file->size == share->segments.size)
            segments_add(&share->segments, file->number, file->size);
    }
}

static void remove_segments(const struct fresh_scan *fresh)
{
    char path[SEGMENT_PATH];
    const struct spool *spool = fresh->spool;
    for (unsigned i = 0; i < fresh->files.count && !fresh->damaged; i++) {
        uint32_t number = fresh->files.files[i].number;
        struct share *share = spool->shares[number % spool->options.workers];
        if (!segments_find(&share->segments, number) &&
            segment_path(path, fresh->files.directory, number))
            unlink(path);
    }
}

static void report_fresh(const struct fresh_scan *fresh, struct spool_report *report)
{
    report->fresh = fresh->count;
    if (fresh->damaged)
        report_line(report, "%llu fresh records cannot be read: see `ringpost queue check`",
                    (unsigned long long)fresh->damaged);
    if (fresh->lost)
        report_line(report, "%llu messages were lost by a damaged disk: their senders are told",
                    (unsigned long long)fresh->lost);
    if (fresh->discarded)
        report_line(report,
                    "%llu messages of an unfinished write were discarded: nobody was "
                    "promised them",
                    (unsigned long long)fresh->discarded);
    report->alarm |= fresh->damaged || fresh->lost;
}

int recover_fresh(struct spool *spool, struct spool_report *report, uint64_t *ret_next_sequence)
{
    struct fresh_scan fresh = {.spool = spool, .batch = store_batch_new(spool->store)};
    if (!fresh.batch)
        return -ENOMEM;
    *ret_next_sequence = 1;
    chunk_pool_init(&fresh.pool, SIZE_MAX, 0);
    arena_init(&fresh.bad_arena, &fresh.pool, SIZE_MAX);
    int result = segment_files_open(spool->segment_directory, true, &fresh.files);
    if (result == 0) {
        add_segments(&fresh);
        result = scan_fresh(&fresh, ret_next_sequence);
    }
    if (result == 0)
        result = judge_bad(&fresh);
    if (result == 0)
        result = commit_now(spool, fresh.batch);
    if (result == 0)
        remove_segments(&fresh);
    segment_files_close(&fresh.files);
    store_batch_free(fresh.batch);
    arena_fini(&fresh.bad_arena);
    chunk_pool_fini(&fresh.pool);
    report_fresh(&fresh, report);
    return result;
}
