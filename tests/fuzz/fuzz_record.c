/* Reading any bytes as a record. The first byte says which; what is read must be written back as
 * the same bytes, so that no two records mean the same and nothing in one is passed over. */
#include "core/check.h"
#include "queue/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MEMORY = 1 << 20 };

static void read_row(struct span bytes, struct arena *arena)
{
    struct envelope envelope;
    struct row_state state;
    struct span again;
    if (!row_record_read(bytes, arena, &envelope, &state))
        return;
    check(envelope.recipient_count > 0 && envelope.ret <= RET_FULL);
    check(row_record_write(&envelope, &state, arena, &again));
    check(span_equals(again, bytes));
}

static void read_fresh(struct span bytes, struct arena *arena)
{
    struct fresh_record record;
    struct span head;
    if (!fresh_record_read(bytes, arena, &record))
        return;
    check(record.envelope.id == record.id && id_shard(record.id) == record.shard);
    check(fresh_record_write_head(&record, arena, &head));
    check(head.len + record.body.len == bytes.len);
    check(span_equals(head, span_first(bytes, head.len)));
    check(span_equals(record.body, span_skip(bytes, head.len)));
}

static void read_queue(struct span bytes, struct arena *arena)
{
    struct queue_record record;
    struct span again;
    if (!queue_record_read(bytes, &record))
        return;
    check(queue_record_write(&record, arena, &again));
    check(span_equals(again, bytes));
}

static void read_keys(struct span bytes)
{
    char key[32];
    uint64_t id, due;
    uint32_t number;
    uint8_t shard;
    if (row_key_read(bytes, &shard, &number, &due, &id))
        check(span_equals(row_key(key, shard, number, due, id), bytes));
    if (body_key_read(bytes, &id, &number))
        check(span_equals(body_key(key, id, number), bytes));
    if (ref_key_read(bytes, &id, &number))
        check(span_equals(ref_key(key, id, number), bytes));
    if (queue_key_read(bytes, &shard, &number))
        check(span_equals(queue_key(key, shard, number), bytes));
    if (fresh_key_read(bytes, &id))
        check(span_equals(fresh_key(key, id), bytes));
    if (upload_key_read(bytes, &id))
        check(span_equals(upload_key(key, id), bytes));
    if (id_parse(bytes, &id))
        check(id_make(id_wall_ms(id), id_shard(id), (unsigned)id) == id);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct chunk_pool pool;
    struct arena arena;
    if (size == 0)
        return 0;
    struct span bytes = span_of(data + 1, size - 1);
    chunk_pool_init(&pool, MEMORY, 0);
    arena_init(&arena, &pool, MEMORY);
    switch (data[0] % 4) {
    case 0:
        read_row(bytes, &arena);
        break;
    case 1:
        read_fresh(bytes, &arena);
        break;
    case 2:
        read_queue(bytes, &arena);
        break;
    default:
        read_keys(bytes);
        break;
    }
    arena_fini(&arena);
    chunk_pool_fini(&pool);
    return 0;
}
