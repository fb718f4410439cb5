/* Messages with several rows: the last row that goes takes the body with it.
 *
 * All rows of a message lie in one shard, so one share sees all their ends. How many references are
 * open on disk is read by the loader when the first row ends, and counted down from there as long
 * as any end is on its way. Ends may be in flight together, but the one that would be the last
 * waits until all others are known to be committed: if one of them failed and came again later, its
 * row would for a while have no body. */
#include "queue/spool_private.h"

#include <stdlib.h>

struct several {
    struct map_node node; /* share->several */
    struct load load;
    struct share *share;
    uint64_t id;
    uint64_t open;      /* references on disk, those in flight included */
    unsigned in_flight; /* ends that were submitted */
    unsigned users;     /* settlements that point here */
    struct list waiting;
    bool known, loading;
};

static uint64_t several_hash(uint64_t id)
{
    return id * UINT64_C(0x9e3779b97f4a7c15);
}

static struct several *find(struct share *share, uint64_t id)
{
    struct map_node *node = map_find(&share->several, several_hash(id));
    for (; node; node = map_find_next(node)) {
        struct several *several = container_of(node, struct several, node);
        if (several->id == id)
            return several;
    }
    return NULL;
}

static struct several *obtain(struct share *share, uint64_t id)
{
    struct several *several = find(share, id);
    if (several)
        return several;
    several = calloc(1, sizeof(*several));
    if (!several)
        return NULL;
    several->share = share;
    several->id = id;
    list_init(&several->waiting);
    map_insert(&share->several, &several->node, several_hash(id));
    return several;
}

static void forget_unused(struct several *several)
{
    if (several->users > 0 || several->loading)
        return;
    map_remove(&several->share->several, &several->node);
    free(several);
}

/* Whether one more end may be submitted now. */
static bool may_go(struct several *several, bool *ret_last)
{
    if (!several->known)
        return false;
    *ret_last = several->open <= several->in_flight + 1;
    if (*ret_last && several->in_flight > 0)
        return false;
    several->in_flight++;
    return true;
}

static void go_on(struct several *several)
{
    bool last;
    struct list_link *link;
    while ((link = list_first(&several->waiting)) && may_go(several, &last)) {
        list_remove(link);
        settlement_go(container_of(link, struct settlement, link), last);
    }
}

/* They come again with the next tick. */
static void stick_all(struct several *several)
{
    struct share *share = several->share;
    for (struct list_link *link; (link = list_take_first(&several->waiting));) {
        struct settlement *settlement = container_of(link, struct settlement, link);
        settlement->several = NULL;
        several->users--;
        list_append(&share->stuck, &settlement->link);
        share->stuck_count++;
    }
}

static void on_refs_loaded(struct op *op)
{
    struct several *several = container_of(op, struct several, load.op);
    struct share *share = several->share;
    share->loads--;
    several->loading = false;
    several->known = op->result == 0;
    several->open = several->load.ref_count;
    load_release(&several->load);
    several->users++; /* stays while its settlements go on */
    if (several->known)
        go_on(several);
    else
        stick_all(several);
    several->users--;
    forget_unused(several);
    share_look_drained(share);
}

static void load_refs(struct several *several)
{
    if (several->known || several->loading)
        return;
    load_init(&several->load, several->share->loop, LOAD_REFS, on_refs_loaded);
    several->load.ids[0] = several->id;
    several->load.id_count = 1;
    several->loading = true;
    several->share->loads++;
    share_load(several->share, &several->load);
}

bool several_join(struct settlement *settlement, bool *ret_last)
{
    struct share *share = settlement->share;
    struct several *several = obtain(share, settlement->held->row.envelope.id);
    if (!several) {
        list_append(&share->stuck, &settlement->link);
        share->stuck_count++;
        return false;
    }
    settlement->several = several;
    several->users++;
    if (may_go(several, ret_last))
        return true;
    list_append(&several->waiting, &settlement->link);
    load_refs(several);
    return false;
}

void several_leave(struct settlement *settlement, bool committed)
{
    struct several *several = settlement->several;
    settlement->several = NULL;
    several->in_flight--;
    if (committed && several->open > 0)
        several->open--;
    go_on(several);
    several->users--;
    forget_unused(several);
}
