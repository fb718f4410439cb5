/* Sorting is by a merge of two halves of one scratch array that grows to the largest group ever
 * seen. If it cannot grow, the group is written as it came: that is slower for RocksDB, and as
 * right, because the order per key is the order of arrival either way. */
#include "queue/committer.h"

#include "core/clock.h"
#include "queue/record.h"

#include <errno.h>
#include <stdlib.h>

int committer_init(struct committer *committer, struct store *store, uint64_t next_sequence)
{
    struct store_batch *batch = store_batch_new(store);
    if (!batch)
        return -ENOMEM;
    *committer = (struct committer){.store = store, .batch = batch, .next_sequence = next_sequence};
    return 0;
}

void committer_fini(struct committer *committer)
{
    check(!committer->first);
    store_batch_free(committer->batch);
    free(committer->sorted);
    *committer = (struct committer){0};
}

void committer_add(struct committer *committer, struct commit *commit)
{
    commit->next = NULL;
    if (committer->last)
        committer->last->next = commit;
    else
        committer->first = commit;
    committer->last = commit;
    committer->waiting_bytes += commit->bytes;
    committer->waiting_sync += commit->urgency == COMMIT_SYNC;
}

static uint64_t sync_due_ns(const struct committer *committer)
{
    if (!committer->unsynced_since_ns)
        return UINT64_MAX;
    return committer->unsynced_since_ns + COMMITTER_SYNC_MS * NS_PER_MS;
}

/* When the group that waits has waited long enough for company. */
static uint64_t group_due_ns(const struct committer *committer)
{
    if (committer->waiting_sync || committer->waiting_bytes >= COMMITTER_GROUP_BYTES)
        return 0;
    return committer->first->submitted_ns + COMMITTER_WRITE_MS * NS_PER_MS;
}

uint64_t committer_due_ns(const struct committer *committer, uint64_t now_ns)
{
    if (committer->dead || committer->full)
        return committer->first ? now_ns : UINT64_MAX;
    uint64_t due = sync_due_ns(committer);
    if (committer->first && group_due_ns(committer) < due)
        due = group_due_ns(committer);
    if (due == UINT64_MAX)
        return due;
    uint64_t paced = committer->last_start_ns + COMMITTER_PACE_MS * NS_PER_MS;
    bool pace = committer->last_start_ns && committer->waiting_bytes < COMMITTER_GROUP_BYTES;
    if (pace && due < paced)
        due = paced;
    return due > now_ns ? due : now_ns;
}

/* ---- a group ---- */

struct group {
    struct commit *first, *last;
    size_t mutations;
    bool sync;
};

/* Takes what waits, at most a group's bytes but at least one commit. */
static struct group take_group(struct committer *committer, size_t max_bytes)
{
    struct group group = {0};
    size_t bytes = 0;
    while (committer->first && (!group.first || bytes + committer->first->bytes <= max_bytes)) {
        struct commit *commit = committer->first;
        committer->first = commit->next;
        if (!committer->first)
            committer->last = NULL;
        committer->waiting_bytes -= commit->bytes;
        committer->waiting_sync -= commit->urgency == COMMIT_SYNC;
        commit->next = NULL;
        if (group.last)
            group.last->next = commit;
        else
            group.first = commit;
        group.last = commit;
        group.sync |= commit->urgency == COMMIT_SYNC;
        bytes += commit->bytes;
        for (struct mutation *mutation = commit->first; mutation; mutation = mutation->next)
            group.mutations++;
    }
    return group;
}

static void give_sequences(struct committer *committer, struct commit *commit)
{
    for (struct mutation *mutation = commit->first; mutation; mutation = mutation->next) {
        if (mutation->key_len)
            continue;
        commit->sequence = committer->next_sequence++;
        mutation->key_len = (uint8_t)fresh_key(mutation->key, commit->sequence).len;
    }
}

/* ---- sorting ---- */

static bool comes_after(const struct mutation *a, const struct mutation *b)
{
    if (a->family != b->family)
        return a->family > b->family;
    size_t shorter = a->key_len < b->key_len ? a->key_len : b->key_len;
    int order = memcmp(a->key, b->key, shorter);
    return order ? order > 0 : a->key_len > b->key_len;
}

/* Merges the runs [at, middle) and [middle, end) of `from` into `to`; equal ones keep their order.
 */
static void merge(struct mutation **from, struct mutation **to, size_t at, size_t middle,
                  size_t end)
{
    size_t left = at, right = middle;
    for (size_t i = at; i < end; i++) {
        bool take_right = right < end && (left == middle || comes_after(from[left], from[right]));
        to[i] = take_right ? from[right++] : from[left++];
    }
}

/* Returns where the sorted ones are: in `array` or in the `count` places behind them. */
static struct mutation **merge_sort(struct mutation **array, size_t count)
{
    struct mutation **from = array, **to = array + count;
    for (size_t run = 1; run < count; run *= 2) {
        for (size_t at = 0; at < count; at += 2 * run) {
            size_t middle = at + run < count ? at + run : count;
            size_t end = at + 2 * run < count ? at + 2 * run : count;
            merge(from, to, at, middle, end);
        }
        struct mutation **swap = from;
        from = to;
        to = swap;
    }
    return from;
}

static bool reserve_sorted(struct committer *committer, size_t count)
{
    if (count <= committer->sorted_capacity)
        return true;
    struct mutation **grown = realloc(committer->sorted, count * sizeof *grown);
    if (!grown)
        return false;
    committer->sorted = grown;
    committer->sorted_capacity = count;
    return true;
}

/* ---- writing ---- */

static void add_to_batch(struct store_batch *batch, const struct mutation *mutation)
{
    struct span key = span_of(mutation->key, mutation->key_len);
    enum store_family family = (enum store_family)mutation->family;
    if (mutation->parts)
        store_batch_put(batch, family, key, mutation->parts, mutation->part_count);
    else
        store_batch_delete(batch, family, key);
}

static void fill_as_it_came(struct store_batch *batch, const struct group *group)
{
    for (struct commit *commit = group->first; commit; commit = commit->next)
        for (struct mutation *mutation = commit->first; mutation; mutation = mutation->next)
            add_to_batch(batch, mutation);
}

static void fill_batch(struct committer *committer, const struct group *group)
{
    store_batch_clear(committer->batch);
    committer->next_sequence++;
    for (struct commit *commit = group->first; commit; commit = commit->next)
        give_sequences(committer, commit);
    if (!reserve_sorted(committer, 2 * group->mutations)) {
        fill_as_it_came(committer->batch, group);
        return;
    }
    size_t count = 0;
    for (struct commit *commit = group->first; commit; commit = commit->next)
        for (struct mutation *mutation = commit->first; mutation; mutation = mutation->next)
            committer->sorted[count++] = mutation;
    struct mutation **sorted = merge_sort(committer->sorted, count);
    for (size_t i = 0; i < count; i++)
        add_to_batch(committer->batch, sorted[i]);
}

static void set_results(struct committer *committer, struct commit *first, int result)
{
    for (struct commit *commit = first; commit; commit = commit->next) {
        commit->op.result = result;
        commit->group = committer->groups;
        committer->commits++;
    }
}

static void note_synced(struct committer *committer)
{
    committer->unsynced_since_ns = 0;
    atomic_store(&committer->synced, committer->groups);
}

static void note_written(struct committer *committer, bool sync, uint64_t now_ns)
{
    committer->groups++;
    committer->syncs += sync;
    committer->bytes += store_batch_bytes(committer->batch);
    if (sync)
        note_synced(committer);
    else if (!committer->unsynced_since_ns)
        committer->unsynced_since_ns = now_ns;
}

static void note_failed(struct committer *committer, int error)
{
    if (error == -ENOSPC)
        committer->full = true;
    else
        committer->dead = error;
}

static struct commit *write_group(struct committer *committer, struct group group, uint64_t now_ns)
{
    fill_batch(committer, &group);
    committer->last_start_ns = now_ns;
    int result = store_commit(committer->store, committer->batch, group.sync);
    if (result < 0)
        note_failed(committer, result);
    else
        note_written(committer, group.sync, now_ns);
    set_results(committer, group.first, result);
    return group.first;
}

struct commit *committer_step(struct committer *committer, uint64_t now_ns, bool force)
{
    if (!force && committer_due_ns(committer, now_ns) > now_ns)
        return NULL;
    if (committer->dead || committer->full) {
        struct group refused = take_group(committer, SIZE_MAX);
        set_results(committer, refused.first, committer->dead ? committer->dead : -ENOSPC);
        return refused.first;
    }
    struct group group = take_group(committer, COMMITTER_GROUP_BYTES);
    group.sync |= sync_due_ns(committer) <= now_ns || force;
    if (!group.first && !committer->unsynced_since_ns)
        return NULL; /* forced, and there is nothing to write or to sync */
    return write_group(committer, group, now_ns);
}

void committer_probe(struct committer *committer)
{
    if (!committer->full || committer->dead)
        return;
    int result = store_revive(committer->store);
    if (result == 0) {
        committer->full = false;
        note_synced(committer); /* a revival has written everything out */
    } else if (result != -ENOSPC) {
        committer->full = false;
        committer->dead = result;
    }
}
