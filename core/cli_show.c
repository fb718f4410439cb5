/* Records for people. The first SAMPLE records of a table (of SAMPLE_MS, if they come slowly) are
 * held back to find the widths of its columns; later ones keep them. A column that no record of the
 * sample has is left out. Text comes from JSON, where control characters are escaped; what they
 * would be is shown as '?'. */
#include "core/cli.h"
#include "core/config_value.h"
#include "core/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum {
    COLUMNS_MAX = 32,
    SAMPLE = 50,
    SAMPLE_MS = 1500,
    CELL = 512,
    COLUMN_WIDTH_MAX = 48,
    CARD_INDENT = 2
};

struct row {
    char *cells[COLUMNS_MAX]; /* NULL: no value */
};

struct cli_show {
    const struct cli *cli;
    const struct command *command;
    struct row rows[SAMPLE];
    unsigned row_count;
    unsigned width[COLUMNS_MAX];
    bool used[COLUMNS_MAX], flowing; /* flowing: the head is printed */
    uint64_t now_ms;
    bool any;    /* a record was shown */
    bool failed; /* standard output takes no more */
};

/* ---- one value ---- */

static void put_span(struct sink *sink, uint64_t ms)
{
    static const struct {
        uint64_t ms;
        char unit;
    } units[] = {{86400000, 'd'}, {3600000, 'h'}, {60000, 'm'}, {1000, 's'}};
    unsigned parts = 0;
    for (unsigned i = 0; i < countof(units) && parts < 2; i++) {
        if (ms < units[i].ms && parts == 0)
            continue;
        if (ms >= units[i].ms)
            sink_format(sink, "%llu%c", (unsigned long long)(ms / units[i].ms), units[i].unit);
        ms %= units[i].ms;
        parts++;
    }
    if (parts == 0)
        sink_format(sink, "%llums", (unsigned long long)ms);
}

static void put_time(struct sink *sink, uint64_t at_ms, uint64_t now_ms)
{
    if (at_ms > now_ms) {
        sink_put(sink, SPAN("in "));
        put_span(sink, at_ms - now_ms);
        return;
    }
    put_span(sink, now_ms - at_ms);
    sink_put(sink, SPAN(" ago"));
}

static void put_bytes(struct sink *sink, uint64_t bytes)
{
    static const char *const units[] = {"B", "KB", "MB", "GB", "TB"};
    unsigned unit = 0;
    double value = (double)bytes;
    for (; value >= 1024 && unit + 1 < countof(units); unit++)
        value /= 1024;
    sink_format(sink, unit ? "%.1f%s" : "%.0f%s", value, units[unit]);
}

/* One JSON value as people read it. */
static void put_value(struct cli_show *show, const struct field *field, struct span value,
                      struct sink *sink)
{
    char scratch[CELL];
    struct sink text_sink;
    struct span text;
    uint64_t number = 0;
    bool is_number = span_decimal(value, UINT64_MAX, &number);
    sink_init(&text_sink, scratch, sizeof scratch);
    if (field->type == FIELD_TIME && is_number)
        put_time(sink, number, show->now_ms);
    else if (field->type == FIELD_DURATION && is_number)
        put_span(sink, number);
    else if (field->type == FIELD_BYTES && is_number)
        put_bytes(sink, number);
    else if (field->type == FIELD_FLAG)
        sink_put(sink, span_equals(value, SPAN("true")) ? SPAN("yes") : SPAN("no"));
    else if (field->type == FIELD_TEXT && json_read_string(value, &text_sink, &text))
        sink_printable(sink, text, CELL);
    else
        sink_printable(sink, value, CELL);
}

static const struct field *find_field(const struct field *fields, unsigned count, struct span name,
                                      unsigned *ret_place)
{
    for (unsigned i = 0; i < count; i++) {
        if (!span_equals(span_string(fields[i].name), name))
            continue;
        *ret_place = i;
        return &fields[i];
    }
    return NULL;
}

/* "retry_at_ms" is shown as "retry at": its unit is shown with the value. */
static void put_name(const struct field *field, struct sink *sink)
{
    struct span name = span_string(field->name);
    bool unit = field->type == FIELD_TIME || field->type == FIELD_DURATION;
    if (unit && span_ends_with_any_case(name, SPAN("_ms")))
        name.len -= 3;
    for (size_t i = 0; i < name.len; i++)
        sink_byte(sink, name.data[i] == '_' ? ' ' : name.data[i]);
}

static void print(struct cli_show *show, struct span text)
{
    if (fwrite(text.data, 1, text.len, stdout) != text.len)
        show->failed = true;
}

static void print_styled(struct cli_show *show, const char *style, struct span text)
{
    if (show->cli->colours)
        print(show, span_string(style));
    print(show, text);
    if (show->cli->colours)
        print(show, SPAN("\033[0m"));
}

static void print_blanks(struct cli_show *show, unsigned count)
{
    while (count--)
        print(show, SPAN(" "));
}

/* ---- one object: "name: value" lines ---- */

static unsigned name_width(const struct field *fields, unsigned count)
{
    unsigned width = 0;
    for (unsigned i = 0; i < count; i++) {
        char name[64];
        struct sink sink;
        sink_init(&sink, name, sizeof name);
        put_name(&fields[i], &sink);
        if (sink.len > width && fields[i].type != FIELD_RECORDS)
            width = (unsigned)sink.len;
    }
    return width;
}

static void print_card(struct cli_show *show, const struct field *fields, unsigned count,
                       struct span object, unsigned indent);

/* "[{...}, {...}]": each object as a card of its own. */
static void print_cards(struct cli_show *show, const struct field *field, struct span array,
                        unsigned indent)
{
    struct json_walk items = json_items_over(array);
    struct span object;
    char name[64];
    struct sink sink;
    sink_init(&sink, name, sizeof name);
    put_name(field, &sink);
    while (json_next_item(&items, &object)) {
        print_blanks(show, indent);
        print_styled(show, "\033[1m", sink_span(&sink));
        print(show, SPAN("\n"));
        print_card(show, field->fields, field->field_count, object, indent + CARD_INDENT);
    }
}

static void print_card(struct cli_show *show, const struct field *fields, unsigned count,
                       struct span object, unsigned indent)
{
    unsigned width = name_width(fields, count), place;
    struct json_walk walk = json_walk_over(object);
    struct span key, value;
    while (json_next(&walk, &key, &value)) {
        const struct field *field = find_field(fields, count, key, &place);
        char name[64], cell[CELL];
        struct sink name_sink, sink;
        if (!field || (field->flags & ONLY_JSON))
            continue;
        if (field->type == FIELD_RECORDS) {
            print_cards(show, field, value, indent);
            continue;
        }
        sink_init(&name_sink, name, sizeof name);
        sink_init(&sink, cell, sizeof cell);
        put_name(field, &name_sink);
        put_value(show, field, value, &sink);
        print_blanks(show, indent);
        print_styled(show, "\033[1m", sink_span(&name_sink));
        print_blanks(show, width - (unsigned)name_sink.len + 2);
        print(show, sink_span(&sink));
        print(show, SPAN("\n"));
    }
}

/* ---- many objects: a table ---- */

static unsigned column_count(const struct cli_show *show)
{
    unsigned count = show->command->field_count;
    return count < COLUMNS_MAX ? count : COLUMNS_MAX;
}

static bool right_aligned(const struct field *field)
{
    return field->type == FIELD_COUNT || field->type == FIELD_BYTES || field->type == FIELD_DECIMAL;
}

static void print_cell(struct cli_show *show, unsigned column, struct span text, bool last)
{
    unsigned width = show->width[column];
    unsigned pad = text.len < width ? width - (unsigned)text.len : 0;
    bool right = right_aligned(&show->command->fields[column]);
    if (right)
        print_blanks(show, pad);
    print(show, text);
    if (!last)
        print_blanks(show, (right ? 0 : pad) + 2);
}

static unsigned last_column(const struct cli_show *show)
{
    unsigned last = 0;
    for (unsigned i = 0; i < column_count(show); i++)
        if (show->used[i])
            last = i;
    return last;
}

static void print_row(struct cli_show *show, const struct row *row)
{
    unsigned last = last_column(show);
    for (unsigned i = 0; i < column_count(show); i++)
        if (show->used[i])
            print_cell(show, i, span_string(row->cells[i] ? row->cells[i] : "-"), i == last);
    print(show, SPAN("\n"));
}

static void print_head(struct cli_show *show)
{
    unsigned last = last_column(show);
    if (show->cli->colours)
        print(show, SPAN("\033[1m"));
    for (unsigned i = 0; i < column_count(show); i++) {
        char name[64];
        struct sink sink;
        if (!show->used[i])
            continue;
        sink_init(&sink, name, sizeof name);
        put_name(&show->command->fields[i], &sink);
        print_cell(show, i, sink_span(&sink), i == last);
    }
    print(show, show->cli->colours ? SPAN("\033[0m\n") : SPAN("\n"));
}

static void free_row(struct row *row)
{
    for (unsigned i = 0; i < COLUMNS_MAX; i++)
        free(row->cells[i]);
    *row = (struct row){0};
}

static void measure(struct cli_show *show)
{
    for (unsigned i = 0; i < column_count(show); i++) {
        char name[64];
        struct sink sink;
        sink_init(&sink, name, sizeof name);
        put_name(&show->command->fields[i], &sink);
        show->width[i] = (unsigned)sink.len;
        for (unsigned r = 0; r < show->row_count; r++) {
            const char *cell = show->rows[r].cells[i];
            if (!cell)
                continue;
            show->used[i] = true;
            if (strlen(cell) > show->width[i])
                show->width[i] = (unsigned)strlen(cell);
        }
        if (show->width[i] > COLUMN_WIDTH_MAX)
            show->width[i] = COLUMN_WIDTH_MAX;
    }
}

static void flush_sample(struct cli_show *show)
{
    if (show->flowing || show->row_count == 0)
        return;
    measure(show);
    print_head(show);
    show->flowing = true;
    for (unsigned i = 0; i < show->row_count; i++) {
        print_row(show, &show->rows[i]);
        free_row(&show->rows[i]);
    }
    show->row_count = 0;
}

static void fill_row(struct cli_show *show, struct span object, struct row *row)
{
    struct json_walk walk = json_walk_over(object);
    struct span key, value;
    unsigned place;
    while (json_next(&walk, &key, &value)) {
        const struct field *field =
            find_field(show->command->fields, column_count(show), key, &place);
        char cell[CELL + 1];
        struct sink sink;
        if (!field || (field->flags & ONLY_JSON) || field->type == FIELD_RECORDS ||
            row->cells[place])
            continue;
        sink_init(&sink, cell, CELL);
        put_value(show, field, value, &sink);
        cell[sink.len] = '\0';
        row->cells[place] = strdup(cell);
    }
}

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void show_in_table(struct cli_show *show, struct span object)
{
    if (!show->flowing) {
        fill_row(show, object, &show->rows[show->row_count++]);
        if (show->row_count == SAMPLE || now_ms() - show->now_ms > SAMPLE_MS)
            flush_sample(show);
        return;
    }
    struct row row = {0};
    fill_row(show, object, &row);
    print_row(show, &row);
    free_row(&row);
}

static void show_text(struct cli_show *show, struct span object)
{
    struct json_walk walk = json_walk_over(object);
    struct span key, value, text;
    while (json_next(&walk, &key, &value)) {
        char *scratch = malloc(value.len + 1);
        struct sink sink;
        if (!scratch)
            return;
        sink_init(&sink, scratch, value.len + 1);
        if (span_equals(key, SPAN("text")) && json_read_string(value, &sink, &text)) {
            print(show, text);
            print(show, SPAN("\n"));
        }
        free(scratch);
    }
}

/* ---- all ---- */

struct cli_show *cli_show_new(const struct cli *cli, const struct command *command)
{
    struct cli_show *show = calloc(1, sizeof *show);
    if (!show)
        return NULL;
    show->cli = cli;
    show->command = command;
    show->now_ms = now_ms();
    setvbuf(stdout, NULL, _IOLBF, 0); /* what is live is seen at once, also through a pipe */
    return show;
}

bool cli_show_record(void *context, struct span object)
{
    struct cli_show *show = context;
    const struct command *command = show->command;
    if (show->cli->json) {
        print(show, object);
        print(show, SPAN("\n"));
    } else if (command->shape == ANSWER_MANY) {
        show_in_table(show, object);
    } else if (command->shape == ANSWER_TEXT) {
        show_text(show, object);
    } else {
        if (show->any)
            print(show, SPAN("\n"));
        print_card(show, command->fields, command->field_count, object, 0);
    }
    show->any = true;
    return !show->failed;
}

struct cli_show *cli_show_end(struct cli_show *show)
{
    if (show)
        flush_sample(show);
    free(show);
    return NULL;
}

int cli_run_plain(struct cli *cli)
{
    struct cli_show *show = cli_show_new(cli, cli->command);
    if (!show) {
        cli_say("no memory");
        return EXIT_BAD;
    }
    int status = cli_call(cli, cli->command, &cli->values, cli_show_record, show);
    cli_show_end(show);
    if (fflush(stdout) != 0 && status == EXIT_GOOD)
        return EXIT_BAD;
    return status;
}
