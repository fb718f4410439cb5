/* The lengths of a record are summed up before it is written, so that each is one allocation of
 * exactly its size. Decoders read everything through a cursor and judge once, at the end: also that
 * nothing is left over, because a record that means more than we read must not be rewritten. */
#include "queue/record.h"

enum {
    ENVELOPE_FLAGS = ENVELOPE_8BIT | ENVELOPE_UTF8 | ENVELOPE_BODY_HAS_8BIT |
                     ENVELOPE_HEADER_HAS_8BIT | ENVELOPE_DSN | ENVELOPE_SEVERAL_ROWS |
                     ENVELOPE_LOCAL,
    NOTIFY_FLAGS = NOTIFY_NEVER | NOTIFY_SUCCESS | NOTIFY_FAILURE | NOTIFY_DELAY,
    RECIPIENT_DELAY_REPORTED = 1,
    RECIPIENT_LEN_MIN = 6, /* two empty strings and two bytes */
    FRESH_HEAD_LEN = 1 + 1 + 8 + 1 + 4 + 8 + 4 + 4 + 4,
};

/* ---- keys ---- */

enum { KEY_LEN = 32 };

struct span fresh_key(char *key, uint64_t sequence)
{
    struct sink sink;
    sink_init(&sink, key, KEY_LEN);
    sink_u64(&sink, sequence);
    return sink_span(&sink);
}

struct span body_key(char *key, uint64_t id, uint32_t part)
{
    struct sink sink;
    sink_init(&sink, key, KEY_LEN);
    sink_u64(&sink, id);
    sink_u32(&sink, part);
    return sink_span(&sink);
}

struct span row_key(char *key, uint8_t shard, uint32_t queue, uint64_t due_ms, uint64_t id)
{
    struct sink sink;
    sink_init(&sink, key, KEY_LEN);
    sink_u8(&sink, shard);
    sink_u32(&sink, queue);
    sink_u64(&sink, due_ms);
    sink_u64(&sink, id);
    return sink_span(&sink);
}

struct span ref_key(char *key, uint64_t id, uint32_t queue)
{
    struct sink sink;
    sink_init(&sink, key, KEY_LEN);
    sink_u64(&sink, id);
    sink_u32(&sink, queue);
    return sink_span(&sink);
}

struct span queue_key(char *key, uint8_t shard, uint32_t queue)
{
    struct sink sink;
    sink_init(&sink, key, KEY_LEN);
    sink_u8(&sink, shard);
    sink_u32(&sink, queue);
    return sink_span(&sink);
}

/* Everything was read and nothing is left. */
static bool read_whole(const struct cursor *cursor)
{
    return !cursor->bad && cursor->rest.len == 0;
}

bool fresh_key_read(struct span key, uint64_t *ret_sequence)
{
    struct cursor cursor = cursor_over(key);
    uint64_t sequence = cursor_u64(&cursor);
    if (!read_whole(&cursor))
        return false;
    *ret_sequence = sequence;
    return true;
}

bool body_key_read(struct span key, uint64_t *ret_id, uint32_t *ret_part)
{
    struct cursor cursor = cursor_over(key);
    uint64_t id = cursor_u64(&cursor);
    uint32_t part = cursor_u32(&cursor);
    if (!read_whole(&cursor))
        return false;
    *ret_id = id;
    *ret_part = part;
    return true;
}

bool row_key_read(struct span key, uint8_t *ret_shard, uint32_t *ret_queue, uint64_t *ret_due_ms,
                  uint64_t *ret_id)
{
    struct cursor cursor = cursor_over(key);
    uint8_t shard = cursor_u8(&cursor);
    uint32_t queue = cursor_u32(&cursor);
    uint64_t due_ms = cursor_u64(&cursor);
    uint64_t id = cursor_u64(&cursor);
    if (!read_whole(&cursor))
        return false;
    *ret_shard = shard;
    *ret_queue = queue;
    *ret_due_ms = due_ms;
    *ret_id = id;
    return true;
}

bool ref_key_read(struct span key, uint64_t *ret_id, uint32_t *ret_queue)
{
    return body_key_read(key, ret_id, ret_queue); /* the same shape */
}

bool queue_key_read(struct span key, uint8_t *ret_shard, uint32_t *ret_queue)
{
    struct cursor cursor = cursor_over(key);
    uint8_t shard = cursor_u8(&cursor);
    uint32_t queue = cursor_u32(&cursor);
    if (!read_whole(&cursor))
        return false;
    *ret_shard = shard;
    *ret_queue = queue;
    return true;
}

struct span suspension_key(char *key, uint64_t number)
{
    struct sink sink;
    sink_init(&sink, key, KEY_LEN);
    sink_put(&sink, SPAN(META_SUSPENSION));
    sink_u64(&sink, number);
    return sink_span(&sink);
}

bool suspension_key_read(struct span key, uint64_t *ret_number)
{
    return span_starts_with(key, SPAN(META_SUSPENSION)) &&
           meta_u64_read(span_skip(key, SPAN(META_SUSPENSION).len), ret_number);
}

struct span upload_key(char *key, uint64_t id)
{
    struct sink sink;
    sink_init(&sink, key, KEY_LEN);
    sink_put(&sink, SPAN(META_UPLOAD));
    sink_u64(&sink, id);
    return sink_span(&sink);
}

bool upload_key_read(struct span key, uint64_t *ret_id)
{
    if (!span_starts_with(key, SPAN(META_UPLOAD)))
        return false;
    return meta_u64_read(span_skip(key, SPAN(META_UPLOAD).len), ret_id);
}

struct span meta_u64_write(char value[META_U64_LEN], uint64_t number)
{
    struct sink sink;
    sink_init(&sink, value, META_U64_LEN);
    sink_u64(&sink, number);
    return sink_span(&sink);
}

bool meta_u64_read(struct span value, uint64_t *ret_number)
{
    return fresh_key_read(value, ret_number); /* one u64 and no more */
}

/* ---- counted strings ---- */

static void put_string8(struct sink *sink, struct span string)
{
    sink_u8(sink, (uint8_t)string.len);
    sink_put(sink, string);
}

static void put_string16(struct sink *sink, struct span string)
{
    sink_u16(sink, (uint16_t)string.len);
    sink_put(sink, string);
}

static struct span read_string8(struct cursor *cursor)
{
    uint8_t len = cursor_u8(cursor);
    return cursor_bytes(cursor, len);
}

static struct span read_string16(struct cursor *cursor)
{
    uint16_t len = cursor_u16(cursor);
    return cursor_bytes(cursor, len);
}

/* Adds the length of a counted string; false if its count cannot hold it. */
static bool add_string(size_t *len, struct span string, unsigned count_bytes)
{
    *len += count_bytes + string.len;
    return string.len < (size_t)1 << (8 * count_bytes);
}

/* ---- envelope and row ---- */

static bool envelope_len(const struct envelope *envelope, size_t *ret_len)
{
    size_t len = 4 * 8 + 1 + 1 + 2;
    bool fits = add_string(&len, envelope->reverse_path, 2);
    fits &= add_string(&len, envelope->envid, 2);
    fits &= add_string(&len, envelope->tenant, 1);
    fits &= add_string(&len, envelope->campaign, 1);
    fits &= add_string(&len, envelope->domain, 1);
    fits &= envelope->recipient_count > 0 && envelope->recipient_count <= UINT16_MAX;
    for (unsigned i = 0; fits && i < envelope->recipient_count; i++) {
        fits &= add_string(&len, envelope->recipients[i].address, 2);
        fits &= add_string(&len, envelope->recipients[i].original, 2);
        len += 2;
    }
    *ret_len = len;
    return fits;
}

static void put_envelope(const struct envelope *envelope, struct sink *sink)
{
    sink_u64(sink, envelope->id);
    sink_u64(sink, envelope->arrived_ms);
    sink_u64(sink, envelope->expires_ms);
    sink_u64(sink, envelope->size);
    put_string16(sink, envelope->reverse_path);
    put_string16(sink, envelope->envid);
    put_string8(sink, envelope->tenant);
    put_string8(sink, envelope->campaign);
    put_string8(sink, envelope->domain);
    sink_u8(sink, envelope->ret);
    sink_u8(sink, envelope->flags);
    sink_u16(sink, (uint16_t)envelope->recipient_count);
    for (unsigned i = 0; i < envelope->recipient_count; i++) {
        const struct recipient *recipient = &envelope->recipients[i];
        put_string16(sink, recipient->address);
        put_string16(sink, recipient->original);
        sink_u8(sink, recipient->notify);
        sink_u8(sink, recipient->delay_reported ? RECIPIENT_DELAY_REPORTED : 0);
    }
}

static bool read_recipients(struct cursor *cursor, struct arena *arena, unsigned count,
                            struct recipient **ret_recipients)
{
    /* Before anything is allocated: so many cannot be in the bytes that are left. */
    if (cursor->bad || count == 0 || count > cursor->rest.len / RECIPIENT_LEN_MIN)
        return false;
    struct recipient *recipients = arena_take(arena, count * sizeof *recipients);
    if (!recipients)
        return false;
    bool sane = true;
    for (unsigned i = 0; i < count; i++) {
        recipients[i].address = read_string16(cursor);
        recipients[i].original = read_string16(cursor);
        recipients[i].notify = cursor_u8(cursor);
        uint8_t flags = cursor_u8(cursor);
        recipients[i].delay_reported = flags & RECIPIENT_DELAY_REPORTED;
        sane &= !(recipients[i].notify & ~NOTIFY_FLAGS) && !(flags & ~RECIPIENT_DELAY_REPORTED);
    }
    *ret_recipients = recipients;
    return sane && !cursor->bad;
}

static bool read_envelope(struct cursor *cursor, struct arena *arena, struct envelope *ret_envelope)
{
    struct envelope *envelope = ret_envelope;
    envelope->id = cursor_u64(cursor);
    envelope->arrived_ms = cursor_u64(cursor);
    envelope->expires_ms = cursor_u64(cursor);
    envelope->size = cursor_u64(cursor);
    envelope->reverse_path = read_string16(cursor);
    envelope->envid = read_string16(cursor);
    envelope->tenant = read_string8(cursor);
    envelope->campaign = read_string8(cursor);
    envelope->domain = read_string8(cursor);
    envelope->ret = cursor_u8(cursor);
    envelope->flags = cursor_u8(cursor);
    envelope->recipient_count = cursor_u16(cursor);
    return envelope->ret <= RET_FULL && !(envelope->flags & ~ENVELOPE_FLAGS) &&
           read_recipients(cursor, arena, envelope->recipient_count, &envelope->recipients);
}

static bool row_len(const struct envelope *envelope, const struct row_state *state, size_t *ret_len)
{
    size_t len;
    bool fits = envelope_len(envelope, &len);
    len += 1 + 4 + 8;
    fits &= add_string(&len, state->last_reply, 2);
    fits &= add_string(&len, state->last_peer, 2);
    *ret_len = len;
    return fits;
}

static void put_row(const struct envelope *envelope, const struct row_state *state,
                    struct sink *sink)
{
    sink_u8(sink, RECORD_VERSION);
    sink_u32(sink, state->attempts);
    sink_u64(sink, state->last_attempt_ms);
    put_string16(sink, state->last_reply);
    put_string16(sink, state->last_peer);
    put_envelope(envelope, sink);
}

/* Storage for a record of exactly `len` bytes. */
static bool take_sink(struct arena *arena, size_t len, struct sink *ret_sink)
{
    char *data = arena_take(arena, len);
    if (data)
        sink_init(ret_sink, data, len);
    return data;
}

bool row_record_write(const struct envelope *envelope, const struct row_state *state,
                      struct arena *arena, struct span *ret_record)
{
    size_t len;
    struct sink sink;
    if (!row_len(envelope, state, &len) || !take_sink(arena, len, &sink))
        return false;
    put_row(envelope, state, &sink);
    check(!sink.full && sink.len == len);
    *ret_record = sink_span(&sink);
    return true;
}

bool row_record_read(struct span bytes, struct arena *arena, struct envelope *ret_envelope,
                     struct row_state *ret_state)
{
    struct cursor cursor = cursor_over(bytes);
    struct envelope envelope = {0};
    struct row_state state;
    uint8_t version = cursor_u8(&cursor);
    state.attempts = cursor_u32(&cursor);
    state.last_attempt_ms = cursor_u64(&cursor);
    state.last_reply = read_string16(&cursor);
    state.last_peer = read_string16(&cursor);
    if (version != RECORD_VERSION || !read_envelope(&cursor, arena, &envelope) ||
        !read_whole(&cursor))
        return false;
    *ret_envelope = envelope;
    *ret_state = state;
    return true;
}

/* ---- fresh ---- */

bool fresh_record_write_head(const struct fresh_record *record, struct arena *arena,
                             struct span *ret_head)
{
    size_t len;
    struct sink sink;
    if (!row_len(&record->envelope, &record->state, &len) || len > UINT32_MAX ||
        !take_sink(arena, FRESH_HEAD_LEN + len, &sink))
        return false;
    sink_u8(&sink, RECORD_VERSION);
    sink_u8(&sink, record->shard);
    sink_u64(&sink, record->id);
    sink_u8(&sink, record->place.kind);
    sink_u32(&sink, record->place.segment);
    sink_u64(&sink, record->place.offset);
    sink_u32(&sink, record->place.len);
    sink_u32(&sink, record->place.crc32c);
    sink_u32(&sink, (uint32_t)len);
    put_row(&record->envelope, &record->state, &sink);
    check(!sink.full && sink.len == sink.capacity);
    *ret_head = sink_span(&sink);
    return true;
}

/* An inline body fills what is left; of one in a segment that is the beginning. */
static bool place_fits(const struct place *place, struct span rest)
{
    switch (place->kind) {
    case PLACE_INLINE:
        return place->len == rest.len && !place->segment && !place->offset && !place->crc32c;
    case PLACE_SEGMENT:
        return place->len > 0;
    default:
        return false;
    }
}

bool fresh_record_read(struct span bytes, struct arena *arena, struct fresh_record *ret_record)
{
    struct cursor cursor = cursor_over(bytes);
    struct fresh_record record = {0};
    uint8_t version = cursor_u8(&cursor);
    record.shard = cursor_u8(&cursor);
    record.id = cursor_u64(&cursor);
    record.place.kind = cursor_u8(&cursor);
    record.place.segment = cursor_u32(&cursor);
    record.place.offset = cursor_u64(&cursor);
    record.place.len = cursor_u32(&cursor);
    record.place.crc32c = cursor_u32(&cursor);
    uint32_t row_bytes = cursor_u32(&cursor);
    struct span row = cursor_bytes(&cursor, row_bytes);
    if (cursor.bad || version != RECORD_VERSION || !place_fits(&record.place, cursor.rest) ||
        !row_record_read(row, arena, &record.envelope, &record.state))
        return false;
    if (record.envelope.id != record.id || record.shard != id_shard(record.id))
        return false;
    record.body = cursor.rest;
    *ret_record = record;
    return true;
}

/* ---- queue ---- */

bool queue_record_write(const struct queue_record *record, struct arena *arena,
                        struct span *ret_record)
{
    struct sink sink;
    size_t len = 1 + 8 + 8 + 8;
    if (!add_string(&len, record->name, 2) || !take_sink(arena, len, &sink))
        return false;
    sink_u8(&sink, RECORD_VERSION);
    put_string16(&sink, record->name);
    sink_u64(&sink, record->first_due_ms);
    sink_u64(&sink, record->rows);
    sink_u64(&sink, record->arrivals_until_ms);
    *ret_record = sink_span(&sink);
    return true;
}

bool queue_record_read(struct span bytes, struct queue_record *ret_record)
{
    struct cursor cursor = cursor_over(bytes);
    struct queue_record record;
    uint8_t version = cursor_u8(&cursor);
    record.name = read_string16(&cursor);
    record.first_due_ms = cursor_u64(&cursor);
    record.rows = cursor_u64(&cursor);
    record.arrivals_until_ms = cursor_u64(&cursor);
    if (version != RECORD_VERSION || !read_whole(&cursor))
        return false;
    *ret_record = record;
    return true;
}

void queue_name_put(struct span campaign, struct span tenant, struct span domain, struct sink *sink)
{
    if (campaign.len) {
        sink_put(sink, campaign);
        sink_byte(sink, ':');
    }
    if (tenant.len)
        sink_put(sink, tenant);
    if (campaign.len || tenant.len)
        sink_byte(sink, '@');
    sink_put(sink, domain);
}

void queue_name_read(struct span name, struct span *ret_campaign, struct span *ret_tenant,
                     struct span *ret_domain)
{
    size_t at = name.len;
    while (at > 0 && name.data[at - 1] != '@')
        at--;
    *ret_campaign = *ret_tenant = (struct span){0};
    *ret_domain = span_skip(name, at);
    if (at == 0)
        return;
    struct span before = span_first(name, at - 1);
    size_t colon = span_find(before, ':');
    if (colon < before.len) {
        *ret_campaign = span_first(before, colon);
        before = span_skip(before, colon + 1);
    }
    *ret_tenant = before;
}

/* ---- ids ---- */

#define ID_EPOCH_MS UINT64_C(1577836800000) /* 2020-01-01 00:00:00 UTC */
enum { ID_LOW_BITS = ID_COUNTER_BITS + ID_SHARD_BITS };

uint64_t id_make(uint64_t wall_ms, uint8_t shard, unsigned counter)
{
    uint64_t since = wall_ms > ID_EPOCH_MS ? wall_ms - ID_EPOCH_MS : 0;
    return since << ID_LOW_BITS | (uint64_t)shard << ID_COUNTER_BITS |
           (counter & ((1u << ID_COUNTER_BITS) - 1));
}

uint8_t id_shard(uint64_t id)
{
    return (uint8_t)(id >> ID_COUNTER_BITS);
}

uint64_t id_wall_ms(uint64_t id)
{
    return ID_EPOCH_MS + (id >> ID_LOW_BITS);
}

void id_text(uint64_t id, char text[ID_TEXT])
{
    static const char digits[] = "0123456789abcdef";
    for (int i = 0; i < ID_TEXT - 1; i++)
        text[i] = digits[id >> (60 - 4 * i) & 15];
    text[ID_TEXT - 1] = '\0';
}

bool id_parse(struct span text, uint64_t *ret_id)
{
    if (text.len != ID_TEXT - 1)
        return false;
    uint64_t id = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = ascii_lower(text.data[i]);
        if (c >= '0' && c <= '9')
            id = id << 4 | (unsigned)(c - '0');
        else if (c >= 'a' && c <= 'f')
            id = id << 4 | (unsigned)(c - 'a' + 10);
        else
            return false;
    }
    *ret_id = id;
    return true;
}
