/* interfaces: the addresses of this host, as they are when asked. For start-up: the calls block. */
#pragma once

#include "core/address.h"
#include "core/check.h"

/* What a socket bound to `address` answers on: for 0.0.0.0 and :: every address of that family that
 * an interface has, with the port of `address`; else `address` itself. The array is malloc'ed, the
 * caller frees it. 0 or negative errno. */
MUST_USE int interfaces_behind(const struct address *address, struct address **ret_addresses,
                               size_t *ret_count);

/* Whether a listener may be opened there: 0, or the negative errno of binding without sharing the
 * port, -EADDRINUSE if anybody listens on it. Unix sockets: always 0, io_listen looks. */
MUST_USE int interfaces_free(const struct address *address);
