/* server_conn: SMTP sessions on a worker: a listener's connections, each a conn and a server
 * dialogue.
 *
 * `struct ingress` is one worker's inbound side. It owns the listeners, the
 * pools and the sessions; a session owns its conn, its dialogue and the commit it waits for.
 *
 *     READING --WANT_STORE--> SEALING --signed--> STORING --commit done--> READING
 *        |  ^                    \-------------------\--commit_ms passed: withdraw, 451--> READING
 *        |  \--sent-- WRITING (replies in flight: nothing is read)
 *        \--WANT_AUTH--> delayed, hashed --> READING (session_login.c)
 *        \--WANT_TLS--> 220 sent --> SHAKING --CONN_SECURED--> READING
 *        \--WANT_CLOSE, limits, peer gone--> closing --> gone
 *
 * All replies that one receive produced leave in one send, and no further input is looked at until
 * it has left: a peer that does not read its replies stops being served, it costs a bounded buffer.
 * SHAKING is also where a session with implicit TLS begins. The conn does the handshake; here it is
 * let through the gate, and its failure ends the session without a word that the peer could read.
 * A connection lost while its message is being stored changes nothing: the message is delivered. */
#pragma once

#include "core/config.h"
#include "core/labels.h"
#include "core/listen.h"
#include "core/login.h"
#include "core/metrics.h"
#include "core/tls_services.h"
#include "smtp/sealer.h"
#include "smtp/server.h"
#include "smtp/snapshot.h"
#include "smtp/trace.h"
#include "smtp/vetting.h"

struct ingress_settings {
    struct snapshot *snapshot; /* that `config` is of; tests: NULL */
    const struct config *config;
    struct admission *admission; /* of the process */
    struct tls_services *tls;    /* of the process; NULL: none of the listeners has TLS */
    struct metrics *metrics;
    struct logins *logins;             /* of the process; NULL: nobody can log in */
    const struct dkim_keys *dkim_keys; /* NULL: nothing is signed */
    struct labels *listeners;          /* counters by listener */
    struct sealer *sealer;             /* of the worker */
    struct dns *dns;                   /* of the worker, to verify what others say */
};

struct smtp_listener; /* one per [[listener]] with service = "smtp" or "submission" */

struct ingress {
    struct loop *loop;
    struct share *share;
    struct ingress_settings settings;
    struct slots slots, buffers; /* for dialogues; for replies */
    struct list listeners, sessions;
    struct traces traces; /* of what sessions say */
    uint32_t session_count;
    bool draining; /* for good */
    bool shut;     /* until ingress_reconfigure opens again */
    struct op *drained;
    struct timer drain_deadline;
};

/* Binds the listeners (so that a bad address is known at start-up); nothing is accepted yet. On an
 * error *ret_failed is the listener that could not be bound. */
MUST_USE int ingress_init(struct ingress *ingress, struct loop *loop, struct share *share,
                          const struct ingress_settings *settings,
                          const struct config_listener **ret_failed);

/* Another snapshot. With `open` each SMTP listener of its configuration is open afterwards: those
 * that were open keep their socket, the others take theirs from `sockets`; all others close.
 * Without, all close, no transaction begins, and sessions end when theirs has. Sessions take the
 * new settings between two messages. 0, or -ENOMEM: some listener is as it was before. */
MUST_USE int ingress_reconfigure(struct ingress *ingress, const struct ingress_settings *settings,
                                 bool open, struct listen_socket *sockets, size_t socket_count);

/* In the worker's own thread: begins to accept. */
void ingress_start(struct ingress *ingress);

/* No new connections, no new transactions; those that run may finish within
 * system_shutdown_timeout. `done` follows when the last session is gone. */
void ingress_drain(struct ingress *ingress, struct op *done);

void ingress_fini(struct ingress *ingress); /* after the drain */
