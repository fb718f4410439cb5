/* manual_committer: the committer's thread replaced by turns of the test, which can delay groups
 * and make them fail. Grouping and writing are the real committer's. */
#pragma once

#include "core/clock.h"
#include "queue/committer_thread.h"

#include <errno.h>
#include <stdlib.h>

struct committer_thread {
    struct committer *committer;
    struct commit *first, *last; /* submitted, not yet taken */
};

static struct {
    int error;       /* what commits end with now; 0: they are written */
    int state;       /* what committer_state says */
    uint64_t now_ns; /* the committer's time */
    struct committer_thread *thread;
} manual;

int committer_start(struct committer *committer, struct committer_thread **ret_thread)
{
    struct committer_thread *thread = calloc(1, sizeof *thread);
    thread->committer = committer;
    manual.thread = *ret_thread = thread;
    return 0;
}

void commit_submit(struct committer_thread *thread, struct commit *commit)
{
    commit->op.state = OP_BUSY;
    commit->next = NULL;
    if (thread->last)
        thread->last->next = commit;
    else
        thread->first = commit;
    thread->last = commit;
}

static void finish_chain(struct commit *chain)
{
    for (struct commit *commit = chain, *next; commit; commit = next) {
        next = commit->next;
        loop_ready(commit->home, &commit->op, commit->op.result);
    }
}

/* Takes the next `most` commits; they are written, or they fail. */
static void committer_turn(unsigned most)
{
    struct committer_thread *thread = manual.thread;
    bool written = false;
    while (thread->first && most--) {
        struct commit *commit = thread->first;
        thread->first = commit->next;
        if (!thread->first)
            thread->last = NULL;
        commit->next = NULL;
        if (manual.error) {
            commit->op.result = manual.error;
            finish_chain(commit);
        } else {
            committer_add(thread->committer, commit);
            written = true;
        }
    }
    manual.now_ns += 20 * NS_PER_MS; /* long enough for any commit to be due */
    while (written && thread->committer->first) {
        finish_chain(committer_step(thread->committer, manual.now_ns, false));
        manual.now_ns += 2 * NS_PER_MS;
    }
}

int committer_stop(struct committer_thread *thread)
{
    check(!thread->first);
    free(thread);
    return manual.state;
}

int committer_state(const struct committer_thread *thread)
{
    return manual.state;
}
