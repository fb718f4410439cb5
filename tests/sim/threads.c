/* queue/committer_thread.h, loader_thread.h and journal_keeper_thread.h without threads: what was
 * handed over is worked on at random moments later. */
#include "tests/sim/sim.h"

#include "core/clock.h"
#include "queue/committer_thread.h"
#include "queue/journal_keeper_thread.h"
#include "queue/loader_thread.h"
#include "queue/segment_file.h"

enum { PROBE_MS = 5000 };

struct committer_thread {
    struct committer *committer;
    struct commit *first, **last; /* submitted, not seen by the committer yet */
    bool planned;
};

struct loader_threads {
    struct store *store;
};

/* The simulated device is as good as any. */
bool segment_probe(const char *directory, const char *log_directory, const char **ret_why)
{
    return true;
}

static struct committer_thread the_committer;
static struct loader_threads the_loaders;

static void plan(uint64_t delay_ns);

static void take_submitted(void)
{
    struct commit *commit = the_committer.first;
    the_committer.first = NULL;
    the_committer.last = &the_committer.first;
    while (commit) {
        struct commit *next = commit->next;
        commit->next = NULL;
        committer_add(the_committer.committer, commit);
        commit = next;
    }
}

static void post_all(struct commit *commit)
{
    while (commit) {
        struct commit *next = commit->next;
        loop_post(commit->home, NULL, &commit->op);
        commit = next;
    }
}

static void on_probe(void *context, uint64_t argument)
{
    committer_probe(the_committer.committer);
    if (the_committer.committer->full)
        world_later(PROBE_MS * NS_PER_MS, true, on_probe, NULL, 0);
    else
        plan(0);
}

static void on_step(void *context, uint64_t argument)
{
    the_committer.planned = false;
    take_submitted();
    bool was_full = the_committer.committer->full;
    post_all(committer_step(the_committer.committer, world.now_ns, false));
    if (the_committer.committer->full && !was_full)
        world_later(PROBE_MS * NS_PER_MS, true, on_probe, NULL, 0);
    uint64_t due_ns = committer_due_ns(the_committer.committer, world.now_ns);
    if (due_ns != UINT64_MAX)
        plan(due_ns > world.now_ns ? due_ns - world.now_ns : 0);
}

/* A sync takes between 0.2 and 20 ms, rarely a second. */
static void plan(uint64_t delay_ns)
{
    if (the_committer.planned)
        return;
    the_committer.planned = true;
    uint64_t takes_ns = 200000 + world_draw(world_fault(20) ? NS_PER_S : 20 * NS_PER_MS);
    world_later(delay_ns + takes_ns, true, on_step, NULL, 0);
}

int committer_start(struct committer *committer, struct committer_thread **ret_thread)
{
    the_committer = (struct committer_thread){.committer = committer};
    the_committer.last = &the_committer.first;
    *ret_thread = &the_committer;
    return 0;
}

void commit_submit(struct committer_thread *thread, struct commit *commit)
{
    check(commit->op.state == OP_IDLE);
    commit->op.state = OP_BUSY;
    commit->next = NULL;
    commit->submitted_ns = commit->home->now_ns;
    *thread->last = commit;
    thread->last = &commit->next;
    plan(0);
}

int committer_stop(struct committer_thread *thread)
{
    take_submitted();
    struct commit *finished;
    while ((finished = committer_step(thread->committer, world.now_ns, true)))
        post_all(finished);
    return thread->committer->dead;
}

int committer_state(const struct committer_thread *thread)
{
    return thread->committer->dead   ? thread->committer->dead
           : thread->committer->full ? -28 /* ENOSPC */
                                     : 0;
}

bool threads_commit_waits(void)
{
    return the_committer.first && the_committer.first->urgency == COMMIT_SYNC;
}

/* Now and then in the middle of a group: its record may be on disk, its sync has not ended. */
void threads_crash(void)
{
    if (the_committer.committer && world_chance(500)) {
        take_submitted();
        store_set_syncing(false);
        committer_step(the_committer.committer, world.now_ns, true);
        store_set_syncing(true);
    }
    the_committer = (struct committer_thread){0};
}

/* ---- the journal's keeper: it does nothing that a run could notice ---- */

struct keeper_thread {
    struct journal_keeper *keeper;
};
static struct keeper_thread the_keeper;

int keeper_start(struct journal_keeper *keeper, struct keeper_thread **ret_thread)
{
    the_keeper.keeper = keeper;
    *ret_thread = &the_keeper;
    return 0;
}

void keeper_stop(struct keeper_thread *thread)
{
}

/* ---- loaders ---- */

static void on_load(void *context, uint64_t argument)
{
    struct load *load = context;
    loader_run(the_loaders.store, load);
    loop_post(load->home, NULL, &load->op);
}

int loader_start(struct store *store, unsigned threads, struct loader_threads **ret_threads)
{
    the_loaders.store = store;
    *ret_threads = &the_loaders;
    return 0;
}

void load_submit(struct loader_threads *threads, struct load *load)
{
    check(load->op.state == OP_IDLE);
    load->op.state = OP_BUSY;
    world_later(50000 + world_draw(world_fault(50) ? NS_PER_S : 5 * NS_PER_MS), true, on_load, load,
                0);
}

void loader_stop(struct loader_threads *threads)
{
}
