/* io.h on io_uring.
 *
 * Approach. user_data of a request is its op; small numbers stand for our own requests. Results
 * stay in the completion ring until io_next copies one into its op. What ends without the kernel (a
 * starved receive that is cancelled, a shutdown) goes through `finished`.
 *
 * Failure modes.
 * - Completion ring full: the kernel keeps the overflow and hands it over when we enter (NODROP);
 *   a multishot op ends without F_MORE then, and its owner starts it again.
 * - Buffer group empty: a receive ends with -ENOBUFS. It goes to the group's starved list. Each
 *   turn re-arms as many as there are free buffers, oldest first, and does not wait while some are
 *   left; they poll first, so an idle one takes no buffer and blocks nobody behind it.
 * - A cancel finds its op by user_data, and the ring is in order: a cancel can only meet what was
 *   started before it, never a later op at the same address.
 * - Lost wake: io_wake leaves a completion or an eventfd count in the target's ring, so a wait that
 *   begins after it ends at once. A ring that is not enabled yet takes no message; therefore the
 *   turn that enables it does not wait, and the caller looks again.
 * - The kernel refuses submissions again and again: the ring is broken, io_turn says so.
 *
 * Sockets (ring_socket.c makes them) stay in blocking mode: for O_NONBLOCK ones the kernel answers
 * -EAGAIN, it does not wait. */
#include "core/io.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Kernel 6.13; the header of liburing 2.3 ends before it. */
enum { REGISTER_SEND_MSG_RING = 31 };

enum { COMPLETIONS_PER_ENTRY = 4, SUBMIT_TRIES = 100 };
enum { LEAST_BUFFER_SIZE = 128, MOST_BUFFERS = 32768 };

/* user_data that is no op's address */
enum { OURS_NOTHING, OURS_WAKE, OURS_EVENT, OURS_COUNT };

/* op.mechanism_state */
enum {
    IN_OUTBOUND = 1 << 0, /* the group of a receive */
    IS_RECEIVE = 1 << 1,
    IS_STARVED = 1 << 2,
    IS_CANCELLED = 1 << 3,
};

struct group {
    struct io_uring_buf_ring *ring;
    size_t ring_size;
    char *memory;
    unsigned count, size; /* of the buffers */
    unsigned first;       /* number of the first buffer, over all groups */
    unsigned lent;
    struct list starved;
    unsigned starved_count;
};

struct io {
    struct io_uring ring;
    struct group groups[IO_GROUPS];
    struct list finished; /* ops that ended without the kernel */
    bool enabled;         /* by the thread that owns the ring */
    bool send_message;    /* threads without a ring can send a message */
    int event_fd;         /* else they write here */
    bool event_armed;     /* and our read waits for it */
    uint64_t event_count;
    int error; /* broken for good */
};

/* ---- opening ---- */

static void group_fini(struct group *group)
{
    if (group->ring)
        munmap(group->ring, group->ring_size);
    if (group->memory)
        munmap(group->memory, (size_t)group->count * group->size);
}

static void *map_memory(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

static void buffer_add(struct group *group, unsigned index)
{
    io_uring_buf_ring_add(group->ring, group->memory + (size_t)index * group->size, group->size,
                          (unsigned short)(group->first + index),
                          io_uring_buf_ring_mask(group->count), 0);
    io_uring_buf_ring_advance(group->ring, 1);
}

static int group_init(struct io *io, enum io_group id, unsigned count, unsigned size)
{
    struct group *group = &io->groups[id];
    group->count = count;
    group->size = size < LEAST_BUFFER_SIZE ? LEAST_BUFFER_SIZE : size;
    group->first = id * count;
    group->ring_size = count * sizeof(struct io_uring_buf);
    group->ring = map_memory(group->ring_size);
    group->memory = map_memory((size_t)count * group->size);
    if (!group->ring || !group->memory)
        return -ENOMEM;
    struct io_uring_buf_reg registration = {
        .ring_addr = (uintptr_t)group->ring, .ring_entries = count, .bgid = (uint16_t)id};
    int error = io_uring_register_buf_ring(&io->ring, &registration, 0);
    if (error)
        return error;
    io_uring_buf_ring_init(group->ring);
    for (unsigned i = 0; i < count; i++)
        buffer_add(group, i);
    return 0;
}

/* A message to the ring `fd` from a thread that has none. 0 or negative errno. */
static int send_message(int fd)
{
    struct io_uring_sqe sqe = {0};
    io_uring_prep_msg_ring(&sqe, fd, 0, OURS_WAKE, 0);
    return (int)syscall(__NR_io_uring_register, -1, REGISTER_SEND_MSG_RING, &sqe, 1) < 0 ? -errno
                                                                                         : 0;
}

/* A kernel that knows such messages tells us that our ring is not enabled yet. */
static bool probe_send_message(const struct io *io)
{
    return send_message(io->ring.ring_fd) == -EBADFD;
}

static int ring_init(struct io *io, unsigned entries)
{
    struct io_uring_params params = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_R_DISABLED |
                 IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP,
        .cq_entries = entries * COMPLETIONS_PER_ENTRY};
    return io_uring_queue_init_params(entries, &io->ring, &params);
}

static int parts_init(struct io *io, const struct io_options *options)
{
    int error = group_init(io, IO_INBOUND, options->buffers, options->buffer_size);
    if (error == 0)
        error = group_init(io, IO_OUTBOUND, options->buffers, options->buffer_size / 4);
    if (error)
        return error;
    io->send_message = options->optional_features && probe_send_message(io);
    if (!io->send_message)
        io->event_fd = eventfd(0, EFD_CLOEXEC);
    return io->send_message || io->event_fd >= 0 ? 0 : -errno;
}

static bool power_of_two(unsigned value)
{
    return value && (value & (value - 1)) == 0;
}

int io_new(const struct io_options *options, struct io **ret_io)
{
    if (!power_of_two(options->entries) || !power_of_two(options->buffers) ||
        options->buffers > MOST_BUFFERS)
        return -EINVAL;
    struct io *io = calloc(1, sizeof *io);
    if (!io)
        return -ENOMEM;
    io->event_fd = -1;
    list_init(&io->finished);
    for (unsigned i = 0; i < IO_GROUPS; i++)
        list_init(&io->groups[i].starved);
    int error = ring_init(io, options->entries);
    if (error) {
        free(io);
        return error;
    }
    error = parts_init(io, options);
    if (error) {
        io_free(io);
        return error;
    }
    *ret_io = io;
    return 0;
}

struct io *io_free(struct io *io)
{
    if (!io)
        return NULL;
    io_uring_queue_exit(&io->ring);
    for (unsigned i = 0; i < IO_GROUPS; i++)
        group_fini(&io->groups[i]);
    if (io->event_fd >= 0)
        close(io->event_fd);
    free(io);
    return NULL;
}

static int read_setting(const char *path)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return -1;
    int value = fgetc(file);
    fclose(file);
    return value;
}

const char *io_explain(int error)
{
    switch (-error) {
    case EPERM:
        switch (read_setting("/proc/sys/kernel/io_uring_disabled")) {
        case '2':
            return "io_uring is switched off on this host: "
                   "set the sysctl kernel.io_uring_disabled to 0";
        case '1':
            return "io_uring is kept to one group on this host: set the sysctl "
                   "kernel.io_uring_disabled to 0, or kernel.io_uring_group to our group";
        }
        return "io_uring is blocked by a seccomp filter: allow the system calls io_uring_setup, "
               "io_uring_enter and io_uring_register (in a container: its seccomp profile)";
    case ENOSYS:
        return "this kernel has no io_uring, or a seccomp filter hides it: it takes Linux 6.1 or "
               "later with CONFIG_IO_URING; in a container a seccomp profile that allows "
               "io_uring_setup, io_uring_enter and io_uring_register";
    case EINVAL:
        return "this kernel is too old, or the [ring] sizes are out of range: it takes Linux 6.1 "
               "or later; sizes are powers of two";
    case ENOMEM:
        return "no memory for the ring: raise the limit of locked memory (RLIMIT_MEMLOCK, "
               "LimitMEMLOCK= in a systemd unit), or lower entries or receive_buffers in [ring]";
    case EMFILE:
    case ENFILE:
        return "no file descriptor for the ring: raise the limit of open files (RLIMIT_NOFILE, "
               "LimitNOFILE= in a systemd unit)";
    }
    return "the ring could not be opened";
}

/* ---- submitting ---- */

/* The thread that does this owns the ring. */
static void enable(struct io *io)
{
    if (io->enabled || io->error)
        return;
    int error = (int)syscall(__NR_io_uring_register, io->ring.ring_fd, IORING_REGISTER_ENABLE_RINGS,
                             NULL, 0);
    if (error < 0)
        io->error = -errno;
    else
        io->enabled = true;
}

static bool passes(int error)
{
    return error == -EAGAIN || error == -EBUSY || error == -EINTR || error == -ETIME;
}

/* NULL: the ring is broken. */
static struct io_uring_sqe *take_sqe(struct io *io)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&io->ring);
    for (int tries = 0; !sqe && !io->error; tries++) {
        enable(io);
        int result =
            tries == 0 ? io_uring_submit(&io->ring) : io_uring_submit_and_get_events(&io->ring);
        if (result < 0 && (!passes(result) || tries == SUBMIT_TRIES))
            io->error = result;
        sqe = io_uring_get_sqe(&io->ring);
    }
    return sqe;
}

static void finish(struct io *io, struct op *op, int32_t result)
{
    op->result = result;
    op->more = false;
    list_append(&io->finished, &op->link);
}

/* NULL: the ring is broken, the op ends with that. */
static struct io_uring_sqe *start(struct io *io, struct op *op)
{
    check(op_idle(op));
    op->state = OP_BUSY;
    op->mechanism_state = 0;
    struct io_uring_sqe *sqe = take_sqe(io);
    if (!sqe)
        finish(io, op, io->error);
    return sqe;
}

/* Our own requests complete silently unless they fail, and then nobody asks. */
static void set_ours(struct io_uring_sqe *sqe)
{
    io_uring_sqe_set_data64(sqe, OURS_NOTHING);
    io_uring_sqe_set_flags(sqe, IOSQE_CQE_SKIP_SUCCESS);
}

/* ---- sockets ---- */

void io_accept(struct io *io, struct op *op, int fd)
{
    struct io_uring_sqe *sqe = start(io, op);
    if (!sqe)
        return;
    io_uring_prep_multishot_accept(sqe, fd, NULL, NULL, SOCK_CLOEXEC);
    io_uring_sqe_set_data(sqe, op);
}

void io_connect(struct io *io, struct op *op, int fd, const struct address *address)
{
    struct io_uring_sqe *sqe = start(io, op);
    if (!sqe)
        return;
    io_uring_prep_connect(sqe, fd, &address->any, address->len);
    io_uring_sqe_set_data(sqe, op);
}

static struct group *group_of_receive(struct io *io, const struct op *op)
{
    return &io->groups[op->mechanism_state & IN_OUTBOUND ? IO_OUTBOUND : IO_INBOUND];
}

/* Polls first: an attempt to receive takes a buffer, and fails where there is none, even if the
 * socket has nothing to give. */
static void prepare_receive(struct io *io, struct op *op, struct io_uring_sqe *sqe)
{
    io_uring_prep_recv_multishot(sqe, op->fd, NULL, 0, 0);
    sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
    sqe->buf_group = op->mechanism_state & IN_OUTBOUND ? IO_OUTBOUND : IO_INBOUND;
    io_uring_sqe_set_flags(sqe, IOSQE_BUFFER_SELECT);
    io_uring_sqe_set_data(sqe, op);
}

void io_receive(struct io *io, struct op *op, int fd, enum io_group group)
{
    struct io_uring_sqe *sqe = start(io, op);
    op->mechanism_state = IS_RECEIVE | (group == IO_OUTBOUND ? IN_OUTBOUND : 0);
    op->fd = fd;
    if (sqe)
        prepare_receive(io, op, sqe);
}

static struct group *group_of_buffer(struct io *io, uint16_t buffer)
{
    return &io->groups[buffer < io->groups[IO_OUTBOUND].first ? IO_INBOUND : IO_OUTBOUND];
}

char *io_buffer(struct io *io, uint16_t buffer)
{
    struct group *group = group_of_buffer(io, buffer);
    return group->memory + (size_t)(buffer - group->first) * group->size;
}

void io_buffer_return(struct io *io, uint16_t buffer)
{
    struct group *group = group_of_buffer(io, buffer);
    check(group->lent > 0);
    group->lent--;
    buffer_add(group, buffer - group->first);
}

static void starve(struct io *io, struct op *op)
{
    struct group *group = group_of_receive(io, op);
    op->mechanism_state |= IS_STARVED;
    list_append(&group->starved, &op->link);
    group->starved_count++;
}

static void unstarve(struct io *io, struct op *op)
{
    op->mechanism_state &= (uint8_t)~IS_STARVED;
    list_remove(&op->link);
    group_of_receive(io, op)->starved_count--;
}

/* Arms as many starved receives again as there are free buffers. True: some are left that free
 * buffers may still serve, because those before them may turn out to have nothing to receive. */
static bool feed(struct io *io, struct group *group)
{
    unsigned free_buffers = group->count - group->lent;
    unsigned fed = 0;
    struct list_link *first;
    while (fed < free_buffers && (first = list_first(&group->starved))) {
        struct io_uring_sqe *sqe = take_sqe(io);
        if (!sqe)
            return false;
        struct op *op = container_of(first, struct op, link);
        unstarve(io, op);
        prepare_receive(io, op, sqe);
        fed++;
    }
    return fed > 0 && !list_empty(&group->starved);
}

void io_send(struct io *io, struct op *op, int fd, const struct msghdr *message)
{
    struct io_uring_sqe *sqe = start(io, op);
    if (!sqe)
        return;
    io_uring_prep_sendmsg(sqe, fd, message, MSG_NOSIGNAL);
    io_uring_sqe_set_data(sqe, op);
}

/* A system call: it never waits, and the ring would give it to a helper thread. */
void io_shutdown(struct io *io, struct op *op, int fd)
{
    check(op_idle(op));
    op->state = OP_BUSY;
    op->mechanism_state = 0;
    finish(io, op, shutdown(fd, SHUT_WR) < 0 ? -errno : 0);
}

void io_close(struct io *io, struct op *op, int fd)
{
    struct io_uring_sqe *sqe = start(io, op);
    if (!sqe)
        return;
    io_uring_prep_close(sqe, fd);
    io_uring_sqe_set_data(sqe, op);
}

void io_close_now(struct io *io, int fd)
{
    close(fd);
}

void io_poll(struct io *io, struct op *op, int fd, unsigned events)
{
    struct io_uring_sqe *sqe = start(io, op);
    if (!sqe)
        return;
    io_uring_prep_poll_add(sqe, fd, events);
    io_uring_sqe_set_data(sqe, op);
}

void io_cancel(struct io *io, struct op *op)
{
    if (op->state != OP_BUSY || op->mechanism_state & IS_CANCELLED)
        return;
    op->mechanism_state |= IS_CANCELLED;
    if (op->mechanism_state & IS_STARVED) {
        unstarve(io, op);
        finish(io, op, -ECANCELED);
        return;
    }
    struct io_uring_sqe *sqe = take_sqe(io);
    if (!sqe)
        return;
    io_uring_prep_cancel(sqe, op, 0);
    set_ours(sqe);
}

/* ---- files ---- */

void io_open(struct io *io, struct op *op, const char *path, int flags, mode_t mode)
{
    struct io_uring_sqe *sqe = start(io, op);
    if (!sqe)
        return;
    io_uring_prep_openat(sqe, AT_FDCWD, path, flags | O_CLOEXEC, mode);
    io_uring_sqe_set_data(sqe, op);
}

void io_write(struct io *io, struct op *op, int fd, const struct iovec *iov, unsigned count,
              uint64_t offset)
{
    struct io_uring_sqe *sqe = start(io, op);
    if (!sqe)
        return;
    if (count == 1)
        io_uring_prep_write(sqe, fd, iov->iov_base, (unsigned)iov->iov_len, offset);
    else
        io_uring_prep_writev(sqe, fd, iov, count, offset);
    io_uring_sqe_set_data(sqe, op);
}

void io_datasync(struct io *io, struct op *op, int fd)
{
    struct io_uring_sqe *sqe = start(io, op);
    if (!sqe)
        return;
    io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
    io_uring_sqe_set_data(sqe, op);
}

/* ---- the loop's side ---- */

static void arm_event(struct io *io)
{
    if (io->event_fd < 0 || io->event_armed)
        return;
    struct io_uring_sqe *sqe = take_sqe(io);
    if (!sqe)
        return;
    io_uring_prep_read(sqe, io->event_fd, &io->event_count, sizeof io->event_count, 0);
    io_uring_sqe_set_data64(sqe, OURS_EVENT);
    io->event_armed = true;
}

static int submit_and_wait(struct io *io, uint64_t wait_ns)
{
    struct __kernel_timespec wait = {.tv_sec = (long long)(wait_ns / UINT64_C(1000000000)),
                                     .tv_nsec = (long long)(wait_ns % UINT64_C(1000000000))};
    struct io_uring_cqe *cqe;
    return io_uring_submit_and_wait_timeout(&io->ring, &cqe, 1, &wait, NULL);
}

int io_turn(struct io *io, uint64_t wait_ns)
{
    bool first = !io->enabled;
    enable(io);
    arm_event(io);
    bool hungry = false;
    for (unsigned i = 0; i < IO_GROUPS; i++)
        hungry |= feed(io, &io->groups[i]);
    if (io->error)
        return io->error;
    bool waits = wait_ns && !first && !hungry && list_empty(&io->finished);
    int result = waits ? submit_and_wait(io, wait_ns) : io_uring_submit_and_get_events(&io->ring);
    if (result < 0 && !passes(result))
        io->error = result;
    return io->error;
}

/* Fills the op of a completion. False: nobody is to be told. */
static bool record(struct io *io, struct op *op, int32_t result, uint32_t flags)
{
    op->result = result;
    op->more = flags & IORING_CQE_F_MORE;
    if (flags & IORING_CQE_F_BUFFER) {
        op->buffer = (uint16_t)(flags >> IORING_CQE_BUFFER_SHIFT);
        group_of_buffer(io, op->buffer)->lent++;
        if (result <= 0)
            io_buffer_return(io, op->buffer);
    }
    if (!(op->mechanism_state & IS_RECEIVE) || result != -ENOBUFS)
        return true;
    if (op->mechanism_state & IS_CANCELLED) {
        op->result = -ECANCELED;
        return true;
    }
    starve(io, op);
    return false;
}

struct op *io_next(struct io *io)
{
    struct list_link *link = list_take_first(&io->finished);
    if (link)
        return container_of(link, struct op, link);
    struct io_uring_cqe *cqe;
    while (io->enabled && io_uring_peek_cqe(&io->ring, &cqe) == 0) {
        uint64_t user_data = cqe->user_data;
        int32_t result = cqe->res;
        uint32_t flags = cqe->flags;
        io_uring_cqe_seen(&io->ring, cqe);
        if (user_data == OURS_EVENT)
            io->event_armed = false;
        if (user_data < OURS_COUNT)
            continue;
        struct op *op = (struct op *)(uintptr_t)user_data;
        if (record(io, op, result, flags))
            return op;
    }
    return NULL;
}

void io_wake(struct io *io, struct io *from)
{
    if (from) {
        struct io_uring_sqe *sqe = take_sqe(from);
        if (!sqe)
            return;
        io_uring_prep_msg_ring(sqe, io->ring.ring_fd, 0, OURS_WAKE, 0);
        set_ours(sqe);
        return;
    }
    if (io->send_message) {
        send_message(io->ring.ring_fd);
        return;
    }
    uint64_t one = 1;
    ssize_t written = write(io->event_fd, &one, sizeof one);
    check(written == sizeof one);
}

void io_usage(const struct io *io, struct io_usage *ret_usage)
{
    struct io_usage usage = {0};
    for (unsigned i = 0; i < IO_GROUPS; i++) {
        usage.buffers_lent += io->groups[i].lent;
        usage.buffers_total += io->groups[i].count;
        usage.starved += io->groups[i].starved_count;
    }
    *ret_usage = usage;
}
