/* control: the daemon's side of the control socket (protocol: core/control_frame.h).
 *
 * A Unix socket on the control thread's loop; whoever may open it (mode 0660, group) may do
 * everything. A connection carries one call at a time. A call is carried out by its handler, in
 * steps that never wait:
 *
 *     begin     control thread, once
 *     visit     in each worker's thread in turn, again and again until it says CONTROL_DONE
 *     gather    control thread, behind each visit, until it says CONTROL_DONE
 *     finish    control thread, again and again until it says CONTROL_DONE
 *     end       control thread, once, whatever happened
 *
 * Each step may write records to `call->out` (core/control_record.h). When a record does not fit,
 * the step remembers where it is in `call->state` and says CONTROL_MORE: it is called again when
 * the client has taken what there was. So a slow client holds one buffer of CONTROL_OUT bytes, and
 * nothing in a worker: a worker keeps no position, no lock and no iterator between two visits.
 * A visit must be short (look at a few hundred things, then CONTROL_MORE).
 *
 * `call->state` is `state_size` cleared bytes. Call and state belong to whichever thread runs the
 * step; there is never more than one. They stay until a visit that is out has come back, also when
 * the client has gone.
 *
 * Deadlines: CONTROL_INPUT_MS for a whole call to arrive, CONTROL_SEND_MS for output to be taken,
 * CONTROL_VISIT_MS for a worker to come back; while a call waits the client gets a PULSE each
 * CONTROL_PULSE_MS. Bounds: CONTROL_CONNECTIONS connections, CALL_MAX bytes a call. */
#pragma once

#include "core/conn.h"
#include "core/control_record.h"
#include "core/listen.h"

enum {
    CONTROL_CONNECTIONS = 32, /* beyond: closed at once */
    CONTROL_OUT = 64 * 1024,
    CONTROL_INPUT_MS = 10 * 1000,
    CONTROL_SEND_MS = 60 * 1000,
    CONTROL_VISIT_MS = 30 * 1000,
    CONTROL_PULSE_MS = 5 * 1000,
};

enum control_step {
    CONTROL_DONE, /* this step is through */
    CONTROL_MORE, /* call it again when the client has taken what was written */
    CONTROL_WAIT, /* begin, gather, finish: call it again after control_wake; nothing may be written
                     then */
};

struct control_call {
    const struct command *command;
    struct values values;
    struct sink out;
    void *state;
    void *owner;             /* the server's `owner` */
    unsigned worker;         /* visit: whose turn it is */
    int64_t user;            /* who called: a numeric user id, -1: unknown */
    enum call_status status; /* control_fail */
    char error[1024];
};

/* The call ends with this text and CALL_FAILED, whatever the step returns; what was written before
 * still goes out. From any step. */
void control_fail(struct control_call *call, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The same for a call that makes no sense: CALL_WRONG, exit status 2. */
void control_refuse(struct control_call *call, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Ends a record that was begun in call->out. False: it did not fit, the sink is as it was before
 * the record: say CONTROL_MORE and write it again next time. */
MUST_USE bool control_put(struct control_call *call, struct record *record);

/* Control thread: a step said CONTROL_WAIT, and what it waited for has come. */
void control_wake(struct control_call *call);

struct control_handler {
    const char *noun, *verb; /* of a command that is not local */
    size_t state_size;
    enum control_step (*begin)(struct control_call *call);
    enum control_step (*visit)(struct control_call *call, void *worker);
    enum control_step (*gather)(struct control_call *call);
    enum control_step (*finish)(struct control_call *call);
    void (*end)(struct control_call *call);
    uint64_t every_ms; /* not 0: when all workers were visited they are visited again after so
                          long, until the client goes (or control_fail): `finish` is not used */
};

/* One per worker: where visits run, and what they are given. */
struct control_worker {
    struct loop *loop;
    void *worker;
};

struct control_options {
    const char *path, *group;                      /* group NULL or empty: the process's own */
    const struct control_handler *const *families; /* each ends with a handler without noun; NULL
                                                      behind the last */
    const struct control_worker *workers;
    unsigned worker_count;
    void *owner; /* for the handlers: call->owner */
};

struct control_server {
    struct loop *loop;
    struct control_options options;
    struct listener listener;
    struct admission admission;
    struct list connections;
    char *path;
    bool listening, stopping;
    struct op *stopped;
    uint64_t calls; /* answered so far */
};

/* Binds and listens. What `options` points to stays the owner's and must outlive the server, but
 * for path and group. 0 or negative errno: -ENOENT: there is no such group. */
MUST_USE int control_server_init(struct control_server *server, struct loop *loop,
                                 const struct control_options *options);

/* Ends all connections. `stopped` becomes ready, once, when only those are left whose visit has not
 * come back from a worker. Removes the socket's file. */
void control_server_stop(struct control_server *server, struct op *stopped);

/* When no worker's thread runs any more. */
void control_server_fini(struct control_server *server);
