/* What the store makes of a log that the machine did not finish writing, and of one that has rotted.
 *
 * A database is written and copied while it is open, as a kill would leave it; the copy's log is cut
 * or changed, the copy is opened, and what is found is compared with what was acknowledged. */
#include "queue/store.h"
#include "tests/unit/folder.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
/* cmocka wants the four above first */
#include <cmocka.h>

enum { RECORDS = 40, VALUE_LEN = 700, LONG_LEN = 100 * 1000 };

struct fixture {
    char folder[FOLDER_PATH], original[FOLDER_PATH + 8], copy[FOLDER_PATH + 8];
    char log[FOLDER_PATH];     /* of the copy */
    off_t ends[RECORDS + 1];   /* of the log after each record */
    unsigned records;
};

static void fill(char *value, size_t len, unsigned record)
{
    for (size_t i = 0; i < len; i++)
        value[i] = (char)(record * 31 + i * 7);
}

static off_t size_of(const char *path)
{
    struct stat status;
    return stat(path, &status) < 0 ? -1 : status.st_size;
}

static struct store *open_store(const char *path, enum store_mode mode, struct store_report *report)
{
    struct store_options options = {.path = path, .mode = mode, .memory = 16 << 20};
    struct store *store = NULL;
    int result = store_open(&options, &store, report);
    if (result < 0)
        fprintf(stderr, "open: %d %s\n", result, report->message);
    assert_int_equal(result, 0);
    return store;
}

static void put(struct store *store, unsigned record, size_t len)
{
    static char value[LONG_LEN];
    unsigned char key[4] = {0, 0, (unsigned char)(record >> 8), (unsigned char)record};
    fill(value, len, record);
    struct span part = span_of(value, len);
    struct store_batch *batch = store_batch_new(store);
    store_batch_put(batch, record % 2 ? FAMILY_FRESH : FAMILY_ROW, span_of(key, 4), &part, 1);
    assert_int_equal(store_commit(store, batch, true), 0);
    store_batch_free(batch);
}

static bool has(struct store *store, unsigned record, size_t len)
{
    static char value[LONG_LEN];
    unsigned char key[4] = {0, 0, (unsigned char)(record >> 8), (unsigned char)record};
    struct store_value found;
    fill(value, len, record);
    if (store_get(store, record % 2 ? FAMILY_FRESH : FAMILY_ROW, span_of(key, 4), &found) != 1)
        return false;
    bool same = span_equals(found.span, span_of(value, len));
    store_value_release(&found);
    assert_true(same);
    return true;
}

/* Writes `count` records and leaves a copy of the database as a kill would. */
static void begin(struct fixture *fixture, unsigned count, size_t len)
{
    struct store_report report;
    char log[FOLDER_PATH];
    folder_make(fixture->folder);
    snprintf(fixture->original, sizeof fixture->original, "%s/a", fixture->folder);
    snprintf(fixture->copy, sizeof fixture->copy, "%s/b", fixture->folder);
    struct store *store = open_store(fixture->original, STORE_READ_WRITE, &report);
    assert_true(report.created);
    assert_true(folder_newest_log(fixture->original, log));
    fixture->ends[0] = size_of(log);
    fixture->records = count;
    for (unsigned i = 0; i < count; i++) {
        put(store, i, len);
        fixture->ends[i + 1] = size_of(log);
    }
    folder_copy(fixture->original, fixture->copy);
    store_close(store);
}

static void fresh_copy(struct fixture *fixture, const char *master)
{
    char work[FOLDER_PATH + 8];
    snprintf(work, sizeof work, "%s/w", fixture->folder);
    folder_remove(work);
    folder_copy(master, work);
    assert_true(folder_newest_log(work, fixture->log));
}

static char *work_path(struct fixture *fixture, char path[FOLDER_PATH + 8])
{
    snprintf(path, FOLDER_PATH + 8, "%s/w", fixture->folder);
    return path;
}

static void end(struct fixture *fixture)
{
    folder_remove(fixture->folder);
}

static void overwrite(const char *path, off_t at, const void *bytes, size_t len)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, bytes, len, at), (ssize_t)len);
    close(fd);
}

static void flip_bit(const char *path, off_t at)
{
    unsigned char byte;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= 0x10;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

/* ---- torn tails ---- */

static void a_cut_log_keeps_all_whole_records(void **state)
{
    struct fixture f;
    char path[FOLDER_PATH + 8];
    begin(&f, 3, VALUE_LEN);
    for (off_t cut = f.ends[2]; cut < f.ends[3]; cut += 37) {
        struct store_report report;
        fresh_copy(&f, f.copy);
        assert_int_equal(truncate(f.log, cut), 0);
        struct store *store = open_store(work_path(&f, path), STORE_READ_WRITE, &report);
        assert_int_not_equal(report.recovery, STORE_LOG_DAMAGED);
        assert_true(has(store, 0, VALUE_LEN) && has(store, 1, VALUE_LEN));
        assert_false(has(store, 2, VALUE_LEN));
        put(store, 3, VALUE_LEN);
        store_close(store);
        store = open_store(path, STORE_READ_WRITE, &report);
        assert_int_equal(report.recovery, STORE_CLEAN);
        assert_true(has(store, 1, VALUE_LEN) && has(store, 3, VALUE_LEN));
        store_close(store);
    }
    end(&f);
}

/* Power was lost: the file has its length, but the last pages were never written. */
static void a_tail_of_zeros_or_noise_is_torn(void **state)
{
    struct fixture f;
    char path[FOLDER_PATH + 8];
    begin(&f, 3, VALUE_LEN);
    for (int noise = 0; noise < 2; noise++)
        for (off_t from = f.ends[2]; from < f.ends[3]; from += 101) {
            struct store_report report;
            char bytes[4096];
            size_t len = (size_t)(f.ends[3] - from) + (noise ? 0 : 1500);
            memset(bytes, 0, sizeof bytes);
            for (size_t i = 0; noise && i < len; i++)
                bytes[i] = (char)(i * 197 + 5);
            fresh_copy(&f, f.copy);
            overwrite(f.log, from, bytes, len);
            struct store *store = open_store(work_path(&f, path), STORE_READ_WRITE, &report);
            assert_int_not_equal(report.recovery, STORE_LOG_DAMAGED);
            assert_true(has(store, 0, VALUE_LEN) && has(store, 1, VALUE_LEN));
            store_close(store);
        }
    end(&f);
}

static void a_torn_tail_says_so_and_keeps_the_log(void **state)
{
    struct fixture f;
    struct store_report report;
    char path[FOLDER_PATH + 8];
    begin(&f, 3, VALUE_LEN);
    fresh_copy(&f, f.copy);
    flip_bit(f.log, f.ends[3] - 20);
    struct store *store = open_store(work_path(&f, path), STORE_READ_WRITE, &report);
    assert_int_equal(report.recovery, STORE_TORN_TAIL);
    assert_non_null(strstr(report.message, "never finished"));
    assert_int_equal(folder_count(path, "aside-"), 1);
    store_close(store);
    store = open_store(path, STORE_READ_WRITE, &report);
    assert_int_equal(report.recovery, STORE_CLEAN);
    assert_string_equal(report.message, "");
    store_close(store);
    end(&f);
}

/* ---- rot ---- */

static void damage_in_the_middle_alarms_and_loses_only_itself(struct fixture *f, size_t len)
{
    char path[FOLDER_PATH + 8];
    for (unsigned hit = 0; hit + 1 < f->records; hit += 3) {
        struct store_report report;
        fresh_copy(f, f->copy);
        flip_bit(f->log, (f->ends[hit] + f->ends[hit + 1]) / 2);
        struct store *store = open_store(work_path(f, path), STORE_READ_WRITE, &report);
        if (report.recovery != STORE_LOG_DAMAGED)
            fprintf(stderr, "hit %u: recovery %d\n", hit, report.recovery);
        assert_int_equal(report.recovery, STORE_LOG_DAMAGED);
        assert_non_null(strstr(report.message, "DAMAGED"));
        for (unsigned i = 0; i < f->records; i++)
            if (has(store, i, len) != (i != hit))
                fprintf(stderr, "hit %u: record %u is %s\n", hit, i, i == hit ? "there" : "lost");
        for (unsigned i = 0; i < f->records; i++)
            assert_int_equal(has(store, i, len), i != hit);
        store_close(store);
        store = open_store(path, STORE_READ_WRITE, &report);
        assert_int_equal(report.recovery, STORE_CLEAN);
        store_close(store);
    }
}

static void a_flipped_bit_loses_one_small_record(void **state)
{
    struct fixture f;
    begin(&f, RECORDS, VALUE_LEN);
    damage_in_the_middle_alarms_and_loses_only_itself(&f, VALUE_LEN);
    end(&f);
}

static void a_flipped_bit_loses_one_long_record(void **state)
{
    struct fixture f;
    begin(&f, 10, LONG_LEN);
    damage_in_the_middle_alarms_and_loses_only_itself(&f, LONG_LEN);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cut_log_keeps_all_whole_records),
        cmocka_unit_test(a_tail_of_zeros_or_noise_is_torn),
        cmocka_unit_test(a_torn_tail_says_so_and_keeps_the_log),
        cmocka_unit_test(a_flipped_bit_loses_one_small_record),
        cmocka_unit_test(a_flipped_bit_loses_one_long_record),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
