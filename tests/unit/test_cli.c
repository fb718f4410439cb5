/* The command line as a program: what it prints where, and its exit status. */
#include "queue/record.h"
#include "queue/store.h"
#include "tests/unit/folder.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/wait.h>
/* cmocka wants the four above first */
#include <cmocka.h>

enum { OUTPUT = 8192 };

struct fixture {
    char folder[FOLDER_PATH], path[FOLDER_PATH + 8];
    char output[OUTPUT], errors[OUTPUT];
};

static void read_file(struct fixture *f, const char *name, char *text)
{
    char path[FOLDER_PATH + 32];
    snprintf(path, sizeof path, "%s/%s", f->folder, name);
    FILE *file = fopen(path, "r");
    size_t len = file ? fread(text, 1, OUTPUT - 1, file) : 0;
    text[len] = '\0';
    if (file)
        fclose(file);
}

/* Runs `ringpost ARGUMENTS`; the exit status. */
static int run(struct fixture *f, const char *arguments)
{
    char command[4 * FOLDER_PATH];
    snprintf(command, sizeof command, "cd %s && %s %s >out 2>err", f->folder, RINGPOST_PROGRAM,
             arguments);
    int status = system(command);
    assert_true(WIFEXITED(status));
    read_file(f, "out", f->output);
    read_file(f, "err", f->errors);
    return WEXITSTATUS(status);
}

static int begin(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    folder_make(f->folder);
    snprintf(f->path, sizeof f->path, "%s/queue", f->folder);
    *state = f;
    return 0;
}

static int end(void **state)
{
    struct fixture *f = *state;
    folder_remove(f->folder);
    free(f);
    return 0;
}

static struct store *open_queue(struct fixture *f)
{
    struct store_options options = {.path = f->path, .memory = 16 << 20};
    struct store_report report;
    struct store *store = NULL;
    assert_int_equal(store_open(&options, &store, &report), 0);
    return store;
}

static void make_queue(struct fixture *f, bool legal)
{
    struct store *store = open_queue(f);
    struct store_batch *batch = store_batch_new(store);
    char key[32];
    struct span part = SPAN("a body without a row");
    if (!legal)
        store_batch_put(batch, FAMILY_BODY, body_key(key, 0xab, 0), &part, 1);
    assert_int_equal(store_commit(store, batch, true), 0);
    store_batch_free(batch);
    store_close(store);
}

static void wrong_command_lines_say_how_it_goes(void **state)
{
    static const char *const lines[] = {
        "",
        "queue",
        "queue chek .",
        "cue check .",
        "--jason queue check .",
        "--config",
        "queue check",
        "queue check a b",
        "--config a --socket b queue check .",
        "--configs=a queue check .",
    };
    for (size_t i = 0; i < countof(lines); i++) {
        if (run(*state, lines[i]) != 2)
            fail_msg("not refused: ringpost %s", lines[i]);
        struct fixture *f = *state;
        assert_string_equal(f->output, "");
        assert_non_null(strstr(f->errors, "ringpost: "));
    }
}

static void help_and_version_are_answers(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(run(f, "--help"), 0);
    assert_non_null(strstr(f->output, "queue check"));
    assert_string_equal(f->errors, "");
    assert_int_equal(run(f, "--version"), 0);
    assert_string_equal(f->output, "ringpost " RINGPOST_VERSION "\n");
}

static void a_legal_queue_is_good_news(void **state)
{
    struct fixture *f = *state;
    make_queue(f, true);
    assert_int_equal(run(f, "queue check ."), 0);
    assert_non_null(strstr(f->output, "0 illegal"));
    assert_int_equal(run(f, "queue check queue"), 0);
    assert_int_equal(run(f, "--json queue check -- ."), 0);
}

static void an_illegal_queue_is_bad_news(void **state)
{
    struct fixture *f = *state;
    make_queue(f, false);
    assert_int_equal(run(f, "queue check ."), 1);
    assert_non_null(strstr(f->output, "ILLEGAL: body-without-row 00000000000000ab: "));

    assert_int_equal(run(f, "queue check . --json"), 1);
    json_t *answer = json_loads(f->output, 0, NULL);
    assert_non_null(answer);
    json_t *finding = json_array_get(json_object_get(answer, "findings"), 0);
    assert_string_equal(json_string_value(json_object_get(finding, "kind")), "body-without-row");
    assert_string_equal(json_string_value(json_object_get(finding, "id")), "00000000000000ab");
    assert_int_equal(json_integer_value(json_object_get(answer, "illegal")), 1);
    json_decref(answer);
}

static void a_queue_in_use_or_absent_is_no_answer(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(run(f, "queue check ."), 3);
    assert_non_null(strstr(f->errors, "No such file"));
    struct store *store = open_queue(f);
    assert_int_equal(run(f, "queue check ."), 3);
    assert_non_null(strstr(f->errors, "while its daemon is stopped"));
    assert_int_equal(run(f, "--json queue check ."), 3);
    json_t *answer = json_loads(f->output, 0, NULL);
    assert_non_null(json_string_value(json_object_get(answer, "error")));
    json_decref(answer);
    store_close(store);
}

static void the_configuration_names_the_directory(void **state)
{
    struct fixture *f = *state;
    char path[FOLDER_PATH + 32];
    make_queue(f, false);
    snprintf(path, sizeof path, "%s/ringpost.toml", f->folder);
    FILE *file = fopen(path, "w");
    fprintf(file,
            "hostname = \"mx.example.org\"\ndata_dir = \"%s\"\n"
            "[[listener]]\naddress = \"127.0.0.1:2525\"\n",
            f->folder);
    fclose(file);
    assert_int_equal(run(f, "--config ringpost.toml queue check"), 1);
    assert_int_equal(run(f, "--config=none.toml queue check"), 3);
    assert_non_null(strstr(f->errors, "none.toml"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(wrong_command_lines_say_how_it_goes),
        TEST(help_and_version_are_answers),
        TEST(a_legal_queue_is_good_news),
        TEST(an_illegal_queue_is_bad_news),
        TEST(a_queue_in_use_or_absent_is_no_answer),
        TEST(the_configuration_names_the_directory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
