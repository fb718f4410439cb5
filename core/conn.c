/* Completions record into `events` and nudge `wake`; on_wake is the one place that calls the owner,
 * or, while closing, takes the next step (close_step). Starting and cancelling the receive follows
 * from the state alone (steer_receive), so it can be asked after any change. */
#include "core/conn_private.h"

#include "core/clock.h"

#include <errno.h>

void conn_nudge(struct conn *conn, unsigned events)
{
    conn->events |= (uint16_t)events;
    loop_nudge(conn->loop, &conn->wake);
}

void conn_fail(struct conn *conn, int error)
{
    if (conn->error == 0)
        conn->error = error;
    conn_nudge(conn, CONN_ERROR);
}

/* ---- lent buffers: a chain through loop->lent ---- */

static void lend(struct conn *conn, uint16_t buffer, uint32_t len)
{
    struct loop_lent *lent = conn->loop->lent;
    lent[buffer].len = len;
    if (conn->lent_count++ == 0) {
        conn->lent_first = buffer;
        conn->lent_at = 0;
    } else {
        lent[conn->lent_last].next = buffer;
    }
    conn->lent_last = buffer;
    if (conn->lent_count >= CONN_LENT)
        conn->full = true;
}

static void give_back_first(struct conn *conn)
{
    uint16_t buffer = conn->lent_first;
    conn->lent_first = conn->loop->lent[buffer].next;
    conn->lent_at = 0;
    conn->lent_count--;
    if (conn->lent_count <= CONN_LENT / 2)
        conn->full = false;
    io_buffer_return(conn->loop->io, buffer);
}

void conn_drop_received(struct conn *conn)
{
    while (conn->lent_count)
        give_back_first(conn);
}

/* ---- receiving ---- */

static bool wants_input(const struct conn *conn)
{
    if (conn->ended)
        return false;
    if (conn->state == CONN_CLOSING)
        return !conn->aborted;
    return conn->state == CONN_OPEN && !conn->full;
}

void conn_steer_receive(struct conn *conn)
{
    bool wanted = wants_input(conn);
    if (wanted && op_idle(&conn->receive))
        io_receive(conn->loop->io, &conn->receive, conn->fd, conn->group);
    else if (!wanted)
        io_cancel(conn->loop->io, &conn->receive);
}

static void take_input(struct conn *conn, uint16_t buffer, uint32_t len)
{
    conn->bytes_in += len;
    if (conn->state != CONN_CLOSING) {
        lend(conn, buffer, len);
        return;
    }
    io_buffer_return(conn->loop->io, buffer);
    conn->drained += len;
    if (conn->drained > CONN_DRAIN)
        conn->aborted = true;
}

static void on_receive(struct op *op)
{
    struct conn *conn = container_of(op, struct conn, receive);
    if (op->result > 0) {
        take_input(conn, op->buffer, (uint32_t)op->result);
    } else if (op->result == 0) {
        conn->eof = conn->ended = true;
        conn_nudge(conn, CONN_EOF);
    } else if (op->result != -ECANCELED) {
        conn->ended = true;
        conn_fail(conn, -op->result);
    }
    if (conn->state == CONN_CLOSING || (op->result > 0 && !conn->paused))
        conn_nudge(conn, 0);
    conn_steer_receive(conn);
}

struct span conn_received(struct conn *conn)
{
    if (conn->lent_count == 0)
        return SPAN("");
    uint16_t buffer = conn->lent_first;
    struct span whole = span_of(io_buffer(conn->loop->io, buffer), conn->loop->lent[buffer].len);
    return span_skip(whole, conn->lent_at);
}

void conn_take_received(struct conn *conn, size_t count)
{
    check(count == 0 || conn->lent_count > 0);
    if (count == 0)
        return;
    check(count <= conn->loop->lent[conn->lent_first].len - conn->lent_at);
    conn->lent_at += (uint32_t)count;
    if (conn->lent_at == conn->loop->lent[conn->lent_first].len)
        give_back_first(conn);
    conn_steer_receive(conn);
}

struct span conn_input(struct conn *conn)
{
    return conn->tls ? conn_tls_input(conn) : conn_received(conn);
}

void conn_consume(struct conn *conn, size_t count)
{
    if (conn->tls)
        conn_tls_consume(conn, count);
    else
        conn_take_received(conn, count);
}

static bool has_input(const struct conn *conn)
{
    return conn->lent_count > 0 || (conn->tls && conn_tls_has_plain(conn));
}

void conn_pause(struct conn *conn)
{
    conn->paused = true;
}

void conn_resume(struct conn *conn)
{
    if (!conn->paused)
        return;
    conn->paused = false;
    if (has_input(conn) && conn->state == CONN_OPEN)
        conn_nudge(conn, 0);
}

/* ---- sending ---- */

void conn_send_finished(struct conn *conn)
{
    pool_give(&conn->loop->sends, conn->sending);
    conn->sending = NULL;
    conn_nudge(conn, CONN_SENT);
}

void conn_skip_sent(struct msghdr *message, size_t count)
{
    while (message->msg_iovlen && count >= message->msg_iov->iov_len) {
        count -= message->msg_iov->iov_len;
        message->msg_iov++;
        message->msg_iovlen--;
    }
    if (count) {
        message->msg_iov->iov_base = (char *)message->msg_iov->iov_base + count;
        message->msg_iov->iov_len -= count;
    }
}

static void on_send(struct op *op)
{
    struct conn *conn = container_of(op, struct conn, send);
    if (conn->tls) {
        conn_tls_sent(conn, op->result);
        return;
    }
    struct msghdr *message = &conn->sending->message;
    if (op->result >= 0) {
        conn->bytes_out += (uint64_t)op->result;
        conn_skip_sent(message, (size_t)op->result);
        if (message->msg_iovlen && !conn->aborted) {
            io_send(conn->loop->io, &conn->send, conn->fd, message);
            return;
        }
    } else if (op->result != -ECANCELED) {
        conn_fail(conn, -op->result);
    }
    conn_send_finished(conn);
}

bool conn_send(struct conn *conn, const struct iovec *iov, unsigned count)
{
    check(conn->state == CONN_OPEN && !conn->sending && count <= CONN_IOV);
    check(!conn_handshaking(conn));
    struct conn_send *sending = pool_take(&conn->loop->sends);
    if (!sending)
        return false;
    memcpy(sending->iov, iov, count * sizeof *iov);
    sending->message = (struct msghdr){.msg_iov = sending->iov, .msg_iovlen = count};
    conn_skip_sent(&sending->message, 0); /* empty pieces at the front */
    conn->sending = sending;
    if (conn->error || sending->message.msg_iovlen == 0)
        conn_send_finished(conn);
    else if (conn->tls)
        conn_tls_send(conn);
    else
        io_send(conn->loop->io, &conn->send, conn->fd, &sending->message);
    return true;
}

/* ---- opening ---- */

static void on_wake(struct op *op);
static void on_control(struct op *op);
static void on_deadline(struct op *op);

static void init(struct conn *conn, struct loop *loop, conn_advance *advance, uint64_t deadline_ns)
{
    struct address peer = conn->peer;
    *conn = (struct conn){.loop = loop, .advance = advance, .fd = -1, .peer = peer};
    op_init(&conn->wake, on_wake);
    op_init(&conn->receive, on_receive);
    op_init(&conn->send, on_send);
    op_init(&conn->control, on_control);
    timer_init(&conn->deadline, on_deadline);
    conn_deadline(conn, deadline_ns);
}

void conn_open(struct conn *conn, struct loop *loop, int fd, conn_advance *advance,
               uint64_t deadline_ns)
{
    init(conn, loop, advance, deadline_ns);
    conn->fd = fd;
    conn->group = IO_INBOUND;
    conn->state = CONN_OPEN;
    conn_steer_receive(conn);
}

static void connected(struct conn *conn, int result)
{
    conn->state = CONN_OPEN;
    if (result < 0) {
        conn->ended = true;
        conn_fail(conn, -result);
        return;
    }
    conn_nudge(conn, CONN_CONNECTED);
    conn_steer_receive(conn);
}

void conn_connect(struct conn *conn, struct loop *loop, const struct address *to,
                  const struct address *source, conn_advance *advance, uint64_t deadline_ns)
{
    init(conn, loop, advance, deadline_ns);
    conn->peer = *to;
    conn->group = IO_OUTBOUND;
    int fd = io_socket(loop->io, to->family, source);
    if (fd < 0) {
        connected(conn, fd);
        return;
    }
    conn->fd = fd;
    conn->state = CONN_CONNECTING;
    io_connect(loop->io, &conn->control, fd, &conn->peer);
}

/* The end of a connect, or of a step of closing. */
static void on_control(struct op *op)
{
    struct conn *conn = container_of(op, struct conn, control);
    if (conn->state == CONN_CONNECTING) {
        connected(conn, op->result);
        return;
    }
    if (op->result < 0)
        conn->aborted = true; /* the shutdown failed: nobody is there any more */
    conn_nudge(conn, 0);
}

/* ---- owner's questions ---- */

unsigned conn_events(struct conn *conn)
{
    if (conn->state == CONN_GONE)
        return CONN_CLOSED;
    unsigned events = conn->events;
    conn->events = 0;
    if (has_input(conn) && !conn_handshaking(conn))
        events |= CONN_INPUT;
    if (conn->eof)
        events |= CONN_EOF;
    if (conn->error)
        events |= CONN_ERROR;
    return events;
}

void conn_deadline(struct conn *conn, uint64_t deadline_ns)
{
    if (conn->state != CONN_CLOSING && conn->state != CONN_GONE)
        timer_arm(&conn->loop->timers, &conn->deadline, deadline_ns);
}

void conn_wake(struct conn *conn)
{
    check(conn->state != CONN_GONE);
    conn_nudge(conn, CONN_WOKEN);
}

/* ---- closing ---- */

static void on_deadline(struct op *op)
{
    struct conn *conn = container_of(op, struct conn, deadline.op);
    if (conn->state == CONN_CLOSING)
        conn->aborted = true;
    conn_nudge(conn, CONN_TIMEOUT);
}

static void cancel_all(struct conn *conn)
{
    io_cancel(conn->loop->io, &conn->receive);
    io_cancel(conn->loop->io, &conn->send);
    if (conn->fd >= 0) /* else it is the close itself */
        io_cancel(conn->loop->io, &conn->control);
}

static bool in_flight(const struct conn *conn)
{
    return !op_idle(&conn->receive) || !op_idle(&conn->send) || !op_idle(&conn->control);
}

static void gone(struct conn *conn)
{
    struct conn_tls *tls = conn->tls;
    conn_tls_release(conn);
    loop_disarm(conn->loop, &conn->deadline);
    conn->state = CONN_GONE;
    conn->advance(conn); /* may free the conn */
    conn_tls_free(tls);
}

/* The next step towards CONN_GONE, as far as it can be taken now. */
static void close_step(struct conn *conn)
{
    bool over = conn->aborted || conn->ended || conn->error;
    conn_drop_received(conn);
    if (conn->aborted)
        cancel_all(conn);
    if (conn->tls && !over)
        conn_tls_end(conn);
    if (!op_idle(&conn->send) || !op_idle(&conn->control))
        return;
    if (!over && !conn->shut) {
        conn->shut = true;
        io_shutdown(conn->loop->io, &conn->control, conn->fd);
    }
    conn_steer_receive(conn);
    if (!over || in_flight(conn))
        return;
    if (conn->fd < 0) {
        gone(conn);
        return;
    }
    io_close(conn->loop->io, &conn->control, conn->fd);
    conn->fd = -1;
}

static void begin_closing(struct conn *conn, bool abort)
{
    if (conn->state == CONN_NONE || conn->state == CONN_GONE)
        return;
    if (conn->state != CONN_CLOSING) {
        conn->aborted = conn->state == CONN_CONNECTING;
        conn->state = CONN_CLOSING;
        loop_arm(conn->loop, &conn->deadline, CONN_CLOSE_MS * NS_PER_MS);
    }
    conn->aborted |= abort;
    conn_nudge(conn, 0);
}

void conn_close(struct conn *conn)
{
    begin_closing(conn, false);
}

void conn_abort(struct conn *conn)
{
    begin_closing(conn, true);
}

static void on_wake(struct op *op)
{
    struct conn *conn = container_of(op, struct conn, wake);
    if (conn->state == CONN_CLOSING) {
        close_step(conn);
        return;
    }
    if (conn_handshaking(conn) && !conn_tls_handshake(conn))
        return; /* nothing to tell yet */
    conn->advance(conn);
    if (conn->state != CONN_CLOSING && !timer_armed(&conn->deadline))
        loop_arm(conn->loop, &conn->deadline, CONN_CLOSE_MS * NS_PER_MS);
}
