/* accounts: who may log in, from a password file in Dovecot's format, for every protocol.
 *
 *     user:{SCHEME}hash:uid:gid:gecos:home:shell:extra fields
 *
 * Only user and hash are needed; uid to shell are other programs'. Empty lines and lines with '#'
 * in front are skipped. Of the extra fields (with blanks between) these mean something here:
 *
 *     ringpost_domains=a.example,*.b.example   mail may come from these domains only; "*." is every
 *                                              name below
 *     ringpost_tenant=NAME                     whose mail it is, whatever the message says
 *     ringpost_rate=1000/h                     messages, over all connections
 *     nologin                                  the account does not exist for us
 *
 * Others, as "userdb_...", are none of our business, except `allow_nets`, which we cannot honour
 * and so refuse, and unknown ringpost_ ones, which are typing errors. A line with a mistake gives
 * no account and a complaint. Names have no case (ASCII).
 *
 * A `struct account_set` is the file as it was when it was read: it never changes and is counted;
 * any thread. `struct accounts` holds the present one: the control thread looks at the file, reads
 * it when it has changed, and swaps the sets, which costs the workers a mutex around one pointer. A
 * file that cannot be read changes nothing. */
#pragma once

#include "core/config.h"
#include "core/map.h"
#include "core/sink.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
    ACCOUNTS_FILE = 256 * 1024 * 1024, /* octets; a larger file is none of ours */
    ACCOUNT_NAME = 255,
    ACCOUNT_TENANT = 64,
};

struct account {
    struct map_node by_name;
    struct span name;           /* lower case */
    struct span stored;         /* see password.h */
    const struct span *domains; /* lower case */
    size_t domain_count;        /* 0: any */
    struct span tenant;
    struct rate rate;
    _Atomic uint64_t *rate_tat_ns; /* the only thing that moves: for rate_take */
};

struct account_set;

/* `complaints` gets a line per mistake, "line 3: ...", each with its line break. -ENOMEM or 0. */
MUST_USE int account_set_parse(struct span text, struct hash_seed seed,
                               struct account_set **ret_set, struct sink *complaints);
struct account_set *account_set_share(struct account_set *set); /* another reference */
struct account_set *account_set_free(struct account_set *set);  /* gives one back */
size_t account_set_count(const struct account_set *set);

/* NULL: there is none of this name, in any case. */
const struct account *account_find(const struct account_set *set, struct span name);

/* Some account, always the same one for the same name: to do for an unknown name what would be done
 * for a known one. `scram`: one that is stored as such. NULL: there is none. */
const struct account *account_stand_in(const struct account_set *set, struct span name, bool scram);

/* Whether mail may come from this domain (lower case). */
bool account_has_domain(const struct account *account, struct span domain);

/* Whether the account is still the same in another reading of the file: it is there, with the same
 * password, and may do the same. */
bool account_unchanged(const struct account *account, const struct account_set *now);

struct accounts {
    char *path;
    struct hash_seed seed;
    pthread_mutex_t mutex;
    struct account_set *now;
    _Atomic uint64_t generation; /* counts the readings */
    struct timespec changed;     /* of the file as it was read, with the next two */
    uint64_t size, inode;
};

/* Reads the file. 0 or negative errno; accounts_fini also then. */
MUST_USE int accounts_init(struct accounts *accounts, const char *path, struct hash_seed seed,
                           struct sink *complaints);
void accounts_fini(struct accounts *accounts); /* sets that are still in use stay */

/* The control thread, now and then: reads the file again if it has changed. 1: it has, and is read;
 * 0: it has not; negative errno: it cannot be read, or (-EBADMSG) all in it is mistakes; then
 * nothing has changed. Blocks. */
MUST_USE int accounts_look(struct accounts *accounts, struct sink *complaints);

/* The present set, with a reference for the caller. Any thread. */
struct account_set *accounts_take(struct accounts *accounts);
