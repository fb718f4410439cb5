/* `ringpost journal tail|export|verify|cursors`: work on data_dir itself, also while the daemon
 * runs.
 *
 * A consumer's position is committed behind its output: flushed, and synced where it is a file.
 * Whoever dies between the two sees some lines again and misses none. */
#include "core/cli.h"
#include "core/config.h"
#include "core/date.h"
#include "core/json.h"
#include "queue/accounting.h"
#include "queue/event.h"
#include "queue/journal_cursor.h"
#include "queue/journal_verify.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum {
    TAIL_LINES = 10,
    TAIL_LINE_BYTES = 4096, /* so much is read back for each line wanted */
    POLL_MS = 200,
    COMMIT_LINES = 20000, /* a consumer's position is written at least so often */
    PATH_ROOM = 4096,
};

/* ---- where the journal is ---- */

static int journal_directory(const struct cli *cli, char path[PATH_ROOM])
{
    struct span given = values_text(cli->command, &cli->values, "DIRECTORY");
    struct config *config = NULL;
    char error[CONFIG_ERROR];
    if (given.len == 0 && !cli->config) {
        cli_say("journal %s wants the data_dir, or --config FILE", cli->command->verb);
        return EXIT_USAGE;
    }
    if (given.len == 0 && config_load(cli->config, &config, error) < 0) {
        cli_say("%s", error);
        return EXIT_UNREACHABLE;
    }
    struct span data_dir = config ? config->data_dir : given;
    int len = snprintf(path, PATH_ROOM, "%.*s/journal", SPAN_FORMAT(data_dir));
    config_free(config);
    if (len > 0 && len < PATH_ROOM && access(path, R_OK | X_OK) == 0)
        return EXIT_GOOD;
    cli_say("cannot read %s: %s", path, strerror(errno));
    return EXIT_UNREACHABLE;
}

/* ---- output ---- */

struct output {
    bool csv;
    unsigned types;
    char *scratch, *rows;
    uint64_t lines; /* since the last commit */
};

static int output_init(struct output *output, const struct cli *cli)
{
    struct span format = values_text(cli->command, &cli->values, "format");
    struct span types = values_text(cli->command, &cli->values, "types");
    *output = (struct output){.csv = span_equals(format, SPAN("csv")), .types = ACCOUNTING_ALL};
    if (types.len && !accounting_types_read(types, &output->types)) {
        cli_say("--types is a list of d, b, t, r, rb and f");
        return EXIT_USAGE;
    }
    output->scratch = malloc(JOURNAL_LINE_MAX);
    output->rows = malloc(ACCOUNTING_ROOM);
    if (!output->scratch || !output->rows) {
        cli_say("no memory");
        return EXIT_BAD;
    }
    return EXIT_GOOD;
}

static void output_fini(struct output *output)
{
    free(output->scratch);
    free(output->rows);
}

static void put_header(const struct output *output)
{
    struct sink sink;
    if (!output->csv)
        return;
    sink_init(&sink, output->rows, ACCOUNTING_ROOM);
    accounting_put_header(&sink);
    fwrite(sink.data, 1, sink.len, stdout);
}

static void put_csv(const struct output *output, struct span line)
{
    struct sink scratch, rows;
    sink_init(&scratch, output->scratch, JOURNAL_LINE_MAX);
    sink_init(&rows, output->rows, ACCOUNTING_ROOM);
    if (accounting_put_rows(line, output->types, &scratch, &rows) && !rows.full)
        fwrite(rows.data, 1, rows.len, stdout);
}

/* The line's object, with its place as two more members. */
static void put_json(const struct journal_line *line)
{
    struct span text = line->text;
    if (text.len < 2 || text.data[text.len - 1] != '}')
        return;
    fwrite(text.data, 1, text.len - 1, stdout);
    printf(",\"worker\":%u,\"sequence\":%" PRIu64 "}\n", line->worker, line->sequence);
}

static void put_line(void *context, const struct journal_line *line)
{
    struct output *output = context;
    output->lines++;
    if (output->csv)
        put_csv(output, line->text);
    else
        put_json(line);
}

/* False: what was written did not arrive. */
static bool output_flush(void)
{
    if (fflush(stdout) != 0 || ferror(stdout))
        return false;
    /* A terminal and a pipe cannot be synced, and need not be. */
    return fdatasync(STDOUT_FILENO) == 0 || errno == EINVAL || errno == EROFS;
}

/* ---- all workers' streams ---- */

struct feed {
    const char *directory;
    struct journal_stream *streams[JOURNAL_WORKERS];
    uint64_t from[JOURNAL_WORKERS]; /* for streams that are not open yet */
    struct output output;
    const char *consumer; /* or NULL */
    struct journal_cursor cursor;
    uint64_t missing; /* places where frames are missing or damaged */
};

static void on_break(void *context, enum journal_break kind, uint64_t from, uint64_t to)
{
    struct feed *feed = context;
    feed->missing++;
    if (kind == JOURNAL_GAP)
        cli_say("frames %" PRIu64 " to %" PRIu64 " are missing", from, to - 1);
    else
        cli_say("damage in front of frame %" PRIu64, to);
}

static int open_stream(struct feed *feed, unsigned worker)
{
    struct journal_stream *stream = calloc(1, sizeof *stream);
    int result =
        stream ? journal_stream_init(stream, feed->directory, worker, feed->from[worker]) : -ENOMEM;
    if (result < 0) {
        free(stream);
        return result;
    }
    /* A consumer wants to know what it has missed; others begin where the journal does. */
    if (feed->consumer)
        stream->scan.next_sequence = feed->from[worker];
    stream->scan.on_break = on_break;
    stream->scan.break_context = feed;
    feed->streams[worker] = stream;
    return 0;
}

/* Opens a stream for every worker that has appeared. */
static int look_for_workers(struct feed *feed)
{
    struct journal_listing listing;
    int result = journal_list(feed->directory, &listing);
    for (size_t i = 0; result == 0 && i < listing.count; i++)
        if (!feed->streams[listing.files[i].worker])
            result = open_stream(feed, listing.files[i].worker);
    journal_listing_fini(&listing);
    return result;
}

static void feed_fini(struct feed *feed)
{
    for (unsigned i = 0; i < JOURNAL_WORKERS; i++)
        if (feed->streams[i]) {
            journal_stream_fini(feed->streams[i]);
            free(feed->streams[i]);
        }
    output_fini(&feed->output);
}

static int commit(struct feed *feed)
{
    if (!output_flush())
        return errno ? -errno : -EIO;
    feed->output.lines = 0;
    if (!feed->consumer)
        return 0;
    for (unsigned i = 0; i < JOURNAL_WORKERS; i++)
        if (feed->streams[i] && feed->streams[i]->scan.next_sequence > feed->cursor.next[i])
            feed->cursor.next[i] = feed->streams[i]->scan.next_sequence;
    return journal_cursor_write(feed->directory, feed->consumer, &feed->cursor);
}

/* Everything that is there now. */
static int pump(struct feed *feed)
{
    int result = look_for_workers(feed);
    for (unsigned i = 0; result == 0 && i < JOURNAL_WORKERS; i++) {
        int more = feed->streams[i] ? 1 : 0;
        while (more == 1 && result == 0) {
            more = journal_stream_read(feed->streams[i], put_line, &feed->output);
            if (feed->output.lines >= COMMIT_LINES)
                result = commit(feed);
        }
        if (result == 0)
            result = more;
    }
    return result == 0 && feed->output.lines ? commit(feed) : result;
}

static int follow(struct feed *feed)
{
    const struct timespec pause = {.tv_nsec = POLL_MS * 1000000L};
    int result;
    while ((result = pump(feed)) == 0)
        nanosleep(&pause, NULL);
    return result;
}

/* "N" for every worker, or "W:N" for one, several with commas between. */
static bool read_from(struct span text, struct feed *feed)
{
    while (text.len) {
        struct span word = span_first(text, span_find(text, ','));
        struct span rest = span_skip(word, span_find(word, ':') + 1);
        uint64_t worker, from;
        text = span_skip(text, word.len + 1);
        if (rest.len == 0 && span_decimal(word, UINT64_MAX, &from)) {
            for (unsigned i = 0; i < JOURNAL_WORKERS; i++)
                feed->from[i] = from;
        } else if (span_decimal(span_first(word, word.len - rest.len - 1), JOURNAL_WORKERS - 1,
                                &worker) &&
                   span_decimal(rest, UINT64_MAX, &from)) {
            feed->from[worker] = from;
        } else {
            return false;
        }
    }
    return true;
}

/* *ret_lock holds the consumer's name, -1 if there is none. */
static int begin_consumer(struct feed *feed, struct span name, char text[JOURNAL_CONSUMER_MAX + 1],
                          int *ret_lock)
{
    if (!journal_consumer_name_good(name)) {
        cli_say("a consumer's name is letters, digits, '-', '_' and '.', at most %d",
                JOURNAL_CONSUMER_MAX);
        return EXIT_USAGE;
    }
    snprintf(text, JOURNAL_CONSUMER_MAX + 1, "%.*s", SPAN_FORMAT(name));
    feed->consumer = text;
    *ret_lock = journal_cursor_lock(feed->directory, text);
    int result =
        *ret_lock < 0 ? *ret_lock : journal_cursor_read(feed->directory, text, &feed->cursor);
    if (result == -ENOENT) /* from now on it is waited for */
        result = journal_cursor_write(feed->directory, text, &feed->cursor);
    if (result < 0) {
        cli_say("consumer %s: %s", text,
                result == -EBUSY     ? "it is running already"
                : result == -EBADMSG ? "its position is damaged; remove it and begin anew"
                                     : strerror(-result));
        return EXIT_BAD;
    }
    for (unsigned i = 0; i < JOURNAL_WORKERS; i++)
        if (feed->cursor.next[i] > feed->from[i])
            feed->from[i] = feed->cursor.next[i];
    return EXIT_GOOD;
}

static int begin(struct cli *cli, struct feed *feed, char directory[PATH_ROOM],
                 char name[JOURNAL_CONSUMER_MAX + 1], int *ret_lock)
{
    struct span consumer = values_text(cli->command, &cli->values, "consumer");
    *feed = (struct feed){.directory = directory};
    *ret_lock = -1;
    int status = journal_directory(cli, directory);
    if (status == EXIT_GOOD && !read_from(values_text(cli->command, &cli->values, "from"), feed)) {
        cli_say("--from is a sequence, or WORKER:SEQUENCE with commas between");
        status = EXIT_USAGE;
    }
    if (status == EXIT_GOOD)
        status = output_init(&feed->output, cli);
    if (status == EXIT_GOOD && consumer.len)
        status = begin_consumer(feed, consumer, name, ret_lock);
    return status;
}

static int end(struct feed *feed, int lock, int result)
{
    if (lock >= 0)
        close(lock);
    if (result < 0)
        cli_say("the journal: %s", strerror(-result));
    int status = result < 0 || feed->missing ? EXIT_BAD : EXIT_GOOD;
    feed_fini(feed);
    return status;
}

int cli_journal_export(struct cli *cli)
{
    char directory[PATH_ROOM], name[JOURNAL_CONSUMER_MAX + 1];
    struct feed feed;
    int lock, status = begin(cli, &feed, directory, name, &lock);
    if (status != EXIT_GOOD) {
        end(&feed, lock, 0);
        return status;
    }
    put_header(&feed.output);
    int result = pump(&feed);
    for (unsigned i = 0; result == 0 && i < JOURNAL_WORKERS; i++)
        if (feed.streams[i])
            feed.missing += feed.streams[i]->damaged_files;
    if (result == 0 && !output_flush())
        result = -EIO;
    return end(&feed, lock, result);
}

/* ---- the last lines ---- */

/* An event's time as RFC 3339 writes it, with its quotes: it sorts as it stands. */
struct event_time {
    char text[DATE_RFC3339_LENGTH + 3];
};

struct last_line {
    struct journal_line line;
    char *text;
    struct event_time time; /* not below that of the worker's line before: their order stays */
};

struct last_lines {
    struct last_line *lines; /* a ring of `room` per worker would hold more than is wanted: one */
    size_t room, count;
    uint64_t next[JOURNAL_WORKERS];
    struct event_time latest[JOURNAL_WORKERS];
    bool short_of_memory;
};

static struct event_time time_of(struct span line)
{
    struct json_walk walk = json_walk_over(line);
    struct event_time time = {0};
    struct span key, value;
    while (json_next(&walk, &key, &value))
        if (span_equals(key, SPAN("event_time")))
            snprintf(time.text, sizeof time.text, "%.*s", SPAN_FORMAT(value));
    return time;
}

static int by_time(const void *a, const void *b)
{
    const struct last_line *left = a, *right = b;
    int order = strcmp(left->time.text, right->time.text);
    if (order)
        return order;
    if (left->line.worker != right->line.worker)
        return left->line.worker < right->line.worker ? -1 : 1;
    return left->line.sequence < right->line.sequence ? -1 : 1;
}

/* Keeps the latest of all: when twice as many are there, the older half goes. */
static void keep_latest(struct last_lines *last, size_t wanted)
{
    qsort(last->lines, last->count, sizeof *last->lines, by_time);
    size_t over = last->count > wanted ? last->count - wanted : 0;
    for (size_t i = 0; i < over; i++)
        free(last->lines[i].text);
    memmove(last->lines, last->lines + over, (last->count - over) * sizeof *last->lines);
    last->count -= over;
}

static void keep_line(void *context, const struct journal_line *line)
{
    struct last_lines *last = context;
    last->next[line->worker] = line->sequence + 1;
    if (last->count == last->room)
        keep_latest(last, last->room / 2);
    char *text = malloc(line->text.len + 1);
    if (!text) {
        last->short_of_memory = true;
        return;
    }
    memcpy(text, line->text.data, line->text.len);
    struct last_line *kept = &last->lines[last->count++];
    struct event_time *latest = &last->latest[line->worker], time = time_of(line->text);
    if (strcmp(time.text, latest->text) > 0)
        *latest = time;
    *kept = (struct last_line){*line, text, *latest};
    kept->line.text = span_of(text, line->text.len);
}

/* Prints the last `wanted` lines; the feed goes on behind them. */
static int print_last(struct feed *feed, size_t wanted)
{
    struct last_lines last = {.room = 2 * wanted + 2};
    struct journal_tail tail;
    last.lines = calloc(last.room, sizeof *last.lines);
    if (!last.lines)
        return -ENOMEM;
    int result =
        journal_recover(feed->directory, (wanted + 1) * TAIL_LINE_BYTES, keep_line, &last, &tail);
    keep_latest(&last, wanted);
    for (size_t i = 0; i < last.count; i++) {
        put_line(&feed->output, &last.lines[i].line);
        free(last.lines[i].text);
    }
    for (unsigned i = 0; i < JOURNAL_WORKERS; i++)
        feed->from[i] = last.next[i];
    free(last.lines);
    if (result == 0 && last.short_of_memory)
        return -ENOMEM;
    return result == 0 && !output_flush() ? -EIO : result;
}

int cli_journal_tail(struct cli *cli)
{
    char directory[PATH_ROOM], name[JOURNAL_CONSUMER_MAX + 1];
    struct feed feed;
    uint64_t wanted = values_count(cli->command, &cli->values, "lines", TAIL_LINES);
    bool from = values_text(cli->command, &cli->values, "from").len > 0;
    int lock, status = begin(cli, &feed, directory, name, &lock), result = 0;
    if (status == EXIT_GOOD && wanted > 100000) {
        cli_say("--lines: at most 100000; `ringpost journal export` has them all");
        status = EXIT_USAGE;
    }
    if (status != EXIT_GOOD) {
        end(&feed, lock, 0);
        return status;
    }
    put_header(&feed.output);
    if (!feed.consumer && !from)
        result = print_last(&feed, wanted);
    if (result == 0 && values_flag(cli->command, &cli->values, "follow"))
        result = follow(&feed);
    else if (result == 0 && (feed.consumer || from))
        result = pump(&feed);
    return end(&feed, lock, result);
}

/* ---- verify ---- */

static const char *finding_name(const struct journal_finding *finding)
{
    switch (finding->kind) {
    case JOURNAL_MISSING:
        return "missing";
    case JOURNAL_DAMAGED:
        return "damaged";
    case JOURNAL_UNREADABLE:
        return "unreadable";
    default:
        return "state damaged";
    }
}

static void show_finding(void *context, const struct journal_finding *finding)
{
    char text[512];
    struct sink sink;
    sink_init(&sink, text, sizeof text);
    sink_format(&sink, "{\"finding\":\"%s\",\"worker\":%u", finding_name(finding), finding->worker);
    if (finding->kind == JOURNAL_MISSING || finding->kind == JOURNAL_DAMAGED)
        sink_format(&sink, ",\"from\":%" PRIu64 ",\"to\":%" PRIu64, finding->from, finding->to);
    if (finding->file[0])
        sink_format(&sink, ",\"file\":\"%s\"", finding->file);
    sink_byte(&sink, '}');
    cli_show_record(context, sink_span(&sink));
}

int cli_journal_verify(struct cli *cli)
{
    char directory[PATH_ROOM];
    struct journal_verified verified;
    int status = journal_directory(cli, directory);
    if (status != EXIT_GOOD)
        return status;
    struct cli_show *show = cli_show_new(cli, cli->command);
    if (!show)
        return EXIT_BAD;
    int result = journal_verify(directory, show_finding, show, &verified);
    cli_show_end(show);
    if (result < 0) {
        cli_say("the journal: %s", strerror(-result));
        return EXIT_UNREACHABLE;
    }
    if (!cli->json)
        printf("%" PRIu64 " worker(s), %" PRIu64 " segment(s), %" PRIu64 " frame(s), %" PRIu64
               " lost and declared: %" PRIu64 " finding(s)\n",
               verified.workers, verified.segments, verified.frames, verified.lost,
               verified.findings);
    return verified.findings ? EXIT_BAD : EXIT_GOOD;
}

/* ---- cursors ---- */

struct cursor_list {
    struct cli_show *show;
    const struct journal_tail *tail;
};

static void ignore_line(void *context, const struct journal_line *line)
{
}

static uint64_t behind(const struct journal_tail *tail, const struct journal_cursor *cursor)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < JOURNAL_WORKERS; i++) {
        uint64_t next = cursor->next[i] ? cursor->next[i] : 1;
        sum += tail->next_sequence[i] > next ? tail->next_sequence[i] - next : 0;
    }
    return sum;
}

static void show_cursor(void *context, const char *name, const struct journal_cursor *cursor,
                        time_t changed, int error)
{
    const struct cursor_list *list = context;
    char text[JOURNAL_WORKERS * 64 + 512];
    struct sink sink;
    bool any = false;
    sink_init(&sink, text, sizeof text);
    sink_format(&sink, "{\"consumer\":\"%s\",\"behind\":%" PRIu64 ",\"moved\":%" PRIu64, name,
                behind(list->tail, cursor), (uint64_t)changed * 1000);
    if (error)
        sink_put(&sink, SPAN(",\"damaged\":true"));
    sink_put(&sink, SPAN(",\"positions\":["));
    for (unsigned i = 0; i < JOURNAL_WORKERS; i++)
        if (cursor->next[i]) {
            sink_format(&sink, "%s{\"worker\":%u,\"next\":%" PRIu64 "}", any ? "," : "", i,
                        cursor->next[i]);
            any = true;
        }
    sink_put(&sink, SPAN("]}"));
    cli_show_record(list->show, sink_span(&sink));
}

static int remove_consumer(const char *directory, struct span name)
{
    char text[JOURNAL_CONSUMER_MAX + 1];
    if (!journal_consumer_name_good(name)) {
        cli_say("there is no such consumer");
        return EXIT_BAD;
    }
    snprintf(text, sizeof text, "%.*s", SPAN_FORMAT(name));
    int result = journal_cursor_remove(directory, text);
    if (result < 0)
        cli_say("consumer %s: %s", text, result == -EBUSY ? "it is running" : strerror(-result));
    return result < 0 ? EXIT_BAD : EXIT_GOOD;
}

int cli_journal_cursors(struct cli *cli)
{
    char directory[PATH_ROOM];
    struct span name = values_text(cli->command, &cli->values, "remove");
    int status = journal_directory(cli, directory);
    if (status != EXIT_GOOD)
        return status;
    if (name.len)
        return remove_consumer(directory, name);
    struct journal_tail tail;
    struct cursor_list list = {cli_show_new(cli, cli->command), &tail};
    int result =
        list.show ? journal_recover(directory, JOURNAL_PIECE, ignore_line, NULL, &tail) : -ENOMEM;
    if (result == 0)
        result = journal_cursors_each(directory, show_cursor, &list);
    if (list.show)
        cli_show_end(list.show);
    if (result < 0)
        cli_say("the journal: %s", strerror(-result));
    return result < 0 ? EXIT_BAD : EXIT_GOOD;
}
