/* domain errors: what destinations answered last that was no success. */
#include "core/daemon.h"
#include "smtp/inspect.h"

enum { BUCKETS_PER_VISIT = 256 };

struct errors {
    uint64_t cursor;
    struct control_call *call;
    unsigned worker;
    bool full;
};

static void put_error(void *context, const struct route_view *view)
{
    struct errors *errors = context;
    struct control_call *call = errors->call;
    struct span domain = values_text(call->command, &call->values, "DOMAIN");
    struct record record;
    if (domain.len && !span_equals_any_case(domain, view->domain))
        return;
    record_begin(&record, &call->out);
    record_text(&record, "domain", view->domain);
    record_count(&record, "worker", errors->worker);
    record_count(&record, "errors", view->errors);
    record_count(&record, "at_ms", view->error_at_ms);
    record_text(&record, "error", view->error);
    errors->full = errors->full || !control_put(call, &record);
}

/* A bucket that does not fit is written again, whole, next time. */
static enum control_step visit(struct control_call *call, void *worker_)
{
    const struct worker *worker = worker_;
    struct errors *errors = call->state;
    errors->call = call;
    errors->worker = worker->loop.index;
    for (unsigned i = 0; i < BUCKETS_PER_VISIT; i++) {
        size_t before = call->out.len;
        errors->full = false;
        uint64_t next = egress_scan_errors(&worker->egress, errors->cursor, put_error, errors);
        if (errors->full) {
            call->out.len = before;
            return CONTROL_MORE;
        }
        errors->cursor = next;
        if (next == 0)
            return CONTROL_DONE;
    }
    return CONTROL_MORE;
}

const struct control_handler daemon_domain_handlers[] = {
    {"domain", "errors", .state_size = sizeof(struct errors), .visit = visit},
    {NULL},
};
