/* The control socket, and what is asked of the daemon as a whole. What concerns queues and lanes
 * is in files of its own. */
#include "core/daemon.h"
#include "queue/suspend.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- status ---- */

static uint64_t total(const struct daemon *daemon, enum metric metric)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < daemon->worker_count; i++)
        sum +=
            atomic_load_explicit(&daemon->workers[i]->metrics.values[metric], memory_order_relaxed);
    return sum;
}

static struct span state_of(const struct daemon *daemon)
{
    if (daemon->draining)
        return SPAN("stopping");
    if (daemon->shut)
        return SPAN("drained");
    if (spool_state(daemon->spool) == -ENOSPC)
        return SPAN("disk full");
    return daemon_running(daemon) ? SPAN("running") : SPAN("not ready");
}

static enum control_step answer_status(struct control_call *call)
{
    const struct daemon *daemon = daemon_of(call);
    struct span alarm = spool_clock_alarm(daemon->spool);
    struct record record;
    record_begin(&record, &call->out);
    record_text(&record, "version", SPAN(RINGPOST_VERSION));
    record_count(&record, "pid", (uint64_t)getpid());
    record_count(&record, "started_ms", daemon->started_ms);
    record_text(&record, "state", state_of(daemon));
    record_text(&record, "config", daemon->config->file);
    record_count(&record, "config_read_ms", daemon->config_read_ms);
    record_count(&record, "workers", daemon->worker_count);
    record_count(&record, "queues", total(daemon, METRIC_QUEUES));
    record_count(&record, "rows", total(daemon, METRIC_QUEUE_ROWS));
    record_count(&record, "fresh", total(daemon, METRIC_NURSERY_MESSAGES));
    record_count(&record, "connections_in", total(daemon, METRIC_CONNECTIONS_IN));
    record_count(&record, "connections_out", total(daemon, METRIC_CONNECTIONS_OUT));
    record_count(&record, "accepted", total(daemon, METRIC_MESSAGES_ACCEPTED));
    record_count(&record, "delivered", total(daemon, METRIC_RECIPIENTS_DELIVERED));
    record_count(&record, "deferred", total(daemon, METRIC_RECIPIENTS_DEFERRED));
    record_count(&record, "bounced", total(daemon, METRIC_RECIPIENTS_BOUNCED));
    record_count(&record, "expired", total(daemon, METRIC_RECIPIENTS_EXPIRED));
    record_count(&record, "suspensions",
                 suspensions_holding(spool_suspensions(daemon->spool), clock_wall_ms()));
    if (alarm.len)
        record_text(&record, "alarm", alarm);
    return control_put(call, &record) ? CONTROL_DONE : CONTROL_MORE;
}

/* ---- stop ---- */

static enum control_step stop(struct control_call *call)
{
    struct daemon *daemon = daemon_of(call);
    if (!daemon->draining)
        log_notice("user %lld: `ringpost stop`: shutting down", (long long)call->user);
    daemon_begin_drain(daemon);
    return CONTROL_DONE;
}

/* ---- log level ---- */

static const char *const level_names[] = {"error", "warning", "notice", "info", "debug"};

static enum control_step log_level(struct control_call *call)
{
    struct span wanted = values_text(call->command, &call->values, "LEVEL");
    for (unsigned i = 0; i < countof(level_names) && wanted.len; i++) {
        if (!span_equals(wanted, span_string(level_names[i])))
            continue;
        log_set_level((enum log_level)i);
        log_notice("user %lld: the log's level is now %s", (long long)call->user, level_names[i]);
    }
    struct record record;
    record_begin(&record, &call->out);
    record_text(&record, "level", span_string(level_names[log_level_now()]));
    return control_put(call, &record) ? CONTROL_DONE : CONTROL_MORE;
}

/* ---- config dump ---- */

struct dump {
    struct control_call *call;
    uint64_t line, written; /* lines before `written` are with the client */
    bool full;
};

static void put_line(void *context, const char *text)
{
    struct dump *dump = context;
    struct record record;
    if (dump->line++ < dump->written || dump->full)
        return;
    record_begin(&record, &dump->call->out);
    record_text(&record, "text", span_string(text));
    if (control_put(dump->call, &record))
        dump->written++;
    else
        dump->full = true;
}

static enum control_step dump_config(struct control_call *call)
{
    struct dump *dump = call->state;
    dump->call = call;
    dump->line = 0;
    dump->full = false;
    config_dump(daemon_of(call)->config, put_line, dump);
    return dump->full ? CONTROL_MORE : CONTROL_DONE;
}

/* ---- reload, drain ---- */

struct change_call {
    struct control_call *call;
    struct list_link link;           /* in daemon->change_calls, while it waits */
    struct snapshot *before, *after; /* held */
    uint64_t line, written;
    bool full;
};

void daemon_change_ended(struct daemon *daemon)
{
    for (struct list_link *link; (link = list_take_first(&daemon->change_calls));)
        control_wake(container_of(link, struct change_call, link)->call);
}

static void fail_with(struct control_call *call, const struct sink *error)
{
    control_fail(call, "nothing has changed:\n%.*s", SPAN_FORMAT(sink_span(error)));
}

static enum control_step begin_reload(struct control_call *call)
{
    struct daemon *daemon = daemon_of(call);
    struct change_call *change = call->state;
    char text[CONFIG_ERROR];
    struct sink error;
    if (change->before)
        return CONTROL_DONE; /* woken: it has ended */
    sink_init(&error, text, sizeof text);
    change->call = call;
    change->before = snapshot_hold(daemon->snapshot);
    if (!daemon_reload(daemon, &error)) {
        fail_with(call, &error);
        return CONTROL_DONE;
    }
    log_notice("user %lld: `ringpost reload`: %s was read and is in use", (long long)call->user,
               daemon->config->file.data);
    change->after = snapshot_hold(daemon->snapshot);
    list_append(&daemon->change_calls, &change->link);
    return CONTROL_WAIT;
}

static void put_change(void *context, const char *option, struct span was, struct span is)
{
    struct change_call *change = context;
    struct record record;
    if (change->line++ < change->written || change->full)
        return;
    record_begin(&record, &change->call->out);
    record_text(&record, "option", span_string(option));
    if (was.len)
        record_text(&record, "was", was);
    if (is.len)
        record_text(&record, "is", is);
    if (control_put(change->call, &record))
        change->written++;
    else
        change->full = true;
}

static enum control_step finish_reload(struct control_call *call)
{
    struct change_call *change = call->state;
    change->line = 0;
    change->full = false;
    config_changes(change->before->config, change->after->config, put_change, change);
    return change->full ? CONTROL_MORE : CONTROL_DONE;
}

static void end_change(struct control_call *call)
{
    struct change_call *change = call->state;
    if (list_linked(&change->link))
        list_remove(&change->link);
    snapshot_release(change->before);
    snapshot_release(change->after);
}

static enum control_step drain(struct control_call *call)
{
    struct daemon *daemon = daemon_of(call);
    struct change_call *change = call->state;
    bool open = values_flag(call->command, &call->values, "off");
    char text[CONFIG_ERROR];
    struct sink error;
    if (change->call || daemon->shut == !open)
        return CONTROL_DONE; /* woken, or it is so already */
    sink_init(&error, text, sizeof text);
    change->call = call;
    if (!daemon_set_doors(daemon, open, &error)) {
        fail_with(call, &error);
        return CONTROL_DONE;
    }
    log_notice("user %lld: `ringpost drain%s`: %s", (long long)call->user, open ? " --off" : "",
               open ? "mail is taken again" : "no more mail is taken");
    list_append(&daemon->change_calls, &change->link);
    return CONTROL_WAIT;
}

/* ---- the socket ---- */

static const struct control_handler daemon_handlers[] = {
    {"status", NULL, .finish = answer_status},
    {"reload", NULL, .state_size = sizeof(struct change_call), .begin = begin_reload,
     .finish = finish_reload, .end = end_change},
    {"drain", NULL, .state_size = sizeof(struct change_call), .begin = drain, .end = end_change},
    {"stop", NULL, .begin = stop},
    {"config", "dump", .state_size = sizeof(struct dump), .finish = dump_config},
    {"log", "level", .finish = log_level},
    {NULL},
};

static const struct control_handler *const families[] = {
    daemon_handlers,       daemon_queue_handlers,   daemon_lane_handlers,
    daemon_job_handlers,   daemon_suspend_handlers, daemon_why_handlers,
    daemon_trace_handlers, daemon_domain_handlers,  NULL,
};

int daemon_open_socket(struct daemon *daemon)
{
    daemon->socket_workers = calloc(daemon->worker_count, sizeof *daemon->socket_workers);
    if (!daemon->socket_workers)
        return -ENOMEM;
    for (unsigned i = 0; i < daemon->worker_count; i++)
        daemon->socket_workers[i] =
            (struct control_worker){&daemon->workers[i]->loop, daemon->workers[i]};
    struct control_options options = {
        .path = daemon->config->control.socket.data,
        .group = daemon->config->control.group.data,
        .families = families,
        .workers = daemon->socket_workers,
        .worker_count = daemon->worker_count,
        .owner = daemon,
    };
    int error = control_server_init(&daemon->socket, &daemon->control, &options);
    if (error < 0)
        log_error("cannot open the control socket %s%s%s: %s", options.path,
                  options.group && options.group[0] ? " for the group " : "",
                  options.group ? options.group : "", strerror(-error));
    return error;
}
