#include "core/arena.h"
#include "core/pool.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include <stdlib.h>

enum { LIMIT = 1 << 20, KEEP = 128 << 10 };

static void test_take(void **state)
{
    struct chunk_pool pool;
    struct arena arena;
    chunk_pool_init(&pool, LIMIT, KEEP);
    arena_init(&arena, &pool, LIMIT);
    assert_int_equal(pool.in_use, 0); /* an arena without content costs nothing */
    char *before = NULL;
    for (size_t size = 0; size < 200; size++) {
        char *taken = arena_take(&arena, size);
        assert_non_null(taken);
        assert_int_equal((uintptr_t)taken % 8, 0);
        memset(taken, (int)size, size);
        if (before && size > 1)
            assert_int_equal(before[0], (char)(size - 1));
        before = taken;
    }
    char *zeroed = arena_take_zeroed(&arena, 100);
    for (int i = 0; i < 100; i++)
        assert_int_equal(zeroed[i], 0);
    assert_int_equal(pool.in_use, arena.taken);
    arena_fini(&arena);
    assert_int_equal(pool.in_use, 0);
    chunk_pool_fini(&pool);
}

static void test_small_messages_take_one_small_chunk(void **state)
{
    struct chunk_pool pool;
    struct arena arena;
    chunk_pool_init(&pool, LIMIT, KEEP);
    arena_init(&arena, &pool, LIMIT);
    assert_non_null(arena_take(&arena, 1000));
    assert_int_equal(arena.taken, 4096);
    arena_fini(&arena);
    assert_int_equal(pool.kept, 4096); /* kept for the next */
    assert_non_null(arena_take(&arena, 1000));
    assert_int_equal(pool.kept, 0);
    arena_fini(&arena);
    chunk_pool_fini(&pool);
    assert_int_equal(pool.kept, 0);
}

static void test_limits(void **state)
{
    struct chunk_pool pool;
    struct arena arena, other;
    chunk_pool_init(&pool, 3 * 65536, KEEP);
    arena_init(&arena, &pool, 2 * 65536);
    arena_init(&other, &pool, LIMIT);
    assert_null(arena_take(&arena, 2 * 65536)); /* the arena's */
    assert_null(arena_take(&other, 3 * 65536)); /* the pool's */
    assert_null(arena_take(&other, SIZE_MAX));
    assert_null(arena_take(&other, SIZE_MAX - 3));
    assert_int_equal(pool.in_use, 0);
    size_t taken = 0;
    while (arena_take(&arena, 1000))
        taken += 1000;
    assert_in_range(taken, 65536, 2 * 65536);
    while (arena_take(&other, 1000))
        taken += 1000;
    assert_true(pool.in_use <= 3 * 65536);
    assert_in_range(taken, 2 * 65536, 3 * 65536);
    arena_fini(&arena);
    assert_non_null(arena_take(&other, 60000)); /* what one gave back another may have */
    arena_fini(&other);
    assert_true(pool.kept <= KEEP);
    chunk_pool_fini(&pool);
}

static void test_large(void **state)
{
    struct chunk_pool pool;
    struct arena arena;
    chunk_pool_init(&pool, LIMIT, KEEP);
    arena_init(&arena, &pool, LIMIT);
    char *large = arena_take(&arena, 300000);
    assert_non_null(large);
    memset(large, 1, 300000);
    assert_non_null(arena_take(&arena, 10));
    arena_fini(&arena);
    assert_true(pool.kept <= KEEP); /* the odd size went back to malloc */
    chunk_pool_fini(&pool);
}

static void test_copy(void **state)
{
    struct chunk_pool pool;
    struct arena arena;
    chunk_pool_init(&pool, 8192, KEEP);
    arena_init(&arena, &pool, 8192);
    struct span nothing;
    assert_true(arena_copy(&arena, SPAN(""), &nothing)); /* the first, too */
    char source[] = "MAIL FROM:<>";
    struct span copy, untouched = SPAN("x");
    assert_true(arena_copy(&arena, span_string(source), &copy));
    memset(source, 0, sizeof source);
    assert_true(span_equals(copy, SPAN("MAIL FROM:<>")));
    assert_true(arena_copy(&arena, SPAN(""), &copy));
    assert_int_equal(copy.len, 0);
    assert_false(arena_copy(&arena, span_of(NULL, 100000), &untouched));
    assert_true(span_equals(untouched, SPAN("x")));
    arena_fini(&arena);
    chunk_pool_fini(&pool);
}

/* ---- text ---- */

static char pattern(size_t at)
{
    return (char)(at * 31 + at / 257);
}

static void fill(char *data, size_t offset, size_t len)
{
    for (size_t i = 0; i < len; i++)
        data[i] = pattern(offset + i);
}

static void expect_text(const struct text *text, size_t len)
{
    char *copy = malloc(len + 16);
    assert_int_equal(text->len, len);
    assert_int_equal(text_copy(text, 0, copy, len + 16), len);
    for (size_t i = 0; i < len; i++)
        assert_int_equal(copy[i], pattern(i));
    free(copy);
    size_t sum = 0;
    unsigned pieces = 0;
    for (const struct text_piece *piece = text->first; piece; piece = piece->next) {
        sum += piece->len;
        pieces++;
        assert_true(piece->next || piece == text->last);
    }
    assert_int_equal(sum, len);
    assert_int_equal(pieces, text->pieces);
}

/* Appended in steps of every size, with and without other takers in between. */
static void test_text_append(void **state)
{
    static const size_t steps[] = {1, 7, 8, 63, 1000, 4000, 4096, 30000, 70000};
    for (size_t i = 0; i < countof(steps); i++) {
        for (int disturb = 0; disturb < 2; disturb++) {
            struct chunk_pool pool;
            struct arena arena;
            struct text text = {0};
            char *data = malloc(steps[i]);
            chunk_pool_init(&pool, 4 * LIMIT, KEEP);
            arena_init(&arena, &pool, 4 * LIMIT);
            size_t len = 0;
            while (len < 150000 && len < 2000 * steps[i]) {
                fill(data, len, steps[i]);
                assert_true(text_append(&text, &arena, span_of(data, steps[i])));
                len += steps[i];
                if (disturb)
                    memset(arena_take(&arena, 24), 0xee, 24);
            }
            expect_text(&text, len);
            if (!disturb)
                assert_true(text.pieces <= 3 + len / 4000); /* grows in place */
            arena_fini(&arena);
            chunk_pool_fini(&pool);
            free(data);
        }
    }
}

static void test_text_append_nothing(void **state)
{
    struct chunk_pool pool;
    struct arena arena;
    struct text text = {0};
    chunk_pool_init(&pool, LIMIT, KEEP);
    arena_init(&arena, &pool, LIMIT);
    assert_true(text_append(&text, &arena, SPAN("")));
    assert_int_equal(text.len, 0);
    assert_true(text_append(&text, &arena, SPAN("a")));
    assert_true(text_append(&text, &arena, SPAN("")));
    assert_int_equal(text.len, 1);
    assert_int_equal(text.pieces, 1);
    arena_fini(&arena);
    chunk_pool_fini(&pool);
}

static void test_text_over_the_limit(void **state)
{
    struct chunk_pool pool;
    struct arena arena;
    struct text text = {0};
    char data[1000];
    chunk_pool_init(&pool, LIMIT, KEEP);
    arena_init(&arena, &pool, 20000);
    size_t len = 0;
    for (;;) {
        fill(data, len, sizeof data);
        if (!text_append(&text, &arena, span_of(data, sizeof data)))
            break;
        len += sizeof data;
    }
    assert_in_range(len, 10000, 20000);
    assert_true(text.len >= len && text.len < len + sizeof data);
    arena_fini(&arena);
    chunk_pool_fini(&pool);
}

static void test_text_copy_parts(void **state)
{
    struct chunk_pool pool;
    struct arena arena;
    struct text text = {0};
    char data[100], copy[64];
    chunk_pool_init(&pool, LIMIT, KEEP);
    arena_init(&arena, &pool, LIMIT);
    for (size_t len = 0; len < 10000; len += sizeof data) {
        fill(data, len, sizeof data);
        assert_true(text_append(&text, &arena, span_of(data, sizeof data)));
        assert_non_null(arena_take(&arena, 8));
    }
    for (size_t offset = 0; offset < 10000; offset += 37) {
        size_t want = 10000 - offset < sizeof copy ? 10000 - offset : sizeof copy;
        assert_int_equal(text_copy(&text, offset, copy, sizeof copy), want);
        for (size_t i = 0; i < want; i++)
            assert_int_equal(copy[i], pattern(offset + i));
    }
    assert_int_equal(text_copy(&text, 10000, copy, sizeof copy), 0);
    assert_int_equal(text_copy(&text, 0, copy, 0), 0);
    arena_fini(&arena);
    chunk_pool_fini(&pool);
}

/* ---- pages ---- */

static void test_text_in_pages(void **state)
{
    struct chunk_pool pool;
    chunk_pool_init(&pool, LIMIT, KEEP);
    static const size_t steps[] = {1, 100, 4095, 4096, 10000, 70000};
    for (size_t s = 0; s < countof(steps); s++) {
        static char data[70000];
        struct arena arena;
        struct text text = {0};
        arena_init(&arena, &pool, LIMIT);
        for (size_t len = 0; len < 200000; len += steps[s]) {
            fill(data, len, steps[s]);
            assert_true(text_append_pages(&text, &arena, span_of(data, steps[s])));
            if (len % 1000 == 0)
                assert_non_null(arena_take(&arena, 24));
        }
        size_t at = 0;
        for (const struct text_piece *piece = text.first; piece; piece = piece->next) {
            assert_int_equal((uintptr_t)piece->data % ARENA_PAGE, 0);
            if (piece->next)
                assert_int_equal(piece->len % ARENA_PAGE, 0);
            for (size_t i = 0; i < piece->len; i++)
                assert_int_equal(piece->data[i], pattern(at + i));
            at += piece->len;
        }
        assert_int_equal(at, text.len);
        size_t behind = -text.last->len % ARENA_PAGE;
        memset(text.last->data + text.last->len, 0, behind); /* it may be written to */
        arena_fini(&arena);
        assert_int_equal(pool.in_use, 0);
    }
    chunk_pool_fini(&pool);
    assert_int_equal(pool.kept, 0);
}

static void test_pages_are_as_many_as_needed(void **state)
{
    struct chunk_pool pool;
    struct arena arena;
    struct text text = {0};
    char data[10000] = {0};
    chunk_pool_init(&pool, LIMIT, KEEP);
    arena_init(&arena, &pool, LIMIT);
    assert_true(text_append_pages(&text, &arena, span_of(data, sizeof data)));
    assert_int_equal(arena.taken, 4096 + 3 * ARENA_PAGE);
    assert_int_equal(text.pieces, 1);
    arena_fini(&arena);
    assert_int_equal(pool.kept, 4096 + 3 * ARENA_PAGE); /* for the next */

    text = (struct text){0};
    arena_init(&arena, &pool, 4 * ARENA_PAGE);
    assert_true(text_append_pages(&text, &arena, span_of(data, sizeof data)));
    assert_false(text_append_pages(&text, &arena, span_of(data, sizeof data))); /* its limit */
    arena_fini(&arena);
    chunk_pool_fini(&pool);
}

/* ---- pool ---- */

static void test_pool(void **state)
{
    struct pool pool;
    void *blocks[5];
    pool_init(&pool, 100, 2);
    for (int i = 0; i < 5; i++) {
        blocks[i] = pool_take(&pool);
        assert_non_null(blocks[i]);
        assert_int_equal((uintptr_t)blocks[i] % 16, 0);
        memset(blocks[i], i, 100);
    }
    for (int i = 0; i < 4; i++)
        pool_give(&pool, blocks[i]);
    assert_int_equal(pool.spare_count, 2); /* the others went back to malloc */
    assert_ptr_equal(pool_take(&pool), blocks[1]);
    assert_int_equal(pool.spare_count, 1);
    pool_fini(&pool); /* also what is still out */
    assert_int_equal(pool.spare_count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_take),
        cmocka_unit_test(test_small_messages_take_one_small_chunk),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_large),
        cmocka_unit_test(test_copy),
        cmocka_unit_test(test_text_append),
        cmocka_unit_test(test_text_append_nothing),
        cmocka_unit_test(test_text_over_the_limit),
        cmocka_unit_test(test_text_copy_parts),
        cmocka_unit_test(test_text_in_pages),
        cmocka_unit_test(test_pages_are_as_many_as_needed),
        cmocka_unit_test(test_pool),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
