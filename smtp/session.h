/* session: what the files of the SMTP sessions' binding share. Private to them.
 *
 * server_conn.c    a session's life: connection, dialogue, storing, deadlines; the listeners
 * session_login.c  WANT_AUTH, and what an account may do
 * session_refusal.c  what was refused, for the journal
 * session_trace.c  what somebody who traces is told
 * session_peer.c   who the client is: PROXY, XCLIENT; from where what may be sent */
#pragma once

#include "core/clock.h"
#include "core/conn.h"
#include "core/login.h"
#include "core/proxy_header.h"
#include "smtp/server_conn.h"
#include "smtp/xclient.h"

enum { REPLY_BUFFER = 4096 };

/* A listening socket under the settings of one snapshot. A reload makes another one, which gets the
 * socket; sessions go over to it between two messages. Freed when neither the socket nor a session
 * is its own any more. */
struct smtp_listener {
    struct listener listener;
    struct list_link link; /* in ingress->listeners */
    struct ingress *ingress;
    struct snapshot *snapshot; /* held; what follows points into it */
    const struct config_listener *config;
    struct server_settings server;
    struct tls_service *tls; /* NULL: none */
    struct tls_gate *gate;   /* for handshakes; NULL with tls */
    struct label_cell *label;
    struct smtp_listener *successor; /* NULL: this is the latest; a use of it */
    unsigned users;                  /* sessions, the socket, the predecessor */
};

/* Takes NULL. */
void smtp_listener_put(struct smtp_listener *listener);

/* session_refusal.c: a server_on_refusal. */
void session_refused(void *context, struct span command, struct span reply);

struct session {
    struct conn conn;
    struct server server;
    struct smtp_listener *from;
    struct list_link link;
    struct op stored; /* share_accept */
    struct op sealed; /* sealer_start */
    struct sealing sealing;
    struct vetting
        *vetting;   /* in the message's arena, while it is open; it ends in `sealed`, too */
    struct op room; /* message_append */
    struct message *storing; /* being signed, verified or committed; NULL: none of these */
    struct sink replies;     /* in a slot of ingress->buffers while it is not empty */
    uint64_t phase_since_ns; /* when the present command or data began */
    uint64_t data_since_octets;
    uint64_t stored_since_ns;
    uint64_t traced;        /* see trace_event.interesting */
    uint64_t untold_octets; /* of message text, while somebody traces */
    uint32_t number;
    uint8_t phase_seen;
    bool secrets; /* the client's next line is part of a login */
    bool admitted, stored_done, waits_for_room, closing, gone;
    bool starts_tls; /* the 220 is on its way; the gate counts us */
    bool shaking;    /* the handshake runs; the gate counts us */

    struct login *login; /* from WANT_AUTH to its last answer */
    struct op logged_in;
    bool logging_in;              /* `logged_in` is waited for */
    bool login_done;              /* it has come and is not answered yet */
    struct account_set *accounts; /* of the identity, a reference; NULL: a stranger */
    const struct account *account;
    uint64_t generation; /* of the accounts, when the account was last looked up */
    struct server_identity identity;

    struct proxy_header *proxy; /* until the PROXY header is read */
    bool counted_by_address;    /* by admission; else only in all, as a proxy is */
    bool no_networks;           /* the proxy does not say who it is: relay_from means nothing */
};

static inline struct ingress *ingress_of(const struct session *session)
{
    return session->from->ingress;
}

static inline uint64_t now_of(const struct session *session)
{
    return ingress_of(session)->loop->now_ns;
}

/* ---- server_conn.c ---- */
listen_on_connection session_on_connection;

/* ---- ingress.c ---- */
/* The end of a session or listener may have been what a drain waited for. */
void ingress_look_drained(struct ingress *ingress);

/* ---- server_conn.c ---- */

/* False: no buffer; the session ends, which is the only answer left. */
bool session_open_replies(struct session *session);
/* Frees it if everything that it waits for has come. */
void session_free_if_over(struct session *session);
/* The client is known: TLS or greeting. */
void session_welcome(struct session *session);
/* The client is one too many: its 421, and the end. */
void session_turn_away(struct session *session, enum limit limit);

/* ---- session_trace.c ---- */

/* What the dialogue has taken: `data_octets` of it were message text, at the front if it was in a
 * message before, else at the end. */
void session_tell_input(struct session *session, struct span taken, uint64_t data_octets,
                        bool was_in_data);
void session_tell_replies(struct session *session); /* before they are sent */

/* ---- session_login.c ---- */

/* What the listener can offer: fills in mechanisms, may_send. */
void session_offer_login(struct smtp_listener *listener);
/* WANT_AUTH. */
void session_ask_login(struct session *session);
/* With room for the answer: gives it to the dialogue if it has come. */
void session_answer_login(struct session *session);
/* The session is over, or the client somebody else. True: no thread has anything of ours. */
MUST_USE bool session_forget_login(struct session *session);
void session_on_logged_in(struct op *op);
/* Without a password: because a proxy says so. False: there is no such account. */
MUST_USE bool session_log_in(struct session *session, struct span name);
/* Gives the account back. */
void session_log_out(struct session *session);
uint64_t session_login_ms(const struct session *session); /* the longest a login may take */

server_may_send session_may_send;
server_may_author session_may_author;

/* ---- session_peer.c ---- */

/* A connection that admission has judged: the verdict, which for a proxy is another one. A welcome
 * one is counted. */
MUST_USE enum listen_verdict session_admit(struct session *session, enum listen_verdict verdict);
void session_leave(struct session *session);
/* True: the session is one of those that begin with a PROXY header, and expects it now. */
MUST_USE bool session_expects_proxy(struct session *session);
/* With a header still to read: reads on, and goes on to session_welcome or to the end. */
void session_read_proxy(struct session *session, unsigned events);
server_become session_become;
server_is_ours session_is_ours;
server_may_relay session_may_relay;
bool session_may_xclient(const struct session *session);
