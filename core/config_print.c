/* A snapshot as TOML, the option table as documentation, and two snapshots compared: all by walking
 * options.def, so that a new option appears here by itself. */
#include "core/config_private.h"
#include "core/config_value.h"

#include <stdio.h>

enum { LINE = 8192, ONE_LINE = 8 /* a longer list takes a line per element */ };

typedef void put_line(void *context, const char *text);

struct printer {
    put_line *line;
    void *context;
    char text[LINE];
    struct sink sink;
};

static void printer_init(struct printer *printer, put_line *line, void *context)
{
    printer->line = line;
    printer->context = context;
    sink_init(&printer->sink, printer->text, sizeof printer->text - 1);
}

static void printer_end_line(struct printer *printer)
{
    printer->text[printer->sink.len] = '\0';
    printer->line(printer->context, printer->text);
    sink_init(&printer->sink, printer->text, sizeof printer->text - 1);
}

/* ---- dump ---- */

static void put_origin(struct sink *sink, const struct origin *origin)
{
    if (origin->line == 0)
        sink_put(sink, SPAN("  # default"));
    else if (origin->line == LINE_ENVIRONMENT)
        sink_put(sink, SPAN("  # environment"));
    else
        sink_format(sink, "  # line %u", origin->line);
}

static void dump_list(struct printer *printer, const struct option *option, const void *owner)
{
    size_t count = option_value_count(option, owner);
    sink_byte(&printer->sink, '[');
    for (size_t i = 0; i < count; i++) {
        if (count > ONE_LINE) {
            printer_end_line(printer);
            sink_put(&printer->sink, SPAN("    "));
        } else if (i) {
            sink_byte(&printer->sink, ' ');
        }
        option_put_value(&printer->sink, option, owner, i);
        if (i + 1 < count || count > ONE_LINE)
            sink_byte(&printer->sink, ',');
    }
    if (count > ONE_LINE)
        printer_end_line(printer);
    sink_byte(&printer->sink, ']');
}

static void dump_option(struct printer *printer, const struct option *option, const void *owner,
                        const struct origin *origin)
{
    if (option_unset(option, owner)) {
        sink_format(&printer->sink, "# %s: not set", option->key);
        printer_end_line(printer);
        return;
    }
    sink_format(&printer->sink, "%s = ", option->key);
    if (option->list)
        dump_list(printer, option, owner);
    else
        option_put_value(&printer->sink, option, owner, 0);
    put_origin(&printer->sink, origin);
    printer_end_line(printer);
}

static void dump_table(struct printer *printer, const struct config *config, enum table_id id,
                       const void *owner, size_t element)
{
    unsigned count;
    const struct option *options = option_table_options(id, &count);
    const struct option_table *table = option_table(id);
    if (id != TABLE_TOP)
        printer_end_line(printer);
    if (table->kind == TABLE_ARRAY)
        sink_format(&printer->sink, "[[%s]]", table->name);
    else if (table->kind == TABLE_NAMED)
        sink_format(&printer->sink, "[%s.\"%.*s\"]", table->name,
                    SPAN_FORMAT(((const struct config_route *)owner)->domain));
    else if (id != TABLE_TOP)
        sink_format(&printer->sink, "[%s]", table->name);
    if (id != TABLE_TOP)
        printer_end_line(printer);
    for (unsigned i = 0; i < count; i++)
        dump_option(printer, &options[i], owner,
                    config_origin(config->memory, &options[i], element));
}

void config_dump(const struct config *config, void (*line)(void *context, const char *text),
                 void *context)
{
    struct printer printer;
    printer_init(&printer, line, context);
    for (unsigned id = 0; id < TABLE_IDS; id++) {
        const struct option_table *table = option_table((enum table_id)id);
        if (table->kind == TABLE_ONE) {
            dump_table(&printer, config, (enum table_id)id, config, 0);
            continue;
        }
        size_t count;
        const char *elements = config_elements(config, table, &count);
        for (size_t i = 0; i < count; i++)
            dump_table(&printer, config, (enum table_id)id, elements + i * table->element_size, i);
    }
}

unsigned config_where(const struct config *config, const char *name)
{
    const char *dot = strchr(name, '.');
    struct span table = span_of(name, dot ? (size_t)(dot - name) : 0);
    for (unsigned id = 0; dot && id < TABLE_IDS; id++) {
        if (option_table((enum table_id)id)->kind != TABLE_ONE ||
            !span_equals(span_string(option_table((enum table_id)id)->name), table))
            continue;
        const struct option *option = option_find((enum table_id)id, span_string(dot + 1));
        unsigned line = option ? config_origin(config->memory, option, 0)->line : 0;
        return line == LINE_ENVIRONMENT ? 0 : line;
    }
    return 0;
}

/* ---- documentation ---- */

static void document_form(struct sink *sink, const struct option *option)
{
    sink_put(sink, option->list ? SPAN("list of ") : SPAN(""));
    if (option->type == OPTION_CHOICE)
        for (unsigned i = 0; option_choice(option, i).len; i++)
            sink_format(sink, "%s`\"%.*s\"`", i ? ", " : "", SPAN_FORMAT(option_choice(option, i)));
    else
        sink_put(sink, span_string(option_type_name(option)));
    if (option->most == 0)
        return;
    for (unsigned i = 0; i < 2; i++) {
        uint64_t bound = i ? option->most : option->least;
        sink_put(sink, i ? SPAN(" to ") : SPAN(", "));
        if (option->type == OPTION_DURATION)
            value_put_duration(sink, bound);
        else if (option->type == OPTION_SIZE)
            value_put_size(sink, bound);
        else
            sink_decimal(sink, bound);
    }
}

static void document_option(struct printer *printer, const struct option *option)
{
    struct sink *sink = &printer->sink;
    sink_format(sink, "| `%s` | ", option->key);
    document_form(sink, option);
    if (option->flags & REQUIRED)
        sink_put(sink, SPAN(" | required"));
    else if (option->standard)
        sink_format(sink, " | `%s`", option->standard);
    else
        sink_put(sink, SPAN(" | "));
    sink_format(sink, " | %s |", option->doc);
    printer_end_line(printer);
}

static void document_heading(struct printer *printer, enum table_id id)
{
    static const char *const rows[] = {"", "| key | value | default | meaning |",
                                       "|---|---|---|---|"};
    const struct option_table *table = option_table(id);
    if (id == TABLE_TOP)
        sink_put(&printer->sink, SPAN("## At the top"));
    else if (table->kind == TABLE_ARRAY)
        sink_format(&printer->sink, "## `[[%s]]`", table->name);
    else if (table->kind == TABLE_NAMED)
        sink_format(&printer->sink, "## `[%s.\"example.net\"]`", table->name);
    else
        sink_format(&printer->sink, "## `[%s]`", table->name);
    printer_end_line(printer);
    printer_end_line(printer);
    sink_put(&printer->sink, span_string(table->doc));
    printer_end_line(printer);
    for (size_t i = 0; i < countof(rows); i++) {
        sink_put(&printer->sink, span_string(rows[i]));
        printer_end_line(printer);
    }
}

void config_document(void (*line)(void *context, const char *text), void *context)
{
    struct printer printer;
    printer_init(&printer, line, context);
    for (unsigned id = 0; id < TABLE_IDS; id++) {
        unsigned count;
        const struct option *options = option_table_options((enum table_id)id, &count);
        document_heading(&printer, (enum table_id)id);
        for (unsigned i = 0; i < count; i++)
            document_option(&printer, &options[i]);
        printer_end_line(&printer);
    }
}

/* ---- reload ---- */

static bool same_value(const struct option *option, const void *a, const void *b)
{
    char text_a[LINE], text_b[LINE];
    size_t count = option_value_count(option, a);
    bool same = count == option_value_count(option, b) &&
                option_unset(option, a) == option_unset(option, b);
    for (size_t i = 0; i < count && same && !option_unset(option, a); i++) {
        struct sink sink_a, sink_b;
        sink_init(&sink_a, text_a, sizeof text_a);
        sink_init(&sink_b, text_b, sizeof text_b);
        option_put_value(&sink_a, option, a, i);
        option_put_value(&sink_b, option, b, i);
        same = span_equals(sink_span(&sink_a), sink_span(&sink_b));
    }
    return same;
}

/* Compares the options of one table (or of one pair of elements) that need a restart. */
static void compare_table(enum table_id id, const void *running, const void *wanted,
                          struct sink *errors)
{
    unsigned count;
    const struct option *options = option_table_options(id, &count);
    for (unsigned i = 0; i < count; i++) {
        if (!(options[i].flags & RESTART) || same_value(&options[i], running, wanted))
            continue;
        sink_format(errors, "%s'%s' ", errors->len ? "\n" : "", options[i].key);
        option_put_place(errors, id);
        sink_put(errors, SPAN(" changes only with a restart"));
    }
}

static bool needs_restart(enum table_id id)
{
    unsigned count, flags = 0;
    const struct option *options = option_table_options(id, &count);
    for (unsigned i = 0; i < count; i++)
        flags |= options[i].flags;
    return flags & RESTART;
}

/* They come and go; one that stays is known by its address. */
static void compare_listeners(const struct config *running, const struct config *wanted,
                              struct sink *errors)
{
    for (size_t i = 0; i < running->listener_count; i++) {
        const struct config_listener *before = &running->listeners[i];
        for (size_t k = 0; k < wanted->listener_count; k++) {
            const struct config_listener *after = &wanted->listeners[k];
            if (before->address.len == after->address.len &&
                memcmp(&before->address.any, &after->address.any, after->address.len) == 0)
                compare_table(TABLE_LISTENER, before, after, errors);
        }
    }
}

static void compare_elements(enum table_id id, const struct config *running,
                             const struct config *wanted, struct sink *errors)
{
    const struct option_table *table = option_table(id);
    size_t count, wanted_count;
    const char *before = config_elements(running, table, &count);
    const char *after = config_elements(wanted, table, &wanted_count);
    if (!needs_restart(id))
        return;
    if (id == TABLE_LISTENER) {
        compare_listeners(running, wanted, errors);
        return;
    }
    if (count != wanted_count) {
        sink_format(errors, "%sthe number of [[%s]] changes only with a restart",
                    errors->len ? "\n" : "", table->name);
        return;
    }
    for (size_t i = 0; i < count; i++)
        compare_table(id, before + i * table->element_size, after + i * table->element_size,
                      errors);
}

bool config_reloadable(const struct config *running, const struct config *wanted,
                       char error[CONFIG_ERROR])
{
    struct sink errors;
    sink_init(&errors, error, CONFIG_ERROR - 1);
    for (unsigned id = 0; id < TABLE_IDS; id++) {
        if (option_table((enum table_id)id)->kind == TABLE_ONE)
            compare_table((enum table_id)id, running, wanted, &errors);
        else
            compare_elements((enum table_id)id, running, wanted, &errors);
    }
    error[errors.len] = '\0';
    return errors.len == 0;
}

/* ---- what a reload has changed ---- */

/* One line, or nothing. */
static struct span value_text(const struct option *option, const void *owner, char text[LINE])
{
    struct sink sink;
    sink_init(&sink, text, LINE);
    if (option_unset(option, owner))
        return (struct span){0};
    size_t count = option_value_count(option, owner);
    if (option->list)
        sink_byte(&sink, '[');
    for (size_t i = 0; i < count; i++) {
        if (i)
            sink_put(&sink, SPAN(", "));
        option_put_value(&sink, option, owner, i);
    }
    if (option->list)
        sink_byte(&sink, ']');
    return sink.full ? (struct span){0} : sink_span(&sink);
}

static void table_changes(enum table_id id, const struct config *before, const struct config *after,
                          config_on_change *on_change, void *context)
{
    unsigned count;
    const struct option *options = option_table_options(id, &count);
    const char *table = option_table(id)->name;
    char name[256], was[LINE], is[LINE];
    for (unsigned i = 0; i < count; i++) {
        if (same_value(&options[i], before, after))
            continue;
        snprintf(name, sizeof name, "%s%s%s", table, table[0] ? "." : "", options[i].key);
        on_change(context, name, value_text(&options[i], before, was),
                  value_text(&options[i], after, is));
    }
}

static bool same_elements(enum table_id id, const struct config *before, const struct config *after)
{
    const struct option_table *table = option_table(id);
    unsigned options_count;
    const struct option *options = option_table_options(id, &options_count);
    size_t count, after_count;
    const char *a = config_elements(before, table, &count);
    const char *b = config_elements(after, table, &after_count);
    bool same = count == after_count;
    for (size_t e = 0; e < count && same; e++)
        for (unsigned i = 0; i < options_count && same; i++)
            same =
                same_value(&options[i], a + e * table->element_size, b + e * table->element_size);
    for (size_t e = 0; e < count && same && table->kind == TABLE_NAMED; e++)
        same = span_equals(
            ((const struct config_route *)(const void *)(a + e * table->element_size))->domain,
            ((const struct config_route *)(const void *)(b + e * table->element_size))->domain);
    return same;
}

void config_changes(const struct config *before, const struct config *after,
                    config_on_change *on_change, void *context)
{
    for (unsigned id = 0; id < TABLE_IDS; id++) {
        if (option_table((enum table_id)id)->kind == TABLE_ONE)
            table_changes((enum table_id)id, before, after, on_change, context);
        else if (!same_elements((enum table_id)id, before, after))
            on_change(context, option_table((enum table_id)id)->name, (struct span){0},
                      (struct span){0});
    }
}
