/* `ringpost config check` and `config explain`: without a daemon. */
#include "core/cli.h"
#include "core/config_value.h"
#include "core/control_record.h"
#include "core/option.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { OUTPUT = 64 * 1024, RECORD = 128 * 1024 };

/* A record made here is shown as the daemon's are. */
static void show(struct cli *cli, struct sink *sink, struct record *record)
{
    struct frame frame;
    if (!record_end(record) || frame_read(sink_span(sink), FRAME_MAX, &frame) <= 0)
        return;
    struct cli_show *shown = cli_show_new(cli, cli->command);
    if (shown)
        cli_show_record(shown, frame.payload);
    cli_show_end(shown);
}

/* ---- check ---- */

/* The one beside this program, else that of the path. */
static void run_daemon(const char *file)
{
    char path[4096];
    ssize_t len = readlink("/proc/self/exe", path, sizeof path - sizeof "/ringpostd");
    while (len > 0 && path[len - 1] != '/')
        len--;
    if (len > 0) {
        memcpy(path + len, "ringpostd", sizeof "ringpostd");
        execl(path, "ringpostd", "--check-config", file, (char *)NULL);
    }
    execlp("ringpostd", "ringpostd", "--check-config", file, (char *)NULL);
    fprintf(stderr, "ringpost: cannot run ringpostd: %s\n", strerror(errno));
    _exit(127);
}

/* What it says on standard error; its exit status, or -1. */
static int check_file(const char *file, struct sink *said)
{
    int ends[2], status;
    if (pipe(ends) < 0)
        return -1;
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        run_daemon(file);
    }
    close(ends[1]);
    char piece[4096];
    for (ssize_t got; child > 0 && (got = read(ends[0], piece, sizeof piece)) != 0;) {
        if (got > 0)
            sink_put(said, span_of(piece, (size_t)got));
        else if (errno != EINTR)
            break;
    }
    close(ends[0]);
    if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status))
        return -1;
    return WEXITSTATUS(status);
}

int cli_config_check(struct cli *cli)
{
    static char output[OUTPUT], memory[RECORD];
    const char *file = cli->values.given[0] ? cli->values.text[0].data : cli->config;
    if (!file) {
        cli_say("config check wants a file, or --config FILE");
        return EXIT_USAGE;
    }
    struct sink said, sink;
    struct record record;
    sink_init(&said, output, sizeof output);
    int status = check_file(file, &said);
    if (status != 0 && status != 1) {
        cli_say("ringpostd could not be run: %.*s", SPAN_FORMAT(sink_span(&said)));
        return EXIT_BAD;
    }
    if (!cli->json)
        fprintf(stderr, "%.*s", SPAN_FORMAT(sink_span(&said)));
    sink_init(&sink, memory, sizeof memory);
    record_begin(&record, &sink);
    record_text(&record, "file", span_string(file));
    record_flag(&record, "good", status == 0);
    if (said.len)
        record_text(&record, "text", sink_span(&said));
    show(cli, &sink, &record);
    return status == 0 ? EXIT_GOOD : EXIT_BAD;
}

/* ---- explain ---- */

static void put_bound(struct record *record, const char *name, const struct option *option,
                      uint64_t bound)
{
    char text[64];
    struct sink sink;
    sink_init(&sink, text, sizeof text);
    if (option->type == OPTION_DURATION)
        value_put_duration(&sink, bound);
    else if (option->type == OPTION_SIZE)
        value_put_size(&sink, bound);
    else
        sink_decimal(&sink, bound);
    record_text(record, name, sink_span(&sink));
}

static void put_form(struct record *record, const struct option *option)
{
    char text[1024];
    struct sink sink;
    sink_init(&sink, text, sizeof text);
    sink_put(&sink, span_string(option_form(option)));
    for (unsigned i = 0; option->type == OPTION_CHOICE && option_choice(option, i).len; i++)
        sink_format(&sink, "%s\"%.*s\"", i ? ", " : ": ", SPAN_FORMAT(option_choice(option, i)));
    record_text(record, "form", sink_span(&sink));
}

static void put_option(const struct option *option, struct record *record)
{
    char name[256];
    const char *table = option_table(option->table)->name;
    snprintf(name, sizeof name, "%s%s%s", table, table[0] ? "." : "", option->key);
    record_text(record, "option", span_string(name));
    put_form(record, option);
    if (option->flags & REQUIRED)
        record_text(record, "default", SPAN("none: it must be given"));
    else if (option->standard)
        record_text(record, "default", span_string(option->standard));
    if (option->most) {
        put_bound(record, "least", option, option->least);
        put_bound(record, "most", option, option->most);
    }
    record_text(record, "changes", option->flags & RESTART ? SPAN("restart") : SPAN("reload"));
    record_text(record, "meaning", span_string(option->doc));
}

/* "table.key", "table[].key", or the key alone. */
static bool is_meant(const struct option *option, struct span key)
{
    struct span table = span_string(option_table(option->table)->name);
    struct span name = span_string(option->key);
    if (span_equals(key, name))
        return true;
    if (key.len != table.len + 1 + name.len || !span_starts_with(key, table))
        return false;
    return key.data[table.len] == '.' && span_equals(span_skip(key, table.len + 1), name);
}

static void complain(struct span key)
{
    const char *near = NULL;
    size_t dot = key.len;
    while (dot > 0 && key.data[dot - 1] != '.')
        dot--;
    for (unsigned id = 0; id < TABLE_IDS && !near; id++)
        near = option_near((enum table_id)id, span_skip(key, dot));
    cli_say("there is no option %.*s%s%s%s", SPAN_FORMAT(key), near ? "; did you mean " : "",
            near ? near : "", near ? "?" : "");
}

int cli_config_explain(struct cli *cli)
{
    static char memory[RECORD];
    struct cli_show *shown = cli_show_new(cli, cli->command);
    bool any = false;
    for (unsigned id = 0; shown && id < TABLE_IDS; id++) {
        unsigned count;
        const struct option *options = option_table_options((enum table_id)id, &count);
        for (unsigned i = 0; i < count; i++) {
            struct sink sink;
            struct record record;
            struct frame frame;
            if (!is_meant(&options[i], cli->values.text[0]))
                continue;
            sink_init(&sink, memory, sizeof memory);
            record_begin(&record, &sink);
            put_option(&options[i], &record);
            if (record_end(&record) && frame_read(sink_span(&sink), FRAME_MAX, &frame) > 0)
                cli_show_record(shown, frame.payload);
            any = true;
        }
    }
    cli_show_end(shown);
    if (!any)
        complain(cli->values.text[0]);
    return any ? EXIT_GOOD : EXIT_USAGE;
}
