/* Start-up and shutdown: straight-line code in the main thread. */
#include "core/daemon.h"

#include "core/interfaces.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

enum {
    DESCRIPTORS_EXTRA = 512, /* beside inbound connections: some outbound ones, the store's files */
    PORT_WAIT_MS = 5000,
    PORT_POLL_MS = 20,
};

struct config *daemon_load_config(const char *path)
{
    struct config *config;
    char error[CONFIG_ERROR];
    if (config_load(path, &config, error) == 0)
        return config;
    fprintf(stderr, "ringpostd: %s\n", error);
    return NULL;
}

void daemon_say_why(const struct daemon *daemon, int error, const char *step,
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
            daemon_say_why(daemon, error, "a listener", &config->listeners[i]);
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

static void log_complaint(void *context, bool fatal, const char *text)
{
    log_write(fatal ? LOG_ERROR : LOG_WARNING, "%s", text);
}

/* Takes the configuration that was read. */
static bool open_snapshot(struct daemon *daemon, struct config *config)
{
    struct snapshot *snapshot = daemon_make_snapshot(config, log_complaint, NULL);
    list_init(&daemon->retired);
    list_init(&daemon->change_calls);
    if (!snapshot)
        return false;
    daemon_use_snapshot(daemon, snapshot);
    return true;
}

void daemon_worker_settings(struct daemon *daemon, struct worker_settings *ret_settings)
{
    struct snapshot *snapshot = daemon->snapshot;
    *ret_settings = (struct worker_settings){
        .snapshot = snapshot,
        .config = snapshot->config,
        .spool = daemon->spool,
        .limits = &daemon->limits,
        .seed = daemon->seed,
        .admission = &daemon->admission,
        .tls = &snapshot->tls,
        .logins = daemon->first->config->accounts.passwd_file.len ? &daemon->logins : NULL,
        .own_addresses = snapshot->own_addresses,
        .own_address_count = snapshot->own_address_count,
        .dkim_keys = snapshot->dkim_keys.count ? &snapshot->dkim_keys : NULL,
    };
}

static bool open_workers(struct daemon *daemon)
{
    struct worker_settings settings;
    daemon_worker_settings(daemon, &settings);
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
            daemon_say_why(daemon, error, step, listener);
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
    daemon_run_init(daemon);
    return daemon_open_http(daemon) == 0;
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
    daemon_status_end(daemon);
    daemon_change_fini(daemon);
    http_server_fini(&daemon->http);
    control_server_fini(&daemon->socket);
    free(daemon->socket_workers);
    loop_fini(&daemon->control);
    free(daemon->workers);
    free(daemon->threads);
    daemon_close_accounts(daemon);
    lane_limits_fini(&daemon->limits);
    admission_fini(&daemon->admission);
    close(daemon->signal_fd);
    daemon_release_retired(daemon, true);
    snapshot_release(daemon->snapshot);
    snapshot_release(daemon->first);
}

bool daemon_start(struct daemon *daemon, struct config *config)
{
    if (!open_snapshot(daemon, config))
        return false;
    raise_descriptor_limit();
    daemon->started_ms = clock_wall_ms();
    daemon->config_read_ms = daemon->started_ms;
    random_fill(&daemon->seed, sizeof daemon->seed);
    daemon->worker_count = worker_count_of(daemon->config);
    warn_about_descriptors(daemon);
    warn_about_postmaster(daemon);
    return block_signals(daemon) && lane_limits_init(&daemon->limits, daemon->seed) == 0 &&
           admission_init(&daemon->admission, (unsigned)daemon->config->limits.connections,
                          (unsigned)daemon->config->limits.connections_per_address) == 0 &&
           daemon_open_accounts(daemon) && ports_are_free(daemon) && open_control(daemon) &&
           open_queue(daemon) && open_workers(daemon) && start_threads(daemon) &&
           daemon_open_socket(daemon) == 0;
}

bool daemon_end(struct daemon *daemon)
{
    bool fine = join_threads(daemon) && daemon->queue_error == 0;
    if (spool_close(daemon->spool) < 0)
        fine = false;
    free_daemon(daemon);
    return fine;
}
