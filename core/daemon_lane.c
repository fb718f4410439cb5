/* The commands about lanes: each worker shows its own. */
#include "core/daemon.h"
#include "smtp/inspect.h"

#include <string.h>

enum { BUCKETS_PER_VISIT = 256 };

struct lanes {
    uint64_t cursor;
    struct control_call *call;
    const struct worker *worker;
    bool full, found;
};

static const char *state_name(const struct lane_view *view)
{
    if (view->suspension)
        return "suspended";
    return view->held_until_ms ? "held" : view->rate_until_ms ? "rate" : "ok";
}

static uint64_t until_ms(const struct lane_view *view)
{
    if (view->suspension)
        return view->suspension->until_ms;
    return view->held_until_ms ? view->held_until_ms : view->rate_until_ms;
}

static void put_lane(struct record *record, const struct lane_view *view,
                     const struct worker *worker)
{
    record_text(record, "lane", view->key);
    record_count(record, "worker", worker->loop.index);
    record_text(record, "state", span_string(state_name(view)));
    if (until_ms(view))
        record_count(record, "until_ms", until_ms(view));
    record_count(record, "connections", view->established);
    record_count(record, "connecting", view->connecting);
    record_count(record, "idle", view->idle);
    record_count(record, "slots", view->slots);
    record_count(record, "limit", worker->egress.settings.config->delivery.connection_limit);
    record_count(record, "queues", view->queues);
    record_count(record, "failures", view->failures);
    if (view->failure.len)
        record_text(record, "failure", view->failure);
}

static bool contains(struct span text, struct span part)
{
    return part.len == 0 || memmem(text.data, text.len, part.data, part.len);
}

static void list_lane(void *context, const struct lane_view *view)
{
    struct lanes *lanes = context;
    struct control_call *call = lanes->call;
    struct span site = values_text(call->command, &call->values, "site");
    struct span state = values_text(call->command, &call->values, "state");
    if (!contains(view->site, site) ||
        (state.len && !span_equals(state, span_string(state_name(view)))))
        return;
    struct record record;
    record_begin(&record, &call->out);
    put_lane(&record, view, lanes->worker);
    record_text(&record, "source", view->source);
    record_text(&record, "site", view->site);
    lanes->full = lanes->full || !control_put(call, &record);
}

static void show_lane(void *context, const struct lane_view *view)
{
    struct lanes *lanes = context;
    struct control_call *call = lanes->call;
    struct span name = values_text(call->command, &call->values, "NAME");
    if (!span_equals(name, view->key) && !span_equals(name, view->site))
        return;
    struct record record;
    struct lane_host_view host;
    record_begin(&record, &call->out);
    put_lane(&record, view, lanes->worker);
    record_list(&record, "hosts");
    for (unsigned i = 0; lane_view_host(view, i, &host); i++) {
        char text[ADDRESS_TEXT];
        struct sink sink;
        sink_init(&sink, text, sizeof text);
        address_put(&host.address, &sink);
        record_item(&record);
        record_text(&record, "name", host.name);
        record_text(&record, "address", sink_span(&sink));
        record_count(&record, "preference", host.preference);
        if (host.bad_until_ms)
            record_count(&record, "bad_until_ms", host.bad_until_ms);
        record_item_end(&record);
    }
    record_list_end(&record);
    lanes->found = true;
    lanes->full = lanes->full || !control_put(call, &record);
}

/* A bucket whose lanes do not all fit is written again, whole, next time. */
static enum control_step visit(struct control_call *call, struct worker *worker,
                               inspect_lane *inspect)
{
    struct lanes *lanes = call->state;
    lanes->call = call;
    lanes->worker = worker;
    for (unsigned i = 0; i < BUCKETS_PER_VISIT; i++) {
        size_t before = call->out.len;
        lanes->full = false;
        uint64_t next = egress_scan_lanes(&worker->egress, lanes->cursor, inspect, lanes);
        if (lanes->full) {
            call->out.len = before;
            return CONTROL_MORE;
        }
        lanes->cursor = next;
        if (next == 0)
            return CONTROL_DONE;
    }
    return CONTROL_MORE;
}

static enum control_step visit_list(struct control_call *call, void *worker)
{
    return visit(call, worker, list_lane);
}

static enum control_step visit_show(struct control_call *call, void *worker)
{
    return visit(call, worker, show_lane);
}

static enum control_step finish_show(struct control_call *call)
{
    const struct lanes *lanes = call->state;
    struct span name = values_text(call->command, &call->values, "NAME");
    if (!lanes->found)
        control_fail(call, "no lane is called %.*s: it is not in use now", SPAN_FORMAT(name));
    return CONTROL_DONE;
}

const struct control_handler daemon_lane_handlers[] = {
    {"lane", "list", .state_size = sizeof(struct lanes), .visit = visit_list},
    {"lane", "show", .state_size = sizeof(struct lanes), .visit = visit_show,
     .finish = finish_show},
    {NULL},
};
