/* conn with TLS on the real ring: two conns that talk to each other over a TCP pair, in one loop,
 * and every way in which a handshake or a session can end. */
#include "tests/unit/loopback.h"
#include "tests/unit/tls_pair.h"

#include <signal.h>

enum { BUFFERS = 64, BUFFER_SIZE = 1024, BULK = 3 << 20 };

/* One end: its owner notes what it is told and reads everything. */
struct end {
    struct conn conn;
    unsigned seen, advances;
    bool closed, lazy; /* lazy: reads nothing */
    size_t received;
    uint8_t sum;
    char last[64];
};

struct fixture {
    struct loop loop;
    struct tls_context *server_context, *client_context;
    struct end server, client;
};

static void read_all(struct end *end)
{
    struct span input;
    while ((input = conn_input(&end->conn)).len > 0) {
        for (size_t i = 0; i < input.len; i++)
            end->sum = (uint8_t)(end->sum * 31 + input.data[i]);
        size_t tail = input.len < sizeof end->last - 1 ? input.len : sizeof end->last - 1;
        memcpy(end->last, input.data + input.len - tail, tail);
        end->last[tail] = '\0';
        end->received += input.len;
        conn_consume(&end->conn, input.len);
    }
}

static void on_advance(struct conn *conn)
{
    struct end *end = container_of(conn, struct end, conn);
    unsigned events = conn_events(conn);
    end->advances++;
    end->seen |= events;
    assert_false(end->closed);
    assert_false(conn_handshaking(conn) && (events & (CONN_INPUT | CONN_SENT)));
    if (events & CONN_CLOSED)
        end->closed = true;
    else if (!end->lazy)
        read_all(end);
}

static uint64_t in_s(struct fixture *fixture, uint64_t s)
{
    return fixture->loop.now_ns + s * NS_PER_S;
}

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    struct io_options options = {
        .entries = 16, .buffers = BUFFERS, .buffer_size = BUFFER_SIZE, .optional_features = true};
    assert_int_equal(loop_init(&fixture->loop, &options, 0), 0);
    fixture->server_context = server_context("server", NULL, "a");
    fixture->client_context = client_context("ca.pem");
    int server, client;
    tcp_pair(&server, &client);
    conn_open(&fixture->server.conn, &fixture->loop, server, on_advance, in_s(fixture, 60));
    conn_open(&fixture->client.conn, &fixture->loop, client, on_advance, in_s(fixture, 60));
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    struct io_usage usage;
    conn_abort(&fixture->server.conn);
    conn_abort(&fixture->client.conn);
    turn_until(&fixture->loop, fixture->server.closed && fixture->client.closed);
    io_usage(fixture->loop.io, &usage);
    assert_int_equal(usage.buffers_lent, 0);
    assert_true(list_empty(&fixture->loop.blocks.out)); /* every block came back */
    assert_true(list_empty(&fixture->loop.sends.out));
    loop_fini(&fixture->loop);
    tls_context_free(fixture->server_context);
    tls_context_free(fixture->client_context);
    free(fixture);
    return 0;
}

static void start_server(struct fixture *fixture)
{
    assert_true(conn_start_tls(&fixture->server.conn, tls_new_server(fixture->server_context),
                               in_s(fixture, 30)));
}

static void start_client(struct fixture *fixture, const char *name)
{
    struct tls_client_options options = {.name = span_string(name)};
    assert_true(conn_start_tls(&fixture->client.conn,
                               tls_new_client(fixture->client_context, &options),
                               in_s(fixture, 30)));
}

static bool secured(const struct end *end)
{
    return (end->seen & CONN_SECURED) && !conn_handshaking(&end->conn);
}

static void secure(struct fixture *fixture)
{
    start_server(fixture);
    start_client(fixture, "mx.example.com");
    turn_until(&fixture->loop, secured(&fixture->server) && secured(&fixture->client));
}

static void say_text(struct end *end, const char *text)
{
    struct iovec iov = {(void *)(uintptr_t)text, strlen(text)};
    assert_true(conn_send(&end->conn, &iov, 1));
}

static void test_both_ways(void **state)
{
    struct fixture *fixture = *state;
    assert_null(conn_facts(&fixture->client.conn));
    secure(fixture);
    const struct tls_facts *facts = conn_facts(&fixture->client.conn);
    assert_non_null(facts);
    assert_true(facts->verified);
    say_text(&fixture->client, "EHLO client\r\n");
    turn_until(&fixture->loop, fixture->server.received == 13);
    assert_string_equal(fixture->server.last, "EHLO client\r\n");
    say_text(&fixture->server, "250 server\r\n");
    turn_until(&fixture->loop, fixture->client.received == 12);
    assert_string_equal(fixture->client.last, "250 server\r\n");
    assert_true(fixture->client.seen & CONN_SENT);
    assert_false((fixture->client.seen | fixture->server.seen) & (CONN_ERROR | CONN_EOF));
}

/* What was plain before stays so, and the owner of the layer decides when it changes. */
static void test_after_plain_words(void **state)
{
    struct fixture *fixture = *state;
    say_text(&fixture->client, "STARTTLS\r\n");
    turn_until(&fixture->loop, fixture->server.received == 10);
    say_text(&fixture->server, "220\r\n");
    turn_until(&fixture->loop, fixture->client.received == 5 && (fixture->server.seen & CONN_SENT));
    secure(fixture);
    say_text(&fixture->client, "EHLO\r\n");
    turn_until(&fixture->loop, fixture->server.received == 16);
}

/* Megabytes in pieces of all sizes, in both directions at once. */
static void test_bulk(void **state)
{
    enum { PIECES = 60 };
    struct fixture *fixture = *state;
    static char bulk[BULK];
    struct iovec iov[PIECES];
    uint8_t sum = 0;
    size_t at = 0;
    for (size_t i = 0; i < BULK; i++) {
        bulk[i] = (char)(i * 7 + i / 251);
        sum = (uint8_t)(sum * 31 + bulk[i]);
    }
    for (unsigned i = 0; i < PIECES; i++) {
        size_t len = i + 1 == PIECES ? BULK - at : (i % 3 ? i * 97 : i * 3001);
        iov[i] = (struct iovec){bulk + at, len};
        at += len;
    }
    secure(fixture);
    assert_true(conn_send(&fixture->client.conn, iov, PIECES));
    assert_true(conn_send(&fixture->server.conn, iov, PIECES));
    turn_until(&fixture->loop,
               fixture->server.received == BULK && fixture->client.received == BULK &&
                   !conn_sending(&fixture->client.conn) && !conn_sending(&fixture->server.conn));
    assert_int_equal(fixture->server.sum, sum);
    assert_int_equal(fixture->client.sum, sum);
}

/* Unread octets hold one block, and the peer is made to wait. */
static void test_back_pressure(void **state)
{
    struct fixture *fixture = *state;
    static char bulk[4 * BULK]; /* more than the kernel's buffers take */
    secure(fixture);
    fixture->server.lazy = true;
    struct iovec iov = {bulk, sizeof bulk};
    assert_true(conn_send(&fixture->client.conn, &iov, 1));
    for (unsigned i = 0; i < 300; i++) {
        turn_times(&fixture->loop, 1);
        conn_input(&fixture->server.conn); /* looked at, not taken */
    }
    assert_true(conn_sending(&fixture->client.conn));
    assert_true(fixture->server.conn.full);
    fixture->server.lazy = false;
    conn_wake(&fixture->server.conn);
    turn_until(&fixture->loop, fixture->server.received == sizeof bulk);
}

static void test_empty_send(void **state)
{
    struct fixture *fixture = *state;
    secure(fixture);
    fixture->client.seen = 0;
    struct iovec iov[2] = {{(void *)(uintptr_t) "", 0}, {NULL, 0}};
    assert_true(conn_send(&fixture->client.conn, iov, 2));
    turn_until(&fixture->loop, fixture->client.seen & CONN_SENT);
}

/* ---- ends ---- */

static void test_close_says_close_notify(void **state)
{
    struct fixture *fixture = *state;
    secure(fixture);
    say_text(&fixture->client, "QUIT\r\n");
    conn_close(&fixture->client.conn); /* the send ends first */
    turn_until(&fixture->loop, fixture->server.seen & CONN_EOF);
    assert_int_equal(fixture->server.received, 6);
    assert_false(fixture->server.seen & CONN_ERROR);
    conn_close(&fixture->server.conn);
    turn_until(&fixture->loop, fixture->client.closed && fixture->server.closed);
}

static void test_close_with_much_to_send(void **state)
{
    struct fixture *fixture = *state;
    static char bulk[1 << 20];
    secure(fixture);
    struct iovec iov = {bulk, sizeof bulk};
    assert_true(conn_send(&fixture->client.conn, &iov, 1));
    conn_close(&fixture->client.conn);
    turn_until(&fixture->loop, fixture->server.seen & CONN_EOF);
    assert_int_equal(fixture->server.received, sizeof bulk);
}

/* The peer's end is the session's, while we are busy with something else too. */
static void test_end_while_paused(void **state)
{
    struct fixture *fixture = *state;
    secure(fixture);
    conn_pause(&fixture->server.conn);
    conn_close(&fixture->client.conn);
    turn_until(&fixture->loop, fixture->server.seen & CONN_EOF);
}

static void test_abort(void **state)
{
    struct fixture *fixture = *state;
    static char bulk[BULK];
    secure(fixture);
    fixture->server.lazy = true;
    struct iovec iov = {bulk, sizeof bulk};
    assert_true(conn_send(&fixture->client.conn, &iov, 1));
    turn_times(&fixture->loop, 20);
    conn_abort(&fixture->client.conn);
    turn_until(&fixture->loop, fixture->client.closed);
}

/* ---- handshakes that fail ---- */

static void test_bad_certificate(void **state)
{
    struct fixture *fixture = *state;
    start_server(fixture);
    start_client(fixture, "other.example.com");
    turn_until(&fixture->loop, (fixture->client.seen & CONN_ERROR) &&
                                   (fixture->server.seen & (CONN_ERROR | CONN_EOF)));
    assert_int_equal(fixture->client.conn.error, EPROTO);
    expect_trouble(conn_session(&fixture->client.conn), "certificate: Hostname mismatch");
    assert_false((fixture->client.seen | fixture->server.seen) & CONN_SECURED);
    /* The alert left before the owner could cut the connection. */
    assert_int_equal(fixture->server.conn.error, EPROTO);
    expect_trouble(conn_session(&fixture->server.conn), "alert bad certificate");
}

static void test_no_tls_there(void **state)
{
    struct fixture *fixture = *state;
    start_client(fixture, "mx.example.com");
    say_text(&fixture->server, "500 what is this?\r\n");
    turn_until(&fixture->loop, fixture->client.seen & CONN_ERROR);
    assert_int_equal(fixture->client.conn.error, EPROTO);
}

static void test_stalled(void **state)
{
    struct fixture *fixture = *state;
    start_client(fixture, "mx.example.com");
    turn_times(&fixture->loop, 5);
    assert_int_equal(fixture->client.advances, 0); /* nothing to tell */
    skipped_ns += 31 * NS_PER_S;
    turn_until(&fixture->loop, fixture->client.seen & CONN_TIMEOUT);
    assert_false(fixture->client.seen & CONN_SECURED);
}

static void test_closed_instead(void **state)
{
    struct fixture *fixture = *state;
    start_client(fixture, "mx.example.com");
    conn_close(&fixture->server.conn);
    turn_until(&fixture->loop, fixture->client.seen & CONN_EOF);
    assert_false(fixture->client.seen & CONN_SECURED);
}

static void test_close_in_handshake(void **state)
{
    struct fixture *fixture = *state;
    start_server(fixture);
    start_client(fixture, "mx.example.com");
    turn_times(&fixture->loop, 1);
    conn_close(&fixture->client.conn);
    turn_until(&fixture->loop, fixture->client.closed);
}

/* A record that was changed on its way. */
static void test_damaged_record(void **state)
{
    struct fixture *fixture = *state;
    static const char damaged[] = "\x17\x03\x03\x00\x20 thirty-two octets, not sealed so.";
    secure(fixture);
    struct iovec iov = {(void *)(uintptr_t)damaged, 5 + 32};
    assert_int_equal(send(fixture->client.conn.fd, iov.iov_base, iov.iov_len, 0), iov.iov_len);
    turn_until(&fixture->loop, fixture->server.seen & CONN_ERROR);
    assert_int_equal(fixture->server.conn.error, EPROTO);
    expect_trouble(conn_session(&fixture->server.conn), "decryption failed or bad record mac");
}

/* ---- many at once ---- */

/* A flood of client hellos: a few go on in each turn, and all in the end. */
static void test_handshakes_take_turns(void **state)
{
    enum { FLOOD = 40, PER_TURN = 8 };
    struct fixture *fixture = *state;
    static struct end servers[FLOOD], clients[FLOOD];
    struct tls_client_options options = {.name = SPAN("mx.example.com")};
    memset(servers, 0, sizeof servers);
    memset(clients, 0, sizeof clients);
    for (unsigned i = 0; i < FLOOD; i++) {
        servers[i].lazy = true; /* what comes is for the handshake */
        int server, client;
        tcp_pair(&server, &client);
        conn_open(&servers[i].conn, &fixture->loop, server, on_advance, in_s(fixture, 60));
        conn_open(&clients[i].conn, &fixture->loop, client, on_advance, in_s(fixture, 60));
        assert_true(conn_start_tls(&clients[i].conn,
                                   tls_new_client(fixture->client_context, &options),
                                   in_s(fixture, 30)));
    }
    turn_times(&fixture->loop, 50); /* every hello is there */
    for (unsigned i = 0; i < FLOOD; i++)
        assert_true(conn_start_tls(&servers[i].conn, tls_new_server(fixture->server_context),
                                   in_s(fixture, 30)));
    for (unsigned turn = 1; turn <= 3; turn++) {
        unsigned begun = 0;
        turn_times(&fixture->loop, 1);
        for (unsigned i = 0; i < FLOOD; i++)
            begun += servers[i].conn.bytes_out > 0 || !op_idle(&servers[i].conn.send);
        assert_true(begun <= turn * PER_TURN);
    }
    for (unsigned i = 0; i < FLOOD; i++)
        turn_until(&fixture->loop, secured(&servers[i]) && secured(&clients[i]));
    for (unsigned i = 0; i < FLOOD; i++) {
        conn_abort(&servers[i].conn);
        conn_abort(&clients[i].conn);
        turn_until(&fixture->loop, servers[i].closed && clients[i].closed);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        TEST(test_both_ways),
        TEST(test_after_plain_words),
        TEST(test_bulk),
        TEST(test_back_pressure),
        TEST(test_empty_send),
        TEST(test_close_says_close_notify),
        TEST(test_close_with_much_to_send),
        TEST(test_end_while_paused),
        TEST(test_abort),
        TEST(test_bad_certificate),
        TEST(test_no_tls_there),
        TEST(test_stalled),
        TEST(test_closed_instead),
        TEST(test_close_in_handshake),
        TEST(test_damaged_record),
        TEST(test_handshakes_take_turns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
