/* tls_peers: what a worker remembers of the TLS of the hosts that it delivers to: a session to
 * resume, and that it was broken.
 *
 * A host is its name together with its address: the name, because a session stands for the name
 * whose certificate was judged; the address, because one of several machines may be the broken one.
 * At most TLS_PEERS are remembered, the one longest unused is forgotten first; what is forgotten
 * costs a full handshake, or one more that fails. One worker's. */
#pragma once

#include "core/list.h"
#include "core/map.h"
#include "core/tls.h"
#include "dns/plan.h"

enum { TLS_PEERS = 4096, TLS_PEER_NAME = 255 };

struct tls_peers {
    struct map by_host;
    struct list old; /* longest unused first */
    struct hash_seed seed;
    unsigned count, most;
};

struct tls_host {
    struct span name;
    const struct plan_address *address;
};

/* -ENOMEM or 0. `most`: TLS_PEERS, or less for tests. */
MUST_USE int tls_peers_init(struct tls_peers *peers, struct hash_seed seed, unsigned most);
void tls_peers_fini(struct tls_peers *peers);

/* The session is the peers' from now on; NULL does nothing. No memory: it is freed. */
void tls_peers_keep(struct tls_peers *peers, const struct tls_host *host,
                    struct tls_session *session);
/* The session, the caller's from now on, or NULL. One that may be used again is for the caller to
 * keep again. */
struct tls_session *tls_peers_take(struct tls_peers *peers, const struct tls_host *host);

/* False: no memory, so nothing is remembered, and whoever relies on it must not go on. */
MUST_USE bool tls_peers_set_broken(struct tls_peers *peers, const struct tls_host *host,
                                   uint64_t until_ns);
bool tls_peers_broken(struct tls_peers *peers, const struct tls_host *host, uint64_t now_ns);
