/* io.h on the real ring, below the loop. Everything runs twice, with and without what later kernels
 * have. */
#include "tests/unit/loopback.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

enum { BUFFERS = 8, BUFFER_SIZE = 512, LOGGED = 64 };

struct watched {
    struct op op;
    unsigned count;
    int32_t results[LOGGED];
    bool more[LOGGED];
    uint16_t buffers[LOGGED];
};

static void on_done(struct op *op)
{
    struct watched *watched = container_of(op, struct watched, op);
    assert_true(watched->count < LOGGED);
    watched->results[watched->count] = op->result;
    watched->more[watched->count] = op->more;
    watched->buffers[watched->count] = op->buffer;
    watched->count++;
}

static void watched_init(struct watched *watched)
{
    *watched = (struct watched){0};
    op_init(&watched->op, on_done);
}

static struct io *start(void **state)
{
    struct io_options options = {.entries = 8,
                                 .buffers = BUFFERS,
                                 .buffer_size = BUFFER_SIZE,
                                 .optional_features = *(bool *)*state};
    struct io *io = NULL;
    assert_int_equal(io_new(&options, &io), 0);
    return io;
}

/* As the loop does. */
static unsigned turn(struct io *io, uint64_t wait_ns)
{
    assert_int_equal(io_turn(io, wait_ns), 0);
    unsigned count = 0;
    struct op *op;
    while ((op = io_next(io))) {
        assert_int_equal(op->state, OP_BUSY);
        op->state = op->more ? OP_BUSY : OP_IDLE;
        op->done(op);
        count++;
    }
    return count;
}

#define until(io, condition)                                                                       \
    do {                                                                                           \
        unsigned turns_left = MOST_TURNS;                                                          \
        while (!(condition)) {                                                                     \
            if (turns_left-- == 0)                                                                 \
                fail_msg("never: %s", #condition);                                                 \
            turn(io, NS_PER_MS);                                                                   \
        }                                                                                          \
    } while (0)

static unsigned lent(struct io *io)
{
    struct io_usage usage;
    io_usage(io, &usage);
    return usage.buffers_lent;
}

static unsigned starved(struct io *io)
{
    struct io_usage usage;
    io_usage(io, &usage);
    return usage.starved;
}

/* ---- opening ---- */

static void test_sizes_out_of_range(void **state)
{
    static const struct io_options bad[] = {
        {.entries = 0, .buffers = 8, .buffer_size = 512},
        {.entries = 12, .buffers = 8, .buffer_size = 512},
        {.entries = 8, .buffers = 0, .buffer_size = 512},
        {.entries = 8, .buffers = 12, .buffer_size = 512},
        {.entries = 8, .buffers = 65536, .buffer_size = 512},
    };
    struct io *io = NULL;
    for (size_t i = 0; i < countof(bad); i++)
        assert_int_equal(io_new(&bad[i], &io), -EINVAL);
    assert_null(io);
    assert_null(io_free(NULL));
}

static void test_explanations(void **state)
{
    static const struct {
        int error;
        const char *word;
    } cases[] = {
        {-EPERM, "seccomp"},         {-ENOSYS, "CONFIG_IO_URING"}, {-EINVAL, "6.1"},
        {-ENOMEM, "RLIMIT_MEMLOCK"}, {-EMFILE, "RLIMIT_NOFILE"},   {-EIO, "ring"},
    };
    for (size_t i = 0; i < countof(cases); i++)
        assert_non_null(strstr(io_explain(cases[i].error), cases[i].word));
}

/* A process that seccomp keeps from io_uring_setup, as a container's default profile does. */
static void *open_behind_seccomp(void *context)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = countof(filter), .filter = filter};
    struct io_options options = {.entries = 8, .buffers = 8, .buffer_size = 512};
    struct io *io = NULL;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) < 0)
        return NULL;
    return (void *)(intptr_t)io_new(&options, &io);
}

static void test_blocked(void **state)
{
    pthread_t thread; /* a filter holds for the thread that sets it */
    void *result;
    assert_int_equal(pthread_create(&thread, NULL, open_behind_seccomp, NULL), 0);
    pthread_join(thread, &result);
    if (!result)
        skip(); /* no filters here */
    assert_int_equal((intptr_t)result, -EPERM);
    assert_non_null(strstr(io_explain(-EPERM), "io_uring_setup"));
}

/* ---- accepting ---- */

static void test_accepts_in_order(void **state)
{
    struct io *io = start(state);
    struct address address = loopback_address(0), peer;
    int listener = io_listen(io, &address, 16);
    assert_true(listener >= 0);
    assert_int_equal(io_local_address(io, listener, &address), 0);
    struct watched accept;
    watched_init(&accept);
    io_accept(io, &accept.op, listener);
    turn(io, 0);
    int peers[5];
    uint16_t ports[5];
    for (int i = 0; i < 5; i++) {
        struct address local;
        peers[i] = plain_connect(&address);
        assert_int_equal(io_local_address(io, peers[i], &local), 0);
        ports[i] = address_port(&local);
    }
    until(io, accept.count == 5);
    for (int i = 0; i < 5; i++) {
        assert_true(accept.more[i]);
        assert_int_equal(io_peer_address(io, accept.results[i], &peer), 0);
        assert_int_equal(address_port(&peer), ports[i]);
        int on = 0;
        socklen_t len = sizeof on;
        assert_int_equal(getsockopt(accept.results[i], IPPROTO_TCP, TCP_NODELAY, &on, &len), 0);
        assert_int_equal(on, 1); /* inherited */
        assert_true(fcntl(accept.results[i], F_GETFD) & FD_CLOEXEC);
        assert_false(fcntl(accept.results[i], F_GETFL) & O_NONBLOCK);
    }
    io_cancel(io, &accept.op);
    io_cancel(io, &accept.op);
    until(io, op_idle(&accept.op));
    assert_int_equal(accept.count, 6);
    assert_int_equal(accept.results[5], -ECANCELED);
    assert_false(accept.more[5]);
    for (int i = 0; i < 5; i++) {
        io_close_now(io, accept.results[i]);
        close(peers[i]);
    }
    io_close_now(io, listener);
    io_free(io);
}

static void test_listen_shares_its_port(void **state)
{
    struct io *io = start(state);
    struct address address = loopback_address(0);
    int one = io_listen(io, &address, 16);
    assert_int_equal(io_local_address(io, one, &address), 0);
    int two = io_listen(io, &address, 16);
    assert_true(two >= 0);
    struct address foreign;
    assert_true(address_parse(SPAN("192.0.2.1"), 0, &foreign));
    assert_int_equal(io_listen(io, &foreign, 16), -EADDRNOTAVAIL);
    io_close_now(io, one);
    io_close_now(io, two);
    io_free(io);
}

static void test_ipv6_listens_apart(void **state)
{
    struct io *io = start(state);
    struct address v6, v4 = loopback_address(0);
    assert_true(address_parse(SPAN("[::]:0"), 0, &v6));
    int fd = io_listen(io, &v6, 16);
    if (fd == -EAFNOSUPPORT) {
        io_free(io);
        skip(); /* a kernel without IPv6 */
    }
    assert_true(fd >= 0);
    assert_int_equal(io_local_address(io, fd, &v6), 0);
    address_set_port(&v4, address_port(&v6));
    int client = io_socket(io, AF_INET, NULL);
    assert_int_equal(connect(client, &v4.any, v4.len), -1);
    io_close_now(io, client);
    io_close_now(io, fd);
    io_free(io);
}

static void test_unix_listener(void **state)
{
    struct io *io = start(state);
    char folder[] = "/tmp/ringpost-test-XXXXXX", path[64];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "unix:%s/control", folder);
    struct address address, peer;
    assert_true(address_parse(span_string(path), 0, &address));
    int first = io_listen(io, &address, 16);
    assert_true(first >= 0);
    struct stat status;
    assert_int_equal(stat(address.unix_path.sun_path, &status), 0);
    assert_int_equal(status.st_mode & 0007, 0);
    assert_int_equal(io_listen(io, &address, 16), -EADDRINUSE); /* it lives */
    io_close_now(io, first);
    int second = io_listen(io, &address, 16); /* it is dead, its file is there */
    assert_true(second >= 0);
    int client = plain_connect(&address);
    int server = accept(second, NULL, NULL);
    assert_int_equal(io_peer_address(io, server, &peer), 0);
    assert_int_equal(peer.family, AF_UNIX);
    close(client);
    close(server);
    io_close_now(io, second);
    unlink(address.unix_path.sun_path);
    rmdir(folder);
    io_free(io);
}

static void test_source_without_port(void **state)
{
    static const char *const sources[] = {"127.0.0.3", "::1"};
    struct io *io = start(state);
    for (size_t i = 0; i < countof(sources); i++) {
        struct address source, bound;
        assert_true(address_parse(span_string(sources[i]), 0, &source));
        int fd = io_socket(io, source.family, &source);
        if (fd == -EAFNOSUPPORT || fd == -EADDRNOTAVAIL)
            continue; /* no IPv6 here */
        assert_true(fd >= 0);
        assert_int_equal(io_local_address(io, fd, &bound), 0);
        assert_int_equal(address_port(&bound), 0); /* chosen at connect */
        uint8_t asked[16], got[16];
        assert_true(address_bits(&source, asked) && address_bits(&bound, got));
        assert_memory_equal(asked, got, 16);
        io_close_now(io, fd);
    }
    io_free(io);
}

static void test_source_with_port(void **state)
{
    struct io *io = start(state);
    struct address source, bound;
    int holder = plain_listen(1, &source);
    close(holder); /* a port that was free a moment ago */
    int fd = io_socket(io, AF_INET, &source);
    assert_true(fd >= 0);
    assert_int_equal(io_local_address(io, fd, &bound), 0);
    assert_int_equal(address_port(&bound), address_port(&source));
    io_close_now(io, fd);
    io_free(io);
}

/* ---- receiving ---- */

static void test_results_of_one_op_in_order(void **state)
{
    struct io *io = start(state);
    int ours, peer;
    tcp_pair(&ours, &peer);
    struct watched receive;
    watched_init(&receive);
    io_receive(io, &receive.op, ours, IO_INBOUND);
    turn(io, 0);
    char data[3 * BUFFER_SIZE];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (char)(i / BUFFER_SIZE);
    assert_int_equal(send(peer, data, sizeof data, 0), sizeof data);
    shutdown(peer, SHUT_WR);
    until(io, op_idle(&receive.op));
    assert_int_equal(receive.count, 4);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(receive.results[i], BUFFER_SIZE);
        assert_true(receive.more[i]);
        assert_int_equal(io_buffer(io, receive.buffers[i])[BUFFER_SIZE - 1], i);
    }
    assert_int_equal(receive.results[3], 0);
    assert_false(receive.more[3]);
    assert_int_equal(lent(io), 3);
    for (int i = 0; i < 3; i++)
        io_buffer_return(io, receive.buffers[i]);
    assert_int_equal(lent(io), 0);
    io_close_now(io, ours);
    close(peer);
    io_free(io);
}

static void test_groups_are_apart(void **state)
{
    struct io *io = start(state);
    int ours[2], peer[2];
    struct watched flood, reply;
    watched_init(&flood);
    watched_init(&reply);
    tcp_pair(&ours[0], &peer[0]);
    tcp_pair(&ours[1], &peer[1]);
    io_receive(io, &flood.op, ours[0], IO_INBOUND);
    io_receive(io, &reply.op, ours[1], IO_OUTBOUND);
    char data[2 * BUFFERS * BUFFER_SIZE] = {0};
    assert_int_equal(send(peer[0], data, sizeof data, 0), sizeof data);
    until(io, starved(io) == 1);
    assert_int_equal(lent(io), BUFFERS);
    assert_int_equal(send(peer[1], "250 ok\r\n", 8, 0), 8);
    until(io, reply.count == 1);
    assert_true(reply.buffers[0] >= BUFFERS);
    assert_memory_equal(io_buffer(io, reply.buffers[0]), "250 ok\r\n", 8);
    for (int i = 0; i < 2; i++) {
        io_close_now(io, ours[i]);
        close(peer[i]);
    }
    io_free(io);
}

/* An empty group is never an error, and a cancel reaches a receive that waits for buffers. */
static void test_starved(void **state)
{
    struct io *io = start(state);
    int ours[3], peer[3];
    struct watched receives[3];
    char data[BUFFERS * BUFFER_SIZE] = {0};
    for (int i = 0; i < 3; i++) {
        tcp_pair(&ours[i], &peer[i]);
        watched_init(&receives[i]);
        io_receive(io, &receives[i].op, ours[i], IO_INBOUND);
    }
    assert_int_equal(send(peer[0], data, sizeof data, 0), sizeof data);
    until(io, lent(io) == BUFFERS);
    assert_int_equal(send(peer[1], "1", 1, 0), 1);
    until(io, starved(io) >= 1);
    assert_int_equal(send(peer[2], "2", 1, 0), 1);
    until(io, starved(io) >= 2);
    assert_int_equal(receives[1].count + receives[2].count, 0);
    io_cancel(io, &receives[1].op);
    until(io, op_idle(&receives[1].op));
    assert_int_equal(receives[1].results[0], -ECANCELED);
    io_buffer_return(io, receives[0].buffers[0]);
    until(io, receives[2].count == 1);
    assert_int_equal(receives[2].results[0], 1);
    for (int i = 0; i < 3; i++) {
        io_close_now(io, ours[i]);
        close(peer[i]);
    }
    io_free(io);
}

/* A socket that has nothing to give needs no buffer to wait. */
static void test_idle_does_not_starve(void **state)
{
    struct io *io = start(state);
    int ours[2], peer[2];
    struct watched greedy, idle;
    char data[BUFFERS * BUFFER_SIZE] = {0};
    watched_init(&greedy);
    watched_init(&idle);
    for (int i = 0; i < 2; i++)
        tcp_pair(&ours[i], &peer[i]);
    io_receive(io, &greedy.op, ours[0], IO_INBOUND);
    assert_int_equal(send(peer[0], data, sizeof data, 0), sizeof data);
    until(io, lent(io) == BUFFERS);
    io_receive(io, &idle.op, ours[1], IO_INBOUND);
    for (int i = 0; i < 3; i++)
        turn(io, NS_PER_MS);
    assert_int_equal(starved(io), 0);
    for (int i = 0; i < 2; i++) {
        io_close_now(io, ours[i]);
        close(peer[i]);
    }
    io_free(io);
}

/* First come, first served, and those that have nothing to receive do not stand in the way. */
static void test_idle_starved_give_way(void **state)
{
    enum { CROWD = 40 };
    struct io *io = start(state);
    int ours[CROWD], peer[CROWD];
    struct watched receives[CROWD];
    char data[BUFFERS * BUFFER_SIZE] = {0};
    for (int i = 0; i < CROWD; i++) {
        tcp_pair(&ours[i], &peer[i]);
        watched_init(&receives[i]);
        io_receive(io, &receives[i].op, ours[i], IO_INBOUND);
    }
    assert_int_equal(send(peer[0], data, sizeof data, 0), sizeof data);
    until(io, lent(io) == BUFFERS);
    for (int i = 1; i < CROWD; i++)
        assert_int_equal(send(peer[i], "x", 1, 0), 1);
    until(io, starved(io) >= CROWD - 1);
    char byte;
    for (int i = 1; i < CROWD - 1; i++) /* all but the last lose what they had to receive */
        assert_int_equal(recv(ours[i], &byte, 1, MSG_DONTWAIT), 1);
    io_buffer_return(io, receives[0].buffers[0]);
    for (int turns = 0; receives[CROWD - 1].count == 0; turns++) {
        assert_true(turns < CROWD);
        turn(io, 600 * NS_PER_S); /* does not wait while it can still feed somebody */
    }
    assert_int_equal(receives[CROWD - 1].results[0], 1);
    for (int i = 0; i < CROWD; i++) {
        io_close_now(io, ours[i]);
        close(peer[i]);
    }
    io_free(io);
}

/* ---- the other ops ---- */

static void test_failures_are_results(void **state)
{
    struct io *io = start(state);
    struct watched watched[6];
    struct iovec iov = {.iov_base = &iov, .iov_len = 1};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    struct address address = loopback_address(1);
    for (int i = 0; i < 6; i++)
        watched_init(&watched[i]);
    io_accept(io, &watched[0].op, -1);
    io_receive(io, &watched[1].op, -1, IO_INBOUND);
    io_send(io, &watched[2].op, -1, &message);
    io_connect(io, &watched[3].op, -1, &address);
    io_close(io, &watched[4].op, -1);
    io_shutdown(io, &watched[5].op, -1);
    for (int i = 0; i < 6; i++) {
        until(io, watched[i].count == 1);
        assert_int_equal(watched[i].results[0], -EBADF);
        assert_true(op_idle(&watched[i].op));
    }
    io_free(io);
}

/* More than the submission queue holds, without a turn in between. */
static void test_full_submission_queue(void **state)
{
    enum { CROWD = 100 };
    struct io *io = start(state);
    int ours, peer;
    tcp_pair(&ours, &peer);
    struct watched polls[CROWD];
    for (int i = 0; i < CROWD; i++) {
        watched_init(&polls[i]);
        io_poll(io, &polls[i].op, ours, POLLIN);
    }
    assert_int_equal(send(peer, "x", 1, 0), 1);
    unsigned done = 0;
    while (done < CROWD)
        done += turn(io, NS_PER_MS);
    for (int i = 0; i < CROWD; i++)
        assert_true(polls[i].results[0] & POLLIN);
    io_close_now(io, ours);
    close(peer);
    io_free(io);
}

static void test_cancel(void **state)
{
    struct io *io = start(state);
    int ours, peer;
    tcp_pair(&ours, &peer);
    struct watched poll;
    watched_init(&poll);
    io_cancel(io, &poll.op); /* idle: nothing */
    io_poll(io, &poll.op, ours, POLLIN);
    io_cancel(io, &poll.op); /* not even submitted yet */
    until(io, poll.count == 1);
    assert_int_equal(poll.results[0], -ECANCELED);
    /* A cancel that comes too late meets nothing, and not the next start of the same op. */
    io_poll(io, &poll.op, ours, POLLOUT);
    assert_int_equal(io_turn(io, NS_PER_S), 0);
    io_cancel(io, &poll.op);
    assert_ptr_equal(io_next(io), &poll.op);
    assert_true(poll.op.result & POLLOUT);
    poll.op.state = OP_IDLE;
    io_poll(io, &poll.op, ours, POLLIN);
    turn(io, 0);
    turn(io, 0);
    assert_int_equal(poll.count, 1);
    assert_int_equal(send(peer, "x", 1, 0), 1);
    until(io, poll.count == 2);
    assert_true(poll.results[1] & POLLIN);
    io_close_now(io, ours);
    close(peer);
    io_free(io);
}

static void test_shutdown_then_close(void **state)
{
    struct io *io = start(state);
    int ours, peer;
    tcp_pair(&ours, &peer);
    struct watched control, receive;
    watched_init(&control);
    watched_init(&receive);
    io_receive(io, &receive.op, ours, IO_INBOUND);
    turn(io, 0);
    io_shutdown(io, &control.op, ours);
    assert_int_equal(turn(io, 600 * NS_PER_S), 1); /* done already: nothing to wait for */
    char byte;
    assert_int_equal(recv(peer, &byte, 1, 0), 0);
    assert_int_equal(send(peer, "x", 1, 0), 1); /* our other direction is open */
    until(io, receive.count == 1);
    assert_int_equal(receive.results[0], 1);
    io_cancel(io, &receive.op);
    until(io, op_idle(&receive.op));
    io_close(io, &control.op, ours);
    until(io, control.count == 2);
    assert_int_equal(control.results[1], 0);
    assert_int_equal(fcntl(ours, F_GETFD), -1);
    close(peer);
    io_free(io);
}

static void test_files(void **state)
{
    struct io *io = start(state);
    char folder[] = "/tmp/ringpost-test-XXXXXX", path[64];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/journal", folder);
    struct watched file;
    watched_init(&file);
    io_open(io, &file.op, path, O_RDWR, 0600);
    until(io, file.count == 1);
    assert_int_equal(file.results[0], -ENOENT);
    io_open(io, &file.op, path, O_RDWR | O_CREAT | O_EXCL, 0600);
    until(io, file.count == 2);
    int fd = file.results[1];
    assert_true(fd >= 0);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    char a[] = "one ", b[] = "two";
    struct iovec iov[] = {{a, 4}, {b, 3}};
    io_write(io, &file.op, fd, iov, 2, 10);
    until(io, file.count == 3);
    assert_int_equal(file.results[2], 7);
    io_datasync(io, &file.op, fd);
    until(io, file.count == 4);
    assert_int_equal(file.results[3], 0);
    char copy[32];
    assert_int_equal(pread(fd, copy, sizeof copy, 10), 7);
    assert_memory_equal(copy, "one two", 7);
    io_close_now(io, fd);
    unlink(path);
    rmdir(folder);
    io_free(io);
}

/* ---- waiting and waking ---- */

static void test_wait_ends_by_time(void **state)
{
    struct io *io = start(state);
    assert_int_equal(turn(io, 600 * NS_PER_S),
                     0); /* the first never waits: see ring.c, lost wake */
    uint64_t before = clock_mono_ns();
    assert_int_equal(turn(io, 20 * NS_PER_MS), 0);
    assert_true(clock_mono_ns() - before >= 19 * NS_PER_MS); /* it did not spin */
    assert_int_equal(turn(io, 0), 0);
    io_free(io);
}

static void *wake_it(void *io)
{
    io_wake(io, NULL);
    return NULL;
}

/* Would wait for ever; also when the wake came first. */
static void test_wake_from_a_thread(void **state)
{
    struct io *io = start(state);
    turn(io, 0);
    for (int i = 0; i < 20; i++) {
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, wake_it, io), 0);
        if (i % 2)
            pthread_join(thread, NULL);
        assert_int_equal(turn(io, 600 * NS_PER_S), 0);
        if (i % 2 == 0)
            pthread_join(thread, NULL);
    }
    io_free(io);
}

static void test_wake_from_a_ring(void **state)
{
    struct io *io = start(state), *other = start(state);
    turn(io, 0);
    turn(other, 0);
    for (int i = 0; i < 20; i++) {
        io_wake(io, other);
        turn(other, 0);
        assert_int_equal(turn(io, 600 * NS_PER_S), 0);
    }
    io_free(other);
    io_free(io);
}

/* A ring that nobody turns yet may be woken, it is no error. */
static void test_wake_before_the_first_turn(void **state)
{
    struct io *io = start(state), *other = start(state);
    io_wake(io, NULL);
    io_wake(io, other);
    turn(other, 0);
    turn(other, 0);
    turn(io, NS_PER_MS);
    io_free(other);
    io_free(io);
}

static void *turn_it(void *io)
{
    turn(io, NS_PER_MS);
    turn(io, NS_PER_MS);
    return io;
}

/* Made here, used there. */
static void test_first_turn_in_another_thread(void **state)
{
    struct io *io = start(state);
    int ours, peer;
    tcp_pair(&ours, &peer);
    struct watched receive;
    watched_init(&receive);
    io_receive(io, &receive.op, ours, IO_INBOUND);
    assert_int_equal(send(peer, "x", 1, 0), 1);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, turn_it, io), 0);
    pthread_join(thread, NULL);
    assert_int_equal(receive.count, 1);
    assert_true(io_turn(io, 0) < 0); /* not ours any more */
    io_close_now(io, ours);
    close(peer);
    io_free(io);
}

#define TESTS(features)                                                                            \
    cmocka_unit_test_prestate(test_sizes_out_of_range, features),                                  \
        cmocka_unit_test_prestate(test_explanations, features),                                    \
        cmocka_unit_test_prestate(test_blocked, features),                                         \
        cmocka_unit_test_prestate(test_accepts_in_order, features),                                \
        cmocka_unit_test_prestate(test_listen_shares_its_port, features),                          \
        cmocka_unit_test_prestate(test_ipv6_listens_apart, features),                              \
        cmocka_unit_test_prestate(test_unix_listener, features),                                   \
        cmocka_unit_test_prestate(test_source_without_port, features),                             \
        cmocka_unit_test_prestate(test_source_with_port, features),                                \
        cmocka_unit_test_prestate(test_results_of_one_op_in_order, features),                      \
        cmocka_unit_test_prestate(test_groups_are_apart, features),                                \
        cmocka_unit_test_prestate(test_starved, features),                                         \
        cmocka_unit_test_prestate(test_idle_does_not_starve, features),                            \
        cmocka_unit_test_prestate(test_idle_starved_give_way, features),                           \
        cmocka_unit_test_prestate(test_failures_are_results, features),                            \
        cmocka_unit_test_prestate(test_full_submission_queue, features),                           \
        cmocka_unit_test_prestate(test_cancel, features),                                          \
        cmocka_unit_test_prestate(test_shutdown_then_close, features),                             \
        cmocka_unit_test_prestate(test_files, features),                                           \
        cmocka_unit_test_prestate(test_wait_ends_by_time, features),                               \
        cmocka_unit_test_prestate(test_wake_from_a_thread, features),                              \
        cmocka_unit_test_prestate(test_wake_from_a_ring, features),                                \
        cmocka_unit_test_prestate(test_wake_before_the_first_turn, features),                      \
        cmocka_unit_test_prestate(test_first_turn_in_another_thread, features)

static bool with_optional = true, without_optional = false;

int main(void)
{
    const struct CMUnitTest all[] = {TESTS(&with_optional)};
    const struct CMUnitTest floor_only[] = {TESTS(&without_optional)};
    int failed = cmocka_run_group_tests_name("ring, all features", all, NULL, NULL);
    return failed + cmocka_run_group_tests_name("ring, kernel 6.1", floor_only, NULL, NULL);
}
