/* Grouping without a disk: a store that writes down what it is given stands in at link time. */
#include "core/clock.h"
#include "queue/committer.h"
#include "queue/record.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
/* cmocka wants the four above first */
#include <cmocka.h>

/* ---- the store that writes down ---- */

struct store {
    char story[1 << 14]; /* "+family:key=value " and "-family:key ", then "|" or "! " if synced */
    size_t groups, bytes_max;
    int commit_result, revive_result;
};

struct store_batch {
    struct store *store;
    struct sink sink;
    char story[1 << 12];
    size_t bytes;
};

struct store_batch *store_batch_new(struct store *store)
{
    struct store_batch *batch = calloc(1, sizeof *batch);
    batch->store = store;
    store_batch_clear(batch);
    return batch;
}

struct store_batch *store_batch_free(struct store_batch *batch)
{
    free(batch);
    return NULL;
}

void store_batch_clear(struct store_batch *batch)
{
    sink_init(&batch->sink, batch->story, sizeof batch->story);
    batch->bytes = 0;
}

static void put_key(struct store_batch *batch, char sign, enum store_family family, struct span key)
{
    sink_format(&batch->sink, "%c%d:", sign, family);
    if (family == FAMILY_FRESH)
        sink_format(&batch->sink, "#%d", key.data[key.len - 1]);
    else
        sink_put(&batch->sink, key);
}

void store_batch_put(struct store_batch *batch, enum store_family family, struct span key,
                     const struct span *parts, unsigned part_count)
{
    batch->bytes += key.len;
    put_key(batch, '+', family, key);
    sink_byte(&batch->sink, '=');
    for (unsigned i = 0; i < part_count; i++) {
        sink_put(&batch->sink, span_first(parts[i], 8));
        batch->bytes += parts[i].len;
    }
    sink_byte(&batch->sink, ' ');
}

void store_batch_delete(struct store_batch *batch, enum store_family family, struct span key)
{
    put_key(batch, '-', family, key);
    sink_byte(&batch->sink, ' ');
}

size_t store_batch_bytes(const struct store_batch *batch)
{
    return batch->bytes;
}

int store_commit(struct store *store, struct store_batch *batch, bool sync)
{
    if (store->commit_result < 0)
        return store->commit_result;
    assert_false(batch->sink.full);
    strncat(store->story, batch->story, batch->sink.len);
    strcat(store->story, sync ? "! " : "| ");
    store->groups++;
    if (batch->bytes > store->bytes_max)
        store->bytes_max = batch->bytes;
    return 0;
}

int store_revive(struct store *store)
{
    return store->revive_result;
}

/* ---- the cases' tools ---- */

enum { COMMITS = 64 };

struct fixture {
    struct store store;
    struct committer committer;
    struct loop home;
    struct chunk_pool pool;
    struct arena arena;
    struct commit commits[COMMITS];
    unsigned count;
};

static int begin(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    chunk_pool_init(&fixture->pool, 1 << 26, 0);
    arena_init(&fixture->arena, &fixture->pool, 1 << 26);
    *state = fixture;
    return committer_init(&fixture->committer, &fixture->store, 5);
}

static int end(void **state)
{
    struct fixture *fixture = *state;
    committer_fini(&fixture->committer);
    arena_fini(&fixture->arena);
    chunk_pool_fini(&fixture->pool);
    free(fixture);
    return 0;
}

static struct commit *commit_new(struct fixture *f, enum commit_urgency urgency, uint64_t now_ns)
{
    struct commit *commit = &f->commits[f->count++];
    commit_init(commit, &f->home, urgency, NULL);
    commit->submitted_ns = now_ns;
    return commit;
}

static void put(struct fixture *f, struct commit *commit, enum store_family family, const char *key,
                const char *value)
{
    struct span part = span_string(value);
    assert_true(commit_put(commit, &f->arena, family, span_string(key), &part, 1));
}

static void delete (struct fixture *f, struct commit *commit, enum store_family family,
                    const char *key)
{
    assert_true(commit_delete(commit, &f->arena, family, span_string(key)));
}

/* Adds a commit of one put with a value of `len` bytes. */
static struct commit *add(struct fixture *f, enum commit_urgency urgency, uint64_t now_ns,
                          size_t len)
{
    struct commit *commit = commit_new(f, urgency, now_ns);
    char *value = calloc(1, len + 1), key[8];
    memset(value, 'x', len);
    struct span copy;
    assert_true(arena_copy(&f->arena, span_of(value, len), &copy));
    free(value);
    snprintf(key, sizeof key, "%u", f->count);
    assert_true(commit_put(commit, &f->arena, FAMILY_ROW, span_string(key), &copy, 1));
    committer_add(&f->committer, commit);
    return commit;
}

static unsigned chain_length(const struct commit *chain)
{
    unsigned length = 0;
    for (; chain; chain = chain->next)
        length++;
    return length;
}

#define MS(count) ((uint64_t)(count)*NS_PER_MS)

/* ---- grouping ---- */

static void a_group_is_sorted_and_keeps_the_order_per_key(void **state)
{
    struct fixture *f = *state;
    struct commit *a = commit_new(f, COMMIT_SYNC, MS(1)), *b = commit_new(f, COMMIT_SYNC, MS(1));
    put(f, a, FAMILY_ROW, "k2", "a");
    put(f, a, FAMILY_BODY, "k9", "a");
    put(f, a, FAMILY_ROW, "k1", "a");
    delete (f, b, FAMILY_ROW, "k2");
    put(f, b, FAMILY_ROW, "k", "b");
    put(f, b, FAMILY_ROW, "k2", "b");
    delete (f, b, FAMILY_ROW, "k1");
    committer_add(&f->committer, a);
    committer_add(&f->committer, b);
    struct commit *done = committer_step(&f->committer, MS(1), false);
    assert_ptr_equal(done, a);
    assert_ptr_equal(done->next, b);
    assert_null(b->next);
    assert_string_equal(f->store.story, "+1:k9=a +2:k=b +2:k1=a -2:k1 +2:k2=a -2:k2 +2:k2=b ! ");
}

static void any_number_of_mutations_is_sorted_stably(void **state)
{
    struct fixture *f = *state;
    for (unsigned count = 0; count < 40; count++) {
        struct commit *commit = &f->commits[0];
        char expected[1024] = "", piece[32];
        commit_init(commit, &f->home, COMMIT_SYNC, NULL);
        f->store.story[0] = '\0';
        for (unsigned i = 0; i < count; i++) {
            char key[2] = {(char)('a' + i * 7 % 5), 0}, value[2] = {(char)('0' + i), 0};
            struct span part;
            assert_true(arena_copy(&f->arena, span_string(value), &part));
            assert_true(commit_put(commit, &f->arena, FAMILY_ROW, span_string(key), &part, 1));
        }
        for (unsigned k = 0; k < 5; k++)
            for (unsigned i = 0; i < count; i++)
                if (i * 7 % 5 == k) {
                    snprintf(piece, sizeof piece, "+2:%c=%c ", 'a' + k, '0' + i);
                    strcat(expected, piece);
                }
        strcat(expected, "! ");
        committer_add(&f->committer, commit);
        assert_ptr_equal(committer_step(&f->committer, MS(count * 10 + 1), false), commit);
        assert_string_equal(f->store.story, expected);
    }
}

static void fresh_records_get_the_next_sequence(void **state)
{
    struct fixture *f = *state;
    struct commit *a = commit_new(f, COMMIT_SYNC, MS(1)), *b = commit_new(f, COMMIT_SYNC, MS(1));
    struct commit *c = commit_new(f, COMMIT_SYNC, MS(1));
    char key[32];
    put(f, a, FAMILY_FRESH, "", "a");
    put(f, b, FAMILY_FRESH, "", "b");
    struct span old = fresh_key(key, 3);
    assert_true(commit_delete(c, &f->arena, FAMILY_FRESH, old));
    committer_add(&f->committer, a);
    committer_add(&f->committer, b);
    committer_add(&f->committer, c);
    assert_non_null(committer_step(&f->committer, MS(1), false));
    assert_int_equal(a->sequence, 6); /* one is left out at the beginning of a group */
    assert_int_equal(b->sequence, 7);
    assert_int_equal(f->committer.next_sequence, 8);
    assert_string_equal(f->store.story, "-0:#3 +0:#6=a +0:#7=b ! ");
}

static void commits_know_their_group_and_what_is_synced(void **state)
{
    struct fixture *f = *state;
    struct commit *written = commit_new(f, COMMIT_WRITTEN, MS(1));
    put(f, written, FAMILY_ROW, "k", "v");
    committer_add(&f->committer, written);
    assert_ptr_equal(committer_step(&f->committer, MS(20), false), written);
    assert_int_equal(written->group, 1);
    assert_int_equal(atomic_load(&f->committer.synced), 0);

    struct commit *synced = commit_new(f, COMMIT_SYNC, MS(22));
    put(f, synced, FAMILY_ROW, "l", "v");
    committer_add(&f->committer, synced);
    assert_ptr_equal(committer_step(&f->committer, MS(22), false), synced);
    assert_int_equal(synced->group, 2);
    assert_int_equal(atomic_load(&f->committer.synced), 2);
}

static void a_group_ends_at_about_a_megabyte(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < 10; i++)
        add(f, COMMIT_SYNC, MS(1), 300 * 1000);
    add(f, COMMIT_SYNC, MS(1), 3000 * 1000);
    add(f, COMMIT_SYNC, MS(1), 10);
    static const unsigned lengths[] = {3, 3, 3, 1, 1, 1};
    for (size_t i = 0; i < countof(lengths); i++)
        assert_int_equal(chain_length(committer_step(&f->committer, MS(1), true)), lengths[i]);
    assert_null(committer_step(&f->committer, MS(1), true));
    assert_int_equal(f->committer.waiting_bytes, 0);
    assert_int_equal(f->committer.waiting_sync, 0);
}

/* ---- when ---- */

static void nothing_is_due_when_nothing_waits(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(committer_due_ns(&f->committer, MS(1)), UINT64_MAX);
    assert_null(committer_step(&f->committer, MS(1), false));
    assert_null(committer_step(&f->committer, MS(1), true));
    assert_int_equal(f->store.groups, 0);
}

static void a_lone_commit_does_not_wait(void **state)
{
    struct fixture *f = *state;
    add(f, COMMIT_SYNC, MS(100), 10);
    assert_int_equal(committer_due_ns(&f->committer, MS(100)), MS(100));
    assert_non_null(committer_step(&f->committer, MS(100), false));
}

static void starts_are_a_millisecond_apart_unless_a_group_is_full(void **state)
{
    struct fixture *f = *state;
    add(f, COMMIT_SYNC, MS(100), 10);
    assert_non_null(committer_step(&f->committer, MS(100), false));
    add(f, COMMIT_SYNC, MS(100), 10);
    assert_int_equal(committer_due_ns(&f->committer, MS(100)), MS(101));
    assert_null(committer_step(&f->committer, MS(100), false));
    add(f, COMMIT_SYNC, MS(100), COMMITTER_GROUP_BYTES);
    assert_int_equal(committer_due_ns(&f->committer, MS(100)), MS(100));
    assert_int_equal(chain_length(committer_step(&f->committer, MS(100), false)), 1);
    assert_int_equal(chain_length(committer_step(&f->committer, MS(101), false)), 1);
}

static void a_written_commit_waits_for_company(void **state)
{
    struct fixture *f = *state;
    add(f, COMMIT_WRITTEN, MS(100), 10);
    assert_int_equal(committer_due_ns(&f->committer, MS(100)), MS(110));
    assert_null(committer_step(&f->committer, MS(109), false));
    add(f, COMMIT_SYNC, MS(109), 10);
    assert_int_equal(chain_length(committer_step(&f->committer, MS(109), false)), 2);
    assert_string_equal(f->store.story, "+2:1=xxxxxxxx +2:2=xxxxxxxx ! ");
    assert_int_equal(committer_due_ns(&f->committer, MS(109)), UINT64_MAX);
}

static void a_written_commit_is_written_soon_and_synced_later(void **state)
{
    struct fixture *f = *state;
    add(f, COMMIT_WRITTEN, MS(100), 3);
    assert_non_null(committer_step(&f->committer, MS(110), false));
    assert_string_equal(f->store.story, "+2:1=xxx | ");
    assert_int_equal(committer_due_ns(&f->committer, MS(110)), MS(210));
    add(f, COMMIT_WRITTEN, MS(150), 3);
    assert_non_null(committer_step(&f->committer, MS(160), false));
    assert_int_equal(committer_due_ns(&f->committer, MS(160)), MS(210)); /* of the first */
    assert_null(committer_step(&f->committer, MS(210), false));          /* nobody waits for it */
    assert_string_equal(f->store.story, "+2:1=xxx | +2:2=xxx | ! ");
    assert_int_equal(committer_due_ns(&f->committer, MS(210)), UINT64_MAX);
    assert_int_equal(f->committer.syncs, 1);
}

static void force_writes_and_syncs_what_there_is(void **state)
{
    struct fixture *f = *state;
    add(f, COMMIT_WRITTEN, MS(100), 3);
    assert_non_null(committer_step(&f->committer, MS(100), true));
    add(f, COMMIT_WRITTEN, MS(100), 3);
    assert_non_null(committer_step(&f->committer, MS(111), false));
    assert_null(committer_step(&f->committer, MS(111), true));
    assert_string_equal(f->store.story, "+2:1=xxx ! +2:2=xxx | ! ");
}

/* ---- errors ---- */

static void a_full_disk_refuses_until_a_probe_finds_room(void **state)
{
    struct fixture *f = *state;
    f->store.commit_result = f->store.revive_result = -ENOSPC;
    struct commit *a = add(f, COMMIT_SYNC, MS(100), 3);
    assert_ptr_equal(committer_step(&f->committer, MS(100), false), a);
    assert_int_equal(a->op.result, -ENOSPC);
    assert_true(f->committer.full);
    assert_int_equal(committer_due_ns(&f->committer, MS(100)), UINT64_MAX);

    f->store.commit_result = 0; /* must not even be tried while full */
    struct commit *b = add(f, COMMIT_WRITTEN, MS(100), 3);
    assert_int_equal(committer_due_ns(&f->committer, MS(100)), MS(100));
    assert_ptr_equal(committer_step(&f->committer, MS(100), false), b);
    assert_int_equal(b->op.result, -ENOSPC);
    committer_probe(&f->committer);
    assert_true(f->committer.full);

    f->store.revive_result = 0;
    committer_probe(&f->committer);
    assert_false(f->committer.full);
    struct commit *c = add(f, COMMIT_SYNC, MS(200), 3);
    assert_ptr_equal(committer_step(&f->committer, MS(200), false), c);
    assert_int_equal(c->op.result, 0);
    assert_string_equal(f->store.story, "+2:3=xxx ! ");
}

static void any_other_error_is_final(void **state)
{
    struct fixture *f = *state;
    f->store.commit_result = -EIO;
    struct commit *a = add(f, COMMIT_SYNC, MS(100), 3);
    assert_ptr_equal(committer_step(&f->committer, MS(100), false), a);
    assert_int_equal(a->op.result, -EIO);
    assert_int_equal(f->committer.dead, -EIO);
    f->store.commit_result = 0;
    struct commit *b = add(f, COMMIT_SYNC, MS(200), 3);
    committer_probe(&f->committer);
    assert_ptr_equal(committer_step(&f->committer, MS(200), false), b);
    assert_int_equal(b->op.result, -EIO);
    assert_null(committer_step(&f->committer, MS(300), true));
    assert_string_equal(f->store.story, "");
}

static void a_revival_that_fails_otherwise_is_final(void **state)
{
    struct fixture *f = *state;
    f->store.commit_result = -ENOSPC;
    f->store.revive_result = -EIO;
    add(f, COMMIT_SYNC, MS(100), 3);
    assert_non_null(committer_step(&f->committer, MS(100), false));
    committer_probe(&f->committer);
    assert_int_equal(f->committer.dead, -EIO);
}

/* ---- commits ---- */

static void a_commit_without_memory_is_unchanged(void **state)
{
    struct fixture *f = *state;
    struct chunk_pool none;
    struct arena arena;
    struct commit commit;
    struct span part = SPAN("value");
    chunk_pool_init(&none, 0, 0);
    arena_init(&arena, &none, 0);
    commit_init(&commit, &f->home, COMMIT_SYNC, NULL);
    assert_false(commit_put(&commit, &arena, FAMILY_ROW, SPAN("k"), &part, 1));
    assert_false(commit_delete(&commit, &arena, FAMILY_ROW, SPAN("k")));
    assert_null(commit.first);
    assert_int_equal(commit.bytes, 0);
    arena_fini(&arena);
    chunk_pool_fini(&none);
}

static void an_empty_value_is_no_delete(void **state)
{
    struct fixture *f = *state;
    struct commit *commit = commit_new(f, COMMIT_SYNC, MS(1));
    assert_true(commit_put(commit, &f->arena, FAMILY_REF, SPAN("k"), NULL, 0));
    committer_add(&f->committer, commit);
    assert_non_null(committer_step(&f->committer, MS(1), false));
    assert_string_equal(f->store.story, "+3:k= ! ");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_group_is_sorted_and_keeps_the_order_per_key),
        TEST(any_number_of_mutations_is_sorted_stably),
        TEST(fresh_records_get_the_next_sequence),
        TEST(commits_know_their_group_and_what_is_synced),
        TEST(a_group_ends_at_about_a_megabyte),
        TEST(nothing_is_due_when_nothing_waits),
        TEST(a_lone_commit_does_not_wait),
        TEST(starts_are_a_millisecond_apart_unless_a_group_is_full),
        TEST(a_written_commit_waits_for_company),
        TEST(a_written_commit_is_written_soon_and_synced_later),
        TEST(force_writes_and_syncs_what_there_is),
        TEST(a_full_disk_refuses_until_a_probe_finds_room),
        TEST(any_other_error_is_final),
        TEST(a_revival_that_fails_otherwise_is_final),
        TEST(a_commit_without_memory_is_unchanged),
        TEST(an_empty_value_is_no_delete),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
