/* What the HTTP listeners serve. */
#include "core/daemon.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

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
    else if (daemon->shut)
        sink_put(&reply->body, SPAN("drained\n"));
    else if (spool_state(daemon->spool) == -ENOSPC)
        sink_put(&reply->body, SPAN("the disk is full\n"));
    else
        sink_put(&reply->body, SPAN("not ready\n"));
}

/* False: it was said why. */
static bool read_token(struct daemon *daemon, const struct config_listener *listener,
                       struct span *ret_token)
{
    if (listener->token_file.len == 0)
        return true;
    FILE *file = fopen(listener->token_file.data, "re");
    char *line = file ? fgets(daemon->http_token, sizeof daemon->http_token, file) : NULL;
    struct span token = span_trim(span_first(span_string(line), strcspn(line ? line : "", "\r\n")));
    if (file)
        fclose(file);
    if (token.len > 0 && token.len <= HTTP_TOKEN_MAX) {
        *ret_token = token;
        return true;
    }
    log_error("%s:%u: token_file %s: %s", daemon->config->file.data, listener->line,
              listener->token_file.data,
              !file           ? strerror(errno)
              : token.len > 0 ? "the token is longer than 128 characters"
                              : "its first line is empty");
    return false;
}

int daemon_listen_http(struct daemon *daemon, const struct config_listener *listener)
{
    struct span token = {0};
    if (!read_token(daemon, listener, &token))
        return -EINVAL;
    return http_server_listen(&daemon->http, &listener->address, token);
}

int daemon_open_http(struct daemon *daemon)
{
    daemon->http_routes[0] = (struct http_route){"/metrics", serve_metrics, daemon};
    daemon->http_routes[1] =
        (struct http_route){"/healthz", serve_health, daemon, .access = HTTP_OPEN};
    daemon->http_routes[2] =
        (struct http_route){"/readyz", serve_ready, daemon, .access = HTTP_OPEN};
    unsigned count = 3 + daemon_status_routes(daemon, daemon->http_routes + 3);
    check(count <= HTTP_ROUTES);
    int error = http_server_init(&daemon->http, &daemon->control, daemon->http_routes, count);
    for (size_t i = 0; i < daemon->config->listener_count && error == 0; i++) {
        const struct config_listener *listener = &daemon->config->listeners[i];
        if (listener->service != SERVICE_HTTP)
            continue;
        error = daemon_listen_http(daemon, listener);
        if (error < 0)
            daemon_say_why(daemon, error, "a listener", listener);
    }
    return error;
}
