/* question: the records of one name and type, out of the cache or from the name servers, with
 * CNAMEs followed. For those who want to know what stands in DNS rather than where mail goes
 * (plan.h).
 *
 * `ended` runs from dispatch, once, and may ask the next question; what `answer` points to is the
 * cache's and gone when it returns. dns_stop ends all open questions with -ECANCELED, and so ends
 * every question that is asked later. */
#pragma once

#include "dns/cache.h"
#include "dns/plan.h"

struct question;
typedef void question_ended(struct question *question);

struct question {
    question_ended *ended;
    const struct answer *answer; /* NOERROR or NXDOMAIN; NULL: it failed */
    int error;                   /* negative errno (resolver.h), then */
    struct dns *dns;             /* private from here */
    struct lookup lookup;
    struct op failed;
    struct list_link link;
    enum rr_type type;
    unsigned steps;
};

/* The question: zeroed, or one that has ended. */
void question_ask(struct dns *dns, struct question *question, const struct name *name,
                  enum rr_type type, question_ended *ended);

/* At once: `ended` does not run. A question that is not open is left alone. */
void question_cancel(struct question *question);

/* For dns_stop. */
void questions_end(struct dns *dns);
