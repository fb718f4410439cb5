/* hasher_thread: the one or two threads that check passwords (5 to 400 ms of processor time each).
 *
 * They have a queue of their own, bounded, so that a flood of logins costs the flood its answers
 * and the mail nothing: beyond HASHER_QUEUE waiting jobs hash_submit says no. */
#pragma once

#include "core/check.h"
#include "core/loop.h"
#include "core/span.h"

#include <stdatomic.h>

enum { HASHER_QUEUE = 128 };

/* The owner's memory until the op is done. */
struct hash_job {
    struct op op; /* done in `home`; result 1: it is the password; 0: it is not */
    struct loop *home;
    struct span stored, password; /* see password.h */
    atomic_bool forgotten;        /* nobody wants to know any more: done soon, with 0 */
    struct hash_job *next;
};

struct hashers;
MUST_USE int hashers_start(unsigned threads, struct hashers **ret_hashers);
/* False: too many wait already, and nothing was started. Any thread with a loop. */
MUST_USE bool hash_submit(struct hashers *hashers, struct hash_job *job);
void hashers_stop(struct hashers *hashers); /* ends what was submitted first; NULL is fine */
