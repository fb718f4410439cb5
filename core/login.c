/* The steps of a try are its timer and its hash; each ends in one function that decides what is
 * next. What the timer ends is noted when it is armed. */
#include "core/login.h"

#include "core/base64.h"
#include "core/clock.h"

#include <errno.h>

enum { AFTER_NOTHING, AFTER_HASH, AFTER_VERIFIER, AFTER_WRONG };
enum { INVENTED_SALT = 16 };

static void on_timer(struct op *op);
static void on_hashed(struct op *op);

/* ---- the process's ---- */

int logins_init(struct logins *logins, const struct login_settings *settings)
{
    *logins = (struct logins){.accounts = settings->accounts};
    pthread_mutex_init(&logins->mutex, NULL);
    int error = login_cache_init(&logins->cache, settings->cache_ms);
    if (error == 0)
        error = login_delay_init(&logins->delay, settings->seed, settings->first_delay_ms,
                                 settings->most_delay_ms);
    if (error == 0)
        error = hashers_start(settings->hasher_threads, &logins->hashers);
    if (error < 0)
        logins_fini(logins);
    return error;
}

void logins_fini(struct logins *logins)
{
    hashers_stop(logins->hashers);
    login_cache_fini(&logins->cache);
    login_delay_fini(&logins->delay);
    pthread_mutex_destroy(&logins->mutex);
}

/* ---- one try ---- */

void login_init(struct login *login, struct logins *logins, struct loop *loop,
                const struct address *peer, struct op *done)
{
    *login = (struct login){.logins = logins, .loop = loop, .done = done, .peer = *peer};
    timer_init(&login->timer, on_timer);
    op_init(&login->job.op, on_hashed);
}

void login_fini(struct login *login)
{
    check(!timer_armed(&login->timer) && !login->hashing);
    login->set = account_set_free(login->set);
    digest_wipe(login->password, sizeof login->password);
}

static uint64_t now_ms_of(const struct login *login)
{
    return login->loop->now_ns / NS_PER_MS;
}

static void answer(struct login *login, enum login_outcome outcome)
{
    digest_wipe(login->password, sizeof login->password);
    loop_ready(login->loop, login->done, outcome);
}

static void wait_for(struct login *login, uint64_t wait_ms, uint8_t what)
{
    login->after_timer = what;
    loop_arm(login->loop, &login->timer, wait_ms * NS_PER_MS);
}

static struct span name_of(const struct login *login)
{
    return span_of(login->name, login->name_len);
}

static void take_name(struct login *login, struct span name)
{
    name = span_first(name, sizeof login->name);
    if (name.len)
        memcpy(login->name, name.data, name.len);
    login->name_len = (uint16_t)name.len;
    account_set_free(login->set);
    login->set = accounts_take(login->logins->accounts);
    login->account = account_find(login->set, name);
}

/* False: it was answered. */
static bool begin(struct login *login, uint64_t *ret_wait_ms)
{
    struct logins *logins = login->logins;
    pthread_mutex_lock(&logins->mutex);
    bool may = login_delay_begin(&logins->delay, &login->peer, name_of(login), now_ms_of(login),
                                 ret_wait_ms);
    pthread_mutex_unlock(&logins->mutex);
    if (!may)
        answer(login, LOGIN_LATER);
    return may;
}

static void succeed(struct login *login, bool hashed)
{
    struct logins *logins = login->logins;
    pthread_mutex_lock(&logins->mutex);
    login_delay_worked(&logins->delay, &login->peer, name_of(login), now_ms_of(login));
    if (hashed)
        login_cache_add(&logins->cache, &login->tag, now_ms_of(login));
    pthread_mutex_unlock(&logins->mutex);
    answer(login, LOGIN_GOOD);
}

static void fail(struct login *login)
{
    struct logins *logins = login->logins;
    pthread_mutex_lock(&logins->mutex);
    uint64_t wait_ms =
        login_delay_failed(&logins->delay, &login->peer, name_of(login), now_ms_of(login));
    pthread_mutex_unlock(&logins->mutex);
    wait_for(login, wait_ms, AFTER_WRONG);
}

/* ---- a password ---- */

/* Nobody's: for a file without accounts. */
static const char *const no_account =
    "{SCRAM-SHA-256}15000,AAAAAAAAAAAAAAAAAAAAAA==,"
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/* What the password is hashed against. */
static struct span stored_of(const struct login *login)
{
    const struct account *hashed =
        login->account ? login->account : account_stand_in(login->set, name_of(login), false);
    return hashed ? hashed->stored : span_string(no_account);
}

static void start_hash(struct login *login)
{
    login->job.home = login->loop;
    login->job.stored = stored_of(login);
    login->job.password = span_of(login->password, login->password_len);
    atomic_store(&login->job.forgotten, false);
    login->hashing = hash_submit(login->logins->hashers, &login->job);
    if (!login->hashing)
        answer(login, LOGIN_LATER);
}

static void on_hashed(struct op *op)
{
    struct login *login = container_of(op, struct login, job.op);
    login->hashing = false;
    if (atomic_load(&login->job.forgotten))
        answer(login, LOGIN_LATER);
    else if (op->result == 1 && login->account)
        succeed(login, true);
    else
        fail(login);
}

static bool known_good(struct login *login)
{
    struct logins *logins = login->logins;
    struct span name = login->account ? login->account->name : name_of(login);
    login->tag = login_tag_of(&logins->cache, name, stored_of(login),
                              span_of(login->password, login->password_len));
    pthread_mutex_lock(&logins->mutex);
    bool known = login_cache_has(&logins->cache, &login->tag, now_ms_of(login));
    pthread_mutex_unlock(&logins->mutex);
    return known && login->account;
}

void login_password(struct login *login, struct span name, struct span password)
{
    uint64_t wait_ms;
    check(password.len <= sizeof login->password);
    take_name(login, name);
    if (password.len)
        memcpy(login->password, password.data, password.len);
    login->password_len = (uint16_t)password.len;
    if (known_good(login)) /* this no attack can slow down */
        succeed(login, false);
    else if (begin(login, &wait_ms))
        wait_for(login, wait_ms, AFTER_HASH);
}

/* ---- SCRAM ---- */

/* As long as the stand-in is in the file, restarts or not, the same name gets the same salt. */
static void invent_verifier(struct login *login)
{
    uint8_t secret[DIGEST_LEN] = {0}, salt[DIGEST_LEN];
    const struct account *stand_in = account_stand_in(login->set, name_of(login), true);
    struct scram_verifier *verifier = &login->verifier;
    *verifier = (struct scram_verifier){.iterations = SCRAM_ITERATIONS};
    if (stand_in && password_scram(stand_in->stored, verifier))
        memcpy(secret, verifier->server_key, sizeof secret);
    digest_hmac(span_of(secret, sizeof secret), name_of(login), salt);
    struct sink sink;
    sink_init(&sink, login->salt, sizeof login->salt);
    base64_put(&sink, span_of(salt, INVENTED_SALT));
    verifier->salt = sink_span(&sink);
    digest_hmac(span_of(secret, sizeof secret), SPAN("nobody"), verifier->stored_key);
}

static void give_verifier(struct login *login)
{
    if (!login->account || !password_scram(login->account->stored, &login->verifier)) {
        login->account = NULL;
        invent_verifier(login);
    }
    answer(login, LOGIN_GOOD);
}

void login_verifier(struct login *login, struct span name)
{
    uint64_t wait_ms;
    take_name(login, name);
    if (begin(login, &wait_ms))
        wait_for(login, wait_ms, AFTER_VERIFIER);
}

void login_verdict(struct login *login, bool proved)
{
    if (proved && login->account)
        succeed(login, false);
    else
        fail(login);
}

/* ---- steps ---- */

static void on_timer(struct op *op)
{
    struct login *login = container_of(op, struct login, timer.op);
    switch (login->after_timer) {
    case AFTER_HASH:
        start_hash(login);
        return;
    case AFTER_VERIFIER:
        give_verifier(login);
        return;
    default:
        answer(login, LOGIN_WRONG);
    }
}

bool login_forget(struct login *login)
{
    loop_disarm(login->loop, &login->timer);
    atomic_store(&login->job.forgotten, true);
    if (login->hashing)
        return false;
    if (login->done->state == OP_READY)
        loop_unready(login->loop, login->done);
    return true;
}
