/* vetting: the DNS side of vet.h: asks what a message's signatures and SPF need to know, within a
 * deadline. What has no answer by then is a temporary error, and the message goes on. */
#pragma once

#include "dns/question.h"
#include "smtp/vet.h"

struct vetting;

struct vetting_line {
    struct question question;
    struct vetting *vetting;
    bool open;
};

struct vetting {
    struct loop *loop;
    struct dns *dns;
    struct vet *vet;
    struct vetting_line lines[VET_LINES];
    struct timer deadline;
    struct op *done;
    bool running;
};

/* `done` becomes ready, later, once. Everything stays the caller's until then. */
void vetting_start(struct vetting *vetting, struct loop *loop, struct dns *dns, struct vet *vet,
                   uint64_t deadline_ms, struct op *done);

/* Whether it is under way, or its end has not been dispatched. */
bool vetting_open(const struct vetting *vetting);

/* The message goes away: `done` will not run. An idle one is left alone. */
void vetting_cancel(struct vetting *vetting);
