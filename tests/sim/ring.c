/* core/io.h in virtual time.
 *
 * A socket holds what has arrived and was not received; its ops finish at random moments. Results
 * wait in a queue per io and are taken by io_next, as from a completion ring. Files are real files:
 * a write happens at once but counts as lost until it was synced; a crash cuts each file somewhere
 * in its unsynced tail. Writes past the cache (O_DIRECT) overwrite in place: until the device's
 * cache is flushed each sector keeps what it held before, and a crash chooses, sector by sector. */
#include "tests/sim/sim.h"

#include "core/clock.h"
#include "core/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { SOCKETS = 4096, FILES = 512, SECTOR = 512, FILE_BASE = 100000, INPUT_MAX = 256 * 1024 };

struct result {
    struct op *op;
    int32_t value;
    bool more;
    bool lends;
    uint16_t buffer;
    struct result *next;
};

struct io {
    struct result *first, **last;
    unsigned buffers, buffer_size, lent;
    char *memory;
    bool *lent_out;
    struct list starved; /* sockets whose receive met no buffer */
};

enum kind { NOTHING, FRESH, LISTENING, STREAM };

struct socket {
    enum kind kind;
    struct io *io;
    struct end *end;
    struct address local, peer;
    struct op *receive, *send, *accept, *connect;
    const struct msghdr *message; /* of `send` */
    struct list_link starved;
    char *input;
    size_t input_len;
    bool input_ended, broken, receive_planned;
    struct end *waiting[64]; /* LISTENING: not accepted yet */
    struct address waiting_peer[64];
    unsigned waiting_count;
    unsigned generation;
};

/* A direct write that no flush has covered. */
struct direct {
    struct direct *older;
    struct file *file;
    struct late *late; /* while it is not done; NULL: a flush takes it */
    uint64_t offset;
    size_t len;
    char before[];
};

struct file {
    int fd;
    bool is_direct;
    char path[512];
    uint64_t written, synced;
};

static struct socket sockets[SOCKETS];
static struct file files[FILES];
static unsigned file_count;
static struct direct *directs; /* newest first */

static struct socket *socket_of(int fd)
{
    check(fd > 0 && fd < SOCKETS && sockets[fd].kind != NOTHING);
    return &sockets[fd];
}

static int new_socket(struct io *io, enum kind kind)
{
    for (int fd = 1; fd < SOCKETS; fd++)
        if (sockets[fd].kind == NOTHING) {
            unsigned generation = sockets[fd].generation + 1;
            sockets[fd] = (struct socket){.kind = kind, .io = io, .generation = generation};
            return fd;
        }
    return -EMFILE;
}

/* ---- results ---- */

static void finish(struct io *io, struct op *op, int32_t value, bool more)
{
    struct result *result = calloc(1, sizeof *result);
    check(result);
    *result = (struct result){.op = op, .value = value, .more = more};
    *io->last = result;
    io->last = &result->next;
}

static void finish_lending(struct io *io, struct op *op, int32_t value, uint16_t buffer)
{
    finish(io, op, value, true);
    struct result *result = container_of(io->last, struct result, next);
    result->lends = true;
    result->buffer = buffer;
}

struct op *io_next(struct io *io)
{
    struct result *result = io->first;
    if (!result)
        return NULL;
    io->first = result->next;
    if (!io->first)
        io->last = &io->first;
    struct op *op = result->op;
    op->result = result->value;
    op->more = result->more;
    op->buffer = result->buffer;
    free(result);
    return op;
}

int io_turn(struct io *io, uint64_t wait_ns)
{
    return 0;
}

void io_wake(struct io *io, struct io *from)
{
}

bool ring_has_results(const struct io *io)
{
    return io->first != NULL;
}

int io_new(const struct io_options *options, struct io **ret_io)
{
    struct io *io = calloc(1, sizeof *io);
    check(io);
    io->last = &io->first;
    io->buffers = 64; /* few, so that groups run dry */
    io->buffer_size = 512 << world_draw(5);
    io->memory = malloc((size_t)io->buffers * io->buffer_size);
    io->lent_out = calloc(io->buffers, sizeof *io->lent_out);
    check(io->memory && io->lent_out);
    list_init(&io->starved);
    *ret_io = io;
    return 0;
}

struct io *io_free(struct io *io)
{
    if (io) {
        while (io->first) {
            struct result *result = io->first;
            io->first = result->next;
            free(result);
        }
        free(io->memory);
        free(io->lent_out);
        free(io);
    }
    return NULL;
}

const char *io_explain(int error)
{
    return "the simulator always has a ring";
}

void io_usage(const struct io *io, struct io_usage *ret_usage)
{
    *ret_usage = (struct io_usage){.buffers_lent = io->lent, .buffers_total = io->buffers};
}

/* ---- receiving ---- */

static int take_buffer(struct io *io)
{
    for (unsigned i = 0; i < io->buffers; i++)
        if (!io->lent_out[i]) {
            io->lent_out[i] = true;
            io->lent++;
            return (int)i;
        }
    return -1;
}

static void give_input(struct socket *socket);

static void on_give_input(void *context, uint64_t generation)
{
    struct socket *socket = context;
    if (socket->generation != generation || socket->kind != STREAM)
        return;
    socket->receive_planned = false;
    give_input(socket);
}

static void plan_receive(struct socket *socket)
{
    if (socket->receive_planned || !socket->receive)
        return;
    if (socket->input_len == 0 && !socket->input_ended && !socket->broken)
        return;
    socket->receive_planned = true;
    world_later(world_draw(50000), true, on_give_input, socket, socket->generation);
}

static void end_receive(struct socket *socket, int32_t value)
{
    struct op *op = socket->receive;
    socket->receive = NULL;
    if (list_linked(&socket->starved))
        list_remove(&socket->starved);
    finish(socket->io, op, value, false);
}

static void give_input(struct socket *socket)
{
    struct io *io = socket->io;
    if (!socket->receive || list_linked(&socket->starved))
        return;
    if (socket->input_len > 0) {
        int buffer = take_buffer(io);
        if (buffer < 0) {
            list_append(&io->starved, &socket->starved);
            return;
        }
        size_t size = socket->input_len < io->buffer_size ? socket->input_len : io->buffer_size;
        memcpy(io_buffer(io, (uint16_t)buffer), socket->input, size);
        memmove(socket->input, socket->input + size, socket->input_len - size);
        socket->input_len -= size;
        finish_lending(io, socket->receive, (int32_t)size, (uint16_t)buffer);
        if (world_chance(20)) { /* the kernel may end a multishot at any time */
            struct result *result = container_of(io->last, struct result, next);
            result->more = false;
            socket->receive = NULL;
            return;
        }
        plan_receive(socket);
    } else if (socket->broken) {
        end_receive(socket, -ECONNRESET);
    } else if (socket->input_ended) {
        end_receive(socket, 0);
    }
}

void io_receive(struct io *io, struct op *op, int fd, enum io_group group)
{
    struct socket *socket = socket_of(fd);
    check(!socket->receive && op->state == OP_IDLE);
    op->state = OP_BUSY;
    socket->receive = op;
    plan_receive(socket);
}

char *io_buffer(struct io *io, uint16_t buffer)
{
    check(buffer < io->buffers && io->lent_out[buffer]);
    return io->memory + (size_t)buffer * io->buffer_size;
}

void io_buffer_return(struct io *io, uint16_t buffer)
{
    check(buffer < io->buffers && io->lent_out[buffer]);
    io->lent_out[buffer] = false;
    io->lent--;
    struct list_link *link = list_take_first(&io->starved);
    if (link)
        plan_receive(container_of(link, struct socket, starved));
}

/* ---- what the net tells a socket ---- */

static void on_connected(void *owner, struct end *end)
{
    struct socket *socket = owner;
    struct op *op = socket->connect;
    if (!op)
        return;
    socket->connect = NULL;
    socket->kind = STREAM;
    finish(socket->io, op, 0, false);
}

static void on_received(void *owner, struct end *end, const char *data, size_t len)
{
    struct socket *socket = owner;
    socket->input = realloc(socket->input, socket->input_len + len);
    check(socket->input);
    memcpy(socket->input + socket->input_len, data, len);
    socket->input_len += len;
    plan_receive(socket);
}

static void on_finished(void *owner, struct end *end)
{
    struct socket *socket = owner;
    socket->input_ended = true;
    plan_receive(socket);
}

static void end_send(struct socket *socket, int32_t value)
{
    struct op *op = socket->send;
    socket->send = NULL;
    finish(socket->io, op, value, false);
}

static void on_broken(void *owner, struct end *end)
{
    struct socket *socket = owner;
    socket->broken = true;
    if (socket->connect) {
        struct op *op = socket->connect;
        socket->connect = NULL;
        finish(socket->io, op, world_chance(500) ? -ECONNREFUSED : -ETIMEDOUT, false);
    }
    if (socket->send)
        end_send(socket, -EPIPE);
    plan_receive(socket);
}

static const struct end_events socket_events = {on_connected, on_received, on_finished, on_broken};

/* ---- listening and connecting ---- */

static void accept_waiting(struct socket *socket)
{
    while (socket->accept && socket->waiting_count > 0) {
        int fd = new_socket(socket->io, STREAM);
        check(fd > 0);
        struct socket *stream = &sockets[fd];
        stream->end = socket->waiting[0];
        stream->peer = socket->waiting_peer[0];
        stream->local = socket->local;
        socket->waiting_count--;
        memmove(socket->waiting, socket->waiting + 1,
                socket->waiting_count * sizeof *socket->waiting);
        memmove(socket->waiting_peer, socket->waiting_peer + 1,
                socket->waiting_count * sizeof *socket->waiting_peer);
        net_own(stream->end, &socket_events, stream);
        finish(socket->io, socket->accept, fd, true);
    }
}

static void on_arrival(void *context, struct end *end, const struct address *peer)
{
    struct socket *socket = context;
    if (socket->kind != LISTENING || socket->waiting_count == 64) {
        net_drop(end);
        return;
    }
    socket->waiting[socket->waiting_count] = end;
    socket->waiting_peer[socket->waiting_count++] = *peer;
    accept_waiting(socket);
}

int io_listen(struct io *io, const struct address *address, int backlog)
{
    int fd = new_socket(io, LISTENING);
    if (fd < 0)
        return fd;
    sockets[fd].local = *address;
    net_daemon_listen(address, on_arrival, &sockets[fd]);
    return fd;
}

int io_local_address(struct io *io, int fd, struct address *ret_address)
{
    *ret_address = socket_of(fd)->local;
    return 0;
}

int64_t io_peer_user(struct io *io, int fd)
{
    return -1;
}

int io_peer_address(struct io *io, int fd, struct address *ret_address)
{
    *ret_address = socket_of(fd)->peer;
    return 0;
}

int io_socket(struct io *io, sa_family_t family, const struct address *source)
{
    return new_socket(io, FRESH);
}

void io_accept(struct io *io, struct op *op, int fd)
{
    struct socket *socket = socket_of(fd);
    check(socket->kind == LISTENING && !socket->accept && op->state == OP_IDLE);
    op->state = OP_BUSY;
    socket->accept = op;
    accept_waiting(socket);
}

void io_connect(struct io *io, struct op *op, int fd, const struct address *address)
{
    struct socket *socket = socket_of(fd);
    check(socket->kind == FRESH && op->state == OP_IDLE);
    op->state = OP_BUSY;
    socket->connect = op;
    socket->peer = *address;
    socket->end = net_dial_out(&socket->local, address, &socket_events, socket);
}

/* ---- sending ---- */

static void on_send(void *context, uint64_t generation)
{
    struct socket *socket = context;
    if (socket->generation != generation || !socket->send)
        return;
    const struct msghdr *message = socket->message;
    size_t room = net_room(socket->end);
    if (socket->broken) {
        end_send(socket, -EPIPE);
        return;
    }
    if (room == 0) {
        world_later(NS_PER_MS, true, on_send, socket, generation);
        return;
    }
    if (world_chance(100))
        room = 1 + world_draw(room); /* a short send */
    size_t sent = 0;
    for (size_t i = 0; i < (size_t)message->msg_iovlen && sent < room; i++) {
        size_t size = message->msg_iov[i].iov_len;
        if (size > room - sent)
            size = room - sent;
        net_send(socket->end, message->msg_iov[i].iov_base, size);
        sent += size;
    }
    end_send(socket, (int32_t)sent);
}

void io_send(struct io *io, struct op *op, int fd, const struct msghdr *message)
{
    struct socket *socket = socket_of(fd);
    check(socket->kind == STREAM && !socket->send && op->state == OP_IDLE);
    op->state = OP_BUSY;
    socket->message = message;
    socket->send = op;
    world_later(world_draw(30000), true, on_send, socket, socket->generation);
}

/* ---- ending ---- */

static void later_result(void *context, uint64_t argument);

struct late {
    struct io *io;
    struct op *op;
    int32_t value;
};

static void finish_later(struct io *io, struct op *op, int32_t value, uint64_t delay_ns)
{
    struct late *late = malloc(sizeof *late);
    check(late);
    *late = (struct late){io, op, value};
    world_later(delay_ns, true, later_result, late, 0);
}

static void later_result(void *context, uint64_t argument)
{
    struct late *late = context;
    finish(late->io, late->op, late->value, false);
    free(late);
}

void io_shutdown(struct io *io, struct op *op, int fd)
{
    struct socket *socket = socket_of(fd);
    check(op->state == OP_IDLE && !socket->send);
    op->state = OP_BUSY;
    if (socket->end)
        net_finish(socket->end);
    finish_later(io, op, socket->broken ? -ENOTCONN : 0, world_draw(20000));
}

void io_close_now(struct io *io, int fd)
{
    if (fd >= FILE_BASE) {
        struct file *file = &files[fd - FILE_BASE];
        close(file->fd);
        file->fd = -1;
        return;
    }
    struct socket *socket = socket_of(fd);
    check(!socket->receive && !socket->send && !socket->connect && !socket->accept);
    if (socket->end)
        net_drop(socket->end);
    for (unsigned i = 0; i < socket->waiting_count; i++)
        net_drop(socket->waiting[i]);
    free(socket->input);
    socket->input = NULL;
    socket->generation++;
    socket->kind = NOTHING;
}

void io_close(struct io *io, struct op *op, int fd)
{
    check(op->state == OP_IDLE);
    op->state = OP_BUSY;
    io_close_now(io, fd);
    finish_later(io, op, 0, world_draw(20000));
}

void io_poll(struct io *io, struct op *op, int fd, unsigned events)
{
    check(!"nothing that the simulator runs polls");
}

void io_cancel(struct io *io, struct op *op)
{
    if (op->state != OP_BUSY)
        return;
    for (int fd = 1; fd < SOCKETS; fd++) {
        struct socket *socket = &sockets[fd];
        if (socket->kind == NOTHING)
            continue;
        if (socket->receive == op) {
            end_receive(socket, -ECANCELED);
        } else if (socket->send == op) {
            end_send(socket, -ECANCELED);
        } else if (socket->accept == op) {
            socket->accept = NULL;
            finish(io, op, -ECANCELED, false);
        } else if (socket->connect == op) {
            socket->connect = NULL;
            finish(io, op, -ECANCELED, false);
        }
    }
}

/* ---- files ---- */

void io_open(struct io *io, struct op *op, const char *path, int flags, mode_t mode)
{
    check(op->state == OP_IDLE && file_count < FILES);
    op->state = OP_BUSY;
    struct file *file = &files[file_count];
    bool is_direct = flags & O_DIRECT;
    flags &=
        ~O_DIRECT; /* not every file system of test folders has it; and we read what was there */
    if (is_direct)
        flags = (flags & ~O_ACCMODE) | O_RDWR;
    int fd = open(path, flags, mode);
    if (fd < 0) {
        finish_later(io, op, -errno, world_draw(100000));
        return;
    }
    *file = (struct file){.fd = fd, .is_direct = is_direct};
    snprintf(file->path, sizeof file->path, "%s", path);
    finish_later(io, op, FILE_BASE + (int)file_count++, world_draw(100000));
}

static struct file *file_of(int fd)
{
    check(fd >= FILE_BASE && fd < FILE_BASE + (int)file_count && files[fd - FILE_BASE].fd >= 0);
    return &files[fd - FILE_BASE];
}

static void on_direct_written(void *context, uint64_t argument)
{
    struct direct *direct = context;
    struct late *late = direct->late;
    direct->late = NULL;
    finish(late->io, late->op, late->value, false);
    free(late);
}

/* The rules of direct I/O are held as the kernel would. */
static void write_direct(struct io *io, struct op *op, struct file *file, const struct iovec *iov,
                         unsigned count, uint64_t offset)
{
    size_t len = 0;
    for (unsigned i = 0; i < count; i++) {
        check((uintptr_t)iov[i].iov_base % SECTOR == 0 && iov[i].iov_len % SECTOR == 0);
        len += iov[i].iov_len;
    }
    check(len > 0 && offset % SECTOR == 0);
    say("direct write of %zu", len);
    if (world_fault(5)) {
        finish_later(io, op, -EIO, world_draw(2 * NS_PER_MS));
        return;
    }
    struct direct *direct = malloc(sizeof *direct + len);
    struct late *late = malloc(sizeof *late);
    check(direct && late);
    *late = (struct late){io, op, (int32_t)len};
    *direct = (struct direct){directs, file, late, offset, len};
    check(pread(file->fd, direct->before, len, (off_t)offset) == (ssize_t)len);
    check(pwritev(file->fd, iov, (int)count, (off_t)offset) == (ssize_t)len);
    directs = direct;
    world_later(world_draw(2 * NS_PER_MS), true, on_direct_written, direct, 0);
}

void ring_flush(void)
{
    for (struct direct **at = &directs, *direct; (direct = *at);) {
        if (direct->late) {
            at = &direct->older;
        } else {
            *at = direct->older;
            free(direct);
        }
    }
}

/* Newest first, so that what was there before the oldest comes back. */
static void lose_direct_writes(void)
{
    while (directs) {
        struct direct *direct = directs;
        bool all = world_chance(300), none = world_chance(300);
        for (size_t at = 0; at < direct->len; at += SECTOR)
            if (!none && (all || world_chance(500)))
                check(pwrite(direct->file->fd, direct->before + at, SECTOR,
                             (off_t)(direct->offset + at)) == SECTOR);
        directs = direct->older;
        free(direct->late);
        free(direct);
    }
}

void io_write(struct io *io, struct op *op, int fd, const struct iovec *iov, unsigned count,
              uint64_t offset)
{
    struct file *file = file_of(fd);
    check(op->state == OP_IDLE);
    op->state = OP_BUSY;
    if (file->is_direct) {
        write_direct(io, op, file, iov, count, offset);
        return;
    }
    ssize_t written = pwritev(file->fd, iov, (int)count, (off_t)offset);
    if (written > 0 && offset + (uint64_t)written > file->written)
        file->written = offset + (uint64_t)written;
    finish_later(io, op, written < 0 ? -errno : (int32_t)written, world_draw(2 * NS_PER_MS));
}

static void on_synced(void *context, uint64_t argument)
{
    struct late *late = context;
    struct file *file = &files[argument >> 48];
    uint64_t synced = argument & ((UINT64_C(1) << 48) - 1);
    if (synced > file->synced)
        file->synced = synced;
    finish(late->io, late->op, 0, false);
    free(late);
}

void io_datasync(struct io *io, struct op *op, int fd)
{
    check(op->state == OP_IDLE);
    op->state = OP_BUSY;
    struct late *late = malloc(sizeof *late);
    check(late);
    *late = (struct late){io, op, 0};
    uint64_t written = fd - FILE_BASE < (int)file_count ? files[fd - FILE_BASE].written : 0;
    world_later(world_draw(10 * NS_PER_MS), true, on_synced, late,
                (uint64_t)(fd - FILE_BASE) << 48 | written);
}

void ring_crash(void)
{
    lose_direct_writes();
    for (unsigned i = 0; i < file_count; i++) {
        struct file *file = &files[i];
        if (file->fd < 0)
            continue;
        if (file->is_direct) {
            close(file->fd);
            continue;
        }
        uint64_t lost = file->written - file->synced;
        uint64_t keep = file->synced + (lost ? world_draw(lost + 1) : 0);
        if (file->written > 0)
            check(ftruncate(file->fd, (off_t)keep) == 0);
        close(file->fd);
    }
    file_count = 0;
    for (int fd = 1; fd < SOCKETS; fd++) {
        struct socket *socket = &sockets[fd];
        free(socket->input);
        *socket = (struct socket){.generation = socket->generation + 1};
    }
}
