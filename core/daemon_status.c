/* The status page and what it asks for: GET /api/NOUN/VERB?argument=value answers with the records
 * of that command, as one JSON object {"records": [...], "truncated": false, "error": "..."}.
 *
 * Only the commands of `readable`: whoever may see the page may change nothing. The handlers are
 * those of the control socket. An answer longer than ANSWER_MOST is cut and says so; the page asks
 * for sums, so that this does not happen where many queues are. */
#include "core/daemon.h"

#include "core/control_run.h"
#include "core/daemon_page.h"
#include "core/json.h"

#include <stdlib.h>
#include <string.h>

enum { ANSWER_MOST = 2 << 20, ANSWER_ROOM = 4096, STATUS_CALLS = 8 };

static const struct {
    const char *path; /* below /api/ */
    const char *noun, *verb;
} readable[] = {
    {"status", "status", NULL},
    {"queue/summary", "queue", "summary"},
    {"queue/list", "queue", "list"},
    {"queue/show", "queue", "show"},
    {"queue/why", "queue", "why"},
    {"lane/list", "lane", "list"},
    {"lane/show", "lane", "show"},
    {"lane/why", "lane", "why"},
    {"message/show", "message", "show"},
    {"message/why", "message", "why"},
    {"suspension/list", "suspension", "list"},
};

/* One request that is being answered. */
struct status_call {
    struct daemon *daemon;
    struct list_link link; /* in daemon->status_calls */
    struct control_run run;
    struct http_pending *pending; /* NULL: nobody waits */
    struct op step;
    struct sink body; /* malloc'ed */
    bool any, truncated;
    char query[HTTP_REQUEST_MAX]; /* where the values lie */
    char output[CONTROL_OUT];
};

/* ---- replies ---- */

static void answer_now(struct http_pending *pending, int status, const char *text)
{
    struct http_reply reply = {.status = status, .type = "application/json"};
    char *body = malloc(ANSWER_ROOM);
    sink_init(&reply.body, body, body ? ANSWER_ROOM : 0);
    sink_put(&reply.body, SPAN("{\"records\":[],\"truncated\":false,\"error\":"));
    json_put_string(&reply.body, span_string(text), ANSWER_ROOM / 2);
    sink_put(&reply.body, SPAN("}\n"));
    http_answer(pending, &reply);
}

static void free_call(struct status_call *call)
{
    control_run_end(&call->run);
    list_remove(&call->link);
    call->daemon->status_call_count--;
    free(call->body.data);
    free(call);
}

static void finish(struct status_call *call)
{
    struct http_reply reply = {.status = 200, .type = "application/json"};
    const struct control_call *done = &call->run.call;
    if (done->status == CALL_WRONG)
        reply.status = 400;
    call->body.capacity += ANSWER_ROOM;
    sink_put(&call->body, SPAN("],\"truncated\":"));
    sink_put(&call->body, call->truncated ? SPAN("true") : SPAN("false"));
    if (done->status != CALL_DONE) {
        sink_put(&call->body, SPAN(",\"error\":"));
        json_put_string(&call->body, span_string(done->error), sizeof done->error);
    }
    sink_put(&call->body, SPAN("}\n"));
    reply.body = call->body;
    call->body.data = NULL;
    http_answer(call->pending, &reply);
    free_call(call);
}

/* ---- records ---- */

static void open_output(struct status_call *call)
{
    sink_init(&call->run.call.out, call->output, sizeof call->output);
}

static bool put_record(struct status_call *call, struct span record)
{
    if (record.len + 1 > call->body.capacity - call->body.len)
        return false;
    if (call->any)
        sink_byte(&call->body, ',');
    call->any = true;
    sink_put(&call->body, record);
    return true;
}

/* Frames become elements of the array. */
static void take_output(struct status_call *call)
{
    struct span rest = sink_span(&call->run.call.out);
    struct frame frame;
    int len;
    while ((len = frame_read(rest, FRAME_MAX, &frame)) > 0) {
        rest = span_skip(rest, (size_t)len);
        if (frame.type == FRAME_RECORD && !put_record(call, frame.payload))
            call->truncated = true;
    }
    open_output(call);
}

/* ---- steps ---- */

static void on_step(struct op *op)
{
    struct status_call *call = container_of(op, struct status_call, step);
    struct control_run *run = &call->run;
    if (!call->pending) {
        if (!run->visiting)
            free_call(call);
        return;
    }
    if (control_run_has_output(run))
        take_output(call);
    else if (control_run_can_step(run))
        control_run_step(run);
    if (control_run_ended(run) || (call->truncated && !run->visiting)) {
        take_output(call);
        finish(call);
    } else if (control_run_has_output(run) || control_run_can_step(run)) {
        loop_nudge(run->loop, &call->step);
    }
}

static void on_wake(struct control_run *run)
{
    loop_nudge(run->loop, &container_of(run, struct status_call, run)->step);
}

/* ---- requests ---- */

static const struct command *command_of(struct span path)
{
    for (unsigned i = 0; i < countof(readable); i++)
        if (span_equals(path, span_string(readable[i].path)))
            return command_find(span_string(readable[i].noun), span_string(readable[i].verb));
    return NULL;
}

static int argument_named(const struct command *command, struct span name)
{
    for (unsigned i = 0; i < command->argument_count; i++)
        if (span_equals_any_case(name, span_string(command->arguments[i].name)))
            return (int)i;
    return -1;
}

/* False: `error` says why. */
static bool read_values(struct status_call *call, struct span query, struct sink *error)
{
    struct control_call *control = &call->run.call;
    struct sink storage;
    struct span name, value;
    sink_init(&storage, call->query, sizeof call->query);
    while (http_query_next(&query, &storage, &name, &value)) {
        int at = argument_named(control->command, name);
        if (at < 0) {
            sink_format(error, "%.*s: there is no such argument", SPAN_FORMAT(name));
            return false;
        }
        control->values.text[at] = value;
        control->values.given[at] = true;
    }
    if (query.len > 0) {
        sink_put(error, SPAN("the query is malformed"));
        return false;
    }
    return values_check(control->command, &control->values, error);
}

static struct status_call *call_new(struct daemon *daemon, struct http_pending *pending)
{
    struct status_call *call = calloc(1, sizeof *call);
    char *body = malloc(ANSWER_MOST + ANSWER_ROOM);
    if (!call || !body) {
        free(call);
        free(body);
        return NULL;
    }
    call->daemon = daemon;
    call->pending = pending;
    op_init(&call->step, on_step);
    sink_init(&call->body, body, ANSWER_MOST);
    control_run_init(&call->run, &daemon->control, &daemon->socket.options, on_wake);
    call->run.call.user = -1;
    open_output(call);
    list_append(&daemon->status_calls, &call->link);
    daemon->status_call_count++;
    return call;
}

static void begin_api(void *context, const struct http_request *request,
                      struct http_pending *pending)
{
    struct daemon *daemon = context;
    const struct command *command = command_of(span_skip(request->path, strlen("/api/")));
    if (!command) {
        answer_now(pending, 404, "there is no such thing to ask for");
        return;
    }
    struct status_call *call = daemon->status_call_count < STATUS_CALLS && !daemon->draining
                                   ? call_new(daemon, pending)
                                   : NULL;
    if (!call) {
        answer_now(pending, 503, "too many are asking");
        return;
    }
    struct control_call *control = &call->run.call;
    struct sink error;
    control->command = command;
    pending->state = call;
    sink_init(&error, control->error, sizeof control->error - 1);
    sink_put(&call->body, SPAN("{\"records\":["));
    if (read_values(call, request->query, &error))
        control_run_begin(&call->run);
    else
        control_run_refuse(&call->run, CALL_WRONG, NULL);
    loop_nudge(&daemon->control, &call->step);
}

static void cancel_api(void *context, struct http_pending *pending)
{
    struct status_call *call = pending->state;
    call->pending = NULL;
    loop_nudge(&call->daemon->control, &call->step);
}

/* ---- the page ---- */

static void serve_page(void *context, struct http_reply *reply)
{
    const struct page_file *file = context;
    reply->type = file->type;
    sink_put(&reply->body, span_of(file->data, (size_t)(file->end - file->data)));
}

/* Nothing from elsewhere, nothing inline, no frame around it. */
#define PAGE_HEADERS                                                                               \
    "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; "           \
    "connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; "                    \
    "frame-ancestors 'none'\r\n"                                                                   \
    "X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n"                          \
    "Cache-Control: no-store\r\n"

unsigned daemon_status_routes(struct daemon *daemon, struct http_route *routes)
{
    unsigned count = 0;
    list_init(&daemon->status_calls);
    for (unsigned i = 0; i < PAGE_FILES; i++)
        routes[count++] = (struct http_route){page_files[i].path,
                                              serve_page,
                                              (void *)(uintptr_t)&page_files[i],
                                              HTTP_GUARDED,
                                              PAGE_HEADERS,
                                              NULL,
                                              NULL};
    routes[count++] = (struct http_route){"/api/*",     NULL,      daemon,    HTTP_GUARDED,
                                          PAGE_HEADERS, begin_api, cancel_api};
    return count;
}

void daemon_status_end(struct daemon *daemon)
{
    struct list_link *link;
    while ((link = list_first(&daemon->status_calls))) {
        struct status_call *call = container_of(link, struct status_call, link);
        call->run.visiting = false; /* no worker runs any more */
        free_call(call);
    }
}
