#include "queue/suspend.h"

#include "queue/spool_private.h"

#include <errno.h>

enum {
    RECORD_MAX = SUSPENSION_NAME_MAX + SUSPENSION_REASON_MAX + SUSPENSION_WHO_MAX + 64,
};

struct suspensions *spool_suspensions(struct spool *spool)
{
    return &spool->suspensions;
}

static void end(struct suspension_change *change, int result)
{
    arena_fini(&change->arena);
    chunk_pool_fini(&change->pool);
    loop_ready(change->home, &change->op, result);
}

static void on_committed(struct op *op)
{
    struct suspension_change *change = container_of(op, struct suspension_change, commit.op);
    struct suspensions *all = &change->spool->suspensions;
    int result = op->result;
    if (result == 0 && change->ends)
        suspensions_remove(all, change->suspension.scope, change->suspension.name);
    else if (result == 0)
        result = suspensions_put(all, &change->suspension);
    end(change, result);
}

static void begin(struct suspension_change *change, struct spool *spool, struct loop *home)
{
    change->spool = spool;
    change->home = home;
    chunk_pool_init(&change->pool, SIZE_MAX, 0);
    arena_init(&change->arena, &change->pool, SIZE_MAX);
    change->op.state = OP_BUSY;
    commit_init(&change->commit, home, COMMIT_SYNC, on_committed);
}

static bool copy(struct suspension_change *change, const struct suspension *suspension)
{
    struct arena *arena = &change->arena;
    change->suspension = *suspension;
    return arena_copy(arena, suspension->name, &change->suspension.name) &&
           arena_copy(arena, suspension->reason, &change->suspension.reason) &&
           arena_copy(arena, suspension->who, &change->suspension.who);
}

void spool_suspend(struct spool *spool, struct loop *home, const struct suspension *suspension,
                   struct suspension_change *change)
{
    char key[KEY_MAX];
    struct sink sink;
    begin(change, spool, home);
    change->ends = false;
    const struct suspension *before =
        suspensions_get(&spool->suspensions, suspension->scope, suspension->name);
    char *record = arena_take(&change->arena, RECORD_MAX);
    if (!record || !copy(change, suspension)) {
        end(change, -ENOMEM);
        return;
    }
    change->suspension.number = before ? before->number : spool->next_suspension++;
    sink_init(&sink, record, RECORD_MAX);
    if (!suspension_write(&change->suspension, &sink)) {
        end(change, -EINVAL);
        return;
    }
    change->record = sink_span(&sink);
    if (commit_put(&change->commit, &change->arena, FAMILY_META,
                   suspension_key(key, change->suspension.number), &change->record, 1))
        commit_submit(spool->committing, &change->commit);
    else
        end(change, -ENOMEM);
}

void spool_resume(struct spool *spool, struct loop *home, enum suspension_scope scope,
                  struct span name, struct suspension_change *change)
{
    char key[KEY_MAX];
    begin(change, spool, home);
    change->ends = true;
    const struct suspension *before = suspensions_get(&spool->suspensions, scope, name);
    if (!before)
        end(change, -ENOENT);
    else if (copy(change, before) && commit_delete(&change->commit, &change->arena, FAMILY_META,
                                                   suspension_key(key, before->number)))
        commit_submit(spool->committing, &change->commit);
    else
        end(change, -ENOMEM);
}
