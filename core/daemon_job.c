/* Jobs on waiting mail: bounce, rebind, queue flush, delete and move.
 *
 * The job is begun in each worker by a visit; then the control thread looks at its counters now and
 * then, and writes a line each PROGRESS_MS. A client that goes away cancels it. */
#include "core/daemon.h"
#include "queue/admin.h"
#include "smtp/lane.h"

#include <errno.h>
#include <string.h>

enum { LOOK_MS = 50, PROGRESS_MS = 2000 };

struct watched {
    struct admin_job *job;
    struct control_call *call;
    struct loop *loop;
    struct timer timer;
    uint64_t told_ns;
    bool begun;
};

static struct span text_of(const struct control_call *call, const char *name)
{
    return values_text(call->command, &call->values, name);
}

static void on_timer(struct op *op)
{
    control_wake(container_of(op, struct watched, timer.op)->call);
}

/* ---- orders ---- */

static bool filter_is_empty(const struct filter *filter)
{
    return !filter->queue.len && !filter->domain.len && !filter->tenant.len &&
           !filter->campaign.len && !filter->min_age_ms && !filter->state;
}

static enum control_step begin(struct control_call *call, struct admin_order *order)
{
    struct watched *watched = call->state;
    order->reason = text_of(call, "reason");
    order->per_second = (unsigned)values_count(call->command, &call->values, "rate", 0);
    if (values_flag(call->command, &call->values, "dry-run"))
        order->action = ADMIN_COUNT;
    if (filter_is_empty(&order->filter) && !values_flag(call->command, &call->values, "all")) {
        control_refuse(call, "nothing says which mail is meant: give a filter, or --all");
        return CONTROL_DONE;
    }
    watched->call = call;
    watched->loop = &daemon_of(call)->control;
    timer_init(&watched->timer, on_timer);
    watched->begun = true;
    watched->job = admin_job_new(order);
    if (!watched->job)
        control_fail(call, "no memory");
    else if (order->action != ADMIN_COUNT)
        log_notice("user %lld: `ringpost %s%s%s`", (long long)call->user, call->command->noun,
                   call->command->verb ? " " : "", call->command->verb ? call->command->verb : "");
    return CONTROL_DONE;
}

static enum control_step begin_bounce(struct control_call *call)
{
    struct admin_order order = {.action = ADMIN_BOUNCE};
    daemon_read_filter(call, &order.filter);
    if (!text_of(call, "reason").len && !values_flag(call->command, &call->values, "dry-run")) {
        control_refuse(call, "--reason is missing: it stands in the reports");
        return CONTROL_DONE;
    }
    return begin(call, &order);
}

static enum control_step begin_in_queue(struct control_call *call, enum admin_action action)
{
    struct admin_order order = {.action = action};
    struct span name = text_of(call, "NAME");
    daemon_read_filter(call, &order.filter);
    if (name.len && order.filter.queue.len) {
        control_refuse(call, "NAME and --queue are the same");
        return CONTROL_DONE;
    }
    if (name.len)
        order.filter.queue = name;
    return begin(call, &order);
}

static enum control_step begin_delete(struct control_call *call)
{
    return begin_in_queue(call, ADMIN_DELETE);
}

static enum control_step begin_flush(struct control_call *call)
{
    return begin_in_queue(call, ADMIN_FLUSH);
}

/* Domains go into queue names in lower case. What could not stand in an address would only bounce:
 * a slip, of all that is rebound. Octets above 127 are a domain in UTF-8, '[' begins a literal. */
static bool is_domain(struct span name)
{
    size_t label_len = 0;
    if (name.len == 0 || name.len > 255 || ascii_lower(name.data[0]) != name.data[0])
        return false;
    bool literal = name.data[0] == '[';
    for (size_t i = 0; i < name.len; i++) {
        unsigned char c = (unsigned char)name.data[i];
        if (c <= ' ' || c == 127 || strchr("@<>()\\,;\"", c) || ascii_lower((char)c) != (char)c)
            return false;
        if (c == '.' && label_len == 0 && !literal)
            return false;
        label_len = c == '.' ? 0 : label_len + 1;
    }
    return label_len > 0;
}

static bool is_part(struct span name)
{
    return name.len <= 255 && !memchr(name.data ? name.data : "", '@', name.len);
}

static enum control_step begin_change(struct control_call *call, struct admin_order *order)
{
    if (order->set_domain && !is_domain(order->to_domain))
        control_refuse(call, "the new domain is none (in lower case)");
    else if (!is_part(order->to_tenant) || !is_part(order->to_campaign))
        control_refuse(call, "the new tenant or campaign is too long, or has an @");
    else if (!order->set_domain && !order->set_tenant && !order->set_campaign)
        control_refuse(call,
                       "nothing says what changes: --to-tenant, --to-campaign or --to-domain");
    else
        return begin(call, order);
    return CONTROL_DONE;
}

static enum control_step begin_move(struct control_call *call)
{
    struct admin_order order = {.action = ADMIN_MOVE,
                                .filter.queue = text_of(call, "FROM"),
                                .set_tenant = true,
                                .set_campaign = true,
                                .set_domain = true};
    queue_name_read(text_of(call, "TO"), &order.to_campaign, &order.to_tenant, &order.to_domain);
    return begin_change(call, &order);
}

static bool given(const struct control_call *call, const char *name, struct span *ret_value)
{
    *ret_value = text_of(call, name);
    for (unsigned i = 0; i < call->command->argument_count; i++)
        if (strcmp(call->command->arguments[i].name, name) == 0)
            return call->values.given[i];
    return false;
}

static enum control_step begin_rebind(struct control_call *call)
{
    struct admin_order order = {.action = ADMIN_MOVE};
    daemon_read_filter(call, &order.filter);
    order.set_tenant = given(call, "to-tenant", &order.to_tenant);
    order.set_campaign = given(call, "to-campaign", &order.to_campaign);
    order.set_domain = given(call, "to-domain", &order.to_domain);
    return begin_change(call, &order);
}

/* ---- at work ---- */

/* A queue that is to be tried now does not stop at a host that failed a moment ago. */
static void forgive_lanes(struct worker *worker)
{
    list_for_each (&worker->egress.old_lanes, link, following)
        lane_forgive(container_of(link, struct lane, old));
}

static enum control_step visit(struct control_call *call, void *worker_)
{
    struct worker *worker = worker_;
    struct watched *watched = call->state;
    if (watched->job->order.action == ADMIN_FLUSH)
        forgive_lanes(worker);
    int error = share_admin(worker->share, watched->job);
    if (error == -ECANCELED)
        control_fail(call, "the daemon is stopping");
    else if (error < 0)
        control_fail(call, "no memory");
    return CONTROL_DONE;
}

static void put_counts(struct record *record, struct admin_job *job, bool finished)
{
    uint64_t refused = atomic_load(&job->refused);
    record_count(record, "matched", atomic_load(&job->matched));
    if (job->order.action != ADMIN_COUNT)
        record_count(record, "done", atomic_load(&job->done));
    if (job->order.action != ADMIN_COUNT)
        record_count(record, "in_delivery", atomic_load(&job->busy));
    if (refused)
        record_count(record, "refused", refused);
    record_count(record, "queues", atomic_load(&job->queues_done));
    record_flag(record, "finished", finished);
}

static enum control_step finish(struct control_call *call)
{
    struct watched *watched = call->state;
    bool finished = atomic_load(&watched->job->running) == 0;
    uint64_t now_ns = watched->loop->now_ns;
    if (watched->told_ns == 0)
        watched->told_ns = now_ns;
    if (!finished && now_ns - watched->told_ns < PROGRESS_MS * NS_PER_MS) {
        loop_arm(watched->loop, &watched->timer, LOOK_MS * NS_PER_MS);
        return CONTROL_WAIT;
    }
    struct record record;
    record_begin(&record, &call->out);
    put_counts(&record, watched->job, finished);
    if (!control_put(call, &record))
        return CONTROL_MORE;
    watched->told_ns = now_ns;
    return finished ? CONTROL_DONE : CONTROL_MORE;
}

static void end(struct control_call *call)
{
    struct watched *watched = call->state;
    if (!watched->begun)
        return;
    loop_disarm(watched->loop, &watched->timer);
    if (watched->job)
        admin_job_cancel(watched->job);
    admin_job_put(watched->job);
}

#define JOB .state_size = sizeof(struct watched), .visit = visit, .finish = finish, .end = end

const struct control_handler daemon_job_handlers[] = {
    {"bounce", NULL, .begin = begin_bounce, JOB},  {"rebind", NULL, .begin = begin_rebind, JOB},
    {"queue", "flush", .begin = begin_flush, JOB}, {"queue", "delete", .begin = begin_delete, JOB},
    {"queue", "move", .begin = begin_move, JOB},   {NULL},
};
