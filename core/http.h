/* http: a small HTTP/1.1 server on the loop, for metrics and health.
 *
 * The owner gives a table of paths, each with a function that fills in a body; the server speaks
 * the protocol: GET and HEAD, keep-alive, pipelining, HTTP/1.0. Request bodies are never read. The
 * fill function runs on the loop's thread and must not block; if what it wrote did not fit, it is
 * called again with more room, up to HTTP_BODY_MAX (then 500).
 *
 *     reading --whole head--> sending --sent--> reading (kept) or closing
 *        \--bad, too long, too slow: 4xx, then closing
 *
 * Bounds: HTTP_CONNECTIONS connections (others are closed at once), a head of HTTP_REQUEST_MAX
 * bytes within HTTP_REQUEST_MS, a reply taken within HTTP_SEND_MS, an idle connection kept for
 * HTTP_IDLE_MS. One reply is made at a time, so a client that pipelines but does not read costs
 * one. */
#pragma once

#include "core/conn.h"
#include "core/listen.h"

enum {
    HTTP_CONNECTIONS = 128,
    HTTP_REQUEST_MS = 10000,
    HTTP_SEND_MS = 30000,
    HTTP_IDLE_MS = 60000,
    HTTP_BODY_MAX = 16 << 20,
};

/* What a fill function makes. `status` is 200 and `type` "text/plain; charset=utf-8" unless set. */
struct http_reply {
    int status; /* 200, 503 or another of http.c's table */
    const char *type;
    struct sink body;
};

typedef void http_fill(void *context, struct http_reply *reply);

struct http_route {
    const char *path; /* "/metrics" */
    http_fill *fill;
    void *context;
};

/* The content type of Prometheus' text format. */
#define HTTP_TYPE_METRICS "text/plain; version=0.0.4; charset=utf-8"

struct http_server {
    struct loop *loop;
    const struct http_route *routes;
    unsigned route_count;
    struct admission admission;
    struct list listeners, connections;
    bool stopping;
    struct op *stopped;
    uint64_t requests; /* answered so far */
};

/* `routes` stay the owner's and must outlive the server. 0 or -ENOMEM. */
MUST_USE int http_server_init(struct http_server *server, struct loop *loop,
                              const struct http_route *routes, unsigned route_count);

/* Binds and accepts; may be called for several addresses. 0 or negative errno. */
MUST_USE int http_server_listen(struct http_server *server, const struct address *address);

/* Stops accepting and closes all connections. `stopped` becomes ready, once, when nothing is left;
 * then http_server_fini may be called. */
void http_server_stop(struct http_server *server, struct op *stopped);
void http_server_fini(struct http_server *server);
