/* One advance per connection decides, in this order: is it over, may a step run, what is waited
 * for. Steps append to `call.out`; whatever stands there is sent as one piece, and no step runs
 * until it is gone.
 *
 * Failure modes. A worker that does not come back within CONTROL_VISIT_MS (its thread hangs, or it
 * has drained and ended) costs its call: the client hears so, the connection's memory stays until
 * the visit returns or the server ends. A client that vanishes is noticed at once (its end of the
 * stream), and its call ends at the next step. */
#include "core/control.h"

#include "core/clock.h"

#include <errno.h>
#include <grp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { END_ROOM = 2048 /* of the output, for the END frame */ };

enum phase {
    PHASE_GREETING,
    PHASE_IDLE,
    PHASE_BEGIN, /* from here on a call runs */
    PHASE_VISIT,
    PHASE_GATHER,
    PHASE_PAUSE,
    PHASE_FINISH,
    PHASE_END,
};

struct connection {
    struct conn conn;
    struct control_call call; /* `out` lies in `output`, `values` in `input` */
    struct control_server *server;
    const struct control_handler *handler;
    struct list_link link;
    struct op visit, returned; /* to the worker's loop, and back */
    struct timer timer;
    uint64_t due_ns;   /* of the visit, or of the pause's end */
    uint64_t pulse_ns; /* the next one, unless something else is sent */
    enum phase phase;
    enum control_step stepped;
    enum phase behind_gather;
    bool visiting; /* call and state are with a worker */
    bool waiting;  /* a step said CONTROL_WAIT */
    bool close_after, gone;
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

void control_fail(struct control_call *call, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(call->error, sizeof call->error, format, arguments);
    va_end(arguments);
    call->status = CALL_FAILED;
}

void control_wake(struct control_call *call)
{
    struct connection *connection = container_of(call, struct connection, call);
    connection->waiting = false;
    conn_wake(&connection->conn);
}

bool control_put(struct control_call *call, struct record *record)
{
    if (record_end(record))
        return true;
    if (call->out.len > 0)
        return false;
    control_fail(call, "a record of the answer is longer than %d bytes", CONTROL_OUT - END_ROOM);
    return true;
}

/* ---- output ---- */

static void open_output(struct connection *connection)
{
    sink_init(&connection->call.out, connection->output, CONTROL_OUT - END_ROOM);
}

static void send_output(struct connection *connection)
{
    struct iovec iov = {connection->output, connection->call.out.len};
    connection->pulse_ns = now_of(connection) + CONTROL_PULSE_MS * NS_PER_MS;
    conn_deadline(&connection->conn, now_of(connection) + CONTROL_SEND_MS * NS_PER_MS);
    if (!conn_send(&connection->conn, &iov, 1))
        conn_abort(&connection->conn);
}

static void put_pulse(struct connection *connection)
{
    frame_end(&connection->call.out, frame_begin(&connection->call.out, FRAME_PULSE));
}

static void put_end(struct connection *connection)
{
    struct control_call *call = &connection->call;
    call->out.capacity = sizeof connection->output;
    end_put(call->status, span_string(call->error), &call->out);
}

/* ---- steps ---- */

/* In the worker's thread. */
static void on_visit(struct op *op)
{
    struct connection *connection = container_of(op, struct connection, visit);
    const struct control_worker *worker =
        &connection->server->options.workers[connection->call.worker];
    connection->stepped = connection->handler->visit(&connection->call, worker->worker);
    loop_post(loop_of(connection), worker->loop, &connection->returned);
}

static void start_visit(struct connection *connection)
{
    struct control_server *server = connection->server;
    connection->visiting = true;
    connection->due_ns = now_of(connection) + CONTROL_VISIT_MS * NS_PER_MS;
    loop_post(server->options.workers[connection->call.worker].loop, server->loop,
              &connection->visit);
}

static enum phase phase_behind_visits(const struct connection *connection)
{
    if (connection->handler->every_ms)
        return PHASE_PAUSE;
    return connection->handler->finish ? PHASE_FINISH : PHASE_END;
}

static void visit_is_back(struct connection *connection)
{
    struct control_call *call = &connection->call;
    enum phase next = PHASE_VISIT;
    if (connection->stepped == CONTROL_DONE &&
        ++call->worker == connection->server->options.worker_count) {
        call->worker = 0;
        next = phase_behind_visits(connection);
        connection->due_ns = now_of(connection) + connection->handler->every_ms * NS_PER_MS;
    }
    connection->behind_gather = next;
    connection->phase = connection->handler->gather ? PHASE_GATHER : next;
}

static void step_here(struct connection *connection,
                      enum control_step (*step)(struct control_call *), enum phase next)
{
    connection->stepped = step ? step(&connection->call) : CONTROL_DONE;
    connection->waiting = connection->stepped == CONTROL_WAIT;
    if (connection->stepped == CONTROL_DONE)
        connection->phase = next;
}

static void end_call(struct connection *connection);

static void step(struct connection *connection)
{
    const struct control_handler *handler = connection->handler;
    connection->stepped = CONTROL_DONE;
    if (connection->call.status != CALL_DONE)
        connection->phase = PHASE_END;
    switch (connection->phase) {
    case PHASE_BEGIN:
        step_here(connection, handler->begin,
                  handler->visit ? PHASE_VISIT : phase_behind_visits(connection));
        return;
    case PHASE_VISIT:
        start_visit(connection);
        return;
    case PHASE_GATHER:
        step_here(connection, handler->gather, connection->behind_gather);
        return;
    case PHASE_PAUSE:
        if (now_of(connection) >= connection->due_ns)
            connection->phase = PHASE_VISIT;
        return;
    case PHASE_FINISH:
        step_here(connection, handler->finish, PHASE_END);
        return;
    default:
        put_end(connection);
        end_call(connection);
    }
}

static bool running(const struct connection *connection)
{
    return connection->phase >= PHASE_BEGIN;
}

/* ---- calls ---- */

static void free_call(struct connection *connection)
{
    struct control_call *call = &connection->call;
    if (connection->handler && connection->handler->end)
        connection->handler->end(call);
    free(call->state);
    call->state = NULL;
    connection->handler = NULL;
}

/* The END frame is written: ready for the next call. */
static void end_call(struct connection *connection)
{
    free_call(connection);
    connection->server->calls++;
    connection->input_len -= connection->call_len;
    memmove(connection->input, connection->input + connection->call_len, connection->input_len);
    connection->call_len = 0;
    connection->phase = PHASE_IDLE;
}

static bool is_handler_of(const struct control_handler *handler, const struct command *command)
{
    if (strcmp(handler->noun, command->noun) != 0 || !handler->verb != !command->verb)
        return false;
    return !handler->verb || strcmp(handler->verb, command->verb) == 0;
}

static const struct control_handler *find_handler(const struct control_server *server,
                                                  const struct command *command)
{
    for (unsigned i = 0; server->options.families[i]; i++)
        for (const struct control_handler *handler = server->options.families[i]; handler->noun;
             handler++)
            if (is_handler_of(handler, command))
                return handler;
    return NULL;
}

static void refuse_call(struct connection *connection, enum call_status status, const char *text)
{
    struct control_call *call = &connection->call;
    call->status = status;
    if (text)
        snprintf(call->error, sizeof call->error, "%s", text);
    connection->phase = PHASE_END;
}

static void begin_call(struct connection *connection, struct span payload)
{
    struct control_call *call = &connection->call;
    struct sink error;
    sink_init(&error, call->error, sizeof call->error - 1);
    bool fine = call_read(payload, &call->command, &call->values, &error);
    call->error[error.len] = '\0';
    if (!fine) {
        refuse_call(connection, CALL_WRONG, NULL);
        return;
    }
    const struct control_handler *handler = find_handler(connection->server, call->command);
    if (!handler) {
        refuse_call(connection, CALL_WRONG, "this command is not the daemon's");
        return;
    }
    call->state = handler->state_size ? calloc(1, handler->state_size) : NULL;
    if (handler->state_size && !call->state) {
        refuse_call(connection, CALL_FAILED, "no memory");
        return;
    }
    connection->handler = handler;
    connection->phase = PHASE_BEGIN;
}

static void read_hello(struct connection *connection, const struct frame *frame)
{
    unsigned version;
    if (frame->type != FRAME_HELLO || !hello_read(frame->payload, &version)) {
        conn_abort(&connection->conn);
        return;
    }
    hello_put(&connection->call.out);
    connection->close_after = version != CONTROL_VERSION;
    connection->phase = PHASE_IDLE;
}

static void take_frame(struct connection *connection, const struct frame *frame, size_t len)
{
    struct control_call *call = &connection->call;
    if (connection->phase == PHASE_GREETING) {
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
    connection->waiting = false;
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
    free_call(connection);
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
    if (!connection->visiting)
        free_connection(connection);
    report_stopped(server);
}

static void on_returned(struct op *op)
{
    struct connection *connection = container_of(op, struct connection, returned);
    connection->visiting = false;
    if (connection->gone) {
        free_connection(connection);
        return;
    }
    visit_is_back(connection);
    conn_wake(&connection->conn);
}

static void on_timer(struct op *op)
{
    conn_wake(&container_of(op, struct connection, timer.op)->conn);
}

/* A worker has not come back: it has the call and its output, so nothing can be said. */
static bool worker_is_lost(const struct connection *connection)
{
    return connection->visiting && now_of(connection) >= connection->due_ns;
}

static bool can_step(const struct connection *connection)
{
    if (!running(connection) || connection->visiting || connection->waiting)
        return false;
    return connection->phase != PHASE_PAUSE || now_of(connection) >= connection->due_ns;
}

/* What was written goes out when the step asks for room, when nothing happens for a while, and at
 * the end of a call. */
static bool output_is_ready(const struct connection *connection)
{
    if (connection->visiting || connection->call.out.len == 0)
        return false;
    return !can_step(connection) || connection->stepped == CONTROL_MORE;
}

static bool pulse_is_due(const struct connection *connection)
{
    return running(connection) && !connection->visiting && connection->call.out.len == 0 &&
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
    if (connection->visiting ||
        (connection->phase == PHASE_PAUSE && connection->due_ns < connection->pulse_ns))
        at_ns = connection->due_ns;
    timer_arm(&loop_of(connection)->timers, &connection->timer, at_ns);
}

static void work(struct connection *connection)
{
    bool more = false;
    if (!running(connection))
        more = !connection->close_after && read_frame(connection);
    else if (!output_is_ready(connection) && can_step(connection))
        step(connection);
    if (pulse_is_due(connection))
        put_pulse(connection);
    if (connection->conn.state != CONN_OPEN)
        return;
    if (output_is_ready(connection)) {
        send_output(connection);
        return;
    }
    if (more || can_step(connection))
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
    if (events & (CONN_ERROR | CONN_EOF | CONN_TIMEOUT) || worker_is_lost(connection)) {
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
    connection->call.owner = server->options.owner;
    connection->call.user = io_peer_user(server->loop->io, fd);
    op_init(&connection->visit, on_visit);
    op_init(&connection->returned, on_returned);
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
