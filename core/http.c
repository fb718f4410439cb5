/* One connection is one object; http_advance() is the one place that decides. Input is copied into
 * the connection's own request buffer, so that an idle client holds none of the ring's buffers. */
#include "core/http.h"

#include "core/base64.h"
#include "core/clock.h"
#include "core/http_request.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

enum { BODY_FIRST = 64 << 10, HEAD_MAX = 512 };

/* What a connection needs to know of its listener, which may be gone before it. */
struct http_door {
    char token[HTTP_TOKEN_MAX];
    size_t token_len; /* 0: none */
    bool loopback;
};

struct http_listener {
    struct listener listener;
    struct list_link link;
    struct http_server *server;
    struct http_door door;
    struct address address;
};

struct http_connection {
    struct conn conn;
    struct http_server *server;
    struct http_door door;
    struct list_link link;
    struct http_pending pending;
    const struct http_route *route; /* of the request being answered */
    bool head_only;
    bool close_after;   /* the reply under way is the last */
    bool request_begun; /* its deadline runs and is not moved by more bytes */
    char head[HEAD_MAX];
    char *body; /* of the reply under way */
    size_t request_len;
    char request[HTTP_REQUEST_MAX];
};

static const struct {
    int status;
    const char *text;
} statuses[] = {
    {200, "OK"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {408, "Request Timeout"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {503, "Service Unavailable"},
    {505, "HTTP Version Not Supported"},
};

static const char *status_text(int status)
{
    for (size_t i = 0; i < countof(statuses); i++)
        if (statuses[i].status == status)
            return statuses[i].text;
    check(!"a status without a text");
    return NULL;
}

static void set_deadline(struct http_connection *connection, uint64_t after_ms)
{
    struct conn *conn = &connection->conn;
    conn_deadline(conn, conn->loop->now_ns + after_ms * NS_PER_MS);
}

/* ---- replies ---- */

/* RFC 9110 5.6.7, in the English of the C locale whatever the environment says. */
static void put_date(struct sink *sink, uint64_t wall_ms)
{
    static const char days[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm tm;
    if (!gmtime_r(&seconds, &tm))
        return;
    sink_format(sink, "Date: %s, %02d %s %d %02d:%02d:%02d GMT\r\n", days[tm.tm_wday], tm.tm_mday,
                months[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

static void put_head(struct sink *sink, const struct http_connection *connection,
                     const struct http_reply *reply)
{
    sink_format(sink, "HTTP/1.1 %d %s\r\nServer: Ringpost\r\n", reply->status,
                status_text(reply->status));
    put_date(sink, connection->conn.loop->wall_ms);
    sink_format(sink, "Content-Type: %s\r\nContent-Length: %zu\r\n", reply->type, reply->body.len);
    if (connection->route && connection->route->headers)
        sink_put(sink, span_string(connection->route->headers));
    if (reply->status == 401)
        sink_put(sink, SPAN("WWW-Authenticate: Basic realm=\"Ringpost\"\r\n"));
    if (reply->status == 405)
        sink_put(sink, SPAN("Allow: GET, HEAD\r\n"));
    /* an HTTP/1.0 client must be told that the connection stays; for others it does no harm */
    sink_put(sink, connection->close_after ? SPAN("Connection: close\r\n\r\n")
                                           : SPAN("Connection: keep-alive\r\n\r\n"));
}

/* Sends what `reply` holds; its body buffer becomes the connection's. */
static void send_reply(struct http_connection *connection, const struct http_reply *reply,
                       bool head_only)
{
    struct sink head;
    sink_init(&head, connection->head, sizeof connection->head);
    put_head(&head, connection, reply);
    check(!head.full);
    struct iovec pieces[2] = {{.iov_base = head.data, .iov_len = head.len},
                              {.iov_base = reply->body.data, .iov_len = reply->body.len}};
    connection->body = reply->body.data;
    connection->server->requests++;
    set_deadline(connection, HTTP_SEND_MS);
    if (!conn_send(&connection->conn, pieces, head_only || !reply->body.len ? 1 : 2))
        conn_abort(&connection->conn);
}

/* A reply whose body is its status, on a line. */
static void send_status(struct http_connection *connection, int status, bool head_only)
{
    struct http_reply reply = {.status = status, .type = "text/plain; charset=utf-8"};
    char *text = malloc(HEAD_MAX);
    if (!text) {
        conn_abort(&connection->conn);
        return;
    }
    sink_init(&reply.body, text, HEAD_MAX);
    sink_format(&reply.body, "%d %s\n", status, status_text(status));
    send_reply(connection, &reply, head_only);
}

/* Calls `fill` with more room until the body fits. False: it never did, or no memory. */
static bool fill_reply(const struct http_route *route, struct http_reply *ret_reply)
{
    for (size_t capacity = BODY_FIRST; capacity <= HTTP_BODY_MAX; capacity *= 4) {
        char *buffer = malloc(capacity);
        struct http_reply reply = {.status = 200, .type = "text/plain; charset=utf-8"};
        if (!buffer)
            return false;
        sink_init(&reply.body, buffer, capacity);
        route->fill(route->context, &reply);
        if (!reply.body.full) {
            *ret_reply = reply;
            return true;
        }
        free(buffer);
    }
    return false;
}

static const struct http_route *find_route(const struct http_server *server, struct span path)
{
    for (unsigned i = 0; i < server->route_count; i++) {
        struct span own = span_string(server->routes[i].path);
        bool below = own.data[own.len - 1] == '*';
        if (below ? span_starts_with(path, span_first(own, own.len - 1)) : span_equals(own, path))
            return &server->routes[i];
    }
    return NULL;
}

/* ---- who may ---- */

/* Takes the same time wherever the two differ. */
static bool same_secret(struct span a, struct span b)
{
    unsigned char difference = a.len != b.len;
    for (size_t i = 0; i < a.len && i < b.len; i++)
        difference |= (unsigned char)(a.data[i] ^ b.data[i]);
    return difference == 0;
}

static bool has_token(struct span authorization, struct span token)
{
    char storage[2 * HTTP_TOKEN_MAX];
    struct sink plain;
    size_t blank = span_find(authorization, ' ');
    struct span scheme = span_first(authorization, blank);
    struct span given = span_trim(span_skip(authorization, blank));
    if (span_equals_any_case(scheme, SPAN("Bearer")))
        return same_secret(given, token);
    sink_init(&plain, storage, sizeof storage);
    if (!span_equals_any_case(scheme, SPAN("Basic")) || !base64_decode(given, &plain))
        return false;
    struct span pair = sink_span(&plain);
    return same_secret(span_skip(pair, span_find(pair, ':') + 1), token);
}

/* 0: yes; else the status to refuse with. */
static int may_ask(const struct http_door *door, const struct http_route *route,
                   const struct http_request *request)
{
    if (route->access == HTTP_OPEN)
        return 0;
    if (door->token_len)
        return has_token(request->authorization, span_of(door->token, door->token_len)) ? 0 : 401;
    return route->access == HTTP_GUARDED && !door->loopback ? 403 : 0;
}

/* ---- answers that are gathered ---- */

static void begin_answer(struct http_connection *connection, const struct http_request *request)
{
    connection->pending = (struct http_pending){.open = true};
    set_deadline(connection, HTTP_ANSWER_MS);
    connection->route->begin(connection->route->context, request, &connection->pending);
}

static void cancel_answer(struct http_connection *connection)
{
    if (!connection->pending.open)
        return;
    connection->pending.open = false;
    connection->route->cancel(connection->route->context, &connection->pending);
}

void http_answer(struct http_pending *pending, const struct http_reply *reply)
{
    struct http_connection *connection = container_of(pending, struct http_connection, pending);
    check(pending->open);
    pending->open = false;
    if (connection->server->stopping)
        connection->close_after = true;
    if (connection->conn.state == CONN_OPEN)
        send_reply(connection, reply, connection->head_only);
    else
        free(reply->body.data);
}

static void answer(struct http_connection *connection, const struct http_request *request)
{
    struct http_reply reply;
    bool head_only = span_equals(request->method, SPAN("HEAD"));
    const struct http_route *route = find_route(connection->server, request->path);
    int refusal = route ? may_ask(&connection->door, route, request) : 404;
    connection->close_after =
        !request->keep_alive || request->body_follows || connection->server->stopping;
    connection->route = route;
    connection->head_only = head_only;
    if (refusal)
        send_status(connection, refusal, head_only);
    else if (!head_only && !span_equals(request->method, SPAN("GET")))
        send_status(connection, 405, false);
    else if (route->begin)
        begin_answer(connection, request);
    else if (!fill_reply(route, &reply))
        send_status(connection, 500, head_only);
    else
        send_reply(connection, &reply, head_only);
}

static void refuse(struct http_connection *connection, int status)
{
    connection->close_after = true;
    connection->route = NULL;
    send_status(connection, status, false);
}

/* ---- a connection ---- */

static void report_stopped(struct http_server *server)
{
    if (!server->stopped || !list_empty(&server->connections) || !list_empty(&server->listeners))
        return;
    loop_ready(server->loop, server->stopped, 0);
    server->stopped = NULL;
}

static void connection_gone(struct http_connection *connection)
{
    struct http_server *server = connection->server;
    cancel_answer(connection);
    admission_leave(&server->admission, &connection->conn.peer);
    list_remove(&connection->link);
    free(connection->body);
    free(connection);
    report_stopped(server);
}

/* Copies input as far as the request buffer has room; the rest waits in the ring's buffers. */
static void take_input(struct http_connection *connection)
{
    struct span input;
    while (connection->request_len < sizeof connection->request &&
           (input = conn_input(&connection->conn)).len) {
        input = span_first(input, sizeof connection->request - connection->request_len);
        memcpy(connection->request + connection->request_len, input.data, input.len);
        connection->request_len += input.len;
        conn_consume(&connection->conn, input.len);
    }
}

/* Answers the next request, if it is all there. */
static void read_request(struct http_connection *connection, bool ended)
{
    struct http_request request;
    int result =
        http_request_parse(span_of(connection->request, connection->request_len), &request);
    if (result > 0) {
        connection->request_begun = false;
        answer(connection, &request);
        connection->request_len -= (size_t)result;
        memmove(connection->request, connection->request + result, connection->request_len);
    } else if (result < 0) {
        refuse(connection, -result);
    } else if (ended) {
        conn_close(&connection->conn);
    } else if (connection->request_len && !connection->request_begun) {
        connection->request_begun = true;
        set_deadline(connection, HTTP_REQUEST_MS);
    }
}

static void reply_sent(struct http_connection *connection)
{
    free(connection->body);
    connection->body = NULL;
    if (connection->close_after)
        conn_close(&connection->conn);
    else
        set_deadline(connection, HTTP_IDLE_MS);
}

/* Nobody waits for an idle connection; a request that does not end is told so. */
static void timed_out(struct http_connection *connection)
{
    if (conn_sending(&connection->conn)) {
        conn_abort(&connection->conn);
    } else if (connection->pending.open) {
        cancel_answer(connection);
        refuse(connection, 503);
    } else if (connection->request_len) {
        refuse(connection, 408);
    } else {
        conn_close(&connection->conn);
    }
}

static void http_advance(struct conn *conn)
{
    struct http_connection *connection = container_of(conn, struct http_connection, conn);
    unsigned events = conn_events(conn);
    if (events & CONN_CLOSED) {
        connection_gone(connection);
        return;
    }
    if (events & CONN_ERROR) {
        conn_abort(conn);
        return;
    }
    if (events & CONN_SENT)
        reply_sent(connection);
    if (events & CONN_TIMEOUT && conn->state == CONN_OPEN)
        timed_out(connection);
    if (conn->state != CONN_OPEN || conn_sending(conn))
        return;
    if (connection->pending.open) {
        if (events & CONN_EOF)
            conn_close(conn); /* it does not wait any more */
        return;
    }
    take_input(connection);
    read_request(connection, (events & CONN_EOF) && conn_input(conn).len == 0);
}

static void on_connection(struct listener *listener, int fd, const struct address *peer,
                          enum listen_verdict verdict)
{
    const struct http_listener *from = container_of(listener, struct http_listener, listener);
    struct http_server *server = listener->context;
    struct http_connection *connection =
        verdict == LISTEN_WELCOME ? malloc(sizeof *connection) : NULL;
    if (!connection) {
        if (verdict == LISTEN_WELCOME)
            admission_leave(&server->admission, peer);
        io_close_now(server->loop->io, fd);
        return;
    }
    *connection = (struct http_connection){.server = server, .door = from->door};
    connection->conn.peer = *peer;
    list_append(&server->connections, &connection->link);
    conn_open(&connection->conn, server->loop, fd, http_advance,
              server->loop->now_ns + HTTP_REQUEST_MS * NS_PER_MS);
}

/* ---- the server ---- */

int http_server_init(struct http_server *server, struct loop *loop, const struct http_route *routes,
                     unsigned route_count)
{
    *server = (struct http_server){.loop = loop, .routes = routes, .route_count = route_count};
    list_init(&server->listeners);
    list_init(&server->connections);
    return admission_init(&server->admission, HTTP_CONNECTIONS, 0);
}

static void on_listener_stopped(struct op *accept)
{
    struct listener *listener = container_of(accept, struct listener, accept);
    struct http_listener *own = container_of(listener, struct http_listener, listener);
    struct http_server *server = own->server;
    list_remove(&own->link);
    free(own);
    report_stopped(server);
}

int http_server_listen(struct http_server *server, const struct address *address, struct span token)
{
    check(token.len <= HTTP_TOKEN_MAX);
    struct http_listener *own = calloc(1, sizeof *own);
    if (!own)
        return -ENOMEM;
    int result = listener_init(&own->listener, server->loop, address, &server->admission,
                               on_connection, server);
    if (result < 0) {
        free(own);
        return result;
    }
    own->server = server;
    own->door.token_len = token.len;
    own->door.loopback = address_is_loopback(address);
    if (token.len)
        memcpy(own->door.token, token.data, token.len);
    own->address = *address;
    own->listener.on_stopped = on_listener_stopped;
    list_append(&server->listeners, &own->link);
    listener_start(&own->listener);
    return 0;
}

void http_server_unlisten(struct http_server *server, const struct address *address)
{
    list_for_each (&server->listeners, link, following) {
        struct http_listener *own = container_of(link, struct http_listener, link);
        if (own->address.len == address->len &&
            memcmp(&own->address.any, &address->any, address->len) == 0)
            listener_stop(&own->listener);
    }
}

void http_server_stop(struct http_server *server, struct op *stopped)
{
    server->stopping = true;
    server->stopped = stopped;
    list_for_each (&server->listeners, link, following)
        listener_stop(&container_of(link, struct http_listener, link)->listener);
    list_for_each (&server->connections, link, following) {
        struct http_connection *connection = container_of(link, struct http_connection, link);
        if (conn_sending(&connection->conn) || connection->pending.open)
            connection->close_after = true; /* let the reply out */
        else
            conn_close(&connection->conn);
    }
    report_stopped(server);
}

void http_server_fini(struct http_server *server)
{
    check(list_empty(&server->connections) && list_empty(&server->listeners));
    admission_fini(&server->admission);
}
