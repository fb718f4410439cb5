/* conn on the real ring, with plain sockets as peers: every way a peer can behave badly. Everything
 * runs twice, with and without what later kernels have. */
#include "tests/unit/loopback.h"

enum { BUFFERS = 64, BUFFER_SIZE = 1024, BULK = 6 << 20 };

/* A conn with an owner that notes what it is told. */
struct subject {
    struct conn conn;
    unsigned seen; /* all events so far */
    unsigned advances, closed;
    bool reads;  /* consumes its input at once */
    bool echoes; /* and sends it back */
    size_t received;
    uint8_t sum; /* over the received bytes */
    char last[64];
    char reply[BUFFER_SIZE];
    int peer;
};

struct bench {
    struct loop loop;
    struct subject subject;
};

static void note(struct subject *subject, struct span input)
{
    for (size_t i = 0; i < input.len; i++)
        subject->sum = (uint8_t)(subject->sum * 31 + input.data[i]);
    subject->received += input.len;
    size_t tail = input.len < sizeof subject->last - 1 ? input.len : sizeof subject->last - 1;
    memcpy(subject->last, input.data + input.len - tail, tail);
    subject->last[tail] = '\0';
}

static void read_one(struct subject *subject)
{
    struct span input = conn_input(&subject->conn);
    note(subject, input);
    if (subject->echoes) {
        memcpy(subject->reply, input.data, input.len);
        struct iovec iov = {.iov_base = subject->reply, .iov_len = input.len};
        assert_true(conn_send(&subject->conn, &iov, 1));
    }
    conn_consume(&subject->conn, input.len);
}

static void read_all(struct subject *subject)
{
    while (conn_input(&subject->conn).len && !(subject->echoes && conn_sending(&subject->conn)))
        read_one(subject);
}

static void on_advance(struct conn *conn)
{
    struct subject *subject = container_of(conn, struct subject, conn);
    unsigned events = conn_events(conn);
    subject->advances++;
    subject->seen |= events;
    assert_int_equal(subject->closed, 0);
    if (events & CONN_CLOSED) {
        assert_int_equal(events, CONN_CLOSED);
        subject->closed++;
    } else if (subject->reads) {
        read_all(subject);
    }
}

static uint64_t in_s(struct bench *bench, uint64_t s)
{
    return bench->loop.now_ns + s * NS_PER_S;
}

static struct bench *start(void **state)
{
    struct bench *bench = calloc(1, sizeof *bench);
    struct io_options options = {.entries = 16,
                                 .buffers = BUFFERS,
                                 .buffer_size = BUFFER_SIZE,
                                 .optional_features = *(bool *)*state};
    assert_int_equal(loop_init(&bench->loop, &options, 0), 0);
    bench->subject.peer = -1;
    return bench;
}

/* With the subject open on a TCP pair. */
static struct bench *start_open(void **state)
{
    struct bench *bench = start(state);
    int ours;
    tcp_pair(&ours, &bench->subject.peer);
    conn_open(&bench->subject.conn, &bench->loop, ours, on_advance, in_s(bench, 60));
    bench->subject.reads = true;
    return bench;
}

static void expect_no_buffers_lent(struct bench *bench)
{
    struct io_usage usage;
    io_usage(bench->loop.io, &usage);
    assert_int_equal(usage.buffers_lent, 0);
    assert_int_equal(usage.starved, 0);
}

static void finish(struct bench *bench)
{
    if (bench->subject.peer >= 0)
        close(bench->subject.peer);
    if (!bench->subject.closed) {
        conn_abort(&bench->subject.conn);
        turn_until(&bench->loop, bench->subject.closed);
    }
    expect_no_buffers_lent(bench);
    assert_int_equal(bench->loop.timers.armed, 0);
    loop_fini(&bench->loop);
    free(bench);
}

static void peer_sends(struct subject *subject, const char *text)
{
    assert_int_equal(send(subject->peer, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* What the peer can read now: bytes, 0 at the end, negative errno. */
static ssize_t peer_reads(struct subject *subject, char *data, size_t size)
{
    ssize_t got = recv(subject->peer, data, size, 0);
    return got < 0 ? -errno : got;
}

static char *bulk(void)
{
    char *data = malloc(BULK);
    for (size_t i = 0; i < BULK; i++)
        data[i] = (char)(i * 7 + i / 251);
    return data;
}

static void send_bytes(struct subject *subject, char *data, size_t len)
{
    struct iovec iov = {.iov_base = data, .iov_len = len};
    assert_true(conn_send(&subject->conn, &iov, 1));
}

/* ---- reading and writing ---- */

static void test_echo(void **state)
{
    struct bench *bench = start_open(state);
    struct subject *subject = &bench->subject;
    subject->echoes = true;
    char reply[64];
    for (int i = 0; i < 3; i++) {
        subject->seen = 0;
        peer_sends(subject, "NOOP\r\n");
        turn_until(&bench->loop, subject->seen & CONN_SENT);
        assert_int_equal(peer_reads(subject, reply, sizeof reply), 6);
        assert_memory_equal(reply, "NOOP\r\n", 6);
    }
    assert_int_equal(subject->conn.bytes_in, 18);
    assert_int_equal(subject->conn.bytes_out, 18);
    expect_no_buffers_lent(bench);
    finish(bench);
}

static void test_pieces_are_sent_in_order(void **state)
{
    struct bench *bench = start_open(state);
    struct subject *subject = &bench->subject;
    char a[] = "250-", b[] = "", c[] = "mail.example\r\n";
    struct iovec iov[] = {{b, 0}, {a, 4}, {b, 0}, {c, 14}, {b, 0}};
    assert_true(conn_send(&subject->conn, iov, countof(iov)));
    turn_until(&bench->loop, subject->seen & CONN_SENT);
    char reply[64];
    assert_int_equal(peer_reads(subject, reply, sizeof reply), 18);
    assert_memory_equal(reply, "250-mail.example\r\n", 18);
    subject->seen = 0;
    assert_true(conn_send(&subject->conn, iov, 1)); /* nothing to send is sent at once */
    assert_int_equal(subject->advances, 1);
    turn_until(&bench->loop, subject->seen & CONN_SENT);
    finish(bench);
}

static void test_slow_reader(void **state)
{
    struct bench *bench = start_open(state);
    struct subject *subject = &bench->subject;
    char *data = bulk(), *copy = malloc(BULK);
    struct iovec iov[CONN_IOV];
    size_t piece = BULK / CONN_IOV;
    for (size_t i = 0; i < CONN_IOV; i++)
        iov[i] = (struct iovec){.iov_base = data + i * piece, .iov_len = piece};
    assert_true(conn_send(&subject->conn, iov, CONN_IOV));
    turn_times(&bench->loop, 20);
    assert_false(subject->seen & CONN_SENT);
    assert_true(conn_sending(&subject->conn));
    size_t got = 0;
    while (got < piece * CONN_IOV) {
        ssize_t now = peer_reads(subject, copy + got, BULK - got);
        if (now > 0)
            got += (size_t)now;
        turn_times(&bench->loop, 1);
    }
    turn_until(&bench->loop, subject->seen & CONN_SENT);
    assert_int_equal(subject->conn.bytes_out, piece * CONN_IOV);
    assert_memory_equal(copy, data, piece * CONN_IOV);
    free(copy);
    free(data);
    finish(bench);
}

/* Until nothing more is taken from it, or `most`. */
static size_t peer_fills(struct bench *bench, const char *data, size_t most)
{
    size_t sent = 0;
    for (unsigned idle = 0; idle < 50 && sent < most; idle++) {
        ssize_t now = send(bench->subject.peer, data + sent, most - sent, MSG_NOSIGNAL);
        if (now > 0) {
            sent += (size_t)now;
            idle = 0;
        }
        turn_times(&bench->loop, 1);
    }
    return sent;
}

static void test_back_pressure(void **state)
{
    struct bench *bench = start_open(state);
    struct subject *subject = &bench->subject;
    subject->reads = false;
    char *data = bulk();
    size_t sent = peer_fills(bench, data, BULK);
    assert_true(sent < BULK); /* the peer was stopped */
    assert_true(subject->conn.lent_count >= CONN_LENT);
    assert_true(op_idle(&subject->conn.receive));
    assert_true(subject->conn.bytes_in <= BUFFERS * BUFFER_SIZE);
    subject->reads = true;
    conn_wake(&subject->conn);
    while (sent < BULK) {
        ssize_t now = send(subject->peer, data + sent, BULK - sent, MSG_NOSIGNAL);
        sent += now > 0 ? (size_t)now : 0;
        turn_times(&bench->loop, 1);
    }
    turn_until(&bench->loop, subject->received == BULK);
    uint8_t sum = 0;
    for (size_t i = 0; i < BULK; i++)
        sum = (uint8_t)(sum * 31 + data[i]);
    assert_int_equal(subject->sum, sum);
    free(data);
    finish(bench);
}

static void test_partial_consumption(void **state)
{
    struct bench *bench = start_open(state);
    struct subject *subject = &bench->subject;
    subject->reads = false;
    peer_sends(subject, "MAIL");
    turn_until(&bench->loop, subject->seen & CONN_INPUT);
    assert_true(span_equals(conn_input(&subject->conn), SPAN("MAIL")));
    conn_consume(&subject->conn, 0);
    conn_consume(&subject->conn, 3);
    assert_true(span_equals(conn_input(&subject->conn), SPAN("L")));
    assert_int_equal(conn_events(&subject->conn), CONN_INPUT); /* told as long as it holds */
    conn_consume(&subject->conn, 1);
    assert_int_equal(conn_input(&subject->conn).len, 0);
    assert_int_equal(conn_events(&subject->conn), 0);
    finish(bench);
}

static void test_pause(void **state)
{
    struct bench *bench = start_open(state);
    struct subject *subject = &bench->subject;
    conn_pause(&subject->conn);
    peer_sends(subject, "RSET\r\n");
    turn_until(&bench->loop, subject->conn.bytes_in == 6);
    turn_times(&bench->loop, 2);
    assert_int_equal(subject->advances, 0);
    conn_resume(&subject->conn);
    turn_until(&bench->loop, subject->received == 6);
    assert_int_equal(subject->advances, 1);
    conn_pause(&subject->conn);
    shutdown(subject->peer, SHUT_WR); /* the end is told although paused */
    turn_until(&bench->loop, subject->seen & CONN_EOF);
    finish(bench);
}

static void test_wake(void **state)
{
    struct bench *bench = start_open(state);
    struct subject *subject = &bench->subject;
    conn_wake(&subject->conn);
    conn_wake(&subject->conn);
    assert_int_equal(subject->advances, 0); /* never from inside a call */
    turn_until(&bench->loop, subject->seen & CONN_WOKEN);
    turn_times(&bench->loop, 2);
    assert_int_equal(subject->advances, 1);
    finish(bench);
}

/* What one turn brought is told in one advance. */
static void test_one_advance_per_turn(void **state)
{
    struct bench *bench = start_open(state);
    struct subject *subject = &bench->subject;
    turn_times(&bench->loop, 1);
    peer_sends(subject, "QUIT\r\n");
    shutdown(subject->peer, SHUT_WR);
    conn_wake(&subject->conn);
    turn_until(&bench->loop, subject->seen & CONN_EOF);
    assert_in_range(subject->advances, 1, 3);
    finish(bench);
}

/* ---- peers that go ---- */

static void test_half_close(void **state)
{
    struct bench *bench = start_open(state);
    struct subject *subject = &bench->subject;
    subject->reads = false;
    peer_sends(subject, "QUIT\r\n");
    shutdown(subject->peer, SHUT_WR);
    turn_until(&bench->loop, subject->seen & CONN_EOF);
    assert_true(span_equals(conn_input(&subject->conn), SPAN("QUIT\r\n")));
    conn_consume(&subject->conn, 6);
    char bye[] = "221\r\n", reply[16];
    send_bytes(subject, bye, 5);
    conn_close(&subject->conn);
    turn_until(&bench->loop, subject->closed);
    assert_int_equal(peer_reads(subject, reply, sizeof reply), 5);
    assert_int_equal(peer_reads(subject, reply, sizeof reply), 0);
    finish(bench);
}

static void test_reset(void **state)
{
    struct bench *bench = start_open(state);
    struct subject *subject = &bench->subject;
    turn_times(&bench->loop, 1);
    close_with_reset(subject->peer);
    subject->peer = -1;
    turn_until(&bench->loop, subject->seen & (CONN_ERROR | CONN_EOF));
    assert_int_equal(subject->conn.error, ECONNRESET);
    assert_true(op_idle(&subject->conn.receive));
    conn_close(&subject->conn);
    turn_until(&bench->loop, subject->closed);
    finish(bench);
}

static void test_reset_while_sending(void **state)
{
    struct bench *bench = start_open(state);
    struct subject *subject = &bench->subject;
    char *data = bulk();
    send_bytes(subject, data, BULK);
    turn_times(&bench->loop, 5);
    close_with_reset(subject->peer);
    subject->peer = -1;
    turn_until(&bench->loop, subject->seen & CONN_SENT);
    assert_true(subject->seen & CONN_ERROR);
    assert_true(subject->conn.error == ECONNRESET || subject->conn.error == EPIPE);
    assert_false(conn_sending(&subject->conn));
    send_bytes(subject, data, 10); /* fails at once, ends like any other */
    turn_until(&bench->loop, !conn_sending(&subject->conn));
    free(data);
    finish(bench);
}

/* A server says why and goes while we still send: its words must reach us. */
static void test_last_words(void **state)
{
    struct bench *bench = start_open(state);
    struct subject *subject = &bench->subject;
    char *data = bulk();
    send_bytes(subject, data, BULK);
    turn_times(&bench->loop, 5);
    peer_sends(subject, "554 no\r\n");
    close(subject->peer); /* with our bytes unread: a reset follows */
    subject->peer = -1;
    turn_until(&bench->loop, subject->conn.ended && !conn_sending(&subject->conn));
    assert_string_equal(subject->last, "554 no\r\n");
    free(data);
    finish(bench);
}

/* ---- deadlines ---- */

static void test_deadline(void **state)
{
    struct bench *bench = start_open(state);
    struct subject *subject = &bench->subject;
    turn_times(&bench->loop, 3);
    conn_deadline(&subject->conn, in_s(bench, 10));
    skipped_ns += 9 * NS_PER_S;
    turn_times(&bench->loop, 2);
    assert_int_equal(subject->seen, 0);
    skipped_ns += 1 * NS_PER_S;
    turn_until(&bench->loop, subject->seen & CONN_TIMEOUT);
    assert_int_equal(subject->advances, 1);
    turn_times(&bench->loop, 2);
    assert_int_equal(subject->advances, 1);
    /* It decided nothing, so it is asked again. */
    skipped_ns += CONN_CLOSE_MS * NS_PER_MS + NS_PER_MS;
    turn_until(&bench->loop, subject->advances == 2);
    conn_close(&subject->conn);
    close(subject->peer);
    subject->peer = -1;
    turn_until(&bench->loop, subject->closed);
    finish(bench);
}

static void test_deadline_is_moved(void **state)
{
    struct bench *bench = start_open(state);
    struct subject *subject = &bench->subject;
    for (int i = 0; i < 5; i++) {
        conn_deadline(&subject->conn, in_s(bench, 10));
        skipped_ns += 9 * NS_PER_S;
        turn_times(&bench->loop, 1);
    }
    assert_int_equal(subject->seen, 0);
    finish(bench);
}

/* ---- closing ---- */

static void test_close_with_send_in_flight(void **state)
{
    struct bench *bench = start_open(state);
    struct subject *subject = &bench->subject;
    char *data = bulk(), *copy = malloc(BULK + 1);
    send_bytes(subject, data, BULK);
    turn_times(&bench->loop, 3);
    conn_close(&subject->conn);
    conn_close(&subject->conn);
    size_t got = 0;
    for (;;) {
        ssize_t now = peer_reads(subject, copy + got, BULK + 1 - got);
        if (now == 0)
            break;
        got += now > 0 ? (size_t)now : 0;
        turn_times(&bench->loop, 1);
    }
    assert_int_equal(got, BULK);
    assert_memory_equal(copy, data, BULK);
    assert_int_equal(subject->closed, 0); /* we wait for the peer's end */
    close(subject->peer);
    subject->peer = -1;
    turn_until(&bench->loop, subject->closed);
    assert_int_equal(subject->advances, 1);
    free(copy);
    free(data);
    finish(bench);
}

static void test_abort_with_send_in_flight(void **state)
{
    struct bench *bench = start_open(state);
    struct subject *subject = &bench->subject;
    char *data = bulk();
    send_bytes(subject, data, BULK);
    turn_times(&bench->loop, 3);
    conn_abort(&subject->conn);
    turn_until(&bench->loop, subject->closed);
    assert_int_equal(bench->loop.sends.spare_count, 1); /* nothing is left in flight */
    free(data);
    finish(bench);
}

static void test_close_sends_the_end(void **state)
{
    struct bench *bench = start_open(state);
    struct subject *subject = &bench->subject;
    turn_times(&bench->loop, 2); /* the receive is armed */
    conn_close(&subject->conn);
    turn_times(&bench->loop, 3);
    char byte;
    assert_int_equal(peer_reads(subject, &byte, 1), 0);
    shutdown(subject->peer, SHUT_WR);
    turn_until(&bench->loop, subject->closed);
    finish(bench);
}

/* The reply before the close survives although the peer goes on sending. */
static void test_close_over_unread_input(void **state)
{
    struct bench *bench = start_open(state);
    struct subject *subject = &bench->subject;
    subject->reads = false;
    char *data = bulk();
    assert_int_equal(peer_fills(bench, data, CONN_DRAIN / 4), CONN_DRAIN / 4);
    turn_until(&bench->loop, subject->conn.full);
    char busy[] = "421 4.3.2 bye\r\n", reply[64];
    send_bytes(subject, busy, 15);
    conn_close(&subject->conn);
    turn_times(&bench->loop, 20);
    assert_int_equal(peer_fills(bench, data, CONN_DRAIN / 4), CONN_DRAIN / 4);
    turn_times(&bench->loop, 20);
    assert_int_equal(peer_reads(subject, reply, sizeof reply), 15);
    assert_memory_equal(reply, busy, 15);
    assert_int_equal(peer_reads(subject, reply, sizeof reply), 0);
    shutdown(subject->peer, SHUT_WR);
    turn_until(&bench->loop, subject->closed);
    free(data);
    finish(bench);
}

static void test_patience_ends_by_bytes(void **state)
{
    struct bench *bench = start_open(state);
    struct subject *subject = &bench->subject;
    char *data = bulk();
    conn_close(&subject->conn);
    size_t sent = 0;
    while (!subject->closed) {
        ssize_t now = send(subject->peer, data, 65536, MSG_NOSIGNAL);
        sent += now > 0 ? (size_t)now : 0;
        assert_true(sent < 2 * BULK);
        turn_times(&bench->loop, 1);
    }
    assert_true(subject->conn.drained > CONN_DRAIN);
    free(data);
    finish(bench);
}

static void test_patience_ends_by_time(void **state)
{
    struct bench *bench = start_open(state);
    struct subject *subject = &bench->subject;
    turn_times(&bench->loop, 2);
    conn_close(&subject->conn);
    turn_times(&bench->loop, 10);
    assert_int_equal(subject->closed, 0);
    skipped_ns += CONN_CLOSE_MS * NS_PER_MS + NS_PER_MS;
    turn_until(&bench->loop, subject->closed);
    finish(bench);
}

/* An owner may close while it holds its input, and consume it afterwards. */
static void test_consume_after_close(void **state)
{
    struct bench *bench = start_open(state);
    struct subject *subject = &bench->subject;
    subject->reads = false;
    peer_sends(subject, "QUIT\r\n");
    turn_until(&bench->loop, subject->seen & CONN_INPUT);
    struct span input = conn_input(&subject->conn);
    conn_close(&subject->conn);
    assert_true(span_equals(input, SPAN("QUIT\r\n")));
    conn_consume(&subject->conn, input.len);
    close(subject->peer);
    subject->peer = -1;
    turn_until(&bench->loop, subject->closed);
    finish(bench);
}

/* ---- connecting ---- */

static void test_connect(void **state)
{
    struct bench *bench = start(state);
    struct subject *subject = &bench->subject;
    struct address address, source = loopback_address(0), peer = {.len = sizeof peer.v4};
    assert_true(address_parse(SPAN("127.0.0.2"), 0, &source));
    int listener = plain_listen(1, &address);
    conn_connect(&subject->conn, &bench->loop, &address, &source, on_advance, in_s(bench, 10));
    assert_int_equal(subject->advances, 0);
    turn_until(&bench->loop, subject->seen & CONN_CONNECTED);
    subject->peer = accept(listener, &peer.any, &peer.len);
    assert_int_equal(ntohl(peer.v4.sin_addr.s_addr), 0x7f000002);
    subject->reads = true;
    peer_sends(subject, "220 ready\r\n");
    turn_until(&bench->loop, subject->received == 11);
    assert_int_equal(subject->conn.group, IO_OUTBOUND);
    close(listener);
    finish(bench);
}

static void test_connect_refused(void **state)
{
    struct bench *bench = start(state);
    struct subject *subject = &bench->subject;
    struct address address;
    close(plain_listen(1, &address));
    conn_connect(&subject->conn, &bench->loop, &address, NULL, on_advance, in_s(bench, 10));
    turn_until(&bench->loop, subject->seen & CONN_ERROR);
    assert_int_equal(subject->conn.error, ECONNREFUSED);
    assert_false(subject->seen & CONN_CONNECTED);
    conn_close(&subject->conn);
    turn_until(&bench->loop, subject->closed);
    finish(bench);
}

/* Not even a socket: told later, like every failure. */
static void test_connect_from_foreign_source(void **state)
{
    struct bench *bench = start(state);
    struct subject *subject = &bench->subject;
    struct address address = loopback_address(25), source;
    assert_true(address_parse(SPAN("192.0.2.1"), 0, &source));
    conn_connect(&subject->conn, &bench->loop, &address, &source, on_advance, in_s(bench, 10));
    assert_int_equal(subject->advances, 0);
    turn_until(&bench->loop, subject->seen & CONN_ERROR);
    assert_int_equal(subject->conn.error, EADDRNOTAVAIL);
    conn_close(&subject->conn);
    turn_until(&bench->loop, subject->closed);
    finish(bench);
}

/* A full accept queue answers nothing. */
static void test_connect_without_answer(void **state)
{
    struct bench *bench = start(state);
    struct subject *subject = &bench->subject;
    struct address address;
    int listener = plain_listen(0, &address);
    int first = plain_connect(&address);
    conn_connect(&subject->conn, &bench->loop, &address, NULL, on_advance, in_s(bench, 10));
    turn_times(&bench->loop, 10);
    assert_int_equal(subject->conn.state, CONN_CONNECTING);
    skipped_ns += 11 * NS_PER_S;
    turn_until(&bench->loop, subject->seen & CONN_TIMEOUT);
    conn_close(&subject->conn);
    turn_until(&bench->loop, subject->closed);
    close(first);
    close(listener);
    finish(bench);
}

/* ---- many ---- */

struct crowd {
    struct loop loop;
    struct subject *subjects;
    unsigned count;
};

static void crowd_start(struct crowd *crowd, void **state, unsigned count, unsigned buffers)
{
    allow_descriptors(2 * count + 64);
    struct io_options options = {
        .entries = 8, .buffers = buffers, .buffer_size = 512, .optional_features = *(bool *)*state};
    *crowd = (struct crowd){.count = count};
    assert_int_equal(loop_init(&crowd->loop, &options, 0), 0);
    crowd->subjects = calloc(count, sizeof *crowd->subjects);
    struct address address;
    int listener = plain_listen(1, &address);
    for (unsigned i = 0; i < count; i++) {
        struct subject *subject = &crowd->subjects[i];
        subject->peer = plain_connect(&address);
        int ours = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        assert_true(ours >= 0);
        conn_open(&subject->conn, &crowd->loop, ours, on_advance,
                  crowd->loop.now_ns + 600 * NS_PER_S);
    }
    close(listener);
}

static unsigned crowd_received(const struct crowd *crowd, size_t len)
{
    unsigned count = 0;
    for (unsigned i = 0; i < crowd->count; i++)
        count += crowd->subjects[i].received >= len;
    return count;
}

static unsigned crowd_closed(const struct crowd *crowd)
{
    unsigned count = 0;
    for (unsigned i = 0; i < crowd->count; i++)
        count += crowd->subjects[i].closed;
    return count;
}

static void crowd_finish(struct crowd *crowd)
{
    for (unsigned i = 0; i < crowd->count; i++) {
        conn_close(&crowd->subjects[i].conn);
        close(crowd->subjects[i].peer);
    }
    turn_until(&crowd->loop, crowd_closed(crowd) == crowd->count);
    struct io_usage usage;
    io_usage(crowd->loop.io, &usage);
    assert_int_equal(usage.buffers_lent, 0);
    loop_fini(&crowd->loop);
    free(crowd->subjects);
}

/* Four buffers for fifty conns; those that have the buffers keep them for a while. */
static void test_starved_group(void **state)
{
    struct crowd crowd;
    crowd_start(&crowd, state, 50, 4);
    turn_times(&crowd.loop, 3);
    for (unsigned i = 0; i < crowd.count; i++)
        if (i % 2)
            peer_sends(&crowd.subjects[i], "EHLO one.example\r\n");
    struct io_usage usage;
    do {
        turn_times(&crowd.loop, 1);
        io_usage(crowd.loop.io, &usage);
    } while (usage.buffers_lent < 4 || usage.starved == 0);
    for (unsigned i = 0; i < crowd.count; i++) {
        crowd.subjects[i].reads = true;
        conn_wake(&crowd.subjects[i].conn);
    }
    turn_until(&crowd.loop, crowd_received(&crowd, 18) == crowd.count / 2);
    for (unsigned i = 0; i < crowd.count; i += 2)
        peer_sends(&crowd.subjects[i], "EHLO two.example\r\n");
    turn_until(&crowd.loop, crowd_received(&crowd, 18) == crowd.count);
    crowd_finish(&crowd);
}

/* Starved conns can be closed. */
static void test_close_starved(void **state)
{
    struct crowd crowd;
    crowd_start(&crowd, state, 50, 4);
    for (unsigned i = 0; i < crowd.count; i++)
        peer_sends(&crowd.subjects[i], "EHLO one.example\r\n");
    struct io_usage usage;
    do {
        turn_times(&crowd.loop, 1);
        io_usage(crowd.loop.io, &usage);
    } while (usage.starved < 46);
    for (unsigned i = 0; i < crowd.count; i++)
        conn_abort(&crowd.subjects[i].conn);
    turn_until(&crowd.loop, crowd_closed(&crowd) == crowd.count);
    crowd_finish(&crowd);
}

/* With 8 submission and 32 completion entries: both overflow. */
static void test_thousand(void **state)
{
    struct crowd crowd;
    crowd_start(&crowd, state, 1000, 256);
    for (unsigned i = 0; i < crowd.count; i++)
        crowd.subjects[i].reads = crowd.subjects[i].echoes = true;
    for (size_t round = 1; round <= 3; round++) {
        for (unsigned i = 0; i < crowd.count; i++)
            peer_sends(&crowd.subjects[i], "NOOP\r\n");
        turn_until(&crowd.loop, crowd_received(&crowd, 6 * round) == crowd.count);
        for (unsigned i = 0; i < crowd.count; i++) {
            char reply[16];
            turn_until(&crowd.loop, !conn_sending(&crowd.subjects[i].conn));
            assert_int_equal(peer_reads(&crowd.subjects[i], reply, sizeof reply), 6);
        }
    }
    crowd_finish(&crowd);
}

#define TESTS(features)                                                                            \
    cmocka_unit_test_prestate(test_echo, features),                                                \
        cmocka_unit_test_prestate(test_pieces_are_sent_in_order, features),                        \
        cmocka_unit_test_prestate(test_slow_reader, features),                                     \
        cmocka_unit_test_prestate(test_back_pressure, features),                                   \
        cmocka_unit_test_prestate(test_partial_consumption, features),                             \
        cmocka_unit_test_prestate(test_pause, features),                                           \
        cmocka_unit_test_prestate(test_wake, features),                                            \
        cmocka_unit_test_prestate(test_one_advance_per_turn, features),                            \
        cmocka_unit_test_prestate(test_half_close, features),                                      \
        cmocka_unit_test_prestate(test_reset, features),                                           \
        cmocka_unit_test_prestate(test_reset_while_sending, features),                             \
        cmocka_unit_test_prestate(test_last_words, features),                                      \
        cmocka_unit_test_prestate(test_deadline, features),                                        \
        cmocka_unit_test_prestate(test_deadline_is_moved, features),                               \
        cmocka_unit_test_prestate(test_close_with_send_in_flight, features),                       \
        cmocka_unit_test_prestate(test_abort_with_send_in_flight, features),                       \
        cmocka_unit_test_prestate(test_close_sends_the_end, features),                             \
        cmocka_unit_test_prestate(test_close_over_unread_input, features),                         \
        cmocka_unit_test_prestate(test_patience_ends_by_bytes, features),                          \
        cmocka_unit_test_prestate(test_patience_ends_by_time, features),                           \
        cmocka_unit_test_prestate(test_consume_after_close, features),                             \
        cmocka_unit_test_prestate(test_connect, features),                                         \
        cmocka_unit_test_prestate(test_connect_refused, features),                                 \
        cmocka_unit_test_prestate(test_connect_from_foreign_source, features),                     \
        cmocka_unit_test_prestate(test_connect_without_answer, features),                          \
        cmocka_unit_test_prestate(test_starved_group, features),                                   \
        cmocka_unit_test_prestate(test_close_starved, features),                                   \
        cmocka_unit_test_prestate(test_thousand, features)

static bool with_optional = true, without_optional = false;

int main(void)
{
    const struct CMUnitTest all[] = {TESTS(&with_optional)};
    const struct CMUnitTest floor_only[] = {TESTS(&without_optional)};
    int failed = cmocka_run_group_tests_name("conn, all features", all, NULL, NULL);
    return failed + cmocka_run_group_tests_name("conn, kernel 6.1", floor_only, NULL, NULL);
}
