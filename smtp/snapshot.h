/* snapshot: one reading of the configuration, with everything that was made from it. Immutable.
 *
 * A reload makes a new one; who has begun something under the old one (a session, a delivery) holds
 * it until that has ended. This is the one thing in Ringpost with a reference count. Any thread. */
#pragma once

#include "core/config.h"
#include "core/tls_services.h"
#include "smtp/dkim_keys.h"

#include <stdatomic.h>

struct snapshot {
    _Atomic unsigned users;
    struct config *config;
    struct tls_services tls;
    struct dkim_keys dkim_keys;
    struct address *own_addresses; /* of all SMTP listeners */
    size_t own_address_count;
};

/* Both take NULL, as tests have it. The last release frees the snapshot and all that is in it. */
struct snapshot *snapshot_hold(struct snapshot *snapshot);
struct snapshot *snapshot_release(struct snapshot *snapshot); /* NULL */
