/* ringpost: the command line. `ringpost [--config FILE | --socket PATH] <noun> <verb> [...]`
 *
 * One table of verbs; a noun joins by adding rows. Exit status: 0 done and well; 1 done, and the
 * answer is bad news; 2 the command line is wrong; 3 it could not be done. */
#include "core/config.h"
#include "core/json.h"
#include "queue/check.h"
#include "queue/record.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum exit_status { EXIT_GOOD, EXIT_BAD, EXIT_USAGE, EXIT_UNABLE };

struct cli {
    const char *config, *socket; /* NULL: not given */
    bool json;
    char **arguments; /* behind the verb, options taken out */
    int argument_count;
};

typedef int cli_run(const struct cli *cli);

/* ---- queue check ---- */

struct listing {
    bool json, any;
};

static void print_json_string(struct span text)
{
    char storage[2048];
    struct sink sink;
    sink_init(&sink, storage, sizeof storage);
    json_put_string(&sink, text, text.len);
    printf("%.*s", SPAN_FORMAT(sink_span(&sink)));
}

static void print_finding_json(struct listing *listing, const struct queue_finding *finding)
{
    char id[ID_TEXT];
    id_text(finding->id, id);
    printf("%s\n  {\"kind\": \"%s\", \"legal\": %s, ", listing->any ? "," : "",
           queue_check_kind_name(finding->kind),
           queue_check_is_note(finding->kind) ? "true" : "false");
    if (finding->id)
        printf("\"id\": \"%s\", ", id);
    printf("\"text\": ");
    print_json_string(span_string(finding->text));
    printf("}");
}

static void print_finding_text(const struct queue_finding *finding)
{
    char id[ID_TEXT], storage[512];
    struct sink sink;
    id_text(finding->id, id);
    sink_init(&sink, storage, sizeof storage);
    sink_printable(&sink, span_string(finding->text), sizeof finding->text);
    printf("%s: %s%s%s: %.*s\n", queue_check_is_note(finding->kind) ? "note" : "ILLEGAL",
           queue_check_kind_name(finding->kind), finding->id ? " " : "", finding->id ? id : "",
           SPAN_FORMAT(sink_span(&sink)));
}

static void on_finding(void *context, const struct queue_finding *finding)
{
    struct listing *listing = context;
    if (listing->json)
        print_finding_json(listing, finding);
    else
        print_finding_text(finding);
    listing->any = true;
}

static void print_result_json(const struct listing *listing,
                              const struct queue_check_result *result)
{
    printf("%s], \"fresh\": %" PRIu64 ", \"messages\": %" PRIu64 ", \"rows\": %" PRIu64
           ", \"references\": %" PRIu64 ", \"queues\": %" PRIu64 ", \"body_bytes\": %" PRIu64
           ", \"illegal\": %" PRIu64 ", \"notes\": %" PRIu64 ", \"error\": ",
           listing->any ? "\n" : "", result->fresh, result->messages, result->rows,
           result->references, result->queues, result->body_bytes, result->illegal, result->notes);
    print_json_string(span_string(result->error));
    printf("}\n");
}

static void print_result_text(const struct queue_check_result *result)
{
    printf("%" PRIu64 " fresh, %" PRIu64 " queued in %" PRIu64 " row(s) with %" PRIu64
           " reference(s), %" PRIu64 " queue(s), %" PRIu64 " bytes of bodies: %" PRIu64
           " illegal, %" PRIu64 " note(s)\n",
           result->fresh, result->messages, result->rows, result->references, result->queues,
           result->body_bytes, result->illegal, result->notes);
}

/* The directory on the command line, or the configuration's. */
static int check_directory(const struct cli *cli, const char *directory)
{
    struct listing listing = {.json = cli->json};
    struct queue_check_result result;
    if (cli->json)
        printf("{\"findings\": [");
    int error = queue_check(directory, on_finding, &listing, &result);
    if (cli->json)
        print_result_json(&listing, &result);
    else if (error == 0)
        print_result_text(&result);
    if (error < 0) {
        fprintf(stderr, "ringpost: cannot check %s: %s%s\n", directory, result.error,
                error == -EBUSY ? " (a queue can be checked only while its daemon is stopped)"
                                : "");
        return EXIT_UNABLE;
    }
    return result.illegal ? EXIT_BAD : EXIT_GOOD;
}

static int run_queue_check(const struct cli *cli)
{
    if (cli->argument_count == 1)
        return check_directory(cli, cli->arguments[0]);
    if (cli->argument_count > 1 || !cli->config) {
        fprintf(stderr, "ringpost: queue check wants a directory, or --config FILE\n");
        return EXIT_USAGE;
    }
    struct config *config;
    char error[CONFIG_ERROR];
    if (config_load(cli->config, &config, error) < 0) {
        fprintf(stderr, "ringpost: %s\n", error);
        return EXIT_UNABLE;
    }
    int status = check_directory(cli, config->data_dir.data);
    config_free(config);
    return status;
}

/* ---- the table ---- */

static const struct verb {
    const char *noun, *verb, *arguments, *help;
    cli_run *run;
} verbs[] = {
    {"queue", "check", "[DIR]",
     "Read the queue of a stopped daemon and name every illegal state. DIR is the data\n"
     "      directory or the queue's folder in it; without it, that of --config FILE.\n"
     "      Exit status 0: all legal; 1: not; 3: it could not be read.",
     run_queue_check},
};

static int usage(FILE *to)
{
    fprintf(to, "usage: ringpost [--config FILE | --socket PATH] [--json] <noun> <verb> [...]\n\n");
    for (size_t i = 0; i < countof(verbs); i++)
        fprintf(to, "  %s %s %s\n      %s\n", verbs[i].noun, verbs[i].verb, verbs[i].arguments,
                verbs[i].help);
    fprintf(to, "\n  --help, --version\n");
    return to == stdout ? EXIT_GOOD : EXIT_USAGE;
}

static int wrong(const char *what, const char *which)
{
    fprintf(stderr, "ringpost: %s%s\n", what, which);
    return usage(stderr);
}

static int run_verb(const struct cli *cli, const char *noun, const char *verb)
{
    bool noun_known = false;
    for (size_t i = 0; i < countof(verbs); i++) {
        if (strcmp(verbs[i].noun, noun) != 0)
            continue;
        noun_known = true;
        if (strcmp(verbs[i].verb, verb) == 0)
            return verbs[i].run(cli);
    }
    return noun_known ? wrong("unknown verb: ", verb) : wrong("unknown noun: ", noun);
}

/* Takes `--name VALUE` or `--name=VALUE` at *at. False: it is another option. */
static bool take_option(const char *name, int argc, char **argv, int *at, const char **ret_value)
{
    size_t len = strlen(name);
    if (strncmp(argv[*at], name, len) != 0)
        return false;
    if (argv[*at][len] == '=') {
        *ret_value = argv[*at] + len + 1;
        return true;
    }
    if (argv[*at][len] != '\0' || *at + 1 >= argc)
        return false;
    *ret_value = argv[++*at];
    return true;
}

int main(int argc, char **argv)
{
    struct cli cli = {.arguments = argv};
    int words = 0;
    bool options = true; /* until "--" */
    for (int i = 1; i < argc; i++) {
        if (!options || argv[i][0] != '-' || argv[i][1] == '\0') {
            argv[words++] = argv[i]; /* never ahead of i */
        } else if (strcmp(argv[i], "--") == 0) {
            options = false;
        } else if (strcmp(argv[i], "--json") == 0) {
            cli.json = true;
        } else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            return usage(stdout);
        } else if (strcmp(argv[i], "--version") == 0) {
            printf("ringpost %s\n", RINGPOST_VERSION);
            return EXIT_GOOD;
        } else if (!take_option("--config", argc, argv, &i, &cli.config) &&
                   !take_option("--socket", argc, argv, &i, &cli.socket)) {
            return wrong("unknown option, or one without its value: ", argv[i]);
        }
    }
    if (cli.config && cli.socket)
        return wrong("--config and --socket exclude each other", "");
    if (words < 2)
        return wrong("a noun and a verb are wanted", "");
    cli.arguments = argv + 2;
    cli.argument_count = words - 2;
    return run_verb(&cli, argv[0], argv[1]);
}
