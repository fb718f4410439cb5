/* admin: what an administrator does to waiting mail: count, bounce, delete, flush, move.
 *
 * A job goes through all rows that its filter means, those on disk only as well, in every share by
 * a walk of its own (walk.h), in turns; so it may take long, and says all the time how far it is.
 * Rows that a lane has now are left; they are asked again twice. What a job has done stays done
 * when it is cancelled.
 *
 *     control thread      job = admin_job_new(...)
 *     each worker         share_admin(share, job)
 *     control thread      ... until atomic_load(&job->running) == 0; admin_job_put(job)
 *
 * Each bounced or deleted recipient is an AdminBounce line of the journal, each moved row an
 * AdminRebind line. */
#pragma once

#include "queue/filter.h"
#include "queue/share.h"

enum admin_action {
    ADMIN_COUNT,
    ADMIN_BOUNCE, /* fails for good, with a report where the stream wants reports */
    ADMIN_DELETE, /* the same without reports */
    ADMIN_FLUSH,  /* due now */
    ADMIN_MOVE,   /* into the queue of another tenant, campaign or domain */
};

struct admin_order {
    enum admin_action action;
    struct filter filter;
    struct span reason; /* for the journal and reports */
    /* ADMIN_MOVE: what changes. The domain is where mail goes to, its recipients stay; a message
     * with several destinations keeps its domains. */
    struct span to_tenant, to_campaign, to_domain;
    bool set_tenant, set_campaign, set_domain;
    unsigned per_second; /* over all shares; 0: as fast as it goes */
};

struct admin_job {
    struct admin_order order;             /* spans point into `text` */
    _Atomic uint64_t matched;             /* rows that the filter means, as far as it has come */
    _Atomic uint64_t done, refused, busy; /* refused: cannot be moved; busy: in delivery, left */
    _Atomic uint64_t queues_done;
    _Atomic uint64_t next_ns; /* pace of all shares together, monotonic */
    atomic_bool cancelled;
    _Atomic unsigned running, users;
    char text[];
};

/* With a copy of the order's spans. NULL: no memory. The caller has one use of it. */
struct admin_job *admin_job_new(const struct admin_order *order);
void admin_job_cancel(struct admin_job *job);
/* The caller looks at it no more; the last user frees it. */
void admin_job_put(struct admin_job *job);

/* In the share's thread: begins its part. -ENOMEM, -ECANCELED (it drains) or 0. */
MUST_USE int share_admin(struct share *share, struct admin_job *job);
