/* ringpostd: the composition root, the one file that sees everything.
 *
 *     ringpostd --config FILE            run in the foreground until SIGTERM or SIGINT
 *     ringpostd --check-config FILE      say what is wrong with it, or nothing
 *     ringpostd --dump-config FILE       every option with its value and where it was set
 *     ringpostd --options                every option, documented (Markdown)
 *
 * Start-up is straight-line code in the main thread: configuration, queue (recovery), workers with
 * their listeners bound; then one thread per worker, and the main thread becomes the control
 * thread: HTTP for /metrics, /healthz and /readyz, signals, the second's tick. Shutdown is the
 * reverse, and bounded: what has not ended SHUTDOWN_EXTRA_MS after the workers' own bound is cut by
 * _exit, which loses nothing that was acknowledged (the queue recovers).
 *
 * Exit status: 0 ended as asked; 1 the queue failed while running, or start-up failed; 2 usage. */
#include "core/clock.h"
#include "core/config.h"
#include "core/http.h"
#include "core/interfaces.h"
#include "core/log.h"
#include "core/metrics.h"
#include "queue/spool.h"
#include "smtp/worker.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

enum {
    TICK_MS = 1000,
    SHUTDOWN_EXTRA_MS = 10 * 1000,
    DESCRIPTORS_EXTRA = 512, /* beside inbound connections: some outbound ones, the store's files */
    DRAIN_POLL_MS = 20,
    PORT_WAIT_MS = 5000,
    PORT_POLL_MS = 20,
};

struct daemon {
    struct config *config;
    struct spool *spool;
    struct lane_limits limits;
    struct admission admission;
    struct hash_seed seed;
    struct address *own_addresses;
    size_t own_address_count;

    struct worker **workers;
    pthread_t *threads;
    unsigned worker_count, thread_count;

    struct loop control;
    struct metrics metrics; /* the control thread's own */
    struct http_server http;
    struct http_route http_routes[3];
    struct op signal_ready, http_stopped;
    int signal_fd;
    struct timer tick, drain_poll;
    uint64_t drain_until_ns;
    bool draining;
    int queue_error; /* what ended the queue; 0: nothing did */
    bool disk_full_said, clock_alarm_said;
};

/* ---- configuration ---- */

static void print_line(void *context, const char *text)
{
    fprintf(context, "%s\n", text);
}

static struct config *load_config(const char *path)
{
    struct config *config;
    char error[CONFIG_ERROR];
    if (config_load(path, &config, error) == 0)
        return config;
    fprintf(stderr, "ringpostd: %s\n", error);
    return NULL;
}

static int check_config(const char *path)
{
    struct config *config = load_config(path);
    config_free(config);
    return config ? 0 : 1;
}

static int dump_config(const char *path)
{
    struct config *config = load_config(path);
    if (!config)
        return 1;
    config_dump(config, print_line, stdout);
    config_free(config);
    return 0;
}

/* ---- HTTP ---- */

static bool all_running(const struct daemon *daemon)
{
    if (daemon->draining || spool_state(daemon->spool) < 0)
        return false;
    for (unsigned i = 0; i < daemon->worker_count; i++)
        if (!atomic_load(&daemon->workers[i]->running))
            return false;
    return true;
}

static void serve_metrics(void *context, struct http_reply *reply)
{
    struct daemon *daemon = context;
    struct metrics *sets[257];
    unsigned count = 0;
    sets[count++] = &daemon->metrics;
    for (unsigned i = 0; i < daemon->worker_count; i++)
        sets[count++] = &daemon->workers[i]->metrics;
    reply->type = HTTP_TYPE_METRICS;
    metrics_write(sets, count, &reply->body);
}

/* Alive: the control thread answers. */
static void serve_health(void *context, struct http_reply *reply)
{
    sink_put(&reply->body, SPAN("ok\n"));
}

static void serve_ready(void *context, struct http_reply *reply)
{
    struct daemon *daemon = context;
    bool ready = all_running(daemon);
    reply->status = ready ? 200 : 503;
    if (ready)
        sink_put(&reply->body, SPAN("ready\n"));
    else if (daemon->draining)
        sink_put(&reply->body, SPAN("shutting down\n"));
    else if (spool_state(daemon->spool) == -ENOSPC)
        sink_put(&reply->body, SPAN("the disk is full\n"));
    else
        sink_put(&reply->body, SPAN("not ready\n"));
}

static void say_why(const struct daemon *daemon, int error, const char *step,
                    const struct config_listener *listener)
{
    char address[ADDRESS_TEXT];
    struct sink sink;
    sink_init(&sink, address, sizeof address);
    if (listener)
        address_put(&listener->address, &sink);
    if (listener)
        log_error("%s:%u: cannot listen on %.*s: %s", daemon->config->file.data, listener->line,
                  SPAN_FORMAT(sink_span(&sink)), strerror(-error));
    else if (strcmp(step, "io_uring") == 0)
        log_error("%s", io_explain(error));
    else
        log_error("cannot start %s: %s", step, strerror(-error));
}

static int open_http(struct daemon *daemon)
{
    daemon->http_routes[0] = (struct http_route){"/metrics", serve_metrics, daemon};
    daemon->http_routes[1] = (struct http_route){"/healthz", serve_health, daemon};
    daemon->http_routes[2] = (struct http_route){"/readyz", serve_ready, daemon};
    int error = http_server_init(&daemon->http, &daemon->control, daemon->http_routes,
                                 countof(daemon->http_routes));
    for (size_t i = 0; i < daemon->config->listener_count && error == 0; i++) {
        const struct config_listener *listener = &daemon->config->listeners[i];
        if (listener->service != SERVICE_HTTP)
            continue;
        error = http_server_listen(&daemon->http, &listener->address);
        if (error < 0)
            say_why(daemon, error, "a listener", listener);
    }
    return error;
}

/* ---- start-up ---- */

/* Every connection is a descriptor; the hard limit is what the operator granted. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static void warn_about_descriptors(const struct daemon *daemon)
{
    struct rlimit limit;
    uint64_t wanted = daemon->config->limits.connections + DESCRIPTORS_EXTRA;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < wanted)
        log_warning(
            "only %llu descriptors are allowed (RLIMIT_NOFILE), [limits] connections = %llu "
            "wants %llu: beyond them clients wait unanswered",
            (unsigned long long)limit.rlim_cur,
            (unsigned long long)daemon->config->limits.connections, (unsigned long long)wanted);
}

/* postmaster is accepted from everybody (RFC 5321 4.5.1), so it should go somewhere. */
static void warn_about_postmaster(const struct daemon *daemon)
{
    const struct config *config = daemon->config;
    for (size_t i = 0; i < config->route_count; i++)
        if (span_equals_any_case(config->routes[i].domain, config->hostname) ||
            span_equals(config->routes[i].domain, SPAN("*")))
            return;
    log_notice("mail to postmaster@%.*s goes by DNS: [route.\"%.*s\"] hosts says where it is read",
               SPAN_FORMAT(config->hostname), SPAN_FORMAT(config->hostname));
}

/* A predecessor that was killed keeps its sockets until the kernel has ended its rings, which may
 * be a while after the process. */
static int wait_until_free(const struct address *address)
{
    int error = interfaces_free(address);
    for (unsigned waited_ms = 0; error == -EADDRINUSE && waited_ms < PORT_WAIT_MS;
         waited_ms += PORT_POLL_MS) {
        usleep(PORT_POLL_MS * 1000);
        error = interfaces_free(address);
    }
    return error;
}

/* The workers' sockets share their ports, also with those of another ringpostd of the same user,
 * and mail would be split between two queues without a word. */
static bool ports_are_free(const struct daemon *daemon)
{
    const struct config *config = daemon->config;
    for (size_t i = 0; i < config->listener_count; i++) {
        int error = wait_until_free(&config->listeners[i].address);
        if (error < 0) {
            say_why(daemon, error, "a listener", &config->listeners[i]);
            return false;
        }
    }
    return true;
}

static unsigned worker_count_of(const struct config *config)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    uint64_t count = config->workers ? config->workers : (uint64_t)(cores > 0 ? cores : 1);
    return (unsigned)(count < SHARD_COUNT ? count : SHARD_COUNT);
}

/* One log line per line of the report. */
static void log_report(const struct spool_report *report)
{
    struct span rest = span_string(report->text);
    while (rest.len > 0) {
        struct span line = span_first(rest, span_find(rest, '\n'));
        rest = span_skip(rest, line.len + 1);
        if (line.len > 0)
            log_write(report->alarm ? LOG_WARNING : LOG_NOTICE, "queue: %.*s", SPAN_FORMAT(line));
    }
}

static bool open_queue(struct daemon *daemon)
{
    struct spool_options options =
        worker_spool_options(daemon->config, daemon->worker_count, daemon->seed);
    struct spool_report report = {0};
    int error = spool_open(&options, &daemon->spool, &report);
    log_report(&report);
    if (error == 0) {
        daemon->clock_alarm_said = spool_clock_alarm(daemon->spool).len > 0; /* in the report */
        return true;
    }
    if (error == -EBUSY)
        log_error("queue: %s is in use by another process", options.data_dir);
    else
        log_error("queue: cannot open %s: %s", options.data_dir, strerror(-error));
    return false;
}

static int add_own_addresses(struct daemon *daemon, const struct address *address)
{
    struct address *behind;
    size_t count;
    int error = interfaces_behind(address, &behind, &count);
    if (error < 0)
        return error;
    size_t total = daemon->own_address_count + count;
    struct address *all = reallocarray(daemon->own_addresses, total + 1, sizeof *all);
    if (all) {
        memcpy(all + daemon->own_address_count, behind, count * sizeof *behind);
        daemon->own_addresses = all;
        daemon->own_address_count = total;
    }
    free(behind);
    return all ? 0 : -ENOMEM;
}

static bool collect_own_addresses(struct daemon *daemon)
{
    const struct config *config = daemon->config;
    int error = 0;
    for (size_t i = 0; i < config->listener_count && error == 0; i++)
        if (config->listeners[i].service == SERVICE_SMTP)
            error = add_own_addresses(daemon, &config->listeners[i].address);
    if (error < 0)
        log_error("cannot tell this host's addresses: %s", strerror(-error));
    return error == 0;
}

static bool open_workers(struct daemon *daemon)
{
    struct worker_settings settings = {
        .config = daemon->config,
        .spool = daemon->spool,
        .limits = &daemon->limits,
        .seed = daemon->seed,
        .admission = &daemon->admission,
        .own_addresses = daemon->own_addresses,
        .own_address_count = daemon->own_address_count,
    };
    daemon->workers = calloc(daemon->worker_count, sizeof *daemon->workers);
    daemon->threads = calloc(daemon->worker_count, sizeof *daemon->threads);
    if (!daemon->workers || !daemon->threads)
        return false;
    for (unsigned i = 0; i < daemon->worker_count; i++) {
        const char *step;
        const struct config_listener *listener;
        /* Its own cache lines: a worker's counters are written all the time. */
        daemon->workers[i] = aligned_alloc(64, (sizeof(struct worker) + 63) & ~(size_t)63);
        if (!daemon->workers[i])
            return false;
        memset(daemon->workers[i], 0, sizeof(struct worker));
        int error = worker_init(daemon->workers[i], &settings, i, &step, &listener);
        if (error < 0) {
            say_why(daemon, error, step, listener);
            return false;
        }
    }
    return true;
}

static void *run_worker(void *argument)
{
    struct worker *worker = argument;
    worker_start(worker);
    int error = loop_run(&worker->loop);
    if (error < 0)
        log_error("worker %u: the ring failed: %s", worker->loop.index, strerror(-error));
    return error < 0 ? worker : NULL;
}

static bool start_threads(struct daemon *daemon)
{
    for (unsigned i = 0; i < daemon->worker_count; i++) {
        int error = pthread_create(&daemon->threads[i], NULL, run_worker, daemon->workers[i]);
        if (error) {
            log_error("cannot start a thread: %s", strerror(error));
            return false;
        }
        char name[16]; /* what the kernel keeps */
        snprintf(name, sizeof name, "worker%u", i % SHARD_COUNT);
        pthread_setname_np(daemon->threads[i], name);
        daemon->thread_count++;
    }
    return true;
}

/* ---- control thread ---- */

static void begin_drain(struct daemon *daemon)
{
    if (daemon->draining)
        return;
    daemon->draining = true;
    for (unsigned i = 0; i < daemon->worker_count; i++)
        worker_drain(daemon->workers[i], &daemon->control);
    daemon->drain_until_ns =
        daemon->control.now_ns +
        (daemon->config->delivery.system_shutdown_timeout_ms + SHUTDOWN_EXTRA_MS) * NS_PER_MS;
    loop_arm(&daemon->control, &daemon->drain_poll, DRAIN_POLL_MS * NS_PER_MS);
}

static void on_drain_poll(struct op *op)
{
    struct daemon *daemon = container_of(op, struct daemon, drain_poll.op);
    unsigned drained = 0;
    for (unsigned i = 0; i < daemon->worker_count; i++)
        drained += atomic_load(&daemon->workers[i]->drained);
    if (drained == daemon->worker_count) {
        http_server_stop(&daemon->http, &daemon->http_stopped);
        return;
    }
    if (daemon->control.now_ns >= daemon->drain_until_ns) {
        log_error("shutdown: %u of %u workers did not end in time; what is queued stays queued",
                  daemon->worker_count - drained, daemon->worker_count);
        _exit(1);
    }
    loop_arm(&daemon->control, &daemon->drain_poll, DRAIN_POLL_MS * NS_PER_MS);
}

static void on_http_stopped(struct op *op)
{
    struct daemon *daemon = container_of(op, struct daemon, http_stopped);
    loop_stop(&daemon->control);
}

static void watch_signals(struct daemon *daemon)
{
    io_poll(daemon->control.io, &daemon->signal_ready, daemon->signal_fd, 1 /* POLLIN */);
}

static void on_signal(struct op *op)
{
    struct daemon *daemon = container_of(op, struct daemon, signal_ready);
    struct signalfd_siginfo signal;
    while (read(daemon->signal_fd, &signal, sizeof signal) == (ssize_t)sizeof signal) {
        if (signal.ssi_signo != SIGTERM && signal.ssi_signo != SIGINT) {
            log_notice(
                "SIG%s: nothing to do: the configuration is read at start, no file is rotated",
                sigabbrev_np((int)signal.ssi_signo));
            continue;
        }
        log_notice("%s: shutting down", signal.ssi_signo == SIGINT ? "SIGINT" : "SIGTERM");
        begin_drain(daemon);
    }
    if (op->result >= 0)
        watch_signals(daemon);
}

static void look_at_clock(struct daemon *daemon)
{
    struct span alarm = spool_clock_alarm(daemon->spool);
    if (alarm.len && !daemon->clock_alarm_said)
        log_warning("queue: %.*s: nothing expires until it is confirmed", SPAN_FORMAT(alarm));
    if (!alarm.len && daemon->clock_alarm_said)
        log_notice("queue: the clock was confirmed");
    daemon->clock_alarm_said = alarm.len > 0;
}

static void look_at_disk(struct daemon *daemon)
{
    int state = spool_state(daemon->spool);
    if (state == -ENOSPC && !daemon->disk_full_said)
        log_error("queue: the disk is full: accepting and delivering pause until there is room");
    if (state == 0 && daemon->disk_full_said)
        log_notice("queue: the disk has room again");
    daemon->disk_full_said = state == -ENOSPC;
    if (state < 0 && state != -ENOSPC && !daemon->queue_error) {
        daemon->queue_error = state;
        log_error("queue: writing failed for good (%s): stopping; what was acknowledged is on disk",
                  strerror(-state));
        begin_drain(daemon);
    }
}

static void on_tick(struct op *op)
{
    struct daemon *daemon = container_of(op, struct daemon, tick.op);
    log_tick();
    spool_tick(daemon->spool);
    look_at_clock(daemon);
    look_at_disk(daemon);
    if (!daemon->draining)
        loop_arm(&daemon->control, &daemon->tick, TICK_MS * NS_PER_MS);
}

static bool open_control(struct daemon *daemon)
{
    struct io_options io = {
        .entries = 256,
        .buffers = 64,
        .buffer_size = 4096,
        .optional_features = daemon->config->ring.optional_features,
    };
    int error = loop_init(&daemon->control, &io, daemon->worker_count);
    if (error < 0) {
        log_error("%s", io_explain(error));
        return false;
    }
    op_init(&daemon->signal_ready, on_signal);
    op_init(&daemon->http_stopped, on_http_stopped);
    timer_init(&daemon->tick, on_tick);
    timer_init(&daemon->drain_poll, on_drain_poll);
    return open_http(daemon) == 0;
}

/* Before any thread starts, so that all of them inherit the mask. */
static bool block_signals(struct daemon *daemon)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    sigaddset(&signals, SIGUSR1);
    sigaddset(&signals, SIGUSR2);
    signal(SIGPIPE, SIG_IGN);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    daemon->signal_fd = signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
    return daemon->signal_fd >= 0;
}

static bool join_threads(struct daemon *daemon)
{
    bool fine = true;
    for (unsigned i = 0; i < daemon->thread_count; i++) {
        void *failed;
        pthread_join(daemon->threads[i], &failed);
        fine = fine && !failed;
    }
    return fine;
}

static void free_daemon(struct daemon *daemon)
{
    for (unsigned i = 0; i < daemon->worker_count && daemon->workers; i++) {
        if (daemon->workers[i])
            worker_fini(daemon->workers[i]);
        free(daemon->workers[i]);
    }
    http_server_fini(&daemon->http);
    loop_fini(&daemon->control);
    free(daemon->workers);
    free(daemon->threads);
    free(daemon->own_addresses);
    lane_limits_fini(&daemon->limits);
    admission_fini(&daemon->admission);
    close(daemon->signal_fd);
    config_free(daemon->config);
}

static bool start(struct daemon *daemon)
{
    raise_descriptor_limit();
    random_fill(&daemon->seed, sizeof daemon->seed);
    daemon->worker_count = worker_count_of(daemon->config);
    warn_about_descriptors(daemon);
    warn_about_postmaster(daemon);
    return block_signals(daemon) && lane_limits_init(&daemon->limits, daemon->seed) == 0 &&
           admission_init(&daemon->admission, (unsigned)daemon->config->limits.connections,
                          (unsigned)daemon->config->limits.connections_per_address) == 0 &&
           ports_are_free(daemon) && collect_own_addresses(daemon) && open_control(daemon) &&
           open_queue(daemon) && open_workers(daemon) && start_threads(daemon);
}

static int run(const char *path)
{
    static struct daemon
        daemon; /* not on the stack: it is large, and lives as long as the process */
    daemon.config = load_config(path);
    if (!daemon.config)
        return 1;
    log_open((enum log_level)daemon.config->log.level);
    if (!start(&daemon))
        return 1;
    watch_signals(&daemon);
    loop_arm(&daemon.control, &daemon.tick, TICK_MS * NS_PER_MS);
    log_notice("running: ringpostd %s, %u workers, %zu listeners, queue in %s", RINGPOST_VERSION,
               daemon.worker_count, daemon.config->listener_count, daemon.config->data_dir.data);
    int error = loop_run(&daemon.control);
    bool fine = join_threads(&daemon) && error == 0 && daemon.queue_error == 0;
    if (spool_close(daemon.spool) < 0)
        fine = false;
    free_daemon(&daemon);
    log_notice("ended");
    return fine ? 0 : 1;
}

static int usage(FILE *to, int status)
{
    fprintf(to, "usage: ringpostd --config FILE\n"
                "       ringpostd --check-config FILE | --dump-config FILE\n"
                "       ringpostd --options | --version | --help\n");
    return status;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--config") == 0)
        return run(argv[2]);
    if (argc == 3 && strcmp(argv[1], "--check-config") == 0)
        return check_config(argv[2]);
    if (argc == 3 && strcmp(argv[1], "--dump-config") == 0)
        return dump_config(argv[2]);
    if (argc == 2 && strcmp(argv[1], "--options") == 0) {
        config_document(print_line, stdout);
        return 0;
    }
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        printf("ringpostd %s\n", RINGPOST_VERSION);
        return 0;
    }
    if (argc == 2 && strcmp(argv[1], "--help") == 0)
        return usage(stdout, 0);
    return usage(stderr, 2);
}
