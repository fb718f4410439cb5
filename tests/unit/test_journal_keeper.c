/* Segments after they were closed: compressed, kept, removed, verified; and who still needs them.
 */
#include "core/clock.h"
#include "queue/journal_cursor.h"
#include "queue/journal_keeper.h"
#include "queue/journal_verify.h"
#include "tests/unit/folder.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <time.h>

#include <cmocka.h>

enum { FRAMES = 20, HUGE = 1 << 20 };
#define WALL_MS UINT64_C(1795534000500)

struct fixture {
    char folder[FOLDER_PATH];
    _Atomic uint64_t heads[JOURNAL_WORKERS];
    struct journal_keeper keeper;
    struct journal_keeping keeping;
    struct journal_finding findings[8];
    unsigned finding_count;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    folder_make(f->folder);
    f->keeping = (struct journal_keeping){.compress = true};
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    folder_remove(f->folder);
    free(f);
    return 0;
}

static void path_of(const struct fixture *f, uint64_t first, const char *end,
                    char path[FOLDER_PATH])
{
    snprintf(path, FOLDER_PATH, "%s/w0-%016llx.log%s", f->folder, (unsigned long long)first, end);
}

static bool have(const struct fixture *f, uint64_t first, const char *end)
{
    char path[FOLDER_PATH];
    path_of(f, first, end, path);
    return access(path, F_OK) == 0;
}

/* A segment of FRAMES frames that ended `age_s` before WALL_MS. */
static void write_segment(const struct fixture *f, uint64_t first, unsigned age_s)
{
    char path[FOLDER_PATH], line[64], *data = malloc(HUGE);
    struct sink sink;
    sink_init(&sink, data, HUGE);
    for (uint64_t sequence = first; sequence < first + FRAMES; sequence++) {
        int len = snprintf(line, sizeof line, "{\"number\":%llu,\"text\":\"aaaaaaaaaaaaaaaaa\"}",
                           (unsigned long long)sequence);
        assert_true(journal_frame_write(&sink, sequence, span_of(line, (size_t)len)));
    }
    path_of(f, first, "", path);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    assert_int_equal(write(fd, data, sink.len), sink.len);
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = WALL_MS / 1000 - age_s}};
    assert_int_equal(futimens(fd, times), 0);
    close(fd);
    free(data);
}

/* Segments from 1 on, each a minute older than the next. */
static void write_segments(const struct fixture *f, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        write_segment(f, 1 + i * FRAMES, (count - i) * 60);
}

static void pass_keeper(struct fixture *f)
{
    assert_int_equal(journal_keeper_init(&f->keeper, f->folder, &f->keeping, f->heads, 1), 0);
    journal_keeper_pass(&f->keeper, 3600 * NS_PER_S, WALL_MS);
    assert_int_equal(f->keeper.kept.errors, 0);
}

static void on_finding(void *context, const struct journal_finding *finding)
{
    struct fixture *f = context;
    assert_true(f->finding_count < countof(f->findings));
    f->findings[f->finding_count++] = *finding;
}

static struct journal_verified verify(struct fixture *f)
{
    struct journal_verified verified;
    f->finding_count = 0;
    assert_int_equal(journal_verify(f->folder, on_finding, f, &verified), 0);
    assert_int_equal(verified.findings, f->finding_count);
    return verified;
}

static void assert_missing(const struct fixture *f, uint64_t from, uint64_t to)
{
    for (unsigned i = 0; i < f->finding_count; i++)
        if (f->findings[i].kind == JOURNAL_MISSING && f->findings[i].from == from &&
            f->findings[i].to == to)
            return;
    fail_msg("no finding of %llu to %llu", (unsigned long long)from, (unsigned long long)to);
}

static void flip_bit(const struct fixture *f, uint64_t first, const char *end, off_t at)
{
    char path[FOLDER_PATH], byte;
    path_of(f, first, end, path);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= 4;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

static void ignore_line(void *context, const struct journal_line *line)
{
}

/* ---- compressing ---- */

static void test_all_but_two_are_compressed(void **state)
{
    struct fixture *f = *state;
    struct journal_tail tail;
    write_segments(f, 4);
    pass_keeper(f);
    assert_int_equal(f->keeper.kept.compressed, 2);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(have(f, 1 + i * FRAMES, ".zst"), i < 2);
        assert_int_equal(have(f, 1 + i * FRAMES, ""), i >= 2);
    }
    assert_int_equal(verify(f).frames, 4 * FRAMES);
    assert_int_equal(f->finding_count, 0);
    assert_int_equal(journal_recover(f->folder, UINT64_MAX, ignore_line, NULL, &tail), 0);
    assert_int_equal(tail.frames, 4 * FRAMES);
    assert_int_equal(tail.next_sequence[0], 4 * FRAMES + 1);
    assert_int_equal(tail.gaps + tail.damaged, 0);
    pass_keeper(f);
    assert_int_equal(f->keeper.kept.compressed, 0);
}

static void test_closed_ones_are_read_only(void **state)
{
    struct fixture *f = *state;
    static const mode_t modes[] = {0440, 0440, 0640};
    write_segments(f, 3);
    pass_keeper(f);
    for (unsigned i = 0; i < 3; i++) {
        char path[FOLDER_PATH];
        struct stat status;
        path_of(f, 1 + i * FRAMES, i == 0 ? ".zst" : "", path);
        assert_int_equal(stat(path, &status), 0);
        assert_int_equal(status.st_mode & 0777, modes[i]);
        assert_int_equal(status.st_mtim.tv_sec, WALL_MS / 1000 - (3 - i) * 60);
    }
}

/* Recovery reads the same lines at any length of its tail, in whatever form. */
static void test_tails_of_compressed_ones(void **state)
{
    struct fixture *f = *state;
    struct journal_tail plain[8], packed;
    write_segments(f, 4);
    for (unsigned i = 0; i < countof(plain); i++)
        assert_int_equal(journal_recover(f->folder, 1 + i * 700, ignore_line, NULL, &plain[i]), 0);
    pass_keeper(f);
    for (unsigned i = 0; i < countof(plain); i++) {
        assert_int_equal(journal_recover(f->folder, 1 + i * 700, ignore_line, NULL, &packed), 0);
        assert_int_equal(packed.frames, plain[i].frames);
        assert_int_equal(packed.next_sequence[0], plain[i].next_sequence[0]);
    }
}

static void test_a_crash_while_compressing(void **state)
{
    struct fixture *f = *state;
    char path[FOLDER_PATH];
    write_segments(f, 3);
    path_of(f, 1, ".zst.tmp", path);
    close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600)); /* half of it */
    pass_keeper(f);
    assert_false(have(f, 1, ".zst.tmp"));
    assert_true(have(f, 1, ".zst"));
    write_segment(f, 1, 180); /* renamed, the plain one not removed yet */
    assert_int_equal(verify(f).frames, 3 * FRAMES);
    pass_keeper(f);
    assert_false(have(f, 1, ""));
    assert_true(have(f, 1, ".zst"));
}

/* ---- retention ---- */

static void test_the_oldest_go_and_it_is_declared(void **state)
{
    struct fixture *f = *state;
    f->keeping = (struct journal_keeping){.keep_bytes = 3000};
    write_segments(f, 4);
    pass_keeper(f);
    assert_int_equal(f->keeper.kept.removed, 3);
    assert_true(f->keeper.kept.bytes <= 3000);
    assert_false(have(f, 1, "") || have(f, 1 + FRAMES, "") || have(f, 1 + 2 * FRAMES, ""));
    assert_true(have(f, 1 + 3 * FRAMES, ""));
    assert_int_equal(verify(f).frames, FRAMES);
    assert_int_equal(f->finding_count, 0);
}

static void test_the_newest_stays(void **state)
{
    struct fixture *f = *state;
    f->keeping = (struct journal_keeping){.keep_bytes = 1, .keep_ms = 1};
    write_segments(f, 3);
    pass_keeper(f);
    assert_int_equal(f->keeper.kept.removed, 2);
    assert_true(have(f, 1 + 2 * FRAMES, ""));
}

static void test_by_age(void **state)
{
    struct fixture *f = *state;
    f->keeping = (struct journal_keeping){.keep_ms = 150 * 1000, .compress = true};
    write_segments(f, 5);
    pass_keeper(f);
    assert_int_equal(f->keeper.kept.removed,
                     3); /* 300, 240 and 180 s; compressed, they keep their age */
    assert_int_equal(verify(f).findings, 0);
}

static void test_consumers_hold_what_they_need(void **state)
{
    struct fixture *f = *state;
    struct journal_cursor cursor = {.next = {1 + FRAMES}};
    f->keeping = (struct journal_keeping){.keep_bytes = 1, .consumer_bytes = HUGE};
    write_segments(f, 4);
    int lock = journal_cursor_lock(f->folder, "billing");
    assert_true(lock >= 0);
    assert_int_equal(journal_cursor_lock(f->folder, "billing"), -EBUSY);
    assert_int_equal(journal_cursor_write(f->folder, "billing", &cursor), 0);
    pass_keeper(f);
    assert_int_equal(f->keeper.kept.removed, 1);
    assert_false(have(f, 1, ""));
    assert_true(have(f, 1 + FRAMES, ""));
    f->keeping.consumer_bytes = 0; /* the bound */
    pass_keeper(f);
    assert_int_equal(f->keeper.kept.removed, 2);
    assert_int_equal(f->keeper.kept.dropped, 2);
    close(lock);
    assert_int_equal(verify(f).findings, 0);
}

/* ---- verifying ---- */

static void test_a_removed_segment_is_found(void **state)
{
    for (unsigned i = 0; i < 4; i++) {
        setup(state);
        struct fixture *f = *state;
        char path[FOLDER_PATH];
        atomic_store(&f->heads[0], 4 * FRAMES);
        write_segments(f, 4);
        pass_keeper(f);
        journal_keeper_fini(&f->keeper);
        assert_int_equal(verify(f).findings, 0);
        path_of(f, 1 + i * FRAMES, i < 2 ? ".zst" : "", path);
        assert_int_equal(unlink(path), 0);
        verify(f);
        assert_int_equal(f->finding_count, 1);
        assert_missing(f, 1 + i * FRAMES, (i + 1) * FRAMES);
        teardown(state);
    }
}

static void test_a_removed_line_is_found(void **state)
{
    struct fixture *f = *state;
    char path[FOLDER_PATH], data[8192], *end;
    write_segments(f, 1);
    path_of(f, 1, "", path);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    ssize_t len = read(fd, data, sizeof data);
    end = memchr(data, '\n', (size_t)len);
    size_t line = (size_t)(end + 1 - data);
    assert_int_equal(pwrite(fd, data, 3 * line, 0), 3 * line); /* all but the fourth */
    assert_int_equal(pwrite(fd, data + 4 * line, (size_t)len - 4 * line, (off_t)(3 * line)),
                     (size_t)len - 4 * line);
    assert_int_equal(ftruncate(fd, len - (off_t)line), 0);
    close(fd);
    verify(f);
    assert_missing(f, 4, 4);
}

static void test_a_flipped_bit_is_found(void **state)
{
    for (off_t at = 0; at < 600; at += 7) {
        setup(state);
        struct fixture *f = *state;
        write_segments(f, 1);
        flip_bit(f, 1, "", at);
        verify(f);
        assert_true(f->finding_count > 0);
        teardown(state);
    }
}

static void test_a_flipped_bit_in_a_compressed_one_is_found(void **state)
{
    for (off_t at = 0; at < 150; at++) {
        setup(state);
        struct fixture *f = *state;
        write_segments(f, 3);
        pass_keeper(f);
        flip_bit(f, 1, ".zst", at);
        /* Some bits of zstd's headers mean nothing: every frame is there and right. */
        if (verify(f).frames < 3 * FRAMES && f->finding_count == 0)
            fail_msg("the flip at %ld was not found", (long)at);
        teardown(state);
    }
}

static void test_a_damaged_state_is_found(void **state)
{
    struct fixture *f = *state;
    char path[2 * FOLDER_PATH];
    atomic_store(&f->heads[0], FRAMES);
    write_segments(f, 1);
    pass_keeper(f);
    snprintf(path, sizeof path, "%s/state", f->folder);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, "9", 1, 30), 1);
    close(fd);
    verify(f);
    assert_int_equal(f->finding_count, 1);
    assert_int_equal(f->findings[0].kind, JOURNAL_STATE_DAMAGED);
}

/* What was on disk once is not numbered again, and the next run does not call it its own loss. */
static void test_a_removed_newest_stays_missing(void **state)
{
    struct fixture *f = *state;
    struct journal_tail tail;
    char path[FOLDER_PATH];
    atomic_store(&f->heads[0], 2 * FRAMES);
    write_segments(f, 2);
    pass_keeper(f);
    path_of(f, 1 + FRAMES, "", path);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(journal_recover(f->folder, UINT64_MAX, ignore_line, NULL, &tail), 0);
    assert_int_equal(tail.next_sequence[0], 2 * FRAMES + 1);
    assert_int_equal(tail.torn_from[0], 0);
    write_segment(f, 1 + 2 * FRAMES, 0);
    verify(f);
    assert_missing(f, 1 + FRAMES, 2 * FRAMES);
}

/* ---- streams ---- */

struct taken {
    uint64_t first, last, count;
};

static void take(void *context, const struct journal_line *line)
{
    struct taken *taken = context;
    if (taken->count++ == 0)
        taken->first = line->sequence;
    else
        assert_int_equal(line->sequence, taken->last + 1);
    taken->last = line->sequence;
}

static void read_to_the_end(struct journal_stream *stream, struct taken *taken)
{
    int more;
    while ((more = journal_stream_read(stream, take, taken)) == 1)
        ;
    assert_int_equal(more, 0);
}

static void test_streams_begin_anywhere(void **state)
{
    struct fixture *f = *state;
    write_segments(f, 4);
    pass_keeper(f);
    for (uint64_t from = 0; from <= 4 * FRAMES + 2; from++) {
        struct journal_stream stream;
        struct taken taken = {0};
        uint64_t expected = from ? from : 1;
        assert_int_equal(journal_stream_init(&stream, f->folder, 0, from), 0);
        read_to_the_end(&stream, &taken);
        assert_int_equal(taken.count, expected > 4 * FRAMES ? 0 : 4 * FRAMES + 1 - expected);
        if (taken.count)
            assert_int_equal(taken.first, expected);
        journal_stream_fini(&stream);
    }
}

/* The daemon goes on writing, compressing and removing under a reader. */
static void test_streams_follow(void **state)
{
    struct fixture *f = *state;
    struct journal_stream stream;
    struct taken taken = {0};
    assert_int_equal(journal_stream_init(&stream, f->folder, 0, 0), 0);
    for (unsigned i = 0; i < 6; i++) {
        write_segment(f, 1 + i * FRAMES, 60);
        if (i % 2)
            pass_keeper(f);
        read_to_the_end(&stream, &taken);
        assert_int_equal(taken.count, (i + 1) * FRAMES);
    }
    journal_stream_fini(&stream);
}

/* ---- cursors ---- */

static void count_cursor(void *context, const char *name, const struct journal_cursor *cursor,
                         time_t changed, int error)
{
    unsigned *count = context;
    *count += error == 0 && strcmp(name, "billing") == 0 && cursor->next[3] == 77;
}

static void test_cursors_are_kept(void **state)
{
    struct fixture *f = *state;
    struct journal_cursor cursor = {.next = {[3] = 77, [255] = UINT64_MAX}}, read;
    unsigned count = 0;
    assert_int_equal(journal_cursor_read(f->folder, "billing", &read), -ENOENT);
    close(journal_cursor_lock(f->folder, "billing"));
    assert_int_equal(journal_cursor_write(f->folder, "billing", &cursor), 0);
    assert_int_equal(journal_cursor_read(f->folder, "billing", &read), 0);
    assert_memory_equal(&read, &cursor, sizeof read);
    assert_int_equal(journal_cursors_each(f->folder, count_cursor, &count), 0);
    assert_int_equal(count, 1);
    assert_int_equal(journal_cursor_remove(f->folder, "billing"), 0);
    assert_int_equal(journal_cursor_read(f->folder, "billing", &read), -ENOENT);
    assert_int_equal(journal_cursor_remove(f->folder, "billing"), -ENOENT);
}

static void test_names_of_consumers(void **state)
{
    static const struct {
        const char *name;
        bool good;
    } cases[] = {
        {"billing", true},
        {"a", true},
        {"A-b_c.9", true},
        {"", false},
        {".hidden", false},
        {"..", false},
        {"a/b", false},
        {"a b", false},
        {"x.lock", false},
        {"x.new", false},
        {"\xc3\xa4", false},
        {"0123456789012345678901234567890123456789012345678901234567890123", true},
        {"01234567890123456789012345678901234567890123456789012345678901234", false},
    };
    for (unsigned i = 0; i < countof(cases); i++)
        assert_int_equal(journal_consumer_name_good(span_string(cases[i].name)), cases[i].good);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_all_but_two_are_compressed),
        TEST(test_closed_ones_are_read_only),
        TEST(test_tails_of_compressed_ones),
        TEST(test_a_crash_while_compressing),
        TEST(test_the_oldest_go_and_it_is_declared),
        TEST(test_the_newest_stays),
        TEST(test_by_age),
        TEST(test_consumers_hold_what_they_need),
        cmocka_unit_test(test_a_removed_segment_is_found),
        TEST(test_a_removed_line_is_found),
        cmocka_unit_test(test_a_flipped_bit_is_found),
        cmocka_unit_test(test_a_flipped_bit_in_a_compressed_one_is_found),
        TEST(test_a_damaged_state_is_found),
        TEST(test_a_removed_newest_stays_missing),
        TEST(test_streams_begin_anywhere),
        TEST(test_streams_follow),
        TEST(test_cursors_are_kept),
        cmocka_unit_test(test_names_of_consumers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
