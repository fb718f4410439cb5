/* journal_keeper_thread: the thread that runs the keeper's passes. Replaced at link time by the
 * simulator. */
#pragma once

#include "queue/journal_keeper.h"

struct keeper_thread;
MUST_USE int keeper_start(struct journal_keeper *keeper, struct keeper_thread **ret_thread);
/* Ends a pass that is running, waits for its end; the keeper is the caller's again. */
void keeper_stop(struct keeper_thread *thread);
