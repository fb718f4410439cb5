/* io: everything that a worker asks of the kernel, as ops. Replaced at link time by the simulator.
 *
 * The real one (ring.c) is one io_uring per loop (SINGLE_ISSUER, DEFER_TASKRUN); no SQE is written
 * anywhere else. The simulated one (tests/sim) is a virtual network, file system and scheduler.
 * File descriptors are plain ints in both; only this header creates, uses and closes them.
 *
 * What is in flight is borrowed: sockets, buffers and iovecs given to an op must stay until it is
 * done. A submission queue that is full is submitted and tried again, so starting never fails:
 * every failure arrives as the op's result. Deadlines are not here: conn.h, the resolver and the
 * journal put one on every wait they start. */
#pragma once

#include "core/address.h"
#include "core/op.h"

#include <sys/uio.h>

struct io;

struct io_options {
    unsigned entries;     /* submission queue entries, a power of two */
    unsigned buffers;     /* lent receive buffers, a power of two */
    unsigned buffer_size; /* bytes each */
    bool optional_features; /* false: only what kernel 6.1 has */
};

/* Opens the ring. -ENOSYS, -EPERM (seccomp, io_uring_disabled), -ENOMEM, ...: io_explain says what
 * the operator must change. */
MUST_USE int io_new(const struct io_options *options, struct io **ret_io);
struct io *io_free(struct io *io);

/* One sentence for an error of io_new: what is blocked and by which setting. */
const char *io_explain(int error);

/* ---- sockets ---- */

/* Listening TCP socket with SO_REUSEPORT, non-blocking, close-on-exec. Blocking calls, for start-up
 * and reload. Result: descriptor or negative errno. */
MUST_USE int io_listen(struct io *io, const struct address *address, int backlog);

/* The address a listening or connected socket is bound to, and a connected socket's peer. */
int io_local_address(struct io *io, int fd, struct address *ret_address);
int io_peer_address(struct io *io, int fd, struct address *ret_address);

/* A stream socket for io_connect, bound to `source` unless that is AF_UNSPEC. */
MUST_USE int io_socket(struct io *io, sa_family_t family, const struct address *source);

/* Multishot: one result per connection (its descriptor) while `more`. A result without `more` ends
 * it (cancel, or an error such as -EMFILE): the listener re-arms or closes. */
void io_accept(struct io *io, struct op *op, int fd);

void io_connect(struct io *io, struct op *op, int fd, const struct address *address);

/* Multishot into lent buffers: each result > 0 lends `op->buffer` (io_buffer) until
 * io_buffer_return. 0 is the end of the stream. -ENOBUFS never surfaces: a receive that met an
 * empty group waits in a starved list and is re-armed, first come first served, as buffers return.
 * A result without `more` and > 0 wants a new io_receive. Pausing a reader = io_cancel. */
void io_receive(struct io *io, struct op *op, int fd);
char *io_buffer(struct io *io, uint16_t buffer);
void io_buffer_return(struct io *io, uint16_t buffer);

/* One sendmsg; the result may be short. `message` and its iovecs stay until done. */
void io_send(struct io *io, struct op *op, int fd, const struct msghdr *message);

/* Shuts both directions; wakes what is in flight on it. Then io_close. */
void io_shutdown(struct io *io, struct op *op, int fd);
void io_close(struct io *io, struct op *op, int fd);
void io_close_now(struct io *io, int fd); /* start-up and error paths: synchronous */

/* One-shot readiness (POLLIN, POLLOUT), for descriptors of a library (c-ares). Result: the events. */
void io_poll(struct io *io, struct op *op, int fd, unsigned events);

/* Asks for `op` to end soon with -ECANCELED (or with the result that was quicker). Its `done` runs
 * in any case, later. Cancelling an idle op does nothing. */
void io_cancel(struct io *io, struct op *op);

/* ---- files (the journal; everything else on disk is the store's) ---- */

/* The result is the descriptor. `path` stays until done. */
void io_open(struct io *io, struct op *op, const char *path, int flags, mode_t mode);
void io_write(struct io *io, struct op *op, int fd, const struct iovec *iov, unsigned count,
              uint64_t offset);
void io_datasync(struct io *io, struct op *op, int fd);

/* ---- the loop's side ---- */

/* Submits what was started, waits until something completes, io_wake was called, or `wait_ns` has
 * passed (0: do not wait), and appends finished ops to `ready` with state OP_READY. Multishot
 * results: see loop.h. Result 0 or negative errno. */
MUST_USE int io_turn(struct io *io, uint64_t wait_ns, struct list *ready);

/* Ends a wait of `io` in io_turn, from any thread. `from` is the calling thread's own io, or NULL:
 * IORING_OP_MSG_RING, IORING_REGISTER_SEND_MSG_RING, or an eventfd where the kernel lacks that. */
void io_wake(struct io *io, struct io *from);

/* How full it is, for metrics. */
struct io_usage {
    unsigned buffers_lent, buffers_total, starved;
};
void io_usage(const struct io *io, struct io_usage *ret_usage);
