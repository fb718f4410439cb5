/* Workers push into an inbox, which says when the thread must be woken; the wake is a futex. While
 * a group is held back by the pace the thread sleeps without listening: a burst costs no wake at
 * all.
 *
 * A commit belongs to its worker again as soon as it was posted, so the chains of all workers are
 * made before any of them is. */
#include "queue/committer_thread.h"

#include "core/clock.h"
#include "core/inbox.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

struct committer_thread {
    struct committer *committer;
    pthread_t thread;
    struct inbox inbox;
    atomic_uint wakes; /* the futex */
    atomic_bool stopping;
    atomic_int state;
    uint64_t probe_due_ns;
};

/* ---- waking and sleeping ---- */

static void wake(struct committer_thread *thread)
{
    atomic_fetch_add(&thread->wakes, 1);
    syscall(SYS_futex, &thread->wakes, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void sleep_on(struct committer_thread *thread, unsigned wakes_seen, uint64_t ns)
{
    struct timespec timeout = {.tv_sec = (time_t)(ns / NS_PER_S), .tv_nsec = (long)(ns % NS_PER_S)};
    syscall(SYS_futex, &thread->wakes, FUTEX_WAIT_PRIVATE, wakes_seen,
            ns == UINT64_MAX ? NULL : &timeout, NULL, 0);
}

static void wait_until(struct committer_thread *thread, uint64_t due_ns, uint64_t now_ns)
{
    if (due_ns <= now_ns)
        return;
    uint64_t ns = due_ns == UINT64_MAX ? UINT64_MAX : due_ns - now_ns;
    unsigned wakes_seen = atomic_load(&thread->wakes);
    if (atomic_load(&thread->stopping))
        return;
    bool paced = thread->committer->waiting_sync && ns <= COMMITTER_PACE_MS * NS_PER_MS;
    if (paced || inbox_sleep(&thread->inbox))
        sleep_on(thread, wakes_seen, ns);
    if (!paced)
        inbox_awake(&thread->inbox);
}

/* ---- the turn ---- */

static void take_submitted(struct committer_thread *thread)
{
    struct list taken;
    list_init(&taken);
    inbox_take(&thread->inbox, &taken);
    struct list_link *link;
    while ((link = list_take_first(&taken))) {
        struct op *op = container_of(link, struct op, link);
        op->state = OP_BUSY;
        committer_add(thread->committer, container_of(op, struct commit, op));
    }
}

/* Posts the commits of the first one's home, in order; returns the others, in order. */
static struct commit *post_home(struct commit *chain)
{
    struct loop *home = chain->home;
    struct op *first = NULL, *last = NULL;
    struct commit *others = NULL, **end = &others;
    for (struct commit *commit = chain, *next; commit; commit = next) {
        next = commit->next;
        if (commit->home != home) {
            *end = commit;
            end = &commit->next;
            continue;
        }
        commit->op.inbox_next = NULL;
        if (last)
            last->inbox_next = &commit->op;
        else
            first = &commit->op;
        last = &commit->op;
    }
    *end = NULL;
    loop_post_chain(home, NULL, first, last);
    return others;
}

static void post(struct commit *chain)
{
    while (chain)
        chain = post_home(chain);
}

static void publish_state(struct committer_thread *thread)
{
    const struct committer *committer = thread->committer;
    atomic_store(&thread->state, committer->dead ? committer->dead : committer->full ? -ENOSPC : 0);
}

static void probe_if_due(struct committer_thread *thread, uint64_t now_ns)
{
    if (!thread->committer->full) {
        thread->probe_due_ns = 0;
        return;
    }
    if (thread->probe_due_ns == 0)
        thread->probe_due_ns = now_ns + COMMITTER_PROBE_MS * NS_PER_MS;
    if (now_ns < thread->probe_due_ns)
        return;
    thread->probe_due_ns = 0;
    committer_probe(thread->committer);
}

/* Writes everything that was submitted before the stop. */
static void finish(struct committer_thread *thread)
{
    do {
        take_submitted(thread);
        struct commit *done = committer_step(thread->committer, clock_mono_ns(), true);
        publish_state(thread);
        post(done);
    } while (thread->committer->first);
}

/* What came of a step that began at `began_ns`. */
static void count_step(struct committer *committer, uint64_t began_ns, uint64_t commits,
                       uint64_t syncs)
{
    struct metrics *metrics = &committer->metrics;
    if (committer->commits == commits && committer->syncs == syncs)
        return;
    metric_set(metrics, METRIC_COMMITS, committer->commits);
    metric_set(metrics, METRIC_COMMIT_GROUPS, committer->groups);
    metric_set(metrics, METRIC_COMMIT_SYNCS, committer->syncs);
    metric_set(metrics, METRIC_COMMIT_BYTES, committer->bytes);
    metric_observe_count(metrics, HISTOGRAM_GROUP_SIZE, committer->commits - commits);
    if (committer->syncs != syncs)
        metric_observe(metrics, HISTOGRAM_SYNC_SECONDS, clock_mono_ns() - began_ns);
}

static void *run(void *context)
{
    struct committer_thread *thread = context;
    while (!atomic_load(&thread->stopping)) {
        take_submitted(thread);
        uint64_t now_ns = clock_mono_ns();
        uint64_t commits = thread->committer->commits, syncs = thread->committer->syncs;
        struct commit *done = committer_step(thread->committer, now_ns, false);
        count_step(thread->committer, now_ns, commits, syncs);
        probe_if_due(thread, now_ns);
        publish_state(thread); /* before the results: who sees one knows why */
        post(done);
        take_submitted(thread);
        now_ns = clock_mono_ns();
        uint64_t due_ns = committer_due_ns(thread->committer, now_ns);
        if (thread->probe_due_ns && thread->probe_due_ns < due_ns)
            due_ns = thread->probe_due_ns;
        wait_until(thread, due_ns, now_ns);
    }
    finish(thread);
    return NULL;
}

/* ---- from outside ---- */

int committer_start(struct committer *committer, struct committer_thread **ret_thread)
{
    struct committer_thread *thread = calloc(1, sizeof *thread);
    if (!thread)
        return -ENOMEM;
    thread->committer = committer;
    inbox_init(&thread->inbox);
    int error = pthread_create(&thread->thread, NULL, run, thread);
    if (error) {
        free(thread);
        return -error;
    }
    pthread_setname_np(thread->thread, "committer");
    *ret_thread = thread;
    return 0;
}

void commit_submit(struct committer_thread *thread, struct commit *commit)
{
    check(op_idle(&commit->op));
    commit->op.state = OP_BUSY;
    commit->submitted_ns = commit->home->now_ns;
    if (inbox_push(&thread->inbox, &commit->op, &commit->op))
        wake(thread);
}

int committer_stop(struct committer_thread *thread)
{
    atomic_store(&thread->stopping, true);
    wake(thread);
    pthread_join(thread->thread, NULL);
    int dead = thread->committer->dead;
    free(thread);
    return dead;
}

int committer_state(const struct committer_thread *thread)
{
    return atomic_load(&thread->state);
}
