#include "core/check.h"
#include "core/labels.h"
#include "core/metrics.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { TEXT = 1 << 16 };

static char *write_out(struct metrics *const *sets, unsigned count)
{
    char *text = malloc(TEXT);
    struct sink sink;
    sink_init(&sink, text, TEXT - 1);
    metrics_write(sets, count, &sink);
    assert_false(sink.full);
    text[sink.len] = '\0';
    return text;
}

/* ---- a strict reader of text format 0.0.4 ---- */

struct reader {
    const char *at;
    char family[128], type[16];
    char seen[256][128]; /* families that are finished or open */
    unsigned seen_count;
    bool helped, typed;
    char samples[1024][160]; /* name with labels: none may come twice */
    unsigned sample_count;
    double last_bucket, last_le;
};

static size_t take_name(const char *text)
{
    size_t len = 0;
    while (isalnum((unsigned char)text[len]) || text[len] == '_' || text[len] == ':')
        len++;
    return isdigit((unsigned char)text[0]) ? 0 : len;
}

/* `# HELP name text` or `# TYPE name type`. */
static const char *read_comment(struct reader *reader, const char *line, size_t len)
{
    bool help = strncmp(line, "# HELP ", 7) == 0;
    const char *name = line + 7;
    size_t name_len = take_name(name);
    if (!help && strncmp(line, "# TYPE ", 7) != 0)
        return "a comment that is neither HELP nor TYPE";
    if (name_len == 0 || name[name_len] != ' ' || 7 + name_len + 1 >= len)
        return "no name or nothing behind it";
    if (help) {
        snprintf(reader->family, sizeof reader->family, "%.*s", (int)name_len, name);
        for (unsigned i = 0; i < reader->seen_count; i++)
            if (strcmp(reader->seen[i], reader->family) == 0)
                return "a family in two places";
        strcpy(reader->seen[reader->seen_count++], reader->family);
        reader->helped = true;
        reader->typed = false;
        reader->last_bucket = reader->last_le = -1;
        return NULL;
    }
    if (!reader->helped || reader->typed || strlen(reader->family) != name_len ||
        strncmp(reader->family, name, name_len) != 0)
        return "TYPE without HELP before it";
    snprintf(reader->type, sizeof reader->type, "%.*s", (int)(len - 8 - name_len),
             name + name_len + 1);
    reader->typed = true;
    if (strcmp(reader->type, "counter") == 0)
        return name_len > 6 && strncmp(name + name_len - 6, "_total", 6) == 0
                   ? NULL
                   : "a counter that does not end in _total";
    if (strcmp(reader->type, "gauge") != 0 && strcmp(reader->type, "histogram") != 0)
        return "an unknown type";
    return strstr(reader->family, "_total") ? "not a counter, but _total" : NULL;
}

/* {name="value",...} */
static const char *read_labels(const char **at)
{
    const char *text = *at + 1;
    for (;;) {
        size_t len = take_name(text);
        if (len == 0 || text[len] != '=' || text[len + 1] != '"')
            return "a label without name or value";
        for (text += len + 2; *text != '"'; text++)
            if (*text == '\n' || *text == '\0' || (*text == '\\' && !strchr("\\\"n", *++text)))
                return "a label's value that does not end or has a bad escape";
        text++;
        if (*text == '}')
            break;
        if (*text++ != ',')
            return "something between labels";
    }
    *at = text + 1;
    return NULL;
}

static const char *check_bucket(struct reader *reader, const char *sample, const char *suffix,
                                double value)
{
    if (strcmp(suffix, "_bucket") == 0) {
        const char *le = strstr(sample, "{le=\"");
        double bound = le ? strtod(le + 5, NULL) : -1;
        if (!le || bound <= reader->last_le || value < reader->last_bucket)
            return "buckets that do not rise";
        reader->last_le = bound;
        reader->last_bucket = value;
        return NULL;
    }
    if (strcmp(suffix, "_count") == 0)
        return value == reader->last_bucket && reader->last_le > 1e300 ? NULL : "count is not +Inf";
    return strcmp(suffix, "_sum") == 0 ? NULL : "a histogram's sample with a strange name";
}

static const char *read_sample(struct reader *reader, const char *line, size_t len)
{
    size_t name_len = take_name(line), family_len = strlen(reader->family);
    const char *at = line + name_len;
    char suffix[32] = "", *end;
    if (!reader->typed || name_len < family_len || strncmp(line, reader->family, family_len) != 0)
        return "a sample outside of its family";
    snprintf(suffix, sizeof suffix, "%.*s", (int)(name_len - family_len), line + family_len);
    const char *wrong = *at == '{' ? read_labels(&at) : NULL;
    if (wrong)
        return wrong;
    char *sample = reader->samples[reader->sample_count++];
    snprintf(sample, sizeof reader->samples[0], "%.*s", (int)(at - line), line);
    for (unsigned i = 0; i + 1 < reader->sample_count; i++)
        if (strcmp(reader->samples[i], sample) == 0)
            return "a sample twice";
    if (*at != ' ' || !isdigit((unsigned char)at[1]))
        return "no value behind one blank";
    double value = strtod(at + 1, &end);
    if (end != line + len)
        return "something behind the value";
    if (strcmp(reader->type, "histogram") == 0)
        return check_bucket(reader, sample, suffix, value);
    return suffix[0] ? "a sample that is not its family" : NULL;
}

/* NULL: the text keeps to the format. */
static const char *read_exposition(const char *text)
{
    struct reader *reader = calloc(1, sizeof *reader);
    const char *wrong = NULL;
    while (!wrong && *text) {
        size_t len = strcspn(text, "\n");
        if (text[len] != '\n')
            wrong = "the last line does not end";
        else
            wrong = *text == '#' ? read_comment(reader, text, len) : read_sample(reader, text, len);
        text += len + 1;
    }
    free(reader);
    return wrong;
}

#define GOOD_HEAD "# HELP a_total x\n# TYPE a_total counter\n"

/* The reader itself can say no. */
static void test_reader(void **state)
{
    static const char *const good[] = {"", GOOD_HEAD "a_total 1\n",
                                       GOOD_HEAD
                                       "a_total{b=\"c\",d=\"\\\\\\\"\"} 1\na_total{b=\"d\"} 2.5\n"};
    static const char *const bad[] = {
        "a 1\n",
        GOOD_HEAD "a_total 1",
        GOOD_HEAD "a_total  1\n",
        GOOD_HEAD "a_total x\n",
        GOOD_HEAD "a_total 1 x\n",
        GOOD_HEAD "a_total 1\na_total 2\n",
        GOOD_HEAD "a_total{b} 1\n",
        GOOD_HEAD "a_total{b=\"c} 1\n",
        GOOD_HEAD "b_total 1\n",
        GOOD_HEAD "# HELP b x\n# TYPE b gauge\nb 1\n" GOOD_HEAD,
        "# HELP a x\n# TYPE a counter\n",
        "# HELP a x\n# TYPE a something\n",
        "# TYPE a gauge\n",
        "# HELP a x\n# TYPE a histogram\na_bucket{le=\"1\"} 2\na_bucket{le=\"+Inf\"} 1\n",
        "# HELP a x\n# TYPE a histogram\na_bucket{le=\"1\"} 2\na_bucket{le=\"0.5\"} 3\n",
        "# HELP a x\n# TYPE a histogram\na_bucket{le=\"+Inf\"} 1\na_sum 1\na_count 2\n",
        "# HELP a x\n# TYPE a histogram\na_bucket{le=\"1\"} 1\na_count 1\n",
    };
    for (size_t i = 0; i < countof(good); i++)
        if (read_exposition(good[i]))
            fail_msg("%s: %s", good[i], read_exposition(good[i]));
    for (size_t i = 0; i < countof(bad); i++)
        if (!read_exposition(bad[i]))
            fail_msg("accepted: %s", bad[i]);
}

/* ---- our exposition ---- */

static struct metrics *filled(uint64_t factor)
{
    struct metrics *set = calloc(1, sizeof *set);
    for (unsigned i = 0; i < METRICS; i++)
        metric_add(set, (enum metric)i, (i + 1) * factor);
    for (unsigned i = 0; i < HISTOGRAMS; i++)
        for (uint64_t ns = 1; ns < UINT64_C(100000000000000); ns *= 7)
            metric_observe(set, (enum histogram)i, ns);
    return set;
}

static void test_strict(void **state)
{
    struct metrics *sets[] = {filled(1), filled(1000)};
    char *text = write_out(sets, 2);
    const char *wrong = read_exposition(text);
    if (wrong)
        fail_msg("%s", wrong);
    free(text);
    free(sets[0]);
    free(sets[1]);
}

static void test_sums(void **state)
{
    struct metrics *sets[] = {calloc(1, sizeof(struct metrics)), calloc(1, sizeof(struct metrics))};
    metric_add(sets[0], METRIC_CONNECTIONS_ACCEPTED, 2);
    metric_add(sets[0], METRIC_CONNECTIONS_ACCEPTED, 3);
    metric_add(sets[1], METRIC_CONNECTIONS_ACCEPTED, UINT64_C(10000000000));
    metric_set(sets[0], METRIC_CONNECTIONS_IN, 7);
    metric_set(sets[0], METRIC_CONNECTIONS_IN, 4);
    metric_set(sets[1], METRIC_CONNECTIONS_IN, 1);
    char *text = write_out(sets, 2);
    assert_non_null(strstr(text, "\n# TYPE ringpost_connections_accepted_total counter\n"
                                 "ringpost_connections_accepted_total 10000000005\n"));
    assert_non_null(
        strstr(text, "\n# TYPE ringpost_connections_in gauge\nringpost_connections_in 5\n"));
    /* one heading for a family, its members behind it */
    assert_non_null(
        strstr(text, "\n# TYPE ringpost_connections_refused_total counter\n"
                     "ringpost_connections_refused_total{reason=\"connections\"} 0\n"
                     "ringpost_connections_refused_total{reason=\"connections_per_address\"} 0\n"));
    free(text);
    free(sets[0]);
    free(sets[1]);
}

static void test_histogram(void **state)
{
    struct metrics *set = calloc(1, sizeof *set);
    metric_observe(set, HISTOGRAM_ACCEPT_SECONDS, 0);
    metric_observe(set, HISTOGRAM_ACCEPT_SECONDS, 100000);     /* 100 us belongs to its bound */
    metric_observe(set, HISTOGRAM_ACCEPT_SECONDS, 100001);     /* and this to the next */
    metric_observe(set, HISTOGRAM_ACCEPT_SECONDS, 1500000000); /* 1.5 s */
    metric_observe(set, HISTOGRAM_ACCEPT_SECONDS, UINT64_C(2000000000000)); /* 2,000 s */
    char *text = write_out(&set, 1);
    static const char *const lines[] = {
        "\nringpost_accept_seconds_bucket{le=\"0.0001\"} 2\n",
        "\nringpost_accept_seconds_bucket{le=\"0.0002\"} 3\n",
        "\nringpost_accept_seconds_bucket{le=\"1\"} 3\n",
        "\nringpost_accept_seconds_bucket{le=\"2\"} 4\n",
        "\nringpost_accept_seconds_bucket{le=\"1000\"} 4\n",
        "\nringpost_accept_seconds_bucket{le=\"+Inf\"} 5\n",
        "\nringpost_accept_seconds_sum 2001.500200001\n",
        "\nringpost_accept_seconds_count 5\n",
    };
    for (size_t i = 0; i < countof(lines); i++)
        if (!strstr(text, lines[i]))
            fail_msg("missing: %s in\n%s", lines[i], text);
    free(text);
    free(set);
}

/* Too little room is seen, never overrun. */
static void test_full(void **state)
{
    struct metrics *set = calloc(1, sizeof *set);
    char small[1000];
    struct sink sink;
    sink_init(&sink, small, sizeof small);
    metrics_write(&set, 1, &sink);
    assert_true(sink.full);
    assert_true(sink.len <= sizeof small);
    free(set);
}

static void test_promtool(void **state)
{
    if (system("command -v promtool >/dev/null 2>&1") != 0)
        skip();
    struct metrics *set = filled(3);
    char *text = write_out(&set, 1);
    FILE *tool = popen("promtool check metrics 2>&1", "w");
    assert_non_null(tool);
    fputs(text, tool);
    int status = pclose(tool);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    free(text);
    free(set);
}

static void append_line(void *context, const char *text)
{
    struct sink *sink = context;
    sink_put(sink, span_string(text));
    sink_byte(sink, '\n');
}

/* docs/METRICS.md is what ringpostd --metrics prints. RINGPOST_UPDATE=1 writes it anew. */
static void test_manual(void **state)
{
    static const char path[] = RINGPOST_TESTS_DIR "/../docs/METRICS.md";
    char *expected = malloc(TEXT), *found = malloc(TEXT);
    struct sink sink;
    sink_init(&sink, expected, TEXT);
    append_line(&sink, "# Metrics");
    append_line(&sink, "");
    append_line(&sink, "Made from core/metric.def; `RINGPOST_UPDATE=1 test_metrics` writes it.");
    append_line(&sink,
                "Alerts on them are in packaging/prometheus, a dashboard in packaging/grafana.");
    append_line(&sink, "");
    metrics_document(append_line, &sink);
    labels_document(append_line, &sink);
    assert_false(sink.full);
    FILE *file;
    if (getenv("RINGPOST_UPDATE")) {
        file = fopen(path, "w");
        assert_non_null(file);
        assert_int_equal(fwrite(expected, 1, sink.len, file), sink.len);
        fclose(file);
    }
    file = fopen(path, "r");
    assert_non_null(file);
    size_t len = fread(found, 1, TEXT, file);
    fclose(file);
    if (!span_equals(span_of(found, len), sink_span(&sink)))
        fail_msg("docs/METRICS.md is old: run test_metrics with RINGPOST_UPDATE=1");
    free(found);
    free(expected);
}

static void test_numbers_of_things(void **state)
{
    struct metrics *set = calloc(1, sizeof *set);
    metric_observe_count(set, HISTOGRAM_GROUP_SIZE, 1);
    metric_observe_count(set, HISTOGRAM_GROUP_SIZE, 7);
    char *text = write_out(&set, 1);
    assert_non_null(strstr(text, "ringpost_commit_group_size_bucket{le=\"0.5\"} 0\n"));
    assert_non_null(strstr(text, "ringpost_commit_group_size_bucket{le=\"1\"} 1\n"));
    assert_non_null(strstr(text, "ringpost_commit_group_size_bucket{le=\"10\"} 2\n"));
    assert_non_null(strstr(text, "ringpost_commit_group_size_sum 8.000000000\n"));
    free(text);
    free(set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reader), cmocka_unit_test(test_strict),
        cmocka_unit_test(test_sums),   cmocka_unit_test(test_histogram),
        cmocka_unit_test(test_full),   cmocka_unit_test(test_promtool),
        cmocka_unit_test(test_manual), cmocka_unit_test(test_numbers_of_things),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
