#include "queue/commit.h"

void commit_init(struct commit *commit, struct loop *home, enum commit_urgency urgency,
                 op_done *done)
{
    *commit = (struct commit){.home = home, .urgency = urgency};
    op_init(&commit->op, done);
}

static void append(struct commit *commit, struct mutation *mutation)
{
    if (commit->last)
        commit->last->next = mutation;
    else
        commit->first = mutation;
    commit->last = mutation;
    commit->bytes += mutation->key_len;
    for (unsigned i = 0; i < mutation->part_count; i++)
        commit->bytes += mutation->parts[i].len;
}

static struct mutation *mutation_new(struct arena *arena, enum store_family family, struct span key)
{
    check(family < FAMILIES && key.len <= MUTATION_KEY_MAX);
    struct mutation *mutation = arena_take(arena, sizeof *mutation);
    if (!mutation)
        return NULL;
    mutation->next = NULL;
    mutation->parts = NULL;
    mutation->part_count = 0;
    mutation->family = (uint8_t)family;
    mutation->key_len = (uint8_t)key.len;
    if (key.len)
        memcpy(mutation->key, key.data, key.len);
    return mutation;
}

bool commit_put(struct commit *commit, struct arena *arena, enum store_family family,
                struct span key, const struct span *parts, unsigned part_count)
{
    check(key.len || family == FAMILY_FRESH);
    /* One more than needed: an empty value has parts too, NULL means delete. */
    struct span *copy = arena_take(arena, (part_count + (size_t)1) * sizeof *copy);
    struct mutation *mutation = copy ? mutation_new(arena, family, key) : NULL;
    if (!mutation)
        return false;
    if (part_count)
        memcpy(copy, parts, part_count * sizeof *copy);
    mutation->parts = copy;
    mutation->part_count = part_count;
    append(commit, mutation);
    return true;
}

bool commit_delete(struct commit *commit, struct arena *arena, enum store_family family,
                   struct span key)
{
    check(key.len);
    struct mutation *mutation = mutation_new(arena, family, key);
    if (!mutation)
        return false;
    append(commit, mutation);
    return true;
}
