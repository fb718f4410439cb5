/* What the store makes of a log that the machine did not finish writing, and of one that has
 * rotted.
 *
 * A database is written and copied while it is open, as a kill would leave it; the copy's log is
 * cut or changed, the copy is opened, and what is found is compared with what was acknowledged. */
#include "queue/store.h"
#include "tests/unit/folder.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/wait.h>
/* cmocka wants the four above first */
#include <cmocka.h>

enum { RECORDS = 40, VALUE_LEN = 700, LONG_LEN = 100 * 1000 };

struct fixture {
    char folder[FOLDER_PATH], original[FOLDER_PATH + 8], copy[FOLDER_PATH + 8];
    char log[FOLDER_PATH];   /* of the copy */
    off_t ends[RECORDS + 1]; /* of the log after each record */
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

static size_t short_len(unsigned record)
{
    return VALUE_LEN;
}

static size_t long_len(unsigned record)
{
    return LONG_LEN;
}

/* So that records end anywhere in a block and some fill several. */
static size_t mixed_len(unsigned record)
{
    return record % 5 == 4 ? 70000 + record % 200 : 200 + record % 200 * 97;
}

/* Writes `count` records and leaves a copy of the database as a kill would. */
static void begin(struct fixture *fixture, unsigned count, size_t (*len_of)(unsigned record))
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
        put(store, i, len_of(i));
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
    begin(&f, 3, short_len);
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
    begin(&f, 3, short_len);
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
    begin(&f, 3, short_len);
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
    begin(&f, RECORDS, short_len);
    damage_in_the_middle_alarms_and_loses_only_itself(&f, VALUE_LEN);
    end(&f);
}

static void a_flipped_bit_loses_one_long_record(void **state)
{
    struct fixture f;
    begin(&f, 10, long_len);
    damage_in_the_middle_alarms_and_loses_only_itself(&f, LONG_LEN);
    end(&f);
}

/* ---- anywhere ---- */

enum { MIXED = 24, TRIALS = 60, SECTOR = 512 };

/* Everything that the damage [from, to) does not touch is there. */
static void assert_rest_is_there(struct fixture *f, struct store *store, off_t from, off_t to,
                                 enum store_recovery recovery)
{
    for (unsigned i = 0; i < MIXED; i++) {
        bool touched = f->ends[i] < to && from < f->ends[i + 1];
        if (!touched && !has(store, i, mixed_len(i)))
            fail_msg("damage [%ld, %ld): record %u [%ld, %ld) is lost", (long)from, (long)to, i,
                     (long)f->ends[i], (long)f->ends[i + 1]);
    }
    if (to <= f->ends[MIXED - 1])
        assert_int_equal(recovery, STORE_LOG_DAMAGED);
}

static void damage_anywhere_loses_only_what_it_hits(void **state)
{
    struct fixture f;
    char path[FOLDER_PATH + 8];
    begin(&f, MIXED, mixed_len);
    srand(1);
    for (int trial = 0; trial < TRIALS; trial++) {
        static const char zeros[SECTOR];
        struct store_report report;
        off_t span = f.ends[MIXED] - f.ends[0] - SECTOR;
        off_t from = f.ends[0] + rand() % span, to = from + (trial % 3 ? 1 : SECTOR);
        fresh_copy(&f, f.copy);
        if (trial % 3)
            flip_bit(f.log, from);
        else
            overwrite(f.log, from, zeros, SECTOR);
        struct store *store = open_store(work_path(&f, path), STORE_READ_WRITE, &report);
        assert_rest_is_there(&f, store, from, to, report.recovery);
        put(store, MIXED, 100);
        store_close(store);
        store = open_store(path, STORE_READ_WRITE, &report);
        assert_int_equal(report.recovery, STORE_CLEAN);
        assert_true(has(store, MIXED, 100));
        store_close(store);
    }
    end(&f);
}

/* A mail may hold the bytes of a log. When its own frame is damaged, they are not taken for one. */
static void a_log_inside_of_a_damaged_record_is_not_replayed(void **state)
{
    struct fixture f;
    struct store_report report;
    char path[FOLDER_PATH + 8], inner[FOLDER_PATH];
    static char bytes[20000];
    begin(&f, 10, short_len);
    assert_true(folder_newest_log(f.copy, inner));
    int fd = open(inner, O_RDONLY | O_CLOEXEC);
    ssize_t len = pread(fd, bytes, (size_t)(f.ends[10] - f.ends[0]), f.ends[0]);
    close(fd);

    struct store *store = open_store(f.copy, STORE_READ_WRITE, &report);
    char log[FOLDER_PATH];
    struct span part = span_of(bytes, (size_t)len);
    struct store_batch *batch = store_batch_new(store);
    for (unsigned i = 0; i < 10; i++) { /* the inner log would bring these back */
        unsigned char key[4] = {0, 0, 0, (unsigned char)i};
        store_batch_delete(batch, i % 2 ? FAMILY_FRESH : FAMILY_ROW, span_of(key, 4));
    }
    assert_int_equal(store_commit(store, batch, true), 0);
    store_batch_clear(batch);
    assert_true(folder_newest_log(f.copy, log));
    off_t at = size_of(log);
    store_batch_put(batch, FAMILY_BODY, SPAN("mail"), &part, 1);
    assert_int_equal(store_commit(store, batch, true), 0);
    store_batch_free(batch);
    put(store, 20, VALUE_LEN);
    char killed[FOLDER_PATH + 16];
    snprintf(killed, sizeof killed, "%s/killed", f.folder);
    folder_copy(f.copy, killed);
    store_close(store);

    static const off_t hits[] = {0, 4, 5, 6, 20}; /* checksum, length, type, payload */
    for (size_t i = 0; i < countof(hits); i++) {
        fresh_copy(&f, killed);
        flip_bit(f.log, at + hits[i]);
        store = open_store(work_path(&f, path), STORE_READ_WRITE, &report);
        assert_int_equal(report.recovery, STORE_LOG_DAMAGED);
        for (unsigned record = 0; record < 10; record++)
            assert_false(has(store, record, VALUE_LEN));
        assert_true(has(store, 20, VALUE_LEN));
        store_close(store);
    }
    end(&f);
}

/* ---- several logs ---- */

static unsigned count_logs(const char *path)
{
    unsigned count = 0;
    DIR *dir = opendir(path);
    struct dirent *entry;
    while ((entry = readdir(dir)))
        count += strstr(entry->d_name, ".log") != NULL;
    closedir(dir);
    return count;
}

static void begin_several_logs(struct fixture *f, unsigned *ret_records, char first[FOLDER_PATH])
{
    struct store_report report;
    begin(f, 0, long_len);
    folder_remove(f->copy);
    struct store *store = open_store(f->original, STORE_READ_WRITE, &report);
    unsigned records = 0;
    while (count_logs(f->original) < 2 && records < 1000)
        put(store, records++, LONG_LEN);
    for (unsigned i = 0; i < 5; i++)
        put(store, records++, LONG_LEN);
    folder_copy(f->original, f->copy);
    assert_true(count_logs(f->copy) >= 2);
    store_close(store);
    *ret_records = records;
    struct dirent **entries;
    int count = scandir(f->copy, &entries, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        if (strstr(entries[i]->d_name, ".log") && !first[0])
            snprintf(first, FOLDER_PATH, "%s", entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
}

static void an_older_log_that_ends_early_is_damage(void **state)
{
    struct fixture f;
    struct store_report report;
    char path[FOLDER_PATH + 8], first[FOLDER_PATH] = "", log[2 * FOLDER_PATH];
    unsigned records, lost = 0;
    begin_several_logs(&f, &records, first);
    fresh_copy(&f, f.copy);
    snprintf(log, sizeof log, "%s/%s", work_path(&f, path), first);
    assert_int_equal(truncate(log, size_of(log) - 1000), 0);
    struct store *store = open_store(path, STORE_READ_WRITE, &report);
    assert_int_equal(report.recovery, STORE_LOG_DAMAGED);
    for (unsigned i = 0; i < records; i++)
        lost += !has(store, i, LONG_LEN);
    assert_true(lost <= 1);
    store_close(store);
    end(&f);
}

static void a_torn_tail_behind_older_logs_is_torn(void **state)
{
    struct fixture f;
    struct store_report report;
    char path[FOLDER_PATH + 8], first[FOLDER_PATH] = "";
    unsigned records;
    begin_several_logs(&f, &records, first);
    fresh_copy(&f, f.copy);
    assert_int_equal(truncate(f.log, size_of(f.log) - 1000), 0);
    struct store *store = open_store(work_path(&f, path), STORE_READ_WRITE, &report);
    assert_int_equal(report.recovery, STORE_TORN_TAIL);
    for (unsigned i = 0; i + 1 < records; i++)
        assert_true(has(store, i, LONG_LEN));
    store_close(store);
    end(&f);
}

/* ---- what is set aside ---- */

static void only_the_newest_sets_of_logs_are_kept(void **state)
{
    struct fixture f;
    struct store_report report;
    char path[FOLDER_PATH + 8], name[2 * FOLDER_PATH];
    begin(&f, 3, short_len);
    fresh_copy(&f, f.copy);
    work_path(&f, path);
    for (int set = 1; set <= 6; set++) {
        snprintf(name, sizeof name, "%s/aside-%016d", path, set);
        mkdir(name, 0700);
        snprintf(name, sizeof name, "%s/aside-%016d/000007.log", path, set);
        file_copy(f.log, name);
    }
    flip_bit(f.log, f.ends[3] - 20);
    struct store *store = open_store(path, STORE_READ_WRITE, &report);
    assert_int_equal(report.recovery, STORE_TORN_TAIL);
    assert_int_equal(folder_count(path, "aside-"), 4);
    assert_int_equal(folder_count(path, "aside-0000000000000003"), 0);
    assert_int_equal(folder_count(path, "aside-0000000000000004"), 1);
    store_close(store);
    end(&f);
}

/* ---- kill -9 ---- */

/* Commits for ever, and tells of each commit that was synced. */
static void write_until_killed(const char *path, int acknowledge)
{
    struct store_options options = {.path = path, .memory = 16 << 20};
    struct store_report report;
    struct store *store = NULL;
    if (store_open(&options, &store, &report) < 0)
        _exit(1);
    for (unsigned record = 0;; record++) {
        put(store, record, mixed_len(record));
        if (write(acknowledge, &record, sizeof record) != sizeof record)
            _exit(1);
    }
}

/* Kills the writer after about `records`; returns how many it has acknowledged. */
static unsigned run_and_kill(const char *path, unsigned records)
{
    int ends[2];
    unsigned record, acknowledged = 0;
    assert_int_equal(pipe(ends), 0);
    pid_t writer = fork();
    if (writer == 0) {
        close(ends[0]);
        write_until_killed(path, ends[1]);
    }
    close(ends[1]);
    while (read(ends[0], &record, sizeof record) == sizeof record)
        if ((acknowledged = record + 1) == records)
            kill(writer, SIGKILL);
    close(ends[0]);
    waitpid(writer, NULL, 0);
    return acknowledged;
}

static void what_was_acknowledged_survives_a_kill(void **state)
{
    char folder[FOLDER_PATH], path[FOLDER_PATH + 8];
    folder_make(folder);
    snprintf(path, sizeof path, "%s/a", folder);
    for (unsigned round = 0; round < 8; round++) {
        struct store_report report;
        folder_remove(path);
        unsigned acknowledged = run_and_kill(path, 3 + round * 29);
        assert_true(acknowledged >= 3 + round * 29);
        struct store *store = open_store(path, STORE_READ_WRITE, &report);
        assert_int_not_equal(report.recovery, STORE_LOG_DAMAGED);
        for (unsigned i = 0; i < acknowledged; i++)
            assert_true(has(store, i, mixed_len(i)));
        store_close(store);
    }
    folder_remove(folder);
}

/* ---- reading only ---- */

static void reading_only_says_the_same_and_changes_nothing(void **state)
{
    struct fixture f;
    struct store_report report;
    char path[FOLDER_PATH + 8];
    begin(&f, 5, short_len);
    for (int torn = 0; torn < 2; torn++) {
        fresh_copy(&f, f.copy);
        flip_bit(f.log, torn ? f.ends[5] - 20 : f.ends[1] + 100);
        off_t size = size_of(f.log);
        struct store *store = open_store(work_path(&f, path), STORE_READ_ONLY, &report);
        assert_int_equal(report.recovery, torn ? STORE_TORN_TAIL : STORE_LOG_DAMAGED);
        assert_true(has(store, 0, VALUE_LEN));
        store_close(store);
        assert_int_equal(size_of(f.log), size);
        assert_int_equal(folder_count(path, "aside-"), 0);
        store = open_store(path, STORE_READ_WRITE, &report);
        assert_int_equal(report.recovery, torn ? STORE_TORN_TAIL : STORE_LOG_DAMAGED);
        store_close(store);
    }
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
        cmocka_unit_test(damage_anywhere_loses_only_what_it_hits),
        cmocka_unit_test(a_log_inside_of_a_damaged_record_is_not_replayed),
        cmocka_unit_test(an_older_log_that_ends_early_is_damage),
        cmocka_unit_test(a_torn_tail_behind_older_logs_is_torn),
        cmocka_unit_test(only_the_newest_sets_of_logs_are_kept),
        cmocka_unit_test(what_was_acknowledged_survives_a_kill),
        cmocka_unit_test(reading_only_says_the_same_and_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
