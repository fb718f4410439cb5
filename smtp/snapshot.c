#include "smtp/snapshot.h"

#include <stdlib.h>

struct snapshot *snapshot_hold(struct snapshot *snapshot)
{
    if (snapshot)
        atomic_fetch_add_explicit(&snapshot->users, 1, memory_order_relaxed);
    return snapshot;
}

struct snapshot *snapshot_release(struct snapshot *snapshot)
{
    if (!snapshot || atomic_fetch_sub_explicit(&snapshot->users, 1, memory_order_acq_rel) > 1)
        return NULL;
    tls_services_close(&snapshot->tls);
    dkim_keys_free(&snapshot->dkim_keys);
    free(snapshot->own_addresses);
    config_free(snapshot->config);
    free(snapshot);
    return NULL;
}
