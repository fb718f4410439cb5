/* plan_work: an open request, seen by the files that make a plan of it. Private to dns/. */
#pragma once

#include "dns/cache.h"
#include "dns/candidate.h"
#include "dns/plan.h"
#include "dns/site.h"

enum { SUBJECT_BYTES = 200 }; /* of what was asked, in texts */

struct dns {
    struct loop *loop;
    struct dns_options options;
    struct resolver *resolver;
    struct cache cache;
    struct list works;
    struct list questions; /* open ones (question.h) */
    bool stopping;
};

enum origin { BY_DOMAIN, BY_ADDRESS, BY_ROUTE };

/* One look-up and, where the answer only names another name, the next ones. */
struct search {
    struct lookup lookup;
    struct plan_work *work;
    struct candidate *candidate; /* NULL: the MX look-up */
    enum rr_type type;
    unsigned follows;
};

struct plan_work {
    struct dns *dns;
    struct plan_request *request;
    struct list_link link;
    struct timer deadline;
    enum origin origin;
    struct name domain;
    char subject[SUBJECT_BYTES + 1]; /* for texts */
    bool implicit;                   /* no MX: the domain is its own host */
    bool authentic;
    int error; /* of the last look-up that failed */
    uint64_t expires_ns;
    unsigned open; /* look-ups */
    struct search mx;
    size_t count;
    struct candidate *candidates;
    struct search *searches; /* two per candidate */
    char site[SITE_BYTES];
    size_t site_len;
};

/* plan_build.c. NULL: no memory. `temporary` softens PLAN_NO_ADDRESS. */
MUST_USE struct plan *plan_new(const struct plan_work *work, enum plan_status status,
                               bool temporary);

/* plan.c: takes back look-ups and timer; the request is told by the caller. */
void plan_work_free(struct plan_work *work);
