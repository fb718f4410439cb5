/* io: everything that a worker asks of the kernel, as ops. Replaced at link time by the simulator.
 *
 * The real one (ring.c) is one io_uring per loop (SINGLE_ISSUER, DEFER_TASKRUN); no SQE is written
 * anywhere else. The simulated one (tests/sim) is a virtual network, file system and scheduler.
 * File descriptors are plain ints in both; only this header creates, uses and closes them.
 *
 * What is in flight is borrowed: sockets, buffers and iovecs given to an op must stay until it is
 * done. A submission queue that is full is submitted and tried again, so starting never fails:
 * every failure arrives as the op's result. Deadlines are not here: conn.h, the resolver and the
 * journal put one on every wait they start.
 *
 * Results stay in the completion ring until the loop asks for them one by one (io_next), so several
 * results of one multishot op are dispatched in order and need no memory of their own.
 *
 * Threads: io_new and what is started before the first io_turn may happen in another thread; the
 * thread of the first io_turn owns the ring from then on (starting more than `entries` ops before
 * it also decides). io_wake may be called by any thread; io_free when the owner is done. */
#pragma once

#include "core/address.h"
#include "core/op.h"

#include <sys/uio.h>

struct io;

/* Receive buffers come from two groups, one for what strangers send us and one for the replies to
 * what we send: with one group for both, an inbound flood keeps the deliveries that would free the
 * memory from hearing their replies. The second has as many buffers of a quarter of the size. */
enum io_group { IO_INBOUND, IO_OUTBOUND, IO_GROUPS };

struct io_options {
    unsigned entries;       /* submission queue entries, a power of two */
    unsigned buffers;       /* lent receive buffers in a group, a power of two, at most 32768 */
    unsigned buffer_size;   /* bytes each, at least 512 */
    bool optional_features; /* false: only what kernel 6.1 has */
};

/* Opens the ring. -ENOSYS, -EPERM (seccomp, io_uring_disabled), -ENOMEM, ...: io_explain says what
 * the operator must change. */
MUST_USE int io_new(const struct io_options *options, struct io **ret_io);
struct io *io_free(struct io *io);

/* One sentence for an error of io_new: what is blocked and by which setting. */
const char *io_explain(int error);

/* ---- sockets ---- */

/* Listening socket, close-on-exec. TCP: SO_REUSEADDR, SO_REUSEPORT, TCP_NODELAY (inherited by what
 * it accepts), IPv6 never takes IPv4. Unix: mode 0660; the file of a dead predecessor is replaced,
 * that of a living one is -EADDRINUSE. Blocking calls, for start-up and reload. Result: descriptor
 * or negative errno. */
MUST_USE int io_listen(struct io *io, const struct address *address, int backlog);

/* The address a listening or connected socket is bound to, and a connected socket's peer. */
int io_local_address(struct io *io, int fd, struct address *ret_address);
int io_peer_address(struct io *io, int fd, struct address *ret_address);

/* The numeric user id of a Unix socket's peer when it connected; -1: not known. */
int64_t io_peer_user(struct io *io, int fd);

/* A stream socket (TCP_NODELAY) for io_connect, bound to `source` unless that is NULL or AF_UNSPEC;
 * without a port in `source` the kernel chooses one at connect, per destination. */
MUST_USE int io_socket(struct io *io, sa_family_t family, const struct address *source);

/* Multishot: one result per connection (its descriptor) while `more`. A result without `more` ends
 * it (cancel, or an error such as -EMFILE): the listener re-arms or closes. */
void io_accept(struct io *io, struct op *op, int fd);

void io_connect(struct io *io, struct op *op, int fd, const struct address *address);

/* Multishot into lent buffers: each result > 0 lends `op->buffer` (io_buffer) until
 * io_buffer_return. 0 is the end of the stream. -ENOBUFS never surfaces: a receive that met an
 * empty group waits in a starved list and is re-armed, first come first served, as buffers return.
 * A result without `more` and > 0 wants a new io_receive. Pausing a reader = io_cancel; what the
 * kernel had finished before still arrives. `buffer` is below io_usage's `buffers_total`. */
void io_receive(struct io *io, struct op *op, int fd, enum io_group group);
char *io_buffer(struct io *io, uint16_t buffer);
void io_buffer_return(struct io *io, uint16_t buffer);

/* One sendmsg; the result may be short. `message` and its iovecs stay until done. */
void io_send(struct io *io, struct op *op, int fd, const struct msghdr *message);

/* Ends our direction: the peer reads what was sent, then the end. At once, so not while a send is
 * in flight. */
void io_shutdown(struct io *io, struct op *op, int fd);
void io_close(struct io *io, struct op *op, int fd);
void io_close_now(struct io *io, int fd); /* start-up and error paths: synchronous */

/* One-shot readiness (POLLIN, POLLOUT), for a library's descriptors. Result: the events. */
void io_poll(struct io *io, struct op *op, int fd, unsigned events);

/* Asks for `op` to end soon with -ECANCELED (or with the result that was quicker). Its `done` runs
 * in any case, later. Idempotent; cancelling an idle op does nothing. */
void io_cancel(struct io *io, struct op *op);

/* ---- files (the journal; everything else on disk is the store's) ---- */

/* The result is the descriptor. `path` stays until done. */
void io_open(struct io *io, struct op *op, const char *path, int flags, mode_t mode);
void io_write(struct io *io, struct op *op, int fd, const struct iovec *iov, unsigned count,
              uint64_t offset);
void io_datasync(struct io *io, struct op *op, int fd);

/* ---- the loop's side ---- */

/* Submits what was started and lets the kernel deliver; waits until something completes, io_wake
 * was called, or `wait_ns` has passed (0: does not wait; the first turn never does). Results are
 * then taken by io_next. 0, or a negative errno: the ring is broken for good. */
MUST_USE int io_turn(struct io *io, uint64_t wait_ns);

/* The next finished op with `result`, `more` and `buffer` of this one result, or NULL. The caller
 * dispatches it before it asks again: state OP_BUSY if `more`, else OP_IDLE, then `done`. */
struct op *io_next(struct io *io);

/* Ends a wait of `io` in io_turn, from any thread. `from` is the calling thread's own io, or NULL:
 * IORING_OP_MSG_RING, IORING_REGISTER_SEND_MSG_RING, or an eventfd where the kernel lacks that. */
void io_wake(struct io *io, struct io *from);

/* How full it is, for metrics. */
struct io_usage {
    unsigned buffers_lent, buffers_total, starved; /* of both groups */
};
void io_usage(const struct io *io, struct io_usage *ret_usage);
