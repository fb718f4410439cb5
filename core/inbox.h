/* inbox: ops from other threads, lock-free, with one wake per burst.
 *
 * Any thread pushes, only the owner takes. A push tells whether the owner was asleep and must be
 * woken. The owner says inbox_sleep() before it waits: it sets the flag, fences, and looks a second
 * time; false means that something came in between and it must not wait. The fence on both sides is
 * what makes a lost wake-up impossible (Dekker's pattern); a TSan stress test holds it.
 *
 * Order: ops of one sender arrive in the order sent. */
#pragma once

#include "core/op.h"

#include <stdatomic.h>

struct inbox {
    _Atomic(struct op *) newest;
    atomic_bool asleep;
};

void inbox_init(struct inbox *inbox);

/* Pushes the chain first..last (linked by inbox_next, `first` to arrive first), as OP_BUSY. True:
 * wake the owner. */
MUST_USE bool inbox_push(struct inbox *inbox, struct op *first, struct op *last);

/* Owner: takes all that is there and appends it to `ready`, oldest first, as OP_READY. */
void inbox_take(struct inbox *inbox, struct list *ready);

/* Owner: about to wait / back from waiting. */
MUST_USE bool inbox_sleep(struct inbox *inbox);
void inbox_awake(struct inbox *inbox);
