/* manual_loader: the loader's threads replaced by turns of the test. A load sees the store at one
 * turn and is done at a later one: in between, anything may happen to the rows that it brings. */
#pragma once

#include "queue/loader_thread.h"

#include <stdlib.h>

struct loader_threads {
    struct store *store;
    struct load *submitted, *read; /* newest first: the order of loads is nobody's promise */
};

static struct loader_threads *manual_loader;

int loader_start(struct store *store, unsigned threads, struct loader_threads **ret_threads)
{
    struct loader_threads *loader = calloc(1, sizeof *loader);
    loader->store = store;
    manual_loader = *ret_threads = loader;
    return 0;
}

void load_submit(struct loader_threads *loader, struct load *load)
{
    load->op.state = OP_BUSY;
    load->next = loader->submitted;
    loader->submitted = load;
}

static void loader_finish_one(void)
{
    struct load *load = manual_loader->read;
    if (!load)
        return;
    manual_loader->read = load->next;
    loop_ready(load->home, &load->op, load->op.result);
}

static void loader_read_one(void)
{
    struct load *load = manual_loader->submitted;
    if (!load)
        return;
    manual_loader->submitted = load->next;
    loader_run(manual_loader->store, load);
    load->next = manual_loader->read;
    manual_loader->read = load;
}

static void loader_finish_all(void)
{
    while (manual_loader->submitted)
        loader_read_one();
    while (manual_loader->read)
        loader_finish_one();
}

void loader_stop(struct loader_threads *loader)
{
    check(!loader->submitted && !loader->read);
    free(loader);
    manual_loader = NULL;
}
