/* The replies that are due stand in a queue of steps, in the order of what was sent; judging one
 * may cause the next output. Output is made only while nothing is being sent, so one set of buffers
 * is enough: what is sent at once is at most one message's text and one envelope. */
#include "bench/load_session.h"

#include "core/clock.h"

#include <stdio.h>
#include <stdlib.h>

enum { DEADLINE_S = 120, RETRY_MS = 100, FAILURES_MAX = 1000, PIECES = 8, COMMAND = 512 };

enum step { GREETING, EHLO, STARTTLS, AUTH, RSET, MAIL, RCPT, DATA, TEXT, QUIT };

struct transaction {
    struct load_message message;
    uint64_t sent_ns;               /* when the text went out */
    uint64_t accepted, answered;    /* recipients */
    int mail_refusal, rcpt_refusal; /* the code of MAIL, of the last refused RCPT; 0: none */
};

struct load_session {
    struct conn conn;
    struct load *load;
    struct list_link link; /* in waiting or queued */
    struct timer retry;
    struct reply_reader reader;
    struct transaction current, next;
    bool in_transaction, has_next; /* next: its envelope is out, behind current's text */
    bool greeted, rejected, secured, closing;
    uint64_t messages; /* on this connection */
    uint8_t *steps;    /* replies to come: a ring */
    unsigned steps_size, steps_first, steps_count;
    char *envelope; /* of load_plan_envelope_max, and DATA */
    size_t envelope_len;
    struct iovec pieces[PIECES];
    unsigned piece_count;
    char command[COMMAND], head[MESSAGE_HEAD_MAX], tail[MESSAGE_TAIL];
};

static void connect_now(struct load_session *session);

/* ---- output and the replies it asks for ---- */

static void expect(struct load_session *session, enum step step)
{
    check(session->steps_count < session->steps_size);
    unsigned at = (session->steps_first + session->steps_count++) % session->steps_size;
    session->steps[at] = (uint8_t)step;
}

static void put_piece(struct load_session *session, struct span piece)
{
    check(session->piece_count < PIECES);
    session->pieces[session->piece_count++] =
        (struct iovec){.iov_base = (void *)(uintptr_t)piece.data, .iov_len = piece.len};
}

static void put_command(struct load_session *session, const char *text, enum step step)
{
    put_piece(session, span_string(text));
    expect(session, step);
}

/* The envelope whole, and DATA unless the mode is BDAT. */
static void put_envelope(struct load_session *session)
{
    struct load *load = session->load;
    session->envelope_len = load_plan_envelope(&load->plan, session->envelope);
    expect(session, MAIL);
    for (uint64_t i = 0; i < load->plan.recipients; i++)
        expect(session, RCPT);
    put_piece(session, span_of(session->envelope, session->envelope_len));
    if (load->mode != LOAD_BDAT)
        put_command(session, "DATA\r\n", DATA);
}

/* Mode "none": the next line of the envelope. */
static void put_envelope_line(struct load_session *session, enum step step)
{
    size_t at = session->envelope_len;
    struct span rest = span_string(session->envelope + at);
    struct span line = span_first(rest, span_find(rest, '\n') + 1);
    session->envelope_len += line.len;
    if (line.len == 0) {
        put_command(session, "DATA\r\n", DATA);
        return;
    }
    put_piece(session, line);
    expect(session, step);
}

static void put_text(struct load_session *session)
{
    struct transaction *current = &session->current;
    const struct message_text *text = current->message.text;
    bool whole = session->load->mode == LOAD_BDAT;
    size_t head_len = message_write(text, current->message.number, session->head, session->tail);
    if (whole) {
        int len = snprintf(session->command, COMMAND, "BDAT %llu LAST\r\n",
                           (unsigned long long)text->size);
        put_piece(session, span_of(session->command, (size_t)len));
    }
    put_piece(session, span_of(session->head, head_len));
    put_piece(session, whole ? text->filler : text->filler_stuffed);
    put_piece(session, span_of(session->tail, MESSAGE_TAIL));
    if (!whole)
        put_piece(session, SPAN(".\r\n"));
    expect(session, TEXT);
    current->sent_ns = session->conn.loop->now_ns;
}

static void flush(struct load_session *session)
{
    if (session->piece_count && !conn_send(&session->conn, session->pieces, session->piece_count))
        conn_abort(&session->conn);
    session->piece_count = 0;
    conn_deadline(&session->conn, session->conn.loop->now_ns + DEADLINE_S * NS_PER_S);
}

/* ---- messages ---- */

/* A message has ended, well or not. */
static void end_message(struct load_session *session, int code)
{
    struct load *load = session->load;
    struct load_counts *counts = &load->counts;
    const struct transaction *current = &session->current;
    session->in_transaction = false;
    if (load->ended++ < load->warmup) {
        if (load->ended == load->warmup)
            load->counted_from_ns = load->loop->now_ns;
        return;
    }
    if (code / 100 == 2) {
        uint64_t from_ns = load->plan.rate ? current->message.due_ns : current->sent_ns;
        counts->accepted++;
        counts->recipients += current->accepted;
        counts->bytes += current->message.text->size;
        histogram_add(&counts->latency, load->loop->now_ns - from_ns);
    } else if (code / 100 == 4) {
        counts->deferred++;
    } else if (code / 100 == 5) {
        counts->refused++;
    } else {
        counts->lost++;
    }
}

static bool connection_is_used_up(const struct load_session *session)
{
    uint64_t most = session->load->per_connection;
    return most && session->messages >= most;
}

static bool take_message(struct load_session *session, struct transaction *ret_transaction)
{
    struct load_message message;
    if (connection_is_used_up(session) ||
        !load_plan_take(&session->load->plan, session->conn.loop->now_ns, &message))
        return false;
    *ret_transaction = (struct transaction){.message = message};
    session->messages++;
    return true;
}

/* Behind the text goes the next envelope, in that mode and if a message is due. */
static void send_text(struct load_session *session)
{
    put_text(session);
    if (session->load->mode == LOAD_BEHIND && take_message(session, &session->next)) {
        session->has_next = true;
        put_envelope(session);
    }
}

static void start_transaction(struct load_session *session)
{
    session->in_transaction = true;
    if (session->load->mode == LOAD_NONE) {
        size_t len = load_plan_envelope(&session->load->plan, session->envelope);
        session->envelope[len] = '\0';
        session->envelope_len = 0;
        put_envelope_line(session, MAIL);
        return;
    }
    put_envelope(session);
    if (session->load->mode == LOAD_BDAT)
        put_text(session);
}

static void arm_due(struct load *load)
{
    if (load->plan.rate && !list_empty(&load->waiting) && !timer_armed(&load->due))
        timer_arm(&load->loop->timers, &load->due, load_plan_next_ns(&load->plan));
}

/* Nothing is open: the next message, or an end, or waiting. */
static void begin(struct load_session *session)
{
    struct load *load = session->load;
    if (session->closing)
        return;
    if (take_message(session, &session->current)) {
        start_transaction(session);
    } else if (connection_is_used_up(session) || load_plan_over(&load->plan, load->loop->now_ns)) {
        put_command(session, "QUIT\r\n", QUIT);
    } else {
        list_append(&load->waiting, &session->link);
        arm_due(load);
    }
}

static void on_due(struct op *op)
{
    struct load *load = container_of(op, struct load, due.op);
    struct load_plan *plan = &load->plan;
    uint64_t now_ns = load->loop->now_ns;
    while (!list_empty(&load->waiting) &&
           (load_plan_over(plan, now_ns) || load_plan_next_ns(plan) <= now_ns)) {
        struct list_link *link = list_take_first(&load->waiting);
        struct load_session *session = container_of(link, struct load_session, link);
        begin(session);
        flush(session);
    }
    arm_due(load);
}

/* ---- judging replies ---- */

/* What was refused first decides: behind it stand only complaints about the order of commands. */
static int true_refusal(const struct transaction *transaction, int code)
{
    if (code / 100 == 2)
        return code;
    if (transaction->mail_refusal)
        return transaction->mail_refusal;
    return transaction->accepted == 0 && transaction->rcpt_refusal ? transaction->rcpt_refusal
                                                                   : code;
}

static void end_refused(struct load_session *session, int code)
{
    end_message(session, true_refusal(&session->current, code));
    put_command(session, "RSET\r\n", RSET);
}

static void judge_envelope(struct load_session *session, enum step step, int code)
{
    struct load_counts *counts = &session->load->counts;
    struct transaction *current = &session->current;
    if (step == MAIL) {
        current->mail_refusal = code / 100 == 2 ? 0 : code;
    } else {
        current->answered++;
        current->accepted += code / 100 == 2;
        current->rcpt_refusal = code / 100 == 2 ? current->rcpt_refusal : code;
        if (!current->mail_refusal) {
            counts->recipients_deferred += code / 100 == 4;
            counts->recipients_refused += code / 100 == 5;
        }
    }
    if (session->load->mode != LOAD_NONE)
        return;
    bool hopeless = current->answered == session->load->plan.recipients && !current->accepted;
    if (current->mail_refusal || hopeless)
        end_refused(session, code);
    else
        put_envelope_line(session, RCPT);
}

static void judge_text(struct load_session *session, int code)
{
    end_message(session, true_refusal(&session->current, code));
    if (session->has_next) {
        session->has_next = false;
        session->current = session->next;
        session->in_transaction = true;
    } else if (session->load->mode == LOAD_BDAT && code != 250) {
        put_command(session, "RSET\r\n", RSET);
    } else {
        begin(session);
    }
}

/* One connection less is on its way; another one may start. */
static void connection_is_decided(struct load *load)
{
    load->connecting--;
    struct list_link *link = list_take_first(&load->queued);
    if (link)
        connect_now(container_of(link, struct load_session, link));
}

static void greeted(struct load_session *session, int code)
{
    struct load *load = session->load;
    session->greeted = true;
    session->rejected = code != 220;
    connection_is_decided(load);
    if (code == 220)
        put_command(session, "EHLO source.test\r\n", EHLO);
    else
        session->closing = true;
}

static void send_login(struct load_session *session)
{
    int len = snprintf(session->command, COMMAND, "AUTH PLAIN %s\r\n", session->load->login);
    put_piece(session, span_of(session->command, (size_t)len));
    expect(session, AUTH);
}

static void start_tls(struct load_session *session)
{
    const struct tls_client_options options = {.name = SPAN("bench.test"), .insecure = true};
    struct tls *tls = tls_new_client(session->load->tls_context, &options);
    session->secured = true;
    if (!tls ||
        !conn_start_tls(&session->conn, tls, session->conn.loop->now_ns + DEADLINE_S * NS_PER_S))
        conn_abort(&session->conn);
}

/* The last reply of a step that is no transaction's. */
static void judge_session(struct load_session *session, enum step step, int code)
{
    if (step == GREETING)
        greeted(session, code);
    else if (step == QUIT || code / 100 != 2)
        session->closing = true;
    else if (step == EHLO && session->load->tls == LOAD_STARTTLS && !session->secured)
        put_command(session, "STARTTLS\r\n", STARTTLS);
    else if (step == STARTTLS)
        start_tls(session);
    else if (step == EHLO && session->load->login)
        send_login(session);
    else
        begin(session);
}

static void judge(struct load_session *session, enum step step, int code)
{
    if (code == 421 && step != QUIT)
        session->closing = true; /* what it had open counts as lost */
    switch (step) {
    case MAIL:
    case RCPT:
        judge_envelope(session, step, code);
        break;
    case DATA:
        if (code == 354)
            send_text(session);
        else
            end_refused(session, code);
        break;
    case TEXT:
        judge_text(session, code);
        break;
    default:
        judge_session(session, step, code);
    }
}

/* Made harmless for JSON. */
static void keep_refusal(struct load_session *session)
{
    char *text = session->load->counts.first_refusal;
    if (*text)
        return;
    for (unsigned i = 0; i < session->reader.len && session->reader.line[i] >= ' '; i++)
        text[i] = strchr("\"\\", session->reader.line[i]) ? '?' : session->reader.line[i];
}

static void read_replies(struct load_session *session)
{
    struct span input;
    while (!session->closing && (input = conn_input(&session->conn)).len) {
        size_t len = input.len;
        int code = reply_read(&session->reader, &input);
        conn_consume(&session->conn, len - input.len);
        if (code < 0)
            continue;
        if (session->steps_count == 0) {
            session->closing = true; /* nobody asked: a 421 on its way out */
            break;
        }
        enum step step = (enum step)session->steps[session->steps_first];
        session->steps_first = (session->steps_first + 1) % session->steps_size;
        session->steps_count--;
        if (code >= 400)
            keep_refusal(session);
        judge(session, step, code);
    }
}

/* ---- the connection ---- */

static void session_over(struct load *load)
{
    if (--load->sessions == 0)
        loop_stop(load->loop);
}

/* What was open on a connection that is gone. */
static void lose_messages(struct load_session *session)
{
    if (session->in_transaction)
        end_message(session, 0);
    if (session->has_next)
        end_message(session, 0);
    session->has_next = false;
    if (list_linked(&session->link))
        list_remove(&session->link);
}

static void gone(struct load_session *session)
{
    struct load *load = session->load;
    bool failed = !session->greeted || session->rejected;
    lose_messages(session);
    if (!session->greeted)
        connection_is_decided(load);
    load->counts.connect_failures += failed;
    if (load_plan_over(&load->plan, load->loop->now_ns) ||
        load->counts.connect_failures > FAILURES_MAX)
        session_over(load);
    else if (failed)
        loop_arm(load->loop, &session->retry, RETRY_MS * NS_PER_MS);
    else
        connect_now(session);
}

static void advance(struct conn *conn)
{
    struct load_session *session = container_of(conn, struct load_session, conn);
    unsigned events = conn_events(conn);
    if (events & CONN_CLOSED) {
        gone(session);
        return;
    }
    if (conn_sending(conn) || conn_handshaking(conn))
        return;
    if ((events & CONN_CONNECTED) && session->load->tls == LOAD_IMPLICIT_TLS) {
        start_tls(session);
        return;
    }
    if ((events & CONN_SECURED) && session->load->tls == LOAD_STARTTLS)
        put_command(session, "EHLO source.test\r\n", EHLO);
    read_replies(session);
    if (events & (CONN_ERROR | CONN_TIMEOUT))
        conn_abort(conn);
    else if (session->closing || (events & CONN_EOF))
        conn_close(conn);
    else if (!conn_handshaking(conn))
        flush(session);
}

static void connect_now(struct load_session *session)
{
    struct load *load = session->load;
    if (load->connecting >= LOAD_CONNECTING) {
        list_append(&load->queued, &session->link);
        return;
    }
    load->connecting++;
    load->counts.connections++;
    session->reader = (struct reply_reader){0};
    session->in_transaction = session->has_next = false;
    session->greeted = session->rejected = session->closing = session->secured = false;
    session->messages = 0;
    session->steps_count = session->piece_count = 0;
    expect(session, GREETING);
    conn_connect(&session->conn, load->loop, &load->to, NULL, advance,
                 load->loop->now_ns + DEADLINE_S * NS_PER_S);
}

static void on_retry(struct op *op)
{
    connect_now(container_of(op, struct load_session, retry.op));
}

/* ---- all of them ---- */

static bool session_init(struct load_session *session, struct load *load)
{
    session->load = load;
    session->steps_size = (unsigned)(2 * load->plan.recipients + 8);
    session->steps = malloc(session->steps_size);
    session->envelope = malloc(load_plan_envelope_max(&load->plan) + 1);
    timer_init(&session->retry, on_retry);
    return session->steps && session->envelope;
}

struct load_session *load_sessions_start(struct load *load, unsigned count)
{
    struct load_session *sessions = calloc(count, sizeof *sessions);
    list_init(&load->waiting);
    list_init(&load->queued);
    timer_init(&load->due, on_due);
    load->sessions = count;
    load->started_ns = load->counted_from_ns = load->plan.start_ns = load->loop->now_ns;
    for (unsigned i = 0; sessions && i < count; i++) {
        if (!session_init(&sessions[i], load)) {
            load_sessions_free(load, sessions, i + 1);
            return NULL;
        }
    }
    for (unsigned i = 0; sessions && i < count; i++)
        connect_now(&sessions[i]);
    return sessions;
}

void load_sessions_free(struct load *load, struct load_session *sessions, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        free(sessions[i].steps);
        free(sessions[i].envelope);
    }
    free(sessions);
}
