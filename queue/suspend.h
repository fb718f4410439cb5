/* suspend: makes a suspension durable, or its end. For the control thread; the workers' own copies
 * are told by whoever asked, when the change is done. */
#pragma once

#include "queue/commit.h"
#include "queue/spool.h"
#include "queue/suspensions.h"

struct suspension_change {
    struct op op; /* set by the caller (op_init); result: 0, or a negative errno: nothing changed */
    /* private: */
    struct spool *spool;
    struct loop *home;
    struct commit commit;
    struct chunk_pool pool;
    struct arena arena;
    struct suspension suspension; /* a copy, in the arena */
    struct span record;
    bool ends;
};

/* `change->op` follows on `home`, always. One of the same scope and name is replaced. -EINVAL: a
 * text is too long. */
void spool_suspend(struct spool *spool, struct loop *home, const struct suspension *suspension,
                   struct suspension_change *change);
/* -ENOENT: there is none. */
void spool_resume(struct spool *spool, struct loop *home, enum suspension_scope scope,
                  struct span name, struct suspension_change *change);

/* All of them. Before the workers run, and then in the control thread only. */
struct suspensions *spool_suspensions(struct spool *spool);
