/* spool_fixture: one worker's share over a real store, committer, loaders and journal in a
 * temporary folder, driven by one thread, with a clock that a test can move. */
#pragma once

#include "core/clock.h"
#include "queue/check.h"
#include "queue/spool.h"
#include "queue/store.h"
#include "tests/unit/folder.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <time.h>

#include <cmocka.h>

/* ---- the clock: read by the committer's thread, too ---- */

static _Atomic uint64_t skipped_ms, wall_stepped_ms;

uint64_t clock_mono_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec + skipped_ms * NS_PER_MS;
}

uint64_t clock_wall_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / NS_PER_MS + skipped_ms +
           wall_stepped_ms;
}

/* ---- the fixture ---- */

enum { READY_MAX = 4096, MOST_TURNS = 20000 };
static const uint64_t fixture_intervals_ms[] = {300000, 600000, 1200000};

struct fixture {
    char folder[FOLDER_PATH];
    struct spool_options options;
    struct spool_report report;
    struct loop loop;
    struct spool *spool;
    struct share *share;
    struct queue *ready[READY_MAX]; /* announced and not yet pulled empty */
    unsigned ready_count;
    struct op done;
    bool finished;
    int close_result;
};

static inline void fixture_on_ready(void *context, struct queue *queue)
{
    struct fixture *f = context;
    assert_true(f->ready_count < READY_MAX);
    for (unsigned i = 0; i < f->ready_count; i++)
        assert_ptr_not_equal(f->ready[i], queue); /* announced once */
    f->ready[f->ready_count++] = queue;
}

static inline void fixture_on_done(struct op *op)
{
    container_of(op, struct fixture, done)->finished = true;
}

/* A test with a committer of its own defines it. */
#ifndef BEFORE_TURN
#define BEFORE_TURN()
#endif

static inline void turn(struct fixture *f)
{
    BEFORE_TURN();
    assert_int_equal(loop_turn(&f->loop, NS_PER_MS), 0);
}

#define turn_until(f, condition)                                                                   \
    do {                                                                                           \
        unsigned turns_left = MOST_TURNS;                                                          \
        while (!(condition)) {                                                                     \
            if (turns_left-- == 0)                                                                 \
                fail_msg("never: %s", #condition);                                                 \
            turn(f);                                                                               \
        }                                                                                          \
    } while (0)

static inline struct share_usage usage_of(const struct fixture *f)
{
    struct share_usage usage;
    share_usage(f->share, &usage);
    return usage;
}

static inline void fixture_start(struct fixture *f)
{
    struct io_options options = {.entries = 64, .buffers = 16, .buffer_size = 4096};
    f->options.data_dir = f->folder;
    f->ready_count = 0;
    op_init(&f->done, fixture_on_done);
    assert_int_equal(loop_init(&f->loop, &options, 0), 0);
    assert_int_equal(spool_open(&f->options, &f->spool, &f->report), 0);
    assert_int_equal(share_start(f->spool, &f->loop, fixture_on_ready, f, &f->share), 0);
}

static inline void fixture_print_finding(void *context, const struct queue_finding *finding)
{
    print_error("%s: %s\n", queue_check_kind_name(finding->kind), finding->text);
}

/* `queue check` is the judge of whatever lies on disk. */
static inline void assert_legal(const char *folder)
{
    struct queue_check_result result;
    assert_int_equal(queue_check(folder, fixture_print_finding, NULL, &result), 0);
    assert_int_equal(result.illegal, 0);
}

static inline void fixture_stop(struct fixture *f)
{
    f->finished = false;
    share_drain(f->share, &f->done);
    turn_until(f, f->finished);
    loop_fini(&f->loop);
    f->close_result = spool_close(f->spool);
    f->spool = NULL;
    assert_legal(f->folder);
}

static inline void fixture_restart(struct fixture *f)
{
    fixture_stop(f);
    fixture_start(f);
}

static inline void folder_copy_below(const char *from, const char *to, const char *name)
{
    char source[2 * FOLDER_PATH], target[2 * FOLDER_PATH];
    snprintf(source, sizeof source, "%s/%s", from, name);
    snprintf(target, sizeof target, "%s/%s", to, name);
    folder_copy(source, target);
}

/* In a child, because a file that the store removes under the copy ends it. */
static inline bool folder_copied(const char *from, const char *to)
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        folder_copy_below(from, to, "queue");
        folder_copy_below(from, to, "queue/segments");
        folder_copy_below(from, to, "journal");
        _exit(0);
    }
    return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

/* What a crash at this moment would leave, in a folder of its own; it must be legal. A copy that
 * the store's own housekeeping has made incomplete is made again. */
static inline void copy_as_crashed(const struct fixture *f, char folder[FOLDER_PATH])
{
    for (unsigned tries = 0; tries < 20; tries++) {
        struct queue_check_result result;
        folder_make(folder);
        if (folder_copied(f->folder, folder) &&
            queue_check(folder, fixture_print_finding, NULL, &result) == 0) {
            assert_int_equal(result.illegal, 0);
            return;
        }
        folder_remove(folder);
    }
    fail_msg("no copy of a store at work could be opened");
}

/* What is on disk now is what the next run finds; what the old run still does is not seen by it. */
static inline void fixture_crash(struct fixture *f)
{
    char folder[FOLDER_PATH];
    copy_as_crashed(f, folder);
    fixture_stop(f);
    folder_remove(f->folder);
    strcpy(f->folder, folder);
    fixture_start(f);
}

static inline int fixture_setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    folder_make(f->folder);
    skipped_ms = wall_stepped_ms = 0;
    f->options = (struct spool_options){
        .hostname = "relay.example",
        .workers = 1,
        .loader_threads = 1,
        .limits = {.inbound_memory = 64 << 20,
                   .loaded_memory = 16 << 20,
                   .nursery_messages = 1000,
                   .nursery_bytes = 32 << 20,
                   .nursery_age_ms = 30000,
                   .window_rows = 4096,
                   .unrecorded = 4096},
        .retry_intervals_ms = fixture_intervals_ms,
        .retry_interval_count = 3,
        .max_age_ms = UINT64_C(5) * 24 * 3600 * 1000,
    };
    fixture_start(f);
    *state = f;
    return 0;
}

static inline int fixture_teardown(void **state)
{
    struct fixture *f = *state;
    if (f->spool)
        fixture_stop(f);
    folder_remove(f->folder);
    free(f);
    return 0;
}

/* Moves both clocks on, as time does. */
static inline void pass_ms(struct fixture *f, uint64_t ms)
{
    skipped_ms += ms;
    turn(f);
    turn(f);
}

/* ---- messages ---- */

/* Body text of any length that tells one message from another. */
static inline char *body_text(unsigned seed, size_t len)
{
    char *text = malloc(len + 1);
    for (size_t i = 0; i < len; i++) {
        seed = seed * 1103515245 + 12345;
        text[i] = i % 78 == 76 ? '\r' : i % 78 == 77 ? '\n' : (char)('a' + (seed >> 16) % 26);
    }
    text[len] = '\0';
    return text;
}

#define HEAD "Received: by relay.example\r\n"

static inline struct message *begin_message(struct fixture *f, const char *from, const char *to)
{
    struct message *message = message_new(f->share);
    assert_non_null(message);
    struct envelope *envelope = &message->envelope;
    assert_true(arena_copy(&message->arena, span_string(from), &envelope->reverse_path));
    char *copy = strdup(to), *rest = copy, *one;
    while ((one = strsep(&rest, " "))) {
        struct recipient recipient = {.address = span_string(one)};
        assert_true(message_add_recipient(message, &recipient));
    }
    free(copy);
    return message;
}

static inline void append_body(struct fixture *f, struct message *message, struct span text)
{
    while (text.len) {
        struct span piece = span_first(text, 16384);
        f->finished = false;
        int result = message_append(message, piece, &f->done);
        if (result == -EAGAIN) {
            turn_until(f, f->finished);
            continue;
        }
        assert_int_equal(result, 0);
        text = span_skip(text, piece.len);
    }
}

static inline int finish_message(struct fixture *f, struct message *message)
{
    assert_true(text_append(&message->head, &message->arena, SPAN(HEAD)));
    f->finished = false;
    share_accept(f->share, message, &f->done);
    turn_until(f, f->finished);
    return f->done.result;
}

/* Accepts a message for the blank-separated recipients; its id. */
static inline uint64_t accept_message(struct fixture *f, const char *from, const char *to,
                                      const char *body)
{
    struct message *message = begin_message(f, from, to);
    uint64_t id = message->envelope.id;
    append_body(f, message, span_string(body));
    assert_int_equal(finish_message(f, message), 0);
    return id;
}

/* ---- rows ---- */

static inline void forget_ready(struct fixture *f, unsigned index)
{
    f->ready[index] = f->ready[--f->ready_count];
}

/* The next row of any queue, or NULL if none has become ready within `turns`. */
static inline struct row *pull_within(struct fixture *f, unsigned turns)
{
    for (;;) {
        while (f->ready_count) {
            struct row *row;
            enum pull_result result = share_pull(f->share, f->ready[0], &row);
            if (result == PULL_ROW)
                return row;
            forget_ready(f, 0);
        }
        if (turns-- == 0)
            return NULL;
        turn(f);
    }
}

static inline struct row *pull_row_of(struct fixture *f)
{
    struct row *row = pull_within(f, MOST_TURNS);
    assert_non_null(row);
    return row;
}

static inline bool nothing_to_pull(struct fixture *f)
{
    struct row *row = pull_within(f, 20);
    if (row)
        share_return(f->share, row);
    return !row;
}

static inline void assert_body(const struct row *row, const char *expected)
{
    size_t len = strlen(HEAD) + strlen(expected), at = 0;
    char *whole = malloc(len + 1);
    strcpy(whole, HEAD);
    strcat(whole, expected);
    for (unsigned i = 0; i < row->body_pieces; i++) {
        assert_true(at + row->body[i].len <= len);
        assert_memory_equal(row->body[i].data, whole + at, row->body[i].len);
        at += row->body[i].len;
    }
    assert_int_equal(at, len);
    assert_int_equal(row->envelope.size, len);
    free(whole);
}

/* One outcome for all recipients of the row. */
static inline void settle_row(struct fixture *f, struct row *row, enum outcome outcome)
{
    struct verdict *verdicts = calloc(row->envelope.recipient_count, sizeof *verdicts);
    for (unsigned i = 0; i < row->envelope.recipient_count; i++)
        verdicts[i] = (struct verdict){
            .outcome = (uint8_t)outcome,
            .reply = {.code = outcome == OUTCOME_DELIVERED  ? 250
                              : outcome == OUTCOME_DEFERRED ? 451
                                                            : 550,
                      .enhanced = {outcome == OUTCOME_DELIVERED  ? 2
                                   : outcome == OUTCOME_DEFERRED ? 4
                                                                 : 5,
                                   1, 1},
                      .text = SPAN("says the test")},
        };
    struct attempt attempt = {
        .verdicts = verdicts,
        .peer_name = SPAN("mx.example"),
        .protocol = SPAN("ESMTP"),
        .started_ms = f->loop.wall_ms,
        .counts = true,
    };
    share_settle(f->share, row, &attempt);
    free(verdicts);
}

static inline void turn_until_recorded(struct fixture *f)
{
    turn_until(f, usage_of(f).unrecorded == 0);
}

/* How many records a family holds; the share must be stopped or quiet. */
static inline unsigned count_records(struct fixture *f, enum store_family family)
{
    struct store_scan *scan =
        store_scan_new(spool_store(f->spool), family, (struct span){0}, (struct span){0});
    struct span key, value;
    unsigned count = 0;
    while (store_scan_next(scan, &key, &value) == 1)
        count++;
    store_scan_free(scan);
    return count;
}

#define assert_records(f, family, count) assert_int_equal(count_records(f, family), count)

/* No message is left in any form. */
static inline void assert_store_empty(struct fixture *f)
{
    assert_records(f, FAMILY_FRESH, 0);
    assert_records(f, FAMILY_BODY, 0);
    assert_records(f, FAMILY_ROW, 0);
    assert_records(f, FAMILY_REF, 0);
    if (!usage_of(f).queues_uncounted)
        assert_int_equal(usage_of(f).rows, 0);
}
