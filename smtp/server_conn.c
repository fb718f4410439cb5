/* The conn, the commit and the timer record what happened; `advance` decides, in this order: is the
 * connection over, may input be looked at, what does the dialogue want, send, what is waited for.
 *
 * A message is signed before it is stored; until then it can be given up. While a message is being
 * stored the session may lose its connection or its patience. The commit cannot be recalled: a lost
 * connection keeps the session alive until the commit is done (the message is ours then); a
 * deadline withdraws the message and says 451. */
#include "smtp/server_conn.h"

#include "smtp/session.h"

#include <errno.h>
#include <stdlib.h>

enum {
    SESSION_BUDGET = 256 * 1024, /* octets looked at in one turn before others have theirs */
    REFUSE_MS = 5000,            /* to take the 421 of a connection that is not admitted */
};

static const struct server_limits *limits_of_session(const struct session *session)
{
    return &session->from->server.limits;
}

/* ---- replies ---- */

bool session_open_replies(struct session *session)
{
    if (session->replies.data)
        return true;
    char *buffer = slot_take(&ingress_of(session)->buffers);
    if (!buffer)
        return false;
    sink_init(&session->replies, buffer, REPLY_BUFFER);
    return true;
}

static void count(struct smtp_listener *listener, enum labelled counter, uint64_t by)
{
    label_add(listener->ingress->settings.listeners, listener->label, counter, by);
}

static void close_replies(struct session *session)
{
    session->replies.data = slot_give(&ingress_of(session)->buffers, session->replies.data);
    session->replies = (struct sink){0};
}

static void send_replies(struct session *session)
{
    if (conn_sending(&session->conn) || session->conn.state != CONN_OPEN)
        return;
    if (session->replies.len == 0) {
        close_replies(session);
        return;
    }
    session_tell_replies(session);
    struct iovec iov = {.iov_base = session->replies.data, .iov_len = session->replies.len};
    if (!conn_send(&session->conn, &iov, 1))
        conn_abort(&session->conn);
}

/* ---- TLS ---- */

static bool is_implicit(const struct smtp_listener *from)
{
    return from->tls && from->config->tls == LISTENER_IMPLICIT;
}

static bool enter_gate(const struct session *session)
{
    struct ingress *ingress = ingress_of(session);
    if (tls_gate_enter(session->from->gate))
        return true;
    metric_add(ingress->settings.metrics, METRIC_TLS_IN_BUSY, 1);
    return false;
}

static void leave_gate(struct session *session)
{
    if (session->starts_tls || session->shaking)
        tls_gate_leave(session->from->gate);
    session->starts_tls = session->shaking = false;
}

/* WANT_TLS. What the kernel has given us by now was sent before our answer. */
static void answer_starttls(struct session *session)
{
    enum start_tls found = START_TLS_GO;
    if (conn_input(&session->conn).len > 0)
        found = START_TLS_SMUGGLED;
    else if (!enter_gate(session))
        found = START_TLS_BUSY;
    session->starts_tls = found == START_TLS_GO;
    server_start_tls(&session->server, found, &session->replies);
    session->closing = found == START_TLS_SMUGGLED;
}

static void begin_handshake(struct session *session)
{
    struct tls_context *context = tls_service_context(session->from->tls);
    struct tls *tls = tls_new_server(context);
    uint64_t wait_ms = ingress_of(session)->settings.config->limits.tls_handshake_ms;
    tls_context_free(context);
    session->starts_tls = false;
    session->shaking = true;
    if (!conn_start_tls(&session->conn, tls, now_of(session) + wait_ms * NS_PER_MS))
        conn_abort(&session->conn);
}

static void send_greeting(struct session *session)
{
    if (!session_open_replies(session)) {
        conn_abort(&session->conn);
        return;
    }
    server_greet(&session->server, &session->replies);
    send_replies(session);
}

/* The conn tells only how it ended. False: it failed, and so has the session. */
static bool end_handshake(struct session *session, unsigned events)
{
    struct metrics *metrics = ingress_of(session)->settings.metrics;
    bool failed = events & (CONN_ERROR | CONN_EOF | CONN_TIMEOUT);
    if (!(events & CONN_SECURED)) {
        metric_add(metrics, METRIC_TLS_IN_FAILED, failed);
        if (failed || ingress_of(session)->draining) /* nothing can be said now, or is lost */
            conn_abort(&session->conn);
        return false;
    }
    leave_gate(session);
    metric_add(metrics, METRIC_TLS_IN, 1);
    server_secured(&session->server, conn_facts(&session->conn));
    session->phase_since_ns = now_of(session);
    if (is_implicit(session->from))
        send_greeting(session);
    return true;
}

/* ---- life ---- */

void session_free_if_over(struct session *session)
{
    if (!session->gone || session->storing || !session_forget_login(session))
        return;
    struct ingress *ingress = ingress_of(session);
    leave_gate(session);
    if (session->admitted) {
        server_fini(&session->server);
        session_log_out(session);
        session_leave(session);
        metric_add(ingress->settings.metrics, METRIC_CONNECTIONS_IN, (uint64_t)-1);
        count(session->from, LABELLED_LISTENER_SESSIONS, (uint64_t)-1);
    }
    close_replies(session);
    list_remove(&session->link);
    free(session->proxy);
    smtp_listener_put(session->from);
    free(session);
    ingress_look_drained(ingress);
}

static void end(struct session *session, enum limit limit)
{
    if (session_open_replies(session))
        server_end(&session->server, limit, &session->replies);
    session->closing = true;
}

/* ---- storing ---- */

static void start_sealing(struct session *session, struct seal *seal)
{
    struct ingress *ingress = ingress_of(session);
    if (seal_reserve(seal, ingress->loop->wall_ms, &session->storing->head)) {
        sealer_start(ingress->settings.sealer, &session->sealing, seal, &session->sealed);
        return;
    }
    session->sealing = (struct sealing){.done = &session->sealed};
    loop_ready(ingress->loop, &session->sealed, -ENOMEM);
}

static void start_vetting(struct session *session, struct vet *vet)
{
    struct ingress *ingress = ingress_of(session);
    uint64_t timeout_ms = ingress->settings.config->authentication.timeout_ms;
    session->vetting = arena_take_zeroed(&session->storing->arena, sizeof *session->vetting);
    if (session->vetting) {
        vetting_start(session->vetting, ingress->loop, ingress->settings.dns, vet, timeout_ms,
                      &session->sealed);
        return;
    }
    session->sealing = (struct sealing){.done = &session->sealed};
    loop_ready(ingress->loop, &session->sealed, -ENOMEM);
}

/* What was found out goes in front of the message, and into the journal. */
static int add_results(struct message *message, struct vet *vet)
{
    struct sink sink;
    char *text = arena_take(&message->arena, 2 * VET_RESULTS);
    if (!text)
        return -ENOMEM;
    sink_init(&sink, text, VET_RESULTS);
    vet_put_results(vet, &sink);
    check(!sink.full);
    if (!text_prepend(&message->head, &message->arena, sink_span(&sink)))
        return -ENOMEM;
    sink_init(&sink, text + VET_RESULTS, VET_RESULTS);
    vet_put_summary(vet, &sink);
    message->authentication = sink_span(&sink);
    return 0;
}

static void start_storing(struct session *session)
{
    struct ingress *ingress = ingress_of(session);
    struct seal *seal;
    struct vet *vet;
    session->storing = server_take_message(&session->server, &seal, &vet);
    session->stored_done = false;
    session->stored_since_ns = now_of(session);
    if (seal)
        start_sealing(session, seal);
    else if (vet)
        start_vetting(session, vet);
    else
        share_accept(ingress->share, session->storing, &session->stored);
}

static void end_storing(struct session *session, int result)
{
    session->storing = NULL;
    session->stored.result = result;
    session->stored_done = true;
}

/* Until it is the share's, the message is ours, and nobody was promised anything. */
static bool abandon_unsealed(struct session *session)
{
    bool vetting = session->vetting && vetting_open(session->vetting);
    if (!session->storing || (!vetting && !sealing_open(&session->sealing)))
        return false;
    if (vetting)
        vetting_cancel(session->vetting);
    session->vetting = NULL;
    sealing_cancel(ingress_of(session)->settings.sealer, &session->sealing);
    message_abandon(session->storing);
    return true;
}

static void on_sealed(struct op *op)
{
    struct session *session = container_of(op, struct session, sealed);
    int error = op->result;
    if (session->vetting && error == 0)
        error = add_results(session->storing, session->vetting->vet);
    session->vetting = NULL;
    if (error == 0) {
        share_accept(ingress_of(session)->share, session->storing, &session->stored);
        return;
    }
    message_abandon(session->storing);
    end_storing(session, error);
    conn_wake(&session->conn);
}

static void on_stored(struct op *op)
{
    struct session *session = container_of(op, struct session, stored);
    struct ingress *ingress = ingress_of(session);
    session->storing = NULL;
    session->stored_done = true;
    if (op->result == 0) {
        metric_add(ingress->settings.metrics, METRIC_MESSAGES_ACCEPTED, 1);
        count(session->from, LABELLED_LISTENER_MESSAGES, 1);
        metric_observe(ingress->settings.metrics, HISTOGRAM_ACCEPT_SECONDS,
                       now_of(session) - session->stored_since_ns);
    }
    if (session->gone)
        session_free_if_over(session);
    else
        conn_wake(&session->conn);
}

static void give_up_storing(struct session *session)
{
    if (!abandon_unsealed(session) &&
        !share_withdraw(ingress_of(session)->share, session->storing, &session->stored))
        return; /* it is durable by now, the answer comes with this turn */
    end_storing(session, -ETIMEDOUT);
}

/* Not while a send is in flight: what is added to its sink then would never leave. */
static void answer_stored(struct session *session)
{
    if (!session->stored_done || conn_sending(&session->conn) || !session_open_replies(session))
        return;
    session->stored_done = false;
    server_stored(&session->server, session->stored.result, &session->replies);
}

static void on_room(struct op *op)
{
    struct session *session = container_of(op, struct session, room);
    session->waits_for_room = false;
    if (!session->gone)
        conn_wake(&session->conn);
}

/* ---- deadlines ---- */

static uint64_t data_window_ms(const struct session *session)
{
    return ingress_of(session)->settings.config->limits.data_rate_window_ms;
}

/* Each phase has its own clock; within PHASE_DATA each full window that met the rate starts anew.
 */
static void note_phase(struct session *session)
{
    enum server_phase phase = server_phase(&session->server);
    if (phase == session->phase_seen && phase != PHASE_IDLE)
        return;
    session->phase_seen = (uint8_t)phase;
    session->phase_since_ns = now_of(session);
    session->data_since_octets = session->server.data_octets;
}

static void set_deadline(struct session *session)
{
    const struct server_limits *limits = limits_of_session(session);
    uint64_t from_ns = session->phase_since_ns, wait_ms = limits->idle_ms;
    if (session->storing) {
        from_ns = session->stored_since_ns;
        wait_ms = ingress_of(session)->settings.config->limits.commit_ms;
    } else if (session->phase_seen == PHASE_TLS) { /* a place at the gate is taken */
        wait_ms = ingress_of(session)->settings.config->limits.tls_handshake_ms;
    } else if (session->phase_seen == PHASE_COMMAND) {
        wait_ms = limits->command_ms;
    } else if (session->phase_seen == PHASE_DATA) {
        wait_ms = data_window_ms(session);
    } else if (session->phase_seen == PHASE_LOGIN) {
        wait_ms = session_login_ms(session);
    }
    conn_deadline(&session->conn, from_ns + wait_ms * NS_PER_MS);
}

static bool data_is_too_slow(const struct session *session)
{
    uint64_t octets = session->server.data_octets - session->data_since_octets;
    return octets < limits_of_session(session)->data_rate * data_window_ms(session) / 1000;
}

static void on_deadline(struct session *session)
{
    if (session->storing) {
        give_up_storing(session);
        return;
    }
    if (conn_sending(&session->conn)) {
        conn_abort(&session->conn); /* it does not read its replies */
        return;
    }
    switch (server_phase(&session->server)) {
    case PHASE_COMMAND:
        end(session, LIMIT_command_ms);
        return;
    case PHASE_DATA:
        if (session->waits_for_room || !data_is_too_slow(session)) {
            session->phase_since_ns = now_of(session);
            session->data_since_octets = session->server.data_octets;
            return;
        }
        end(session, LIMIT_data_rate);
        return;
    default:
        end(session, LIMIT_idle_ms);
    }
}

/* ---- input ---- */

/* What the dialogue makes of the input that is there. True: it may be asked again at once. */
static bool feed(struct session *session, size_t *budget)
{
    struct span input = conn_input(&session->conn);
    if (input.len == 0 && !server_goes_on(&session->server))
        return false;
    if (!session_open_replies(session)) {
        conn_abort(&session->conn);
        return false;
    }
    size_t before = input.len;
    struct span all = input;
    uint64_t octets_before = session->server.data_octets;
    bool in_data = server_phase(&session->server) == PHASE_DATA;
    session->server.stops_behind_data = traces_any(&ingress_of(session)->traces);
    enum server_want want = server_input(&session->server, &input, &session->replies,
                                         ingress_of(session)->loop->wall_ms);
    size_t taken = before - input.len;
    session_tell_input(session, span_first(all, taken), session->server.data_octets - octets_before,
                       in_data);
    conn_consume(&session->conn, taken);
    *budget = taken < *budget ? *budget - taken : 0;
    switch (want) {
    case WANT_INPUT:
        return true;
    case WANT_OUTPUT:
        return false;
    case WANT_STORE:
        start_storing(session);
        return false;
    case WANT_ROOM:
        session->waits_for_room = true;
        return false;
    case WANT_TLS:
        answer_starttls(session);
        return !session->starts_tls;
    case WANT_AUTH:
        session_ask_login(session);
        return !session->logging_in;
    case WANT_CLOSE:
        session->closing = true;
        return false;
    }
    return false;
}

static bool may_read(const struct session *session)
{
    return !session->closing && !session->storing && !session->waits_for_room &&
           !session->logging_in && !session->login_done && !session->starts_tls &&
           !session->shaking && !conn_sending(&session->conn) && session->conn.state == CONN_OPEN;
}

static void read_input(struct session *session)
{
    size_t budget = SESSION_BUDGET;
    while (may_read(session) && budget > 0 && feed(session, &budget))
        ;
    if (budget == 0 && may_read(session))
        conn_wake(&session->conn);
}

static void finish_drain(struct session *session)
{
    struct ingress *ingress = ingress_of(session);
    if (!(ingress->draining || ingress->shut) || session->closing || session->storing)
        return;
    if (!server_between_messages(&session->server) || conn_sending(&session->conn) ||
        !session_open_replies(session))
        return;
    server_shutdown(&session->server, &session->replies);
    session->closing = true;
}

/* For something of ours. */
static bool waits(const struct session *session)
{
    return session->storing || session->waits_for_room || session->logging_in ||
           session->login_done;
}

/* After a reload: what begins now begins under the new settings. */
static void follow_settings(struct session *session)
{
    struct smtp_listener *from = session->from, *to = from;
    if (!from->successor || !session->admitted || waits(session) || session->starts_tls ||
        !server_between_messages(&session->server))
        return;
    while (to->successor)
        to = to->successor;
    to->users++;
    session->from = to;
    session->server.settings = &to->server;
    smtp_listener_put(from);
}

static void advance(struct conn *conn)
{
    struct session *session = container_of(conn, struct session, conn);
    unsigned events = conn_events(conn);
    if (events & CONN_CLOSED) {
        session->gone = true;
        if (abandon_unsealed(session))
            session->storing = NULL;
        session_free_if_over(session);
        return;
    }
    if (conn->state == CONN_CLOSING)
        return;
    if (session->proxy) {
        session_read_proxy(session, events);
        return;
    }
    if (session->shaking && !end_handshake(session, events))
        return;
    if (events & CONN_SENT)
        close_replies(session);
    if (session->starts_tls && (events & CONN_SENT)) {
        begin_handshake(session);
        return;
    }
    if (events & CONN_ERROR) {
        conn_abort(conn);
        return;
    }
    if (events & CONN_TIMEOUT)
        on_deadline(session);
    answer_stored(session);
    session_answer_login(session);
    follow_settings(session);
    read_input(session);
    if (conn->eof && conn_input(conn).len == 0 && !waits(session))
        session->closing = true; /* what it asked for before is still answered */
    finish_drain(session);
    send_replies(session);
    if (session->closing && !conn_sending(conn)) {
        conn_close(conn);
        return;
    }
    note_phase(session);
    set_deadline(session);
}

/* ---- connections ---- */

static void refused_advance(struct conn *conn)
{
    struct session *session = container_of(conn, struct session, conn);
    unsigned events = conn_events(conn);
    if (events & CONN_CLOSED) {
        session->gone = true;
        session_free_if_over(session);
    } else if (conn->state == CONN_OPEN) {
        conn_close(conn); /* sent, or it does not want to hear it */
    }
}

static struct session *session_new(struct smtp_listener *from)
{
    struct session *session = calloc(1, sizeof *session);
    if (!session)
        return NULL;
    session->from = from;
    session->number = ++from->ingress->session_count;
    from->users++;
    op_init(&session->stored, on_stored);
    op_init(&session->sealed, on_sealed);
    op_init(&session->room, on_room);
    op_init(&session->logged_in, session_on_logged_in);
    list_append(&from->ingress->sessions, &session->link);
    return session;
}

void session_turn_away(struct session *session, enum limit limit)
{
    session->closing = true;
    session->conn.advance = refused_advance;
    conn_deadline(&session->conn, now_of(session) + REFUSE_MS * NS_PER_MS);
    if (!is_implicit(session->from) && session_open_replies(session)) {
        server_refuse(limit, &session->replies);
        send_replies(session);
    }
    if (!conn_sending(&session->conn))
        conn_close(&session->conn);
}

void session_welcome(struct session *session)
{
    session->phase_since_ns = now_of(session);
    conn_deadline(&session->conn,
                  now_of(session) + limits_of_session(session)->idle_ms * NS_PER_MS);
    session->server.may_xclient = session_may_xclient(session);
    if (!is_implicit(session->from))
        send_greeting(session);
    else if (enter_gate(session))
        begin_handshake(session);
    else
        conn_abort(&session->conn);
}

static void begin(struct session *session)
{
    struct ingress *ingress = ingress_of(session);
    session->admitted = true;
    server_init(&session->server, &session->from->server, &session->conn.peer, session,
                &session->room);
    metric_add(ingress->settings.metrics, METRIC_CONNECTIONS_IN, 1);
    count(session->from, LABELLED_LISTENER_SESSIONS, 1);
    if (!session_expects_proxy(session))
        session_welcome(session);
}

static void count_verdict(struct ingress *ingress, enum listen_verdict verdict)
{
    static const enum metric metric[] = {
        [LISTEN_WELCOME] = METRIC_CONNECTIONS_ACCEPTED,
        [LISTEN_TOO_MANY] = METRIC_CONNECTIONS_REFUSED_TOTAL_LIMIT,
        [LISTEN_TOO_MANY_FROM_ADDRESS] = METRIC_CONNECTIONS_REFUSED_ADDRESS_LIMIT,
    };
    metric_add(ingress->settings.metrics, metric[verdict], 1);
}

void session_on_connection(struct listener *listener, int fd, const struct address *peer,
                           enum listen_verdict verdict)
{
    struct smtp_listener *from = listener->context;
    struct ingress *ingress = from->ingress;
    count(from, LABELLED_LISTENER_CONNECTIONS, 1);
    struct session *session = session_new(from);
    if (!session) {
        io_close_now(ingress->loop->io, fd);
        if (verdict == LISTEN_WELCOME)
            admission_leave(ingress->settings.admission, peer);
        return;
    }
    conn_open(&session->conn, ingress->loop, fd, advance,
              ingress->loop->now_ns + limits_of_session(session)->idle_ms * NS_PER_MS);
    session->conn.peer = *peer;
    verdict = session_admit(session, verdict);
    count_verdict(ingress, verdict);
    if (verdict == LISTEN_WELCOME)
        begin(session);
    else
        session_turn_away(session, verdict == LISTEN_TOO_MANY ? LIMIT_connections
                                                              : LIMIT_connections_per_address);
}
