/* sealer: makes the DKIM signatures of a worker's messages, one batch in each turn of its loop.
 *
 * A signature with a 2048-bit RSA key takes up to a millisecond, in which the worker does nothing
 * else. So messages that are complete wait here in a list, first come first served, and each turn
 * takes as many signatures as sign_batch_width() from its front: between two of them every other
 * connection of the worker has its turn. A message with several signatures takes several turns.
 *
 * Who waits sets the deadline (the commit's) and may leave by sealing_cancel. */
#pragma once

#include "core/loop.h"
#include "core/metrics.h"
#include "smtp/seal.h"

struct sealer {
    struct loop *loop;
    struct metrics *metrics;
    struct list waiting;
    struct op next_turn; /* sent to our own inbox, which is read once a turn */
};

struct sealing {
    struct seal *seal;
    struct op *done;
    struct list_link link;
};

void sealer_init(struct sealer *sealer, struct loop *loop, struct metrics *metrics);

/* `seal` has reserved its places. `done` becomes ready, later, when they are filled: 0; or -ENOMEM,
 * and it may be started again. Everything in `sealing` stays the caller's until then. */
void sealer_start(struct sealer *sealer, struct sealing *sealing, struct seal *seal,
                  struct op *done);

/* Whether it waits, or its result does. */
bool sealing_open(const struct sealing *sealing);

/* The message goes away: `done` will not run. An idle sealing is left alone. */
void sealing_cancel(struct sealer *sealer, struct sealing *sealing);
