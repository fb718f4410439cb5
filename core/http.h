/* http: a small HTTP/1.1 server on the loop, for metrics and health.
 *
 * The owner gives a table of paths, each with a function that fills in a body; the server speaks
 * the protocol: GET and HEAD, keep-alive, pipelining, HTTP/1.0. Request bodies are never read. The
 * fill function runs on the loop's thread and must not block; if what it wrote did not fit, it is
 * called again with more room, up to HTTP_BODY_MAX (then 500). An answer that has to be gathered
 * first is a route with `begin` instead: the connection waits until http_answer.
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
#include "core/http_request.h"
#include "core/listen.h"

enum {
    HTTP_CONNECTIONS = 128,
    HTTP_REQUEST_MS = 10000,
    HTTP_SEND_MS = 30000,
    HTTP_ANSWER_MS = 60000, /* for http_answer; then 503 */
    HTTP_IDLE_MS = 60000,
    HTTP_BODY_MAX = 16 << 20,
    HTTP_TOKEN_MAX = 128,
};

/* What a fill function makes. `status` is 200 and `type` "text/plain; charset=utf-8" unless set. */
struct http_reply {
    int status; /* 200, 503 or another of http.c's table */
    const char *type;
    struct sink body;
};

typedef void http_fill(void *context, struct http_reply *reply);

/* A request whose answer is being gathered. `state` is its owner's. */
struct http_pending {
    void *state;
    bool open; /* false: nobody waits any more, or it was answered */
};

/* Starts to gather; ends in http_answer (also at once), or in `cancel` if the client has gone
 * before. The spans of `request` are gone when it returns. */
typedef void http_begin(void *context, const struct http_request *request,
                        struct http_pending *pending);
typedef void http_cancel(void *context, struct http_pending *pending);

/* `body.data` was malloc'ed and becomes the server's. */
void http_answer(struct http_pending *pending, const struct http_reply *reply);

enum http_access {
    HTTP_TOKEN,   /* with the listener's token, if it has one */
    HTTP_GUARDED, /* with the token; without one only on a loopback address */
    HTTP_OPEN,    /* always */
};

struct http_route {
    const char *path; /* "/metrics"; "/api/...": with a "*" at its end all that is below */
    http_fill *fill;
    void *context;
    enum http_access access;
    const char *headers; /* further header lines, each with CR LF; NULL: none */
    http_begin *begin;   /* instead of `fill` */
    http_cancel *cancel;
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

/* Binds and accepts; may be called for several addresses. `token` (empty: none; at most
 * HTTP_TOKEN_MAX): clients give it as a bearer token (RFC 6750) or as the password of Basic
 * authentication (RFC 7617). 0 or negative errno. */
MUST_USE int http_server_listen(struct http_server *server, const struct address *address,
                                struct span token);

/* Closes the listener of this address; connections stay. */
void http_server_unlisten(struct http_server *server, const struct address *address);

/* Stops accepting and closes all connections. `stopped` becomes ready, once, when nothing is left;
 * then http_server_fini may be called. */
void http_server_stop(struct http_server *server, struct op *stopped);
void http_server_fini(struct http_server *server);
