/* suspensions: what an administrator has told to stand still, why, and until when. Pure.
 *
 * A suspension holds for a queue, for all queues of a domain, tenant or campaign, or for a lane or
 * all lanes of an egress source. It stops deliveries from being begun, nothing else: mail is
 * accepted, transactions that run end, what is too old expires.
 *
 * They are durable as `meta` records (META_SUSPENSION and a number). The spool has all of them, for
 * the control thread; each worker has a copy of its own and is told of each change. Asking costs
 * one look at `count` while there are none. */
#pragma once

#include "core/list.h"
#include "core/map.h"
#include "core/sink.h"

enum suspension_scope {
    SUSPEND_QUEUE,
    SUSPEND_DOMAIN, /* compared in any case */
    SUSPEND_TENANT,
    SUSPEND_CAMPAIGN,
    SUSPEND_SOURCE, /* egress source */
    SUSPEND_LANE,   /* "source->site" */
    SUSPENSION_SCOPES,
};

/* "queue", "domain", ... */
const char *suspension_scope_name(enum suspension_scope scope);

enum { SUSPENSION_NAME_MAX = 1024, SUSPENSION_REASON_MAX = 512, SUSPENSION_WHO_MAX = 64 };

struct suspension {
    uint64_t number;             /* of its record */
    uint64_t since_ms, until_ms; /* wall time; until 0: for ever */
    uint8_t scope;
    struct span name, reason, who;
};

struct suspensions {
    struct map map;  /* by scope and name */
    struct list all; /* oldest first */
    unsigned count;
};

MUST_USE int suspensions_init(struct suspensions *suspensions);
void suspensions_fini(struct suspensions *suspensions);

/* Copies it; one of the same scope and name is replaced. -ENOMEM: nothing changed. */
MUST_USE int suspensions_put(struct suspensions *suspensions, const struct suspension *suspension);
bool suspensions_remove(struct suspensions *suspensions, enum suspension_scope scope,
                        struct span name);
MUST_USE int suspensions_copy(struct suspensions *to, const struct suspensions *from);

/* Whether it binds. One that ends, and whose beginning lies over an hour ahead, was made before the
 * clock went back: nobody knows how much of it is left, so it is over. */
bool suspension_holds(const struct suspension *suspension, uint64_t wall_ms);

/* What stands still now; NULL: nothing. Borrowed until the next change. */
const struct suspension *suspensions_find(const struct suspensions *suspensions,
                                          enum suspension_scope scope, struct span name,
                                          uint64_t wall_ms);
/* Of the queue, or of its domain, tenant or campaign: the first found in that order. */
const struct suspension *suspensions_of_queue(const struct suspensions *suspensions,
                                              struct span name, uint64_t wall_ms);

/* Whether it still holds or not. NULL: there is none. */
const struct suspension *suspensions_get(const struct suspensions *suspensions,
                                         enum suspension_scope scope, struct span name);

/* The first end of one that holds now; UINT64_MAX: none ends. */
uint64_t suspensions_next_end_ms(const struct suspensions *suspensions, uint64_t wall_ms);

/* How many hold now. */
unsigned suspensions_holding(const struct suspensions *suspensions, uint64_t wall_ms);

/* All, oldest first, those that have ended as well: the one behind `after`, the first for NULL. */
const struct suspension *suspensions_next(const struct suspensions *suspensions,
                                          const struct suspension *after);

/* ---- records ---- */

bool suspension_write(const struct suspension *suspension, struct sink *sink);
/* Strings are spans into `bytes`; the number is the key's business. */
bool suspension_read(struct span bytes, struct suspension *ret_suspension);
