/* What the bench's own figures rest on: the histogram, and the reader that says whether a body came
 * through unharmed. */
#include "bench/data_reader.c"
#include "bench/histogram.c"
#include "bench/message.c"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct histogram histogram; /* too large for a stack */

static void quantiles_are_close(void **state)
{
    histogram = (struct histogram){0};
    for (uint64_t i = 1; i <= 100000; i++)
        histogram_add(&histogram, i * 1000);
    static const double shares[] = {0.5, 0.9, 0.99, 0.999};
    for (unsigned i = 0; i < countof(shares); i++) {
        double exact = shares[i] * 100000 * 1000;
        double found = (double)histogram_quantile_ns(&histogram, shares[i]);
        assert_true(found >= exact && found <= exact * 1.017 + 1000);
    }
    assert_int_equal(histogram_quantile_ns(&histogram, 1), 100000000);
    assert_int_equal(histogram.max_ns, 100000000);
    assert_int_equal(histogram.count, 100000);
}

static void any_duration_has_a_bucket(void **state)
{
    histogram = (struct histogram){0};
    assert_int_equal(histogram_quantile_ns(&histogram, 0.5), 0);
    for (unsigned bit = 0; bit < 64; bit++) {
        uint64_t ns = UINT64_C(1) << bit;
        assert_true(bucket_of(ns) < HISTOGRAM_BUCKETS);
        assert_true(upper_end(bucket_of(ns)) >= ns);
        assert_true(bucket_of(ns) == 0 || upper_end(bucket_of(ns) - 1) < ns);
    }
    assert_true(bucket_of(UINT64_MAX) == HISTOGRAM_BUCKETS - 1);
    histogram_add(&histogram, 0);
    assert_int_equal(histogram_quantile_ns(&histogram, 0.5), 0);
}

/* Feeds `text` in two pieces; returns what the reader left. */
static size_t feed(struct data_reader *reader, const char *text, size_t len, size_t cut,
                   bool *ret_end)
{
    data_reader_init(reader, true);
    struct span first = span_of(text, cut), second = span_of(text + cut, len - cut);
    *ret_end = data_reader_feed(reader, &first);
    if (*ret_end)
        return first.len + second.len;
    assert_int_equal(first.len, 0);
    *ret_end = data_reader_feed(reader, &second);
    return second.len;
}

/* As load writes it, dot-stuffed, with the final dot and `behind` it. Returns the length. */
static size_t write_stuffed(char *text, uint64_t number, const char *behind)
{
    struct message_text message;
    char tail[MESSAGE_TAIL];
    message_text_init(&message, MESSAGE_SIZE_MIN);
    size_t len = message_write(&message, number, text, tail);
    memcpy(text + len, message.filler_stuffed.data, message.filler_stuffed.len);
    len += message.filler_stuffed.len;
    memcpy(text + len, tail, sizeof tail);
    len += sizeof tail;
    message_text_fini(&message);
    return len + (size_t)sprintf(text + len, ".\r\n%s", behind);
}

static void a_message_matches_however_it_is_cut(void **state)
{
    char text[2048];
    size_t len = write_stuffed(text, 4711, "MAIL");
    for (size_t cut = 0; cut <= len; cut++) {
        struct data_reader reader;
        bool ended;
        assert_int_equal(feed(&reader, text, len, cut, &ended), 4);
        assert_true(ended);
        assert_true(data_reader_matches(&reader));
        assert_int_equal(reader.size, MESSAGE_SIZE_MIN);
    }
}

static void one_wrong_octet_is_seen(void **state)
{
    char text[2048];
    size_t len = write_stuffed(text, 4711, "");
    const char *blank = strstr(text, "\r\n\r\n");
    for (size_t at = (size_t)(blank - text) + 5; at < len - 3; at++) {
        struct data_reader reader;
        bool ended;
        text[at] ^= 1;
        feed(&reader, text, len, 0, &ended);
        assert_false(ended && data_reader_matches(&reader));
        text[at] ^= 1;
    }
}

/* What ends a message and what does not, by the octets that are left. */
static void ends(void **state)
{
    static const struct {
        const char *text;
        bool end;
        size_t left, size;
    } cases[] = {
        {".\r\n", true, 0, 0},
        {"a\r\n.\r\nQUIT\r\n", true, 6, 3},
        {"a\r\n..\r\n.\r\n", true, 0, 6},
        {"a\r\n.b\r\n.\r\n", true, 0, 6},
        {"a\r\n.\rb\r\n.\r\n", true, 0, 7},
        {"a\n.\r\n", false, 0, 5},
        {"a\r.\r\n", false, 0, 5},
        {"a\r\n.\n", false, 0, 4},
        {"a\r\n.\r", false, 0, 3},
        {"a.\r\n", false, 0, 4},
    };
    for (unsigned i = 0; i < countof(cases); i++) {
        size_t len = strlen(cases[i].text);
        for (size_t cut = 0; cut <= len; cut++) {
            struct data_reader reader;
            bool ended;
            assert_int_equal(feed(&reader, cases[i].text, len, cut, &ended), cases[i].left);
            assert_int_equal(ended, cases[i].end);
            assert_int_equal(reader.size, cases[i].size);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quantiles_are_close),
        cmocka_unit_test(any_duration_has_a_bucket),
        cmocka_unit_test(a_message_matches_however_it_is_cut),
        cmocka_unit_test(one_wrong_octet_is_seen),
        cmocka_unit_test(ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
