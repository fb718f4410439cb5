/* Frames and whole journals as files: what a reader finds after cuts, flips and losses. */
#include "queue/journal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cmocka.h>

static char directory[] = "/tmp/ringpost-journal-XXXXXX";

static int make_directory(void **state)
{
    strcpy(directory + sizeof directory - 7, "XXXXXX");
    return mkdtemp(directory) ? 0 : -1;
}

static int remove_directory(void **state)
{
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", directory);
    return system(command);
}

static void write_file(unsigned worker, uint64_t first_sequence, struct span content)
{
    char path[128];
    snprintf(path, sizeof path, "%s/w%u-%016llx.log", directory, worker,
             (unsigned long long)first_sequence);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(content.data, 1, content.len, file), content.len);
    assert_int_equal(fclose(file), 0);
}

struct lines {
    unsigned count;
    char text[64][64];
};

static void keep_line(void *context, const struct journal_line *line)
{
    struct lines *lines = context;
    assert_true(lines->count < 64 && line->text.len < 64);
    memcpy(lines->text[lines->count], line->text.data, line->text.len);
    lines->text[lines->count++][line->text.len] = '\0';
}

static void ignore_line(void *context, const struct journal_line *line)
{
}

/* Frames `from` to `to`, lines "line <sequence>". */
static struct span frames(char *data, size_t capacity, uint64_t from, uint64_t to)
{
    struct sink sink;
    sink_init(&sink, data, capacity);
    for (uint64_t sequence = from; sequence <= to; sequence++) {
        char line[32];
        int len = snprintf(line, sizeof line, "line %llu", (unsigned long long)sequence);
        assert_true(journal_frame_write(&sink, sequence, span_of(line, (size_t)len)));
    }
    return sink_span(&sink);
}

static void test_frame_form(void **state)
{
    char data[128];
    struct sink sink;
    sink_init(&sink, data, sizeof data);
    assert_true(journal_frame_write(&sink, 0x1234, SPAN("{\"a\":1}")));
    assert_int_equal(sink.len, 7 + JOURNAL_FRAME_EXTRA);
    assert_memory_equal(data, "00000007 ", 9);
    assert_memory_equal(data + 17, " 0000000000001234 {\"a\":1}\n", 26);

    uint64_t sequence;
    struct span line;
    assert_int_equal(journal_frame_read(sink_span(&sink), &sequence, &line), (long)sink.len);
    assert_int_equal(sequence, 0x1234);
    assert_true(span_equals(line, SPAN("{\"a\":1}")));
}

static void test_frame_needs_room(void **state)
{
    char data[7 + JOURNAL_FRAME_EXTRA];
    for (size_t capacity = 0; capacity < sizeof data; capacity++) {
        struct sink sink;
        sink_init(&sink, data, capacity);
        assert_false(journal_frame_write(&sink, 1, SPAN("1234567")));
        assert_int_equal(sink.len, 0);
        assert_false(sink.full);
    }
    struct sink sink;
    sink_init(&sink, data, sizeof data);
    assert_true(journal_frame_write(&sink, 1, SPAN("1234567")));

    char *large = calloc(1, JOURNAL_LINE_MAX + 100);
    sink_init(&sink, large, JOURNAL_LINE_MAX + 100);
    assert_false(journal_frame_write(&sink, 1, span_of(large, JOURNAL_LINE_MAX + 1)));
    free(large);
}

static void test_frame_cut_is_incomplete(void **state)
{
    char data[128];
    struct span whole = frames(data, sizeof data, 7, 7);
    uint64_t sequence;
    struct span line;
    for (size_t len = 0; len < whole.len; len++)
        assert_int_equal(journal_frame_read(span_first(whole, len), &sequence, &line), 0);
}

/* Any flipped bit is noticed: the frame is damaged, or (in the length) seems to be longer. */
static void test_frame_flip_is_damage(void **state)
{
    char data[128];
    struct span whole = frames(data, sizeof data, 7, 7);
    for (size_t bit = 0; bit < whole.len * 8; bit++) {
        uint64_t sequence;
        struct span line;
        data[bit / 8] ^= (char)(1 << bit % 8);
        assert_true(journal_frame_read(whole, &sequence, &line) <= 0);
        data[bit / 8] ^= (char)(1 << bit % 8);
    }
}

static struct journal_tail recover(uint64_t tail_bytes, struct lines *lines)
{
    struct journal_tail tail;
    lines->count = 0;
    assert_int_equal(journal_recover(directory, tail_bytes, keep_line, lines, &tail), 0);
    assert_int_equal(tail.frames, lines->count);
    return tail;
}

static void test_no_directory_is_empty(void **state)
{
    struct journal_tail tail;
    assert_int_equal(journal_recover("/nonexistent/journal", 1, ignore_line, NULL, &tail), 0);
    assert_int_equal(tail.frames, 0);
}

static void test_files_follow_each_other(void **state)
{
    char data[4096];
    struct lines lines;
    write_file(0, 1, frames(data, sizeof data, 1, 5));
    write_file(0, 6, frames(data, sizeof data, 6, 16));
    write_file(0, 0x11, frames(data, sizeof data, 17, 20));
    write_file(3, 1, frames(data, sizeof data, 1, 2));
    write_file(300, 1, frames(data, sizeof data, 1, 9)); /* no worker of ours */
    struct journal_tail tail = recover(UINT64_MAX, &lines);
    assert_int_equal(tail.frames, 22);
    assert_int_equal(tail.gaps, 0);
    assert_int_equal(tail.damaged, 0);
    assert_int_equal(tail.next_sequence[0], 21);
    assert_int_equal(tail.next_sequence[3], 3);
    assert_int_equal(tail.next_sequence[1], 0);
    assert_string_equal(lines.text[0], "line 1");
    assert_string_equal(lines.text[19], "line 20");
}

static void test_torn_at_every_byte(void **state)
{
    char data[4096];
    struct lines lines;
    struct span whole = frames(data, sizeof data, 5, 9);
    size_t frame_len = whole.len / 5;
    assert_int_equal(frame_len * 5, whole.len);
    for (size_t len = 0; len <= whole.len; len++) {
        write_file(1, 5, span_first(whole, len));
        struct journal_tail tail = recover(UINT64_MAX, &lines);
        size_t frame_count = len / frame_len;
        uint64_t next = frame_count || len == 0 ? 5 + frame_count : 6;
        assert_int_equal(tail.frames, frame_count);
        assert_int_equal(tail.gaps, 0);
        assert_int_equal(tail.damaged, 0);
        assert_int_equal(tail.next_sequence[1], next);
    }
}

/* After a torn tail the next run's file continues with the sequence that was not whole. */
static void test_torn_then_continued(void **state)
{
    char data[4096];
    struct lines lines;
    struct span whole = frames(data, sizeof data, 1, 4);
    write_file(0, 1, span_first(whole, whole.len - 3));
    write_file(0, 4, frames(data, sizeof data, 4, 6));
    struct journal_tail tail = recover(UINT64_MAX, &lines);
    assert_int_equal(tail.frames, 6);
    assert_int_equal(tail.gaps, 0);
    assert_int_equal(tail.damaged, 0);
    assert_int_equal(tail.next_sequence[0], 7);
}

/* One flipped bit in the middle costs one frame, is counted, and hides nothing behind it. */
static void test_every_flip_in_the_middle(void **state)
{
    char data[4096];
    struct lines lines;
    struct span whole = frames(data, sizeof data, 1, 9);
    size_t frame_len = whole.len / 9;
    for (size_t bit = 4 * frame_len * 8; bit < 5 * frame_len * 8; bit += 3) {
        data[bit / 8] ^= (char)(1 << bit % 8);
        write_file(0, 1, whole);
        data[bit / 8] ^= (char)(1 << bit % 8);
        struct journal_tail tail = recover(UINT64_MAX, &lines);
        bool line_end = bit / 8 == 5 * frame_len - 1; /* its LF: the next frame goes with it */
        assert_int_equal(tail.frames, line_end ? 7 : 8);
        assert_int_equal(tail.gaps, 1);
        assert_int_equal(tail.damaged, 1);
        assert_int_equal(tail.next_sequence[0], 10);
    }
}

static void test_missing_frames_are_a_gap(void **state)
{
    char data[4096];
    struct lines lines;
    write_file(0, 1, frames(data, sizeof data, 1, 3));
    write_file(0, 8, frames(data, sizeof data, 8, 9));
    struct journal_tail tail = recover(UINT64_MAX, &lines);
    assert_int_equal(tail.frames, 5);
    assert_int_equal(tail.gaps, 1);
    assert_int_equal(tail.damaged, 0);
}

/* What a failed write left behind the frames that replaced its beginning. */
static void test_stale_frames_are_passed_over(void **state)
{
    char data[4096], old[4096];
    struct lines lines;
    struct span replaced = frames(old, sizeof old, 1, 8);
    struct span now = frames(data, sizeof data, 9, 11);
    memcpy(old, now.data, now.len);
    old[now.len] = 'x'; /* a torn piece between them */
    write_file(0, 1, replaced);
    struct journal_tail tail = recover(UINT64_MAX, &lines);
    assert_int_equal(tail.frames, 3);
    assert_string_equal(lines.text[2], "line 11");
    assert_int_equal(tail.damaged, 0);
    assert_int_equal(tail.next_sequence[0], 12);
}

static void test_only_the_tail(void **state)
{
    char data[4096];
    struct lines lines;
    write_file(0, 10, frames(data, sizeof data, 10, 18));
    struct span newest = frames(data, sizeof data, 19, 23);
    write_file(0, 19, newest);
    size_t frame_len = newest.len / 5;
    for (size_t tail_bytes = 1; tail_bytes < 9 * frame_len; tail_bytes++) {
        struct journal_tail tail = recover(tail_bytes, &lines);
        assert_true(tail.frames >= (tail_bytes - 1) / frame_len);
        assert_true(tail.frames <= tail_bytes / frame_len);
        assert_int_equal(tail.gaps, 0);
        assert_int_equal(tail.damaged, 0);
    }
}

/* Far more than one piece of the reader, with lines of all lengths. */
static void test_long_files(void **state)
{
    size_t capacity = 3 * JOURNAL_LINE_MAX;
    char *data = malloc(capacity), *line = malloc(JOURNAL_LINE_MAX);
    memset(line, 'x', JOURNAL_LINE_MAX);
    uint64_t sequence = 1;
    for (unsigned file = 0; file < 4; file++) {
        struct sink sink;
        uint64_t first = sequence;
        sink_init(&sink, data, capacity);
        size_t len = file == 2 ? JOURNAL_LINE_MAX : 0;
        while (journal_frame_write(&sink, sequence, span_of(line, len))) {
            sequence++;
            len = (len * 7 + 13) % 5000;
        }
        write_file(2, first, sink_span(&sink));
    }
    struct journal_tail tail;
    assert_int_equal(journal_recover(directory, UINT64_MAX, ignore_line, NULL, &tail), 0);
    assert_int_equal(tail.frames, sequence - 1);
    assert_int_equal(tail.gaps + tail.damaged, 0);
    assert_int_equal(tail.next_sequence[2], sequence);
    free(line);
    free(data);
}

/* A frame that declares [from, sequence] as lost, behind whatever stands in `data`. */
static struct span with_loss(char *data, size_t capacity, size_t len, uint64_t from,
                             uint64_t sequence)
{
    char line[256];
    struct sink sink, text;
    sink_init(&text, line, sizeof line);
    journal_loss_write(&text, from, sequence, 1795534000500);
    sink_init(&sink, data, capacity);
    sink.len = len;
    assert_true(journal_frame_write(&sink, sequence, sink_span(&text)));
    return sink_span(&sink);
}

static void test_a_declared_loss_is_no_gap(void **state)
{
    static const struct {
        uint64_t from, to;
        unsigned gaps;
    } cases[] = {{4, 9, 0}, {1, 9, 0}, {9, 9, 1}, {5, 9, 1}};
    for (unsigned i = 0; i < countof(cases); i++) {
        char data[4096];
        struct journal_scan scan = {0};
        struct span whole = frames(data, sizeof data, 1, 3);
        whole = with_loss(data, sizeof data, whole.len, cases[i].from, cases[i].to);
        journal_scan_bytes(&scan, whole, true, ignore_line, NULL);
        assert_int_equal(scan.frames, 4);
        assert_int_equal(scan.gaps, cases[i].gaps);
        assert_int_equal(scan.lost, cases[i].to - cases[i].from + 1);
        assert_int_equal(scan.next_sequence, cases[i].to + 1);
    }
}

static void test_what_is_no_declaration(void **state)
{
    static const char *const lines[] = {
        "",
        "{}",
        "{\"type\":\"Loss\",\"from\":}",
        "{\"type\":\"Loss\",\"from\":1}",
        "{\"type\":\"Loss\",\"from\":-1,\"to\":2,}",
        "{\"type\":\"Loss\",\"from\":1,\"to\":x,",
        "{\"type\":\"Delivery\",\"from\":1,\"to\":2,",
    };
    uint64_t from, to;
    for (unsigned i = 0; i < countof(lines); i++)
        assert_false(journal_loss_read(span_string(lines[i]), &from, &to));
}

/* Its beginning alone reached the disk: its sequence is used up, and the next run says so. */
static void test_a_file_of_a_torn_frame(void **state)
{
    char data[4096];
    struct lines lines;
    write_file(0, 1, frames(data, sizeof data, 1, 3));
    write_file(0, 4, span_first(frames(data, sizeof data, 4, 4), 20));
    struct journal_tail tail = recover(UINT64_MAX, &lines);
    assert_int_equal(tail.next_sequence[0], 5);
    assert_int_equal(tail.torn_from[0], 4);
    assert_int_equal(tail.gaps + tail.damaged, 0);
}

#define WITH_DIRECTORY(test) cmocka_unit_test_setup_teardown(test, make_directory, remove_directory)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frame_form),
        cmocka_unit_test(test_frame_needs_room),
        cmocka_unit_test(test_frame_cut_is_incomplete),
        cmocka_unit_test(test_frame_flip_is_damage),
        cmocka_unit_test(test_a_declared_loss_is_no_gap),
        cmocka_unit_test(test_what_is_no_declaration),
        WITH_DIRECTORY(test_a_file_of_a_torn_frame),
        cmocka_unit_test(test_no_directory_is_empty),
        WITH_DIRECTORY(test_files_follow_each_other),
        WITH_DIRECTORY(test_torn_at_every_byte),
        WITH_DIRECTORY(test_torn_then_continued),
        WITH_DIRECTORY(test_every_flip_in_the_middle),
        WITH_DIRECTORY(test_missing_frames_are_a_gap),
        WITH_DIRECTORY(test_stale_frames_are_passed_over),
        WITH_DIRECTORY(test_only_the_tail),
        WITH_DIRECTORY(test_long_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
