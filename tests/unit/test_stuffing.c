/* What goes out between DATA's 354 and the next command, for every cut of the body into pieces and
 * every limit of iovecs and bytes. The receiver here is the strict one: only CR LF . CR LF ends. */
#include "smtp/stuffing.h"

#include "core/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { WIRE_MAX = 4096 };

static size_t emit_all(struct stuffing *stuffing, unsigned max, size_t max_bytes, char *wire)
{
    size_t len = 0;
    while (!stuffing->done) {
        struct iovec iov[64];
        unsigned count = stuffing_emit(stuffing, iov, max, max_bytes);
        size_t bytes = 0;
        assert_true(count <= max && (count > 0 || stuffing->done));
        for (unsigned i = 0; i < count; i++) {
            assert_true(iov[i].iov_len > 0 && len + iov[i].iov_len <= WIRE_MAX);
            memcpy(wire + len, iov[i].iov_base, iov[i].iov_len);
            len += iov[i].iov_len;
            bytes += iov[i].iov_len;
        }
        assert_true(bytes <= max_bytes + 5);
    }
    return len;
}

/* Pieces of `size` bytes, with an empty one in between now and then. */
static unsigned cut(struct span body, size_t size, struct span *pieces)
{
    unsigned count = 0;
    while (body.len) {
        pieces[count++] = span_first(body, size);
        body = span_skip(body, size);
        if (count % 3 == 0)
            pieces[count++] = (struct span){0};
    }
    return count;
}

/* The receiver: undoes the stuffing up to the first CR LF . CR LF; returns how much it read. */
static size_t receive(struct span wire, char *body, size_t *ret_len)
{
    size_t at = 0, len = 0;
    bool line_start = true;
    while (at < wire.len) {
        if (line_start && wire.data[at] == '.') {
            if (span_starts_with(span_skip(wire, at), SPAN(".\r\n"))) {
                *ret_len = len;
                return at + 3;
            }
            at++;
        }
        body[len++] = wire.data[at++];
        line_start = len >= 2 && body[len - 2] == '\r' && body[len - 1] == '\n';
    }
    fail_msg("the data never end");
    return 0;
}

static void expect_round_trip(struct span body, size_t size, unsigned max, size_t max_bytes)
{
    static char wire[WIRE_MAX], received[WIRE_MAX];
    static struct span pieces[2048];
    struct stuffing stuffing;
    size_t received_len = 0;
    stuffing_start(&stuffing, STUFFING_DOT, pieces, cut(body, size, pieces));
    size_t len = emit_all(&stuffing, max, max_bytes, wire);
    assert_int_equal(receive(span_of(wire, len), received, &received_len), len);
    bool complete =
        body.len == 0 || (body.len >= 2 && memcmp(body.data + body.len - 2, "\r\n", 2) == 0);
    assert_true(span_starts_with(span_of(received, received_len), body));
    struct span added = span_skip(span_of(received, received_len), body.len);
    if (complete)
        assert_int_equal(added.len, 0);
    else
        assert_true(span_equals(added, SPAN("\r\n")) ||
                    (body.data[body.len - 1] == '\r' && span_equals(added, SPAN("\n"))));
}

static void expect_all_cuts(struct span body)
{
    static const size_t bytes[] = {1, 2, 3, 5, 64, 100000};
    for (size_t size = 1; size <= body.len + 1; size++)
        for (unsigned max = 1; max <= 4; max++)
            for (size_t i = 0; i < countof(bytes); i++)
                expect_round_trip(body, size, max, bytes[i]);
}

static void test_bodies(void **state)
{
    static const struct span bodies[] = {
        SPAN(""),
        SPAN("."),
        SPAN(".."),
        SPAN("\r\n"),
        SPAN(".\r\n"),
        SPAN("..\r\n"),
        SPAN("a"),
        SPAN("a\r\n"),
        SPAN("a.\r\n.b\r\n..c\r\n.\r\nd"),
        SPAN(".\r\n.\r\n.\r\n"),
        SPAN("\r\n.\r\n"),
        SPAN("\r\n..\r\n"),
        SPAN("\r\n. \r\n"),
        SPAN("\r\n.\t\r\n"),
        SPAN("\r\n .\r\n"),
        SPAN("\r\n\r\n.\r\n\r\n"),
        SPAN("x\r\n.\r\nMAIL FROM:<evil@example>\r\nRCPT TO:<b@example>\r\nDATA\r\n"),
        SPAN("x\r"),
    };
    for (size_t i = 0; i < countof(bodies); i++)
        expect_all_cuts(bodies[i]);
}

/* Every body of up to six of these tokens. */
static void test_all_short_bodies(void **state)
{
    static const char *const tokens[] = {"a", ".", "\r\n"};
    enum { TOKENS = 3, LENGTH = 6 };
    unsigned total = 1;
    for (unsigned length = 0; length <= LENGTH; length++, total *= TOKENS) {
        for (unsigned number = 0; number < total; number++) {
            char body[2 * LENGTH + 1] = "";
            for (unsigned i = 0, rest = number; i < length; i++, rest /= TOKENS)
                strcat(body, tokens[rest % TOKENS]);
            struct span span = span_string(body);
            for (size_t size = 1; size <= span.len + 1; size++)
                expect_round_trip(span, size, 2, 3);
        }
    }
}

/* Wherever the dotted line lies within the 64 bytes of one step of the scan. */
static void test_every_position(void **state)
{
    for (size_t len = 3; len < 300; len++) {
        for (size_t at = 0; at + 3 <= len; at++) {
            char body[300];
            memset(body, 'x', len);
            memcpy(body + at, "\r\n.", 3);
            expect_round_trip(span_of(body, len), len, 8, 100000);
        }
    }
}

/* The exact bytes, for those who do not trust the receiver above. */
static void test_exact(void **state)
{
    static const struct {
        struct span body, wire;
    } cases[] = {
        {SPAN(""), SPAN(".\r\n")},
        {SPAN("."), SPAN("..\r\n.\r\n")},
        {SPAN("a"), SPAN("a\r\n.\r\n")},
        {SPAN("a\r\n"), SPAN("a\r\n.\r\n")},
        {SPAN("a\r\n.\r\n"), SPAN("a\r\n..\r\n.\r\n")},
        {SPAN(".a\r\n..b\r\n"), SPAN("..a\r\n...b\r\n.\r\n")},
        {SPAN("a\r"), SPAN("a\r\n.\r\n")},
        {SPAN("a\n"), SPAN("a\n\r\n.\r\n")},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        for (size_t size = 1; size <= cases[i].body.len + 1; size++) {
            struct span pieces[64];
            struct stuffing stuffing;
            char wire[WIRE_MAX];
            stuffing_start(&stuffing, STUFFING_DOT, pieces, cut(cases[i].body, size, pieces));
            size_t len = emit_all(&stuffing, 4, 1000, wire);
            assert_true(span_equals(span_of(wire, len), cases[i].wire));
        }
    }
}

static void test_chunk_is_left_alone(void **state)
{
    static const struct span bodies[] = {SPAN(""), SPAN(".\r\n.\r\n"), SPAN(".\r\n."), SPAN("a")};
    for (size_t i = 0; i < countof(bodies); i++) {
        for (size_t size = 1; size <= bodies[i].len + 1; size++) {
            struct span pieces[64];
            struct stuffing stuffing;
            char wire[WIRE_MAX];
            stuffing_start(&stuffing, STUFFING_NONE, pieces, cut(bodies[i], size, pieces));
            size_t len = emit_all(&stuffing, 2, 2, wire);
            assert_true(span_equals(span_of(wire, len), bodies[i]));
        }
    }
}

/* With the last byte of a chunk it is done, however few iovecs there were. */
static void test_chunk_is_done_in_time(void **state)
{
    struct span pieces[] = {SPAN("one"), SPAN("two"), {0}};
    struct stuffing stuffing;
    struct iovec iov[2];
    stuffing_start(&stuffing, STUFFING_NONE, pieces, countof(pieces));
    assert_int_equal(stuffing_emit(&stuffing, iov, 1, 100), 1);
    assert_false(stuffing.done);
    assert_int_equal(stuffing_emit(&stuffing, iov, 1, 3), 1);
    assert_true(stuffing.done);
}

/* An ordinary body is one iovec a piece and one for the end. */
static void test_iovec_count(void **state)
{
    struct span pieces[] = {SPAN("Subject: x.\r\n\r\nHello. World.\r\n"), SPAN("Bye. Bye.\r\n")};
    struct stuffing stuffing;
    struct iovec iov[8];
    stuffing_start(&stuffing, STUFFING_DOT, pieces, countof(pieces));
    assert_int_equal(stuffing_emit(&stuffing, iov, countof(iov), 100000), 3);
    assert_true(stuffing.done);
    assert_int_equal(stuffing_emit(&stuffing, iov, countof(iov), 100000), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_all_short_bodies),
        cmocka_unit_test(test_every_position),
        cmocka_unit_test(test_exact),
        cmocka_unit_test(test_chunk_is_left_alone),
        cmocka_unit_test(test_iovec_count),
        cmocka_unit_test(test_chunk_is_done_in_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
