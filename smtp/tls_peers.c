#include "smtp/tls_peers.h"

#include <errno.h>
#include <stdlib.h>

enum { ADDRESS_OCTETS = 16 + 2, KEY_MOST = TLS_PEER_NAME + ADDRESS_OCTETS };

struct peer {
    struct map_node by_host;
    struct list_link old;
    struct tls_session *session; /* NULL: none */
    uint64_t broken_until_ns;    /* 0: not known to be broken */
    size_t key_len;
    char key[];
};

int tls_peers_init(struct tls_peers *peers, struct hash_seed seed, unsigned most)
{
    *peers = (struct tls_peers){.seed = seed, .most = most};
    list_init(&peers->old);
    return map_init(&peers->by_host, 64);
}

static void forget(struct tls_peers *peers, struct peer *peer)
{
    tls_session_free(peer->session);
    map_remove(&peers->by_host, &peer->by_host);
    list_remove(&peer->old);
    peers->count--;
    free(peer);
}

void tls_peers_fini(struct tls_peers *peers)
{
    if (!peers->by_host.buckets)
        return; /* never initialised */
    list_for_each (&peers->old, link, following)
        forget(peers, container_of(link, struct peer, old));
    map_fini(&peers->by_host);
}

static struct span key_of(const struct tls_host *host, char key[KEY_MOST])
{
    struct sink sink;
    sink_init(&sink, key, KEY_MOST);
    sink_put(&sink, span_of(host->address->bits, sizeof host->address->bits));
    sink_u16(&sink, host->address->port);
    sink_put(&sink, span_first(host->name, TLS_PEER_NAME));
    return sink_span(&sink);
}

static struct peer *find(struct tls_peers *peers, struct span key, uint64_t hash)
{
    for (struct map_node *node = map_find(&peers->by_host, hash); node;
         node = map_find_next(node)) {
        struct peer *peer = container_of(node, struct peer, by_host);
        if (span_equals(span_of(peer->key, peer->key_len), key))
            return peer;
    }
    return NULL;
}

static void touch(struct tls_peers *peers, struct peer *peer)
{
    list_remove(&peer->old);
    list_append(&peers->old, &peer->old);
}

static struct peer *find_host(struct tls_peers *peers, const struct tls_host *host)
{
    char key[KEY_MOST];
    struct span span = key_of(host, key);
    struct peer *peer = find(peers, span, hash_key(peers->seed, span));
    if (peer)
        touch(peers, peer);
    return peer;
}

/* NULL: no memory. */
static struct peer *find_or_add(struct tls_peers *peers, const struct tls_host *host)
{
    char buffer[KEY_MOST];
    struct peer *peer = find_host(peers, host);
    if (peer)
        return peer;
    struct span key = key_of(host, buffer);
    peer = calloc(1, sizeof *peer + key.len);
    if (!peer)
        return NULL;
    peer->key_len = key.len;
    memcpy(peer->key, key.data, key.len);
    map_insert(&peers->by_host, &peer->by_host, hash_key(peers->seed, key));
    list_append(&peers->old, &peer->old);
    struct list_link *oldest = list_first(&peers->old);
    if (++peers->count > peers->most && oldest)
        forget(peers, container_of(oldest, struct peer, old));
    return peer;
}

void tls_peers_keep(struct tls_peers *peers, const struct tls_host *host,
                    struct tls_session *session)
{
    struct peer *peer = session ? find_or_add(peers, host) : NULL;
    if (!peer) {
        tls_session_free(session);
        return;
    }
    tls_session_free(peer->session);
    peer->session = session;
}

struct tls_session *tls_peers_take(struct tls_peers *peers, const struct tls_host *host)
{
    struct peer *peer = find_host(peers, host);
    struct tls_session *session = peer ? peer->session : NULL;
    if (peer)
        peer->session = NULL;
    return session;
}

bool tls_peers_set_broken(struct tls_peers *peers, const struct tls_host *host, uint64_t until_ns)
{
    struct peer *peer = find_or_add(peers, host);
    if (peer)
        peer->broken_until_ns = until_ns;
    return peer != NULL;
}

bool tls_peers_broken(struct tls_peers *peers, const struct tls_host *host, uint64_t now_ns)
{
    const struct peer *peer = find_host(peers, host);
    return peer && peer->broken_until_ns > now_ns;
}
