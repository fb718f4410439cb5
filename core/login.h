/* login: one try to log in, from the name to the answer, for every protocol.
 *
 * `struct logins` is the process's: accounts, hashing threads, the cache of good passwords, the
 * delays after bad ones. Workers share it under a mutex that is held for table look-ups, never for
 * a hash. A `struct login` is one try on one worker; it copies what it needs.
 *
 *     login_password --(delay)--> hashed --right--> done: LOGIN_GOOD
 *                                    \--wrong--(delay)--> done: LOGIN_WRONG
 *     login_verifier --(delay)--> done: LOGIN_GOOD, login->verifier for the dialogue, which judges:
 *     login_verdict  --proved--> done: LOGIN_GOOD       \--not--(delay)--> done: LOGIN_WRONG
 *
 * The owner is told by `done` in its loop, never at once; op->result is the outcome. After
 * LOGIN_GOOD of password or verdict login->account may be used as long as login->set is held.
 *
 * An unknown name takes the way of a known one: some account is hashed in its place, or a verifier
 * is invented that stays the same for this name, and the answer is always LOGIN_WRONG. */
#pragma once

#include "core/accounts.h"
#include "core/hasher_thread.h"
#include "core/login_cache.h"
#include "core/login_delay.h"
#include "core/password.h"

enum login_outcome {
    LOGIN_GOOD,
    LOGIN_WRONG,
    LOGIN_LATER, /* too many failures, or too many logins at a time: nothing was checked */
};

struct logins {
    struct accounts *accounts;
    struct hashers *hashers;
    pthread_mutex_t mutex; /* of the two below */
    struct login_cache cache;
    struct login_delay delay;
};

struct login_settings {
    struct accounts *accounts; /* outlive the logins */
    unsigned hasher_threads;
    uint64_t cache_ms, first_delay_ms, most_delay_ms;
    struct hash_seed seed;
};

MUST_USE int logins_init(struct logins *logins, const struct login_settings *settings);
void logins_fini(struct logins *logins); /* after the last login; ends the threads */

struct login {
    struct logins *logins;
    struct loop *loop;
    struct op *done;
    struct address peer;
    struct account_set *set;       /* a reference */
    const struct account *account; /* NULL: the name is not known */
    struct scram_verifier verifier;
    char salt[SCRAM_SALT]; /* of an invented one */
    struct timer timer;
    struct hash_job job;
    struct login_tag tag;
    bool hashing;        /* a thread has the job: its op is not ours to look at */
    uint8_t after_timer; /* what the timer ends: private */
    uint16_t name_len, password_len;
    char name[ACCOUNT_NAME], password[PASSWORD_MOST];
};

/* `done` and the login are the owner's. */
void login_init(struct login *login, struct logins *logins, struct loop *loop,
                const struct address *peer, struct op *done);
/* Wipes the password, gives the set back. Not while busy. */
void login_fini(struct login *login);

void login_password(struct login *login, struct span name, struct span password);
void login_verifier(struct login *login, struct span name);
void login_verdict(struct login *login, bool proved);

/* Nobody wants the answer any more. True: there is nothing under way, `done` will not be called.
 * False: a thread has it; `done` follows, with LOGIN_LATER. */
MUST_USE bool login_forget(struct login *login);
