/* One advance per connection decides, in this order: is it over, may a step run, what is waited
 * for. Steps append to `call.out`; whatever stands there is sent as one piece, and no step runs
 * until it is gone.
 *
 * Failure modes. A worker that does not come back within CONTROL_VISIT_MS (its thread hangs, or it
 * has drained and ended) costs its call: the client hears so, the connection's memory stays until
 * the visit returns or the server ends. A client that vanishes is noticed at once (its end of the
 * stream), and its call ends at the next step. */
#include "core/control_run.h"

#include "core/clock.h"

#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { END_ROOM = 2048 /* of the output, for the END frame */ };

struct connection {
    struct conn conn;
    struct control_run run; /* its `out` lies in `output`, `values` in `input` */
    struct control_server *server;
    struct list_link link;
    struct timer timer;
    uint64_t pulse_ns; /* the next one, unless something else is sent */
    bool greeted, close_after, gone;
    size_t input_len, call_len; /* call_len: of the frame being answered */
    char input[FRAME_HEAD + CALL_MAX];
    char output[CONTROL_OUT];
};

static struct loop *loop_of(const struct connection *connection)
{
    return connection->server->loop;
}

static uint64_t now_of(const struct connection *connection)
{
    return loop_of(connection)->now_ns;
}

/* ---- output ---- */

static void open_output(struct connection *connection)
{
    sink_init(&connection->run.call.out, connection->output, CONTROL_OUT - END_ROOM);
}

static void send_output(struct connection *connection)
{
    struct iovec iov = {connection->output, connection->run.call.out.len};
    connection->pulse_ns = now_of(connection) + CONTROL_PULSE_MS * NS_PER_MS;
    conn_deadline(&connection->conn, now_of(connection) + CONTROL_SEND_MS * NS_PER_MS);
    if (!conn_send(&connection->conn, &iov, 1))
        conn_abort(&connection->conn);
}

static void put_pulse(struct connection *connection)
{
    frame_end(&connection->run.call.out, frame_begin(&connection->run.call.out, FRAME_PULSE));
}

static void put_end(struct connection *connection)
{
    struct control_call *call = &connection->run.call;
    call->out.capacity = sizeof connection->output;
    end_put(call->status, span_string(call->error), &call->out);
}

/* ---- calls ---- */

static bool running(const struct connection *connection)
{
    return control_run_running(&connection->run);
}

/* The END frame is written: ready for the next call. */
static void end_call(struct connection *connection)
{
    put_end(connection);
    control_run_end(&connection->run);
    connection->server->calls++;
    connection->input_len -= connection->call_len;
    memmove(connection->input, connection->input + connection->call_len, connection->input_len);
    connection->call_len = 0;
}

static void begin_call(struct connection *connection, struct span payload)
{
    struct control_call *call = &connection->run.call;
    struct sink error;
    sink_init(&error, call->error, sizeof call->error - 1);
    bool fine = call_read(payload, &call->command, &call->values, &error);
    call->error[error.len] = '\0';
    if (fine)
        control_run_begin(&connection->run);
    else
        control_run_refuse(&connection->run, CALL_WRONG, NULL);
}

static void read_hello(struct connection *connection, const struct frame *frame)
{
    unsigned version;
    if (frame->type != FRAME_HELLO || !hello_read(frame->payload, &version)) {
        conn_abort(&connection->conn);
        return;
    }
    hello_put(&connection->run.call.out);
    connection->close_after = version != CONTROL_VERSION;
    connection->greeted = true;
}

static void take_frame(struct connection *connection, const struct frame *frame, size_t len)
{
    struct control_call *call = &connection->run.call;
    if (!connection->greeted) {
        read_hello(connection, frame);
        connection->input_len -= len;
        memmove(connection->input, connection->input + len, connection->input_len);
        return;
    }
    if (frame->type != FRAME_CALL) {
        conn_abort(&connection->conn);
        return;
    }
    *call = (struct control_call){.out = call->out, .owner = call->owner, .user = call->user};
    connection->call_len = len;
    connection->pulse_ns = now_of(connection) + CONTROL_PULSE_MS * NS_PER_MS;
    begin_call(connection, frame->payload);
}

/* ---- a connection ---- */

static void take_input(struct connection *connection)
{
    struct span input;
    while (connection->input_len < sizeof connection->input &&
           (input = conn_input(&connection->conn)).len) {
        input = span_first(input, sizeof connection->input - connection->input_len);
        memcpy(connection->input + connection->input_len, input.data, input.len);
        connection->input_len += input.len;
        conn_consume(&connection->conn, input.len);
    }
}

/* True: something was read, there may be more. */
static bool read_frame(struct connection *connection)
{
    struct frame frame;
    take_input(connection);
    int len = frame_read(span_of(connection->input, connection->input_len), CALL_MAX, &frame);
    if (len < 0)
        conn_abort(&connection->conn);
    else if (len > 0)
        take_frame(connection, &frame, (size_t)len);
    return len > 0;
}

static void report_stopped(struct control_server *server)
{
    if (!server->stopped || server->listening)
        return;
    list_for_each (&server->connections, link, following)
        if (!container_of(link, struct connection, link)->gone)
            return;
    loop_ready(server->loop, server->stopped, 0);
    server->stopped = NULL;
}

static void free_connection(struct connection *connection)
{
    connection->run.visiting = false;
    control_run_end(&connection->run);
    list_remove(&connection->link);
    free(connection);
}

/* Unless a worker has it. */
static void connection_gone(struct connection *connection)
{
    struct control_server *server = connection->server;
    if (!connection->gone)
        admission_leave(&server->admission, &connection->conn.peer);
    connection->gone = true;
    loop_disarm(server->loop, &connection->timer);
    if (!connection->run.visiting)
        free_connection(connection);
    report_stopped(server);
}

static void on_run_wake(struct control_run *run)
{
    struct connection *connection = container_of(run, struct connection, run);
    if (connection->gone)
        free_connection(connection);
    else
        conn_wake(&connection->conn);
}

static void on_timer(struct op *op)
{
    conn_wake(&container_of(op, struct connection, timer.op)->conn);
}

static bool pulse_is_due(const struct connection *connection)
{
    return running(connection) && !connection->run.visiting && connection->run.call.out.len == 0 &&
           now_of(connection) >= connection->pulse_ns;
}

/* While a call runs the timer wakes for the next pulse and for what is due before it; else the
 * client has CONTROL_INPUT_MS to ask for something. */
static void set_waits(struct connection *connection)
{
    uint64_t now_ns = now_of(connection), at_ns = connection->pulse_ns;
    conn_deadline(&connection->conn,
                  now_ns +
                      (running(connection) ? 2 * CONTROL_VISIT_MS : CONTROL_INPUT_MS) * NS_PER_MS);
    if (!running(connection)) {
        loop_disarm(loop_of(connection), &connection->timer);
        return;
    }
    const struct control_run *run = &connection->run;
    if (run->visiting || (run->phase == RUN_PAUSE && run->due_ns < connection->pulse_ns))
        at_ns = run->due_ns;
    timer_arm(&loop_of(connection)->timers, &connection->timer, at_ns);
}

static void work(struct connection *connection)
{
    bool more = false;
    if (!running(connection))
        more = !connection->close_after && read_frame(connection);
    else if (!control_run_has_output(&connection->run) && control_run_can_step(&connection->run))
        control_run_step(&connection->run);
    if (control_run_ended(&connection->run))
        end_call(connection);
    if (pulse_is_due(connection))
        put_pulse(connection);
    if (connection->conn.state != CONN_OPEN)
        return;
    if (control_run_has_output(&connection->run)) {
        send_output(connection);
        return;
    }
    if (more || control_run_can_step(&connection->run))
        conn_wake(&connection->conn);
    set_waits(connection);
}

static void advance(struct conn *conn)
{
    struct connection *connection = container_of(conn, struct connection, conn);
    unsigned events = conn_events(conn);
    if (events & CONN_CLOSED) {
        connection_gone(connection);
        return;
    }
    if (conn->state != CONN_OPEN)
        return;
    if (events & (CONN_ERROR | CONN_EOF | CONN_TIMEOUT) || control_run_lost(&connection->run)) {
        conn_abort(conn);
        return;
    }
    if (conn_sending(conn))
        return;
    if (events & CONN_SENT) {
        open_output(connection);
        if (connection->close_after || connection->server->stopping) {
            conn_close(conn);
            return;
        }
    }
    work(connection);
}

static void on_connection(struct listener *listener, int fd, const struct address *peer,
                          enum listen_verdict verdict)
{
    struct control_server *server = listener->context;
    struct connection *connection =
        verdict == LISTEN_WELCOME ? calloc(1, sizeof *connection) : NULL;
    if (!connection) {
        if (verdict == LISTEN_WELCOME)
            admission_leave(&server->admission, peer);
        io_close_now(server->loop->io, fd);
        return;
    }
    connection->server = server;
    connection->conn.peer = *peer;
    control_run_init(&connection->run, server->loop, &server->options, on_run_wake);
    connection->run.call.user = io_peer_user(server->loop->io, fd);
    timer_init(&connection->timer, on_timer);
    open_output(connection);
    list_append(&server->connections, &connection->link);
    conn_open(&connection->conn, server->loop, fd, advance,
              server->loop->now_ns + CONTROL_INPUT_MS * NS_PER_MS);
}

/* ---- the server ---- */

static void on_listener_stopped(struct op *accept)
{
    struct listener *listener = container_of(accept, struct listener, accept);
    struct control_server *server = listener->context;
    server->listening = false;
    report_stopped(server);
}

static int give_to_group(const char *path, const char *name)
{
    char memory[4096];
    struct group group, *found = NULL;
    if (!name || name[0] == '\0')
        return 0;
    int error = getgrnam_r(name, &group, memory, sizeof memory, &found);
    if (!found)
        return error ? -error : -ENOENT;
    return chown(path, (uid_t)-1, found->gr_gid) < 0 ? -errno : 0;
}

static int open_listener(struct control_server *server, const char *group)
{
    struct address address = {.unix_path = {.sun_family = AF_UNIX}};
    size_t len = strlen(server->path);
    if (len >= sizeof address.unix_path.sun_path)
        return -ENAMETOOLONG;
    memcpy(address.unix_path.sun_path, server->path, len + 1);
    address.len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + 1);
    int error = listener_init(&server->listener, server->loop, &address, &server->admission,
                              on_connection, server);
    if (error < 0)
        return error;
    server->listening = true;
    server->listener.on_stopped = on_listener_stopped;
    return give_to_group(server->path, group);
}

int control_server_init(struct control_server *server, struct loop *loop,
                        const struct control_options *options)
{
    *server = (struct control_server){.loop = loop, .options = *options};
    list_init(&server->connections);
    server->path = strdup(options->path);
    int error = server->path ? admission_init(&server->admission, CONTROL_CONNECTIONS, 0) : -ENOMEM;
    if (error == 0)
        error = open_listener(server, options->group);
    if (error == 0)
        listener_start(&server->listener);
    return error;
}

void control_server_stop(struct control_server *server, struct op *stopped)
{
    server->stopping = true;
    server->stopped = stopped;
    if (server->listening) {
        unlink(server->path);
        listener_stop(&server->listener);
    }
    list_for_each (&server->connections, link, following) {
        struct connection *connection = container_of(link, struct connection, link);
        if (connection->gone)
            continue;
        if (conn_sending(&connection->conn) && !running(connection))
            continue; /* the last words of an answer: `stopping` closes behind them */
        conn_abort(&connection->conn);
    }
    report_stopped(server);
}

void control_server_fini(struct control_server *server)
{
    if (!server->loop)
        return;
    list_for_each (&server->connections, link, following)
        free_connection(container_of(link, struct connection, link));
    admission_fini(&server->admission);
    free(server->path);
}
