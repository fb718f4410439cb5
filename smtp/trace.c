/* The buffer holds records of a fixed head and the text. It is filled from the front, and begun
 * anew when everything was fetched: no ring, since a reader fetches all of it several times a
 * second. */
#include "smtp/trace.h"

#include "core/clock.h"

#include <stdlib.h>

struct head {
    uint64_t wall_ms;
    struct address peer;
    uint32_t connection;
    uint16_t len;
    char side;
};

struct trace {
    struct list_link link;
    uint64_t number, fetched_ns, dropped;
    struct trace_filter filter;
    size_t from, to; /* unfetched records in `bytes` */
    char bytes[TRACE_BUFFER];
};

void traces_init(struct traces *traces)
{
    list_init(&traces->all);
    traces->next_number = 1;
}

static void drop(struct trace *trace)
{
    list_remove(&trace->link);
    free(trace);
}

void traces_fini(struct traces *traces)
{
    for (struct list_link *link; (link = list_first(&traces->all));)
        drop(container_of(link, struct trace, link));
}

static void forget_old(struct traces *traces, uint64_t now_ns)
{
    list_for_each (&traces->all, link, following) {
        struct trace *trace = container_of(link, struct trace, link);
        if (now_ns - trace->fetched_ns >= TRACE_FORGOTTEN_MS * NS_PER_MS)
            drop(trace);
    }
}

uint64_t trace_start(struct traces *traces, const struct trace_filter *filter, uint64_t now_ns)
{
    unsigned count = 0;
    forget_old(traces, now_ns);
    list_for_each (&traces->all, link, following)
        count++;
    struct trace *trace = count < TRACES_MAX ? calloc(1, sizeof *trace) : NULL;
    if (!trace)
        return 0;
    trace->number = traces->next_number++;
    trace->fetched_ns = now_ns;
    trace->filter = *filter;
    list_append(&traces->all, &trace->link);
    return trace->number;
}

static struct trace *find(struct traces *traces, uint64_t number)
{
    list_for_each (&traces->all, link, following) {
        struct trace *trace = container_of(link, struct trace, link);
        if (trace->number == number)
            return trace;
    }
    return NULL;
}

/* ---- filters ---- */

static bool is_peer(const struct trace_filter *filter, const struct address *peer)
{
    char text[ADDRESS_TEXT];
    struct sink sink;
    if (!filter->address[0])
        return true;
    sink_init(&sink, text, sizeof text);
    address_put_host(peer, &sink);
    return span_equals_any_case(sink_span(&sink), span_string(filter->address));
}

/* "MAIL FROM:<...@domain>", "RCPT TO:<...@domain>" */
static bool names_domain(struct span text, struct span domain)
{
    for (size_t at = 0; at + domain.len < text.len; at++)
        if (text.data[at] == '@' &&
            span_equals_any_case(span_first(span_skip(text, at + 1), domain.len), domain) &&
            (at + 1 + domain.len == text.len || strchr("> \r\n", text.data[at + 1 + domain.len])))
            return true;
    return false;
}

static bool meets(const struct trace_filter *filter, const struct trace_event *event)
{
    struct span domain = span_string(filter->domain), queue = span_string(filter->queue);
    bool of_domain = !domain.len || span_equals_any_case(event->domain, domain) ||
                     names_domain(event->text, domain);
    return of_domain && (!queue.len || span_equals(event->queue, queue));
}

static bool wants(const struct trace *trace, const struct trace_event *event)
{
    const struct trace_filter *filter = &trace->filter;
    if (!is_peer(filter, event->peer))
        return false;
    if (!filter->domain[0] && !filter->queue[0])
        return true;
    uint64_t bit = UINT64_C(1) << (trace->number % 64);
    if (meets(filter, event))
        *event->interesting |= bit;
    return *event->interesting & bit;
}

/* ---- keeping ---- */

static void keep(struct trace *trace, const struct trace_event *event, struct span line)
{
    line = span_first(line, TRACE_LINE);
    struct head head = {.wall_ms = event->wall_ms,
                        .peer = *event->peer,
                        .connection = event->connection,
                        .len = (uint16_t)line.len,
                        .side = event->side};
    if (sizeof head + line.len > sizeof trace->bytes - trace->to) {
        trace->dropped++;
        return;
    }
    memcpy(trace->bytes + trace->to, &head, sizeof head);
    if (line.len)
        memcpy(trace->bytes + trace->to + sizeof head, line.data, line.len);
    trace->to += sizeof head + line.len;
}

/* A command that logs in is kept up to its mechanism. */
static struct span without_secrets(const struct trace_event *event, struct span line)
{
    if (event->side != 'C')
        return line;
    if (event->hidden)
        return SPAN("[hidden]");
    if (line.len < 5 || !span_equals_any_case(span_first(line, 5), SPAN("AUTH ")))
        return line;
    return span_first(line, 5 + span_find(span_skip(line, 5), ' '));
}

static void keep_lines(struct trace *trace, const struct trace_event *event)
{
    struct span rest = event->text;
    while (rest.len) {
        size_t len = span_find(rest, '\n');
        struct span line = span_first(rest, len);
        rest = span_skip(rest, len < rest.len ? len + 1 : len);
        if (line.len && line.data[line.len - 1] == '\r')
            line.len--;
        keep(trace, event, without_secrets(event, line));
    }
}

void traces_tell(struct traces *traces, const struct trace_event *event, uint64_t now_ns)
{
    forget_old(traces, now_ns);
    list_for_each (&traces->all, link, following) {
        struct trace *trace = container_of(link, struct trace, link);
        if (wants(trace, event))
            keep_lines(trace, event);
    }
}

/* ---- fetching ---- */

bool trace_next(struct traces *traces, uint64_t number, uint64_t now_ns, struct traced *ret_line)
{
    struct trace *trace = find(traces, number);
    if (!trace)
        return false;
    trace->fetched_ns = now_ns;
    if (trace->from == trace->to) {
        trace->from = trace->to = 0;
        return false;
    }
    struct head head;
    memcpy(&head, trace->bytes + trace->from, sizeof head);
    *ret_line = (struct traced){
        .wall_ms = head.wall_ms,
        .connection = head.connection,
        .side = head.side,
        .peer = head.peer,
        .text = span_of(trace->bytes + trace->from + sizeof head, head.len),
    };
    return true;
}

void trace_take(struct traces *traces, uint64_t number)
{
    struct trace *trace = find(traces, number);
    struct head head;
    if (!trace || trace->from == trace->to)
        return;
    memcpy(&head, trace->bytes + trace->from, sizeof head);
    trace->from += sizeof head + head.len;
}

uint64_t trace_dropped(struct traces *traces, uint64_t number)
{
    struct trace *trace = find(traces, number);
    uint64_t dropped = trace ? trace->dropped : 0;
    if (trace)
        trace->dropped = 0;
    return dropped;
}
