/* suspend, resume, suspension list. What is asked is made durable first, then each worker is told.
 *
 * A change that is on its way to the disk outlives a client that goes away: it belongs to nobody
 * then, and is told to the workers by the next change, or the next start. */
#include "core/daemon.h"
#include "queue/suspend.h"
#include "smtp/suspended.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct change {
    struct suspension_change change;
    struct control_call *call; /* NULL: gone */
    bool done;
};

struct asked {
    struct change *change;
    struct suspension suspension; /* spans are those of the call, and `who` */
    bool resume;
    char who[SUSPENSION_WHO_MAX];
};

static struct span text_of(const struct control_call *call, const char *name)
{
    return values_text(call->command, &call->values, name);
}

static enum suspension_scope scope_of(struct span name)
{
    unsigned scope = 0;
    while (scope + 1 < SUSPENSION_SCOPES &&
           !span_equals(name, span_string(suspension_scope_name((enum suspension_scope)scope))))
        scope++;
    return (enum suspension_scope)scope;
}

/* ---- the change ---- */

static void on_changed(struct op *op)
{
    struct change *change = container_of(op, struct change, change.op);
    change->done = true;
    if (change->call)
        control_wake(change->call);
    else
        free(change);
}

static void fail(struct control_call *call, int error)
{
    if (error == -ENOENT)
        control_fail(call, "this is not suspended");
    else if (error == -EINVAL)
        control_refuse(call, "the name is longer than %d octets, or the reason than %d",
                       SUSPENSION_NAME_MAX, SUSPENSION_REASON_MAX);
    else
        control_fail(call, "it could not be made durable: %s", strerror(-error));
}

/* "--for 0s", as a script may come to say it: what that means is not "for ever". */
static bool lasts_no_time(const struct control_call *call)
{
    return values_duration_ms(call->command, &call->values, "for", UINT64_MAX) == 0;
}

static void read_arguments(struct control_call *call, struct asked *asked)
{
    uint64_t for_ms = values_duration_ms(call->command, &call->values, "for", 0);
    struct sink sink;
    sink_init(&sink, asked->who, sizeof asked->who);
    sink_format(&sink, "user %lld", (long long)call->user);
    asked->suspension = (struct suspension){
        .since_ms = clock_wall_ms(),
        .until_ms = for_ms ? clock_wall_ms() + for_ms : 0,
        .scope = (uint8_t)scope_of(text_of(call, "WHAT")),
        .name = text_of(call, "NAME"),
        .reason = text_of(call, "reason"),
        .who = sink_span(&sink),
    };
}

static enum control_step submit(struct control_call *call, struct asked *asked)
{
    struct daemon *daemon = daemon_of(call);
    struct change *change = calloc(1, sizeof *change);
    if (!change) {
        control_fail(call, "no memory");
        return CONTROL_DONE;
    }
    change->call = call;
    asked->change = change;
    op_init(&change->change.op, on_changed);
    const struct suspension *suspension = &asked->suspension;
    if (asked->resume)
        spool_resume(daemon->spool, &daemon->control, (enum suspension_scope)suspension->scope,
                     suspension->name, &change->change);
    else
        spool_suspend(daemon->spool, &daemon->control, suspension, &change->change);
    return CONTROL_WAIT;
}

static enum control_step begin(struct control_call *call)
{
    struct asked *asked = call->state;
    struct change *change = asked->change;
    if (!change)
        return submit(call, asked);
    if (!change->done)
        return CONTROL_WAIT;
    int error = change->change.op.result;
    if (error < 0)
        fail(call, error);
    else
        log_notice("user %lld: %s %.*s is %s", (long long)call->user,
                   suspension_scope_name((enum suspension_scope)asked->suspension.scope),
                   SPAN_FORMAT(asked->suspension.name), asked->resume ? "resumed" : "suspended");
    return CONTROL_DONE;
}

static enum control_step begin_suspend(struct control_call *call)
{
    struct asked *asked = call->state;
    if (!asked->change) {
        if (lasts_no_time(call)) {
            control_refuse(call, "--for is 0: without --for it lasts until it is resumed");
            return CONTROL_DONE;
        }
        read_arguments(call, asked);
    }
    return begin(call);
}

static enum control_step begin_resume(struct control_call *call)
{
    struct asked *asked = call->state;
    if (!asked->change) {
        asked->resume = true;
        asked->suspension.scope = (uint8_t)scope_of(text_of(call, "WHAT"));
        asked->suspension.name = text_of(call, "NAME");
    }
    return begin(call);
}

static enum control_step visit(struct control_call *call, void *worker_)
{
    struct worker *worker = worker_;
    const struct asked *asked = call->state;
    if (asked->resume)
        egress_resume(&worker->egress, (enum suspension_scope)asked->suspension.scope,
                      asked->suspension.name);
    else if (egress_suspend(&worker->egress, &asked->suspension) < 0)
        control_fail(call, "no memory: it holds from the next start on");
    return CONTROL_DONE;
}

static void end(struct control_call *call)
{
    struct asked *asked = call->state;
    if (!asked->change)
        return;
    asked->change->call = NULL;
    if (asked->change->done)
        free(asked->change);
}

/* ---- showing ---- */

static bool put_suspension(struct control_call *call, const struct suspension *suspension)
{
    struct record record;
    record_begin(&record, &call->out);
    record_text(&record, "what",
                span_string(suspension_scope_name((enum suspension_scope)suspension->scope)));
    record_text(&record, "name", suspension->name);
    record_count(&record, "since_ms", suspension->since_ms);
    if (suspension->until_ms)
        record_count(&record, "until_ms", suspension->until_ms);
    record_text(&record, "who", suspension->who);
    if (suspension->reason.len)
        record_text(&record, "reason", suspension->reason);
    return control_put(call, &record);
}

static enum control_step finish_suspend(struct control_call *call)
{
    const struct asked *asked = call->state;
    return put_suspension(call, &asked->suspension) ? CONTROL_DONE : CONTROL_MORE;
}

struct listed {
    uint64_t at; /* how many were looked at; a change meanwhile may show one twice or never */
};

static enum control_step finish_list(struct control_call *call)
{
    struct listed *listed = call->state;
    const struct suspensions *all = spool_suspensions(daemon_of(call)->spool);
    uint64_t index = 0, now_ms = clock_wall_ms();
    for (const struct suspension *at = NULL; (at = suspensions_next(all, at)); index++) {
        bool over = !suspension_holds(at, now_ms);
        if (index < listed->at)
            continue;
        if (!over && !put_suspension(call, at))
            return CONTROL_MORE;
        listed->at = index + 1;
    }
    return CONTROL_DONE;
}

const struct control_handler daemon_suspend_handlers[] = {
    {"suspend", NULL, .state_size = sizeof(struct asked), .begin = begin_suspend, .visit = visit,
     .finish = finish_suspend, .end = end},
    {"resume", NULL, .state_size = sizeof(struct asked), .begin = begin_resume, .visit = visit,
     .end = end},
    {"suspension", "list", .state_size = sizeof(struct listed), .finish = finish_list},
    {NULL},
};
