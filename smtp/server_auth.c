/* AUTH (RFC 4954): from the verb to its answer. What the client's messages mean is core/sasl.h's,
 * whether a password is right the owner's (WANT_AUTH).
 *
 *     AUTH --> sasl_take --challenge--> DOING_AUTH: 334, the next line is the client's message
 *                 |  ^----------------------'  "*" gives up
 *                 '--password, verifier, proof--> DOING_LOGIN: WANT_AUTH until the owner answers
 *
 * The exchange lives in a slot. Failures are counted apart from other errors, and are few. */
#include "smtp/server_private.h"

#include "core/base64.h"
#include "core/check.h"

static unsigned mechanisms_now(const struct server *server)
{
    return server->tls ? server->settings->mechanisms_tls : server->settings->mechanisms_clear;
}

static bool is_offered(unsigned mechanisms, enum sasl_mechanism mechanism)
{
    return mechanisms & 1u << mechanism;
}

bool server_offers_auth(const struct server *server)
{
    return mechanisms_now(server) != 0;
}

/* The safest first: many clients take the first one that they know. */
void server_put_auth_keyword(const struct server *server, struct sink *replies)
{
    static const enum sasl_mechanism order[] = {SASL_SCRAM_SHA_256, SASL_PLAIN, SASL_LOGIN};
    char text[64];
    struct sink line;
    sink_init(&line, text, sizeof text);
    sink_put(&line, SPAN("AUTH"));
    for (size_t i = 0; i < countof(order); i++) {
        if (!is_offered(mechanisms_now(server), order[i]))
            continue;
        sink_byte(&line, ' ');
        sink_put(&line, sasl_mechanism_name(order[i]));
    }
    reply_put_line(250, false, "", sink_span(&line), replies);
}

void server_auth_forget(struct server *server)
{
    if (server->sasl)
        sasl_end(server->sasl);
    server->sasl = slot_give(server->settings->slots, server->sasl);
    server->question = AUTH_NOTHING;
}

/* ---- the exchange ---- */

void server_auth_end(struct server *server, struct turn *turn, enum answer answer)
{
    server_auth_forget(server);
    server->doing = DOING_COMMANDS;
    server_answer(server, turn, answer);
}

static void put_challenge(struct server *server, struct sink *replies, struct span challenge)
{
    sink_put(replies, SPAN("334 "));
    base64_put(replies, challenge);
    sink_put(replies, SPAN("\r\n"));
    server->doing = DOING_AUTH;
}

static void ask(struct server *server, enum auth_question question)
{
    server->question = (uint8_t)question;
    server->doing = DOING_LOGIN;
}

static void go_on(struct server *server, struct turn *turn, enum sasl_want want,
                  struct span challenge)
{
    switch (want) {
    case SASL_CHALLENGE:
    case SASL_PROVED:
        put_challenge(server, turn->replies, challenge);
        return;
    case SASL_PASSWORD:
        ask(server, AUTH_PASSWORD);
        return;
    case SASL_VERIFIER:
        ask(server, AUTH_VERIFIER);
        return;
    case SASL_DONE:
        ask(server, AUTH_PROVED);
        return;
    case SASL_DISPROVED:
        ask(server, AUTH_DISPROVED);
        return;
    case SASL_MALFORMED:
        break;
    }
    server_auth_end(server, turn, ANSWER_AUTH_MALFORMED);
}

/* `text` is base64; "=" alone is an empty initial response. */
static void take_message(struct server *server, struct turn *turn, struct span text)
{
    char message[SASL_MESSAGE], challenge_text[SASL_CHALLENGE_MOST];
    struct sink decoded, challenge;
    sink_init(&decoded, message, sizeof message);
    sink_init(&challenge, challenge_text, sizeof challenge_text);
    if (!base64_decode(text, &decoded)) {
        server_auth_end(server, turn, ANSWER_AUTH_MALFORMED);
        return;
    }
    enum sasl_want want = sasl_take(server->sasl, sink_span(&decoded), &challenge);
    check(!challenge.full);
    digest_wipe(message, sizeof message);
    go_on(server, turn, want, sink_span(&challenge));
}

void server_auth_line(struct server *server, struct turn *turn, struct span line)
{
    if (span_equals(line, SPAN("*")))
        server_auth_end(server, turn, ANSWER_AUTH_CANCELLED);
    else
        take_message(server, turn, line);
}

/* ---- the verb ---- */

static enum answer judge_state(const struct server *server)
{
    switch ((enum server_state)server->state) {
    case STATE_START:
        return ANSWER_NEED_HELO;
    case STATE_READY:
        return server->esmtp ? ANSWER_NONE : ANSWER_NEED_EHLO;
    case STATE_MAIL:
    case STATE_RCPT:
        return ANSWER_NESTED_MAIL;
    case STATE_CHUNKS:
        break;
    }
    return ANSWER_IN_CHUNKS;
}

static enum answer judge_auth(const struct server *server, struct span name,
                              enum sasl_mechanism *ret_mechanism)
{
    if (!server->settings->mechanisms_tls && !server->settings->mechanisms_clear)
        return ANSWER_NOT_IMPLEMENTED;
    enum answer misplaced = judge_state(server);
    if (misplaced)
        return misplaced;
    if (server->identity)
        return ANSWER_AUTH_ALREADY;
    if (!sasl_mechanism_find(name, ret_mechanism) ||
        !is_offered(server->settings->mechanisms_tls | server->settings->mechanisms_clear,
                    *ret_mechanism))
        return ANSWER_AUTH_UNKNOWN;
    return is_offered(mechanisms_now(server), *ret_mechanism) ? ANSWER_NONE : ANSWER_AUTH_NEEDS_TLS;
}

static void begin_exchange(struct server *server, struct turn *turn, enum sasl_mechanism mechanism,
                           struct span initial)
{
    server->sasl = slot_take(server->settings->slots);
    if (!server->sasl) {
        server_answer(server, turn, ANSWER_AUTH_LATER);
        return;
    }
    sasl_begin(server->sasl, mechanism);
    if (span_equals(initial, SPAN("=")))
        take_message(server, turn, SPAN(""));
    else if (initial.len || sasl_server_first(mechanism))
        take_message(server, turn, initial);
    else
        put_challenge(server, turn->replies, SPAN(""));
}

void run_auth(struct server *server, struct turn *turn, struct span arguments)
{
    struct span rest = span_trim(arguments);
    struct span name = span_first(rest, span_find(rest, ' '));
    struct span initial = span_trim(span_skip(rest, name.len));
    enum sasl_mechanism mechanism = SASL_PLAIN;
    if (name.len == 0 || span_find(initial, ' ') < initial.len) {
        server_answer(server, turn, ANSWER_BAD_ARGUMENT);
        return;
    }
    enum answer wrong = judge_auth(server, name, &mechanism);
    if (wrong)
        server_answer(server, turn, wrong);
    else
        begin_exchange(server, turn, mechanism, initial);
}

/* ---- what the owner says ---- */

enum auth_question server_auth_question(const struct server *server)
{
    return (enum auth_question)server->question;
}

struct span server_auth_name(const struct server *server)
{
    return sasl_name(server->sasl);
}

struct span server_auth_password(const struct server *server)
{
    return sasl_password(server->sasl);
}

void server_auth_verifier(struct server *server, const struct scram_verifier *verifier,
                          const uint8_t random[SASL_RANDOM], struct sink *replies)
{
    char text[SASL_CHALLENGE_MOST];
    struct sink challenge;
    struct turn turn = {.replies = replies};
    if (server->doing == DOING_NOTHING)
        return;
    check(server->doing == DOING_LOGIN && server->question == AUTH_VERIFIER);
    sink_init(&challenge, text, sizeof text);
    enum sasl_want want = sasl_verify(server->sasl, verifier, random, &challenge);
    go_on(server, &turn, want, sink_span(&challenge));
}

static void count_failure(struct server *server, struct turn *turn)
{
    if (++server->login_failures >= server->settings->limits.login_failures)
        server_answer_limit(server, turn, LIMIT_login_failures);
    else
        server_answer(server, turn, ANSWER_AUTH_WRONG);
}

void server_authenticated(struct server *server, enum auth_result result,
                          const struct server_identity *identity, struct sink *replies)
{
    struct turn turn = {.replies = replies};
    if (server->doing == DOING_NOTHING)
        return;
    check(server->doing == DOING_LOGIN);
    server_auth_forget(server);
    server->doing = DOING_COMMANDS;
    switch (result) {
    case AUTH_GOOD:
        server->identity = identity;
        server->login_failures = 0;
        server_answer(server, &turn, ANSWER_AUTH_OK);
        return;
    case AUTH_WRONG:
        count_failure(server, &turn);
        return;
    case AUTH_LATER:
        server_answer(server, &turn, ANSWER_AUTH_LATER);
        return;
    }
}
