/* queue/: record forms, a window read back, a group committed. The last two use a real store in a
 * temporary folder; their wall time is the disk's, their CPU time ours. */
#include "bench/micro.h"
#include "core/clock.h"
#include "queue/committer.h"
#include "queue/event.h"
#include "queue/journal.h"
#include "queue/loader.h"
#include "queue/record.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { ROWS = 10000, WINDOW = 512, GROUP = 64, SIZE = 10240, ROWS_PER_BATCH = 1000 };

static struct recipient recipient = {.address = SPAN("user00000001@destination.test")};
static const struct envelope envelope = {
    .id = UINT64_C(0x0123456789abcdef),
    .arrived_ms = UINT64_C(1795000000000),
    .expires_ms = UINT64_C(1795400000000),
    .size = SIZE,
    .reverse_path = SPAN("sender@source.test"),
    .tenant = SPAN("tenant"),
    .campaign = SPAN("campaign"),
    .domain = SPAN("destination.test"),
    .recipient_count = 1,
    .recipients = &recipient,
};
static const struct row_state state = {.attempts = 1,
                                       .last_attempt_ms = UINT64_C(1795000001000),
                                       .last_reply = SPAN("451 4.7.1 try again later"),
                                       .last_peer = SPAN("mx.destination.test (192.0.2.1)")};

/* ---- records ---- */

static void row_write(struct micro *micro)
{
    struct chunk_pool pool;
    chunk_pool_init(&pool, SIZE_MAX, 1 << 20);
    while (micro_next(micro)) {
        struct arena arena;
        struct span record;
        arena_init(&arena, &pool, 1 << 20);
        check(row_record_write(&envelope, &state, &arena, &record));
        micro_use(record.data);
        arena_fini(&arena);
    }
    micro_items(micro, 1);
    chunk_pool_fini(&pool);
}

static void row_read(struct micro *micro)
{
    struct chunk_pool pool;
    struct arena kept;
    struct span record;
    chunk_pool_init(&pool, SIZE_MAX, 1 << 20);
    arena_init(&kept, &pool, 1 << 20);
    check(row_record_write(&envelope, &state, &kept, &record));
    while (micro_next(micro)) {
        struct arena arena;
        struct envelope read;
        struct row_state read_state;
        arena_init(&arena, &pool, 1 << 20);
        check(row_record_read(record, &arena, &read, &read_state));
        micro_use(&read);
        arena_fini(&arena);
    }
    micro_items(micro, 1);
    arena_fini(&kept);
    chunk_pool_fini(&pool);
}

static void fresh_write(struct micro *micro)
{
    const struct fresh_record fresh = {
        .id = envelope.id, .place = {.kind = PLACE_INLINE, .len = SIZE}, .envelope = envelope};
    struct chunk_pool pool;
    chunk_pool_init(&pool, SIZE_MAX, 1 << 20);
    while (micro_next(micro)) {
        struct arena arena;
        struct span head;
        arena_init(&arena, &pool, 1 << 20);
        check(fresh_record_write_head(&fresh, &arena, &head));
        micro_use(head.data);
        arena_fini(&arena);
    }
    micro_items(micro, 1);
    chunk_pool_fini(&pool);
}

/* ---- a store of our own ---- */

static char folder[64];

static struct store *open_store(void)
{
    struct store *store;
    struct store_report report;
    char path[96];
    strcpy(folder, "/tmp/ringpost-micro-XXXXXX");
    check(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/queue", folder);
    struct store_options options = {.path = path, .mode = STORE_READ_WRITE};
    check(store_open(&options, &store, &report) == 0);
    return store;
}

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *at)
{
    return remove(path);
}

static void close_store(struct store *store)
{
    store_close(store);
    nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static void fill(struct store *store)
{
    struct store_batch *batch = store_batch_new(store);
    struct chunk_pool pool;
    chunk_pool_init(&pool, SIZE_MAX, 1 << 20);
    for (uint64_t i = 0; i < ROWS; i++) {
        struct arena arena;
        struct span record;
        char key[32];
        arena_init(&arena, &pool, 1 << 20);
        check(row_record_write(&envelope, &state, &arena, &record));
        store_batch_put(batch, FAMILY_ROW, row_key(key, 1, 1, 1000 + i, i + 1), &record, 1);
        arena_fini(&arena);
        if (i % ROWS_PER_BATCH == ROWS_PER_BATCH - 1) {
            check(store_commit(store, batch, false) == 0);
            store_batch_clear(batch);
        }
    }
    store_flush(store);
    store_batch_free(batch);
    chunk_pool_fini(&pool);
}

static void set_key(char *to, uint8_t *ret_len, uint64_t due_ms)
{
    char key[32];
    struct span span = row_key(key, 1, 1, due_ms, 0);
    memcpy(to, span.data, span.len);
    *ret_len = (uint8_t)span.len;
}

static void window(struct micro *micro)
{
    struct store *store = open_store();
    uint64_t from = 0;
    fill(store);
    while (micro_next(micro)) {
        struct load load;
        load_init(&load, NULL, LOAD_WINDOW, NULL);
        set_key(load.lower, &load.lower_len, 1000 + from);
        set_key(load.upper, &load.upper_len, UINT64_MAX);
        load.max_rows = WINDOW;
        loader_run(store, &load);
        check(load.op.result == 0 && load.row_count == WINDOW);
        load_release(&load);
        from = (from + WINDOW) % (ROWS - WINDOW);
    }
    micro_items(micro, WINDOW);
    close_store(store);
}

/* ---- a group: 64 messages of 10 KB are put and synced, then deleted again ---- */

static void finish(struct committer *committer, uint64_t now_ns)
{
    while (committer->first) {
        struct commit *chain = committer_step(committer, now_ns, true);
        for (; chain; chain = chain->next)
            check(chain->op.result == 0);
    }
}

static void group(struct micro *micro)
{
    static char body[SIZE];
    static struct commit commits[GROUP];
    const struct span parts[2] = {SPAN("the head of the record"), span_of(body, SIZE)};
    struct store *store = open_store();
    struct committer committer;
    struct chunk_pool pool;
    uint64_t now_ns = NS_PER_S;
    chunk_pool_init(&pool, SIZE_MAX, 4 << 20);
    check(committer_init(&committer, store, 1) == 0);
    while (micro_next(micro)) {
        struct arena arena;
        uint64_t sequences[GROUP];
        arena_init(&arena, &pool, 1 << 20);
        for (unsigned i = 0; i < GROUP; i++) {
            commit_init(&commits[i], NULL, COMMIT_SYNC, NULL);
            check(commit_put(&commits[i], &arena, FAMILY_FRESH, SPAN(""), parts, 2));
            committer_add(&committer, &commits[i]);
        }
        finish(&committer, now_ns += NS_PER_S);
        for (unsigned i = 0; i < GROUP; i++) {
            char key[32];
            sequences[i] = commits[i].sequence;
            commit_init(&commits[i], NULL, COMMIT_WRITTEN, NULL);
            check(commit_delete(&commits[i], &arena, FAMILY_FRESH, fresh_key(key, sequences[i])));
            committer_add(&committer, &commits[i]);
        }
        finish(&committer, now_ns += NS_PER_S);
        arena_fini(&arena);
    }
    micro_bytes(micro, GROUP * SIZE);
    committer_fini(&committer);
    chunk_pool_fini(&pool);
    close_store(store);
}

/* ---- the journal ---- */

enum { LINE_ROOM = 256 << 10, FRAMES_ROOM = 4 << 20 };

/* One event's line and its frame, as share_journal makes them. */
static void put_event(const struct event *event, char *line, struct sink *frames)
{
    struct sink sink;
    sink_init(&sink, line, LINE_ROOM);
    event_write(event, &sink);
    if (!journal_frame_write(frames, 1, sink_span(&sink)))
        sink_init(frames, frames->data, frames->capacity);
}

/* All that the journal says of a message that is delivered at its first attempt. */
static void journal_message(struct micro *micro)
{
    static const struct reply_summary reply = {
        .code = 250,
        .enhanced = {2, 0, 0},
        .text = SPAN("Ok: queued as 4D7A7F1234567 and a few words more"),
        .command = SPAN(".")};
    struct attempt attempt = {.source = SPAN("ip-1"),
                              .site = SPAN("(mx1|mx2).destination.test"),
                              .peer_name = SPAN("mx1.destination.test"),
                              .protocol = SPAN("ESMTP"),
                              .started_ms = UINT64_C(1795000000900)};
    struct event reception = {.type = EVENT_RECEPTION,
                              .envelope = &envelope,
                              .queue = SPAN("campaign:tenant@destination.test"),
                              .peer_name = SPAN("client.source.test"),
                              .wall_ms = UINT64_C(1795000000000),
                              .row_due_ms = UINT64_C(1795000000000),
                              .node = SPAN("0123456789abcdef"),
                              .reception_protocol = SPAN("ESMTP")};
    check(address_parse(SPAN("192.0.2.7"), 2525, &attempt.peer) &&
          address_parse(SPAN("192.0.2.8"), 40000, &attempt.local));
    reception.peer = attempt.peer;
    struct event delivery = reception;
    delivery.type = EVENT_DELIVERY;
    delivery.recipient = &recipient;
    delivery.attempt = &attempt;
    delivery.reply = &reply;
    delivery.wall_ms = UINT64_C(1795000001000);
    delivery.attempts = 1;
    char *line = malloc(LINE_ROOM), *room = malloc(FRAMES_ROOM);
    struct sink frames;
    check(line && room);
    sink_init(&frames, room, FRAMES_ROOM);
    while (micro_next(micro)) {
        put_event(&reception, line, &frames);
        put_event(&delivery, line, &frames);
        micro_use(room);
    }
    micro_items(micro, 1);
    free(line);
    free(room);
}

const struct micro_case micro_queue_cases[] = {
    {"queue/journal_message", journal_message},
    {"queue/row_write", row_write},
    {"queue/row_read", row_read},
    {"queue/fresh_head_write", fresh_write},
    {"queue/window_of_512", window},
    {"queue/group_of_64_x_10k", group},
    {0},
};
