/* A disk that is full, and one that fails. The calls by which RocksDB writes are replaced in this
 * program (the dynamic linker gives the library ours), so that any of them can be made to fail. */
#include "queue/store.h"
#include "tests/unit/folder.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
/* cmocka wants the four above first */
#include <cmocka.h>

/* ---- faults ---- */

enum call { CALL_WRITE = 1, CALL_SYNC = 2 };

static struct {
    atomic_int calls; /* which fail */
    atomic_int error;
    atomic_int skip;              /* so many succeed first */
    _Atomic(const char *) suffix; /* of the files that are concerned */
} fault;

static void inject(int calls, int error, const char *suffix, int skip)
{
    atomic_store(&fault.suffix, suffix);
    atomic_store(&fault.error, error);
    atomic_store(&fault.skip, skip);
    atomic_store(&fault.calls, calls);
}

static void heal(void)
{
    atomic_store(&fault.calls, 0);
}

/* Whether this call on this file has to fail now; sets errno. */
static bool fails(enum call call, int fd)
{
    char link[64], path[1024];
    if (!(atomic_load(&fault.calls) & (int)call))
        return false;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, sizeof path - 1);
    const char *suffix = atomic_load(&fault.suffix);
    size_t suffix_len = strlen(suffix);
    if (len < 0 || !memmem(path, (size_t)len, "ringpost-test-", 14) || (size_t)len < suffix_len ||
        memcmp(path + len - suffix_len, suffix, suffix_len) != 0)
        return false;
    if (atomic_fetch_sub(&fault.skip, 1) > 0)
        return false;
    errno = atomic_load(&fault.error);
    return true;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* A disk that fills up takes the beginning of what is written. */
ssize_t write(int fd, const void *bytes, size_t len)
{
    if (!fails(CALL_WRITE, fd))
        return REAL(write)(fd, bytes, len);
    int error = errno;
    if (len > 1)
        return REAL(write)(fd, bytes, len / 2);
    errno = error;
    return -1;
}

ssize_t pwrite(int fd, const void *bytes, size_t len, off_t at)
{
    return fails(CALL_WRITE, fd) ? -1 : REAL(pwrite)(fd, bytes, len, at);
}

int fdatasync(int fd)
{
    return fails(CALL_SYNC, fd) ? -1 : REAL(fdatasync)(fd);
}

int fsync(int fd)
{
    return fails(CALL_SYNC, fd) ? -1 : REAL(fsync)(fd);
}

int sync_file_range(int fd, off64_t at, off64_t len, unsigned flags)
{
    return fails(CALL_SYNC, fd) ? -1 : REAL(sync_file_range)(fd, at, len, flags);
}

/* ---- a store ---- */

enum { VALUE_LEN = 20000 };

struct fixture {
    char folder[FOLDER_PATH], path[FOLDER_PATH + 8];
    struct store *store;
    struct store_batch *batch;
};

static int try_open(struct fixture *fixture, struct store_report *report)
{
    struct store_options options = {.path = fixture->path, .memory = 16 << 20};
    int result = store_open(&options, &fixture->store, report);
    fixture->batch = result == 0 ? store_batch_new(fixture->store) : NULL;
    return result;
}

static void close_store(struct fixture *fixture)
{
    fixture->batch = store_batch_free(fixture->batch);
    fixture->store = store_close(fixture->store);
}

static int begin(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    struct store_report report;
    folder_make(fixture->folder);
    snprintf(fixture->path, sizeof fixture->path, "%s/queue", fixture->folder);
    *state = fixture;
    return try_open(fixture, &report);
}

static int end(void **state)
{
    struct fixture *fixture = *state;
    heal();
    close_store(fixture);
    folder_remove(fixture->folder);
    free(fixture);
    return 0;
}

static void fill(char *value, unsigned number)
{
    for (size_t i = 0; i < VALUE_LEN; i++)
        value[i] = (char)(number * 13 + i);
}

static int put(struct fixture *fixture, unsigned number, bool sync)
{
    char key[16], value[VALUE_LEN];
    fill(value, number);
    struct span part = span_of(value, sizeof value);
    snprintf(key, sizeof key, "%08u", number);
    store_batch_clear(fixture->batch);
    store_batch_put(fixture->batch, FAMILY_BODY, span_string(key), &part, 1);
    return store_commit(fixture->store, fixture->batch, sync);
}

/* 1 and the right value, 0 absent, -errno. */
static int has(struct fixture *fixture, unsigned number)
{
    char key[16], value[VALUE_LEN];
    struct store_value found;
    fill(value, number);
    snprintf(key, sizeof key, "%08u", number);
    int result = store_get(fixture->store, FAMILY_BODY, span_string(key), &found);
    if (result != 1)
        return result;
    bool same = span_equals(found.span, span_of(value, sizeof value));
    store_value_release(&found);
    return same ? 1 : -EBADMSG;
}

static void reopen_clean(struct fixture *fixture)
{
    struct store_report report;
    close_store(fixture);
    assert_int_equal(try_open(fixture, &report), 0);
    assert_int_not_equal(report.recovery, STORE_LOG_DAMAGED);
}

/* ---- full ---- */

static void a_full_disk_refuses_and_is_revived(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(put(f, 1, true), 0);
    inject(CALL_WRITE, ENOSPC, ".log", 0);
    assert_int_equal(put(f, 2, true), -ENOSPC);
    assert_non_null(strstr(store_error(f->store), "No space left"));
    assert_int_equal(put(f, 3, true), -ENOSPC);
    assert_int_equal(has(f, 1), 1);
    heal();
    assert_int_equal(put(f, 3, true), -ENOSPC); /* not without a revival */
    assert_int_equal(store_revive(f->store), 0);
    assert_int_equal(put(f, 4, true), 0);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(has(f, 1), 1);
        assert_int_equal(has(f, 2), 0);
        assert_int_equal(has(f, 3), 0);
        assert_int_equal(has(f, 4), 1);
        reopen_clean(f);
    }
}

static void what_was_written_unsynced_survives_a_full_disk(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(put(f, 1, false), 0);
    inject(CALL_WRITE, ENOSPC, ".log", 0);
    assert_int_equal(put(f, 2, false), -ENOSPC);
    heal();
    assert_int_equal(store_revive(f->store), 0);
    assert_int_equal(has(f, 1), 1);
    reopen_clean(f);
    assert_int_equal(has(f, 1), 1);
    assert_int_equal(has(f, 2), 0);
}

/* The opening that a revival needs meets the full disk too, at one point or another. */
static void a_revival_may_fail_anywhere_and_be_repeated(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(put(f, 1, true), 0);
    unsigned failed = 0;
    for (int skip = 0; skip < 12; skip++) {
        inject(CALL_WRITE, ENOSPC, ".log", 0);
        assert_int_equal(put(f, 100, true), -ENOSPC);
        inject(CALL_WRITE, ENOSPC, "", skip);
        int result = store_revive(f->store);
        assert_true(result == 0 || result == -ENOSPC);
        failed += result == -ENOSPC;
        int found = has(f, 1);
        assert_true(found == 1 || (result < 0 && found == -EIO));
        heal();
        assert_int_equal(store_revive(f->store), 0);
        assert_int_equal(put(f, 2 + (unsigned)skip, true), 0);
    }
    assert_true(failed > 3);
    reopen_clean(f);
    assert_int_equal(has(f, 100), 0);
    for (unsigned number = 1; number < 14; number++)
        assert_int_equal(has(f, number), 1);
}

/* Tables are written in the background; that they cannot be shows in a later commit. */
static void a_disk_that_is_full_for_tables_refuses_and_is_revived(void **state)
{
    struct fixture *f = *state;
    unsigned number = 0;
    int result = 0;
    inject(CALL_WRITE, ENOSPC, ".sst", 0);
    while (result == 0 && number < 10000)
        result = put(f, number++, false);
    assert_int_equal(result, -ENOSPC);
    number--;
    heal();
    assert_int_equal(store_revive(f->store), 0);
    assert_int_equal(put(f, number, true), 0);
    for (unsigned i = 0; i <= number; i++)
        assert_int_equal(has(f, i), 1);
}

struct reader {
    struct fixture *fixture;
    atomic_bool stop;
    unsigned found, unavailable, wrong;
};

static void *read_on(void *context)
{
    struct reader *reader = context;
    while (!atomic_load(&reader->stop)) {
        struct span key, value;
        int result = has(reader->fixture, 1);
        struct store_scan *scan =
            store_scan_new(reader->fixture->store, FAMILY_BODY, SPAN(""), SPAN(""));
        int scanned = scan ? store_scan_next(scan, &key, &value) : -EIO;
        if (scanned == 1)
            reader->wrong += has(reader->fixture, 1) != 1; /* within a scan there is a handle */
        store_scan_free(scan);
        reader->found += result == 1;
        reader->unavailable += result == -EIO;
        reader->wrong += (result != 1 && result != -EIO) || (scanned != 1 && scanned != -EIO);
        usleep(200);
    }
    return NULL;
}

static void reads_go_on_while_the_handle_is_swapped(void **state)
{
    struct fixture *f = *state;
    struct reader readers[2] = {{.fixture = f}, {.fixture = f}};
    pthread_t threads[2];
    assert_int_equal(put(f, 1, true), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_on, &readers[i]), 0);
    for (int round = 0; round < 10; round++) {
        inject(CALL_WRITE, ENOSPC, ".log", 0);
        assert_int_equal(put(f, 2, true), -ENOSPC);
        heal();
        assert_int_equal(store_revive(f->store), 0);
    }
    for (int i = 0; i < 2; i++) {
        atomic_store(&readers[i].stop, true);
        pthread_join(threads[i], NULL);
        assert_int_equal(readers[i].wrong, 0);
        assert_int_equal(readers[i].unavailable, 0);
        assert_true(readers[i].found > 0);
    }
}

/* ---- broken ---- */

static void assert_dead(struct fixture *fixture)
{
    heal();
    assert_int_equal(put(fixture, 3, true), -EIO);
    assert_int_equal(put(fixture, 3, false), -EIO);
    assert_int_equal(store_revive(fixture->store), -EIO);
    assert_int_equal(has(fixture, 1), 1);
}

static void a_failed_sync_is_final(void **state)
{
    static const int errors[] = {EIO, ENOSPC, EDQUOT};
    for (size_t i = 0; i < countof(errors); i++) {
        struct fixture *f = *state;
        assert_int_equal(put(f, 1, true), 0);
        inject(CALL_SYNC, errors[i], ".log", 0);
        assert_int_equal(put(f, 2, true), -EIO);
        assert_dead(f);
        reopen_clean(f);
    }
}

static void a_failed_write_is_final(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(put(f, 1, true), 0);
    inject(CALL_WRITE, EIO, ".log", 0);
    assert_int_equal(put(f, 2, true), -EIO);
    assert_dead(f);
}

static void an_unsynced_write_is_lost_to_the_next_sync_that_fails(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(put(f, 1, true), 0);
    inject(CALL_SYNC, EIO, ".log", 0);
    assert_int_equal(put(f, 2, false), 0);
    store_batch_clear(f->batch);
    assert_int_equal(store_commit(f->store, f->batch, true), -EIO);
    assert_dead(f);
}

/* ---- opening ---- */

static void creation_on_a_full_disk_says_so_and_can_be_repeated(void **state)
{
    struct fixture *f = *state;
    struct store_report report;
    for (int skip = 0; skip < 30; skip += 3) {
        close_store(f);
        folder_remove(f->path);
        inject(CALL_WRITE, ENOSPC, "", skip);
        int result = try_open(f, &report);
        if (result < 0) {
            assert_int_equal(result, -ENOSPC);
            assert_non_null(strstr(report.message, "No space left"));
            heal();
            assert_int_equal(try_open(f, &report), 0);
        }
        heal();
        assert_int_equal(put(f, 1, true), 0);
        reopen_clean(f);
        assert_int_equal(has(f, 1), 1);
    }
}

static void a_repair_that_has_no_room_leaves_the_log_as_it_is(void **state)
{
    struct fixture *f = *state;
    struct store_report report;
    char log[FOLDER_PATH], copy[FOLDER_PATH + 16];
    for (unsigned number = 0; number < 4; number++)
        assert_int_equal(put(f, number, true), 0);
    snprintf(copy, sizeof copy, "%s/copy", f->folder);
    folder_copy(f->path, copy);
    close_store(f);
    folder_remove(f->path);
    assert_int_equal(rename(copy, f->path), 0);
    assert_true(folder_newest_log(f->path, log));
    int fd = open(log, O_RDWR | O_CLOEXEC);
    assert_int_equal(pwrite(fd, "rotten", 6, VALUE_LEN + 5000), 6);
    close(fd);

    inject(CALL_WRITE, ENOSPC, ".tmp", 0);
    assert_int_equal(try_open(f, &report), -ENOSPC);
    heal();
    assert_int_equal(folder_count(f->path, "salvage"), 0);
    assert_int_equal(try_open(f, &report), 0);
    assert_int_equal(report.recovery, STORE_LOG_DAMAGED);
    for (unsigned number = 0; number < 4; number++)
        assert_int_equal(has(f, number), number != 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_full_disk_refuses_and_is_revived),
        TEST(what_was_written_unsynced_survives_a_full_disk),
        TEST(a_revival_may_fail_anywhere_and_be_repeated),
        TEST(a_disk_that_is_full_for_tables_refuses_and_is_revived),
        TEST(reads_go_on_while_the_handle_is_swapped),
        TEST(a_failed_sync_is_final),
        TEST(a_failed_write_is_final),
        TEST(an_unsynced_write_is_lost_to_the_next_sync_that_fails),
        TEST(creation_on_a_full_disk_says_so_and_can_be_repeated),
        TEST(a_repair_that_has_no_room_leaves_the_log_as_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
