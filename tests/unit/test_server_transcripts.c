/* Runs every transcript below tests/transcripts/server: step by step as a waiting client, whole in
 * one receive, cut in two at every octet, octet by octet. The replies and the stored messages
 * must be the same each time. tests/transcripts/server/README says how to read and write them. */
#include "tests/server_harness.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { TEXT_MOST = 4 * 1024 * 1024, LINE_MOST = 4096, CUTS_MOST = 1500 };

struct step {
    size_t input_end, replies_end; /* where `input` and `replies` end when it is over */
};

struct transcript {
    char name[256];
    struct harness harness;
    struct sink input, replies, stored; /* what is sent, what must come */
    bool closes;
    struct step steps[2048];
    size_t step_count;
    size_t secured[16]; /* offsets in `input` where the client makes its TLS handshake */
    size_t secured_count;
    char tenant[64], campaign[64], account_tenant[64];
};

/* ---- reading a transcript ---- */

static int hex_value(char c)
{
    return c <= '9' ? c - '0' : ascii_lower(c) - 'a' + 10;
}

static struct span put_octets(struct sink *sink, struct span text);

/* "\*N{text}": the text N times. */
static struct span put_repeated(struct sink *sink, struct span text)
{
    uint64_t count;
    struct span number = span_first(text, span_find(text, '{'));
    assert_true(span_decimal(number, 1 << 22, &count));
    struct span inside = span_skip(text, number.len + 1);
    inside = span_first(inside, span_find(inside, '}'));
    for (uint64_t i = 0; i < count; i++)
        put_octets(sink, inside);
    return span_skip(text, number.len + 1 + inside.len + 1);
}

static struct span put_escape(struct sink *sink, struct span text)
{
    char c = text.data[0];
    text = span_skip(text, 1);
    switch (c) {
    case 'r':
        sink_byte(sink, '\r');
        return text;
    case 'n':
        sink_byte(sink, '\n');
        return text;
    case 't':
        sink_byte(sink, '\t');
        return text;
    case '0':
        sink_byte(sink, '\0');
        return text;
    case 'x':
        sink_byte(sink, (char)(hex_value(text.data[0]) * 16 + hex_value(text.data[1])));
        return span_skip(text, 2);
    case '*':
        return put_repeated(sink, text);
    default:
        assert_true(c == '\\');
        sink_byte(sink, c);
        return text;
    }
}

static struct span put_octets(struct sink *sink, struct span text)
{
    while (text.len) {
        if (text.data[0] == '\\') {
            text = put_escape(sink, span_skip(text, 1));
        } else {
            sink_byte(sink, text.data[0]);
            text = span_skip(text, 1);
        }
    }
    return text;
}

static int error_named(struct span name)
{
    static const struct {
        struct span name;
        int error;
    } errors[] = {
        {SPAN("enospc"), -ENOSPC}, {SPAN("enomem"), -ENOMEM},       {SPAN("eio"), -EIO},
        {SPAN("none"), 0},         {SPAN("etimedout"), -ETIMEDOUT},
    };
    for (size_t i = 0; i < countof(errors); i++)
        if (span_equals(name, errors[i].name))
            return errors[i].error;
    fail_msg("unknown error");
    return 0;
}

static bool set_limit(struct transcript *transcript, struct span name, uint64_t number)
{
#define LIMIT(field, code, enhanced, text, reason)                                                 \
    if (span_equals(name, SPAN(#field))) {                                                         \
        transcript->harness.settings.limits.field = number;                                        \
        return true;                                                                               \
    }
#include "smtp/limits.def"
#undef LIMIT
    return false;
}

static struct span keep(char *storage, struct span text)
{
    memcpy(storage, text.data, text.len);
    return span_of(storage, text.len);
}

/* "safe": passwords only over TLS; "any": always. */
static void set_auth(struct harness *harness, struct span value)
{
    const unsigned all = 1u << SASL_PLAIN | 1u << SASL_LOGIN | 1u << SASL_SCRAM_SHA_256;
    harness->settings.mechanisms_tls = all;
    harness->settings.mechanisms_clear =
        span_equals(value, SPAN("any")) ? all : 1u << SASL_SCRAM_SHA_256;
}

static void set_option(struct transcript *transcript, struct span text)
{
    struct harness *harness = &transcript->harness;
    struct span name = span_first(text, span_find(text, ' '));
    struct span value = span_trim(span_skip(text, name.len));
    uint64_t number = 0;
    bool is_number = span_decimal(value, UINT64_MAX, &number);
    if (span_equals(name, SPAN("auth")))
        set_auth(harness, value);
    else if (span_equals(name, SPAN("submission")))
        harness->settings.submission = span_equals(value, SPAN("yes"));
    else if (span_equals(name, SPAN("xclient")))
        harness->may_xclient = span_equals(value, SPAN("yes"));
    else if (span_equals(name, SPAN("account-bound")))
        harness->identity.bound = span_equals(value, SPAN("yes"));
    else if (span_equals(name, SPAN("account-tenant")))
        harness->identity.tenant = keep(transcript->account_tenant, value);
    else if (span_equals(name, SPAN("starttls")))
        harness->settings.starttls = span_equals(value, SPAN("yes"));
    else if (span_equals(name, SPAN("tls-busy")))
        harness->start_tls = span_equals(value, SPAN("yes")) ? START_TLS_BUSY : START_TLS_GO;
    else if (span_equals(name, SPAN("relay")))
        harness->relay = span_equals(value, SPAN("yes"));
    else if (span_equals(name, SPAN("tenant")))
        harness->settings.tenant_header = keep(transcript->tenant, value);
    else if (span_equals(name, SPAN("campaign")))
        harness->settings.campaign_header = keep(transcript->campaign, value);
    else if (span_equals(name, SPAN("refusal")))
        harness->share.refusal = error_named(value);
    else if (span_equals(name, SPAN("append")))
        harness->share.append_error = error_named(value);
    else if (span_equals(name, SPAN("store")))
        harness->store_result = error_named(value);
    else if (is_number && span_equals(name, SPAN("append-most")))
        harness->share.append_most = number;
    else if (is_number && span_equals(name, SPAN("room-every")))
        harness->share.room_every = (unsigned)number;
    else if (!is_number || !set_limit(transcript, name, number))
        fail_msg("%s: unknown option \"%.*s\"", transcript->name, SPAN_FORMAT(text));
}

static void end_step(struct transcript *transcript)
{
    assert_true(transcript->step_count < countof(transcript->steps));
    transcript->steps[transcript->step_count++] = (struct step){
        .input_end = transcript->input.len,
        .replies_end = transcript->replies.len,
    };
}

/* A step ends where a client line follows a server line. */
static void read_line(struct transcript *transcript, struct span line, char *before)
{
    char kind = line.data[0], form = line.len > 1 ? line.data[1] : 0;
    struct span text = span_skip(line, 3);
    if (kind == 'C' && *before == 'S')
        end_step(transcript);
    if (kind == 'C') {
        put_octets(&transcript->input, text);
        if (form == ':')
            sink_put(&transcript->input, SPAN("\r\n"));
    } else if (kind == '=') {
        assert_true(transcript->secured_count < countof(transcript->secured));
        transcript->secured[transcript->secured_count++] = transcript->input.len;
    } else if (kind == 'S' && form == '!') {
        transcript->closes = true;
    } else if (kind == 'S') {
        sink_put(&transcript->replies, text);
        sink_byte(&transcript->replies, '\n');
    } else if (kind == 'M' || kind == 'B' || kind == 'H') {
        sink_put(&transcript->stored, line);
        if (line.len == 2)
            sink_byte(&transcript->stored, ' ');
        sink_byte(&transcript->stored, '\n');
    } else if (kind == '!') {
        set_option(transcript, span_skip(line, 2));
    } else {
        assert_true(kind == '#');
    }
    if (kind == 'C' || kind == 'S')
        *before = kind;
}

static struct transcript *transcript_read(const char *path)
{
    struct transcript *transcript = calloc(1, sizeof *transcript);
    char *memory = malloc(3 * (size_t)TEXT_MOST);
    FILE *file = fopen(path, "r");
    assert_true(transcript && memory && file);
    harness_init(&transcript->harness, TEXT_MOST);
    snprintf(transcript->name, sizeof transcript->name, "%s", path);
    sink_init(&transcript->input, memory, TEXT_MOST);
    sink_init(&transcript->replies, memory + TEXT_MOST, TEXT_MOST);
    sink_init(&transcript->stored, memory + 2 * (size_t)TEXT_MOST, TEXT_MOST);
    char line[LINE_MOST], before = 'S';
    while (fgets(line, sizeof line, file)) {
        size_t len = strcspn(line, "\n");
        if (len)
            read_line(transcript, span_of(line, len), &before);
    }
    end_step(transcript);
    fclose(file);
    return transcript;
}

static void transcript_free(struct transcript *transcript)
{
    harness_fini(&transcript->harness);
    free(transcript->input.data);
    free(transcript);
}

/* ---- comparing ---- */

/* '*' in the pattern stands for any octets. */
static bool matches(struct span text, struct span pattern)
{
    while (pattern.len && pattern.data[0] != '*') {
        if (text.len == 0 || text.data[0] != pattern.data[0])
            return false;
        text = span_skip(text, 1);
        pattern = span_skip(pattern, 1);
    }
    if (pattern.len == 0)
        return text.len == 0;
    for (size_t i = 0; i <= text.len; i++)
        if (matches(span_skip(text, i), span_skip(pattern, 1)))
            return true;
    return false;
}

static struct span take_line(struct span *text)
{
    struct span line = span_first(*text, span_find(*text, '\n'));
    *text = span_skip(*text, line.len + 1);
    if (line.len && line.data[line.len - 1] == '\r')
        line.len--;
    return line;
}

static void compare_lines(const struct transcript *transcript, const char *how, size_t at,
                          struct span actual, struct span wanted)
{
    for (unsigned number = 1; actual.len || wanted.len; number++) {
        bool both = actual.len && wanted.len;
        struct span is = take_line(&actual), should = take_line(&wanted);
        if (!both || !matches(is, should))
            fail_msg("%s, %s %zu: line %u is \"%.*s\", should be \"%.*s\"", transcript->name, how,
                     at, number, SPAN_FORMAT(is), SPAN_FORMAT(should));
    }
}

/* ---- running ---- */

static void compare_all(struct transcript *transcript, const char *how, size_t at)
{
    struct harness *harness = &transcript->harness;
    compare_lines(transcript, how, at, sink_span(&harness->replies),
                  sink_span(&transcript->replies));
    compare_lines(transcript, how, at, sink_span(&harness->stored), sink_span(&transcript->stored));
    if (harness->closed != transcript->closes)
        fail_msg("%s, %s %zu: closed is %d", transcript->name, how, at, harness->closed);
}

/* However it is cut: no client puts a handshake into the same segment as what goes before it. */
static void feed(struct transcript *transcript, struct server *server, size_t from, size_t to)
{
    struct span input = sink_span(&transcript->input);
    to = to < input.len ? to : input.len;
    for (size_t i = 0; i < transcript->secured_count; i++) {
        size_t at = transcript->secured[i];
        if (at <= from || at >= to)
            continue;
        harness_feed(&transcript->harness, server, span_skip(span_first(input, at), from));
        from = at;
    }
    harness_feed(&transcript->harness, server, span_skip(span_first(input, to), from));
}

static void run_cut(struct transcript *transcript, size_t cut)
{
    struct server server;
    harness_begin(&transcript->harness, &server);
    feed(transcript, &server, 0, cut);
    feed(transcript, &server, cut, transcript->input.len);
    compare_all(transcript, "cut at", cut);
    harness_end(&transcript->harness, &server);
}

static void run_pieces(struct transcript *transcript, size_t size)
{
    struct server server;
    harness_begin(&transcript->harness, &server);
    for (size_t at = 0; at < transcript->input.len; at += size)
        feed(transcript, &server, at, at + size);
    compare_all(transcript, "in pieces of", size);
    harness_end(&transcript->harness, &server);
}

/* As a client that waits for its replies: after each step, exactly those of the step have come. */
static void run_steps(struct transcript *transcript)
{
    struct server server;
    size_t at = 0;
    harness_begin(&transcript->harness, &server);
    for (size_t i = 0; i < transcript->step_count; i++) {
        const struct step *step = &transcript->steps[i];
        feed(transcript, &server, at, step->input_end);
        at = step->input_end;
        compare_lines(transcript, "step", i, sink_span(&transcript->harness.replies),
                      span_first(sink_span(&transcript->replies), step->replies_end));
    }
    compare_all(transcript, "steps", transcript->step_count);
    harness_end(&transcript->harness, &server);
}

static void run_all_ways(struct transcript *transcript)
{
    size_t len = transcript->input.len;
    size_t stride = len / CUTS_MOST + 1;
    run_steps(transcript);
    for (size_t cut = 0; cut <= len; cut += stride)
        run_cut(transcript, cut);
    for (size_t size = 1; size < 10; size += 2)
        run_pieces(transcript, size);
    transcript->harness.reply_room = SERVER_REPLY_ROOM;
    run_pieces(transcript, len + 1);
}

static void test_transcript(void **state)
{
    struct transcript *transcript = transcript_read(*state);
    run_all_ways(transcript);
    transcript_free(transcript);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int is_transcript(const struct dirent *entry)
{
    return strstr(entry->d_name, ".txt") != NULL;
}

int main(void)
{
    const char *folder = RINGPOST_TESTS_DIR "/transcripts/server";
    struct dirent **entries;
    int count = scandir(folder, &entries, is_transcript, by_name);
    check(count > 0);
    struct CMUnitTest *tests = calloc((size_t)count, sizeof *tests);
    char(*paths)[512] = calloc((size_t)count, sizeof *paths);
    check(tests && paths);
    for (int i = 0; i < count; i++) {
        snprintf(paths[i], sizeof paths[i], "%s/%s", folder, entries[i]->d_name);
        tests[i] = (struct CMUnitTest){
            .name = entries[i]->d_name, .test_func = test_transcript, .initial_state = paths[i]};
    }
    int failed = _cmocka_run_group_tests("transcripts", tests, (size_t)count, NULL, NULL);
    for (int i = 0; i < count; i++)
        free(entries[i]);
    free(entries);
    free(paths);
    free(tests);
    return failed;
}
