/* The control thread: signals, the second's tick, the drain. */
#include "core/daemon.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

enum { SHUTDOWN_EXTRA_MS = 10 * 1000, DRAIN_POLL_MS = 20 };

bool daemon_running(const struct daemon *daemon)
{
    if (daemon->draining || daemon->shut || spool_state(daemon->spool) < 0)
        return false;
    for (unsigned i = 0; i < daemon->worker_count; i++)
        if (!atomic_load(&daemon->workers[i]->running))
            return false;
    return true;
}

/* ---- the end ---- */

void daemon_begin_drain(struct daemon *daemon)
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
        daemon->closing = 2;
        http_server_stop(&daemon->http, &daemon->http_stopped);
        control_server_stop(&daemon->socket, &daemon->socket_stopped);
        return;
    }
    if (daemon->control.now_ns >= daemon->drain_until_ns) {
        log_error("shutdown: %u of %u workers did not end in time; what is queued stays queued",
                  daemon->worker_count - drained, daemon->worker_count);
        _exit(1);
    }
    loop_arm(&daemon->control, &daemon->drain_poll, DRAIN_POLL_MS * NS_PER_MS);
}

static void server_stopped(struct daemon *daemon)
{
    if (--daemon->closing == 0)
        loop_stop(&daemon->control);
}

static void on_http_stopped(struct op *op)
{
    server_stopped(container_of(op, struct daemon, http_stopped));
}

static void on_socket_stopped(struct op *op)
{
    server_stopped(container_of(op, struct daemon, socket_stopped));
}

bool daemon_open_log(const struct config *config)
{
    int error = log_use_file(config->log.file.data);
    if (error < 0)
        log_error("cannot open the log %s: %s", config->log.file.data, strerror(-error));
    return error == 0;
}

static void watch_signals(struct daemon *daemon)
{
    io_poll(daemon->control.io, &daemon->signal_ready, daemon->signal_fd, 1 /* POLLIN */);
}

static void reload(struct daemon *daemon)
{
    char text[2 * CONFIG_ERROR];
    struct sink error;
    sink_init(&error, text, sizeof text);
    if (daemon_reload(daemon, &error)) {
        log_notice("SIGHUP: %s was read and is in use", daemon->config->file.data);
        return;
    }
    struct span rest = sink_span(&error);
    while (rest.len) {
        struct span line = span_first(rest, span_find(rest, '\n'));
        log_error("SIGHUP: nothing has changed: %.*s", SPAN_FORMAT(line));
        rest = span_skip(rest, line.len + 1);
    }
}

static void on_signal(struct op *op)
{
    struct daemon *daemon = container_of(op, struct daemon, signal_ready);
    struct signalfd_siginfo signal;
    while (read(daemon->signal_fd, &signal, sizeof signal) == (ssize_t)sizeof signal) {
        if (signal.ssi_signo == SIGUSR1) {
            if (daemon_open_log(daemon->config))
                log_info("SIGUSR1: the log is open");
            continue;
        }
        if (signal.ssi_signo == SIGHUP) {
            reload(daemon);
            continue;
        }
        if (signal.ssi_signo != SIGTERM && signal.ssi_signo != SIGINT) {
            log_notice("SIG%s: nothing to do", sigabbrev_np((int)signal.ssi_signo));
            continue;
        }
        log_notice("%s: shutting down", signal.ssi_signo == SIGINT ? "SIGINT" : "SIGTERM");
        daemon_begin_drain(daemon);
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
    metric_set(&daemon->metrics, METRIC_CLOCK_ALARM, daemon->clock_alarm_said);
}

static void look_at_disk(struct daemon *daemon)
{
    int state = spool_state(daemon->spool);
    if (state == -ENOSPC && !daemon->disk_full_said)
        log_error("queue: the disk is full: accepting and delivering pause until there is room");
    if (state == 0 && daemon->disk_full_said)
        log_notice("queue: the disk has room again");
    daemon->disk_full_said = state == -ENOSPC;
    metric_set(&daemon->metrics, METRIC_DISK_FULL, daemon->disk_full_said);
    if (state < 0 && state != -ENOSPC && !daemon->queue_error) {
        daemon->queue_error = state;
        log_error("queue: writing failed for good (%s): stopping; what was acknowledged is on disk",
                  strerror(-state));
        daemon_begin_drain(daemon);
    }
}

static void look_at_journal(struct daemon *daemon)
{
    const struct journal_kept *kept = spool_journal(daemon->spool);
    uint64_t dropped = atomic_load(&kept->dropped), errors = atomic_load(&kept->errors);
    if (dropped > daemon->journal_dropped_said)
        log_warning("journal: %llu segments were removed that a consumer had not read: see "
                    "`ringpost journal cursors` and [journal] keep_for_consumers",
                    (unsigned long long)(dropped - daemon->journal_dropped_said));
    if (errors > daemon->journal_errors_said)
        log_error("journal: segments cannot be compressed or removed: %s",
                  strerror(-atomic_load(&kept->last_error)));
    daemon->journal_dropped_said = dropped;
    daemon->journal_errors_said = errors;
}

static void look_at_segments(struct daemon *daemon)
{
    unsigned lost = spool_segments_lost(daemon->spool);
    if (lost > daemon->segments_lost_said)
        log_error("queue: a file of queue/segments could not be opened or written and is given up "
                  "until the next start (%u so far): look at the disk",
                  lost);
    daemon->segments_lost_said = lost;
}

static void on_tick(struct op *op)
{
    struct daemon *daemon = container_of(op, struct daemon, tick.op);
    log_tick();
    spool_tick(daemon->spool);
    daemon_look_at_tls(daemon);
    daemon_release_retired(daemon, false);
    daemon_look_at_accounts(daemon);
    look_at_clock(daemon);
    look_at_disk(daemon);
    look_at_journal(daemon);
    look_at_segments(daemon);
    if (!daemon->draining)
        loop_arm(&daemon->control, &daemon->tick, TICK_MS * NS_PER_MS);
}

void daemon_run_init(struct daemon *daemon)
{
    op_init(&daemon->signal_ready, on_signal);
    op_init(&daemon->http_stopped, on_http_stopped);
    op_init(&daemon->socket_stopped, on_socket_stopped);
    timer_init(&daemon->tick, on_tick);
    timer_init(&daemon->drain_poll, on_drain_poll);
}

void daemon_run_begin(struct daemon *daemon)
{
    watch_signals(daemon);
    loop_arm(&daemon->control, &daemon->tick, TICK_MS * NS_PER_MS);
}
