/* Help for tests with real sockets: a connected TCP pair, and turns until something holds. A test
 * that includes this has a clock of its own that can be moved ahead (skipped_ns), so that no test
 * waits for a deadline. */
#pragma once

#include "core/clock.h"
#include "core/conn.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static uint64_t skipped_ns;

uint64_t clock_mono_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec + skipped_ns;
}

uint64_t clock_wall_ms(void)
{
    return clock_mono_ns() / NS_PER_MS;
}

/* Long enough for a slow machine; only a failing test waits that long. */
enum { MOST_TURNS = 20000 };

#define turn_until(loop, condition)                                                                \
    do {                                                                                           \
        unsigned turns_left = MOST_TURNS;                                                          \
        while (!(condition)) {                                                                     \
            if (turns_left-- == 0)                                                                 \
                fail_msg("never: %s", #condition);                                                 \
            assert_int_equal(loop_turn(loop, NS_PER_MS), 0);                                       \
        }                                                                                          \
    } while (0)

static inline void turn_times(struct loop *loop, unsigned count)
{
    while (count--)
        assert_int_equal(loop_turn(loop, NS_PER_MS), 0);
}

static inline struct address loopback_address(uint16_t port)
{
    struct address address;
    assert_true(address_parse(SPAN("127.0.0.1"), port, &address));
    return address;
}

/* A listening socket of the test's own. */
static inline int plain_listen(int backlog, struct address *ret_address)
{
    struct address address = loopback_address(0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, &address.any, address.len), 0);
    assert_int_equal(listen(fd, backlog), 0);
    assert_int_equal(getsockname(fd, &address.any, &address.len), 0);
    *ret_address = address;
    return fd;
}

static inline int plain_connect(const struct address *address)
{
    int fd = socket(address->family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, &address->any, address->len), 0);
    return fd;
}

static inline void set_nonblocking(int fd)
{
    assert_int_equal(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK), 0);
}

/* Ours for a conn (blocking), the peer's non-blocking. */
static inline void tcp_pair(int *ret_ours, int *ret_peer)
{
    struct address address;
    int listener = plain_listen(1, &address);
    *ret_peer = plain_connect(&address);
    *ret_ours = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(*ret_ours >= 0);
    close(listener);
    set_nonblocking(*ret_peer);
}

static inline void close_with_reset(int fd)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger), 0);
    close(fd);
}

static inline void allow_descriptors(rlim_t count)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    if (limit.rlim_cur < count && limit.rlim_max >= count) {
        limit.rlim_cur = count;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    }
}
