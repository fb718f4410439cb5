/* committer_thread: the thread around the committer, and the way to it from any worker.
 * Replaced at link time by the simulator, which steps the committer itself. */
#pragma once

#include "queue/committer.h"

struct committer_thread;

/* Takes over `committer` until stop. 0 or negative errno. */
MUST_USE int committer_start(struct committer *committer, struct committer_thread **ret_thread);

/* Any worker: hands a commit over. Ends in commit->op.done on commit->home, always. */
void commit_submit(struct committer_thread *thread, struct commit *commit);

/* Writes and syncs all that was submitted, posts the completions, ends the thread. The workers must
 * not submit any more. Returns the committer's `dead`. */
int committer_stop(struct committer_thread *thread);

/* 0, -ENOSPC while the disk is full, or the error that ended it. Any thread. */
int committer_state(const struct committer_thread *thread);
