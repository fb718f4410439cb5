/* Ciphertext goes through blocks that are borrowed from the loop: one for what is sealed and on its
 * way out, one for what was opened and not read yet. Both go back as soon as they are empty.
 *
 * The owner's send is sealed a record at a time, each sent before the next is made: the kernel
 * holds one block, and a peer that does not read holds us there. Pieces that are small are put
 * together first, since each record costs an own seal and 22 octets or more.
 *
 * Failure modes: no memory for a block fails the conn. What the library wants to say of its own
 * (alerts, the answer to a key update) goes out with the next block. */
#include "core/conn_private.h"

#include <errno.h>
#include <stdlib.h>

struct conn_tls {
    struct tls *tls;
    struct conn_block *sealed, *opened; /* NULL: nothing there */
    struct msghdr message;              /* of the send in flight */
    struct iovec iov;
    struct tls_facts facts;
    bool handshaking, failed, end_said, secured;
};

enum {
    SMALL_PIECE = 4096,
    SHAKES_PER_TURN = 8, /* handshakes that may go on in a turn: one costs up to a millisecond */
};

static struct conn_block *take_block(struct conn *conn, struct conn_block **place)
{
    if (*place)
        return *place;
    *place = pool_take(&conn->loop->blocks);
    if (*place)
        (*place)->at = (*place)->len = 0;
    return *place;
}

static void give_block(struct conn *conn, struct conn_block **place)
{
    if (*place)
        pool_give(&conn->loop->blocks, *place);
    *place = NULL;
}

/* ---- sending ---- */

/* The room behind what is sealed, as the sink of one call; `close_sealed` takes what it wrote. */
static bool open_sealed(struct conn *conn, struct sink *ret_sink)
{
    struct conn_block *block = take_block(conn, &conn->tls->sealed);
    if (!block)
        return false;
    sink_init(ret_sink, block->data + block->len, sizeof block->data - block->len);
    return true;
}

static void close_sealed(struct conn *conn, const struct sink *sink)
{
    struct conn_tls *layer = conn->tls;
    layer->sealed->len += (uint32_t)sink->len;
    if (layer->sealed->at == layer->sealed->len)
        give_block(conn, &layer->sealed);
}

static void send_sealed(struct conn *conn)
{
    struct conn_tls *layer = conn->tls;
    struct conn_block *block = layer->sealed;
    if (!block || !op_idle(&conn->send) || conn->fd < 0)
        return;
    layer->iov = (struct iovec){block->data + block->at, block->len - block->at};
    layer->message = (struct msghdr){.msg_iov = &layer->iov, .msg_iovlen = 1};
    io_send(conn->loop->io, &conn->send, conn->fd, &layer->message);
}

/* The next plain octets of the owner's send: a large piece where it lies, small ones put together
 * in `scratch`. Only looks. */
static struct span next_plain(const struct msghdr *message, struct conn_block *scratch)
{
    const struct iovec *first = message->msg_iov;
    if (message->msg_iovlen == 1 || first->iov_len >= SMALL_PIECE)
        return span_of(first->iov_base, first->iov_len);
    struct sink sink;
    sink_init(&sink, scratch->data, TLS_RECORD);
    for (size_t i = 0; i < message->msg_iovlen && sink.len < sink.capacity; i++) {
        struct span piece = span_of(first[i].iov_base, first[i].iov_len);
        sink_put(&sink, span_first(piece, sink.capacity - sink.len));
    }
    return sink_span(&sink);
}

static enum tls_result seal_into(struct conn *conn, struct conn_block *scratch, struct sink *sink)
{
    struct msghdr *message = &conn->sending->message;
    enum tls_result result = TLS_DONE;
    while (message->msg_iovlen && result == TLS_DONE) {
        struct span plain = next_plain(message, scratch);
        size_t before = plain.len;
        result = tls_write(conn->tls->tls, &plain, sink);
        conn_skip_sent(message, before - plain.len);
    }
    return result;
}

/* Seals what the block has room for. False: the session is broken, or no memory. */
static bool seal(struct conn *conn)
{
    struct conn_block *scratch = NULL;
    struct sink sink;
    enum tls_result result = TLS_FAILED;
    if (take_block(conn, &scratch) && open_sealed(conn, &sink)) {
        result = seal_into(conn, scratch, &sink);
        close_sealed(conn, &sink);
    }
    give_block(conn, &scratch);
    return result != TLS_FAILED;
}

void conn_tls_send(struct conn *conn)
{
    if (!op_idle(&conn->send))
        return; /* an answer of the library's own is on its way: conn_tls_sent goes on */
    if (conn->sending && !seal(conn)) {
        conn_fail(conn, EPROTO);
        conn_send_finished(conn);
    }
    send_sealed(conn);
}

static void note_sent(struct conn_tls *layer, struct conn *conn, uint32_t count)
{
    conn->bytes_out += count;
    layer->sealed->at += count;
    if (layer->sealed->at == layer->sealed->len)
        give_block(conn, &layer->sealed);
}

/* Everything is sent that was sealed. */
static void block_is_out(struct conn *conn)
{
    bool done = !conn->sending || conn->sending->message.msg_iovlen == 0;
    if (!done) {
        conn_tls_send(conn);
        return;
    }
    if (conn->sending)
        conn_send_finished(conn);
    if (conn->tls->failed)
        conn_fail(conn, EPROTO);
    if (conn->tls->handshaking || conn->state == CONN_CLOSING)
        conn_nudge(conn, 0);
}

void conn_tls_sent(struct conn *conn, int32_t result)
{
    if (result >= 0)
        note_sent(conn->tls, conn, (uint32_t)result);
    else if (result != -ECANCELED)
        conn_fail(conn, -result);
    if (result < 0 || conn->aborted) {
        if (conn->sending)
            conn_send_finished(conn);
        conn_nudge(conn, 0);
    } else if (conn->tls->sealed) {
        send_sealed(conn);
    } else {
        block_is_out(conn);
    }
}

/* ---- receiving ---- */

/* The owner is told when the alert has left: it will close at once. */
static void failed(struct conn *conn)
{
    conn->tls->failed = true;
    conn->tls->handshaking = false;
    conn->ended = true;
    conn_drop_received(conn);
    conn_steer_receive(conn);
    send_sealed(conn);
    if (op_idle(&conn->send))
        conn_fail(conn, EPROTO);
}

static void said_end(struct conn *conn)
{
    conn->eof = true;
    conn_drop_received(conn);
    conn_nudge(conn, CONN_EOF);
}

/* Opens what was received until there are plain octets, or all of it is consumed. */
static enum tls_result open_some(struct conn *conn, struct conn_block *block)
{
    struct conn_tls *layer = conn->tls;
    enum tls_result result = TLS_MORE_INPUT;
    struct sink sink;
    if (!open_sealed(conn, &sink))
        return TLS_FAILED;
    do {
        struct span input = conn_received(conn);
        size_t before = input.len, len = 0;
        result = tls_read(layer->tls, &input, &sink, block->data, sizeof block->data, &len);
        conn_take_received(conn, before - input.len);
        block->len = (uint32_t)len;
    } while (result == TLS_MORE_INPUT && conn->lent_count > 0);
    close_sealed(conn, &sink);
    return result;
}

bool conn_tls_has_plain(const struct conn *conn)
{
    return conn->tls->opened != NULL;
}

struct span conn_tls_input(struct conn *conn)
{
    struct conn_tls *layer = conn->tls;
    if (layer->opened)
        return span_of(layer->opened->data + layer->opened->at,
                       layer->opened->len - layer->opened->at);
    if (layer->handshaking || layer->failed || conn->lent_count == 0)
        return SPAN("");
    struct conn_block *block = take_block(conn, &layer->opened);
    enum tls_result result = block ? open_some(conn, block) : TLS_FAILED;
    if (result == TLS_DONE)
        return span_of(block->data, block->len);
    give_block(conn, &layer->opened);
    if (result == TLS_ENDED)
        said_end(conn);
    else if (result == TLS_FAILED)
        failed(conn);
    return SPAN("");
}

void conn_tls_consume(struct conn *conn, size_t count)
{
    struct conn_tls *layer = conn->tls;
    check(count == 0 || layer->opened);
    if (count == 0)
        return;
    check(count <= layer->opened->len - layer->opened->at);
    layer->opened->at += (uint32_t)count;
    if (layer->opened->at == layer->opened->len)
        give_block(conn, &layer->opened);
}

/* ---- the handshake ---- */

bool conn_start_tls(struct conn *conn, struct tls *tls, uint64_t deadline_ns)
{
    check(conn->state == CONN_OPEN && !conn->sending && !conn->tls);
    struct conn_tls *layer = tls ? calloc(1, sizeof *layer) : NULL;
    if (!layer) {
        tls_free(tls);
        return false;
    }
    layer->tls = tls;
    layer->handshaking = true;
    conn->tls = layer;
    conn_deadline(conn, deadline_ns);
    conn_nudge(conn, 0);
    return true;
}

static enum tls_result shake(struct conn *conn)
{
    enum tls_result result;
    struct sink sink;
    if (!open_sealed(conn, &sink))
        return TLS_FAILED;
    do {
        struct span input = conn_received(conn);
        size_t before = input.len;
        result = tls_handshake(conn->tls->tls, &input, &sink);
        conn_take_received(conn, before - input.len);
    } while (result == TLS_MORE_INPUT && conn->lent_count > 0);
    close_sealed(conn, &sink);
    return result;
}

/* A flood of handshakes must not keep the worker from its other connections. */
static bool takes_turn(struct loop *loop)
{
    if (loop->shakes_turn != loop->turns)
        loop->shakes = 0;
    loop->shakes_turn = loop->turns;
    return loop->shakes++ < SHAKES_PER_TURN;
}

static void go_on(struct conn *conn)
{
    enum tls_result result = shake(conn);
    if (result == TLS_FAILED) {
        failed(conn);
        return;
    }
    send_sealed(conn);
    if (result != TLS_DONE)
        return;
    conn->tls->handshaking = false;
    conn->tls->secured = true;
    tls_facts(conn->tls->tls, &conn->tls->facts);
    conn->events |= CONN_SECURED;
}

bool conn_tls_handshake(struct conn *conn)
{
    if (!conn->error && takes_turn(conn->loop))
        go_on(conn);
    else if (!conn->error)
        conn_nudge(conn, 0); /* in a later turn */
    return conn->events != 0;
}

bool conn_handshaking(const struct conn *conn)
{
    return conn->tls && conn->tls->handshaking;
}

struct tls *conn_session(const struct conn *conn)
{
    return conn->tls ? conn->tls->tls : NULL;
}

const struct tls_facts *conn_facts(const struct conn *conn)
{
    return conn->tls && conn->tls->secured ? &conn->tls->facts : NULL;
}

/* ---- the end ---- */

void conn_tls_end(struct conn *conn)
{
    struct conn_tls *layer = conn->tls;
    struct sink sink;
    if (layer->handshaking || layer->failed || layer->end_said || conn->sending)
        return; /* conn_tls_sent comes back here */
    layer->end_said = true;
    if (!open_sealed(conn, &sink))
        return;
    tls_end(layer->tls, &sink);
    close_sealed(conn, &sink);
    send_sealed(conn);
}

void conn_tls_release(struct conn *conn)
{
    if (!conn->tls)
        return;
    give_block(conn, &conn->tls->sealed);
    give_block(conn, &conn->tls->opened);
}

void conn_tls_free(struct conn_tls *layer)
{
    if (!layer)
        return;
    tls_free(layer->tls);
    free(layer);
}
