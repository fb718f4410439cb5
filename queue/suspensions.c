#include "queue/suspensions.h"

#include "queue/clock_guard.h"

#include "core/cursor.h"
#include "queue/record.h"

#include <errno.h>
#include <stdlib.h>

enum { VERSION = 1 };

struct entry {
    struct suspension suspension; /* first */
    struct map_node node;
    struct list_link link;
    char text[];
};

static const char *const scope_names[SUSPENSION_SCOPES] = {
    [SUSPEND_QUEUE] = "queue",       [SUSPEND_DOMAIN] = "domain", [SUSPEND_TENANT] = "tenant",
    [SUSPEND_CAMPAIGN] = "campaign", [SUSPEND_SOURCE] = "source", [SUSPEND_LANE] = "lane",
};

const char *suspension_scope_name(enum suspension_scope scope)
{
    return scope_names[scope];
}

int suspensions_init(struct suspensions *suspensions)
{
    *suspensions = (struct suspensions){0};
    list_init(&suspensions->all);
    return map_init(&suspensions->map, 16);
}

/* ---- finding ---- */

/* Names are the administrator's: nobody outside makes them collide. */
static uint64_t hash(enum suspension_scope scope, struct span name)
{
    static const struct hash_seed seed = {0x73757370, 0x656e6473};
    char lower[SUSPENSION_NAME_MAX];
    name = span_first(name, sizeof(lower));
    for (size_t i = 0; scope == SUSPEND_DOMAIN && i < name.len; i++)
        lower[i] = ascii_lower(name.data[i]);
    return hash_key(seed, scope == SUSPEND_DOMAIN ? span_of(lower, name.len) : name) + scope;
}

static struct entry *find(const struct suspensions *suspensions, enum suspension_scope scope,
                          struct span name)
{
    struct map_node *node = map_find(&suspensions->map, hash(scope, name));
    for (; node; node = map_find_next(node)) {
        struct entry *entry = container_of(node, struct entry, node);
        struct span known = entry->suspension.name;
        if (entry->suspension.scope == scope &&
            (scope == SUSPEND_DOMAIN ? span_equals_any_case(known, name)
                                     : span_equals(known, name)))
            return entry;
    }
    return NULL;
}

const struct suspension *suspensions_get(const struct suspensions *suspensions,
                                         enum suspension_scope scope, struct span name)
{
    const struct entry *entry = find(suspensions, scope, name);
    return entry ? &entry->suspension : NULL;
}

bool suspension_holds(const struct suspension *suspension, uint64_t wall_ms)
{
    bool begun = suspension->since_ms <= wall_ms + CLOCK_GUARD_STEP_MS;
    return suspension->until_ms == 0 || (begun && suspension->until_ms > wall_ms);
}

const struct suspension *suspensions_find(const struct suspensions *suspensions,
                                          enum suspension_scope scope, struct span name,
                                          uint64_t wall_ms)
{
    const struct entry *entry =
        suspensions->count && name.len ? find(suspensions, scope, name) : NULL;
    return entry && suspension_holds(&entry->suspension, wall_ms) ? &entry->suspension : NULL;
}

const struct suspension *suspensions_of_queue(const struct suspensions *suspensions,
                                              struct span name, uint64_t wall_ms)
{
    if (suspensions->count == 0)
        return NULL;
    struct span campaign, tenant, domain;
    const struct suspension *found = suspensions_find(suspensions, SUSPEND_QUEUE, name, wall_ms);
    queue_name_read(name, &campaign, &tenant, &domain);
    if (!found)
        found = suspensions_find(suspensions, SUSPEND_DOMAIN, domain, wall_ms);
    if (!found)
        found = suspensions_find(suspensions, SUSPEND_TENANT, tenant, wall_ms);
    if (!found)
        found = suspensions_find(suspensions, SUSPEND_CAMPAIGN, campaign, wall_ms);
    return found;
}

uint64_t suspensions_next_end_ms(const struct suspensions *suspensions, uint64_t wall_ms)
{
    uint64_t next_ms = UINT64_MAX;
    list_for_each (&suspensions->all, link, following) {
        const struct suspension *at = &container_of(link, struct entry, link)->suspension;
        if (at->until_ms && at->until_ms < next_ms && suspension_holds(at, wall_ms))
            next_ms = at->until_ms;
    }
    return next_ms;
}

unsigned suspensions_holding(const struct suspensions *suspensions, uint64_t wall_ms)
{
    unsigned count = 0;
    list_for_each (&suspensions->all, link, following)
        count += suspension_holds(&container_of(link, struct entry, link)->suspension, wall_ms);
    return count;
}

const struct suspension *suspensions_next(const struct suspensions *suspensions,
                                          const struct suspension *after)
{
    const struct list_link *before =
        after ? &((const struct entry *)after)->link : &suspensions->all.head;
    struct list_link *link = before->next;
    return link == &suspensions->all.head ? NULL
                                          : &container_of(link, struct entry, link)->suspension;
}

/* ---- changing ---- */

static struct span keep(char **at, struct span span)
{
    if (span.len)
        memcpy(*at, span.data, span.len);
    struct span kept = span_of(*at, span.len);
    *at += span.len;
    return kept;
}

static struct entry *entry_new(const struct suspension *suspension)
{
    struct entry *entry = calloc(1, sizeof(*entry) + suspension->name.len + suspension->reason.len +
                                        suspension->who.len);
    if (!entry)
        return NULL;
    char *at = entry->text;
    entry->suspension = *suspension;
    entry->suspension.name = keep(&at, suspension->name);
    entry->suspension.reason = keep(&at, suspension->reason);
    entry->suspension.who = keep(&at, suspension->who);
    return entry;
}

static void drop(struct suspensions *suspensions, struct entry *entry)
{
    map_remove(&suspensions->map, &entry->node);
    list_remove(&entry->link);
    suspensions->count--;
    free(entry);
}

int suspensions_put(struct suspensions *suspensions, const struct suspension *suspension)
{
    check(suspension->scope < SUSPENSION_SCOPES);
    struct entry *entry = entry_new(suspension);
    if (!entry)
        return -ENOMEM;
    suspensions_remove(suspensions, suspension->scope, entry->suspension.name);
    map_insert(&suspensions->map, &entry->node,
               hash(entry->suspension.scope, entry->suspension.name));
    list_append(&suspensions->all, &entry->link);
    suspensions->count++;
    return 0;
}

bool suspensions_remove(struct suspensions *suspensions, enum suspension_scope scope,
                        struct span name)
{
    struct entry *entry = find(suspensions, scope, name);
    if (entry)
        drop(suspensions, entry);
    return entry != NULL;
}

int suspensions_copy(struct suspensions *to, const struct suspensions *from)
{
    int result = 0;
    list_for_each (&from->all, link, following)
        if (result == 0)
            result = suspensions_put(to, &container_of(link, struct entry, link)->suspension);
    return result;
}

void suspensions_fini(struct suspensions *suspensions)
{
    for (struct list_link *link; (link = list_first(&suspensions->all));)
        drop(suspensions, container_of(link, struct entry, link));
    map_fini(&suspensions->map);
}

/* ---- records ---- */

static void put_text(struct sink *sink, struct span text)
{
    sink_u16(sink, (uint16_t)text.len);
    sink_put(sink, text);
}

bool suspension_write(const struct suspension *suspension, struct sink *sink)
{
    if (suspension->name.len > SUSPENSION_NAME_MAX ||
        suspension->reason.len > SUSPENSION_REASON_MAX || suspension->who.len > SUSPENSION_WHO_MAX)
        return false;
    sink_u8(sink, VERSION);
    sink_u8(sink, suspension->scope);
    sink_u64(sink, suspension->since_ms);
    sink_u64(sink, suspension->until_ms);
    put_text(sink, suspension->name);
    put_text(sink, suspension->reason);
    put_text(sink, suspension->who);
    return !sink->full;
}

static struct span read_text(struct cursor *cursor)
{
    return cursor_bytes(cursor, cursor_u16(cursor));
}

bool suspension_read(struct span bytes, struct suspension *ret_suspension)
{
    struct cursor cursor = {.rest = bytes};
    struct suspension suspension = {0};
    if (cursor_u8(&cursor) != VERSION)
        return false;
    suspension.scope = cursor_u8(&cursor);
    suspension.since_ms = cursor_u64(&cursor);
    suspension.until_ms = cursor_u64(&cursor);
    suspension.name = read_text(&cursor);
    suspension.reason = read_text(&cursor);
    suspension.who = read_text(&cursor);
    if (cursor.bad || cursor.rest.len || suspension.scope >= SUSPENSION_SCOPES ||
        suspension.name.len == 0)
        return false;
    *ret_suspension = suspension;
    return true;
}
