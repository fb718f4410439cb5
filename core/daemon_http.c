/* What the HTTP listeners serve. */
#include "core/daemon.h"

#include <errno.h>

static void set_journal_metrics(struct daemon *daemon)
{
    const struct journal_kept *kept = spool_journal(daemon->spool);
    struct metrics *metrics = &daemon->metrics;
    metric_set(metrics, METRIC_JOURNAL_SEGMENTS, atomic_load(&kept->segments));
    metric_set(metrics, METRIC_JOURNAL_STORED_BYTES, atomic_load(&kept->bytes));
    metric_set(metrics, METRIC_JOURNAL_SEGMENTS_REMOVED, atomic_load(&kept->removed));
    metric_set(metrics, METRIC_JOURNAL_SEGMENTS_DROPPED, atomic_load(&kept->dropped));
    metric_set(metrics, METRIC_JOURNAL_KEEPER_ERRORS, atomic_load(&kept->errors));
}

static void serve_metrics(void *context, struct http_reply *reply)
{
    struct daemon *daemon = context;
    struct metrics *sets[SHARD_COUNT + 2];
    struct labels *listeners[SHARD_COUNT], *sites[SHARD_COUNT];
    unsigned count = 0;
    sets[count++] = &daemon->metrics;
    sets[count++] = spool_metrics(daemon->spool);
    for (unsigned i = 0; i < daemon->worker_count; i++) {
        sets[count++] = &daemon->workers[i]->metrics;
        listeners[i] = &daemon->workers[i]->listeners;
        sites[i] = &daemon->workers[i]->sites;
    }
    set_journal_metrics(daemon);
    reply->type = HTTP_TYPE_METRICS;
    metrics_write(sets, count, &reply->body);
    labels_write(listeners, daemon->worker_count, &reply->body);
    labels_write(sites, daemon->worker_count, &reply->body);
}

/* Alive: the control thread answers. */
static void serve_health(void *context, struct http_reply *reply)
{
    sink_put(&reply->body, SPAN("ok\n"));
}

static void serve_ready(void *context, struct http_reply *reply)
{
    struct daemon *daemon = context;
    bool ready = daemon_running(daemon);
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

int daemon_open_http(struct daemon *daemon)
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
            daemon_say_why(daemon, error, "a listener", listener);
    }
    return error;
}
