/* Rows are sorted by due time, everything else by id. So rows are read first and noted as (id,
 * queue, size and flags), and sorted; then `body` and `ref`, which already come by id, are read
 * beside them: one step per message, which sees all there is of it. */
#include "queue/check.h"

#include "queue/check_bodies.h"
#include "queue/record.h"
#include "queue/store.h"
#include "queue/suspensions.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    ROW_SEVERAL = 1u << 31, /* in noted_row.size: the record says that there are other rows */
    ROW_SIZE_MAX = ROW_SEVERAL - 1,
    RECORD_MEMORY = 32 << 20, /* for the recipients of one record */
};

struct noted_row {
    uint64_t id;
    uint32_t queue;
    uint32_t size; /* envelope.size, 31 bits, and ROW_SEVERAL */
};

struct check {
    struct store *store;
    queue_on_finding *on_finding;
    void *context;
    struct queue_check_result *result;
    struct chunk_pool pool;
    struct arena arena;  /* one record's, emptied for the next */
    uint64_t ceiling_ms; /* the highest of all workers': the next start begins there */
    bool ceiling_seen;
    struct noted_row *rows;
    size_t row_count, row_capacity;
    uint64_t *fresh, *uploads; /* ids, sorted */
    size_t fresh_count, fresh_capacity, upload_count, upload_capacity;
    struct body_check bodies; /* of fresh records, in segments */
};

/* ---- findings ---- */

static const struct kind {
    const char *name;
    bool note;
} kinds[] = {
#define KIND(name, text, note) {text, note},
    QUEUE_CHECK_KINDS(KIND)
#undef KIND
};

const char *queue_check_kind_name(enum queue_check_kind kind)
{
    check(kind < QUEUE_CHECK_COUNT);
    return kinds[kind].name;
}

bool queue_check_is_note(enum queue_check_kind kind)
{
    check(kind < QUEUE_CHECK_COUNT);
    return kinds[kind].note;
}

__attribute__((format(printf, 4, 5))) static void
find(struct check *check, enum queue_check_kind kind, uint64_t id, const char *format, ...)
{
    struct queue_finding finding = {.kind = kind, .id = id};
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(finding.text, sizeof finding.text, format, arguments);
    va_end(arguments);
    if (queue_check_is_note(kind))
        check->result->notes++;
    else
        check->result->illegal++;
    check->on_finding(check->context, &finding);
}

/* The key of a record, for messages. */
enum { KEY_TEXT = 80 };
static const char *key_text(struct span key, char text[KEY_TEXT])
{
    struct sink sink;
    sink_init(&sink, text, KEY_TEXT - 1);
    for (size_t i = 0; i < key.len; i++)
        sink_format(&sink, "%02x", (unsigned char)key.data[i]);
    text[sink.len] = '\0';
    return text;
}

static void undecodable(struct check *check, enum store_family family, struct span key)
{
    char text[KEY_TEXT];
    find(check, QUEUE_CHECK_UNDECODABLE, 0, "%s: record with key %s", store_family_name(family),
         key_text(key, text));
}

/* ---- growing arrays ---- */

/* Makes room for one more element. */
static bool grow(void *array, size_t *capacity, size_t count, size_t element)
{
    if (count < *capacity)
        return true;
    size_t wanted = *capacity ? *capacity * 2 : 1024;
    void *grown = realloc(*(void **)array, wanted * element);
    if (!grown)
        return false;
    *(void **)array = grown;
    *capacity = wanted;
    return true;
}

static bool note_id(uint64_t **ids, size_t *count, size_t *capacity, uint64_t id)
{
    if (!grow(ids, capacity, *count, sizeof **ids))
        return false;
    (*ids)[(*count)++] = id;
    return true;
}

static int compare_ids(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static int compare_rows(const void *a, const void *b)
{
    const struct noted_row *x = a, *y = b;
    if (x->id != y->id)
        return x->id < y->id ? -1 : 1;
    return x->queue < y->queue ? -1 : x->queue > y->queue;
}

static void sort(void *array, size_t count, size_t element,
                 int (*compare)(const void *a, const void *b))
{
    if (count)
        qsort(array, count, element, compare);
}

/* ---- scans ---- */

/* One family, record by record. */
struct reader {
    struct check *check;
    enum store_family family;
    struct store_scan *scan;
    struct span key, value;
    bool at_record;
};

static void reader_next(struct reader *reader)
{
    int found = reader->scan ? store_scan_next(reader->scan, &reader->key, &reader->value) : -EIO;
    reader->at_record = found == 1;
    if (found < 0)
        find(reader->check, QUEUE_CHECK_UNREADABLE, 0, "%s: cannot be read to its end",
             store_family_name(reader->family));
}

static void reader_open(struct reader *reader, struct check *check, enum store_family family)
{
    *reader = (struct reader){.check = check, .family = family};
    reader->scan = store_scan_new(check->store, family, (struct span){0}, (struct span){0});
    reader_next(reader);
}

static void reader_close(struct reader *reader)
{
    store_scan_free(reader->scan);
}

/* ---- meta ---- */

static void check_meta_record(struct check *check, const struct reader *meta, bool *shards_seen)
{
    uint64_t number;
    if (span_starts_with(meta->key, SPAN(META_CEILING))) {
        check->ceiling_seen = true;
        if (!meta_u64_read(meta->value, &number))
            find(check, QUEUE_CHECK_META, 0, "an id ceiling is no number");
        else if (number > check->ceiling_ms)
            check->ceiling_ms = number;
    } else if (span_equals(meta->key, SPAN(META_SHARDS))) {
        *shards_seen = true;
        if (!meta_u64_read(meta->value, &number) || number != SHARD_COUNT)
            find(check, QUEUE_CHECK_META, 0, "the number of shards is not %d", SHARD_COUNT);
    } else if (span_starts_with(meta->key, SPAN(META_SUSPENSION))) {
        struct suspension suspension;
        if (!suspension_key_read(meta->key, &number) || !suspension_read(meta->value, &suspension))
            undecodable(check, FAMILY_META, meta->key);
    } else if (span_starts_with(meta->key, SPAN(META_UPLOAD)) &&
               !upload_key_read(meta->key, &number)) {
        undecodable(check, FAMILY_META, meta->key);
    }
}

static int read_meta(struct check *check)
{
    struct reader meta;
    bool shards_seen = false;
    int result = 0;
    uint64_t id;
    for (reader_open(&meta, check, FAMILY_META); meta.at_record; reader_next(&meta)) {
        check_meta_record(check, &meta, &shards_seen);
        if (upload_key_read(meta.key, &id) &&
            !note_id(&check->uploads, &check->upload_count, &check->upload_capacity, id))
            result = -ENOMEM;
    }
    reader_close(&meta);
    return result;
}

/* ---- fresh ---- */

static void check_id(struct check *check, uint64_t id)
{
    if (id_shard(id) >= SHARD_COUNT)
        find(check, QUEUE_CHECK_MISMATCH, id, "the id has shard %u of %d", id_shard(id),
             SHARD_COUNT);
    if (check->ceiling_ms && id_wall_ms(id) >= check->ceiling_ms)
        find(check, QUEUE_CHECK_ABOVE_CEILING, id,
             "it is of %" PRIu64 ", the id ceiling is %" PRIu64, id_wall_ms(id), check->ceiling_ms);
}

static bool check_fresh_record(struct check *check, const struct reader *fresh)
{
    struct fresh_record record;
    uint64_t sequence;
    bool decoded = fresh_key_read(fresh->key, &sequence) &&
                   fresh_record_read(fresh->value, &check->arena, &record);
    arena_fini(&check->arena);
    if (!decoded) {
        undecodable(check, FAMILY_FRESH, fresh->key);
        return true;
    }
    uint64_t size = record.body.len;
    if (record.place.kind == PLACE_SEGMENT)
        size += record.place.len;
    check->result->fresh++;
    check_id(check, record.id);
    if (size != record.envelope.size)
        find(check, QUEUE_CHECK_BODY_SIZE, record.id,
             "fresh: %" PRIu64 " bytes, the envelope says %" PRIu64, size, record.envelope.size);
    return body_check_take(&check->bodies, sequence, &record) &&
           note_id(&check->fresh, &check->fresh_count, &check->fresh_capacity, record.id);
}

static void on_body_fault(void *context, enum queue_check_kind kind, uint64_t id, const char *text)
{
    find(context, kind, id, "%s", text);
}

static int read_fresh(struct check *check)
{
    struct reader fresh;
    int result = 0;
    for (reader_open(&fresh, check, FAMILY_FRESH); fresh.at_record && result == 0;
         reader_next(&fresh))
        result = check_fresh_record(check, &fresh) ? 0 : -ENOMEM;
    reader_close(&fresh);
    body_check_judge(&check->bodies, on_body_fault, check);
    return result;
}

/* ---- rows and queues ---- */

/* The queue whose rows are being read. Both families are sorted by shard and number. */
struct current_queue {
    struct reader reader;
    uint8_t shard;
    uint32_t number;
    bool found, decoded, reported;
    struct queue_record record;
};

static bool queue_at(const struct reader *reader, uint8_t *ret_shard, uint32_t *ret_number)
{
    return reader->at_record && queue_key_read(reader->key, ret_shard, ret_number);
}

static int compare_queues(uint8_t shard, uint32_t number, uint8_t other_shard,
                          uint32_t other_number)
{
    if (shard != other_shard)
        return shard < other_shard ? -1 : 1;
    return number < other_number ? -1 : number > other_number;
}

/* Counts and judges the record that the reader stands at. */
static void take_queue(struct check *check, struct current_queue *queue)
{
    queue->decoded = queue_record_read(queue->reader.value, &queue->record);
    check->result->queues++;
    if (!queue->decoded)
        undecodable(check, FAMILY_QUEUE, queue->reader.key);
}

/* Moves on to the queue of a row; records of queues without rows are passed. */
static void seek_queue(struct check *check, struct current_queue *queue, uint8_t shard,
                       uint32_t number)
{
    uint8_t at_shard = 0;
    uint32_t at_number = 0;
    if (queue->found && compare_queues(queue->shard, queue->number, shard, number) == 0)
        return;
    while (queue->reader.at_record) {
        bool readable = queue_at(&queue->reader, &at_shard, &at_number);
        if (readable && compare_queues(at_shard, at_number, shard, number) >= 0)
            break;
        if (!readable)
            undecodable(check, FAMILY_QUEUE, queue->reader.key);
        else if (!queue->found) /* else it was taken when its first row came */
            take_queue(check, queue);
        queue->found = false;
        reader_next(&queue->reader);
    }
    queue->found =
        queue->reader.at_record && compare_queues(at_shard, at_number, shard, number) == 0;
    queue->reported = queue->reported && queue->shard == shard && queue->number == number;
    queue->shard = shard;
    queue->number = number;
    if (queue->found)
        take_queue(check, queue);
}

static bool is_named(const struct envelope *envelope, struct span name)
{
    char storage[1024];
    struct sink sink;
    sink_init(&sink, storage, sizeof storage);
    queue_name_put(envelope->campaign, envelope->tenant, envelope->domain, &sink);
    return !sink.full && span_equals(sink_span(&sink), name);
}

static void check_row_in_queue(struct check *check, struct current_queue *queue,
                               const struct envelope *envelope, uint64_t due_ms)
{
    if (!queue->found && !queue->reported) {
        queue->reported = true; /* once for all its rows */
        find(check, QUEUE_CHECK_QUEUE_MISSING, envelope->id, "queue %u of shard %u has no record",
             queue->number, queue->shard);
    }
    if (!queue->found || !queue->decoded)
        return;
    if (queue->record.first_due_ms > due_ms)
        find(check, QUEUE_CHECK_FIRST_DUE, envelope->id,
             "the queue's first_due is %" PRIu64 ", the row is due at %" PRIu64,
             queue->record.first_due_ms, due_ms);
    if (!is_named(envelope, queue->record.name))
        find(check, QUEUE_CHECK_MISMATCH, envelope->id, "the row is not of its queue, %.*s",
             SPAN_FORMAT(span_first(queue->record.name, 150)));
}

static void check_row_key(struct check *check, const struct envelope *envelope, uint8_t shard,
                          uint64_t id)
{
    check_id(check, id);
    if (envelope->id != id)
        find(check, QUEUE_CHECK_MISMATCH, id, "the row's record has id %016" PRIx64, envelope->id);
    if (shard != id_shard(id))
        find(check, QUEUE_CHECK_MISMATCH, id, "the row is in shard %u, the id is of shard %u",
             shard, id_shard(id));
}

static bool note_row(struct check *check, const struct envelope *envelope, uint32_t queue,
                     uint64_t id)
{
    if (!grow(&check->rows, &check->row_capacity, check->row_count, sizeof *check->rows))
        return false;
    uint32_t size = envelope->size < ROW_SIZE_MAX ? (uint32_t)envelope->size : ROW_SIZE_MAX;
    if (envelope->flags & ENVELOPE_SEVERAL_ROWS)
        size |= ROW_SEVERAL;
    check->rows[check->row_count++] = (struct noted_row){id, queue, size};
    return true;
}

static bool check_row(struct check *check, const struct reader *row, struct current_queue *queue)
{
    uint8_t shard;
    uint32_t number;
    uint64_t due_ms, id;
    struct envelope envelope;
    struct row_state state;
    check->result->rows++;
    if (!row_key_read(row->key, &shard, &number, &due_ms, &id)) {
        undecodable(check, FAMILY_ROW, row->key);
        return true;
    }
    seek_queue(check, queue, shard, number);
    if (!row_record_read(row->value, &check->arena, &envelope, &state)) {
        undecodable(check, FAMILY_ROW, row->key);
        envelope = (struct envelope){.size = ROW_SIZE_MAX}; /* its body is still accounted for */
        return note_row(check, &envelope, number, id);
    }
    check_row_key(check, &envelope, shard, id);
    check_row_in_queue(check, queue, &envelope, due_ms);
    return note_row(check, &envelope, number, id);
}

static int read_rows(struct check *check)
{
    struct reader row;
    struct current_queue queue = {0};
    int result = 0;
    reader_open(&queue.reader, check, FAMILY_QUEUE);
    for (reader_open(&row, check, FAMILY_ROW); row.at_record && result == 0; reader_next(&row)) {
        result = check_row(check, &row, &queue) ? 0 : -ENOMEM;
        arena_fini(&check->arena);
    }
    seek_queue(check, &queue, UINT8_MAX, UINT32_MAX); /* what is left of the queues */
    reader_close(&row);
    reader_close(&queue.reader);
    return result;
}

/* ---- by message ---- */

/* All that there is of one message. */
struct parts {
    uint64_t id;
    const struct noted_row *rows;
    size_t row_count, fresh_count;
    uint64_t body_parts, body_bytes, body_highest;
    bool upload;
};

struct walk {
    struct check *check;
    struct reader body, ref;
    uint64_t body_id, ref_id; /* of the records that the readers stand at */
    uint32_t body_part, ref_queue;
    size_t row_at, fresh_at, upload_at;
};

/* Reads on to a record whose key is one. */
static void read_body_key(struct walk *walk)
{
    struct reader *body = &walk->body;
    while (body->at_record && !body_key_read(body->key, &walk->body_id, &walk->body_part)) {
        undecodable(walk->check, FAMILY_BODY, body->key);
        reader_next(body);
    }
}

static void read_ref_key(struct walk *walk)
{
    struct reader *ref = &walk->ref;
    while (ref->at_record &&
           (!ref_key_read(ref->key, &walk->ref_id, &walk->ref_queue) || ref->value.len)) {
        undecodable(walk->check, FAMILY_REF, ref->key);
        reader_next(ref);
    }
}

static bool next_id(const struct walk *walk, uint64_t *ret_id)
{
    const struct check *check = walk->check;
    uint64_t id = UINT64_MAX;
    bool any = false;
#define CONSIDER(there, candidate)                                                                 \
    if ((there) && ((candidate) <= id)) {                                                          \
        id = (candidate);                                                                          \
        any = true;                                                                                \
    }
    CONSIDER(walk->row_at < check->row_count, check->rows[walk->row_at].id)
    CONSIDER(walk->fresh_at < check->fresh_count, check->fresh[walk->fresh_at])
    CONSIDER(walk->upload_at < check->upload_count, check->uploads[walk->upload_at])
    CONSIDER(walk->body.at_record, walk->body_id)
    CONSIDER(walk->ref.at_record, walk->ref_id)
#undef CONSIDER
    *ret_id = id;
    return any;
}

static void gather_body(struct walk *walk, struct parts *parts)
{
    while (walk->body.at_record && walk->body_id == parts->id) {
        parts->body_parts++;
        parts->body_bytes += walk->body.value.len;
        parts->body_highest = walk->body_part;
        reader_next(&walk->body);
        read_body_key(walk);
    }
    walk->check->result->body_bytes += parts->body_bytes;
}

static void gather(struct walk *walk, struct parts *parts)
{
    struct check *check = walk->check;
    parts->rows = check->rows ? check->rows + walk->row_at : NULL;
    while (walk->row_at < check->row_count && check->rows[walk->row_at].id == parts->id) {
        parts->row_count++;
        walk->row_at++;
    }
    while (walk->fresh_at < check->fresh_count && check->fresh[walk->fresh_at] == parts->id) {
        parts->fresh_count++;
        walk->fresh_at++;
    }
    while (walk->upload_at < check->upload_count && check->uploads[walk->upload_at] == parts->id) {
        parts->upload = true;
        walk->upload_at++;
    }
    gather_body(walk, parts);
}

static bool row_needs_ref(const struct noted_row *row)
{
    return row->size & ROW_SEVERAL;
}

static void judge_unreferenced(struct check *check, const struct parts *parts, size_t at)
{
    const struct noted_row *row = &parts->rows[at];
    if (row_needs_ref(row) || parts->row_count > 1)
        find(check, QUEUE_CHECK_ROW_WITHOUT_REF, parts->id,
             "the row in queue %u has no reference, the message has several rows", row->queue);
}

/* Rows and references of a message, both by queue. */
static void judge_references(struct walk *walk, const struct parts *parts)
{
    struct check *check = walk->check;
    size_t at = 0;
    for (; walk->ref.at_record && walk->ref_id == parts->id;
         reader_next(&walk->ref), read_ref_key(walk)) {
        check->result->references++;
        while (at < parts->row_count && parts->rows[at].queue < walk->ref_queue)
            judge_unreferenced(check, parts, at++);
        bool paired = at < parts->row_count && parts->rows[at].queue == walk->ref_queue;
        if (!paired)
            find(check, QUEUE_CHECK_REF_WITHOUT_ROW, parts->id, "reference to queue %u",
                 walk->ref_queue);
        else if (!row_needs_ref(&parts->rows[at]))
            find(check, QUEUE_CHECK_REF_FOR_SINGLE, parts->id,
                 "reference to queue %u, but the row says that it is the only one",
                 walk->ref_queue);
        at += paired;
    }
    while (at < parts->row_count)
        judge_unreferenced(check, parts, at++);
}

static void judge_duplicates(struct check *check, const struct parts *parts)
{
    if (parts->fresh_count > 1)
        find(check, QUEUE_CHECK_DUPLICATE_ID, parts->id, "%zu fresh records", parts->fresh_count);
    for (size_t i = 1; i < parts->row_count; i++)
        if (parts->rows[i].queue == parts->rows[i - 1].queue)
            find(check, QUEUE_CHECK_DUPLICATE_ID, parts->id, "several rows in queue %u",
                 parts->rows[i].queue);
}

static void judge_body(struct check *check, const struct parts *parts)
{
    uint32_t size = parts->rows[0].size & ROW_SIZE_MAX;
    if (parts->body_parts == 0) {
        find(check, QUEUE_CHECK_ROW_WITHOUT_BODY, parts->id, "%zu row(s)", parts->row_count);
        return;
    }
    if (parts->body_highest + 1 != parts->body_parts)
        find(check, QUEUE_CHECK_BODY_SIZE, parts->id,
             "%" PRIu64 " part(s), the last is number %" PRIu64, parts->body_parts,
             parts->body_highest);
    else if (size < ROW_SIZE_MAX && parts->body_bytes != size)
        find(check, QUEUE_CHECK_BODY_SIZE, parts->id,
             "the body has %" PRIu64 " bytes, the envelope says %u", parts->body_bytes, size);
}

static void judge_upload(struct check *check, const struct parts *parts)
{
    if (parts->row_count || parts->fresh_count)
        find(check, QUEUE_CHECK_UPLOAD_QUEUED, parts->id,
             "the message is accepted, but marked as being uploaded");
    else
        find(check, QUEUE_CHECK_UPLOAD_LEFT, parts->id,
             "%" PRIu64
             " part(s) of a message that was never accepted; the next start deletes them",
             parts->body_parts);
}

static void judge_message(struct walk *walk, const struct parts *parts)
{
    struct check *check = walk->check;
    bool referenced = walk->ref.at_record && walk->ref_id == parts->id;
    check->result->messages += parts->row_count > 0;
    judge_references(walk, parts);
    judge_duplicates(check, parts);
    if (parts->upload)
        judge_upload(check, parts);
    if (parts->fresh_count && (parts->row_count || parts->body_parts || referenced))
        find(check, QUEUE_CHECK_FRESH_AND_QUEUED, parts->id,
             "in fresh, and also: %zu row(s), %" PRIu64 " body part(s)%s", parts->row_count,
             parts->body_parts, referenced ? ", references" : "");
    else if (parts->row_count)
        judge_body(check, parts);
    else if (parts->body_parts && !parts->upload)
        find(check, QUEUE_CHECK_BODY_WITHOUT_ROW, parts->id,
             "%" PRIu64 " part(s), %" PRIu64 " bytes", parts->body_parts, parts->body_bytes);
}

static void walk_messages(struct check *check)
{
    struct walk walk = {.check = check};
    struct parts parts = {0};
    reader_open(&walk.body, check, FAMILY_BODY);
    reader_open(&walk.ref, check, FAMILY_REF);
    read_body_key(&walk);
    read_ref_key(&walk);
    while (next_id(&walk, &parts.id)) {
        gather(&walk, &parts);
        judge_message(&walk, &parts);
        parts = (struct parts){0};
    }
    reader_close(&walk.body);
    reader_close(&walk.ref);
}

/* ---- all of it ---- */

static int read_all(struct check *check)
{
    int result = read_meta(check);
    if (result == 0)
        result = read_fresh(check);
    if (result == 0)
        result = read_rows(check);
    if (result < 0)
        return result;
    sort(check->rows, check->row_count, sizeof *check->rows, compare_rows);
    sort(check->fresh, check->fresh_count, sizeof *check->fresh, compare_ids);
    sort(check->uploads, check->upload_count, sizeof *check->uploads, compare_ids);
    walk_messages(check);
    if (!check->ceiling_seen && (check->row_count || check->fresh_count))
        find(check, QUEUE_CHECK_META, 0, "there are messages, but no id ceiling");
    return 0;
}

static void report_recovery(struct check *check, const struct store_report *report)
{
    if (report->recovery == STORE_TORN_TAIL)
        find(check, QUEUE_CHECK_TORN_TAIL, 0, "%.390s", report->message);
    if (report->recovery == STORE_LOG_DAMAGED)
        find(check, QUEUE_CHECK_LOG_DAMAGED, 0, "%.390s", report->message);
}

/* The queue's folder: `directory` itself, or `queue` in it. */
static void find_folder(const char *directory, char *path, size_t size)
{
    snprintf(path, size, "%s/CURRENT", directory);
    if (access(path, F_OK) == 0)
        snprintf(path, size, "%s", directory);
    else
        snprintf(path, size, "%s/queue", directory);
}

int queue_check(const char *directory, queue_on_finding *on_finding, void *context,
                struct queue_check_result *ret_result)
{
    char path[4096], segments[4096];
    struct store_report report;
    struct check check = {.on_finding = on_finding, .context = context, .result = ret_result};
    *ret_result = (struct queue_check_result){0};
    find_folder(directory, path, sizeof path);
    struct store_options options = {.path = path, .mode = STORE_READ_ONLY};
    int result = store_open(&options, &check.store, &report);
    if (result < 0) {
        snprintf(ret_result->error, sizeof ret_result->error, "%s", report.message);
        return result;
    }
    chunk_pool_init(&check.pool, RECORD_MEMORY, RECORD_MEMORY);
    arena_init(&check.arena, &check.pool, RECORD_MEMORY);
    report_recovery(&check, &report);
    snprintf(segments, sizeof segments, "%.4000s/" SEGMENT_FOLDER, path);
    result = body_check_open(&check.bodies, segments);
    if (result == 0)
        result = read_all(&check);
    if (result < 0)
        snprintf(ret_result->error, sizeof ret_result->error, "%s", strerror(-result));
    arena_fini(&check.arena);
    chunk_pool_fini(&check.pool);
    free(check.rows);
    free(check.fresh);
    free(check.uploads);
    body_check_close(&check.bodies);
    store_close(check.store);
    return result;
}
