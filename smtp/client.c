/* The cursors and the accounts. What a step says and how its reply is judged is in client_steps.c.
 *
 * Both cursors walk the same path, [RSET] MAIL RCPT... (DATA body | BDAT body), a flight at a time.
 * The sending cursor stops at a gate that opens when enough has been judged; the judging cursor
 * never passes it: a reply that nothing was handed out for is nonsense. A refusal cuts the path
 * short for the sending cursor (`prune`); what is already out is still answered and counted.
 *
 * Failure modes. A peer that answers MAIL twice shifts all later replies by one: it is found at the
 * latest when a reply is left over, and each wrong verdict before that is the peer's own word. A
 * refused BDAT may leave the peer's transaction open, and a MAIL behind it would then be refused
 * while its RCPT and body were taken under the old reverse-path: so RSET goes between them. */
#include "smtp/client_steps.h"

static struct client_flight *flight_at(struct client *client, unsigned position)
{
    return &client->flights[(client->first + position) % CLIENT_FLIGHTS];
}

static bool finished(const struct client_flight *flight)
{
    return flight->sending == STEP_END && flight->owed == 0;
}

/* The oldest flight that is not accounted for, or NULL. */
static struct client_flight *current(struct client *client)
{
    for (unsigned i = 0; i < client->flight_count; i++)
        if (!flight_at(client, i)->closed)
            return flight_at(client, i);
    return NULL;
}

/* The step that the next reply to this flight belongs to. */
static enum client_step judge_step(const struct client_flight *flight)
{
    if (flight->judging == STEP_RCPT && flight->rcpt_judged == flight->rcpt_sent &&
        flight->sending != STEP_RCPT)
        return flight->chunking ? STEP_BDAT : STEP_DATA;
    return (enum client_step)flight->judging;
}

static bool usable(const struct client *client)
{
    return client->state != CLIENT_FAILED && client->state != CLIENT_DONE;
}

static bool pipelining(const struct client *client)
{
    return client->settings.delivery->enable_pipelining &&
           capable(&client->capabilities, CAPABILITY_PIPELINING);
}

void client_init(struct client *client, const struct client_settings *settings)
{
    memset(client, 0, offsetof(struct client, parser));
    client->settings = *settings;
    client->state = CLIENT_GREETING;
    client->session = STEP_BANNER;
    client->session_owed = true;
    reply_parser_init(&client->parser);
}

/* Verdicts. */

bool client_recipient_open(const struct client_flight *flight, unsigned index)
{
    const struct verdict *verdict = &flight->transaction.verdicts[index];
    return verdict->outcome == OUTCOME_UNTRIED && verdict->reply.code < 400;
}

void client_settle_one(struct client *client, struct client_flight *flight, unsigned index,
                       enum outcome outcome, const struct reply_summary *reply)
{
    flight->transaction.verdicts[index] = (struct verdict){
        .outcome = (uint8_t)outcome,
        .dsn_passed_on = capable(&client->capabilities, CAPABILITY_DSN),
        .reply = *reply,
    };
    flight->delivered += outcome == OUTCOME_DELIVERED;
    flight->deferred += outcome == OUTCOME_DEFERRED;
    flight->failed += outcome == OUTCOME_FAILED;
}

void client_settle(struct client *client, struct client_flight *flight, enum outcome outcome,
                   const struct reply_summary *reply)
{
    for (unsigned i = 0; i < flight->end; i++)
        if (client_recipient_open(flight, i))
            client_settle_one(client, flight, i, outcome, reply);
}

struct reply_summary client_reply(struct client *client, struct client_flight *flight,
                                  struct span verb)
{
    struct reply_summary reply = {
        .code = client->parser.code,
        .enhanced = client->parser.enhanced,
        .command = verb,
    };
    if (!arena_copy(flight->transaction.arena, reply_text(&client->parser), &reply.text))
        reply.text = (struct span){0};
    return reply;
}

/* Failures of the connection. */

static void keep_failure(struct client *client, enum client_trouble trouble,
                         const struct reply_summary *reply)
{
    client->trouble = (uint8_t)trouble;
    client->failure = *reply;
    struct span text = span_first(reply->text, CLIENT_TEXT);
    if (text.len)
        memcpy(client->failure_text, text.data, text.len);
    client->failure.text = span_of(client->failure_text, text.len);
    client->state = CLIENT_FAILED;
    client->session = STEP_END;
    client->session_owed = client->handshake = false;
    client->progress++;
}

static bool has_open_recipient(const struct client_flight *flight)
{
    for (unsigned i = 0; i < flight->end; i++)
        if (client_recipient_open(flight, i))
            return true;
    return false;
}

/* Ends a flight whose remaining replies will not come. */
static void abandon(struct client *client, struct client_flight *flight, bool defer,
                    const struct reply_summary *reply)
{
    if (defer)
        client_settle(client, flight, OUTCOME_DEFERRED, reply);
    for (unsigned i = 0; i < flight->end; i++)
        if (client_recipient_open(flight, i))
            flight->transaction.verdicts[i].reply = (struct reply_summary){0};
    flight->sending = STEP_END;
    flight->owed = 0;
    flight->closed = true;
}

/* `reply` stays valid as long as the arenas. `untried`: the flight in turn is not to blame. */
static void fail(struct client *client, enum client_trouble trouble,
                 const struct reply_summary *reply, bool untried)
{
    bool in_turn = true;
    for (unsigned i = 0; i < client->flight_count; i++) {
        struct client_flight *flight = flight_at(client, i);
        if (flight->closed)
            continue;
        bool all_out = flight->body_out && has_open_recipient(flight);
        bool may_have_arrived = all_out && trouble != CLIENT_CLOSING;
        flight->may_duplicate = may_have_arrived;
        abandon(client, flight, may_have_arrived || (in_turn && !untried), reply);
        in_turn = false;
    }
    keep_failure(client, trouble, reply);
}

static struct span awaited_verb(struct client *client)
{
    struct client_flight *flight = current(client);
    if (client->session != STEP_END)
        return client_steps[client->session].verb;
    return flight ? client_steps[judge_step(flight)].verb : (struct span){0};
}

static struct reply_summary own_reply(struct client *client, struct enhanced enhanced,
                                      const char *text)
{
    return (struct reply_summary){
        .code = 451,
        .enhanced = enhanced,
        .text = span_string(text),
        .command = awaited_verb(client),
        .internal = true,
    };
}

void client_nonsense(struct client *client, const char *why)
{
    struct reply_summary reply = own_reply(client, (struct enhanced){4, 5, 0}, why);
    fail(client, CLIENT_NONSENSE, &reply, false);
}

void client_unusable(struct client *client, const char *why)
{
    struct reply_summary reply = own_reply(client, (struct enhanced){4, 5, 0}, why);
    fail(client, CLIENT_NONSENSE, &reply, true);
}

void client_refused(struct client *client, struct span verb)
{
    struct reply_summary reply = {
        .code = client->parser.code,
        .enhanced = client->parser.enhanced,
        .text = reply_text(&client->parser),
        .command = verb,
    };
    keep_failure(client, CLIENT_REFUSED, &reply);
}

void client_no_tls(struct client *client, const struct reply_summary *reply)
{
    keep_failure(client, CLIENT_INSECURE, reply);
}

/* 421 outside the greeting. One that says "timeout" to the MAIL on a used connection crossed with
 * that MAIL and is no judgement of it. */
static void closing(struct client *client)
{
    struct client_flight *flight = current(client);
    struct reply_summary reply = {.code = 421, .enhanced = client->parser.enhanced};
    if (flight)
        reply = client_reply(client, flight, client_steps[judge_step(flight)].verb);
    else
        reply.text = reply_text(&client->parser);
    bool idle_timeout = reply.enhanced.subject == 4 && reply.enhanced.detail == 2;
    fail(client, CLIENT_CLOSING, &reply,
         idle_timeout && client->completed && flight && !flight->answered);
}

/* The sending cursor. */

/* A refusal makes the rest of the path pointless, unless DATA is out already. */
static void prune(struct client_flight *flight)
{
    bool before_data = flight->sending == STEP_RCPT || flight->sending == STEP_DATA ||
                       flight->sending == STEP_BDAT;
    bool none_left = flight->answered && flight->rcpt_judged == flight->rcpt_sent &&
                     flight->accepted == 0 && flight->sending != STEP_RCPT;
    if (before_data && flight->answered && (!flight->mail_accepted || none_left))
        flight->sending = STEP_END;
}

/* Whether RSET must go before this flight's MAIL. */
static bool reset_needed(struct client *client, const struct client_flight *flight)
{
    struct client_flight *before = flight_at(client, 0);
    bool before_unclear = before != flight && !finished(before) && before->chunking;
    return client->needs_reset || before_unclear;
}

static uint32_t owed(struct client *client)
{
    uint32_t sum = 0;
    for (unsigned i = 0; i < client->flight_count; i++)
        sum += flight_at(client, i)->owed;
    return sum;
}

static bool gate_open(struct client *client, const struct client_flight *flight)
{
    switch (flight->sending) {
    case STEP_BODY:
        return flight->chunking || flight->go_ahead;
    case STEP_BDAT: /* a body must not go to nobody, unless waiting has proven needless */
        return (pipelining(client) && client->proven) || owed(client) == 0;
    default:
        return pipelining(client) || owed(client) == 0;
    }
}

static struct client_flight *flight_to_send(struct client *client)
{
    for (unsigned i = 0; i < client->flight_count; i++)
        if (flight_at(client, i)->sending != STEP_END)
            return flight_at(client, i);
    return NULL;
}

static void choose_first_step(struct client *client, struct client_flight *flight)
{
    bool reset = reset_needed(client, flight);
    flight->sending = flight->judging = reset ? STEP_RSET : STEP_MAIL;
}

static void send_flights(struct client *client, struct client_out *out)
{
    struct client_flight *flight;
    while ((flight = flight_to_send(client))) {
        if (!flight->started)
            choose_first_step(client, flight);
        if (!gate_open(client, flight))
            return;
        if (!client_steps[flight->sending].send(client, flight, out))
            return;
        flight->started = true;
        prune(flight);
    }
}

unsigned client_output(struct client *client, struct iovec *iov, unsigned max)
{
    struct client_out out = {.iov = iov, .max = max};
    if (client->output_held || client->handshake || !usable(client))
        return 0;
    if (client->session == STEP_END)
        send_flights(client, &out);
    else if (!client->session_owed)
        client->session_owed = client_steps[client->session].send(client, NULL, &out);
    client->output_held = out.count > 0;
    client->progress += out.count > 0;
    return out.count;
}

void client_sent(struct client *client)
{
    check(client->output_held);
    client->output_held = false;
    client->commands_len = 0;
    for (unsigned i = 0; i < client->flight_count; i++)
        flight_at(client, i)->body_held = false;
    client->progress++;
}

/* The judging cursor. */

/* The peer keeps what MAIL and RCPT told it until the end of data; after a refused BDAT it may
 * (RFC 3030 2). A flight that is already on its way behind has brought its own RSET. */
static void close_flight(struct client *client, struct client_flight *flight)
{
    struct client_flight *behind = flight_at(client, client->flight_count - 1);
    bool left_open =
        flight->mail_accepted && (!flight->body_out || flight->chunking) && flight->delivered == 0;
    if (left_open && (behind == flight || !behind->started))
        client->needs_reset = true;
    flight->closed = true;
    client->completed += flight->answered;
}

/* After anything that may have ended a flight. */
static void settle_state(struct client *client)
{
    for (unsigned i = 0; i < client->flight_count; i++) {
        struct client_flight *flight = flight_at(client, i);
        prune(flight);
        if (finished(flight) && !flight->closed)
            close_flight(client, flight);
    }
    if (client->state != CLIENT_READY && client->state != CLIENT_BUSY)
        return;
    client->state = current(client) ? CLIENT_BUSY : CLIENT_READY;
    if (client->state == CLIENT_READY && client->quit_wanted) {
        client->state = CLIENT_QUITTING;
        client->session = STEP_QUIT;
    }
}

static enum client_step step_behind(enum client_step step)
{
    switch (step) {
    case STEP_RSET:
        return STEP_MAIL;
    case STEP_MAIL:
        return STEP_RCPT;
    case STEP_DATA:
        return STEP_BODY;
    default:
        return step;
    }
}

/* A refusal in the middle of the body is believed, but the rest of it cannot be called back. */
static void judge_early(struct client *client, struct client_flight *flight)
{
    unsigned class = client->parser.code / 100;
    if (flight->body_begun && (class == 4 || class == 5)) {
        struct reply_summary reply = client_reply(client, flight, client_steps[STEP_BODY].verb);
        client_settle(client, flight, class == 4 ? OUTCOME_DEFERRED : OUTCOME_FAILED, &reply);
    }
    if (flight->body_begun)
        client_nonsense(client, "an answer in the middle of the body");
    else if (!flight->started && client->completed)
        client_unusable(client, "a reply that nothing was asked for");
    else
        client_nonsense(client, "a reply before its command");
}

static void judge_flight(struct client *client)
{
    struct client_flight *flight = current(client);
    if (client->parser.code == 421) {
        closing(client);
    } else if (!flight) {
        client_nonsense(client, "a reply that nothing was asked for");
    } else if (flight->owed == 0) {
        judge_early(client, flight);
    } else {
        flight->owed--;
        flight->judging = (uint8_t)judge_step(flight);
        client_steps[flight->judging].judge(client, flight);
        flight->judging = (uint8_t)step_behind((enum client_step)flight->judging);
    }
}

static void judge_session(struct client *client)
{
    if (!client->session_owed) {
        if (client->parser.code == 421)
            closing(client);
        else
            client_nonsense(client, "a reply before its command");
        return;
    }
    client->session_owed = false;
    client_steps[client->session].judge(client, NULL);
}

static void keep_name(struct client *client)
{
    struct span line = reply_line(&client->parser);
    struct span word = span_first(line, span_find(line, ' '));
    word = span_first(word, CLIENT_NAME);
    if (word.len)
        memcpy(client->name, word.data, word.len);
    client->name_len = (uint16_t)word.len;
}

/* A line of a greeting or of the answer to EHLO. */
static void look_at_line(struct client *client)
{
    bool greeting = client->session == STEP_BANNER || client->session == STEP_EHLO ||
                    client->session == STEP_HELO;
    if (!greeting || client->parser.code / 100 != 2)
        return;
    if (client->parser.lines == 1 && client->parser.line_len)
        keep_name(client);
    if (client->parser.lines > 1 && client->session == STEP_EHLO && client->session_owed)
        capabilities_add(&client->capabilities, reply_line(&client->parser));
}

static void judge(struct client *client)
{
    client->progress++;
    if (client->session != STEP_END)
        judge_session(client);
    else
        judge_flight(client);
    settle_state(client);
}

void client_input(struct client *client, struct span *input)
{
    while (input->len && usable(client)) {
        if (client->handshake) {
            client_insecure(client, SPAN("more than an answer to STARTTLS"));
            break;
        }
        enum reply_event event = reply_parser_feed(&client->parser, input);
        if (event == REPLY_PART || event == REPLY_WHOLE)
            look_at_line(client);
        if (event == REPLY_WHOLE)
            judge(client);
        if (event == REPLY_BAD)
            client_nonsense(client, client->parser.why);
    }
    *input = span_skip(*input, input->len);
}

/* TLS. */

/* What was said before may have been said by anybody (RFC 3207 4.2). */
void client_secured(struct client *client)
{
    check(client->handshake);
    client->handshake = false;
    client->secured = true;
    client->session = STEP_EHLO;
    client->session_owed = false;
    client->capabilities = (struct capabilities){0};
    client->progress++;
    reply_parser_init(&client->parser);
}

void client_insecure(struct client *client, struct span why)
{
    char text[CLIENT_TEXT];
    struct sink sink;
    sink_init(&sink, text, sizeof text);
    sink_put(&sink, SPAN("TLS failed: "));
    sink_put(&sink, span_first(why, sizeof text - sink.len));
    struct reply_summary reply = own_reply(client, (struct enhanced){4, 7, 5}, "");
    reply.text = sink_span(&sink);
    client_no_tls(client, &reply);
}

/* Transactions. */

bool client_can_begin(const struct client *client)
{
    if ((client->state != CLIENT_READY && client->state != CLIENT_BUSY) || client->quit_wanted)
        return false;
    if (client->capabilities.mail_max && client->begun >= client->capabilities.mail_max)
        return false;
    if (client->flight_count == CLIENT_FLIGHTS)
        return false;
    return client->state == CLIENT_READY || (client->proven && pipelining(client));
}

void client_begin(struct client *client, const struct client_transaction *transaction)
{
    check(client_can_begin(client));
    struct client_flight *flight = flight_at(client, client->flight_count++);
    *flight = (struct client_flight){
        .transaction = *transaction,
        .sending = STEP_RSET,
        .judging = STEP_RSET,
        .chunking = client->settings.delivery->enable_chunking &&
                    capable(&client->capabilities, CAPABILITY_CHUNKING),
    };
    for (unsigned i = 0; i < transaction->body_pieces; i++)
        flight->body_len += transaction->body[i].len;
    if (client_choose_recipients(client, flight) == 0)
        flight->sending = STEP_END;
    else
        client->begun++;
    stuffing_start(&flight->body, flight->chunking ? STUFFING_NONE : STUFFING_DOT,
                   transaction->body, transaction->body_pieces);
    client->progress++;
    settle_state(client);
}

bool client_take_result(struct client *client, struct client_result *ret_result)
{
    struct client_flight *flight = flight_at(client, 0);
    if (client->flight_count == 0 || !flight->closed || flight->body_held)
        return false;
    *ret_result = (struct client_result){
        .owner = flight->transaction.owner,
        .delivered = flight->delivered,
        .deferred = flight->deferred,
        .failed = flight->failed,
        .untried = flight->total - flight->delivered - flight->deferred - flight->failed,
        .may_duplicate = flight->may_duplicate,
        .attempted = flight->delivered + flight->deferred + flight->failed > 0,
    };
    client->first = (client->first + 1) % CLIENT_FLIGHTS;
    client->flight_count--;
    return true;
}

/* Ends. */

void client_quit(struct client *client)
{
    client->quit_wanted = true;
    if (client->trouble == CLIENT_REFUSED && client->failure.code != 421 &&
        client->state == CLIENT_FAILED) {
        client->state = CLIENT_QUITTING;
        client->session = STEP_QUIT;
    }
    settle_state(client);
}

void client_lost(struct client *client, bool timeout)
{
    struct client_flight *flight = current(client);
    if (!usable(client))
        return;
    if (client->state == CLIENT_QUITTING) {
        client->state = CLIENT_DONE;
        return;
    }
    struct reply_summary reply =
        own_reply(client, (struct enhanced){4, 4, 2},
                  timeout ? "no answer in time" : "the connection was lost");
    bool stale = !timeout && client->completed && flight && !flight->answered;
    fail(client, timeout ? CLIENT_TIMEOUT : CLIENT_LOST, &reply, stale);
}

static uint64_t wait_of(const struct client *client, size_t wait_at)
{
    uint64_t wait_ms;
    memcpy(&wait_ms, (const char *)client->settings.delivery + wait_at, sizeof wait_ms);
    return wait_ms;
}

uint64_t client_wait_ms(const struct client *client)
{
    if (client->session != STEP_END)
        return wait_of(client, client_steps[client->session].wait_at);
    for (unsigned i = 0; i < client->flight_count; i++) {
        const struct client_flight *flight = &client->flights[(client->first + i) % CLIENT_FLIGHTS];
        if (flight->closed)
            continue;
        bool sending_body = flight->sending == STEP_BODY && flight->owed == 0;
        unsigned step = sending_body ? STEP_DATA : judge_step(flight);
        return wait_of(client, client_steps[step].wait_at);
    }
    return client->settings.delivery->idle_timeout_ms;
}

struct span client_protocol(const struct client *client)
{
    if (!client->extended)
        return SPAN("SMTP");
    return client->secured ? SPAN("ESMTPS") : SPAN("ESMTP");
}

struct span client_step_of(const struct client *client, const void *owner)
{
    static const struct span steps[] = {
        [STEP_RSET] = SPAN("waits for the reply to RSET"),
        [STEP_MAIL] = SPAN("waits for the reply to MAIL"),
        [STEP_RCPT] = SPAN("waits for the reply to RCPT"),
        [STEP_DATA] = SPAN("waits for the reply to DATA"),
        [STEP_BODY] = SPAN("sends the body, or waits for the reply to the final dot"),
        [STEP_BDAT] = SPAN("sends the body, or waits for the reply to BDAT"),
    };
    for (unsigned i = 0; i < client->flight_count; i++) {
        const struct client_flight *flight = &client->flights[(client->first + i) % CLIENT_FLIGHTS];
        enum client_step step = judge_step(flight);
        if (flight->transaction.owner == owner && step < countof(steps) && steps[step].len)
            return steps[step];
    }
    return SPAN("is about to begin or to end");
}
