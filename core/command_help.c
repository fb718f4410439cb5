#include "core/command_help.h"

#include <stdio.h>

enum { LINE = 2048, HELP_WIDTH = 78, OPTION_COLUMN = 26 };

/* ---- help ---- */

/* Words into lines that begin at `indent`; the first one stands at `at` already. */
static void write_wrapped(const struct text_writer *writer, const char *text, unsigned indent,
                          unsigned at)
{
    struct span rest = span_string(text);
    bool first = true;
    while (rest.len) {
        struct span word = span_first(rest, span_find(rest, ' '));
        if (!first && at + 1 + word.len > HELP_WIDTH) {
            text_write(writer, "\n%*s", (int)indent, "");
            at = indent;
            first = true;
        }
        text_write(writer, "%s%.*s", first ? "" : " ", SPAN_FORMAT(word));
        at += (unsigned)word.len + (first ? 0 : 1);
        first = false;
        rest = span_skip(rest, word.len + 1);
    }
    text_write(writer, "\n");
}

static void write_paragraphs(const struct text_writer *writer, const char *text, unsigned indent)
{
    struct span rest = span_string(text);
    while (rest.len) {
        const char *end = memmem(rest.data, rest.len, "\n\n", 2);
        size_t len = end ? (size_t)(end - rest.data) : rest.len;
        char paragraph[LINE];
        check(len < sizeof paragraph);
        memcpy(paragraph, rest.data, len);
        paragraph[len] = '\0';
        text_write(writer, "%*s", (int)indent, "");
        write_wrapped(writer, paragraph, indent, indent);
        rest = span_skip(rest, len + 2);
        if (rest.len)
            text_write(writer, "\n");
    }
}

static void write_usage(const struct text_writer *writer, const struct command *command)
{
    text_write(writer, "ringpost %s%s%s", command->noun, command->verb ? " " : "",
               command->verb ? command->verb : "");
    for (unsigned i = 0; i < command->argument_count; i++) {
        const struct argument *argument = &command->arguments[i];
        bool mandatory = argument->flags & MANDATORY;
        text_write(writer, mandatory ? " " : " [");
        if (!(argument->flags & POSITIONAL))
            text_write(writer, "--");
        text_write(writer, "%s", argument->name);
        if (argument->value)
            text_write(writer, " %s", argument->value);
        text_write(writer, mandatory ? "" : "]");
    }
    text_write(writer, "\n");
}

static void write_argument(const struct text_writer *writer, const struct argument *argument)
{
    char name[128];
    int len = snprintf(name, sizeof name, "  %s%s%s%s", argument->flags & POSITIONAL ? "" : "--",
                       argument->name, argument->value ? " " : "",
                       argument->value ? argument->value : "");
    if (len >= OPTION_COLUMN)
        text_write(writer, "%s\n%*s", name, OPTION_COLUMN, "");
    else
        text_write(writer, "%-*s", OPTION_COLUMN, name);
    write_wrapped(writer, argument->doc, OPTION_COLUMN, OPTION_COLUMN);
    if (argument->choices)
        text_write(writer, "%*sOne of: %s\n", OPTION_COLUMN, "", argument->choices);
}

static void write_fields(const struct text_writer *writer, const struct field *fields,
                         unsigned count, unsigned indent)
{
    for (unsigned i = 0; i < count; i++) {
        char name[128];
        snprintf(name, sizeof name, "%*s%s", (int)indent + 2, "", fields[i].name);
        text_write(writer, "%-*s", OPTION_COLUMN, name);
        write_wrapped(writer, fields[i].doc, OPTION_COLUMN, OPTION_COLUMN);
        write_fields(writer, fields[i].fields, fields[i].field_count, indent + 2);
    }
}

static void write_command(const struct text_writer *writer, const struct command *command)
{
    text_write(writer, "usage: ");
    write_usage(writer, command);
    text_write(writer, "\n");
    write_paragraphs(writer, command->brief, 0);
    if (command->text) {
        text_write(writer, "\n");
        write_paragraphs(writer, command->text, 0);
    }
    if (command->argument_count)
        text_write(writer, "\n");
    for (unsigned i = 0; i < command->argument_count; i++)
        write_argument(writer, &command->arguments[i]);
    if (command->field_count)
        text_write(writer, "\nThe answer%s (--json: these names):\n",
                   command->shape != ANSWER_ONE ? ", an object a line" : "");
    write_fields(writer, command->fields, command->field_count, 0);
}

static bool write_list(const struct text_writer *writer, struct span noun)
{
    const struct command *command;
    bool any = false;
    for (unsigned i = 0; (command = command_at(i)); i++) {
        char name[64];
        if (noun.len && !span_equals(span_string(command->noun), noun))
            continue;
        any = true;
        snprintf(name, sizeof name, "  %s %s", command->noun, command->verb ? command->verb : "");
        text_write(writer, "%-22s", name);
        write_wrapped(writer, command->brief, 22, 22);
    }
    return any;
}

static void write_common(const struct text_writer *writer)
{
    text_write(writer,
               "\nFor all commands:\n"
               "  --config FILE           The daemon's configuration, which names its socket.\n"
               "                          Default: /etc/ringpost/ringpost.toml\n"
               "  --socket PATH           The daemon's control socket itself.\n"
               "  --json                  One JSON object per line, as the help of the command\n"
               "                          says.\n"
               "  --help                  This, or about a command: ringpost queue list --help\n"
               "  --version\n"
               "\nExit status: 0 done; 1 failed, or the answer is bad news; 2 usage; 3 the daemon\n"
               "cannot be reached.\n");
}

bool command_help(struct span noun, struct span verb, text_put *put, void *context)
{
    struct text_writer writer = {put, context};
    const struct command *command = noun.len ? command_find(noun, verb) : NULL;
    if (!command && noun.len)
        command = command_find(noun, (struct span){0});
    if (command) {
        write_command(&writer, command);
        return true;
    }
    if (noun.len && !command_noun_known(noun))
        return false;
    text_write(&writer, "usage: ringpost [--config FILE | --socket PATH] [--json] COMMAND ...\n\n");
    bool any = write_list(&writer, noun);
    if (noun.len == 0)
        write_common(&writer);
    return any;
}

/* ---- completion ---- */

static bool first_of_noun(unsigned index)
{
    const struct command *command = command_at(index);
    for (unsigned i = 0; i < index; i++)
        if (strcmp(command_at(i)->noun, command->noun) == 0)
            return false;
    return true;
}

static void write_nouns(const struct text_writer *writer)
{
    for (unsigned i = 0; command_at(i); i++)
        if (first_of_noun(i))
            text_write(writer, " %s", command_at(i)->noun);
}

static void write_verbs(const struct text_writer *writer, const char *noun)
{
    const struct command *command;
    for (unsigned i = 0; (command = command_at(i)); i++)
        if (command->verb && strcmp(command->noun, noun) == 0)
            text_write(writer, " %s", command->verb);
}

static void write_options(const struct text_writer *writer, const struct command *command)
{
    for (unsigned i = 0; i < command->argument_count; i++)
        if (!(command->arguments[i].flags & POSITIONAL))
            text_write(writer, " --%s", command->arguments[i].name);
}

/* The words that may stand where the first positional argument does. */
static const char *positional_choices(const struct command *command)
{
    for (unsigned i = 0; i < command->argument_count; i++)
        if ((command->arguments[i].flags & POSITIONAL) && command->arguments[i].choices)
            return command->arguments[i].choices;
    return "";
}

static void write_bash_values(const struct text_writer *writer)
{
    const struct command *command;
    for (unsigned i = 0; (command = command_at(i)); i++)
        for (unsigned a = 0; a < command->argument_count; a++)
            if (command->arguments[a].choices && !(command->arguments[a].flags & POSITIONAL))
                text_write(writer, "    '%s %s --%s') words='%s' ;;\n", command->noun,
                           command->verb ? command->verb : "", command->arguments[a].name,
                           command->arguments[a].choices);
}

static void complete_bash(const struct text_writer *writer)
{
    const struct command *command;
    text_write(writer,
               "# bash completion of ringpost, made by `ringpost completion bash`\n"
               "_ringpost() {\n"
               "  local current=${COMP_WORDS[COMP_CWORD]} noun='' verb='' words='' i\n"
               "  local previous=${COMP_WORDS[COMP_CWORD-1]}\n"
               "  case $previous in\n"
               "    --config|--socket) COMPREPLY=($(compgen -f -- \"$current\")); return ;;\n"
               "  esac\n"
               "  for ((i = 1; i < COMP_CWORD; i++)); do\n"
               "    case ${COMP_WORDS[i]} in\n"
               "      --config|--socket) ((i++)) ;;\n"
               "      -*) ;;\n"
               "      *) if [ -z \"$noun\" ]; then noun=${COMP_WORDS[i]}\n"
               "         elif [ -z \"$verb\" ]; then verb=${COMP_WORDS[i]}; fi ;;\n"
               "    esac\n"
               "  done\n"
               "  case \"$noun $verb $previous\" in\n");
    write_bash_values(writer);
    text_write(writer, "  esac\n"
                       "  if [ -z \"$words\" ]; then case \"$noun\" in\n"
                       "    '') words='--config --socket --json --help --version");
    write_nouns(writer);
    text_write(writer, "' ;;\n");
    for (unsigned i = 0; (command = command_at(i)); i++) {
        if (!first_of_noun(i))
            continue;
        text_write(writer, "    %s) case \"$verb\" in\n      '') words='--json --help",
                   command->noun);
        write_verbs(writer, command->noun);
        if (!command->verb) {
            write_options(writer, command);
            text_write(writer, " %s", positional_choices(command));
        }
        text_write(writer, "' ;;\n");
        for (unsigned v = i; command_at(v); v++) {
            const struct command *each = command_at(v);
            if (!each->verb || strcmp(each->noun, command->noun) != 0)
                continue;
            text_write(writer, "      %s) words='--json --help", each->verb);
            write_options(writer, each);
            text_write(writer, " %s' ;;\n", positional_choices(each));
        }
        text_write(writer, "    esac ;;\n");
    }
    text_write(writer, "  esac; fi\n"
                       "  COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n"
                       "  [ ${#COMPREPLY[@]} -gt 0 ] || COMPREPLY=($(compgen -f -- \"$current\"))\n"
                       "}\n"
                       "complete -F _ringpost ringpost\n");
}

/* In single quotes. */
static void write_quoted(const struct text_writer *writer, const char *text, const char *apostrophe)
{
    for (; *text; text++) {
        if (*text == '\'')
            text_write(writer, "%s", apostrophe);
        else
            text_write(writer, "%c", *text);
    }
}

static void complete_zsh(const struct text_writer *writer)
{
    const struct command *command;
    text_write(writer, "#compdef ringpost\n# zsh completion, made by `ringpost completion zsh`\n"
                       "_ringpost() {\n"
                       "  local -a nouns verbs options\n"
                       "  local noun='' verb='' word i\n"
                       "  for ((i = 2; i < CURRENT; i++)); do\n"
                       "    word=$words[i]\n"
                       "    case $word in\n"
                       "      --config|--socket) ((i++)) ;;\n"
                       "      -*) ;;\n"
                       "      *) if [[ -z $noun ]]; then noun=$word\n"
                       "         elif [[ -z $verb ]]; then verb=$word; fi ;;\n"
                       "    esac\n"
                       "  done\n"
                       "  if [[ $words[CURRENT-1] == --config || $words[CURRENT-1] == --socket ]]; "
                       "then _files; return; fi\n"
                       "  options=(--json --help)\n"
                       "  case $noun in\n"
                       "    '') nouns=(");
    write_nouns(writer);
    text_write(writer, "); options+=(--config --socket --version); compadd -a nouns options; "
                       "return ;;\n  esac\n  case \"$noun $verb\" in\n");
    for (unsigned i = 0; (command = command_at(i)); i++) {
        if (!command->verb)
            continue;
        text_write(writer, "    '%s %s') options+=(", command->noun, command->verb);
        write_options(writer, command);
        text_write(writer, " %s) ;;\n", positional_choices(command));
    }
    for (unsigned i = 0; (command = command_at(i)); i++) {
        if (!first_of_noun(i))
            continue;
        text_write(writer, "    '%s '%s) verbs=(", command->noun, command->verb ? "" : "*");
        write_verbs(writer, command->noun);
        if (!command->verb) {
            write_options(writer, command);
            text_write(writer, " %s", positional_choices(command));
        }
        text_write(writer, "); compadd -a verbs ;;\n");
    }
    text_write(writer, "  esac\n  compadd -a options\n  _files\n}\n_ringpost \"$@\"\n");
}

static void complete_fish(const struct text_writer *writer)
{
    const struct command *command;
    text_write(writer, "# fish completion of ringpost, made by `ringpost completion fish`\n"
                       "complete -c ringpost -f\n"
                       "complete -c ringpost -l config -r -F -d 'The daemon'\\''s configuration'\n"
                       "complete -c ringpost -l socket -r -F -d 'The daemon'\\''s socket'\n"
                       "complete -c ringpost -l json -d 'JSON, an object a line'\n"
                       "complete -c ringpost -l help -d 'Help'\n");
    for (unsigned i = 0; (command = command_at(i)); i++) {
        if (first_of_noun(i)) {
            text_write(writer, "complete -c ringpost -n __fish_use_subcommand -a %s",
                       command->noun);
            if (!command->verb) {
                text_write(writer, " -d '");
                write_quoted(writer, command->brief, "'\\''");
                text_write(writer, "'");
            }
            text_write(writer, "\n");
        }
        if (command->verb) {
            text_write(writer,
                       "complete -c ringpost -n '__fish_seen_subcommand_from %s' -a %s -d '",
                       command->noun, command->verb);
            write_quoted(writer, command->brief, "'\\''");
            text_write(writer, "'\n");
        }
        for (unsigned a = 0; a < command->argument_count; a++) {
            const struct argument *argument = &command->arguments[a];
            const char *last = command->verb ? command->verb : command->noun;
            if ((argument->flags & POSITIONAL) && argument->choices)
                text_write(writer,
                           "complete -c ringpost -n '__fish_seen_subcommand_from %s' -a '%s'\n",
                           last, argument->choices);
            if (argument->flags & POSITIONAL)
                continue;
            text_write(writer,
                       "complete -c ringpost -n '__fish_seen_subcommand_from %s; and "
                       "__fish_seen_subcommand_from %s' -l %s%s",
                       command->noun, last, argument->name,
                       argument->type == ARGUMENT_FLAG ? "" : " -r");
            if (argument->choices)
                text_write(writer, " -a '%s'", argument->choices);
            text_write(writer, " -d '");
            write_quoted(writer, argument->doc, "'\\''");
            text_write(writer, "'\n");
        }
    }
}

void command_completion(struct span shell, text_put *put, void *context)
{
    struct text_writer writer = {put, context};
    if (span_equals(shell, SPAN("bash")))
        complete_bash(&writer);
    else if (span_equals(shell, SPAN("zsh")))
        complete_zsh(&writer);
    else
        complete_fish(&writer);
}
