/* The journal on a real ring and a real disk: what was promised is there, over restarts too. */
#include "queue/journal.h"

#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cmocka.h>

enum { OPS = 2000 };

struct fixture {
    char directory[64];
    struct loop loop;
    struct journal *journal;
    struct op ops[OPS];
    struct op closed;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct io_options options = {.entries = 64, .buffers = 16, .buffer_size = 4096};
    strcpy(f->directory, "/tmp/ringpost-journal-XXXXXX");
    if (!mkdtemp(f->directory) || loop_init(&f->loop, &options, 0) < 0)
        return -1;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    char command[128];
    loop_fini(&f->loop);
    snprintf(command, sizeof command, "rm -r %s", f->directory);
    int result = system(command);
    free(f);
    return result;
}

static void on_op(struct op *op)
{
}

static void turn(struct fixture *f)
{
    assert_int_equal(loop_turn(&f->loop, NS_PER_S), 0);
}

static void open_journal(struct fixture *f, struct journal_options options)
{
    options.directory = f->directory;
    assert_int_equal(journal_open(&options, &f->loop, &f->journal), 0);
    for (int i = 0; i < OPS; i++)
        op_init(&f->ops[i], on_op);
    op_init(&f->closed, on_op);
}

static void close_journal(struct fixture *f)
{
    journal_close(f->journal, &f->closed);
    while (!op_idle(&f->closed))
        turn(f);
    assert_int_equal(f->closed.result, 0);
    f->journal = journal_free(f->journal);
}

static bool append(struct fixture *f, unsigned number, struct op *op)
{
    char line[64];
    int len = snprintf(line, sizeof line, "{\"number\":%u}", number);
    return journal_append(f->journal, span_of(line, (size_t)len), op);
}

struct reader {
    unsigned count, next;
};

static void expect_next(void *context, const struct journal_line *line)
{
    struct reader *reader = context;
    char expected[64];
    uint64_t from, to;
    if (journal_loss_read(line->text, &from, &to))
        return;
    snprintf(expected, sizeof expected, "{\"number\":%u}", reader->next++);
    assert_true(span_equals(line->text, span_string(expected)));
    reader->count++;
}

static struct journal_tail read_all(struct fixture *f, unsigned expected_count)
{
    struct reader reader = {0};
    struct journal_tail tail;
    assert_int_equal(journal_recover(f->directory, UINT64_MAX, expect_next, &reader, &tail), 0);
    assert_int_equal(reader.count, expected_count);
    assert_int_equal(tail.gaps + tail.damaged, 0);
    return tail;
}

static unsigned count_files(struct fixture *f)
{
    unsigned count = 0;
    DIR *entries = opendir(f->directory);
    assert_non_null(entries);
    for (const struct dirent *entry; (entry = readdir(entries));)
        count += entry->d_name[0] == 'w';
    closedir(entries);
    return count;
}

/* When an op is done, its frame can be read from disk. */
static void test_done_means_written(void **state)
{
    struct fixture *f = *state;
    open_journal(f, (struct journal_options){.worker = 3});
    for (unsigned i = 0; i < 20; i++) {
        assert_true(append(f, i, &f->ops[i]));
        assert_false(op_idle(&f->ops[i]));
        while (!op_idle(&f->ops[i]))
            turn(f);
        assert_int_equal(f->ops[i].result, 0);
        assert_int_equal(read_all(f, i + 1).next_sequence[3], i + 2);
    }
    close_journal(f);
}

/* Many frames share a sync; lines without an op are written all the same. */
static void test_gathers(void **state)
{
    struct fixture *f = *state;
    struct journal_usage usage;
    open_journal(f, (struct journal_options){0});
    for (unsigned i = 0; i < OPS; i++)
        assert_true(append(f, i, i % 2 ? &f->ops[i] : NULL));
    while (!op_idle(&f->ops[OPS - 1]))
        turn(f);
    for (unsigned i = 1; i < OPS; i += 2)
        assert_true(op_idle(&f->ops[i]) && f->ops[i].result == 0);
    journal_usage(f->journal, &usage);
    assert_int_equal(usage.frames, OPS);
    assert_int_equal(usage.syncs, 1);
    assert_int_equal(usage.lost + usage.errors, 0);
    read_all(f, OPS);
    close_journal(f);
}

/* Closing writes what waits. A file of no frames is never made. */
static void test_close_writes(void **state)
{
    struct fixture *f = *state;
    open_journal(f, (struct journal_options){0});
    close_journal(f);
    assert_int_equal(count_files(f), 0);
    open_journal(f, (struct journal_options){0});
    assert_true(append(f, 0, &f->ops[0]));
    journal_close(f->journal, &f->closed);
    assert_false(append(f, 1, &f->ops[1]));
    while (!op_idle(&f->closed) || !op_idle(&f->ops[1]))
        turn(f);
    assert_int_equal(f->ops[0].result, 0);
    assert_int_equal(f->ops[1].result, -ENOSPC);
    journal_free(f->journal);
    read_all(f, 1);
}

static void test_restart_continues(void **state)
{
    struct fixture *f = *state;
    uint64_t next = 0;
    for (unsigned run = 0; run < 4; run++) {
        open_journal(f, (struct journal_options){.first_sequence = next, .worker = 1});
        for (unsigned i = 0; i < 10; i++)
            assert_true(append(f, run * 10 + i, NULL));
        close_journal(f);
        struct journal_tail tail = read_all(f, run * 10 + 10);
        next = tail.next_sequence[1];
        assert_int_equal(next, run * 10 + 11);
        assert_int_equal(count_files(f), run + 1);
    }
}

static void test_rotates(void **state)
{
    struct fixture *f = *state;
    open_journal(f, (struct journal_options){.file_bytes = 1000});
    for (unsigned i = 0; i < 100; i++) {
        assert_true(append(f, i, &f->ops[i]));
        if (i % 5 == 4)
            while (!op_idle(&f->ops[i]))
                turn(f);
    }
    close_journal(f);
    read_all(f, 100);
    assert_in_range(count_files(f), 4, 6);
}

/* The buffer is full before the ring had a turn: what does not fit is lost, said and counted. */
static void test_full_buffer_loses(void **state)
{
    struct fixture *f = *state;
    open_journal(f, (struct journal_options){.buffer_bytes = 4096});
    unsigned kept = 0;
    while (append(f, kept, &f->ops[kept]))
        kept++;
    assert_false(append(f, kept, &f->ops[kept + 1]));
    while (!op_idle(&f->ops[kept]) || !op_idle(&f->ops[kept + 1]) || !op_idle(&f->ops[kept - 1]))
        turn(f);
    assert_int_equal(f->ops[kept - 1].result, 0);
    assert_int_equal(f->ops[kept].result, -ENOSPC);
    assert_int_equal(f->ops[kept + 1].result, -ENOSPC);
    read_all(f, kept);

    assert_true(append(f, kept, NULL)); /* there is room again, and the loss was declared */
    close_journal(f);
    struct reader reader = {0};
    struct journal_tail tail;
    assert_int_equal(journal_recover(f->directory, UINT64_MAX, expect_next, &reader, &tail), 0);
    assert_int_equal(reader.count, kept + 1);
    assert_int_equal(tail.gaps, 0);
    assert_int_equal(tail.lost, 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_done_means_written), TEST(test_gathers), TEST(test_close_writes),
        TEST(test_restart_continues),  TEST(test_rotates), TEST(test_full_buffer_loses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
