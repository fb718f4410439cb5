/* server: the receiving side of SMTP as a dialogue: bytes in, reply bytes out, and what it waits
 * for.
 *
 * It does no I/O, reads no clock and allocates nothing but pool slots and the message. Its binding
 * (server_conn.c) does this:
 *
 *     server_init, server_greet, send the sink
 *     for each receive: want = server_input(server, &input, &replies, wall_ms), send the sink, and
 *       WANT_INPUT   all of `input` is consumed, but for `stops_behind_data`; receive more
 *       WANT_OUTPUT  less than SERVER_REPLY_ROOM is left in the sink: send it, call again
 *       WANT_STORE   server->message is complete: share_accept(share, server_take_message(server),
 *                    op); when the op is done, server_stored(), then server_input for what is left
 *                    of the input. Until server_stored nothing is consumed
 *       WANT_ROOM    the share cannot take body bytes now: call again, with the same input, when
 * the op `room` is done WANT_CLOSE   send what is in the sink, then close. Later input is ignored
 *       WANT_TLS     STARTTLS: server_start_tls, send the sink; if the session is to go on
 * securely, the handshake, then server_secured
 *       WANT_AUTH    a client wants to log in: server_auth_question, then its answer; until then
 * nothing is consumed
 *     server_fini
 *
 * All replies to one receive gather in one sink, in the order of the commands.
 *
 *      START --EHLO/HELO--> READY --MAIL--> MAIL --RCPT--> RCPT --DATA------> READY
 *                             ^                             \--BDAT--> CHUNKS --LAST--> READY
 *                             \------ RSET, EHLO, a refused message, the end of a message ------/
 *
 * The verb table in server.c says which verb is legal in which of these states. A chunk that may
 * not be there is read and thrown away before it is answered, so that its octets are never
 * commands; where its length cannot be known, or is beyond all bounds, the session ends.
 *
 * STARTTLS (RFC 3207) ends everything that was said before it: behind the handshake the session is
 * new. Anything that came behind the command before our answer could leave was not meant to be
 * safe; it is not read, and the session ends. Implicit TLS is server_secured before server_greet.
 *
 * AUTH (RFC 4954): the dialogue speaks SASL, the owner knows the accounts. Who a client has proved
 * to be holds until the session ends, a STARTTLS or an XCLIENT. A submission listener takes mail
 * from nobody else.
 *
 * XCLIENT (of Postfix) begins the session anew as somebody else; only for clients that the owner
 * lets (may_xclient), to whom alone it is offered.
 *
 * Memory: struct server, and from the worker's slot pool one slot while a command line is
 * incomplete and one while a message's data is being read. What is idle holds neither.
 *
 * Relaying is decided by the binding's `may_relay`; the server itself knows only `postmaster`,
 * which is accepted from everybody (RFC 5321 4.5.1), always as postmaster@hostname.
 *
 * A message is refused at its end, never in the middle, so that the peer's and our idea of where
 * commands begin cannot differ: data with a bare CR, a bare LF or a NUL is read to the true
 * CR LF . CR LF and answered 550 5.6.0. */
#pragma once

#include "core/address.h"
#include "core/op.h"
#include "core/sasl.h"
#include "core/tls.h"
#include "queue/share.h"
#include "smtp/limits.h"
#include "smtp/mailbox.h"
#include "smtp/slots.h"

enum { SERVER_REPLY_ROOM = 1024 }; /* no single step writes more than this into the sink */

enum server_want {
    WANT_INPUT,
    WANT_OUTPUT,
    WANT_STORE,
    WANT_ROOM,
    WANT_TLS,
    WANT_AUTH,
    WANT_CLOSE,
};

enum relay_verdict {
    RELAY_ACCEPT,     /* this peer may send to it */
    RELAY_DENIED,     /* 550 5.7.1 */
    RELAY_NO_MAILBOX, /* one of our domains, without this mailbox: 550 5.1.1 */
    RELAY_LATER,      /* cannot be said now: 451 4.3.0 */
};
typedef enum relay_verdict server_may_relay(void *context, const struct mailbox *recipient);

/* Whether this client is one of ours: it may send to anywhere, by its network or because it has
 * logged in. Only such mail is signed: a signature says that we answer for it. Asked when a
 * message's data begins. */
typedef bool server_is_ours(void *context);
/* Whether this client may send as this sender (the null path is one): asked at each MAIL. */
enum sender_verdict {
    SENDER_ACCEPT,
    SENDER_DENIED,   /* 553 5.7.1 */
    SENDER_TOO_FAST, /* 450 4.7.1: the account's rate */
    SENDER_STALE,    /* 421 4.7.0: the account is not any more what it was at login */
};
typedef enum sender_verdict server_may_send(void *context, const struct mailbox *sender);

/* Who a client has proved to be. */
struct server_identity {
    struct span name, tenant; /* tenant empty: what the message says */
    bool bound;               /* to domains: From is asked about too */
};
/* Whether a bound identity may write as somebody at this domain. */
typedef bool server_may_author(void *context, struct span domain);

/* XCLIENT: the client is somebody else from now on. `ret_identity` is NULL or, for a LOGIN, the
 * owner's. Anything but BECOME_DONE: nothing has changed. */
struct xclient;
enum become_result {
    BECOME_DONE,
    BECOME_NO_LOGIN, /* 550 5.7.8 */
    BECOME_TOO_MANY, /* 421 4.7.0: of this address are too many here */
};
typedef enum become_result server_become(void *context, const struct xclient *client,
                                         const struct server_identity **ret_identity);

/* A command or a message was refused: `command` is the client's line ("." for a message; of a login
 * its verb alone), `reply` what was answered. Borrowed; must only record. */
typedef void server_on_refusal(void *context, struct span command, struct span reply);

/* Shared by all sessions of a worker's listener; outlives them. */
struct server_settings {
    struct span hostname;
    struct server_limits limits;
    struct share *share;
    struct slots *slots; /* of server_slot_size, two for each session that is not idle */
    server_may_relay *may_relay;
    server_is_ours *is_ours;       /* NULL: nobody is */
    server_on_refusal *on_refusal; /* NULL: nobody wants to know */
    struct metrics *metrics;
    struct span tenant_header, campaign_header; /* taken out of the message; empty: none */
    bool starttls;                              /* offered, and not yet on */
    const struct dkim_keys *dkim_keys;          /* messages are hashed for them; NULL: none */
    bool verify;                                /* messages of clients that are not ours */
    server_may_send *may_send;                  /* NULL: whoever may come, may send as anybody */
    server_may_author *may_author;              /* for identities that are bound */
    server_become *become;                      /* for server->may_xclient */
    unsigned mechanisms_clear, mechanisms_tls;  /* 1 << enum sasl_mechanism; 0: no AUTH */
    bool submission; /* RFC 6409: AUTH before MAIL; missing Date and Message-ID are added */
};

/* What a session is doing, for the deadlines that the binding keeps. */
enum server_phase {
    PHASE_IDLE,    /* between commands: idle_ms */
    PHASE_COMMAND, /* a command line is incomplete: command_ms since its first octet */
    PHASE_DATA,    /* message octets are due: data_rate over server->data_octets */
    PHASE_STORE,   /* waits for server_stored */
    PHASE_TLS,     /* from WANT_TLS to server_secured */
    PHASE_LOGIN,   /* waits for server_auth_verifier or server_authenticated */
    PHASE_CLOSED,  /* WANT_CLOSE was returned */
};

struct body;
struct seal;
struct vet;
struct server {
    const struct server_settings *settings;
    void *context;              /* for may_relay */
    const struct address *peer; /* the owner's (conn.peer) */
    struct op *room;            /* the owner's, for message_append */
    struct message *message;    /* from MAIL on; complete at WANT_STORE */
    struct body *body;          /* slot: the scanner, from DATA or the first BDAT on */
    struct seal *seal;          /* in the message's arena; NULL: nothing is signed here */
    struct vet *vet;            /* the same; NULL: nothing is verified */
    char *line;                 /* slot: the incomplete command line */
    struct sasl *sasl;          /* slot: an exchange of AUTH */
    const struct server_identity *identity; /* the owner's; NULL: a stranger */
    uint64_t chunk_left;                    /* octets of the BDAT chunk that are still due */
    uint64_t data_octets;                   /* message octets read in this session */
    bool stops_behind_data; /* set by the owner: return WANT_INPUT behind each message or chunk */
    uint64_t stored_id;     /* of the message handed over by server_take_message */
    uint64_t discarded;     /* octets of an over-long command line */
    uint32_t line_len;
    uint32_t messages, recipients, errors, junk, login_failures; /* see limits.def */
    uint8_t state, doing;                                        /* see server_private.h */
    uint8_t question; /* enum auth_question, while PHASE_LOGIN */
    bool esmtp, utf8, rcpt_tried, last_chunk, draining;
    bool may_xclient;            /* set by the owner behind server_init */
    const struct tls_facts *tls; /* the owner's; NULL: the session is in the clear */
    uint8_t chunk_answer; /* enum answer: what to say behind a chunk that is swallowed; 0: none */
    int16_t store_error;  /* negative errno of message_append */
    uint8_t helo_len;
    char helo[255]; /* as given, cleaned: it goes into Received */
};

/* The size that slots must have. */
size_t server_slot_size(const struct server_limits *limits);

/* `peer`, `room` and `context` stay the owner's and must outlive the session. */
void server_init(struct server *server, const struct server_settings *settings,
                 const struct address *peer, void *context, struct op *room);

/* Gives slots back and abandons an incomplete message. A message that was taken is not touched. */
void server_fini(struct server *server);

/* "220 hostname ESMTP Ringpost". */
void server_greet(const struct server *server, struct sink *replies);

/* Consumes from the front of `input`, appends to `replies`. `wall_ms` is written into Received. */
enum server_want server_input(struct server *server, struct span *input, struct sink *replies,
                              uint64_t wall_ms);

/* True: server_input has something to do even without input (the end of a BDAT chunk for which
 * there was no room). Call it again when the room or the output is there. */
bool server_goes_on(const struct server *server);

/* After WANT_STORE: the message for share_accept; from then on it is not the server's any more.
 * *ret_seal has hashed it and lives in its arena, for the sealer; NULL: nothing signs. So has
 * *ret_vet, for the vetting. At most one of them is there. */
struct message *server_take_message(struct server *server, struct seal **ret_seal,
                                    struct vet **ret_vet);

/* The answer of share_accept: 0 "250 2.0.0 Ok: queued as <id>"; -ENOSPC, -ENOMEM: 452 4.3.1;
 * anything else, also the owner's own -ETIMEDOUT: 451 4.3.0. `replies` has SERVER_REPLY_ROOM. */
void server_stored(struct server *server, int result, struct sink *replies);

/* After WANT_TLS. What the owner found: nothing stands in the way; more octets have come already;
 * no further handshake is possible now. Writes 220, 421 or 454. */
enum start_tls { START_TLS_GO, START_TLS_SMUGGLED, START_TLS_BUSY };
void server_start_tls(struct server *server, enum start_tls found, struct sink *replies);

/* The handshake is done, in answer to STARTTLS or before the greeting. `facts` stay. */
void server_secured(struct server *server, const struct tls_facts *facts);

/* Whether the session is over TLS now. */
static inline bool server_is_secured(const struct server *server)
{
    return server->tls != NULL;
}

/* After WANT_AUTH: what the owner is asked. A password and a name are borrowed until the answer. */
enum auth_question {
    AUTH_NOTHING,
    AUTH_PASSWORD,  /* is server_auth_password that of server_auth_name? server_authenticated */
    AUTH_VERIFIER,  /* what is stored for server_auth_name? server_auth_verifier */
    AUTH_PROVED,    /* the client has shown that it knows what was asked for last: */
    AUTH_DISPROVED, /* or that it does not: server_authenticated */
};
enum auth_question server_auth_question(const struct server *server);
struct span server_auth_name(const struct server *server);
struct span server_auth_password(const struct server *server);

void server_auth_verifier(struct server *server, const struct scram_verifier *verifier,
                          const uint8_t random[SASL_RANDOM], struct sink *replies);

/* `identity` (AUTH_GOOD) lives as long as the session. Writes 235, 535, 454 or 421. */
enum auth_result { AUTH_GOOD, AUTH_WRONG, AUTH_LATER };
void server_authenticated(struct server *server, enum auth_result result,
                          const struct server_identity *identity, struct sink *replies);

enum server_phase server_phase(const struct server *server);

/* True between two transactions: nothing is lost if the session ends now. */
bool server_between_messages(const struct server *server);

/* From now on MAIL is answered 421 4.3.2: a session in a transaction may finish it. */
void server_drain(struct server *server);

/* The session is over for a reason of the owner's; a message not yet taken is abandoned. Writes
 * 421 and what limits.def says: LIMIT_idle_ms, LIMIT_command_ms, LIMIT_data_rate. */
void server_end(struct server *server, enum limit limit, struct sink *replies);

/* The same with "421 4.3.2 shutting down". */
void server_shutdown(struct server *server, struct sink *replies);

/* Instead of a session: the greeting of a connection that is refused (LIMIT_connections,
 * LIMIT_connections_per_address). */
void server_refuse(enum limit limit, struct sink *replies);

/* For the journal and Received: "SMTP", "ESMTPS", "UTF8SMTP", ... (RFC 3848, RFC 6531), and the
 * cleaned EHLO name (empty: none yet). */
struct span server_protocol(const struct server *server);
struct span server_helo(const struct server *server);
