/* `queue list`, `queue summary`, `queue show`: browsing what waits.
 *
 * Each worker is visited for its queues, a batch at a time; what is on disk of a batch the control
 * thread reads itself, some rows a step (it may block, workers may not). Rows before their first
 * attempt are on disk in another form, so `show` takes them from the workers' memory, and counts of
 * a batch come with it. */
#include "core/daemon.h"
#include "queue/filter.h"
#include "queue/inspect.h"
#include "queue/suspend.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    BATCH = 128,
    BATCH_NAMES = 32 * 1024,
    BUCKETS_PER_VISIT = 512,
    ROWS_PER_STEP = 256,
    GROUPS_MAX = 100 * 1000,
    LIMIT_DEFAULT = 20,
};

/* A queue of the batch. */
struct found {
    struct span name; /* in browse->names */
    uint8_t shard;
    bool due, approximate;
    unsigned worker;
    uint32_t number, rows, fresh, matched;
    uint64_t next_due_ms;
    uint64_t at_ms, at_id; /* how far it was read */
};

/* A line of the summary. */
struct group {
    struct map_node by_name;
    uint64_t queues, rows, fresh, matched, due, next_due_ms;
    size_t name_len;
    char name[];
};

struct browse {
    struct control_call *call;
    struct filter filter;
    bool reads_rows; /* rows are looked at, not only counted */
    bool shows;      /* rows are the answer */
    bool full, enough;
    bool fresh_done;
    uint64_t cursor, wall_ms, shown, limit;
    struct found found[BATCH];
    unsigned count, at;
    struct sink names;
    char name_memory[BATCH_NAMES];
    /* summary */
    struct map groups;
    struct hash_seed seed;
    struct group **sorted, *other;
    unsigned sorted_at;
};

/* ---- arguments ---- */

static enum filter_state filter_state_of(struct span name)
{
    if (span_equals(name, SPAN("new")))
        return FILTER_NEW;
    if (span_equals(name, SPAN("deferred")))
        return FILTER_DEFERRED;
    return span_equals(name, SPAN("due")) ? FILTER_DUE : FILTER_ANY;
}

void daemon_read_filter(const struct control_call *call, struct filter *ret_filter)
{
    const struct command *command = call->command;
    const struct values *values = &call->values;
    *ret_filter = (struct filter){
        .queue = values_text(command, values, "queue"),
        .domain = values_text(command, values, "domain"),
        .tenant = values_text(command, values, "tenant"),
        .campaign = values_text(command, values, "campaign"),
        .min_age_ms = values_duration_ms(command, values, "age", 0),
        .state = (uint8_t)filter_state_of(values_text(command, values, "state")),
    };
}

static struct browse *begin(struct control_call *call)
{
    struct browse *browse = call->state;
    browse->call = call;
    browse->wall_ms = clock_wall_ms();
    daemon_read_filter(call, &browse->filter);
    browse->reads_rows = browse->filter.min_age_ms || browse->filter.state;
    return browse;
}

static enum control_step begin_list(struct control_call *call)
{
    begin(call)->fresh_done = true;
    return CONTROL_DONE;
}

static enum control_step begin_show(struct control_call *call)
{
    struct browse *browse = begin(call);
    struct span name = values_text(call->command, &call->values, "NAME");
    if (name.len && browse->filter.queue.len) {
        control_refuse(call, "NAME and --queue are the same");
        return CONTROL_DONE;
    }
    if (name.len)
        browse->filter.queue = name;
    browse->reads_rows = browse->shows = true;
    browse->limit = values_count(call->command, &call->values, "limit", UINT64_MAX);
    return CONTROL_DONE;
}

static enum control_step begin_summary(struct control_call *call)
{
    struct browse *browse = begin(call);
    browse->fresh_done = true;
    random_fill(&browse->seed, sizeof browse->seed);
    browse->limit = values_count(call->command, &call->values, "limit", LIMIT_DEFAULT);
    if (map_init(&browse->groups, 1024) < 0)
        control_fail(call, "no memory");
    return CONTROL_DONE;
}

/* ---- rows ---- */

static bool means(const struct browse *browse, const struct row_view *view)
{
    return filter_takes_row(&browse->filter, view->envelope, view->state, view->due_ms,
                            browse->wall_ms);
}

static struct span row_state_name(const struct browse *browse, const struct row_view *view)
{
    if (view->lent)
        return SPAN("delivering");
    if (view->state->attempts == 0 && view->due_ms > browse->wall_ms)
        return SPAN("new");
    if (view->due_ms <= browse->wall_ms)
        return view->state->attempts ? SPAN("due") : SPAN("new");
    return SPAN("deferred");
}

/* False: no room, or enough. */
static bool put_row(struct browse *browse, const struct row_view *view, struct span queue)
{
    struct control_call *call = browse->call;
    const struct envelope *envelope = view->envelope;
    struct record record;
    char id[ID_TEXT];
    if (browse->shown >= browse->limit) {
        browse->enough = true;
        return false;
    }
    id_text(envelope->id, id);
    record_begin(&record, &call->out);
    record_text(&record, "id", span_string(id));
    record_text(&record, "queue", queue);
    record_text(&record, "state", row_state_name(browse, view));
    record_count(&record, "attempts", view->state->attempts);
    record_count(&record, "arrived_ms", envelope->arrived_ms);
    record_count(&record, "due_ms", view->due_ms);
    record_count(&record, "expires_ms", envelope->expires_ms);
    record_count(&record, "size", envelope->size);
    record_text(&record, "from", envelope->reverse_path);
    if (envelope->recipient_count)
        record_text(&record, "to", envelope->recipients[0].address);
    record_count(&record, "recipients", envelope->recipient_count);
    if (view->state->last_reply.len)
        record_text(&record, "last_reply", view->state->last_reply);
    if (view->state->last_attempt_ms)
        record_count(&record, "last_attempt_ms", view->state->last_attempt_ms);
    if (view->state->last_peer.len)
        record_text(&record, "last_peer", view->state->last_peer);
    if (!control_put(call, &record)) {
        browse->full = true;
        return false;
    }
    browse->shown++;
    return true;
}

static bool show_fresh(void *context, const struct row_view *view)
{
    struct browse *browse = context;
    if (!filter_takes_queue(&browse->filter, view->queue) || !means(browse, view))
        return true;
    return put_row(browse, view, view->queue);
}

static bool count_fresh(void *context, const struct row_view *view)
{
    struct browse *browse = context;
    browse->found[browse->count - 1].matched += means(browse, view);
    return true;
}

static bool take_row(void *context, const struct row_view *view)
{
    struct browse *browse = context;
    struct found *found = &browse->found[browse->at];
    if (!means(browse, view))
        return true;
    if (browse->shows)
        return put_row(browse, view, found->name);
    found->matched++;
    return true;
}

/* ---- in the workers ---- */

static void find_queue(void *context, const struct queue_view *view)
{
    struct browse *browse = context;
    if (!filter_takes_queue(&browse->filter, view->name))
        return;
    size_t at = browse->names.len;
    sink_put(&browse->names, view->name);
    if (browse->count == BATCH || browse->names.full) {
        browse->full = true;
        return;
    }
    browse->found[browse->count++] = (struct found){
        .name = span_of(browse->name_memory + at, view->name.len),
        .shard = view->shard,
        .due = view->due,
        .approximate = view->approximate,
        .worker = browse->call->worker,
        .number = view->number,
        .rows = view->rows,
        .fresh = view->fresh,
        .next_due_ms = view->next_due_ms,
        .at_ms = view->disk_due_ms,
    };
    if (browse->reads_rows && !browse->shows)
        queue_view_fresh(view, count_fresh, browse);
}

/* True: all rows of the nursery were shown. A bucket that does not fit is taken again, whole. */
static bool visit_fresh(struct browse *browse, const struct worker *worker)
{
    struct control_call *call = browse->call;
    for (unsigned i = 0; i < BUCKETS_PER_VISIT && !browse->enough; i++) {
        size_t before = call->out.len;
        uint64_t shown = browse->shown;
        browse->full = false;
        uint64_t next = share_scan_fresh(worker->share, browse->cursor, show_fresh, browse);
        if (browse->full) {
            call->out.len = before;
            browse->shown = shown;
            return false;
        }
        browse->cursor = next;
        if (next == 0)
            return true;
    }
    return browse->enough;
}

/* True: all queues were met. */
static bool visit_queues(struct browse *browse, const struct worker *worker)
{
    browse->count = browse->at = 0;
    sink_init(&browse->names, browse->name_memory, sizeof browse->name_memory);
    for (unsigned i = 0; i < BUCKETS_PER_VISIT && !browse->enough; i++) {
        unsigned before = browse->count;
        browse->full = false;
        uint64_t next = share_scan_queues(worker->share, browse->cursor, find_queue, browse);
        if (browse->full) {
            browse->count = before;
            return false;
        }
        browse->cursor = next;
        if (next == 0)
            return true;
    }
    return browse->enough;
}

static enum control_step visit(struct control_call *call, void *worker)
{
    struct browse *browse = call->state;
    if (!browse->fresh_done) {
        browse->count = browse->at = 0;
        if (visit_fresh(browse, worker)) {
            browse->fresh_done = true;
            browse->cursor = 0;
        }
        return CONTROL_MORE;
    }
    if (!visit_queues(browse, worker))
        return CONTROL_MORE;
    browse->cursor = 0;
    browse->fresh_done = !browse->shows;
    return CONTROL_DONE;
}

/* ---- a batch, in the control thread ---- */

/* True: all rows of this queue that are on disk were looked at. */
static bool read_rows(struct browse *browse, struct found *found)
{
    struct store *store = spool_store(daemon_of(browse->call)->spool);
    browse->full = false;
    if (!browse->reads_rows || found->at_ms == UINT64_MAX)
        return true;
    int more = store_scan_rows(store, found->shard, found->number, &found->at_ms, &found->at_id,
                               ROWS_PER_STEP, take_row, browse);
    if (more < 0) {
        control_fail(browse->call, "the queue cannot be read: %s", strerror(-more));
        return true;
    }
    return more == 0 || browse->enough;
}

static enum control_step gather(struct control_call *call,
                                bool (*queue_done)(struct browse *browse, struct found *found))
{
    struct browse *browse = call->state;
    while (browse->at < browse->count && call->status == CALL_DONE) {
        struct found *found = &browse->found[browse->at];
        if (!read_rows(browse, found))
            return CONTROL_MORE;
        found->at_ms = UINT64_MAX; /* read; it may have to be written again */
        if (!queue_done(browse, found))
            return CONTROL_MORE;
        browse->at++;
    }
    return CONTROL_DONE;
}

static bool nothing_matched(const struct browse *browse, const struct found *found)
{
    return browse->reads_rows && found->matched == 0;
}

static void put_suspension(const struct browse *browse, const struct found *found,
                           struct record *record)
{
    const struct suspensions *all = spool_suspensions(daemon_of(browse->call)->spool);
    const struct suspension *suspension = suspensions_of_queue(all, found->name, browse->wall_ms);
    if (suspension)
        record_text(record, "suspended",
                    span_string(suspension_scope_name((enum suspension_scope)suspension->scope)));
}

static bool list_queue(struct browse *browse, struct found *found)
{
    struct span campaign, tenant, domain;
    struct record record;
    if (nothing_matched(browse, found))
        return true;
    queue_name_read(found->name, &campaign, &tenant, &domain);
    record_begin(&record, &browse->call->out);
    record_text(&record, "queue", found->name);
    record_text(&record, "campaign", campaign);
    record_text(&record, "tenant", tenant);
    record_text(&record, "domain", domain);
    record_count(&record, "rows", found->rows);
    record_count(&record, "fresh", found->fresh);
    if (browse->reads_rows)
        record_count(&record, "matched", found->matched);
    record_flag(&record, "approximate", found->approximate);
    record_flag(&record, "due", found->due);
    put_suspension(browse, found, &record);
    if (found->next_due_ms != UINT64_MAX)
        record_count(&record, "next_due_ms", found->next_due_ms);
    record_count(&record, "worker", found->worker);
    return control_put(browse->call, &record);
}

static enum control_step gather_list(struct control_call *call)
{
    return gather(call, list_queue);
}

static bool show_queue(struct browse *browse, struct found *found)
{
    return true;
}

static enum control_step gather_show(struct control_call *call)
{
    return gather(call, show_queue);
}

/* ---- summary ---- */

static struct group *find_group(struct browse *browse, struct span name, uint64_t hash)
{
    for (struct map_node *node = map_find(&browse->groups, hash); node;
         node = map_find_next(node)) {
        struct group *group = container_of(node, struct group, by_name);
        if (span_equals(span_of(group->name, group->name_len), name))
            return group;
    }
    return NULL;
}

static struct group *add_group(struct browse *browse, struct span name, uint64_t hash)
{
    struct group *group = calloc(1, sizeof *group + name.len);
    if (!group)
        return NULL;
    group->name_len = name.len;
    if (name.len)
        memcpy(group->name, name.data, name.len);
    group->next_due_ms = UINT64_MAX;
    map_insert(&browse->groups, &group->by_name, hash);
    return group;
}

static struct group *group_of(struct browse *browse, struct span name)
{
    uint64_t hash = hash_key(browse->seed, name);
    struct group *group = find_group(browse, name, hash);
    if (group)
        return group;
    if (browse->groups.count < GROUPS_MAX)
        return add_group(browse, name, hash);
    if (!browse->other)
        browse->other = add_group(browse, SPAN("(other)"), hash_key(browse->seed, SPAN("(other)")));
    return browse->other;
}

static struct span group_name(const struct browse *browse, struct span queue)
{
    const struct control_call *call = browse->call;
    struct span by = values_text(call->command, &call->values, "by");
    struct span campaign, tenant, domain;
    queue_name_read(queue, &campaign, &tenant, &domain);
    if (span_equals(by, SPAN("tenant")))
        return tenant;
    return span_equals(by, SPAN("campaign")) ? campaign : domain;
}

static bool sum_up(struct browse *browse, struct found *found)
{
    if (nothing_matched(browse, found))
        return true;
    struct group *group = group_of(browse, group_name(browse, found->name));
    if (!group) {
        control_fail(browse->call, "no memory");
        return true;
    }
    group->queues++;
    group->rows += found->rows;
    group->fresh += found->fresh;
    group->matched += found->matched;
    group->due += found->due;
    if (found->next_due_ms < group->next_due_ms)
        group->next_due_ms = found->next_due_ms;
    return true;
}

static enum control_step gather_summary(struct control_call *call)
{
    return gather(call, sum_up);
}

static void collect(struct map_node *node, void *context)
{
    struct browse *browse = context;
    browse->sorted[browse->sorted_at++] = container_of(node, struct group, by_name);
}

static int compare_groups(const void *a, const void *b)
{
    const struct group *x = *(struct group *const *)a, *y = *(struct group *const *)b;
    if (x->matched != y->matched)
        return x->matched < y->matched ? 1 : -1;
    if (x->rows != y->rows)
        return x->rows < y->rows ? 1 : -1;
    size_t len = x->name_len < y->name_len ? x->name_len : y->name_len;
    int order = memcmp(x->name, y->name, len);
    return order ? order : (x->name_len > y->name_len) - (x->name_len < y->name_len);
}

static bool sort_groups(struct browse *browse)
{
    browse->sorted = calloc(browse->groups.count + 1, sizeof *browse->sorted);
    if (!browse->sorted)
        return false;
    map_each(&browse->groups, collect, browse);
    qsort(browse->sorted, browse->sorted_at, sizeof *browse->sorted, compare_groups);
    browse->sorted_at = 0;
    return true;
}

static bool put_group(struct browse *browse, const struct group *group)
{
    struct record record;
    record_begin(&record, &browse->call->out);
    record_text(&record, "name", span_of(group->name, group->name_len));
    record_count(&record, "queues", group->queues);
    record_count(&record, "rows", group->rows);
    record_count(&record, "fresh", group->fresh);
    if (browse->reads_rows)
        record_count(&record, "matched", group->matched);
    record_count(&record, "due", group->due);
    if (group->next_due_ms != UINT64_MAX)
        record_count(&record, "next_due_ms", group->next_due_ms);
    return control_put(browse->call, &record);
}

static enum control_step finish_summary(struct control_call *call)
{
    struct browse *browse = call->state;
    if (!browse->sorted && !sort_groups(browse)) {
        control_fail(call, "no memory");
        return CONTROL_DONE;
    }
    for (; browse->sorted_at < browse->groups.count && browse->sorted_at < browse->limit;
         browse->sorted_at++)
        if (!put_group(browse, browse->sorted[browse->sorted_at]))
            return CONTROL_MORE;
    return CONTROL_DONE;
}

static void free_group(struct map_node *node, void *context)
{
    free(container_of(node, struct group, by_name));
}

static void end_summary(struct control_call *call)
{
    struct browse *browse = call->state;
    if (!browse->groups.buckets)
        return;
    map_each(&browse->groups, free_group, NULL);
    map_fini(&browse->groups);
    free(browse->sorted);
}

const struct control_handler daemon_queue_handlers[] = {
    {"queue", "list", .state_size = sizeof(struct browse), .begin = begin_list, .visit = visit,
     .gather = gather_list},
    {"queue", "summary", .state_size = sizeof(struct browse), .begin = begin_summary,
     .visit = visit, .gather = gather_summary, .finish = finish_summary, .end = end_summary},
    {"queue", "show", .state_size = sizeof(struct browse), .begin = begin_show, .visit = visit,
     .gather = gather_show},
    {NULL},
};
