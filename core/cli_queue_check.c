/* `ringpost queue check`: the queue of a stopped daemon, read without it. */
#include "core/cli.h"
#include "core/config.h"
#include "core/json.h"
#include "queue/check.h"
#include "queue/record.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

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
        return EXIT_UNREACHABLE;
    }
    return result.illegal ? EXIT_BAD : EXIT_GOOD;
}

int cli_queue_check(struct cli *cli)
{
    if (cli->values.given[0])
        return check_directory(cli, cli->values.text[0].data);
    if (!cli->config) {
        fprintf(stderr, "ringpost: queue check wants a directory, or --config FILE\n");
        return EXIT_USAGE;
    }
    struct config *config;
    char error[CONFIG_ERROR];
    if (config_load(cli->config, &config, error) < 0) {
        fprintf(stderr, "ringpost: %s\n", error);
        return EXIT_UNREACHABLE;
    }
    int status = check_directory(cli, config->data_dir.data);
    config_free(config);
    return status;
}
