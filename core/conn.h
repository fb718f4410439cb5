/* conn: one byte stream between a socket and the object that speaks a protocol over it.
 *
 * Owner's view: conn_open or conn_connect, then a single function `advance(conn)` is called from
 * dispatch, at most once per turn, whenever something happened. It looks at conn_events(), reads
 * with conn_input/conn_consume, answers with conn_send, says how long it is ready to wait with
 * conn_deadline, and returns. It never waits and is never called from inside its own calls.
 *
 *     CONNECTING --ok--> OPEN --conn_close--> CLOSING --in_flight == 0--> CLOSED (event, once)
 *          \--fail----> OPEN with CONN_ERROR              memory is the owner's again
 *
 * A deadline always runs while a conn exists: open and connect take the first one, conn_deadline
 * moves it. When it passes, CONN_TIMEOUT is set; the owner decides (a reply, then conn_close). An
 * owner that does not decide is asked again after CONN_CLOSE_MS.
 *
 * Input stays in the ring's lent buffers; from CONN_LENT of them on receiving stops until the owner
 * has consumed half (back-pressure reaches the peer as a closed window). An idle conn holds none.
 * Output: one send in flight; its bytes are the sender's until CONN_SENT.
 *
 * Closing lets the send finish, ends our direction and reads (and drops) what still comes until the
 * peer ends too: closing over unread bytes would send a reset, and that can destroy our last reply
 * before the peer has read it. CONN_CLOSE_MS or CONN_DRAIN bytes end the patience. The receive is
 * cancelled before the close, else no FIN leaves. A peer's reset and a peer's close both end as
 * CONN_EOF or CONN_ERROR, never in a log.
 *
 * TLS is a layer that a conn puts on when told to (conn_start_tls), at once for implicit TLS, or
 * after the protocol's own word (STARTTLS, STLS). From then on everything above means plain octets:
 * conn_input gives them, conn_send takes them, CONN_SENT says that they have been sealed and sent.
 *
 *     conn_start_tls --> handshake --ok--> CONN_SECURED, once
 *                            \--fails--> CONN_ERROR (EPROTO), CONN_EOF or CONN_TIMEOUT
 *
 * During the handshake there is no input and nothing may be sent; the owner hears only how it
 * ended. The peer's close_notify is CONN_EOF, whatever the protocol was doing; so is a bare close.
 * Closing says close_notify behind the last send. Plain octets that the owner leaves unread are
 * held in one block of 16 KB; the ciphertext behind them stays in the lent buffers, so
 * back-pressure is the same. An idle conn with TLS holds its session and nothing else. */
#pragma once

#include "core/loop.h"
#include "core/tls.h"

enum { CONN_LENT = 8, CONN_IOV = 64, CONN_CLOSE_MS = 5000, CONN_DRAIN = 1 << 20 };

/* INPUT, EOF and ERROR describe the present and are told again each time; the others are news. */
enum conn_event {
    CONN_CONNECTED = 1 << 0, /* outbound connect succeeded */
    CONN_INPUT = 1 << 1,     /* unread bytes are there */
    CONN_SENT = 1 << 2,      /* the send is finished; conn_sending is false */
    CONN_EOF = 1 << 3,       /* the peer will send no more (unread input may remain) */
    CONN_ERROR = 1 << 4,     /* conn->error: connect, receive or send failed; after a failed send
                              * the peer's last words may still come as input */
    CONN_TIMEOUT = 1 << 5,   /* the deadline passed */
    CONN_CLOSED = 1 << 6,    /* last event, alone: the owner may free itself */
    CONN_WOKEN = 1 << 7,     /* conn_wake: the owner asked for an advance */
    CONN_SECURED = 1 << 8,   /* the TLS handshake is done: conn_facts */
};

enum conn_state { CONN_NONE, CONN_CONNECTING, CONN_OPEN, CONN_CLOSING, CONN_GONE };

struct conn;
typedef void conn_advance(struct conn *conn);

/* The send in flight, from the worker's pool. Private. */
struct conn_send {
    struct msghdr message; /* what is still to send of `iov` */
    struct iovec iov[CONN_IOV];
};

/* Octets on their way through TLS, from the worker's pool. Private. */
struct conn_block {
    uint32_t at, len; /* [at, len) of data is still to be sent, or read */
    char data[TLS_ROOM];
};

struct conn_tls; /* conn_tls.c */

struct conn {
    struct loop *loop;
    conn_advance *advance;
    struct op wake, receive, send, control; /* control: connect, shutdown, close */
    struct timer deadline;
    struct conn_send *sending;
    struct conn_tls *tls; /* NULL: plain */
    int fd;
    int error; /* positive errno */
    uint16_t events;
    uint8_t state;
    uint8_t group; /* enum io_group */
    bool eof, paused;
    bool ended;         /* nothing more will be received */
    bool full;          /* CONN_LENT was reached */
    bool shut, aborted; /* how far closing is */
    uint16_t lent_first, lent_last, lent_count;
    uint32_t lent_at; /* consumed of the first */
    uint32_t drained;
    uint64_t bytes_in, bytes_out;
    struct address peer;
};

/* Takes over a connected descriptor. `advance` first runs when input, an error or the deadline
 * comes, or after conn_wake. `conn->peer` is the caller's to fill. */
void conn_open(struct conn *conn, struct loop *loop, int fd, conn_advance *advance,
               uint64_t deadline_ns);

/* Connects. Failures (also of the socket call) arrive as CONN_ERROR. */
void conn_connect(struct conn *conn, struct loop *loop, const struct address *to,
                  const struct address *source, conn_advance *advance, uint64_t deadline_ns);

/* The events since the last call; clears them. */
unsigned conn_events(struct conn *conn);

/* Moves the deadline (absolute, monotonic). */
void conn_deadline(struct conn *conn, uint64_t deadline_ns);

/* The next unread bytes (one lent buffer's worth; empty: none). Borrowed until conn_consume. */
struct span conn_input(struct conn *conn);
void conn_consume(struct conn *conn, size_t count);

/* Input alone causes no advance until conn_resume (waiting for a commit, say). Receiving goes on up
 * to CONN_LENT, so that a short pause costs no cancel, and the peer's end is still noticed. */
void conn_pause(struct conn *conn);
void conn_resume(struct conn *conn);

/* Sends all of it (short sends are continued). At most CONN_IOV pieces; a send must not be in
 * flight. False: no memory for the iovecs, nothing was started. */
MUST_USE bool conn_send(struct conn *conn, const struct iovec *iov, unsigned count);
static inline bool conn_sending(const struct conn *conn)
{
    return conn->sending != NULL;
}

/* Puts TLS on: `tls` (from tls_new_*) is the conn's from now on, also if this fails. No send may be
 * in flight; what has been received and not consumed is the peer's part of the handshake, so the
 * owner of a protocol with STARTTLS has made sure that nothing is there. The handshake ends by
 * `deadline_ns`, which the owner does not move meanwhile. False: no memory; nothing else is left
 * than closing. */
MUST_USE bool conn_start_tls(struct conn *conn, struct tls *tls, uint64_t deadline_ns);
bool conn_handshaking(const struct conn *conn);

/* The session, for tls_take_session and tls_put_trouble; NULL: plain. The conn's, until
 * CONN_CLOSED (included). */
struct tls *conn_session(const struct conn *conn);

/* After CONN_SECURED; as long as the session. NULL: plain, or not yet. */
const struct tls_facts *conn_facts(const struct conn *conn);

/* Asks for an advance in the next dispatch, with CONN_WOKEN. */
void conn_wake(struct conn *conn);

/* Ends the conn as told above; unread input is dropped. Idempotent. CONN_CLOSED comes last and is
 * the only advance after this. conn_abort cancels everything, the send too, and closes at once. */
void conn_close(struct conn *conn);
void conn_abort(struct conn *conn);
