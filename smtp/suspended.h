/* suspended: what stands still in a worker's outbound side by an administrator's word
 * (queue/suspensions.h).
 *
 * A queue that stands still wants no lane: it waits in egress->suspended until a suspension ends
 * or is lifted, then all of them are asked again, in turns. A lane that stands still takes no row;
 * its queues stay with it. */
#pragma once

#include "queue/suspensions.h"
#include "smtp/egress.h"

struct lane;

/* The worker's copy changes. -ENOMEM: it did not. */
MUST_USE int egress_suspend(struct egress *egress, const struct suspension *suspension);
void egress_resume(struct egress *egress, enum suspension_scope scope, struct span name);

/* If the queue stands still it is taken in (its `want` must not be linked): true. */
bool egress_take_suspended(struct egress *egress, struct queue *queue);

/* NULL: it does not stand still. */
const struct suspension *lane_suspension(const struct lane *lane);

/* For the egress: */
MUST_USE int suspended_init(struct egress *egress);
void suspended_start(struct egress *egress);
void suspended_stop(struct egress *egress);
void suspended_fini(struct egress *egress);
