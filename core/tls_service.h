/* tls_service: what one service's TLS is made from, renewed when its files change.
 *
 * A service has a context (tls.h) made from files. The control thread looks at the files now and
 * then; when they have changed and been quiet for one look (a certificate and its key are two
 * files, and copying takes a while), a new context takes the place of the old one, if it is good.
 * Sessions that run keep the context that they began with. A bad new file changes nothing, is told
 * once, and is tried again when it changes again.
 *
 * Whoever begins a session takes a reference under a mutex, once per connection; nobody waits for a
 * file but the thread that looks. */
#pragma once

#include "core/tls.h"

#include <stdatomic.h>

struct tls_service_options {
    struct span name; /* keeps tickets apart */
    /* A server: at least one identity. A client: none, and `roots`. */
    const struct tls_identity_files *identities;
    size_t identity_count;
    const char *client_ca; /* or NULL */
    const char *roots;
};

struct tls_service;

/* `options` is copied. Blocks. 0, or as
 * tls_context_server. */
MUST_USE int tls_service_new(const struct tls_service_options *options,
                             struct tls_service **ret_service, char error[TLS_ERROR]);
struct tls_service *tls_service_free(struct tls_service *service);

struct span tls_service_name(const struct tls_service *service);

/* Any thread: a reference to the present context, for tls_context_free. */
struct tls_context *tls_service_context(struct tls_service *service);

/* The thread that looks. Blocks. TLS_REFUSED: `text` says why, and the old one stays; TLS_RENEWED:
 * `text` holds the new one's remarks, if any. */
enum tls_look { TLS_UNCHANGED, TLS_RENEWED, TLS_REFUSED };
enum tls_look tls_service_look(struct tls_service *service, char text[TLS_ERROR]);

/* How many handshakes may run at once, over all workers: each costs up to a millisecond of a core
 * and some 30 KB, and whoever asks for one has proven nothing. */
struct tls_gate {
    atomic_uint running;
    unsigned limit;
};

MUST_USE bool tls_gate_enter(struct tls_gate *gate);
void tls_gate_leave(struct tls_gate *gate);
