/* The scenario: injectors, receiving servers, two or three workers, and whatever the seed brings:
 * lost connections, temporary failures, slow peers, dead hosts, crashes between any two events,
 * clean stops, a full disk, a stepped clock, an administrator at work, mail that nobody takes until
 * it expires. After a while the world becomes calm, and then everything promised must have come to
 * its end, the store must be empty of mail, and each duplicate must have its excuse. After each
 * life, and now and then within one, `queue check` must find no illegal state. */
#include "core/clock.h"
#include "core/config.h"
#include "queue/admin.h"
#include "queue/check.h"
#include "queue/event.h"
#include "queue/journal.h"
#include "smtp/suspended.h"
#include "smtp/worker.h"
#include "tests/sim/auditor.h"
#include "tests/sim/peers.h"
#include "tests/sim/sim.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { WORKERS_MAX = 3, DAYS_MAX = 12 };

struct process {
    struct config *config;
    struct spool *spool;
    struct lane_limits limits;
    struct admission admission;
    struct worker workers[WORKERS_MAX];
    unsigned count;
    bool running, stopping;
};

static struct process process;
static char config_path[600];

static void write_config(const char *folder, unsigned workers)
{
    snprintf(config_path, sizeof config_path, "%s/ringpost.toml", folder);
    FILE *file = fopen(config_path, "w");
    check(file);
    fprintf(file,
            "hostname = \"mx.ringpost.test\"\n"
            "data_dir = \"%s\"\n"
            "workers = %u\n"
            "[[listener]]\naddress = \"192.0.2.1:25\"\nservice = \"smtp\"\n"
            "relay_from = [\"192.0.2.0/24\"]\n"
            "[dns]\nservers = [\"192.0.2.53:53\"]\n"
            "[delivery]\nconnection_limit = %u\n"
            "[retry]\nintervals = %s\nmax_age = \"%s\"\n"
            "[queue]\nwindow_rows = 1024\nnursery_age = \"%us\"\n"
            "segments = %u\nsegment_size = \"1MB\"\n",
            folder, workers, 1 + (unsigned)world_draw(8),
            world.expiry ? "[\"1m\"]" : "[\"1m\", \"5m\", \"20m\", \"1h\"]",
            world.expiry ? "20m" : "5d", 2 + (unsigned)world_draw(40),
            world_chance(200) ? 0 : 1 + (unsigned)world_draw(6));
    fclose(file);
}

/* Each life has its own number of workers: shards are remapped, nothing migrates. */
static void start(void)
{
    store_set_full(false); /* a start that finds no room ends at once, and somebody makes some */
    write_config(world.folder, 1 + (unsigned)world_draw(WORKERS_MAX));
    char error[CONFIG_ERROR];
    struct spool_report report = {0};
    process = (struct process){0};
    int status = config_load(config_path, &process.config, error);
    if (status < 0)
        fprintf(stderr, "%s\n", error);
    check(status == 0);
    struct hash_seed seed;
    random_fill(&seed, sizeof seed);
    check(lane_limits_init(&process.limits, seed) == 0);
    check(admission_init(&process.admission, 1000, 500) == 0);
    process.count = (unsigned)process.config->workers;
    struct spool_options options = worker_spool_options(process.config, process.count, seed);
    status = spool_open(&options, &process.spool, &report);
    say("start: %u workers: %s", process.count, report.text);
    check(status == 0 && (!report.alarm || world.wall_offset_ms));
    struct worker_settings settings = {
        .config = process.config,
        .spool = process.spool,
        .limits = &process.limits,
        .seed = seed,
        .admission = &process.admission,
        .own_addresses = &process.config->listeners[0].address,
        .own_address_count = 1,
    };
    for (unsigned i = 0; i < process.count; i++) {
        const char *step;
        const struct config_listener *listener;
        check(worker_init(&process.workers[i], &settings, i, &step, &listener) == 0);
        worker_start(&process.workers[i]);
    }
    process.running = true;
}

/* ---- illegal states ---- */

static bool illegal;

static void on_finding(void *context, const struct queue_finding *finding)
{
    if (queue_check_is_note(finding->kind))
        return;
    fprintf(stderr, "ILLEGAL: %s: message %016llx: %s\n", queue_check_kind_name(finding->kind),
            (unsigned long long)finding->id, finding->text);
    illegal = true;
}

static void check_states(void)
{
    struct queue_check_result result;
    check(queue_check(world.folder, on_finding, NULL, &result) == 0);
}

/* ---- the journal ---- */

/* All recipients of a line: one string, or an array. */
static void note_reception(struct span line)
{
    while (line.len && !span_starts_with(line, SPAN("\"recipient\":")))
        line = span_skip(line, 1);
    for (; line.len && !span_starts_with(line, SPAN(",\"queue\"")); line = span_skip(line, 1)) {
        char address[32];
        unsigned message, recipient;
        snprintf(address, sizeof address, "%.*s", SPAN_FORMAT(span_first(line, 31)));
        if (sscanf(address, "\"r%u-m%u-", &recipient, &message) == 2)
            audit_reception(message, recipient);
    }
}

static void on_journal_line(void *context, const struct journal_line *line)
{
    struct event_summary summary;
    struct sink scratch;
    char address[128];
    unsigned message, recipient;
    sink_init(&scratch, context, JOURNAL_LINE_MAX);
    if (!event_read(line->text, &scratch, &summary))
        return;
    if (summary.type == EVENT_RECEPTION)
        note_reception(line->text);
    snprintf(address, sizeof address, "%.*s", SPAN_FORMAT(summary.recipient));
    if (summary.final && sscanf(address, "r%u-m%u-", &recipient, &message) == 2)
        audit_journaled(message, recipient);
}

static void read_journals(void)
{
    char directory[600];
    static struct journal_tail tail;
    char *scratch = malloc(JOURNAL_LINE_MAX);
    check(scratch);
    snprintf(directory, sizeof directory, "%s/journal", world.folder);
    check(journal_recover(directory, UINT64_MAX, on_journal_line, scratch, &tail) == 0);
    check(tail.damaged == 0 && tail.gaps == 0);
    free(scratch);
}

/* ---- the end of a life ---- */

static void crash(void)
{
    say("crash");
    world.life++;
    process.running = false;
    audit_crash();
    peers_daemon_crashed();
    net_daemon_gone();
    ring_crash();
    threads_crash();
    store_crash();
    check_states();
}

static void begin_stop(void)
{
    say("stop: draining");
    process.stopping = true;
    for (unsigned i = 0; i < process.count; i++)
        worker_drain(&process.workers[i], NULL);
}

static bool stopped(void)
{
    for (unsigned i = 0; i < process.count; i++)
        if (!atomic_load(&process.workers[i].drained))
            return false;
    return true;
}

static void finish_stop(void)
{
    for (unsigned i = 0; i < process.count; i++)
        worker_fini(&process.workers[i]);
    check(spool_close(process.spool) == 0);
    lane_limits_fini(&process.limits);
    admission_fini(&process.admission);
    config_free(process.config);
    process.running = false;
    world.life++;
    peers_daemon_crashed(); /* its connections are gone; answers on the way are not heard */
    net_daemon_gone();
    check_states();
    say("stop: done");
}

/* ---- time ---- */

static bool has_work(const struct loop *loop)
{
    return !list_empty(&loop->ready) || ring_has_results(loop->io) ||
           atomic_load(&loop->inbox.newest) || timers_next_ns(&loop->timers) <= world.now_ns;
}

/* Lets a random loop that has something to do have its turn. */
static bool turn(void)
{
    unsigned first = (unsigned)world_draw(process.count);
    for (unsigned i = 0; i < process.count; i++) {
        struct worker *worker = &process.workers[(first + i) % process.count];
        if (atomic_load(&worker->drained) || !has_work(&worker->loop))
            continue;
        check(loop_turn(&worker->loop, 0) == 0);
        world.now_ns += 1000 + world_draw(20000);
        return true;
    }
    return false;
}

static uint64_t next_timer_ns(void)
{
    uint64_t next = UINT64_MAX;
    for (unsigned i = 0; i < process.count && process.running; i++) {
        uint64_t due = timers_next_ns(&process.workers[i].loop.timers);
        if (!atomic_load(&process.workers[i].drained) && due < next)
            next = due;
    }
    return next;
}

/* One thing happens. False: nothing ever will again. */
static bool advance(void)
{
    if (world_step(world.now_ns))
        return true;
    if (process.running && turn())
        return true;
    uint64_t next = next_timer_ns();
    if (world_next_ns() < next)
        next = world_next_ns();
    if (next == UINT64_MAX)
        return false;
    if (next > world.now_ns)
        world.now_ns = next;
    return true;
}

static void on_tick(void *context, uint64_t argument)
{
    if (process.running)
        spool_tick(process.spool);
    world_later(NS_PER_S, false, on_tick, NULL, 0);
}

static void on_calm(void *context, uint64_t argument)
{
    say("the world is calm from now on");
    world.calm = true;
}

static void on_disk_room(void *context, uint64_t full)
{
    say(full ? "the disk is full" : "the disk has room");
    store_set_full(full && !world.calm);
    if (full)
        world_later((1 + world_draw(90)) * NS_PER_S, false, on_disk_room, NULL, 0);
    else if (world_fault(500))
        world_later((1 + world_draw(90)) * NS_PER_S, false, on_disk_room, NULL, 1);
}

/* Once, by hours or days. Backwards not so far that waiting for the old times would outlast the
 * run. */
static void on_clock_step(void *context, uint64_t argument)
{
    if (process.stopping) { /* see maybe_end_life */
        world_later(NS_PER_S, false, on_clock_step, NULL, 0);
        return;
    }
    int64_t hour_ms = INT64_C(3600) * 1000;
    bool ahead = world_chance(500);
    int64_t step_ms = ahead ? 2 * hour_ms + (int64_t)world_draw(240 * (uint64_t)hour_ms)
                            : -2 * hour_ms - (int64_t)world_draw(48 * (uint64_t)hour_ms);
    say("the clock is stepped by %lld h", (long long)(step_ms / hour_ms));
    world.wall_offset_ms = step_ms;
}

/* ---- an administrator ---- */

static void run_job(const struct admin_order *order)
{
    struct admin_job *job = admin_job_new(order);
    check(job);
    for (unsigned i = 0; i < process.count; i++) {
        int result = share_admin(process.workers[i].share, job);
        check(result == 0 || result == -ECANCELED);
    }
    admin_job_put(job);
}

static void suspend_or_resume(struct span domain)
{
    struct suspension suspension = {
        .scope = SUSPEND_DOMAIN,
        .name = domain,
        .since_ms = clock_wall_ms(),
        .until_ms = clock_wall_ms() + 1000 + world_draw(120000),
    };
    bool resumes = world_chance(300);
    say(resumes ? "a domain is resumed" : "a domain is suspended");
    for (unsigned i = 0; i < process.count; i++) {
        struct egress *egress = &process.workers[i].egress;
        if (resumes)
            egress_resume(egress, SUSPEND_DOMAIN, domain);
        else
            check(egress_suspend(egress, &suspension) == 0);
    }
}

/* What changes nothing about which mail must arrive: mail is hurried, held back for a while, and
 * given to other tenants, whichever rows are just lent, loading or being settled. */
static void on_administrator(void *context, uint64_t argument)
{
    static const struct span domains[] = {SPAN("d0.test"), SPAN("d1.test"), SPAN("d2.test")};
    static const struct span tenants[] = {SPAN(""), SPAN("red"), SPAN("blue")};
    struct admin_order order = {.action = ADMIN_FLUSH};
    if (world.calm)
        return;
    world_later((1 + world_draw(60)) * NS_PER_S, false, on_administrator, NULL, 0);
    if (!process.running || process.stopping)
        return;
    if (world_chance(500))
        order.filter.domain = domains[world_draw(countof(domains))];
    if (world_chance(400)) {
        suspend_or_resume(domains[world_draw(countof(domains))]);
        return;
    }
    if (world_chance(600)) {
        order.action = ADMIN_MOVE;
        order.set_tenant = true;
        order.to_tenant = tenants[world_draw(countof(tenants))];
    }
    say(order.action == ADMIN_MOVE ? "mail gets another tenant" : "mail is flushed");
    run_job(&order);
}

/* ---- one seed ---- */

struct faults {
    uint64_t next_crash; /* as a count of events */
    bool in_commit;      /* it comes while a message is being written, if one is soon */
    unsigned crashes, stops;
};

static bool end_is_due(const struct faults *faults)
{
    if (world.happened < faults->next_crash)
        return false;
    return !faults->in_commit || threads_commit_waits() ||
           world.happened >= faults->next_crash + 1000;
}

static void maybe_end_life(struct faults *faults)
{
    if (!process.running) {
        start();
    } else if (process.stopping) {
        if (stopped())
            finish_stop();
    } else if (!world.calm && end_is_due(faults) && world.wall_offset_ms <= 0) {
        /* After a step ahead the next start would believe the clock, if it is less than a week. */
        faults->next_crash = world.happened + 50 + world_draw(6000);
        faults->in_commit = world_chance(500);
        if (world_chance(250)) {
            faults->stops++;
            begin_stop();
        } else {
            faults->crashes++;
            crash();
        }
    }
}

static bool done(void)
{
    return world.calm && process.running && !process.stopping && !peers_injecting() &&
           audit_complete() && store_empty_of_mail();
}

/* Nothing is left that could bring what is missing. */
static bool lost(void)
{
    return world.calm && process.running && !process.stopping && !peers_injecting() &&
           !audit_complete() && store_empty_of_mail();
}

static void report_stuck(void)
{
    fprintf(stderr,
            "STUCK: promised mail is neither received nor reported, or the store keeps mail "
            "(complete %d, empty %d)\n",
            audit_complete(), store_empty_of_mail());
}

static void plan_faults(void)
{
    world_later(NS_PER_S, false, on_tick, NULL, 0);
    world_later((30 + world_draw(600)) * NS_PER_S, false, on_calm, NULL, 0);
    if (world_chance(250))
        world_later(world_draw(60 * NS_PER_S), false, on_disk_room, NULL, 1);
    if (!world.expiry && world_chance(200))
        world_later(world_draw(60 * NS_PER_S), false, on_clock_step, NULL, 0);
    if (world_chance(300))
        world_later(world_draw(30 * NS_PER_S), false, on_administrator, NULL, 0);
}

bool run_seed(uint64_t seed, const char *folder, bool trace)
{
    world_begin(seed, folder, trace);
    world.expiry = world_chance(200);
    struct faults faults = {.next_crash = 500 + world_draw(8000), .in_commit = world_chance(500)};
    peers_serve();
    start();
    struct address address = process.config->listeners[0].address;
    unsigned injectors = 1 + (unsigned)world_draw(5);
    for (unsigned i = 0; i < injectors; i++)
        peers_inject(&address, 1 + (unsigned)world_draw(25));
    plan_faults();
    uint64_t end_ns = (uint64_t)DAYS_MAX * 24 * 3600 * NS_PER_S;
    uint64_t checked_commits = 0;
    while (!done()) {
        if (world.now_ns > end_ns || !advance() || lost()) {
            report_stuck();
            audit_passes();
            return false;
        }
        maybe_end_life(&faults);
        if (store_commits() != checked_commits && world_chance(2)) {
            checked_commits = store_commits();
            check_states();
        }
    }
    check_states();
    read_journals();
    struct audit_counts counts = audit_counts();
    bool passed = audit_passes() && !illegal;
    printf("seed %llu: %u messages, %u promised, %u received, %u reported, %u duplicates "
           "(%u excuses), %u crashes, %u stops, %llu events, %.0f virtual s: %s\n",
           (unsigned long long)seed, counts.messages, counts.promised, counts.received,
           counts.reported, counts.duplicates, counts.excused, faults.crashes, faults.stops,
           (unsigned long long)world.happened, (double)world.now_ns / 1e9,
           passed ? "ok" : "FAILED");
    return passed;
}
