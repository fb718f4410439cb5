/* A run is in one phase; control_run_step does the phase's one step. Visits are ops that travel to
 * the worker's loop and back. */
#include "core/control_run.h"

#include "core/clock.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static void end_with(struct control_call *call, enum call_status status, const char *format,
                     va_list arguments)
{
    vsnprintf(call->error, sizeof call->error, format, arguments);
    call->status = status;
}

void control_fail(struct control_call *call, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    end_with(call, CALL_FAILED, format, arguments);
    va_end(arguments);
}

void control_refuse(struct control_call *call, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    end_with(call, CALL_WRONG, format, arguments);
    va_end(arguments);
}

void control_wake(struct control_call *call)
{
    struct control_run *run = container_of(call, struct control_run, call);
    run->waiting = false;
    run->wake(run);
}

bool control_put(struct control_call *call, struct record *record)
{
    if (record_end(record))
        return true;
    if (call->out.len > 0)
        return false;
    control_fail(call, "a record of the answer is longer than %zu bytes", call->out.capacity);
    return true;
}

/* ---- steps ---- */

/* In the worker's thread. */
static void on_visit(struct op *op)
{
    struct control_run *run = container_of(op, struct control_run, visit);
    const struct control_worker *worker = &run->options->workers[run->call.worker];
    run->stepped = run->handler->visit(&run->call, worker->worker);
    loop_post(run->loop, worker->loop, &run->returned);
}

static void start_visit(struct control_run *run)
{
    run->visiting = true;
    run->due_ns = run->loop->now_ns + CONTROL_VISIT_MS * NS_PER_MS;
    loop_post(run->options->workers[run->call.worker].loop, run->loop, &run->visit);
}

static enum run_phase phase_behind_visits(const struct control_run *run)
{
    if (run->handler->every_ms)
        return RUN_PAUSE;
    return run->handler->finish ? RUN_FINISH : RUN_ENDED;
}

static void visit_is_back(struct control_run *run)
{
    struct control_call *call = &run->call;
    enum run_phase next = RUN_VISIT;
    if (run->stepped == CONTROL_DONE && ++call->worker == run->options->worker_count) {
        call->worker = 0;
        next = phase_behind_visits(run);
        run->due_ns = run->loop->now_ns + run->handler->every_ms * NS_PER_MS;
    }
    run->behind_gather = (uint8_t)next;
    run->phase = (uint8_t)(run->handler->gather ? RUN_GATHER : next);
}

static void on_returned(struct op *op)
{
    struct control_run *run = container_of(op, struct control_run, returned);
    run->visiting = false;
    visit_is_back(run);
    run->wake(run);
}

static void step_here(struct control_run *run, enum control_step (*step)(struct control_call *),
                      unsigned next)
{
    run->stepped = step ? step(&run->call) : CONTROL_DONE;
    run->waiting = run->stepped == CONTROL_WAIT;
    if (run->stepped == CONTROL_DONE)
        run->phase = (uint8_t)next;
}

void control_run_step(struct control_run *run)
{
    const struct control_handler *handler = run->handler;
    run->stepped = CONTROL_DONE;
    if (run->call.status != CALL_DONE)
        run->phase = RUN_ENDED;
    switch (run->phase) {
    case RUN_BEGIN:
        step_here(run, handler->begin, handler->visit ? RUN_VISIT : phase_behind_visits(run));
        return;
    case RUN_VISIT:
        start_visit(run);
        return;
    case RUN_GATHER:
        step_here(run, handler->gather, run->behind_gather);
        return;
    case RUN_PAUSE:
        if (run->loop->now_ns >= run->due_ns)
            run->phase = RUN_VISIT;
        return;
    case RUN_FINISH:
        step_here(run, handler->finish, RUN_ENDED);
        return;
    default:
        return;
    }
}

bool control_run_can_step(const struct control_run *run)
{
    if (!control_run_running(run) || control_run_ended(run) || run->visiting || run->waiting)
        return false;
    return run->phase != RUN_PAUSE || run->loop->now_ns >= run->due_ns;
}

bool control_run_has_output(const struct control_run *run)
{
    if (run->visiting || run->call.out.len == 0)
        return false;
    return !control_run_can_step(run) || run->stepped == CONTROL_MORE;
}

bool control_run_lost(const struct control_run *run)
{
    return run->visiting && run->loop->now_ns >= run->due_ns;
}

/* ---- life ---- */

static bool is_handler_of(const struct control_handler *handler, const struct command *command)
{
    if (strcmp(handler->noun, command->noun) != 0 || !handler->verb != !command->verb)
        return false;
    return !handler->verb || strcmp(handler->verb, command->verb) == 0;
}

static const struct control_handler *find_handler(const struct control_options *options,
                                                  const struct command *command)
{
    for (unsigned i = 0; options->families[i]; i++)
        for (const struct control_handler *handler = options->families[i]; handler->noun; handler++)
            if (is_handler_of(handler, command))
                return handler;
    return NULL;
}

void control_run_init(struct control_run *run, struct loop *loop,
                      const struct control_options *options, void (*wake)(struct control_run *run))
{
    *run = (struct control_run){.options = options, .loop = loop, .wake = wake};
    run->call.owner = options->owner;
    op_init(&run->visit, on_visit);
    op_init(&run->returned, on_returned);
}

void control_run_refuse(struct control_run *run, enum call_status status, const char *text)
{
    struct control_call *call = &run->call;
    call->status = status;
    if (text)
        snprintf(call->error, sizeof call->error, "%s", text);
    run->phase = RUN_ENDED;
}

void control_run_begin(struct control_run *run)
{
    const struct control_handler *handler = find_handler(run->options, run->call.command);
    if (!handler) {
        control_run_refuse(run, CALL_WRONG, "this command is not the daemon's");
        return;
    }
    run->call.state = handler->state_size ? calloc(1, handler->state_size) : NULL;
    if (handler->state_size && !run->call.state) {
        control_run_refuse(run, CALL_FAILED, "no memory");
        return;
    }
    run->handler = handler;
    run->stepped = CONTROL_DONE;
    run->waiting = false;
    run->phase = RUN_BEGIN;
}

void control_run_end(struct control_run *run)
{
    check(!run->visiting);
    if (run->handler && run->handler->end)
        run->handler->end(&run->call);
    free(run->call.state);
    run->call.state = NULL;
    run->handler = NULL;
    run->phase = RUN_NONE;
}
