/* fill_rows: writes a queue of N rows into a data folder, as a daemon that has failed to deliver
 * them would have left it. For rows.py, which measures how a daemon starts over such a queue.
 *
 *     fill_rows DATA_DIR ROWS QUEUES BODY_BYTES DUE_IN_S
 *
 * Rows go to queues "d<k>.example" in turn; each has one recipient, three attempts behind it, and a
 * body of its own. */
#include "core/clock.h"
#include "queue/record.h"
#include "queue/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { ROWS_PER_BATCH = 2000, EXPIRES_MS = 5 * 24 * 3600 * 1000 };

struct filler {
    struct store *store;
    struct store_batch *batch;
    struct chunk_pool pool;
    uint64_t rows, queues, body_bytes, due_ms, now_ms;
    char *body;
};

static void commit(struct filler *filler, bool sync)
{
    check(store_commit(filler->store, filler->batch, sync) == 0);
    store_batch_clear(filler->batch);
}

static uint8_t shard_of(uint64_t queue)
{
    return (uint8_t)(queue % SHARD_COUNT);
}

static void put_queue(struct filler *filler, uint64_t queue)
{
    char name[64], key[32];
    struct arena arena;
    struct sink sink;
    struct span record;
    arena_init(&arena, &filler->pool, 1 << 20);
    sink_init(&sink, name, sizeof name);
    sink_format(&sink, "d%llu.example", (unsigned long long)queue);
    struct queue_record value = {.name = sink_span(&sink),
                                 .first_due_ms = filler->due_ms,
                                 .rows = filler->rows / filler->queues};
    check(queue_record_write(&value, &arena, &record));
    store_batch_put(filler->batch, FAMILY_QUEUE,
                    queue_key(key, shard_of(queue), (uint32_t)(queue / SHARD_COUNT + 1)), &record,
                    1);
    arena_fini(&arena);
}

static void put_row(struct filler *filler, uint64_t index)
{
    uint64_t queue = index % filler->queues;
    uint64_t id = id_make(filler->now_ms - 3600 * 1000 + index / 8192, shard_of(queue),
                          (unsigned)(index % 8192));
    char domain[64], address[96], key[32];
    struct sink sink, address_sink;
    sink_init(&sink, domain, sizeof domain);
    sink_format(&sink, "d%llu.example", (unsigned long long)queue);
    sink_init(&address_sink, address, sizeof address);
    sink_format(&address_sink, "user%llu@%.*s", (unsigned long long)index,
                SPAN_FORMAT(sink_span(&sink)));
    struct recipient recipient = {.address = sink_span(&address_sink)};
    struct envelope envelope = {
        .id = id,
        .arrived_ms = filler->now_ms - 3600 * 1000,
        .expires_ms = filler->now_ms + EXPIRES_MS,
        .size = filler->body_bytes,
        .reverse_path = SPAN("sender@sender.example"),
        .domain = sink_span(&sink),
        .recipient_count = 1,
        .recipients = &recipient,
    };
    struct row_state state = {.attempts = 3,
                              .last_attempt_ms = filler->now_ms - 60 * 1000,
                              .last_reply = SPAN("451 4.7.1 try again later"),
                              .last_peer = SPAN("mx.example (192.0.2.1)")};
    struct arena arena;
    struct span record, body = span_of(filler->body, filler->body_bytes);
    arena_init(&arena, &filler->pool, 1 << 20);
    check(row_record_write(&envelope, &state, &arena, &record));
    store_batch_put(filler->batch, FAMILY_ROW,
                    row_key(key, shard_of(queue), (uint32_t)(queue / SHARD_COUNT + 1),
                            filler->due_ms + index % 1000, id),
                    &record, 1);
    store_batch_put(filler->batch, FAMILY_BODY, body_key(key, id, 0), &body, 1);
    arena_fini(&arena);
}

static void put_ceiling(struct filler *filler)
{
    char value[META_U64_LEN];
    struct span ceiling = meta_u64_write(value, id_make(filler->now_ms, 0, 0));
    store_batch_put(filler->batch, FAMILY_META, SPAN(META_CEILING), &ceiling, 1);
}

static char *make_body(size_t size)
{
    char *body = malloc(size + 128);
    check(body);
    size_t len = (size_t)sprintf(body, "From: <sender@sender.example>\r\nSubject: waiting\r\n\r\n");
    while (len < size)
        len += (size_t)sprintf(body + len,
                               "a line of sixty-two characters, more or less, as mail has\r\n");
    memcpy(body + size - 2, "\r\n", 2);
    return body;
}

int main(int argc, char **argv)
{
    if (argc != 6)
        return fprintf(stderr, "usage: fill_rows DATA_DIR ROWS QUEUES BODY_BYTES DUE_IN_S\n"), 2;
    struct filler filler = {
        .rows = strtoull(argv[2], NULL, 10),
        .queues = strtoull(argv[3], NULL, 10),
        .body_bytes = strtoull(argv[4], NULL, 10),
        .now_ms = clock_wall_ms(),
    };
    if (!filler.rows || !filler.queues || filler.body_bytes < 64)
        return fprintf(stderr, "fill_rows: rows and queues above 0, bodies of 64 bytes or more\n"),
               2;
    filler.due_ms = filler.now_ms + strtoull(argv[5], NULL, 10) * 1000;
    filler.body = make_body(filler.body_bytes);
    chunk_pool_init(&filler.pool, 64 << 20, 1 << 20);
    char path[4096];
    snprintf(path, sizeof path, "%s/queue", argv[1]);
    mkdir(argv[1], 0700);
    struct store_options options = {.path = path, .mode = STORE_READ_WRITE};
    struct store_report report;
    int error = store_open(&options, &filler.store, &report);
    if (error < 0)
        return fprintf(stderr, "fill_rows: %s: %s\n", path, report.message), 1;
    filler.batch = store_batch_new(filler.store);
    for (uint64_t queue = 0; queue < filler.queues; queue++) {
        put_queue(&filler, queue);
        if (queue % ROWS_PER_BATCH == 0)
            commit(&filler, false);
    }
    for (uint64_t index = 0; index < filler.rows; index++) {
        put_row(&filler, index);
        if (index % ROWS_PER_BATCH == 0)
            commit(&filler, false);
    }
    put_ceiling(&filler);
    commit(&filler, true);
    store_batch_free(filler.batch);
    store_close(filler.store);
    chunk_pool_fini(&filler.pool);
    free(filler.body);
    return 0;
}
