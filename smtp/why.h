/* why: what binds mail on its way out: suspensions, the domain's route, its lane (queue/why.h has
 * the vocabulary). Called in the worker's thread; changes nothing. */
#pragma once

#include "queue/why.h"
#include "smtp/egress.h"

struct lane;

/* Everything that binds this queue now, the share's reasons first. */
void egress_why_queue(struct egress *egress, struct queue *queue, why_tell *tell, void *context);
void lane_why(const struct lane *lane, why_tell *tell, void *context);

/* By key or site; several sources may serve a site. NULL: there is none (behind `after`). */
const struct lane *egress_next_lane(const struct egress *egress, struct span name,
                                    const struct lane *after);

/* Which connection has this row, and how far it is there: a sentence. False: none has it. */
bool egress_why_lent(const struct egress *egress, const struct row *row, struct sink *sink,
                     uint64_t *ret_since_ms);
