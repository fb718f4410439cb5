/* The journal on a disk that fails as told: this program has its own io and loop_ready, so the
 * archive's ring and loop stay out of it, and its own clock. */
#include "queue/journal.h"

#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum kind { OPEN_DIRECTORY, OPEN, WRITE, SYNC, CLOSE, KINDS };
enum {
    FILE_MS = 600000,
    FILES = 16,
    FILE_SIZE = 64 * 1024,
    DIRECTORY_FD = 900,
    OPS = 64,
};

/* A disk in memory, one request at a time, and what is to go wrong next. */
struct disk {
    char content[FILES][FILE_SIZE];
    size_t size[FILES];
    char name[FILES][64];
    unsigned file_count, open_count;

    struct op *op; /* in flight */
    enum kind kind;
    int fd;
    const struct iovec *iov;
    unsigned iov_count;
    uint64_t offset;

    int error[KINDS]; /* 0: none; else the result of the next ones of this kind */
    unsigned error_count[KINDS];
    size_t write_at_most;      /* short writes; 0: whole */
    size_t write_before_error; /* what a failing write still leaves on disk */
    bool hangs;
    bool cancelled;
    unsigned done[KINDS];
};

/* Reached from the functions that journal.c calls; one test at a time. */
static struct disk *disk;
static struct loop loop;
static _Atomic uint64_t head;

static void start(struct op *op, enum kind kind, int fd)
{
    assert_null(disk->op);
    disk->op = op;
    disk->kind = kind;
    disk->fd = fd;
    op->state = OP_BUSY;
}

void io_open(struct io *io, struct op *op, const char *path, int flags, mode_t mode)
{
    bool directory = !strchr(path, '.');
    start(op, directory ? OPEN_DIRECTORY : OPEN, -1);
    if (!directory)
        strncpy(disk->name[disk->file_count], path, 63);
}

void io_write(struct io *io, struct op *op, int fd, const struct iovec *iov, unsigned count,
              uint64_t offset)
{
    start(op, WRITE, fd);
    disk->iov = iov;
    disk->iov_count = count;
    disk->offset = offset;
}

void io_datasync(struct io *io, struct op *op, int fd)
{
    start(op, SYNC, fd);
}

void io_close(struct io *io, struct op *op, int fd)
{
    start(op, CLOSE, fd);
}

void io_cancel(struct io *io, struct op *op)
{
    if (disk->op == op)
        disk->cancelled = true;
}

void loop_ready(struct loop *to, struct op *op, int32_t result)
{
    assert_true(op->state != OP_READY);
    op->state = OP_READY;
    op->result = result;
    list_append(&to->ready, &op->link);
}

static size_t write_piece(const struct iovec *piece, uint64_t offset, size_t most)
{
    size_t len = piece->iov_len < most ? piece->iov_len : most;
    assert_true(offset + len <= FILE_SIZE);
    memcpy(disk->content[disk->fd] + offset, piece->iov_base, len);
    if (offset + len > disk->size[disk->fd])
        disk->size[disk->fd] = offset + len;
    return len;
}

static int32_t perform_write(bool fails)
{
    size_t most = disk->write_at_most ? disk->write_at_most : SIZE_MAX, len = 0;
    if (fails && most > disk->write_before_error)
        most = disk->write_before_error;
    for (unsigned i = 0; i < disk->iov_count; i++)
        len += write_piece(&disk->iov[i], disk->offset + len, most - len);
    return (int32_t)len;
}

static int32_t perform(void)
{
    bool fails = disk->error_count[disk->kind] > 0;
    int32_t result = 0;
    disk->done[disk->kind]++;
    if (disk->kind == WRITE)
        result = perform_write(fails);
    if (fails) {
        disk->error_count[disk->kind]--;
        return disk->error[disk->kind];
    }
    switch (disk->kind) {
    case OPEN_DIRECTORY:
        disk->open_count++;
        return DIRECTORY_FD;
    case OPEN:
        assert_true(disk->file_count < FILES);
        disk->open_count++;
        return (int)disk->file_count++;
    case CLOSE:
        disk->open_count--;
        return 0;
    default:
        return result;
    }
}

static void dispatch_ready(void)
{
    struct list_link *link;
    while ((link = list_take_first(&loop.ready))) {
        struct op *op = container_of(link, struct op, link);
        op->state = OP_IDLE;
        op->done(op);
    }
}

/* Lets `ms` pass, in steps of one; the disk answers within each. */
static void pass(unsigned ms)
{
    for (unsigned i = 0; i <= ms; i++) {
        timers_advance(&loop.timers, loop.now_ns, &loop.ready);
        dispatch_ready();
        while (disk->op && (!disk->hangs || disk->cancelled)) {
            struct op *op = disk->op;
            op->result = disk->cancelled ? -ECANCELED : perform();
            disk->cancelled = false;
            disk->op = NULL;
            op->state = OP_IDLE;
            op->done(op);
            dispatch_ready();
        }
        loop.now_ns += NS_PER_MS;
    }
}

struct fixture {
    struct journal *journal;
    struct op ops[OPS];
    struct op closed;
};

static void on_op(struct op *op)
{
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    disk = calloc(1, sizeof *disk);
    loop = (struct loop){.now_ns = 5 * NS_PER_S};
    list_init(&loop.ready);
    timers_init(&loop.timers, loop.now_ns);
    for (int i = 0; i < OPS; i++)
        op_init(&f->ops[i], on_op);
    op_init(&f->closed, on_op);
    struct journal_options options = {
        .directory = "journal", .buffer_bytes = 4096, .file_ms = FILE_MS, .head = &head};
    head = 0;
    assert_int_equal(journal_open(&options, &loop, &f->journal), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    disk->hangs = false;
    journal_close(f->journal, &f->closed);
    pass(10);
    assert_true(op_idle(&f->closed));
    assert_int_equal(disk->open_count, 0);
    journal_free(f->journal);
    free(disk);
    free(f);
    return 0;
}

static void append(struct fixture *f, unsigned index)
{
    assert_true(journal_append(f->journal, SPAN("a line"), &f->ops[index]));
}

static void fail_next(enum kind kind, int error, unsigned count)
{
    disk->error[kind] = error;
    disk->error_count[kind] = count;
}

static void ignore_line(void *context, const struct journal_line *line)
{
}

/* What a reader makes of all files. */
static struct journal_scan scan_all(void)
{
    struct journal_scan scan = {0};
    for (unsigned i = 0; i < disk->file_count; i++)
        journal_scan_bytes(&scan, span_of(disk->content[i], disk->size[i]), true, ignore_line,
                           NULL);
    return scan;
}

static struct journal_usage usage(struct fixture *f)
{
    struct journal_usage now;
    journal_usage(f->journal, &now);
    return now;
}

/* Each kind of failure: the op is told, the loss is counted, the next flush works. */
static void test_failure_is_told_and_over(void **state)
{
    static const struct {
        enum kind kind;
        int error;
        bool first_flush;
        unsigned files; /* in the end */
    } cases[] = {
        {OPEN_DIRECTORY, -EMFILE, true, 1},
        {OPEN, -ENOSPC, true, 1},
        {SYNC, -EIO, true, 2} /* of the directory */,
        {WRITE, -ENOSPC, true, 1},
        {WRITE, -EIO, false, 2},
        {SYNC, -EIO, false, 2},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        setup(state);
        struct fixture *f = *state;
        if (!cases[i].first_flush) {
            append(f, 0);
            pass(100);
            assert_int_equal(f->ops[0].result, 0);
        }
        fail_next(cases[i].kind, cases[i].error, 1);
        append(f, 1);
        pass(100);
        assert_true(op_idle(&f->ops[1]));
        assert_int_equal(f->ops[1].result, cases[i].error);
        assert_int_equal(usage(f).lost, 1);
        assert_int_equal(usage(f).errors, 1);
        append(f, 2);
        pass(JOURNAL_REST_MS / 2);
        assert_false(op_idle(&f->ops[2])); /* it rests */
        pass(JOURNAL_REST_MS);
        assert_true(op_idle(&f->ops[2]));
        assert_int_equal(f->ops[2].result, 0);
        assert_int_equal(disk->file_count, cases[i].files);
        assert_int_equal(scan_all().damaged, 0);
        assert_true(scan_all().next_sequence > 2);
        teardown(state);
    }
}

static void test_disk_full_makes_no_file_a_second(void **state)
{
    struct fixture *f = *state;
    fail_next(WRITE, -ENOSPC, UINT_MAX);
    disk->write_before_error = 50;
    for (unsigned i = 0; i < 30; i++) {
        append(f, i);
        pass(JOURNAL_REST_MS + 100);
        assert_int_equal(f->ops[i].result, -ENOSPC);
    }
    fail_next(WRITE, 0, 0);
    append(f, 30);
    pass(JOURNAL_REST_MS + 100);
    assert_int_equal(f->ops[30].result, 0);
    assert_int_equal(disk->file_count, 1);
    assert_int_equal(scan_all().next_sequence, 32);
}

/* What a failed write left behind does not come back as news. */
static void test_remains_are_stale(void **state)
{
    struct fixture *f = *state;
    disk->write_before_error = 4096;
    for (unsigned i = 0; i < 10; i++)
        append(f, i);
    fail_next(WRITE, -EIO, 1);
    pass(JOURNAL_REST_MS + 100);
    assert_int_equal(f->ops[9].result, -EIO);
    append(f, 10);
    pass(JOURNAL_REST_MS + 100);
    assert_int_equal(f->ops[10].result, 0);
    struct journal_scan scan = scan_all();
    assert_int_equal(scan.frames, 2); /* the loss, and the news */
    assert_int_equal(scan.lost, 10);
    assert_int_equal(scan.gaps, 0);
    assert_true(scan.stale > 0);
    assert_int_equal(scan.next_sequence, 12);
}

static void test_short_writes_go_on(void **state)
{
    struct fixture *f = *state;
    disk->write_at_most = 7;
    for (unsigned i = 0; i < 10; i++)
        append(f, i);
    pass(100);
    assert_int_equal(f->ops[9].result, 0);
    assert_int_equal(scan_all().frames, 10);
    assert_true(disk->done[WRITE] > 50);
}

static void test_write_of_nothing_is_an_error(void **state)
{
    struct fixture *f = *state;
    fail_next(WRITE, 0, 1);
    append(f, 0);
    pass(100);
    assert_int_equal(f->ops[0].result, -EIO);
}

static void test_hanging_disk(void **state)
{
    struct fixture *f = *state;
    disk->hangs = true;
    append(f, 0);
    pass(100);
    append(f, 1); /* into the other buffer */
    pass(JOURNAL_DEADLINE_MS);
    assert_int_equal(f->ops[0].result, -ETIMEDOUT);
    assert_int_equal(f->ops[1].result, -ETIMEDOUT);
    assert_int_equal(usage(f).errors, 2); /* the deadline, and the write that was cancelled */
    disk->hangs = false;
    append(f, 2);
    pass(JOURNAL_REST_MS + 100);
    assert_int_equal(f->ops[2].result, 0);
}

/* Half a buffer does not wait for its time; less does, unless the last flush is long ago. */
static void test_when_it_flushes(void **state)
{
    struct fixture *f = *state;
    append(f, 0);
    pass(2);
    assert_true(op_idle(&f->ops[0]));
    append(f, 1);
    pass(JOURNAL_SYNC_MS - 10);
    assert_false(op_idle(&f->ops[1]));
    pass(10);
    assert_true(op_idle(&f->ops[1]));
    for (unsigned i = 2; i < OPS; i++)
        append(f, i);
    pass(2);
    assert_true(op_idle(&f->ops[OPS - 1]));
}

static void test_close_during_failure(void **state)
{
    struct fixture *f = *state;
    append(f, 0);
    pass(100);
    append(f, 1);
    fail_next(SYNC, -EIO, 1);
    journal_close(f->journal, &f->closed);
    pass(100);
    assert_true(op_idle(&f->closed) && op_idle(&f->ops[1]));
    assert_int_equal(f->closed.result, -EIO);
    assert_int_equal(f->ops[1].result, -EIO);
    assert_int_equal(disk->open_count, 0);
    journal_free(f->journal);
    free(disk);
    free(f);
}

/* A segment ends for its age, also when nothing comes any more; an empty one is not begun. */
static void test_old_files_end(void **state)
{
    struct fixture *f = *state;
    append(f, 0);
    pass(100);
    assert_int_equal(head, 1);
    assert_int_equal(disk->open_count, 2);
    pass(FILE_MS);
    assert_int_equal(disk->open_count, 1);
    pass(2 * FILE_MS);
    assert_int_equal(disk->file_count, 1);
    append(f, 1);
    pass(100);
    assert_int_equal(disk->file_count, 2);
    assert_int_equal(head, 2);
}

/* Every loss is declared, whatever it was, and who can will wait while the disk does not follow. */
static void test_losses_are_declared(void **state)
{
    struct fixture *f = *state;
    append(f, 0);
    pass(100);
    disk->hangs = true;
    append(f, 1);
    pass(100);
    assert_false(journal_behind(f->journal));
    while (!journal_behind(f->journal))
        assert_true(journal_append(f->journal, SPAN("a line"), NULL));
    while (journal_append(f->journal, SPAN("a line"), NULL))
        ;
    assert_false(journal_append(f->journal, SPAN("a line"), NULL));
    fail_next(WRITE, -EIO, 1);
    disk->hangs = false;
    pass(100);
    assert_true(journal_behind(f->journal)); /* until one has succeeded */
    pass(JOURNAL_REST_MS + 100);
    assert_false(journal_behind(f->journal));
    append(f, 3);
    pass(100);
    struct journal_scan scan = scan_all();
    assert_int_equal(scan.gaps + scan.damaged, 0);
    assert_int_equal(scan.lost, usage(f).lost);
    assert_int_equal(scan.next_sequence - 1, head);
}

/* The run before left a file without a whole frame. */
static void test_a_torn_start_is_declared(void **state)
{
    struct fixture *f = *state;
    struct journal *journal;
    struct journal_options options = {
        .directory = "journal", .first_sequence = 8, .torn_from = 7, .buffer_bytes = 4096};
    assert_int_equal(journal_open(&options, &loop, &journal), 0);
    assert_true(journal_append(journal, SPAN("a line"), &f->ops[0]));
    pass(100);
    struct journal_scan scan = {.next_sequence = 7};
    journal_scan_bytes(&scan, span_of(disk->content[0], disk->size[0]), true, ignore_line, NULL);
    assert_string_equal(disk->name[0], "journal/w0-0000000000000008.log");
    assert_int_equal(scan.gaps + scan.damaged, 0);
    assert_int_equal(scan.frames, 2);
    assert_int_equal(scan.lost, 2);
    journal_close(journal, &f->ops[1]);
    pass(10);
    journal_free(journal);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_failure_is_told_and_over),
        TEST(test_disk_full_makes_no_file_a_second),
        TEST(test_remains_are_stale),
        TEST(test_short_writes_go_on),
        TEST(test_write_of_nothing_is_an_error),
        TEST(test_hanging_disk),
        TEST(test_when_it_flushes),
        TEST(test_old_files_end),
        TEST(test_losses_are_declared),
        TEST(test_a_torn_start_is_declared),
        cmocka_unit_test_setup(test_close_during_failure, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
