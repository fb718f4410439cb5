/* loader_thread: the few threads that run loads. Replaced at link time by the simulator. */
#pragma once

#include "queue/loader.h"

struct loader_threads;
MUST_USE int loader_start(struct store *store, unsigned threads,
                          struct loader_threads **ret_threads);
void load_submit(struct loader_threads *threads, struct load *load); /* any worker */
void loader_stop(struct loader_threads *threads); /* runs what was submitted, then ends */
