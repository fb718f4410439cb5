/* A reload, and opening and closing the doors: both are one change that every worker makes.
 *
 * Everything that can fail comes first and changes nothing: the file, the options that need a
 * restart, certificates and keys, new sockets. Then the snapshot is swapped, the workers are told,
 * and the change is over when all of them have said so. One change at a time. */
#include "core/daemon.h"
#include "core/interfaces.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A worker's part. */
struct part {
    struct worker_change change; /* with sockets of its own */
    struct daemon_change *whole;
};

struct daemon_change {
    struct daemon *daemon;
    struct snapshot *snapshot;
    struct worker_settings settings;
    struct part *parts; /* per worker */
    bool open;
    unsigned waiting;
};

static void free_change(struct daemon_change *change)
{
    struct daemon *daemon = change->daemon;
    for (unsigned i = 0; change->parts && i < daemon->worker_count; i++) {
        struct worker_change *part = &change->parts[i].change;
        for (size_t k = 0; k < part->socket_count; k++)
            if (part->sockets[k].fd >= 0)
                io_close_now(daemon->control.io, part->sockets[k].fd);
        free(part->sockets);
    }
    free(change->parts);
    free(change);
}

/* ---- what can fail ---- */

static const struct config_listener *find_listener(const struct config *config,
                                                   const struct address *address)
{
    for (size_t i = 0; i < config->listener_count; i++) {
        const struct address *own = &config->listeners[i].address;
        if (own->len == address->len && memcmp(&own->any, &address->any, own->len) == 0)
            return &config->listeners[i];
    }
    return NULL;
}

static bool is_open(const struct daemon *daemon, const struct config_listener *listener)
{
    const struct config_listener *own = find_listener(daemon->config, &listener->address);
    return own && (own->service == SERVICE_HTTP || !daemon->shut);
}

static int bind_for_workers(struct daemon_change *change, const struct config_listener *listener)
{
    struct daemon *daemon = change->daemon;
    int fd = interfaces_free(&listener->address);
    for (unsigned i = 0; i < daemon->worker_count && fd >= 0; i++) {
        struct worker_change *part = &change->parts[i].change;
        fd = io_listen(daemon->control.io, &listener->address, LISTEN_BACKLOG);
        if (fd >= 0)
            part->sockets[part->socket_count++] = (struct listen_socket){listener->address, fd};
    }
    return fd < 0 ? fd : 0;
}

static bool open_sockets(struct daemon_change *change, struct sink *error)
{
    struct daemon *daemon = change->daemon;
    const struct config *config = change->snapshot->config;
    for (size_t i = 0; i < config->listener_count; i++) {
        const struct config_listener *listener = &config->listeners[i];
        bool http = listener->service == SERVICE_HTTP;
        if (is_open(daemon, listener) || (!http && !change->open))
            continue;
        int result =
            http ? daemon_listen_http(daemon, listener) : bind_for_workers(change, listener);
        if (result == 0)
            continue;
        sink_format(error, "%s:%u: cannot listen on ", config->file.data, listener->line);
        address_put(&listener->address, error);
        sink_format(error, ": %s", strerror(-result));
        return false;
    }
    return true;
}

/* HTTP listeners of `config` that `other` has not. */
static void close_http(struct daemon *daemon, const struct config *config,
                       const struct config *other)
{
    for (size_t i = 0; i < config->listener_count; i++)
        if (config->listeners[i].service == SERVICE_HTTP &&
            !find_listener(other, &config->listeners[i].address))
            http_server_unlisten(&daemon->http, &config->listeners[i].address);
}

static bool make_parts(struct daemon_change *change)
{
    struct daemon *daemon = change->daemon;
    size_t listeners = change->snapshot->config->listener_count;
    change->parts = calloc(daemon->worker_count, sizeof *change->parts);
    for (unsigned i = 0; change->parts && i < daemon->worker_count; i++) {
        change->parts[i].change.sockets = calloc(listeners + 1, sizeof(struct listen_socket));
        if (!change->parts[i].change.sockets)
            return false;
    }
    return change->parts != NULL;
}

/* ---- what cannot ---- */

static void on_part_done(struct op *op)
{
    struct part *part = container_of(op, struct part, change.done);
    struct daemon_change *change = part->whole;
    struct daemon *daemon = change->daemon;
    if (op->result < 0)
        log_error("worker %u: no memory for the new settings of a listener: it keeps the old ones",
                  part->change.worker->loop.index);
    if (--change->waiting > 0)
        return;
    daemon->change = NULL;
    free_change(change);
    daemon_change_ended(daemon);
}

static void tell_workers(struct daemon_change *change)
{
    struct daemon *daemon = change->daemon;
    daemon_worker_settings(daemon, &change->settings);
    change->waiting = daemon->worker_count;
    for (unsigned i = 0; i < daemon->worker_count; i++) {
        struct worker_change *part = &change->parts[i].change;
        change->parts[i].whole = change;
        part->home = &daemon->control;
        part->worker = daemon->workers[i];
        part->settings = &change->settings;
        part->open = change->open;
        part->spool = worker_spool_options(daemon->config, daemon->worker_count, daemon->seed);
        op_init(&part->done, on_part_done);
        worker_change(part);
    }
}

static void apply(struct daemon_change *change)
{
    struct daemon *daemon = change->daemon;
    const struct config *before = daemon->config;
    daemon->shut = !change->open;
    daemon->change = change;
    if (change->snapshot != daemon->snapshot) {
        close_http(daemon, before, change->snapshot->config);
        daemon_use_snapshot(daemon, change->snapshot);
        daemon->config_read_ms = daemon->control.wall_ms;
        log_set_level((enum log_level)daemon->config->log.level);
    }
    tell_workers(change);
}

/* Takes over the snapshot, if it is not the one in use. */
static bool start(struct daemon *daemon, struct snapshot *snapshot, bool open, struct sink *error)
{
    struct daemon_change *change = calloc(1, sizeof *change);
    bool fine = change != NULL;
    if (fine) {
        *change = (struct daemon_change){.daemon = daemon, .snapshot = snapshot, .open = open};
        fine = make_parts(change);
    }
    if (!fine)
        sink_put(error, SPAN("no memory"));
    fine = fine && open_sockets(change, error);
    if (fine) {
        apply(change);
        return true;
    }
    close_http(daemon, snapshot->config, daemon->config);
    if (snapshot != daemon->snapshot)
        snapshot_release(snapshot);
    if (change)
        free_change(change);
    return false;
}

/* ---- asked for ---- */

static bool may_change(const struct daemon *daemon, struct sink *error)
{
    if (daemon->draining)
        sink_put(error, SPAN("the daemon is stopping"));
    else if (daemon->change)
        sink_put(error, SPAN("another reload has not ended yet"));
    return !daemon->draining && !daemon->change;
}

static void collect(void *context, bool fatal, const char *text)
{
    struct sink *error = context;
    log_write(fatal ? LOG_ERROR : LOG_WARNING, "reload: %s", text);
    if (fatal)
        sink_format(error, "%s%s", error->len ? "\n" : "", text);
}

bool daemon_reload(struct daemon *daemon, struct sink *error)
{
    struct config *config;
    char text[CONFIG_ERROR];
    if (!may_change(daemon, error))
        return false;
    if (config_load(daemon->path, &config, text) < 0) {
        sink_put(error, span_string(text));
        return false;
    }
    if (!config_reloadable(daemon->config, config, text)) {
        sink_put(error, span_string(text));
        config_free(config);
        return false;
    }
    int opened = log_use_file(config->log.file.data);
    if (opened < 0) {
        sink_format(error, "cannot open the log %s: %s", config->log.file.data, strerror(-opened));
        config_free(config);
        return false;
    }
    struct snapshot *snapshot = daemon_make_snapshot(config, collect, error);
    return snapshot && start(daemon, snapshot, !daemon->shut, error);
}

bool daemon_set_doors(struct daemon *daemon, bool open, struct sink *error)
{
    return may_change(daemon, error) && start(daemon, daemon->snapshot, open, error);
}

void daemon_change_fini(struct daemon *daemon)
{
    if (daemon->change)
        free_change(daemon->change);
}
