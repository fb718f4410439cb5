#include "bench/sink_session.h"

#include "core/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

enum { LINE_MAX_LEN = 1200, REPLIES = 4096, REPLY_ROOM = 256, IDLE_S = 600 };

enum reading { READ_COMMANDS, READ_DATA, READ_CHUNK };

struct sink_session {
    struct conn conn;
    const struct sink_settings *settings;
    struct timer delay;
    struct data_reader data;
    uint64_t *numbers; /* of the recipients taken, if they are counted one by one */
    unsigned recipients, numbers_capacity;
    uint64_t chunk_left;
    uint8_t reading; /* enum reading */
    bool has_sender, chunk_last, delayed, delay_over, secured, starting_tls, known, closing;
    uint16_t line_len;
    char line[LINE_MAX_LEN]; /* an incomplete command line */
    struct sink replies;
    char reply_memory[REPLIES];
};

static void answer(struct sink_session *session, const char *text)
{
    sink_put(&session->replies, span_string(text));
    sink_put(&session->replies, SPAN("\r\n"));
}

/* ---- refusing ---- */

/* What chance wants for this command: a reply that refuses, or NULL. */
static const char *refuse(struct sink_session *session, enum sink_stage stage)
{
    const struct sink_settings *settings = session->settings;
    double refusing = settings->deferred + settings->refused + settings->closed;
    if (stage != settings->stage || refusing == 0)
        return NULL;
    double chance = (double)random_below(&session->conn.loop->random, 1 << 30) / (1 << 30);
    if (chance < settings->closed) {
        settings->tally->closed++;
        session->closing = true;
        return "421 4.3.2 closing";
    }
    if (chance < settings->closed + settings->deferred) {
        settings->tally->deferred++;
        return "451 4.7.1 later";
    }
    if (chance < refusing) {
        settings->tally->refused++;
        return stage == SINK_AT_RCPT ? "550 5.1.1 nobody" : "554 5.7.1 no";
    }
    return NULL;
}

/* ---- transactions ---- */

static void reset(struct sink_session *session)
{
    session->recipients = 0;
    session->has_sender = false;
    data_reader_init(&session->data, session->settings->check);
}

static void count(struct sink_session *session)
{
    struct tally *tally = session->settings->tally;
    tally->messages++;
    tally->bytes += session->data.size;
    tally->by_chunks += session->chunk_last;
    for (unsigned i = 0; i < session->recipients; i++)
        tally_recipient(tally, tally->numbers ? session->numbers[i] : 0);
    if (session->settings->check && !session->data.has_hash)
        tally->hash_missing++;
    else if (session->settings->check && data_reader_matches(&session->data))
        tally->hash_right++;
    else if (session->settings->check)
        tally->hash_wrong++;
    tally->last_ns = clock_mono_ns();
    if (tally->first_ns == 0)
        tally->first_ns = tally->last_ns;
}

static void judge_message(struct sink_session *session)
{
    const char *refusal = refuse(session, SINK_AT_DOT);
    if (!refusal)
        count(session);
    answer(session, refusal ? refusal : "250 2.0.0 taken");
    reset(session);
    session->chunk_last = false;
}

static void message_ends(struct sink_session *session)
{
    session->reading = READ_COMMANDS;
    if (session->settings->delay_ms == 0) {
        judge_message(session);
        return;
    }
    session->delayed = true;
    loop_arm(session->conn.loop, &session->delay, session->settings->delay_ms * NS_PER_MS);
}

static void on_delay(struct op *op)
{
    struct sink_session *session = container_of(op, struct sink_session, delay.op);
    session->delay_over = true;
    conn_wake(&session->conn);
}

/* ---- commands ---- */

static void take_number(struct sink_session *session, struct span line)
{
    static const struct span before = SPAN("RCPT TO:<user");
    if (session->recipients == session->numbers_capacity) {
        session->numbers_capacity = session->numbers_capacity ? 2 * session->numbers_capacity : 8;
        session->numbers = realloc(session->numbers, session->numbers_capacity * sizeof(uint64_t));
        check(session->numbers);
    }
    uint64_t number = UINT64_MAX;
    struct span rest = span_skip(line, before.len);
    if (span_starts_with_any_case(line, before) &&
        !span_decimal(span_first(rest, span_find(rest, '@')), UINT64_MAX, &number))
        number = UINT64_MAX;
    session->numbers[session->recipients] = number;
}

static void run_ehlo(struct sink_session *session, struct span line)
{
    reset(session);
    answer(session, "250-sink.test");
    if (session->settings->pipelining)
        answer(session, "250-PIPELINING");
    if (session->settings->chunking)
        answer(session, "250-CHUNKING");
    if (session->settings->tls && !session->secured)
        answer(session, "250-STARTTLS");
    if (session->settings->login)
        answer(session, "250-AUTH PLAIN");
    answer(session, "250-8BITMIME\r\n250-SIZE\r\n250 ENHANCEDSTATUSCODES");
}

static void run_helo(struct sink_session *session, struct span line)
{
    reset(session);
    answer(session, "250 sink.test");
}

static void run_auth(struct sink_session *session, struct span line)
{
    static const struct span plain = SPAN("AUTH PLAIN ");
    const char *login = session->settings->login;
    session->known = login && span_starts_with_any_case(line, plain) &&
                     span_equals(span_skip(line, plain.len), span_string(login));
    answer(session, session->known ? "235 2.7.0 welcome" : "535 5.7.8 no");
}

static void run_mail(struct sink_session *session, struct span line)
{
    bool stranger = session->settings->login && !session->known;
    const char *refusal = stranger ? "530 5.7.0 who are you" : refuse(session, SINK_AT_MAIL);
    session->has_sender = !refusal;
    answer(session, refusal ? refusal : "250 2.1.0 ok");
}

static void run_rcpt(struct sink_session *session, struct span line)
{
    const char *refusal = session->has_sender ? refuse(session, SINK_AT_RCPT) : "503 5.5.1 MAIL";
    if (!refusal) {
        if (session->settings->tally->numbers)
            take_number(session, line);
        session->recipients++;
    }
    answer(session, refusal ? refusal : "250 2.1.5 ok");
}

static void run_data(struct sink_session *session, struct span line)
{
    if (session->recipients)
        session->reading = READ_DATA;
    answer(session, session->recipients ? "354 go on" : "554 5.5.1 no valid recipients");
}

static void run_bdat(struct sink_session *session, struct span line)
{
    struct span words = span_skip(line, 5);
    size_t blank = span_find(words, ' ');
    if (!session->settings->chunking ||
        !span_decimal(span_first(words, blank), 1 << 30, &session->chunk_left)) {
        answer(session, "501 5.5.4 BDAT");
        session->closing = true;
        return;
    }
    session->chunk_last = blank < words.len;
    session->reading = READ_CHUNK;
}

static void run_starttls(struct sink_session *session, struct span line)
{
    session->starting_tls = session->settings->tls && !session->secured;
    answer(session, session->starting_tls ? "220 2.0.0 go on" : "502 5.5.1 no TLS");
}

static void run_reset(struct sink_session *session, struct span line)
{
    reset(session);
    answer(session, "250 2.0.0 ok");
}

static void run_noop(struct sink_session *session, struct span line)
{
    answer(session, "250 2.0.0 ok");
}

static void run_quit(struct sink_session *session, struct span line)
{
    answer(session, "221 2.0.0 bye");
    session->closing = true;
}

static void run_command(struct sink_session *session, struct span line)
{
    static const struct {
        struct span verb;
        void (*run)(struct sink_session *session, struct span line);
    } verbs[] = {
        {SPAN("RCPT"), run_rcpt},         {SPAN("MAIL"), run_mail}, {SPAN("DATA"), run_data},
        {SPAN("BDAT"), run_bdat},         {SPAN("EHLO"), run_ehlo}, {SPAN("RSET"), run_reset},
        {SPAN("QUIT"), run_quit},         {SPAN("HELO"), run_helo}, {SPAN("NOOP"), run_noop},
        {SPAN("STARTTLS"), run_starttls}, {SPAN("AUTH"), run_auth},
    };
    for (unsigned i = 0; i < countof(verbs); i++) {
        if (span_starts_with_any_case(line, verbs[i].verb)) {
            verbs[i].run(session, line);
            return;
        }
    }
    answer(session, "500 5.5.2 unknown");
}

/* ---- input ---- */

/* Consumes one command, or the part of it that is there. */
static void read_command(struct sink_session *session, struct span *input)
{
    size_t end = span_find(*input, '\n');
    struct span part = span_first(*input, end + (end < input->len));
    *input = span_skip(*input, part.len);
    if (session->line_len + part.len > LINE_MAX_LEN) {
        session->closing = true;
        return;
    }
    struct span line = part;
    if (session->line_len || part.data[part.len - 1] != '\n') {
        memcpy(session->line + session->line_len, part.data, part.len);
        session->line_len += (uint16_t)part.len;
        line = span_of(session->line, session->line_len);
    }
    if (line.data[line.len - 1] != '\n')
        return;
    session->line_len = 0;
    run_command(session, span_trim(span_first(line, line.len - (line.len > 1 ? 2 : 1))));
}

static void read_chunk(struct sink_session *session, struct span *input)
{
    struct span chunk = span_first(*input, session->chunk_left);
    data_reader_chunk(&session->data, chunk);
    session->chunk_left -= chunk.len;
    *input = span_skip(*input, chunk.len);
    if (session->chunk_left)
        return;
    session->reading = READ_COMMANDS;
    if (!session->recipients) {
        answer(session, "554 5.5.1 no valid recipients");
        data_reader_init(&session->data, session->settings->check);
    } else if (session->chunk_last) {
        message_ends(session);
    } else {
        answer(session, "250 2.0.0 ok");
    }
}

static void read_input(struct sink_session *session, struct span *input)
{
    if (session->reading == READ_COMMANDS)
        read_command(session, input);
    else if (session->reading == READ_CHUNK)
        read_chunk(session, input);
    else if (data_reader_feed(&session->data, input))
        message_ends(session);
}

static bool may_read(const struct sink_session *session)
{
    return !session->closing && !session->delayed && !session->starting_tls &&
           session->replies.len + REPLY_ROOM <= REPLIES;
}

static void work(struct sink_session *session)
{
    if (session->delayed && session->delay_over) {
        session->delayed = session->delay_over = false;
        judge_message(session);
    }
    struct span input;
    while (may_read(session) && (input = conn_input(&session->conn)).len) {
        size_t len = input.len;
        while (input.len && may_read(session))
            read_input(session, &input);
        conn_consume(&session->conn, len - input.len);
    }
}

static void send_replies(struct sink_session *session)
{
    struct iovec iov = {.iov_base = session->reply_memory, .iov_len = session->replies.len};
    if (session->replies.len && !conn_send(&session->conn, &iov, 1))
        conn_abort(&session->conn);
    session->replies.len = 0;
}

static void start_tls(struct sink_session *session)
{
    struct conn *conn = &session->conn;
    struct tls *tls = tls_new_server(session->settings->tls);
    session->starting_tls = false;
    session->secured = true;
    reset(session);
    if (!tls || !conn_start_tls(conn, tls, conn->loop->now_ns + IDLE_S * NS_PER_S))
        conn_abort(conn);
}

static void advance(struct conn *conn)
{
    struct sink_session *session = container_of(conn, struct sink_session, conn);
    unsigned events = conn_events(conn);
    if (events & CONN_CLOSED) {
        admission_leave(session->settings->admission, &conn->peer);
        loop_disarm(conn->loop, &session->delay);
        free(session->numbers);
        free(session);
        return;
    }
    if (events & (CONN_ERROR | CONN_TIMEOUT)) {
        conn_abort(conn);
        return;
    }
    if (conn_sending(conn) || conn_handshaking(conn))
        return;
    if (events & CONN_SECURED)
        session->settings->tally->secured++;
    if (session->starting_tls) {
        start_tls(session);
        return;
    }
    work(session);
    send_replies(session);
    if (session->closing || ((events & CONN_EOF) && !session->delayed && !conn_input(conn).len))
        conn_close(conn);
    else
        conn_deadline(conn, conn->loop->now_ns + IDLE_S * NS_PER_S);
}

bool sink_session_open(const struct sink_settings *settings, struct loop *loop, int fd,
                       const struct address *peer)
{
    struct sink_session *session = calloc(1, sizeof *session);
    if (!session)
        return false;
    session->settings = settings;
    sink_init(&session->replies, session->reply_memory, REPLIES);
    timer_init(&session->delay, on_delay);
    reset(session);
    answer(session, "220 sink.test ESMTP");
    settings->tally->connections++;
    session->conn.peer = *peer;
    session->starting_tls = settings->implicit_tls;
    conn_open(&session->conn, loop, fd, advance, loop->now_ns + IDLE_S * NS_PER_S);
    conn_wake(&session->conn);
    return true;
}
