/* A login is a `struct login` that lives from WANT_AUTH to the last answer of its exchange; SCRAM
 * asks twice. What comes of it, the account, is held for the session. When the accounts are read
 * again, the next MAIL looks whether the account is still what it was. */
#include "smtp/session.h"

#include "smtp/lane_limit.h"

#include <stdlib.h>

enum { HASH_MS = 60 * 1000 }; /* waiting for the hashing threads, at most */

static void count(const struct session *session, enum metric metric)
{
    metric_add(ingress_of(session)->settings.metrics, metric, 1);
}

/* ---- what is offered ---- */

void session_offer_login(struct smtp_listener *listener)
{
    const unsigned proof = 1u << SASL_SCRAM_SHA_256;
    const unsigned all = proof | 1u << SASL_PLAIN | 1u << SASL_LOGIN;
    struct server_settings *server = &listener->server;
    server->submission = listener->config->service == SERVICE_SUBMISSION;
    server->may_send = session_may_send;
    server->may_author = session_may_author;
    if (!listener->ingress->settings.logins)
        return;
    server->mechanisms_tls = all;
    server->mechanisms_clear = listener->config->allow_plaintext_auth ? all : proof;
}

uint64_t session_login_ms(const struct session *session)
{
    return LOGIN_DELAY_WAIT_MS + HASH_MS +
           ingress_of(session)->settings.config->accounts.failure_delay_most_ms;
}

/* ---- the account ---- */

static void take_account(struct session *session, struct account_set *set,
                         const struct account *account)
{
    account_set_share(set);
    account_set_free(session->accounts);
    session->accounts = set;
    session->account = account;
    session->identity = (struct server_identity){
        .name = account->name,
        .tenant = account->tenant,
        .bound = account->domain_count > 0,
    };
}

void session_log_out(struct session *session)
{
    session->accounts = account_set_free(session->accounts);
    session->account = NULL;
    session->identity = (struct server_identity){0};
}

static struct accounts *accounts_of(const struct session *session)
{
    const struct logins *logins = ingress_of(session)->settings.logins;
    return logins ? logins->accounts : NULL;
}

bool session_log_in(struct session *session, struct span name)
{
    struct accounts *accounts = accounts_of(session);
    if (!accounts)
        return false;
    session->generation = atomic_load(&accounts->generation);
    struct account_set *set = accounts_take(accounts);
    const struct account *account = account_find(set, name);
    if (account)
        take_account(session, set, account);
    account_set_free(set);
    return account != NULL;
}

/* False: it is not there any more, or not the same. */
static bool refresh_account(struct session *session)
{
    struct accounts *accounts = accounts_of(session);
    uint64_t generation = atomic_load(&accounts->generation);
    if (generation == session->generation)
        return true;
    struct account_set *now = accounts_take(accounts);
    bool same = account_unchanged(session->account, now);
    if (same) {
        take_account(session, now, account_find(now, session->account->name));
        session->generation = generation;
    }
    account_set_free(now);
    return same;
}

enum sender_verdict session_may_send(void *context, const struct mailbox *sender)
{
    struct session *session = context;
    if (!session->server.identity)
        return SENDER_ACCEPT;
    if (!refresh_account(session))
        return SENDER_STALE;
    const struct account *account = session->account;
    if (account->domain_count && !account_has_domain(account, sender->domain))
        return SENDER_DENIED;
    return rate_take(account->rate_tat_ns, &account->rate, now_of(session)) ? SENDER_TOO_FAST
                                                                            : SENDER_ACCEPT;
}

bool session_may_author(void *context, struct span domain)
{
    const struct session *session = context;
    return account_has_domain(session->account, domain);
}

/* ---- a login ---- */

static void free_login(struct session *session)
{
    if (session->login)
        login_fini(session->login);
    free(session->login);
    session->login = NULL;
}

static void answer(struct session *session, enum auth_result result)
{
    static const enum metric metrics[] = {
        [AUTH_GOOD] = METRIC_LOGINS_GOOD,
        [AUTH_WRONG] = METRIC_LOGINS_WRONG,
        [AUTH_LATER] = METRIC_LOGINS_LATER,
    };
    count(session, metrics[result]);
    if (result == AUTH_GOOD)
        take_account(session, session->login->set, session->login->account);
    free_login(session);
    server_authenticated(&session->server, result, &session->identity, &session->replies);
    session->closing |= server_phase(&session->server) == PHASE_CLOSED;
}

static bool begin_login(struct session *session)
{
    struct ingress *ingress = ingress_of(session);
    free_login(session);
    session->login = malloc(sizeof *session->login);
    if (!session->login)
        return false;
    login_init(session->login, ingress->settings.logins, ingress->loop, &session->conn.peer,
               &session->logged_in);
    session->generation = atomic_load(&ingress->settings.logins->accounts->generation);
    return true;
}

void session_ask_login(struct session *session)
{
    const struct server *server = &session->server;
    enum auth_question question = server_auth_question(server);
    bool again = question == AUTH_PROVED || question == AUTH_DISPROVED;
    if (!again && !begin_login(session)) {
        answer(session, AUTH_LATER);
        return;
    }
    session->logging_in = true;
    if (again)
        login_verdict(session->login, question == AUTH_PROVED);
    else if (question == AUTH_VERIFIER)
        login_verifier(session->login, server_auth_name(server));
    else
        login_password(session->login, server_auth_name(server), server_auth_password(server));
}

void session_on_logged_in(struct op *op)
{
    struct session *session = container_of(op, struct session, logged_in);
    session->logging_in = false;
    session->login_done = true;
    if (session->gone)
        session_free_if_over(session);
    else
        conn_wake(&session->conn);
}

void session_answer_login(struct session *session)
{
    static const enum auth_result results[] = {
        [LOGIN_GOOD] = AUTH_GOOD, [LOGIN_WRONG] = AUTH_WRONG, [LOGIN_LATER] = AUTH_LATER};
    uint8_t random[SASL_RANDOM];
    if (!session->login_done || conn_sending(&session->conn) || !session_open_replies(session))
        return;
    session->login_done = false;
    if (server_auth_question(&session->server) != AUTH_VERIFIER ||
        session->logged_in.result != LOGIN_GOOD) {
        answer(session, results[session->logged_in.result]);
        return;
    }
    random_fill(random, sizeof random);
    server_auth_verifier(&session->server, &session->login->verifier, random, &session->replies);
}

bool session_forget_login(struct session *session)
{
    if (session->logging_in && !login_forget(session->login))
        return false;
    session->logging_in = session->login_done = false;
    free_login(session);
    return true;
}
