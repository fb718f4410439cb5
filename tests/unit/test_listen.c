/* Admission as a table, and a listener with real connections: limits, no descriptors left,
 * stopping. */
#include "core/listen.h"
#include "tests/unit/loopback.h"

/* ---- admission ---- */

static struct address parsed(const char *text)
{
    struct address address;
    assert_true(address_parse(span_string(text), 1000, &address));
    return address;
}

static void test_admission(void **state)
{
    static const struct {
        bool leave;
        const char *peer;
        enum listen_verdict verdict;
    } steps[] = {
        {false, "192.0.2.1", LISTEN_WELCOME},
        {false, "192.0.2.1:7", LISTEN_WELCOME}, /* ports do not matter */
        {false, "192.0.2.1", LISTEN_TOO_MANY_FROM_ADDRESS},
        {false, "::ffff:192.0.2.1", LISTEN_WELCOME}, /* a /64 of its own, never seen by V6ONLY */
        {true, "::ffff:192.0.2.1", LISTEN_WELCOME},
        {false, "192.0.2.2", LISTEN_WELCOME},
        {true, "192.0.2.1", LISTEN_WELCOME},
        {false, "192.0.2.1", LISTEN_WELCOME},
        {false, "2001:db8:0:1::1", LISTEN_WELCOME},
        {false, "2001:db8:0:1::2", LISTEN_WELCOME},
        {false, "2001:db8:0:1:ffff::", LISTEN_TOO_MANY_FROM_ADDRESS},
        {false, "2001:db8:0:2::1", LISTEN_WELCOME},
        {false, "192.0.2.3", LISTEN_TOO_MANY},
        {false, "192.0.2.1", LISTEN_TOO_MANY}, /* the total goes first */
        {true, "2001:db8:0:2::1", LISTEN_WELCOME},
        {false, "unix:/x", LISTEN_WELCOME},
        {false, "unix:/x", LISTEN_TOO_MANY},
        {true, "unix:/x", LISTEN_WELCOME},
        {true, "192.0.2.1", LISTEN_WELCOME},
        {true, "192.0.2.1", LISTEN_WELCOME},
        {true, "192.0.2.2", LISTEN_WELCOME},
        {true, "2001:db8:0:1::1", LISTEN_WELCOME},
        {true, "2001:db8:0:1::2", LISTEN_WELCOME},
    };
    struct admission admission;
    assert_int_equal(admission_init(&admission, 6, 2), 0);
    for (size_t i = 0; i < countof(steps); i++) {
        struct address peer = parsed(steps[i].peer);
        if (steps[i].leave)
            admission_leave(&admission, &peer);
        else if (admission_enter(&admission, &peer) != steps[i].verdict)
            fail_msg("step %zu", i);
    }
    assert_int_equal(admission.connections, 0);
    assert_int_equal(admission.by_address.count, 0); /* nothing is remembered */
    admission_fini(&admission);
}

static void test_no_limits(void **state)
{
    struct admission admission;
    struct address peer = parsed("192.0.2.1");
    assert_int_equal(admission_init(&admission, 0, 0), 0);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(admission_enter(&admission, &peer), LISTEN_WELCOME);
    admission_fini(&admission); /* also with connections left */
}

/* ---- listener ---- */

enum { MOST = 16 };

struct bench {
    struct loop loop;
    struct admission admission;
    struct listener listener;
    struct address address;
    unsigned count, stopped;
    struct listener *heir; /* who gets the socket when the next connection is told */
    struct {
        int fd;
        struct address peer;
        enum listen_verdict verdict;
    } seen[MOST];
};

static void on_connection(struct listener *listener, int fd, const struct address *peer,
                          enum listen_verdict verdict)
{
    struct bench *bench = listener->context;
    assert_true(bench->count < MOST);
    bench->seen[bench->count].fd = fd;
    bench->seen[bench->count].peer = *peer;
    bench->seen[bench->count].verdict = verdict;
    bench->count++;
    struct listener *heir = bench->heir;
    bench->heir = NULL;
    if (heir)
        listener_hand_over(listener, heir);
}

static void on_stopped(struct op *op)
{
    struct listener *listener = container_of(op, struct listener, accept);
    struct bench *bench = listener->context;
    bench->stopped++;
}

static struct bench *start(void **state, unsigned limit, unsigned limit_per_address)
{
    struct bench *bench = calloc(1, sizeof *bench);
    struct io_options options = {
        .entries = 16, .buffers = 16, .buffer_size = 512, .optional_features = *(bool *)*state};
    struct address any = loopback_address(0);
    assert_int_equal(loop_init(&bench->loop, &options, 0), 0);
    assert_int_equal(admission_init(&bench->admission, limit, limit_per_address), 0);
    assert_int_equal(listener_init(&bench->listener, &bench->loop, &any, &bench->admission,
                                   on_connection, bench),
                     0);
    bench->listener.on_stopped = on_stopped;
    assert_int_equal(io_local_address(bench->loop.io, bench->listener.fd, &bench->address), 0);
    listener_start(&bench->listener);
    return bench;
}

/* All listeners have stopped. */
static void close_bench(struct bench *bench)
{
    assert_int_equal(bench->loop.timers.armed, 0);
    for (unsigned i = 0; i < bench->count; i++)
        io_close_now(bench->loop.io, bench->seen[i].fd);
    admission_fini(&bench->admission);
    loop_fini(&bench->loop);
    free(bench);
}

static void finish(struct bench *bench)
{
    listener_stop(&bench->listener);
    listener_stop(&bench->listener);
    turn_until(&bench->loop, bench->stopped);
    assert_int_equal(bench->stopped, 1);
    close_bench(bench);
}

static void test_verdicts(void **state)
{
    struct bench *bench = start(state, 3, 2);
    struct address other = parsed("127.0.0.2:0");
    int peers[5];
    for (int i = 0; i < 3; i++)
        peers[i] = plain_connect(&bench->address);
    turn_until(&bench->loop, bench->count == 3);
    for (int i = 3; i < 5; i++) {
        peers[i] = io_socket(bench->loop.io, AF_INET, &other);
        assert_int_equal(connect(peers[i], &bench->address.any, bench->address.len), 0);
        turn_until(&bench->loop, bench->count == (unsigned)i + 1);
    }
    static const enum listen_verdict expected[] = {LISTEN_WELCOME, LISTEN_WELCOME,
                                                   LISTEN_TOO_MANY_FROM_ADDRESS, LISTEN_WELCOME,
                                                   LISTEN_TOO_MANY};
    for (int i = 0; i < 5; i++) {
        struct address local;
        assert_int_equal(bench->seen[i].verdict, expected[i]);
        assert_int_equal(io_local_address(bench->loop.io, peers[i], &local), 0);
        assert_int_equal(address_port(&bench->seen[i].peer), address_port(&local));
        close(peers[i]);
    }
    assert_int_equal(bench->listener.accepted, 3);
    assert_int_equal(bench->listener.refused, 2);
    finish(bench);
}

/* Heir after heir, also before the first one has its socket; who connects meanwhile is served by
 * the last, whoever is told. */
static void test_handed_over(void **state)
{
    struct bench *bench = start(state, 0, 0);
    struct listener heirs[3];
    struct listener *last = &bench->listener;
    int peers[4];
    peers[0] = plain_connect(&bench->address);
    turn_until(&bench->loop, bench->count == 1);
    for (unsigned i = 0; i < countof(heirs); i++) {
        listener_adopt(&heirs[i], &bench->loop, -1, &bench->admission, on_connection, bench);
        heirs[i].on_stopped = on_stopped;
        listener_hand_over(last, &heirs[i]);
        last = &heirs[i];
        peers[i + 1] = plain_connect(&bench->address);
    }
    turn_until(&bench->loop, bench->count == 4);
    assert_int_equal(bench->stopped, 3); /* all but the last heir */
    assert_true(last->fd >= 0 && !last->stopping);
    listener_stop(last);
    turn_until(&bench->loop, bench->stopped == 4);
    for (unsigned i = 0; i < countof(peers); i++)
        close(peers[i]);
    close_bench(bench);
}

/* A connection that the kernel has accepted when the hand-over begins is somebody's as well. */
static void test_handed_over_between_two(void **state)
{
    struct bench *bench = start(state, 0, 0);
    struct listener heir;
    listener_adopt(&heir, &bench->loop, -1, &bench->admission, on_connection, bench);
    heir.on_stopped = on_stopped;
    bench->heir = &heir;
    int peers[3];
    for (unsigned i = 0; i < countof(peers); i++)
        peers[i] = plain_connect(&bench->address);
    turn_until(&bench->loop, bench->count == 3 && bench->stopped == 1);
    listener_stop(&heir);
    turn_until(&bench->loop, bench->stopped == 2);
    for (unsigned i = 0; i < countof(peers); i++)
        close(peers[i]);
    close_bench(bench);
}

/* An heir that is stopped before the socket has come closes it when it comes. */
static void test_heir_stopped_early(void **state)
{
    struct bench *bench = start(state, 0, 0);
    struct listener heir;
    listener_adopt(&heir, &bench->loop, -1, &bench->admission, on_connection, bench);
    heir.on_stopped = on_stopped;
    listener_hand_over(&bench->listener, &heir);
    listener_stop(&heir);
    turn_until(&bench->loop, bench->stopped == 2);
    assert_int_equal(heir.fd, -1);
    int peer = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(peer, &bench->address.any, bench->address.len), -1);
    close(peer);
    close_bench(bench);
}

static void test_address_in_use(void **state)
{
    struct bench *bench = start(state, 0, 0);
    struct listener other;
    struct address taken;
    int plain = plain_listen(1, &taken); /* without SO_REUSEPORT */
    assert_int_equal(
        listener_init(&other, &bench->loop, &taken, &bench->admission, on_connection, bench),
        -EADDRINUSE);
    close(plain);
    finish(bench);
}

/* Every descriptor that the limit allows, so that accepting fails. The limit is lowered first: the
 * kernel notes it when a listener starts to accept. */
struct hoard {
    struct rlimit limit;
    unsigned count;
    int fds[256];
};

static void hoard_prepare(struct hoard *hoard)
{
    *hoard = (struct hoard){0};
    int next = dup(STDERR_FILENO);
    close(next);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &hoard->limit), 0);
    struct rlimit few = hoard->limit;
    few.rlim_cur = (rlim_t)next + 64;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
}

static void hoard_take(struct hoard *hoard)
{
    int fd;
    while ((fd = dup(STDERR_FILENO)) >= 0) {
        assert_true(hoard->count < countof(hoard->fds));
        hoard->fds[hoard->count++] = fd;
    }
    assert_int_equal(errno, EMFILE);
}

static void hoard_give(struct hoard *hoard)
{
    while (hoard->count)
        close(hoard->fds[--hoard->count]);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &hoard->limit), 0);
}

/* It pauses, and goes on when there are descriptors again. */
static void test_no_descriptors_left(void **state)
{
    struct hoard hoard;
    hoard_prepare(&hoard);
    struct bench *bench = start(state, 0, 0);
    int peer = socket(AF_INET, SOCK_STREAM, 0);
    hoard_take(&hoard);
    assert_int_equal(connect(peer, &bench->address.any, bench->address.len), 0);
    turn_until(&bench->loop, bench->listener.accept_errors == 1);
    turn_times(&bench->loop, 5);
    assert_int_equal(bench->listener.accept_errors, 1); /* it does not hammer */
    skipped_ns += 101 * NS_PER_MS;
    turn_until(&bench->loop, bench->listener.accept_errors == 2);
    hoard_give(&hoard);
    int next = plain_connect(&bench->address);
    skipped_ns += 101 * NS_PER_MS;
    turn_until(&bench->loop, bench->count >= 1);
    close(next);
    close(peer);
    finish(bench);
}

static void test_stop_while_pausing(void **state)
{
    struct hoard hoard;
    hoard_prepare(&hoard);
    struct bench *bench = start(state, 0, 0);
    int peer = socket(AF_INET, SOCK_STREAM, 0);
    hoard_take(&hoard);
    assert_int_equal(connect(peer, &bench->address.any, bench->address.len), 0);
    turn_until(&bench->loop, bench->listener.accept_errors == 1);
    hoard_give(&hoard);
    assert_true(op_idle(&bench->listener.accept));
    close(peer);
    finish(bench);
}

/* Peers that come while we stop get an end, not silence. */
static void test_stop_with_arrivals(void **state)
{
    struct bench *bench = start(state, 0, 0);
    turn_times(&bench->loop, 1);
    int peers[5];
    for (int i = 0; i < 4; i++)
        peers[i] = plain_connect(&bench->address);
    turn_times(&bench->loop, 1); /* accepted by the kernel, not dispatched yet */
    peers[4] = plain_connect(&bench->address);
    listener_stop(&bench->listener);
    turn_until(&bench->loop, bench->stopped);
    assert_int_equal(bench->count, 0);
    for (int i = 0; i < 5; i++) {
        char byte;
        assert_true(recv(peers[i], &byte, 1, 0) <= 0);
        close(peers[i]);
    }
    finish(bench);
}

/* A peer that was gone before it was looked at is nobody's concern. */
static void test_gone_before_accept(void **state)
{
    struct bench *bench = start(state, 0, 0);
    turn_times(&bench->loop, 1);
    for (int i = 0; i < 3; i++)
        close_with_reset(plain_connect(&bench->address));
    int peer = plain_connect(&bench->address);
    turn_until(&bench->loop, bench->listener.accepted == 1);
    assert_int_equal(bench->count, 1);
    assert_int_equal(bench->admission.connections, 1);
    close(peer);
    finish(bench);
}

#define TESTS(features)                                                                            \
    cmocka_unit_test_prestate(test_admission, features),                                           \
        cmocka_unit_test_prestate(test_no_limits, features),                                       \
        cmocka_unit_test_prestate(test_verdicts, features),                                        \
        cmocka_unit_test_prestate(test_handed_over, features),                                     \
        cmocka_unit_test_prestate(test_handed_over_between_two, features),                         \
        cmocka_unit_test_prestate(test_heir_stopped_early, features),                              \
        cmocka_unit_test_prestate(test_address_in_use, features),                                  \
        cmocka_unit_test_prestate(test_no_descriptors_left, features),                             \
        cmocka_unit_test_prestate(test_stop_while_pausing, features),                              \
        cmocka_unit_test_prestate(test_stop_with_arrivals, features),                              \
        cmocka_unit_test_prestate(test_gone_before_accept, features)

static bool with_optional = true, without_optional = false;

int main(void)
{
    const struct CMUnitTest all[] = {TESTS(&with_optional)};
    const struct CMUnitTest floor_only[] = {TESTS(&without_optional)};
    int failed = cmocka_run_group_tests_name("listen, all features", all, NULL, NULL);
    return failed + cmocka_run_group_tests_name("listen, kernel 6.1", floor_only, NULL, NULL);
}
