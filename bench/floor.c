/* floor: the null relay, which the daemon's cost is compared with. One JSON object at SIGTERM. */
#include "bench/arguments.h"
#include "bench/floor_relay.h"
#include "bench/load_plan.h"
#include "bench/program.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { WORKERS_MAX = 64 };

static const char *const names[FLOOR_DURABILITIES] = {"none", "record", "segment"};

static enum floor_durability durability_named(const char *name)
{
    for (unsigned i = 0; i < FLOOR_DURABILITIES; i++)
        if (strcmp(names[i], name) == 0)
            return (enum floor_durability)i;
    arguments_wrong("--durability: none, record or segment");
}

/* The commands that load sends before each text, and the octets of the text. */
static void measure_dialogue(struct floor_settings *settings, const char *size)
{
    static struct load_plan plan; /* its texts are large */
    plan.recipients = settings->recipients;
    load_plan_sizes(&plan, size);
    load_plan_domains(&plan, "destination.test");
    char *envelope = malloc(load_plan_envelope_max(&plan) + 8);
    check(envelope);
    size_t len = load_plan_envelope(&plan, envelope);
    memcpy(envelope + len, "DATA\r\n", 6);
    settings->hello = SPAN("EHLO source.test\r\n");
    settings->envelope = span_of(envelope, len + 6);
    settings->text_len = plan.texts[0].size - plan.texts[0].filler.len +
                         plan.texts[0].filler_stuffed.len + sizeof ".\r\n" - 1;
    load_plan_fini(&plan);
}

static void *run_worker(void *loop)
{
    check(loop_run(loop) == 0);
    return NULL;
}

static void print_counts(const struct floor_settings *settings, struct floor_worker *const *workers,
                         unsigned count, const struct floor_counts *disk)
{
    uint64_t relayed = 0;
    for (unsigned i = 0; i < count; i++)
        relayed += floor_worker_relayed(workers[i]);
    printf("{\"program\":\"floor\",\"durability\":\"%s\",\"relayed\":%" PRIu64
           ",\"groups\":%" PRIu64 ",\"syncs\":%" PRIu64 ",\"record_bytes\":%" PRIu64
           ",\"cpu_s\":%.3f}\n",
           names[settings->durability], relayed, disk->groups, disk->syncs, disk->bytes,
           program_cpu_s());
}

int main(int argc, char **argv)
{
    const char *listen = NULL, *sink = NULL, *durability = "none", *size = "10240";
    uint64_t workers = 2, recipients = 1, connections_out = 20;
    struct floor_settings settings = {0};
    const struct argument table[] = {
        {"listen", ARGUMENT_TEXT, &listen, "address and port"},
        {"sink", ARGUMENT_TEXT, &sink, "address and port of a sink, which must be there"},
        {"durability", ARGUMENT_TEXT, &durability, "none (default), record, segment"},
        {"folder", ARGUMENT_TEXT, &settings.folder, "an empty folder for what is stored"},
        {"size", ARGUMENT_TEXT, &size, "of the messages, as load's (10240)"},
        {"recipients", ARGUMENT_COUNT, &recipients, "of the messages, as load's (1)"},
        {"workers", ARGUMENT_COUNT, &workers, "threads (2)"},
        {"connections-out", ARGUMENT_COUNT, &connections_out, "in all (20)"},
    };
    arguments_read("floor: a relay that understands nothing, between load (classic) and sink.",
                   table, countof(table), argc, argv);
    settings.listen = arguments_address(listen);
    settings.sink = arguments_address(sink);
    settings.durability = durability_named(durability);
    settings.recipients = (unsigned)recipients;
    if (workers == 0 || workers > WORKERS_MAX || connections_out < workers || recipients == 0)
        arguments_wrong("1 to %d workers, a connection out for each, a recipient", WORKERS_MAX);
    settings.connections_out = (unsigned)(connections_out / workers);
    measure_dialogue(&settings, size);

    static struct loop control;
    struct floor_worker *list[WORKERS_MAX];
    pthread_t threads[WORKERS_MAX];
    program_loop_init(&control, 16, 1024);
    program_stop_by_signal(&control);
    if (settings.durability != FLOOR_NONE) {
        int error = settings.folder ? floor_disk_open(settings.folder, &settings.disk) : -EINVAL;
        if (error)
            arguments_wrong("--folder: %s", strerror(-error));
    }
    for (unsigned i = 0; i < workers; i++) {
        int error = floor_worker_new(&settings, i, &list[i]);
        if (error)
            return fprintf(stderr, "floor: %s\n", strerror(-error)), 1;
        check(pthread_create(&threads[i], NULL, run_worker, floor_worker_loop(list[i])) == 0);
    }
    check(loop_run(&control) == 0);
    for (unsigned i = 0; i < workers; i++) {
        loop_stop(floor_worker_loop(list[i]));
        pthread_join(threads[i], NULL);
    }
    struct floor_counts disk = {0};
    if (settings.disk)
        disk = floor_disk_close(settings.disk);
    print_counts(&settings, list, (unsigned)workers, &disk);
    program_end(0);
}
