/* The request parser alone, then the server on the real ring with plain sockets as clients. */
#include "core/http.h"
#include "core/http_request.h"
#include "core/metrics.h"
#include "tests/unit/loopback.h"

#include <netinet/tcp.h>
#include <stdio.h>

/* ---- the parser ---- */

static const struct {
    const char *text;
    const char *method, *path;
    bool keep_alive, http_1_0, body;
} whole[] = {
    {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET", "/", true, false, false},
    {"GET /metrics HTTP/1.1\r\nhost:a\r\n\r\n", "GET", "/metrics", true, false, false},
    {"GET /metrics?x=/y?z HTTP/1.1\r\nHost:\t a \t\r\n\r\n", "GET", "/metrics", true, false, false},
    {"HEAD /a HTTP/1.0\r\n\r\n", "HEAD", "/a", false, true, false},
    {"GET /a HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", "GET", "/a", true, true, false},
    {"GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "GET", "/a", false, false, false},
    {"GET /a HTTP/1.1\r\nHost: a\r\nConnection: x, close ,y\r\n\r\n", "GET", "/a", false, false,
     false},
    {"GET /a HTTP/1.1\r\nHost: a\r\nConnection: closed\r\n\r\n", "GET", "/a", true, false, false},
    {"GET /a HTTP/1.9\r\nHost: a\r\n\r\n", "GET", "/a", true, false, false},
    {"\r\n\r\nGET /a HTTP/1.1\r\nHost: a\r\n\r\n", "GET", "/a", true, false, false},
    {"GET /a HTTP/1.1\nHost: a\n\n", "GET", "/a", true, false, false},
    {"GET http://h:80/a/b?c HTTP/1.1\r\nHost: h:80\r\n\r\n", "GET", "/a/b", true, false, false},
    {"GET HTTP://h HTTP/1.1\r\nHost: h\r\n\r\n", "GET", "/", true, false, false},
    {"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS", "*", true, false, false},
    {"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n", "POST", "/a", true, false, true},
    {"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "POST", "/a", true, false, false},
    {"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", "POST", "/a", true, false,
     true},
    {"GET /a HTTP/1.1\r\nX-Empty:\r\nHost: a\r\nX: \xc3\xa4\r\n\r\n", "GET", "/a", true, false,
     false},
};

static const struct {
    const char *text;
    int status;
} refused[] = {
    {"GET /a HTTP/1.1\r\n\r\n", 400}, /* no Host */
    {"GET /a HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400},
    {" GET /a HTTP/1.1\r\n", 400},
    {"GET  /a HTTP/1.1\r\n", 400},
    {"GET /a  HTTP/1.1\r\n", 400},
    {"GET /a HTTP/1.1 \r\n", 400},
    {"GET /a\r\n", 400}, /* HTTP/0.9 */
    {"GET a HTTP/1.1\r\n", 400},
    {"GET *x HTTP/1.1\r\n", 400},
    {"GET http:///a HTTP/1.1\r\n", 400},
    {"GET /\x01 HTTP/1.1\r\n", 400},
    {"GET /\xc3\xa4 HTTP/1.1\r\n", 400},
    {"GE\tT /a HTTP/1.1\r\n", 400},
    {"GET /a http/1.1\r\n", 400},
    {"GET /a HTTP/1.x\r\n", 400},
    {"GET /a HTTP/11\r\n", 400},
    {"GET /a HTTP/2.0\r\n", 505},
    {"GET /a HTTP/0.9\r\n", 505},
    {"GET /a HTTP/1.1\r\nHost : a\r\n", 400},
    {"GET /a HTTP/1.1\r\nHost: a\r\n folded\r\n", 400},
    {"GET /a HTTP/1.1\r\nnonsense\r\n", 400},
    {"GET /a HTTP/1.1\r\n: x\r\n", 400},
    {"GET /a HTTP/1.1\r\nX: a\rb\r\n", 400},
    {"GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n", 400},
    {"GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n", 400},
    {"GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n", 400},
    {"GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
    {"ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFG /a HTTP/1.1\r\n", 400},
    {"\x16\x03\x01\x02", 400}, /* a TLS hello */
};

static void test_parse(void **state)
{
    for (size_t i = 0; i < countof(whole); i++) {
        struct span text = span_string(whole[i].text);
        struct http_request request;
        assert_int_equal(http_request_parse(text, &request), text.len);
        assert_true(span_equals(request.method, span_string(whole[i].method)));
        assert_true(span_equals(request.path, span_string(whole[i].path)));
        assert_int_equal(request.keep_alive, whole[i].keep_alive);
        assert_int_equal(request.http_1_0, whole[i].http_1_0);
        assert_int_equal(request.body_follows, whole[i].body);
        for (size_t cut = 0; cut < text.len; cut++)
            assert_int_equal(http_request_parse(span_first(text, cut), &request), 0);
        char more[512]; /* what follows is not looked at */
        snprintf(more, sizeof more, "%s\x01 junk", whole[i].text);
        assert_int_equal(http_request_parse(span_string(more), &request), text.len);
    }
    for (size_t i = 0; i < countof(refused); i++) {
        struct http_request request;
        assert_int_equal(http_request_parse(span_string(refused[i].text), &request),
                         -refused[i].status);
    }
}

/* A head of exactly `len` bytes. */
static struct span head_of(char *buffer, size_t len)
{
    static const char begin[] = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
    memset(buffer, 'x', len);
    memcpy(buffer, begin, sizeof begin - 1);
    memcpy(buffer + len - 4, "\r\n\r\n", 4);
    return span_of(buffer, len);
}

static void test_parse_bound(void **state)
{
    char buffer[HTTP_REQUEST_MAX * 2];
    struct http_request request;
    struct span head = head_of(buffer, HTTP_REQUEST_MAX);
    assert_int_equal(http_request_parse(head, &request), HTTP_REQUEST_MAX);
    assert_int_equal(http_request_parse(span_first(head, HTTP_REQUEST_MAX - 1), &request), 0);
    head = head_of(buffer, HTTP_REQUEST_MAX + 1);
    assert_int_equal(http_request_parse(span_first(head, HTTP_REQUEST_MAX - 1), &request), 0);
    assert_int_equal(http_request_parse(span_first(head, HTTP_REQUEST_MAX), &request), -431);
    assert_int_equal(http_request_parse(head, &request), -431);
    memset(buffer, 'A', sizeof buffer); /* not even a request line */
    assert_int_equal(http_request_parse(span_of(buffer, sizeof buffer), &request), -431);
    memset(buffer, '\n', sizeof buffer);
    assert_int_equal(http_request_parse(span_of(buffer, sizeof buffer), &request), -431);
}

/* ---- the server ---- */

enum { LARGE = 6000020, ANSWER = 8 << 20 };

struct bench {
    struct loop loop;
    struct http_server server;
    struct http_route routes[5];
    struct metrics metrics;
    struct address address;
    int port_holder;
    bool ready;
    unsigned large_calls;
    bool stopped;
    struct op on_stopped;
    char answer[ANSWER];
    size_t answer_len;
};

static void fill_metrics(void *context, struct http_reply *reply)
{
    struct bench *bench = context;
    struct metrics *set = &bench->metrics;
    reply->type = HTTP_TYPE_METRICS;
    metrics_write(&set, 1, &reply->body);
}

static void fill_health(void *context, struct http_reply *reply)
{
    sink_put(&reply->body, SPAN("ok\n"));
}

static void fill_ready(void *context, struct http_reply *reply)
{
    const struct bench *bench = context;
    reply->status = bench->ready ? 200 : 503;
    sink_put(&reply->body, bench->ready ? SPAN("ready\n") : SPAN("not ready\n"));
}

static void fill_large(void *context, struct http_reply *reply)
{
    struct bench *bench = context;
    bench->large_calls++;
    for (unsigned i = 0; i < LARGE / 20; i++)
        sink_put(&reply->body, SPAN("0123456789abcdefghij"));
}

static void fill_endless(void *context, struct http_reply *reply)
{
    while (!reply->body.full)
        sink_put(&reply->body, SPAN("0123456789012345678901234567890123456789"));
}

/* A port that nobody else gets while we hold it, and that the server can share. */
static int hold_port(struct address *ret_address)
{
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    *ret_address = loopback_address(0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one), 0);
    assert_int_equal(bind(fd, &ret_address->any, ret_address->len), 0);
    assert_int_equal(getsockname(fd, &ret_address->any, &ret_address->len), 0);
    return fd;
}

static void on_stopped(struct op *op)
{
    container_of(op, struct bench, on_stopped)->stopped = true;
}

static struct bench *start(void)
{
    struct bench *bench = calloc(1, sizeof *bench);
    struct io_options options = {
        .entries = 64, .buffers = 64, .buffer_size = 1024, .optional_features = true};
    const struct http_route routes[] = {{"/metrics", fill_metrics, bench},
                                        {"/healthz", fill_health, bench},
                                        {"/readyz", fill_ready, bench},
                                        {"/large", fill_large, bench},
                                        {"/endless", fill_endless, bench}};
    memcpy(bench->routes, routes, sizeof routes);
    allow_descriptors(1024);
    assert_int_equal(loop_init(&bench->loop, &options, 0), 0);
    assert_int_equal(
        http_server_init(&bench->server, &bench->loop, bench->routes, countof(bench->routes)), 0);
    bench->port_holder = hold_port(&bench->address);
    assert_int_equal(http_server_listen(&bench->server, &bench->address, SPAN("")), 0);
    op_init(&bench->on_stopped, on_stopped);
    return bench;
}

static void stop(struct bench *bench)
{
    http_server_stop(&bench->server, &bench->on_stopped);
    turn_until(&bench->loop, bench->stopped);
    http_server_fini(&bench->server);
    loop_fini(&bench->loop);
    close(bench->port_holder);
    free(bench);
}

static int client(struct bench *bench)
{
    int one = 1, fd = plain_connect(&bench->address);
    /* each piece goes out by itself, however late the one before is acknowledged */
    assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one), 0);
    set_nonblocking(fd);
    return fd;
}

static void say(int fd, struct span text)
{
    assert_int_equal(send(fd, text.data, text.len, MSG_NOSIGNAL), (ssize_t)text.len);
}

/* Takes what has come; true at the end of the stream. */
static bool hear(struct bench *bench, int fd)
{
    ssize_t got;
    while ((got = recv(fd, bench->answer + bench->answer_len, ANSWER - 1 - bench->answer_len, 0)) >
           0)
        bench->answer_len += (size_t)got;
    bench->answer[bench->answer_len] = '\0';
    return got == 0 || (errno != EAGAIN && errno != EINTR);
}

static void forget(struct bench *bench)
{
    bench->answer_len = 0;
}

/* How often `part` stands in the answer. */
static unsigned times_heard(const struct bench *bench, const char *part)
{
    unsigned count = 0;
    for (const char *at = bench->answer; (at = strstr(at, part)); at += strlen(part))
        count++;
    return count;
}

/* One connection: says `text`, hears until the server closes. */
static const char *ask(struct bench *bench, const char *text)
{
    int fd = client(bench);
    forget(bench);
    say(fd, span_string(text));
    turn_until(&bench->loop, hear(bench, fd));
    close(fd);
    return bench->answer;
}

static void assert_heard(const struct bench *bench, const char *part)
{
    if (!strstr(bench->answer, part))
        fail_msg("missing \"%s\" in:\n%s", part, bench->answer);
}

#define CLOSE "Host: a\r\nConnection: close\r\n\r\n"
#define KEEP  "Host: a\r\n\r\n"

static void test_replies(void **state)
{
    static const struct {
        const char *request, *status, *part, *other;
    } cases[] = {
        {"GET /healthz HTTP/1.1\r\n" CLOSE, "HTTP/1.1 200 OK\r\n", "Content-Length: 3\r\n",
         "\r\n\r\nok\n"},
        {"GET /healthz?x HTTP/1.1\r\n" CLOSE, "HTTP/1.1 200 OK\r\n", "Connection: close\r\n",
         "ok\n"},
        {"GET /readyz HTTP/1.1\r\n" CLOSE, "HTTP/1.1 503 Service Unavailable\r\n",
         "\r\n\r\nnot ready\n", ""},
        {"GET /metrics HTTP/1.1\r\n" CLOSE, "HTTP/1.1 200 OK\r\n",
         "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n",
         "\nringpost_connections_in 0\n"},
        {"GET /healthz HTTP/1.0\r\n\r\n", "HTTP/1.1 200 OK\r\n", "Connection: close\r\n", "ok\n"},
        {"GET http://a/healthz HTTP/1.1\r\n" CLOSE, "HTTP/1.1 200 OK\r\n", "", "ok\n"},
        {"GET / HTTP/1.1\r\n" CLOSE, "HTTP/1.1 404 Not Found\r\n", "\r\n\r\n404 Not Found\n", ""},
        {"GET /metrics/ HTTP/1.1\r\n" CLOSE, "HTTP/1.1 404 Not Found\r\n", "", ""},
        {"POST /metrics HTTP/1.1\r\n" CLOSE, "HTTP/1.1 405 Method Not Allowed\r\n",
         "Allow: GET, HEAD\r\n", ""},
        {"get /metrics HTTP/1.1\r\n" CLOSE, "HTTP/1.1 405 Method Not Allowed\r\n", "", ""},
        /* no wish to close, but a body that nobody will read */
        {"POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
         "HTTP/1.1 405 Method Not Allowed\r\n", "Connection: close\r\n", ""},
        {"GET /healthz HTTP/1.1\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n", "Connection: close\r\n",
         ""},
        {"nonsense\r\n", "HTTP/1.1 400 Bad Request\r\n", "", ""},
        {"\x16\x03\x01", "HTTP/1.1 400 Bad Request\r\n", "", ""},
        {"GET / HTTP/2.0\r\n", "HTTP/1.1 505 HTTP Version Not Supported\r\n", "", ""},
        {"GET /endless HTTP/1.1\r\n" CLOSE, "HTTP/1.1 500 Internal Server Error\r\n", "", ""},
    };
    struct bench *bench = start();
    for (size_t i = 0; i < countof(cases); i++) {
        ask(bench, cases[i].request);
        assert_true(span_starts_with(span_string(bench->answer), span_string(cases[i].status)));
        assert_heard(bench, "\r\nDate: ");
        assert_heard(bench, cases[i].part);
        assert_heard(bench, cases[i].other);
        assert_int_equal(times_heard(bench, "HTTP/1.1 "), 1);
    }
    bench->ready = true;
    ask(bench, "GET /readyz HTTP/1.1\r\n" CLOSE);
    assert_heard(bench, "HTTP/1.1 200 OK\r\n");
    stop(bench);
}

/* HEAD: what GET says, without the body. */
static void test_head(void **state)
{
    struct bench *bench = start();
    ask(bench, "HEAD /healthz HTTP/1.1\r\n" CLOSE);
    assert_heard(bench, "Content-Length: 3\r\n");
    assert_string_equal(bench->answer + bench->answer_len - 4, "\r\n\r\n");
    ask(bench, "HEAD /nowhere HTTP/1.1\r\n" CLOSE);
    assert_heard(bench, "HTTP/1.1 404 Not Found\r\n");
    assert_string_equal(bench->answer + bench->answer_len - 4, "\r\n\r\n");
    stop(bench);
}

static void test_kept_connection(void **state)
{
    struct bench *bench = start();
    int fd = client(bench);
    for (unsigned i = 1; i <= 5; i++) {
        say(fd, SPAN("GET /healthz HTTP/1.1\r\n" KEEP));
        turn_until(&bench->loop, hear(bench, fd) || times_heard(bench, "\r\n\r\nok\n") == i);
    }
    assert_int_equal(times_heard(bench, "Connection: keep-alive\r\n"), 5);
    assert_int_equal(bench->server.requests, 5);
    say(fd, SPAN("GET /healthz HTTP/1.1\r\n" CLOSE));
    turn_until(&bench->loop, hear(bench, fd));
    assert_int_equal(times_heard(bench, "\r\n\r\nok\n"), 6);
    close(fd);
    stop(bench);
}

/* Many requests in one write: all answered, in order, also more than the request buffer holds. */
static void test_pipelined(void **state)
{
    enum { COUNT = 700 };
    struct bench *bench = start();
    int fd = client(bench);
    char text[COUNT * 64];
    size_t len = 0;
    for (unsigned i = 0; i < COUNT; i++)
        len +=
            (size_t)snprintf(text + len, sizeof text - len, "%s HTTP/1.1\r\n%s",
                             i % 2 ? "GET /nowhere" : "GET /healthz", i + 1 < COUNT ? KEEP : CLOSE);
    say(fd, span_of(text, len));
    turn_until(&bench->loop, hear(bench, fd));
    assert_int_equal(times_heard(bench, "\r\n\r\nok\nHTTP/1.1 404"), COUNT / 2);
    assert_int_equal(times_heard(bench, "\r\n\r\n404 Not Found\n"), COUNT / 2);
    close(fd);
    stop(bench);
}

static void test_cut_everywhere(void **state)
{
    static const char request[] = "GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    struct bench *bench = start();
    for (size_t cut = 1; cut < sizeof request - 1; cut++) {
        int fd = client(bench);
        forget(bench);
        say(fd, span_of(request, cut));
        turn_times(&bench->loop, 3);
        assert_false(hear(bench, fd));
        assert_int_equal(bench->answer_len, 0);
        say(fd, span_of(request + cut, sizeof request - 1 - cut));
        turn_until(&bench->loop, hear(bench, fd));
        assert_heard(bench, "\r\n\r\nok\n");
        close(fd);
    }
    stop(bench);
}

/* `printf ... | nc`: the client has ended its side before we answer. */
static void test_half_closed(void **state)
{
    struct bench *bench = start();
    int fd = client(bench);
    say(fd, SPAN("GET /healthz HTTP/1.1\r\n" KEEP "GET /healthz HTTP/1.1\r\n" KEEP "GET /he"));
    shutdown(fd, SHUT_WR);
    turn_until(&bench->loop, hear(bench, fd));
    assert_int_equal(times_heard(bench, "\r\n\r\nok\n"), 2);
    close(fd);
    stop(bench);
}

static void test_large_body(void **state)
{
    struct bench *bench = start();
    ask(bench, "GET /large HTTP/1.1\r\n" CLOSE);
    assert_heard(bench, "Content-Length: 6000020\r\n");
    const char *body = strstr(bench->answer, "\r\n\r\n") + 4;
    assert_int_equal(strlen(body), LARGE);
    for (unsigned i = 0; i < LARGE; i++)
        if (body[i] != "0123456789abcdefghij"[i % 20])
            fail_msg("wrong at %u", i);
    assert_true(bench->large_calls > 1);
    stop(bench);
}

static void test_too_long(void **state)
{
    struct bench *bench = start();
    static char text[HTTP_REQUEST_MAX + 1];
    int fd = client(bench);
    say(fd, head_of(text, HTTP_REQUEST_MAX));
    turn_until(&bench->loop, hear(bench, fd) || times_heard(bench, "\n") > 0);
    assert_heard(bench, "HTTP/1.1 404 Not Found\r\n");
    forget(bench);
    say(fd, head_of(text, HTTP_REQUEST_MAX + 1));
    turn_until(&bench->loop, hear(bench, fd));
    assert_heard(bench, "HTTP/1.1 431 Request Header Fields Too Large\r\n");
    close(fd);
    stop(bench);
}

/* Within half a second of real time at most: what no deadline brings about. */
#define turn_soon(loop, condition)                                                                 \
    do {                                                                                           \
        for (unsigned turns_left = 500; !(condition); turns_left--) {                              \
            assert_true(turns_left > 0);                                                           \
            assert_int_equal(loop_turn(loop, NS_PER_MS), 0);                                       \
        }                                                                                          \
    } while (0)

static void skip_ms(uint64_t ms)
{
    skipped_ns += ms * NS_PER_MS;
}

/* A byte now and then does not move the deadline of a request. */
static void test_slow_request(void **state)
{
    struct bench *bench = start();
    int fd = client(bench);
    say(fd, SPAN("GET /healthz HT"));
    turn_times(&bench->loop, 3);
    say(fd, SPAN("TP/1.1\r\n" KEEP)); /* a first one in time, on the same connection */
    turn_until(&bench->loop, hear(bench, fd) || times_heard(bench, "ok\n") == 1);
    turn_times(&bench->loop, 5);
    forget(bench);
    for (unsigned i = 0; i < 5; i++) {
        say(fd, SPAN("G"));
        turn_times(&bench->loop, 3);
        assert_false(hear(bench, fd));
        skip_ms(HTTP_REQUEST_MS / 5 + 1);
    }
    turn_soon(&bench->loop, hear(bench, fd));
    assert_heard(bench, "HTTP/1.1 408 Request Timeout\r\n");
    close(fd);
    stop(bench);
}

static void test_idle(void **state)
{
    struct bench *bench = start();
    int silent = client(bench), kept = client(bench);
    say(kept, SPAN("GET /healthz HTTP/1.1\r\n" KEEP));
    turn_until(&bench->loop, hear(bench, kept) || times_heard(bench, "ok\n") == 1);
    turn_times(&bench->loop, 5); /* the end of the send is seen */
    forget(bench);
    skip_ms(HTTP_REQUEST_MS + 1);
    turn_soon(&bench->loop, hear(bench, silent)); /* closed without a word */
    assert_int_equal(bench->answer_len, 0);
    skip_ms(HTTP_IDLE_MS - HTTP_REQUEST_MS - 2000);
    turn_times(&bench->loop, 20);
    assert_false(hear(bench, kept));
    skip_ms(2000);
    turn_soon(&bench->loop, hear(bench, kept));
    assert_int_equal(bench->answer_len, 0);
    close(silent);
    close(kept);
    stop(bench);
}

/* A client that asks for much and reads nothing does not stay for ever, and stops nobody else. */
static void test_reader_stalls(void **state)
{
    struct bench *bench = start();
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), small = 2048;
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small), 0);
    assert_int_equal(connect(fd, &bench->address.any, bench->address.len), 0);
    for (unsigned i = 0; i < 100; i++)
        say(fd, SPAN("GET /large HTTP/1.1\r\n" KEEP));
    turn_times(&bench->loop, 50);
    assert_false(list_empty(&bench->server.connections));
    assert_true(bench->server.requests < 100);
    ask(bench, "GET /healthz HTTP/1.1\r\n" CLOSE);
    assert_heard(bench, "\r\n\r\nok\n");
    skip_ms(HTTP_SEND_MS + 1);
    turn_until(&bench->loop, list_empty(&bench->server.connections));
    close(fd);
    stop(bench);
}

static void test_connection_cap(void **state)
{
    struct bench *bench = start();
    int fds[HTTP_CONNECTIONS];
    for (unsigned i = 0; i < HTTP_CONNECTIONS; i++)
        fds[i] = client(bench);
    turn_until(&bench->loop, bench->server.admission.connections == HTTP_CONNECTIONS);
    int fd = client(bench);
    forget(bench);
    turn_soon(&bench->loop, hear(bench, fd)); /* closed at once */
    close(fd);
    close(fds[0]); /* somebody leaves: there is room again */
    turn_until(&bench->loop, bench->server.admission.connections == HTTP_CONNECTIONS - 1);
    ask(bench, "GET /healthz HTTP/1.1\r\n" CLOSE);
    assert_heard(bench, "\r\n\r\nok\n");
    for (unsigned i = 1; i < HTTP_CONNECTIONS; i++)
        close(fds[i]);
    stop(bench);
}

static void test_reset(void **state)
{
    struct bench *bench = start();
    int fd = client(bench);
    for (unsigned i = 0; i < 50; i++)
        say(fd, SPAN("GET /large HTTP/1.1\r\n" KEEP));
    turn_times(&bench->loop, 5);
    close_with_reset(fd);
    turn_until(&bench->loop, list_empty(&bench->server.connections));
    stop(bench);
}

/* With connections in every state: idle, in a request, in a reply. */
static void test_stop(void **state)
{
    struct bench *bench = start();
    int idle = client(bench), partial = client(bench), busy = client(bench);
    say(partial, SPAN("GET /he"));
    say(busy, SPAN("GET /large HTTP/1.1\r\n" KEEP));
    turn_until(&bench->loop, bench->server.requests == 1);
    http_server_stop(&bench->server, &bench->on_stopped);
    forget(bench);
    turn_until(&bench->loop, hear(bench, busy));
    assert_true(bench->answer_len > LARGE); /* the reply under way went out whole */
    close(busy);
    close(idle);
    close(partial);
    turn_until(&bench->loop, bench->stopped);
    http_server_fini(&bench->server);
    loop_fini(&bench->loop);
    close(bench->port_holder);
    free(bench);
}

static void test_address_in_use(void **state)
{
    struct bench *bench = start();
    struct address taken;
    int fd = plain_listen(1, &taken);
    assert_int_equal(http_server_listen(&bench->server, &taken, SPAN("")), -EADDRINUSE);
    close(fd);
    stop(bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),           cmocka_unit_test(test_parse_bound),
        cmocka_unit_test(test_replies),         cmocka_unit_test(test_head),
        cmocka_unit_test(test_kept_connection), cmocka_unit_test(test_pipelined),
        cmocka_unit_test(test_cut_everywhere),  cmocka_unit_test(test_half_closed),
        cmocka_unit_test(test_large_body),      cmocka_unit_test(test_too_long),
        cmocka_unit_test(test_slow_request),    cmocka_unit_test(test_idle),
        cmocka_unit_test(test_reader_stalls),   cmocka_unit_test(test_connection_cap),
        cmocka_unit_test(test_reset),           cmocka_unit_test(test_stop),
        cmocka_unit_test(test_address_in_use),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
