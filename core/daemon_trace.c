/* trace smtp-in, trace smtp-out: what connections say, live. Each worker keeps the lines in a
 * buffer of its own (smtp/trace.h), which is fetched some times a second until the client goes. */
#include "core/daemon.h"
#include "core/date.h"
#include "smtp/trace.h"

#include <string.h>

enum { EVERY_MS = 200, LINE_MAX_LEN = 1200 };

struct tracing {
    struct trace_filter filter;
    uint64_t numbers[SHARD_COUNT]; /* by worker; 0: not begun */
};

static bool copy_text(const struct control_call *call, const char *name, char *to, size_t size)
{
    struct span text = values_text(call->command, &call->values, name);
    if (text.len >= size)
        return false;
    if (text.len)
        memcpy(to, text.data, text.len);
    to[text.len] = '\0';
    return true;
}

static enum control_step begin(struct control_call *call)
{
    struct trace_filter *filter = &((struct tracing *)call->state)->filter;
    bool out = strcmp(call->command->verb, "smtp-out") == 0;
    if (!copy_text(call, "address", filter->address, sizeof filter->address) ||
        !copy_text(call, "domain", filter->domain, sizeof filter->domain) ||
        (out && !copy_text(call, "queue", filter->queue, sizeof filter->queue)))
        control_refuse(call, "no address, domain or queue has so long a name");
    return CONTROL_DONE;
}

static void put_line_text(struct record *record, const struct traced *line, unsigned worker)
{
    char text[LINE_MAX_LEN];
    struct sink sink;
    sink_init(&sink, text, sizeof text);
    date_put_rfc3339(&sink, line->wall_ms);
    sink_format(&sink, " %u.%u ", worker, line->connection);
    address_put(&line->peer, &sink);
    sink_format(&sink, " %c: ", line->side);
    sink_printable(&sink, line->text, sizeof text - sink.len);
    record_text(record, "text", sink_span(&sink));
}

static bool put_line(struct control_call *call, const struct traced *line)
{
    char peer[ADDRESS_TEXT];
    struct sink sink;
    struct record record;
    sink_init(&sink, peer, sizeof peer);
    address_put(&line->peer, &sink);
    record_begin(&record, &call->out);
    put_line_text(&record, line, call->worker);
    record_count(&record, "time_ms", line->wall_ms);
    record_count(&record, "worker", call->worker);
    record_count(&record, "connection", line->connection);
    record_text(&record, "peer", sink_span(&sink));
    record_text(&record, "side", span_of(&line->side, 1));
    record_text(&record, "line", line->text);
    return control_put(call, &record);
}

static bool put_dropped(struct control_call *call, uint64_t dropped)
{
    char text[100];
    struct sink sink;
    struct record record;
    sink_init(&sink, text, sizeof text);
    sink_format(&sink, "(%llu lines were dropped: they came faster than they were read)",
                (unsigned long long)dropped);
    record_begin(&record, &call->out);
    record_text(&record, "text", sink_span(&sink));
    record_count(&record, "worker", call->worker);
    record_count(&record, "dropped", dropped);
    return control_put(call, &record);
}

static enum control_step fetch(struct control_call *call, struct traces *traces, uint64_t now_ns)
{
    struct tracing *tracing = call->state;
    uint64_t *number = &tracing->numbers[call->worker];
    struct traced line;
    if (*number == 0)
        *number = trace_start(traces, &tracing->filter, now_ns);
    if (*number == 0) {
        control_fail(call, "%d traces are running already, or there is no memory", TRACES_MAX);
        return CONTROL_DONE;
    }
    while (trace_next(traces, *number, now_ns, &line)) {
        if (!put_line(call, &line))
            return CONTROL_MORE;
        trace_take(traces, *number);
    }
    uint64_t dropped = trace_dropped(traces, *number);
    if (dropped && !put_dropped(call, dropped))
        return CONTROL_MORE;
    return CONTROL_DONE;
}

static enum control_step visit_in(struct control_call *call, void *worker_)
{
    struct worker *worker = worker_;
    return fetch(call, &worker->ingress.traces, worker->loop.now_ns);
}

static enum control_step visit_out(struct control_call *call, void *worker_)
{
    struct worker *worker = worker_;
    return fetch(call, &worker->egress.traces, worker->loop.now_ns);
}

const struct control_handler daemon_trace_handlers[] = {
    {"trace", "smtp-in", .state_size = sizeof(struct tracing), .begin = begin, .visit = visit_in,
     .every_ms = EVERY_MS},
    {"trace", "smtp-out", .state_size = sizeof(struct tracing), .begin = begin, .visit = visit_out,
     .every_ms = EVERY_MS},
    {NULL},
};
