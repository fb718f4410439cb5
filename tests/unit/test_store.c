/* The store in normal use: batches, reads, scans, the lock, whose database it is. */
#include "queue/record.h"
#include "queue/store.h"
#include "tests/unit/folder.h"

#include <dlfcn.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
/* cmocka wants the four above first */
#include <cmocka.h>

struct fixture {
    char folder[FOLDER_PATH], path[FOLDER_PATH + 8];
    struct store *store;
    struct store_batch *batch;
};

static int try_open(const char *path, enum store_mode mode, struct store **ret_store,
                    struct store_report *report)
{
    struct store_options options = {.path = path, .mode = mode, .memory = 16 << 20};
    return store_open(&options, ret_store, report);
}

static void reopen(struct fixture *fixture, enum store_mode mode)
{
    struct store_report report;
    store_batch_free(fixture->batch);
    store_close(fixture->store);
    assert_int_equal(try_open(fixture->path, mode, &fixture->store, &report), 0);
    assert_int_equal(report.recovery, STORE_CLEAN);
    assert_false(report.created);
    fixture->batch = store_batch_new(fixture->store);
}

static int begin(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    struct store_report report;
    folder_make(fixture->folder);
    snprintf(fixture->path, sizeof fixture->path, "%s/queue", fixture->folder);
    if (try_open(fixture->path, STORE_READ_WRITE, &fixture->store, &report) < 0 || !report.created)
        return -1;
    fixture->batch = store_batch_new(fixture->store);
    *state = fixture;
    return 0;
}

static int end(void **state)
{
    struct fixture *fixture = *state;
    store_batch_free(fixture->batch);
    store_close(fixture->store);
    folder_remove(fixture->folder);
    free(fixture);
    return 0;
}

static void put(struct fixture *fixture, enum store_family family, const char *key,
                const char *value)
{
    struct span part = span_string(value);
    store_batch_put(fixture->batch, family, span_string(key), &part, 1);
}

static void commit(struct fixture *fixture, bool sync)
{
    assert_int_equal(store_commit(fixture->store, fixture->batch, sync), 0);
    store_batch_clear(fixture->batch);
}

static void assert_value(struct fixture *fixture, enum store_family family, const char *key,
                         const char *expected)
{
    struct store_value value;
    int found = store_get(fixture->store, family, span_string(key), &value);
    assert_int_equal(found, expected != NULL);
    if (!expected)
        return;
    assert_true(span_equals(value.span, span_string(expected)));
    store_value_release(&value);
}

static void families_are_apart_and_survive(void **state)
{
    struct fixture *f = *state;
    for (int family = 0; family < FAMILIES; family++)
        put(f, (enum store_family)family, "key", store_family_name((enum store_family)family));
    commit(f, true);
    for (int round = 0; round < 2; round++) {
        for (int family = 0; family < FAMILIES; family++)
            assert_value(f, (enum store_family)family, "key",
                         store_family_name((enum store_family)family));
        reopen(f, round ? STORE_READ_WRITE : STORE_READ_ONLY);
    }
}

static void a_batch_is_applied_in_order_and_as_a_whole(void **state)
{
    struct fixture *f = *state;
    put(f, FAMILY_ROW, "a", "1");
    put(f, FAMILY_ROW, "b", "1");
    commit(f, false);
    put(f, FAMILY_ROW, "a", "2");
    store_batch_delete(f->batch, FAMILY_ROW, SPAN("a"));
    store_batch_delete(f->batch, FAMILY_ROW, SPAN("b"));
    put(f, FAMILY_ROW, "b", "3");
    assert_value(f, FAMILY_ROW, "a", "1");
    commit(f, true);
    assert_value(f, FAMILY_ROW, "a", NULL);
    assert_value(f, FAMILY_ROW, "b", "3");
}

static void a_value_is_the_sum_of_its_parts(void **state)
{
    struct fixture *f = *state;
    static const unsigned counts[] = {0, 1, 2, 64, 65, 1000};
    for (size_t i = 0; i < countof(counts); i++) {
        struct span parts[1000];
        char expected[3001] = "";
        for (unsigned part = 0; part < counts[i]; part++) {
            parts[part] = part % 3 ? SPAN("abc") : SPAN("");
            strncat(expected, part % 3 ? "abc" : "", 3);
        }
        store_batch_put(f->batch, FAMILY_BODY, SPAN("key"), parts, counts[i]);
        assert_int_equal(store_batch_bytes(f->batch), 3 + strlen(expected));
        commit(f, false);
        assert_value(f, FAMILY_BODY, "key", expected);
    }
}

static void an_empty_batch_can_be_synced(void **state)
{
    struct fixture *f = *state;
    put(f, FAMILY_ROW, "a", "1");
    commit(f, false);
    commit(f, true);
    reopen(f, STORE_READ_WRITE);
    assert_value(f, FAMILY_ROW, "a", "1");
}

static void many_are_read_in_one_go(void **state)
{
    struct fixture *f = *state;
    enum { KEYS = 150 };
    char keys[KEYS][8];
    struct span spans[KEYS];
    struct store_value values[KEYS];
    int found[KEYS];
    for (unsigned i = 0; i < KEYS; i++) {
        snprintf(keys[i], sizeof keys[i], "%03u", (i * 37) % KEYS); /* not in order */
        spans[i] = span_string(keys[i]);
        if (i % 4)
            put(f, FAMILY_BODY, keys[i], keys[i]);
    }
    commit(f, true);
    for (int round = 0; round < 2; round++) {
        store_get_many(f->store, FAMILY_BODY, spans, KEYS, values, found);
        for (unsigned i = 0; i < KEYS; i++) {
            assert_int_equal(found[i], i % 4 != 0);
            assert_true(!found[i] || span_equals(values[i].span, spans[i]));
            store_value_release(&values[i]);
        }
        reopen(f, STORE_READ_WRITE); /* now from table files */
    }
    store_get_many(f->store, FAMILY_BODY, spans, 0, values, found);
}

/* ---- scans ---- */

static void assert_scan(struct fixture *fixture, const char *lower, const char *upper,
                        const char *expected)
{
    char seen[64] = "";
    struct span key, value;
    int found;
    struct store_scan *scan =
        store_scan_new(fixture->store, FAMILY_ROW, span_string(lower), span_string(upper));
    while ((found = store_scan_next(scan, &key, &value)) == 1)
        strncat(seen, key.data, key.len);
    assert_int_equal(found, 0);
    assert_int_equal(store_scan_next(scan, &key, &value), 0); /* stays at the end */
    store_scan_free(scan);
    assert_string_equal(seen, expected);
}

static void scans_keep_to_their_bounds(void **state)
{
    struct fixture *f = *state;
    for (const char *key = "bdfhj"; *key; key++) {
        char name[2] = {*key, 0};
        put(f, FAMILY_ROW, name, "");
        put(f, FAMILY_REF, name, "");
    }
    commit(f, true);
    static const struct {
        const char *lower, *upper, *expected;
    } cases[] = {
        {"", "", "bdfhj"}, {"b", "", "bdfhj"}, {"c", "", "dfhj"}, {"k", "", ""},
        {"", "b", ""},     {"", "bb", "b"},    {"d", "h", "df"},  {"d", "d", ""},
    };
    for (size_t i = 0; i < countof(cases); i++)
        assert_scan(f, cases[i].lower, cases[i].upper, cases[i].expected);
}

static void a_scan_sees_one_moment(void **state)
{
    struct fixture *f = *state;
    struct span key, value;
    put(f, FAMILY_ROW, "a", "");
    put(f, FAMILY_ROW, "b", "");
    commit(f, false);
    struct store_scan *scan = store_scan_new(f->store, FAMILY_ROW, SPAN(""), SPAN(""));
    store_batch_delete(f->batch, FAMILY_ROW, SPAN("b"));
    put(f, FAMILY_ROW, "c", "");
    commit(f, false);
    assert_value(f, FAMILY_ROW, "c", ""); /* reading besides the scan is well */
    assert_int_equal(store_scan_next(scan, &key, &value), 1);
    assert_int_equal(store_scan_next(scan, &key, &value), 1);
    assert_true(span_equals(key, SPAN("b")));
    assert_int_equal(store_scan_next(scan, &key, &value), 0);
    store_scan_free(scan);
}

/* ---- the lock, and whose database it is ---- */

static void one_process_has_it(void **state)
{
    struct fixture *f = *state;
    struct store *second = NULL;
    struct store_report report;
    assert_int_equal(try_open(f->path, STORE_READ_WRITE, &second, &report), -EBUSY);
    assert_int_equal(try_open(f->path, STORE_READ_ONLY, &second, &report), -EBUSY);
    assert_non_null(strstr(report.message, "in use"));
    reopen(f, STORE_READ_ONLY);
    assert_int_equal(try_open(f->path, STORE_READ_WRITE, &second, &report), -EBUSY);
    assert_int_equal(try_open(f->path, STORE_READ_ONLY, &second, &report), 0);
    store_close(second);
}

static void what_is_absent_is_not_made_by_reading(void **state)
{
    struct fixture *f = *state;
    struct store *store = NULL;
    struct store_report report;
    char path[FOLDER_PATH + 32];
    snprintf(path, sizeof path, "%s/none", f->folder);
    assert_int_equal(try_open(path, STORE_READ_ONLY, &store, &report), -ENOENT);
    mkdir(path, 0700);
    assert_int_equal(try_open(path, STORE_READ_ONLY, &store, &report), -ENOENT);
    assert_int_equal(folder_count(path, "CURRENT"), 0);
    snprintf(path, sizeof path, "%s/none/deeper/still", f->folder);
    assert_int_equal(try_open(path, STORE_READ_WRITE, &store, &report), -ENOENT);
}

static void a_newer_format_is_left_alone(void **state)
{
    struct fixture *f = *state;
    struct store *store = NULL;
    struct store_report report;
    char number[META_U64_LEN];
    struct span value = meta_u64_write(number, STORE_FORMAT + 1);
    store_batch_put(f->batch, FAMILY_META, SPAN(META_FORMAT), &value, 1);
    commit(f, true);
    store_batch_free(f->batch);
    f->batch = NULL;
    f->store = store_close(f->store);
    assert_int_equal(try_open(f->path, STORE_READ_WRITE, &store, &report), -EINVAL);
    assert_non_null(strstr(report.message, "format"));
    assert_int_equal(try_open(f->path, STORE_READ_ONLY, &store, &report), -EINVAL);
}

static void records_without_format_are_not_ours(void **state)
{
    struct fixture *f = *state;
    struct store *store = NULL;
    struct store_report report;
    put(f, FAMILY_BODY, "a", "1");
    store_batch_delete(f->batch, FAMILY_META, SPAN(META_FORMAT));
    commit(f, true);
    store_batch_free(f->batch);
    f->batch = NULL;
    f->store = store_close(f->store);
    assert_int_equal(try_open(f->path, STORE_READ_WRITE, &store, &report), -EINVAL);
}

static void an_interrupted_creation_is_finished(void **state)
{
    struct fixture *f = *state;
    struct store_report report;
    store_batch_delete(f->batch, FAMILY_META, SPAN(META_FORMAT));
    commit(f, true);
    store_batch_free(f->batch);
    store_close(f->store);
    assert_int_equal(try_open(f->path, STORE_READ_WRITE, &f->store, &report), 0);
    assert_true(report.created);
    f->batch = store_batch_new(f->store);
    reopen(f, STORE_READ_WRITE);
}

static void usage_counts_the_log(void **state)
{
    struct fixture *f = *state;
    struct store_usage before, after;
    static char value[100000];
    struct span part = span_of(value, sizeof value);
    store_usage(f->store, &before);
    store_batch_put(f->batch, FAMILY_BODY, SPAN("key"), &part, 1);
    commit(f, false);
    store_usage(f->store, &after);
    assert_true(after.log_bytes >= before.log_bytes + sizeof value);
    assert_true(after.memory_bytes > 0);
}

static void a_flush_leaves_nothing_to_replay(void **state)
{
    static const char value[100 * 1024];
    struct fixture *f = *state;
    struct store_usage usage;
    struct span part = span_of(value, sizeof value);
    store_batch_put(f->batch, FAMILY_BODY, SPAN("key"), &part, 1);
    put(f, FAMILY_ROW, "row", "1");
    commit(f, true);
    store_flush(f->store);
    store_usage(f->store, &usage);
    assert_true(usage.log_bytes < sizeof value);
    reopen(f, STORE_READ_WRITE);
    assert_value(f, FAMILY_ROW, "row", "1");
    store_flush(f->store); /* nothing to do */
    assert_value(f, FAMILY_ROW, "row", "1");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

/* What RocksDB finds under the name of its checksum is ours (store_shim.cc), and does the same: the
 * check value is that of RFC 3720's polynomial. */
static void test_checksum_is_by_instruction(void **state)
{
    void *found = dlsym(RTLD_DEFAULT, "_ZN7rocksdb6crc32c6ExtendEjPKcm");
    Dl_info info;
    assert_non_null(found);
    assert_true(dladdr(found, &info) != 0);
    assert_null(strstr(info.dli_fname, "librocksdb"));
    uint32_t (*extend)(uint32_t crc, const char *data, size_t len);
    memcpy(&extend, &found, sizeof extend);
    assert_int_equal(extend(extend(0, "12345", 5), "6789", 4), 0xe3069283);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_checksum_is_by_instruction),
        TEST(families_are_apart_and_survive),
        TEST(a_batch_is_applied_in_order_and_as_a_whole),
        TEST(a_value_is_the_sum_of_its_parts),
        TEST(an_empty_batch_can_be_synced),
        TEST(many_are_read_in_one_go),
        TEST(scans_keep_to_their_bounds),
        TEST(a_scan_sees_one_moment),
        TEST(one_process_has_it),
        TEST(what_is_absent_is_not_made_by_reading),
        TEST(a_newer_format_is_left_alone),
        TEST(records_without_format_are_not_ours),
        TEST(an_interrupted_creation_is_finished),
        TEST(usage_counts_the_log),
        TEST(a_flush_leaves_nothing_to_replay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
