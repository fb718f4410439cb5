/* Words into a command and its values: the longest name that the first two words make, then options
 * and positional arguments in any order; behind "--" nothing is an option. */
#include "core/command.h"
#include "core/config_value.h"

enum { NEAR = 2 };

struct parsing {
    const struct command *command;
    struct values *values;
    struct sink *error;
};

/* ---- which command ---- */

static const char *nearest(struct span text, const char *best, unsigned *least, const char *name)
{
    unsigned distance = value_distance(text, span_string(name));
    if (distance >= *least || distance >= text.len)
        return best;
    *least = distance;
    return name;
}

static void complain_about_name(struct span noun, struct span verb, struct sink *error)
{
    const struct command *command;
    const char *meant = NULL;
    unsigned least = NEAR + 1;
    bool noun_known = command_noun_known(noun);
    for (unsigned i = 0; (command = command_at(i)); i++) {
        if (!noun_known)
            meant = nearest(noun, meant, &least, command->noun);
        else if (command->verb && span_equals(span_string(command->noun), noun))
            meant = nearest(verb, meant, &least, command->verb);
    }
    struct span wrong = noun_known ? verb : noun;
    if (noun_known && verb.len == 0) {
        sink_put(error, SPAN("a verb is wanted behind "));
        wrong = noun;
    } else {
        sink_put(error, SPAN("unknown command: "));
        if (noun_known) {
            sink_printable(error, noun, 60);
            sink_byte(error, ' ');
        }
    }
    sink_printable(error, wrong, 60);
    if (meant)
        sink_format(error, "; did you mean %s?", meant);
}

/* How many words the name has; 0: there is no such command. */
static int find_name(int count, char *const *words, const struct command **ret_command)
{
    struct span noun = count > 0 ? span_string(words[0]) : (struct span){0};
    struct span verb = count > 1 ? span_string(words[1]) : (struct span){0};
    *ret_command = verb.len ? command_find(noun, verb) : NULL;
    if (*ret_command)
        return 2;
    *ret_command = noun.len ? command_find(noun, (struct span){0}) : NULL;
    return *ret_command ? 1 : 0;
}

/* ---- its arguments ---- */

static bool set(struct parsing *parsing, unsigned place, struct span text)
{
    struct values *values = parsing->values;
    if (values->given[place]) {
        sink_format(parsing->error, "%s is given twice", parsing->command->arguments[place].name);
        return false;
    }
    values->given[place] = true;
    values->text[place] = text;
    return true;
}

static bool set_positional(struct parsing *parsing, struct span word)
{
    const struct command *command = parsing->command;
    for (unsigned i = 0; i < command->argument_count; i++)
        if ((command->arguments[i].flags & POSITIONAL) && !parsing->values->given[i])
            return set(parsing, i, word);
    sink_put(parsing->error, SPAN("too much: "));
    sink_printable(parsing->error, word, 60);
    return false;
}

static const struct argument *find_option(const struct command *command, struct span name,
                                          unsigned *ret_place)
{
    for (unsigned i = 0; i < command->argument_count; i++) {
        const struct argument *argument = &command->arguments[i];
        if (!(argument->flags & POSITIONAL) && span_equals(span_string(argument->name), name)) {
            *ret_place = i;
            return argument;
        }
    }
    return NULL;
}

static void complain_about_option(struct parsing *parsing, struct span name)
{
    const char *meant = NULL;
    unsigned least = NEAR + 1;
    for (unsigned i = 0; i < parsing->command->argument_count; i++)
        if (!(parsing->command->arguments[i].flags & POSITIONAL))
            meant = nearest(name, meant, &least, parsing->command->arguments[i].name);
    sink_put(parsing->error, SPAN("unknown option: --"));
    sink_printable(parsing->error, name, 60);
    if (meant)
        sink_format(parsing->error, "; did you mean --%s?", meant);
}

/* "--name", "--name VALUE" or "--name=VALUE" at words[*at]. */
static bool set_option(struct parsing *parsing, int count, char *const *words, int *at)
{
    struct span word = span_skip(span_string(words[*at]), 2);
    size_t equals = span_find(word, '=');
    struct span name = span_first(word, equals);
    unsigned place;
    const struct argument *argument = find_option(parsing->command, name, &place);
    if (!argument) {
        complain_about_option(parsing, name);
        return false;
    }
    if (equals < word.len)
        return set(parsing, place, span_skip(word, equals + 1));
    if (argument->type == ARGUMENT_FLAG)
        return set(parsing, place, (struct span){0});
    if (*at + 1 >= count) {
        sink_format(parsing->error, "--%s wants a value", argument->name);
        return false;
    }
    return set(parsing, place, span_string(words[++*at]));
}

/* "-f": the flag whose name begins with f. */
static bool set_short(struct parsing *parsing, const char *word)
{
    for (unsigned i = 0; i < parsing->command->argument_count; i++) {
        const struct argument *argument = &parsing->command->arguments[i];
        if (argument->type == ARGUMENT_FLAG && argument->name[0] == word[1])
            return set(parsing, i, (struct span){0});
    }
    sink_put(parsing->error, SPAN("unknown option: "));
    sink_printable(parsing->error, span_string(word), 60);
    return false;
}

static bool is_short(const char *word)
{
    return word[0] == '-' && word[1] >= 'a' && word[1] <= 'z' && word[2] == '\0';
}

static bool set_word(struct parsing *parsing, int count, char *const *words, int *at)
{
    if (strncmp(words[*at], "--", 2) == 0)
        return set_option(parsing, count, words, at);
    return is_short(words[*at]) ? set_short(parsing, words[*at])
                                : set_positional(parsing, span_string(words[*at]));
}

bool command_parse(int count, char *const *words, const struct command **ret_command,
                   struct values *ret_values, struct sink *error)
{
    const struct command *command;
    int at = find_name(count, words, &command);
    if (at == 0) {
        if (count == 0)
            sink_put(error, SPAN("a command is wanted"));
        else
            complain_about_name(span_string(words[0]), span_string(count > 1 ? words[1] : ""),
                                error);
        return false;
    }
    *ret_values = (struct values){0};
    struct parsing parsing = {command, ret_values, error};
    bool options = true;
    for (; at < count; at++) {
        if (options && strcmp(words[at], "--") == 0)
            options = false;
        else if (options ? !set_word(&parsing, count, words, &at)
                         : !set_positional(&parsing, span_string(words[at])))
            return false;
    }
    *ret_command = command;
    return values_check(command, ret_values, error);
}
