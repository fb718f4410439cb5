#include "core/manual.h"

#include "core/config_value.h"
#include "core/option.h"

#include <stdio.h>

enum { LINE = 4096, WIDTH = 76 };

static const struct daemon_usage usage[] = {
    {"--config", "FILE",
     "Run in the foreground until SIGTERM or SIGINT, which end it in order; a service manager "
     "restarts it."},
    {"--check-config", "FILE", "Say what is wrong with it, or nothing."},
    {"--dump-config", "FILE", "Every option with its value and where it was set."},
    {"--options", NULL, "Every option, documented (Markdown)."},
    {"--metrics", NULL, "Every metric, documented (Markdown)."},
    {"--version", NULL, "Which version it is."},
    {"--help", NULL, "This list."},
};

const struct daemon_usage *manual_daemon_usage(unsigned index)
{
    return index < countof(usage) ? &usage[index] : NULL;
}

/* ---- mdoc text ---- */

/* A word with what roff would take for its own made plain. */
static void put_word(const struct text_writer *writer, struct span word)
{
    for (size_t i = 0; i < word.len; i++) {
        char c = word.data[i];
        if (c == '\\')
            text_write(writer, "\\e");
        else if (c == '-' || c == '`' || c == '\'' || c == '~' || c == '^')
            text_write(writer,
                       c == '-'    ? "\\-"
                       : c == '\'' ? "\\(aq"
                       : c == '`'  ? "\\(ga"
                                   : "\\%s",
                       c == '~' ? "(ti" : "(ha");
        else
            text_write(writer, "%c", c);
    }
}

static bool ends_sentence(struct span word)
{
    char c = word.len > 1 ? word.data[word.len - 1] : 0;
    return c == '.' || c == '?' || c == '!';
}

/* Text as lines: a sentence begins a new one, and no line begins with a control character. */
static void put_text(const struct text_writer *writer, const char *text)
{
    struct span rest = span_string(text);
    unsigned at = 0;
    while (rest.len) {
        struct span word = span_first(rest, span_find(rest, ' '));
        rest = span_skip(rest, word.len + 1);
        if (at && at + 1 + word.len > WIDTH)
            at = 0, text_write(writer, "\n");
        if (at)
            text_write(writer, " ");
        else if (word.len && (word.data[0] == '.' || word.data[0] == '\''))
            text_write(writer, "\\&");
        put_word(writer, word);
        at += (unsigned)word.len + 1;
        if (ends_sentence(word) && rest.len)
            at = 0, text_write(writer, "\n");
    }
    text_write(writer, "\n");
}

/* An argument of a macro, in quotes. */
static void put_quoted(const struct text_writer *writer, const char *text)
{
    text_write(writer, "\"");
    for (; *text; text++)
        text_write(writer, *text == '"' ? "\"\"" : *text == '\\' ? "\\e" : "%c", *text);
    text_write(writer, "\"");
}

static void put_head(const struct text_writer *writer, const char *title, const char *section,
                     const char *name, const char *what)
{
    text_write(writer, ".Dd November 24, 2026\n.Dt %s %s\n.Os Ringpost\n.Sh NAME\n.Nm %s\n.Nd %s\n",
               title, section, name, what);
}

static void put_paragraphs(const struct text_writer *writer, const char *text)
{
    struct span rest = span_string(text);
    while (rest.len) {
        const char *end = memmem(rest.data, rest.len, "\n\n", 2);
        size_t len = end ? (size_t)(end - rest.data) : rest.len;
        char paragraph[LINE];
        check(len < sizeof paragraph);
        memcpy(paragraph, rest.data, len);
        paragraph[len] = '\0';
        text_write(writer, ".Pp\n");
        put_text(writer, paragraph);
        rest = span_skip(rest, len + 2);
    }
}

/* ---- ringpost(1) ---- */

static void put_argument_synopsis(const struct text_writer *writer, const struct argument *argument)
{
    bool positional = argument->flags & POSITIONAL;
    text_write(writer, argument->flags & MANDATORY ? "." : ".Op ");
    if (positional) {
        text_write(writer, "Ar %s\n", argument->name);
        return;
    }
    text_write(writer, "Fl \\-%s", argument->name);
    if (argument->value)
        text_write(writer, " Ar %s", argument->value);
    text_write(writer, "\n");
}

static void put_argument(const struct text_writer *writer, const struct argument *argument)
{
    if (argument->flags & POSITIONAL)
        text_write(writer, ".It Ar %s\n", argument->name);
    else
        text_write(writer, ".It Fl \\-%s%s%s\n", argument->name, argument->value ? " Ar " : "",
                   argument->value ? argument->value : "");
    put_text(writer, argument->doc);
    if (argument->choices) {
        text_write(writer, "One of:\n");
        put_text(writer, argument->choices);
    }
}

static void put_fields(const struct text_writer *writer, const struct field *fields, unsigned count)
{
    text_write(writer, ".Bl -tag -width Ds -compact\n");
    for (unsigned i = 0; i < count; i++) {
        text_write(writer, ".It Va %s\n", fields[i].name);
        put_text(writer, fields[i].doc);
        if (fields[i].field_count)
            put_fields(writer, fields[i].fields, fields[i].field_count);
    }
    text_write(writer, ".El\n");
}

static void put_command(const struct text_writer *writer, const struct command *command)
{
    text_write(writer, ".Ss %s%s%s\n.Nm\n.Cm %s%s%s\n", command->noun, command->verb ? " " : "",
               command->verb ? command->verb : "", command->noun, command->verb ? " " : "",
               command->verb ? command->verb : "");
    for (unsigned i = 0; i < command->argument_count; i++)
        put_argument_synopsis(writer, &command->arguments[i]);
    text_write(writer, ".Pp\n");
    put_text(writer, command->brief);
    if (command->text)
        put_paragraphs(writer, command->text);
    if (command->argument_count) {
        text_write(writer, ".Bl -tag -width Ds\n");
        for (unsigned i = 0; i < command->argument_count; i++)
            put_argument(writer, &command->arguments[i]);
        text_write(writer, ".El\n");
    }
    if (command->field_count) {
        text_write(writer, ".Pp\nThe answer holds:\n.Pp\n");
        put_fields(writer, command->fields, command->field_count);
    }
}

static void page_ringpost(const struct text_writer *writer)
{
    put_head(writer, "RINGPOST", "1", "ringpost",
             "command line of the Ringpost mail transfer agent");
    text_write(writer, ".Sh SYNOPSIS\n.Nm\n.Op Fl \\-config Ar FILE | Fl \\-socket Ar PATH\n"
                       ".Op Fl \\-json\n.Ar command ...\n.Sh DESCRIPTION\n");
    put_text(writer,
             "It asks the running daemon by its control socket; who may open the socket may "
             "do everything. Some commands need no daemon.");
    text_write(writer, ".Bl -tag -width Ds\n.It Fl \\-config Ar FILE\n");
    put_text(writer, "The daemon's configuration, which names its socket. Default: "
                     "/etc/ringpost/ringpost.toml.");
    text_write(writer, ".It Fl \\-socket Ar PATH\n");
    put_text(writer, "The control socket itself.");
    text_write(writer, ".It Fl \\-json\n");
    put_text(writer, "One JSON object per line, with the names that each command's answer lists. "
                     "Names that end in _ms are milliseconds: durations, or Unix time. What has no "
                     "value is left out.");
    text_write(writer, ".It Fl \\-help\n");
    put_text(writer, "All commands, or about one.");
    text_write(writer, ".It Fl \\-version\n");
    put_text(writer, "Which version it is.");
    text_write(writer, ".El\n.Sh COMMANDS\n");
    const struct command *command;
    for (unsigned i = 0; (command = command_at(i)); i++)
        put_command(writer, command);
    text_write(writer, ".Sh ENVIRONMENT\n.Bl -tag -width Ds\n.It Ev NO_COLOR\n");
    put_text(writer, "If set, no colours on a terminal either.");
    text_write(writer, ".El\n.Sh EXIT STATUS\n.Bl -tag -width Ds -compact\n"
                       ".It 0\nDone.\n.It 1\nIt failed, or the answer is bad news.\n"
                       ".It 2\nThe command line is wrong.\n"
                       ".It 3\nThe daemon cannot be reached.\n.El\n"
                       ".Sh SEE ALSO\n.Xr ringpost.toml 5 ,\n.Xr ringpostd 8\n");
}

/* ---- ringpostd(8) ---- */

static void page_ringpostd(const struct text_writer *writer)
{
    put_head(writer, "RINGPOSTD", "8", "ringpostd", "mail transfer agent for bulk senders");
    text_write(writer, ".Sh SYNOPSIS\n");
    for (size_t i = 0; i < countof(usage); i++)
        text_write(writer, ".Nm\n.Fl \\%s%s%s\n", usage[i].option + 1, usage[i].value ? " Ar " : "",
                   usage[i].value ? usage[i].value : "");
    text_write(writer, ".Sh DESCRIPTION\n");
    put_text(writer, "It takes mail by SMTP, makes it durable before it says 250, and delivers it. "
                     "Its configuration is one file. It logs to standard error, or to [log] file.");
    text_write(writer, ".Bl -tag -width Ds\n");
    for (size_t i = 0; i < countof(usage); i++) {
        text_write(writer, ".It Fl \\%s%s%s\n", usage[i].option + 1, usage[i].value ? " Ar " : "",
                   usage[i].value ? usage[i].value : "");
        put_text(writer, usage[i].doc);
    }
    text_write(writer, ".El\n.Sh SIGNALS\n.Bl -tag -width SIGTERM\n"
                       ".It Dv SIGTERM , Dv SIGINT\n");
    put_text(writer, "End in order: running transactions may finish for [delivery] "
                     "system_shutdown_timeout, what is not done stays queued. As `ringpost stop`.");
    text_write(writer, ".It Dv SIGHUP\n");
    put_text(writer, "Read the configuration again, as `ringpost reload`. A file with a mistake "
                     "changes nothing, and the log says what is wrong.");
    text_write(writer, ".It Dv SIGUSR1\n");
    put_text(writer, "Open the log's file again, after it was moved away.");
    text_write(writer, ".El\n.Sh EXIT STATUS\n.Bl -tag -width Ds -compact\n"
                       ".It 0\nEnded as asked.\n"
                       ".It 1\nStart\\-up failed, or the queue failed while running.\n"
                       ".It 2\nThe command line is wrong.\n.El\n"
                       ".Sh SEE ALSO\n.Xr ringpost 1 ,\n.Xr ringpost.toml 5\n");
}

/* ---- ringpost.toml(5) ---- */

static void put_bound(struct sink *sink, const struct option *option, uint64_t bound)
{
    if (option->type == OPTION_DURATION)
        value_put_duration(sink, bound);
    else if (option->type == OPTION_SIZE)
        value_put_size(sink, bound);
    else
        sink_decimal(sink, bound);
}

/* "list of durations, 1s to 1d; default \"5m\"; changes with a reload" */
static void put_form(const struct text_writer *writer, const struct option *option)
{
    char text[LINE];
    struct sink sink;
    sink_init(&sink, text, sizeof text - 1);
    sink_put(&sink, option->list ? SPAN("List of ") : SPAN(""));
    sink_put(&sink, span_string(option_type_name(option)));
    for (unsigned i = 0; option->type == OPTION_CHOICE && option_choice(option, i).len; i++)
        sink_format(&sink, "%s\"%.*s\"", i ? ", " : ": ", SPAN_FORMAT(option_choice(option, i)));
    if (option->most) {
        sink_put(&sink, SPAN(", "));
        put_bound(&sink, option, option->least);
        sink_put(&sink, SPAN(" to "));
        put_bound(&sink, option, option->most);
    }
    if (option->flags & REQUIRED)
        sink_put(&sink, SPAN("; must be given"));
    else if (option->standard)
        sink_format(&sink, "; default: %s", option->standard);
    sink_put(&sink, option->flags & RESTART ? SPAN("; changes with a restart.")
                                            : SPAN("; changes with a reload."));
    text[sink.len] = '\0';
    put_text(writer, text);
}

static void put_table(const struct text_writer *writer, enum table_id id)
{
    const struct option_table *table = option_table(id);
    unsigned count;
    const struct option *options = option_table_options(id, &count);
    char name[128];
    if (id == TABLE_TOP)
        snprintf(name, sizeof name, "At the top");
    else
        snprintf(name, sizeof name,
                 table->kind == TABLE_ARRAY   ? "[[%s]]"
                 : table->kind == TABLE_NAMED ? "[%s.\"NAME\"]"
                                              : "[%s]",
                 table->name);
    text_write(writer, ".Ss ");
    put_quoted(writer, name);
    text_write(writer, "\n");
    put_text(writer, table->doc);
    text_write(writer, ".Bl -tag -width Ds\n");
    for (unsigned i = 0; i < count; i++) {
        text_write(writer, ".It Cm %s\n", options[i].key);
        put_form(writer, &options[i]);
        put_text(writer, options[i].doc);
    }
    text_write(writer, ".El\n");
}

static void page_config(const struct text_writer *writer)
{
    put_head(writer, "RINGPOST.TOML", "5", "ringpost.toml", "configuration of ringpostd");
    text_write(writer, ".Sh DESCRIPTION\n");
    put_text(writer,
             "The file is TOML. An unknown key is an error. Durations are numbers with a "
             "unit (ms, s, m, h, d, w) in quotes, sizes likewise (B, KB, MB, GB, TB; a KB is "
             "1,024 bytes). `ringpost config check` says what is wrong with a file, "
             "`ringpost config dump` what is in use.");
    for (unsigned id = 0; id < TABLE_IDS; id++)
        put_table(writer, (enum table_id)id);
    text_write(writer, ".Sh SEE ALSO\n.Xr ringpost 1 ,\n.Xr ringpostd 8\n");
}

bool manual_page(struct span page, text_put *put, void *context)
{
    struct text_writer writer = {put, context};
    if (span_equals(page, SPAN("ringpost.1")))
        page_ringpost(&writer);
    else if (span_equals(page, SPAN("ringpostd.8")))
        page_ringpostd(&writer);
    else if (span_equals(page, SPAN("ringpost.toml.5")))
        page_config(&writer);
    else
        return false;
    return true;
}

/* ---- docs/COMMANDS.md ---- */

static const char *type_name(enum field_type type)
{
    static const char *const names[] = {
        [FIELD_TEXT] = "text",          [FIELD_COUNT] = "number",
        [FIELD_BYTES] = "bytes",        [FIELD_DURATION] = "duration",
        [FIELD_TIME] = "Unix time",     [FIELD_DECIMAL] = "decimal",
        [FIELD_FLAG] = "true or false", [FIELD_RECORDS] = "array of objects",
    };
    return names[type];
}

static void document_fields(const struct text_writer *writer, const struct field *fields,
                            unsigned count, const char *inside)
{
    for (unsigned i = 0; i < count; i++) {
        char name[128];
        snprintf(name, sizeof name, "%s%s", inside, fields[i].name);
        text_write(writer, "| `%s` | %s | %s |\n", name, type_name(fields[i].type), fields[i].doc);
        snprintf(name, sizeof name, "%s%s[].", inside, fields[i].name);
        document_fields(writer, fields[i].fields, fields[i].field_count, name);
    }
}

static void document_command(const struct text_writer *writer, const struct command *command)
{
    text_write(writer, "## %s%s%s\n\n%s", command->noun, command->verb ? " " : "",
               command->verb ? command->verb : "", command->brief);
    text_write(writer, command->local ? " Needs no daemon.\n\n" : "\n\n");
    if (command->text)
        text_write(writer, "%s\n\n", command->text);
    if (command->argument_count)
        text_write(writer, "| argument | meaning |\n|---|---|\n");
    for (unsigned i = 0; i < command->argument_count; i++) {
        const struct argument *argument = &command->arguments[i];
        text_write(writer, "| `%s%s%s%s`%s | %s", argument->flags & POSITIONAL ? "" : "--",
                   argument->name, argument->value ? " " : "",
                   argument->value ? argument->value : "",
                   argument->flags & MANDATORY ? " (must be given)" : "", argument->doc);
        text_write(writer, argument->choices ? " One of: %s |\n" : " |\n", argument->choices);
    }
    if (command->argument_count)
        text_write(writer, "\n");
    if (!command->field_count)
        return;
    text_write(writer, "| in the answer | type | meaning |\n|---|---|---|\n");
    document_fields(writer, command->fields, command->field_count, "");
    text_write(writer, "\n");
}

void manual_commands(text_put *put, void *context)
{
    struct text_writer writer = {put, context};
    text_write(
        &writer,
        "# The commands of `ringpost`\n\n"
        "Made from the table of commands (`core/command_table_*.c`).\n\n"
        "`ringpost [--config FILE | --socket PATH] [--json] COMMAND ...` asks the running daemon "
        "by its control\nsocket (`[control] socket`; who may open it may do everything).\n\n"
        "With `--json` the answer is one JSON object per line, with the members below. Times are "
        "Unix time and\ndurations are numbers, both in milliseconds. What has no value is left "
        "out. New members may be added,\nthe meaning of one never changes.\n\n"
        "Exit status: 0 done; 1 failed, or the answer is bad news; 2 usage; 3 the daemon cannot "
        "be reached.\n\n");
    const struct command *command;
    for (unsigned i = 0; (command = command_at(i)); i++)
        document_command(&writer, command);
}
