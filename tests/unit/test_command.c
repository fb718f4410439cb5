/* The table of commands, its parser, and the reference made from it. */
#include "core/command_help.h"
#include "core/manual.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
/* cmocka wants these first */
#include <cmocka.h>

struct text {
    char *data;
    size_t len;
};

static void append(void *context, struct span piece)
{
    struct text *text = context;
    text->data = realloc(text->data, text->len + piece.len + 1);
    memcpy(text->data + text->len, piece.data, piece.len);
    text->len += piece.len;
    text->data[text->len] = '\0';
}

/* Splits at blanks. */
static bool parse(const char *line, const struct command **ret_command, struct values *ret_values,
                  char error[512])
{
    static char copy[512];
    char *words[32];
    int count = 0;
    struct sink sink;
    snprintf(copy, sizeof copy, "%s", line);
    for (char *word = strtok(copy, " "); word; word = strtok(NULL, " "))
        words[count++] = word;
    sink_init(&sink, error, 511);
    bool fine = command_parse(count, words, ret_command, ret_values, &sink);
    error[sink.len] = '\0';
    return fine;
}

static void every_command_is_found_by_its_name(void **state)
{
    const struct command *command;
    for (unsigned i = 0; (command = command_at(i)); i++) {
        assert_ptr_equal(command_find(span_string(command->noun), span_string(command->verb)),
                         command);
        assert_true(command_noun_known(span_string(command->noun)));
        assert_true(command->argument_count <= ARGUMENTS_MAX);
        assert_true(command->shape == ANSWER_NONE || command->field_count > 0);
        assert_non_null(command->brief);
    }
}

/* The help, the pages and the completions would show it otherwise. */
static void arguments_are_well_formed(void **state)
{
    const struct command *command;
    for (unsigned i = 0; (command = command_at(i)); i++)
        for (unsigned a = 0; a < command->argument_count; a++) {
            const struct argument *argument = &command->arguments[a];
            bool choice = argument->type == ARGUMENT_CHOICE;
            bool valued = !(argument->flags & POSITIONAL) && argument->type != ARGUMENT_FLAG;
            assert_int_equal(choice, argument->choices != NULL);
            assert_int_equal(valued, argument->value != NULL);
            assert_non_null(argument->doc);
            assert_false(argument->type == ARGUMENT_FLAG && (argument->flags & POSITIONAL));
        }
}

static void values_are_taken_wherever_they_stand(void **state)
{
    static const char *const lines[] = {
        "queue show q --domain d --limit 5 --age 2h",
        "queue show --domain=d q --age=2h --limit=5",
        "queue show --limit 5 --age 2h --domain d -- q",
    };
    for (size_t i = 0; i < countof(lines); i++) {
        const struct command *command;
        struct values values;
        char error[512];
        assert_true(parse(lines[i], &command, &values, error));
        assert_string_equal(command->verb, "show");
        assert_true(span_equals(values_text(command, &values, "NAME"), SPAN("q")));
        assert_true(span_equals(values_text(command, &values, "domain"), SPAN("d")));
        assert_int_equal(values_count(command, &values, "limit", 9), 5);
        assert_int_equal(values_duration_ms(command, &values, "age", 9), 7200000);
        assert_int_equal(values_text(command, &values, "tenant").len, 0);
        assert_false(values_flag(command, &values, "tenant"));
    }
}

static void a_word_behind_two_dashes_is_no_option(void **state)
{
    const struct command *command;
    struct values values;
    char error[512];
    assert_true(parse("queue show -- --domain", &command, &values, error));
    assert_true(span_equals(values_text(command, &values, "NAME"), SPAN("--domain")));
}

static void what_is_wrong_is_named(void **state)
{
    static const struct {
        const char *line, *error;
    } cases[] = {
        {"", "a command is wanted"},
        {"queue", "a verb is wanted behind queue"},
        {"quene list", "unknown command: quene; did you mean queue?"},
        {"queue lst", "unknown command: queue lst; did you mean list?"},
        {"queue nonsense", "unknown command: queue nonsense"},
        {"queue list --domian x", "unknown option: --domian; did you mean --domain?"},
        {"queue list --domain", "--domain wants a value"},
        {"queue list --domain a --domain b", "domain is given twice"},
        {"queue list word", "too much: word"},
        {"queue list --age 5", "--age wants a duration like 30s, 5m, 2h or 1d, not \"5\""},
        {"queue list --state old", "--state wants one of: new deferred due, not \"old\""},
        {"queue summary --limit -1", "--limit wants a number, not \"-1\""},
        {"queue list --domain=", "--domain wants some text"},
        {"lane show", "NAME is missing"},
        {"completion tcsh", "SHELL wants one of: bash zsh fish, not \"tcsh\""},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        const struct command *command;
        struct values values;
        char error[512];
        assert_false(parse(cases[i].line, &command, &values, error));
        assert_string_equal(error, cases[i].error);
    }
}

static void help_is_there_for_every_command(void **state)
{
    const struct command *command;
    for (unsigned i = 0; (command = command_at(i)); i++) {
        struct text text = {0};
        assert_true(
            command_help(span_string(command->noun), span_string(command->verb), append, &text));
        assert_non_null(strstr(text.data, command->noun));
        free(text.data);
    }
    struct text text = {0};
    assert_true(command_help((struct span){0}, (struct span){0}, append, &text));
    assert_non_null(strstr(text.data, "Exit status"));
    free(text.data);
    assert_false(command_help(SPAN("nonsense"), (struct span){0}, append, &text));
}

/* docs/COMMANDS.md is made from the table. */
static void the_reference_is_complete(void **state)
{
    static const char path[] = RINGPOST_TESTS_DIR "/../docs/COMMANDS.md";
    struct text expected = {0};
    manual_commands(append, &expected);
    if (getenv("RINGPOST_UPDATE")) {
        FILE *file = fopen(path, "w");
        assert_non_null(file);
        assert_int_equal(fwrite(expected.data, 1, expected.len, file), expected.len);
        fclose(file);
    }
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    char *found = calloc(1, expected.len + 2);
    size_t len = fread(found, 1, expected.len + 1, file);
    fclose(file);
    if (!span_equals(span_of(found, len), span_of(expected.data, expected.len)))
        fail_msg("docs/COMMANDS.md is old: run test_command with RINGPOST_UPDATE=1");
    free(found);
    free(expected.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_command_is_found_by_its_name),
        cmocka_unit_test(arguments_are_well_formed),
        cmocka_unit_test(values_are_taken_wherever_they_stand),
        cmocka_unit_test(a_word_behind_two_dashes_is_no_option),
        cmocka_unit_test(what_is_wrong_is_named),
        cmocka_unit_test(help_is_there_for_every_command),
        cmocka_unit_test(the_reference_is_complete),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
