/* control_run: carries out one call, step by step, for whoever asked: the control socket
 * (core/control.c), or the status page.
 *
 * The owner calls control_run_step from its dispatch while control_run_can_step, and takes what
 * stands in `call.out` (and empties it) whenever control_run_has_output. When nothing can be done
 * until a worker or something else has come back, `wake` tells the owner that it has. At the end
 * (control_run_ended) call.status and call.error say how it went; control_run_end frees the call.
 *
 * While `visiting`, call, output and state are with a worker: the run's memory must stay. */
#pragma once

#include "core/control.h"

enum run_phase {
    RUN_NONE,
    RUN_BEGIN,
    RUN_VISIT,
    RUN_GATHER,
    RUN_PAUSE,
    RUN_FINISH,
    RUN_ENDED,
};

struct control_run {
    struct control_call call; /* `out` is the owner's buffer */
    const struct control_options *options;
    struct loop *loop;
    void (*wake)(struct control_run *run); /* from dispatch; may only record */
    const struct control_handler *handler;
    struct op visit, returned; /* to the worker's loop, and back */
    uint64_t due_ns;           /* of the visit, or of the pause's end */
    uint8_t phase, behind_gather;
    enum control_step stepped;
    bool visiting; /* with a worker */
    bool waiting;  /* a step said CONTROL_WAIT */
};

void control_run_init(struct control_run *run, struct loop *loop,
                      const struct control_options *options, void (*wake)(struct control_run *run));

/* Starts a call of `call.command` with `call.values`; it may have ended at once. */
void control_run_begin(struct control_run *run);
/* The call cannot be made. `text` NULL: call.error says why. */
void control_run_refuse(struct control_run *run, enum call_status status, const char *text);

static inline bool control_run_running(const struct control_run *run)
{
    return run->phase != RUN_NONE;
}

static inline bool control_run_ended(const struct control_run *run)
{
    return run->phase == RUN_ENDED;
}

bool control_run_can_step(const struct control_run *run);
void control_run_step(struct control_run *run);

/* Output to take: the step asks for room, or nothing more will come for now. */
bool control_run_has_output(const struct control_run *run);

/* A worker has not come back in time; the call cannot go on and its output is not there. */
bool control_run_lost(const struct control_run *run);

/* Frees the call; ready for the next one. Not while `visiting`. */
void control_run_end(struct control_run *run);
