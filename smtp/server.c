/* The loop, the command line, the verb table and the short verbs. MAIL and RCPT are in
 * server_envelope.c, DATA and BDAT in server_data.c.
 *
 * The loop looks at what the next octets are (`doing`) and runs that step until the input or the
 * room for replies ends. A command that came in one piece is read where it lies; only the beginning
 * of an incomplete one is copied. */
#include "smtp/server_private.h"

#include "core/check.h"
#include "smtp/received.h"

enum {
    ANY = STATE_START | STATE_READY | STATE_MAIL | STATE_RCPT | STATE_CHUNKS,
    DISCARD_MOST = 64 * 1024, /* octets of one over-long line */
};

typedef void run_verb(struct server *server, struct turn *turn, struct span arguments);

/* ---- life ---- */

size_t server_slot_size(const struct server_limits *limits)
{
    size_t size =
        sizeof(struct body) > sizeof(struct sasl) ? sizeof(struct body) : sizeof(struct sasl);
    return limits->command_line > size ? limits->command_line : size;
}

void server_init(struct server *server, const struct server_settings *settings,
                 const struct address *peer, void *context, struct op *room)
{
    *server = (struct server){
        .settings = settings,
        .context = context,
        .peer = peer,
        .room = room,
        .state = STATE_START,
        .doing = DOING_COMMANDS,
    };
}

void server_forget(struct server *server)
{
    if (server->message)
        message_abandon(server->message);
    server->message = NULL;
    server->seal = NULL;
    server->vet = NULL;
    server->body = slot_give(server->settings->slots, server->body);
    server->recipients = 0;
    server->rcpt_tried = server->utf8 = false;
    server->store_error = 0;
    if (server->state != STATE_START)
        server->state = STATE_READY;
}

void server_close(struct server *server)
{
    server_forget(server);
    server_auth_forget(server);
    server->doing = DOING_NOTHING;
}

void server_fini(struct server *server)
{
    server_close(server);
    server->line = slot_give(server->settings->slots, server->line);
}

/* ---- replies ---- */

static void end_if_421(struct server *server, int code)
{
    if (code == 421)
        server_close(server);
}

static int answer_limit(struct server *server, enum limit limit, struct sink *replies)
{
    metric_add(server->settings->metrics, limit_metric(limit), 1);
    return limit_reply(limit, replies);
}

static void count_refusal(struct server *server, enum answer answer)
{
    if (answer == ANSWER_NO_STORAGE)
        metric_add(server->settings->metrics, METRIC_REFUSED_STORAGE, 1);
    else if (answer == ANSWER_STORE_FAILED || answer == ANSWER_QUEUE_DEAD)
        metric_add(server->settings->metrics, METRIC_REFUSED_FAILED, 1);
}

/* Counts an error. True: it was one too many, and the session has ended with that answer. */
static bool too_many_errors(struct server *server, struct turn *turn, int code)
{
    if (code < 500 || ++server->errors <= server->settings->limits.errors)
        return false;
    end_if_421(server, answer_limit(server, LIMIT_errors, turn->replies));
    return true;
}

void server_answer_limit(struct server *server, struct turn *turn, enum limit limit)
{
    if (!too_many_errors(server, turn, limit_code(limit)))
        end_if_421(server, answer_limit(server, limit, turn->replies));
}

void server_answer(struct server *server, struct turn *turn, enum answer answer)
{
    if (too_many_errors(server, turn, answer_code(answer)))
        return;
    count_refusal(server, answer);
    answer_put(answer, turn->replies);
    end_if_421(server, answer_code(answer));
}

void server_greet(const struct server *server, struct sink *replies)
{
    sink_put(replies, SPAN("220 "));
    sink_put(replies, server->settings->hostname);
    sink_put(replies, SPAN(" ESMTP Ringpost\r\n"));
}

void server_end(struct server *server, enum limit limit, struct sink *replies)
{
    answer_limit(server, limit, replies);
    server_close(server);
}

void server_shutdown(struct server *server, struct sink *replies)
{
    answer_put(ANSWER_SHUTTING_DOWN, replies);
    server_close(server);
}

void server_refuse(enum limit limit, struct sink *replies)
{
    limit_reply(limit, replies);
}

/* ---- the short verbs ---- */

/* A repeated greeting costs what a RSET costs: it is counted like one. */
static bool take_helo(struct server *server, struct turn *turn, struct span arguments)
{
    struct span name = span_trim(arguments);
    if (name.len == 0 || name.len > sizeof server->helo || span_find(name, ' ') < name.len) {
        server_answer(server, turn, ANSWER_BAD_HELO);
        return false;
    }
    if (server->state != STATE_START && ++server->junk > server->settings->limits.junk_commands) {
        server_answer_limit(server, turn, LIMIT_junk_commands);
        return false;
    }
    struct sink cleaned;
    sink_init(&cleaned, server->helo, sizeof server->helo);
    helo_clean(name, &cleaned);
    server->helo_len = (uint8_t)cleaned.len;
    server_forget(server);
    server->state = STATE_READY;
    return true;
}

static void run_helo(struct server *server, struct turn *turn, struct span arguments)
{
    if (!take_helo(server, turn, arguments))
        return;
    server->esmtp = false;
    reply_put_line(250, true, "", server->settings->hostname, turn->replies);
}

static void put_keyword(struct sink *sink, bool last, const char *keyword, uint64_t number)
{
    char text[64];
    struct sink line;
    sink_init(&line, text, sizeof text);
    sink_format(&line, "%s %llu", keyword, (unsigned long long)number);
    reply_put_line(250, last, "", sink_span(&line), sink);
}

static void put_limits_keyword(struct sink *sink, const struct server_limits *limits)
{
    char text[96];
    struct sink line;
    sink_init(&line, text, sizeof text);
    sink_format(&line, "LIMITS RCPTMAX=%llu MAILMAX=%llu", (unsigned long long)limits->recipients,
                (unsigned long long)limits->messages_per_connection);
    reply_put_line(250, true, "", sink_span(&line), sink);
}

static void run_ehlo(struct server *server, struct turn *turn, struct span arguments)
{
    static const char *const keywords[] = {"PIPELINING", "8BITMIME", "SMTPUTF8",
                                           "CHUNKING",   "DSN",      "ENHANCEDSTATUSCODES"};
    if (!take_helo(server, turn, arguments))
        return;
    server->esmtp = true;
    reply_put_line(250, false, "", server->settings->hostname, turn->replies);
    if (server->settings->starttls && !server->tls)
        reply_put_line(250, false, "", SPAN("STARTTLS"), turn->replies);
    if (server_offers_auth(server))
        server_put_auth_keyword(server, turn->replies);
    if (server->may_xclient)
        reply_put_line(250, false, "", SPAN("XCLIENT NAME ADDR PORT PROTO HELO LOGIN"),
                       turn->replies);
    for (size_t i = 0; i < countof(keywords); i++)
        reply_put_line(250, false, "", span_string(keywords[i]), turn->replies);
    put_keyword(turn->replies, false, "SIZE", server->settings->limits.message_size);
    put_limits_keyword(turn->replies, &server->settings->limits);
}

static void run_rset(struct server *server, struct turn *turn, struct span arguments)
{
    server_forget(server);
    server_answer(server, turn, ANSWER_OK);
}

static void run_noop(struct server *server, struct turn *turn, struct span arguments)
{
    server_answer(server, turn, ANSWER_OK);
}

static void run_help(struct server *server, struct turn *turn, struct span arguments)
{
    server_answer(server, turn, ANSWER_HELP);
}

static void run_vrfy(struct server *server, struct turn *turn, struct span arguments)
{
    bool asked = span_trim(arguments).len > 0;
    server_answer(server, turn, asked ? ANSWER_CANNOT_VERIFY : ANSWER_BAD_ARGUMENT);
}

static void run_quit(struct server *server, struct turn *turn, struct span arguments)
{
    server_answer(server, turn, ANSWER_BYE);
    server_close(server);
}

/* The octets behind it were sent in the clear, by whoever can write into the connection, and would
 * be taken for what the client says under TLS. */
static void run_starttls(struct server *server, struct turn *turn, struct span arguments)
{
    if (server->tls)
        server_answer(server, turn, ANSWER_TLS_ALREADY);
    else if (!server->settings->starttls)
        server_answer(server, turn, ANSWER_NOT_IMPLEMENTED);
    else if (turn->input->len > 0)
        server_answer(server, turn, ANSWER_SMUGGLED);
    else
        server->doing = DOING_TLS;
}

static void run_not_implemented(struct server *server, struct turn *turn, struct span arguments)
{
    server_answer(server, turn, ANSWER_NOT_IMPLEMENTED);
}

/* ---- the verb table ---- */

enum arguments { NO_ARGUMENTS, ARGUMENTS };

struct verb {
    struct span name;
    run_verb *run;
    unsigned states; /* where it is legal */
    enum arguments arguments;
    bool junk; /* moves no mail: counted against junk_commands */
};

/* BDAT is legal everywhere because its octets must be read before it can be refused. */
static const struct verb verbs[] = {
    {SPAN("MAIL"), run_mail, STATE_READY, ARGUMENTS, false},
    {SPAN("RCPT"), run_rcpt, STATE_MAIL | STATE_RCPT, ARGUMENTS, false},
    {SPAN("DATA"), run_data, STATE_RCPT, NO_ARGUMENTS, false},
    {SPAN("BDAT"), run_bdat, ANY, ARGUMENTS, false},
    {SPAN("EHLO"), run_ehlo, ANY, ARGUMENTS, false},
    {SPAN("HELO"), run_helo, ANY, ARGUMENTS, false},
    {SPAN("RSET"), run_rset, ANY, NO_ARGUMENTS, true},
    {SPAN("NOOP"), run_noop, ANY, ARGUMENTS, true},
    {SPAN("QUIT"), run_quit, ANY, NO_ARGUMENTS, false},
    {SPAN("VRFY"), run_vrfy, ANY, ARGUMENTS, true},
    {SPAN("HELP"), run_help, ANY, ARGUMENTS, true},
    {SPAN("EXPN"), run_not_implemented, ANY, ARGUMENTS, true},
    {SPAN("STARTTLS"), run_starttls, ANY, NO_ARGUMENTS, true},
    {SPAN("AUTH"), run_auth, ANY, ARGUMENTS, true},
    {SPAN("XCLIENT"), run_xclient, STATE_START | STATE_READY, ARGUMENTS, true},
};

static const struct verb *find_verb(struct span name)
{
    for (size_t i = 0; i < countof(verbs); i++)
        if (span_equals_any_case(name, verbs[i].name))
            return &verbs[i];
    return NULL;
}

/* What to say to a verb that may not stand here: what has to come first, or what is under way. */
static enum answer misplaced(const struct server *server, const struct verb *verb)
{
    switch ((enum server_state)server->state) {
    case STATE_START:
        return ANSWER_NEED_HELO;
    case STATE_READY:
        if (server->settings->submission && !server->identity)
            return ANSWER_NEED_AUTH;
        return ANSWER_NEED_MAIL;
    case STATE_MAIL:
        if (verb->run == run_mail || verb->run == run_xclient)
            return ANSWER_NESTED_MAIL;
        return server->rcpt_tried ? ANSWER_NO_VALID_RECIPIENTS : ANSWER_NEED_RCPT;
    case STATE_RCPT:
        return ANSWER_NESTED_MAIL;
    case STATE_CHUNKS:
        break;
    }
    return ANSWER_IN_CHUNKS;
}

/* A browser, or a script that lets a browser speak SMTP for it, begins like this. */
static bool is_http(const struct server *server, struct span name)
{
    static const char *const methods[] = {"GET", "POST", "PUT", "HEAD", "CONNECT", "OPTIONS"};
    for (size_t i = 0; i < countof(methods); i++)
        if (span_equals(name, span_string(methods[i])))
            return server->state == STATE_START;
    return false;
}

static void run_command(struct server *server, struct turn *turn, struct span command)
{
    struct span name = span_first(command, span_find(command, ' '));
    struct span arguments = span_skip(command, name.len);
    const struct verb *verb = find_verb(name);
    if (!verb)
        server_answer(server, turn, is_http(server, name) ? ANSWER_NOT_HTTP : ANSWER_UNKNOWN_VERB);
    else if (verb->junk && ++server->junk > server->settings->limits.junk_commands)
        server_answer_limit(server, turn, LIMIT_junk_commands);
    else if (verb->arguments == NO_ARGUMENTS && span_trim(arguments).len)
        server_answer(server, turn, ANSWER_BAD_ARGUMENT);
    else if (!(verb->states & server->state))
        server_answer(server, turn, misplaced(server, verb));
    else
        verb->run(server, turn, arguments);
}

/* ---- command lines ---- */

static bool has_control_character(struct span span)
{
    for (size_t i = 0; i < span.len; i++)
        if ((unsigned char)span.data[i] < 0x20 || span.data[i] == 0x7f)
            return true;
    return false;
}

/* `line` ends with its LF. */
static void run_line(struct server *server, struct turn *turn, struct span line)
{
    bool crlf = line.len >= 2 && line.data[line.len - 2] == '\r';
    struct span command = span_first(line, line.len - (crlf ? 2 : 1));
    bool bad = !crlf || has_control_character(command);
    if (bad && server->sasl)
        server_auth_end(server, turn, ANSWER_AUTH_MALFORMED);
    else if (bad)
        server_answer(server, turn, ANSWER_BAD_LINE);
    else if (server->sasl)
        server_auth_line(server, turn, command);
    else
        run_command(server, turn, command);
}

/* Adds the next octets to the incomplete line. False: there is no slot, the session is over. */
static bool keep_part(struct server *server, struct turn *turn, struct span part)
{
    if (!server->line)
        server->line = slot_take(server->settings->slots);
    if (!server->line) {
        server_answer(server, turn, ANSWER_NO_MEMORY_FOR_COMMAND);
        return false;
    }
    memcpy(server->line + server->line_len, part.data, part.len);
    server->line_len += (uint32_t)part.len;
    return true;
}

static void drop_line(struct server *server)
{
    server->line_len = 0;
    server->line = slot_give(server->settings->slots, server->line);
}

/* A login's lines are secrets, also when they come where they make no sense. */
static struct span told_line(struct span line, bool login)
{
    if (login || span_starts_with_any_case(line, SPAN("AUTH")))
        return SPAN("AUTH");
    while (line.len && (line.data[line.len - 1] == '\n' || line.data[line.len - 1] == '\r'))
        line.len--;
    return line;
}

static void tell_refusal(const struct server *server, const struct sink *replies, size_t before,
                         struct span command)
{
    struct span reply = span_skip(sink_span(replies), before);
    if (server->settings->on_refusal && reply.len && (reply.data[0] == '4' || reply.data[0] == '5'))
        server->settings->on_refusal(server->context, command, reply);
}

static enum server_want read_commands(struct server *server, struct turn *turn)
{
    size_t lf = span_find(*turn->input, '\n');
    bool complete = lf < turn->input->len;
    struct span line = span_first(*turn->input, lf + 1);
    if (server->line_len + line.len > server->settings->limits.command_line) {
        server->discarded = server->line_len;
        drop_line(server);
        server->doing = DOING_DISCARD;
        return WANT_INPUT;
    }
    *turn->input = span_skip(*turn->input, line.len);
    if (!complete || server->line_len) {
        if (!keep_part(server, turn, line) || !complete)
            return WANT_INPUT;
        line = span_of(server->line, server->line_len);
    }
    size_t before = turn->replies->len;
    bool login = server->sasl != NULL;
    run_line(server, turn, line);
    tell_refusal(server, turn->replies, before, told_line(line, login));
    drop_line(server);
    return WANT_INPUT;
}

static enum server_want discard_line(struct server *server, struct turn *turn)
{
    size_t lf = span_find(*turn->input, '\n');
    bool complete = lf < turn->input->len;
    struct span part = span_first(*turn->input, lf + 1);
    *turn->input = span_skip(*turn->input, part.len);
    server->discarded += part.len;
    if (server->discarded > DISCARD_MOST) {
        server_answer(server, turn, ANSWER_DISCARDED_TOO_MUCH);
    } else if (complete && server->sasl) {
        server_auth_end(server, turn, ANSWER_AUTH_LINE_TOO_LONG);
    } else if (complete) {
        server->doing = DOING_COMMANDS;
        server_answer_limit(server, turn, LIMIT_command_line);
    }
    return WANT_INPUT;
}

/* ---- the loop ---- */

typedef enum server_want run_step(struct server *server, struct turn *turn);

static run_step *const steps[] = {
    [DOING_COMMANDS] = read_commands, [DOING_DISCARD] = discard_line, [DOING_DATA] = read_data,
    [DOING_CHUNK] = read_chunk,       [DOING_FINISH] = finish_chunk,  [DOING_AUTH] = read_commands,
};

/* Commands tell of their refusals themselves: they know the line. */
static enum server_want take_step(struct server *server, struct turn *turn)
{
    size_t before = turn->replies->len;
    bool octets = server->doing == DOING_DATA || server->doing == DOING_CHUNK ||
                  server->doing == DOING_FINISH;
    enum server_want want = steps[server->doing](server, turn);
    if (octets)
        tell_refusal(server, turn->replies, before, SPAN("."));
    return want;
}

enum server_want server_input(struct server *server, struct span *input, struct sink *replies,
                              uint64_t wall_ms)
{
    check(replies->capacity >= SERVER_REPLY_ROOM);
    struct turn turn = {.input = input, .replies = replies, .wall_ms = wall_ms};
    for (;;) {
        if (server->doing == DOING_NOTHING) {
            *input = span_skip(*input, input->len);
            return WANT_CLOSE;
        }
        if (server->doing == DOING_STORE)
            return WANT_STORE;
        if (server->doing == DOING_TLS)
            return WANT_TLS;
        if (server->doing == DOING_LOGIN)
            return WANT_AUTH;
        if (input->len == 0 && !server_goes_on(server))
            return WANT_INPUT;
        if (replies->capacity - replies->len < SERVER_REPLY_ROOM)
            return WANT_OUTPUT;
        bool in_data = server->doing == DOING_DATA || server->doing == DOING_CHUNK;
        if (take_step(server, &turn) == WANT_ROOM)
            return WANT_ROOM;
        if (in_data && server->stops_behind_data && server->doing == DOING_COMMANDS)
            return WANT_INPUT;
    }
}

/* ---- TLS ---- */

void server_start_tls(struct server *server, enum start_tls found, struct sink *replies)
{
    static const enum answer answers[] = {
        [START_TLS_GO] = ANSWER_START_TLS,
        [START_TLS_SMUGGLED] = ANSWER_SMUGGLED,
        [START_TLS_BUSY] = ANSWER_TLS_BUSY,
    };
    check(server->doing == DOING_TLS);
    answer_put(answers[found], replies);
    if (found == START_TLS_SMUGGLED)
        server_close(server);
    else if (found == START_TLS_BUSY)
        server->doing = DOING_COMMANDS;
}

void server_secured(struct server *server, const struct tls_facts *facts)
{
    if (server->doing == DOING_NOTHING)
        return;
    server_forget(server);
    server->state = STATE_START;
    server->doing = DOING_COMMANDS;
    server->esmtp = false;
    server->helo_len = 0;
    server->identity = NULL;
    server->tls = facts;
}

/* ---- the message and its answer ---- */

struct message *server_take_message(struct server *server, struct seal **ret_seal,
                                    struct vet **ret_vet)
{
    check(server->doing == DOING_STORE && server->message);
    struct message *message = server->message;
    server->stored_id = message->envelope.id;
    *ret_seal = server->seal;
    *ret_vet = server->vet;
    server->message = NULL;
    server->seal = NULL;
    server->vet = NULL;
    return message;
}

static void put_queued(const struct server *server, struct sink *replies)
{
    char id[ID_TEXT], text[64];
    struct sink line;
    id_text(server->stored_id, id);
    sink_init(&line, text, sizeof text);
    sink_format(&line, "Ok: queued as %s", id);
    reply_put_line(250, true, "2.0.0", sink_span(&line), replies);
}

void server_stored(struct server *server, int result, struct sink *replies)
{
    if (server->doing == DOING_NOTHING)
        return;
    check(server->doing == DOING_STORE && !server->message);
    if (result == 0) {
        put_queued(server, replies);
        server->errors = server->junk = 0;
    } else {
        bool full = result == -ENOSPC || result == -ENOMEM;
        enum answer answer = full ? ANSWER_NO_STORAGE : ANSWER_STORE_FAILED;
        size_t before = replies->len;
        count_refusal(server, answer);
        answer_put(answer, replies);
        tell_refusal(server, replies, before, SPAN("."));
    }
    server_forget(server);
    server->doing = DOING_COMMANDS;
}

/* ---- questions ---- */

bool server_goes_on(const struct server *server)
{
    return server->doing == DOING_FINISH;
}

enum server_phase server_phase(const struct server *server)
{
    switch ((enum server_doing)server->doing) {
    case DOING_COMMANDS:
    case DOING_AUTH:
        return server->line_len ? PHASE_COMMAND : PHASE_IDLE;
    case DOING_DISCARD:
        return PHASE_COMMAND;
    case DOING_DATA:
    case DOING_CHUNK:
    case DOING_FINISH:
        return PHASE_DATA;
    case DOING_STORE:
        return PHASE_STORE;
    case DOING_TLS:
        return PHASE_TLS;
    case DOING_LOGIN:
        return PHASE_LOGIN;
    case DOING_NOTHING:
        break;
    }
    return PHASE_CLOSED;
}

bool server_between_messages(const struct server *server)
{
    return server->doing != DOING_STORE && server->doing != DOING_TLS &&
           (server->state == STATE_START || server->state == STATE_READY);
}

void server_drain(struct server *server)
{
    server->draining = true;
}

struct span server_protocol(const struct server *server)
{
    static const struct span names[2][2][2] = {
        {{SPAN("ESMTP"), SPAN("ESMTPA")}, {SPAN("ESMTPS"), SPAN("ESMTPSA")}},
        {{SPAN("UTF8SMTP"), SPAN("UTF8SMTPA")}, {SPAN("UTF8SMTPS"), SPAN("UTF8SMTPSA")}},
    };
    return server->esmtp ? names[server->utf8][server->tls != NULL][server->identity != NULL]
                         : SPAN("SMTP");
}

struct span server_helo(const struct server *server)
{
    return span_of(server->helo, server->helo_len);
}
