#include "core/command.h"

#include "core/command_private.h"
#include "core/config_value.h"

typedef struct command_family family(void);

/* The order of the manual. */
static family *const families[] = {commands_daemon, commands_queue,   commands_lane, commands_admin,
                                   commands_user,   commands_journal, commands_local};

const struct command *command_at(unsigned index)
{
    for (unsigned i = 0; i < countof(families); i++) {
        struct command_family rows = families[i]();
        if (index < rows.count)
            return &rows.commands[index];
        index -= rows.count;
    }
    return NULL;
}

static bool named(const char *name, struct span text)
{
    return name ? span_equals(span_string(name), text) : text.len == 0;
}

const struct command *command_find(struct span noun, struct span verb)
{
    const struct command *command;
    for (unsigned i = 0; (command = command_at(i)); i++)
        if (named(command->noun, noun) && named(command->verb, verb))
            return command;
    return NULL;
}

bool command_noun_known(struct span noun)
{
    const struct command *command;
    for (unsigned i = 0; (command = command_at(i)); i++)
        if (named(command->noun, noun))
            return true;
    return false;
}

void command_put_name(const struct command *command, struct sink *sink)
{
    sink_put(sink, span_string(command->noun));
    if (!command->verb)
        return;
    sink_byte(sink, ' ');
    sink_put(sink, span_string(command->verb));
}

/* ---- values ---- */

static void put_argument(const struct argument *argument, struct sink *sink)
{
    if (!(argument->flags & POSITIONAL))
        sink_put(sink, SPAN("--"));
    sink_put(sink, span_string(argument->name));
}

static bool is_choice(const char *choices, struct span text)
{
    struct span rest = span_string(choices);
    while (rest.len) {
        struct span name = span_first(rest, span_find(rest, ' '));
        if (span_equals(name, text))
            return true;
        rest = span_skip(rest, name.len + 1);
    }
    return false;
}

static bool is_plain(struct span text)
{
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.data[i] < ' ' || text.data[i] == 0x7f)
            return false;
    return text.len > 0;
}

static bool fits(const struct argument *argument, struct span text)
{
    uint64_t number;
    if (text.len > ARGUMENT_LEN_MAX)
        return false;
    switch (argument->type) {
    case ARGUMENT_FLAG:
        return text.len == 0;
    case ARGUMENT_COUNT:
        return span_decimal(text, UINT64_MAX, &number);
    case ARGUMENT_DURATION:
        return value_duration(text, &number);
    case ARGUMENT_CHOICE:
        return is_choice(argument->choices, text);
    default:
        return is_plain(text);
    }
}

static void complain(const struct argument *argument, struct span text, struct sink *error)
{
    static const char *const wanted[ARGUMENT_TYPES] = {
        [ARGUMENT_TEXT] = "some text", [ARGUMENT_FLAG] = "no value",
        [ARGUMENT_COUNT] = "a number", [ARGUMENT_DURATION] = "a duration like 30s, 5m, 2h or 1d",
        [ARGUMENT_PATH] = "a path",
    };
    put_argument(argument, error);
    if (argument->type == ARGUMENT_CHOICE)
        sink_format(error, " wants one of: %s", argument->choices);
    else
        sink_format(error, " wants %s", wanted[argument->type]);
    if (text.len) {
        sink_put(error, SPAN(", not \""));
        sink_printable(error, text, 60);
        sink_byte(error, '"');
    }
}

bool values_check(const struct command *command, const struct values *values, struct sink *error)
{
    for (unsigned i = 0; i < command->argument_count; i++) {
        const struct argument *argument = &command->arguments[i];
        if (!values->given[i] && (argument->flags & MANDATORY)) {
            put_argument(argument, error);
            sink_put(error, SPAN(" is missing"));
            return false;
        }
        if (values->given[i] && !fits(argument, values->text[i])) {
            complain(argument, values->text[i], error);
            return false;
        }
    }
    return true;
}

static unsigned place_of(const struct command *command, const char *name)
{
    for (unsigned i = 0; i < command->argument_count; i++)
        if (strcmp(command->arguments[i].name, name) == 0)
            return i;
    check(!"the command has no such argument");
    return 0;
}

struct span values_text(const struct command *command, const struct values *values,
                        const char *name)
{
    return values->text[place_of(command, name)];
}

bool values_flag(const struct command *command, const struct values *values, const char *name)
{
    return values->given[place_of(command, name)];
}

uint64_t values_count(const struct command *command, const struct values *values, const char *name,
                      uint64_t otherwise)
{
    unsigned place = place_of(command, name);
    uint64_t value;
    return values->given[place] && span_decimal(values->text[place], UINT64_MAX, &value)
               ? value
               : otherwise;
}

uint64_t values_duration_ms(const struct command *command, const struct values *values,
                            const char *name, uint64_t otherwise)
{
    unsigned place = place_of(command, name);
    uint64_t value;
    return values->given[place] && value_duration(values->text[place], &value) ? value : otherwise;
}
