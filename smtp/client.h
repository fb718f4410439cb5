/* client: the sending side of SMTP as a dialogue. Pure: replies in, commands and bodies out.
 *
 * A client walks a table of steps (client_steps.c: what to send, how to judge the reply, how long
 * to wait) with two cursors, one sending, one judging; their distance is the pipeline. Two
 * transactions may be open: the one whose end is being answered and the one that goes out behind
 * it, in the same write (RFC 2920 3.1). That is done only on a connection that has already answered
 * one transaction cleanly.
 *
 *     GREETING --EHLO answered--> READY --client_begin--> BUSY
 *        ^ |  '--STARTTLS answered--> handshake --client_secured--> GREETING, from EHLO on
 *        |                          | ^----all answered----'|
 *     refused                  client_quit                  |
 *        |                          v                       |
 *        |                      QUITTING --221--> DONE      |
 *        +-----------> FAILED <---- 421, lost, nonsense ----+
 *
 * The binding's loop, each time something happened on the connection:
 *
 *     while input: client_input(client, &span), consume what it took
 *     client_take_result until false: settle those transactions
 *     client_begin while client_can_begin and there is something to send; else client_quit in time
 *     if no send is in flight: n = client_output(...); send them; client_sent when it has ended
 *     if client_handshake_due: the handshake, then client_secured or client_insecure
 *     if client_progress changed: deadline = now + client_wait_ms
 *     DONE or FAILED: close; when the send in flight has ended too: client_sent, take the results
 *     on EOF, error or deadline: client_lost, then take the results
 *
 * What a recipient's verdict says, who is to blame:
 *     4yz/5yz to RCPT           that recipient
 *     4yz/5yz to MAIL, DATA, .  all recipients of the transaction that have no verdict yet
 *     too many recipients       UNTRIED, if at least one was accepted: begin the transaction again
 *     421, lost, nonsense       DEFERRED for the transaction that was being answered, UNTRIED for
 *                               the one behind it, unless all of its body had gone out already
 *     lost before any reply on a connection that had been used before: UNTRIED (it was stale)
 *     not expressible there     FAILED, never a silent downgrade: 552 5.3.4 (SIZE), 554 5.6.3
 *                               (8BITMIME), 553 5.6.7 (UTF-8 address), 554 5.6.9 (UTF-8 header)
 *
 * STARTTLS (RFC 3207) is said where it is offered and settings.tls allows it. Octets that come
 * behind its 220 before the handshake are nobody's answer to anything: the session is not safe and
 * ends as if the handshake had failed. Where TLS is required, nothing is ever said in the clear but
 * EHLO, STARTTLS and QUIT.
 *
 * It never does I/O, reads a clock, allocates (but reply texts, from the transaction's arena) or
 * trusts a reply further than its bounds. */
#pragma once

#include "core/arena.h"
#include "core/config.h"
#include "queue/record.h"
#include "queue/verdict.h"
#include "smtp/capabilities.h"
#include "smtp/reply_parser.h"
#include "smtp/stuffing.h"

enum {
    CLIENT_COMMANDS = 2048,     /* commands of one send; more go with the next. A RCPT has <= 900 */
    CLIENT_OUTPUT = 256 * 1024, /* bytes of one send: a slow peer still shows progress in time */
    CLIENT_TEXT = 256,          /* kept of a reply that failed the connection */
    CLIENT_NAME = 128,          /* kept of the name the peer gave itself */
    CLIENT_PATH = 512,          /* longest address we would say; RFC 5321 has 256 */
    CLIENT_PARAMETER = 600,     /* longest ENVID or ORCPT we pass on; RFC 3461 has 100 and 500 */
    CLIENT_FLIGHTS = 2,
};

enum client_state {
    CLIENT_GREETING, /* banner and EHLO are not answered yet */
    CLIENT_READY,    /* idle */
    CLIENT_BUSY,     /* a transaction is open */
    CLIENT_QUITTING, /* QUIT is to go out or went out */
    CLIENT_DONE,     /* ended in order: close */
    CLIENT_FAILED,   /* unusable: close. client_trouble says why */
};

enum client_trouble {
    CLIENT_FINE,
    CLIENT_REFUSED,  /* greeting or EHLO refused: a failure of this host, try the next */
    CLIENT_INSECURE, /* no TLS as the policy wants it: likewise */
    CLIENT_CLOSING,  /* 421, at any time */
    CLIENT_NONSENSE, /* malformed or impossible reply */
    CLIENT_LOST,     /* the connection ended */
    CLIENT_TIMEOUT,  /* no answer in time */
};

/* One message to some recipients. What it points to stays until its result is taken, which is never
 * before the last send that holds bytes of it is over: a peer may answer a body it has not read. */
struct client_transaction {
    const struct envelope *envelope;
    /* One per recipient of the envelope, in its order. Recipients whose outcome is
     * OUTCOME_UNTRIED are sent to, all others passed over: a transaction whose result leaves
     * untried ones is simply begun again, on this or another connection. */
    struct verdict *verdicts;
    const struct span *body; /* CRLF form, unstuffed, without the BDAT or DATA around it */
    unsigned body_pieces;
    struct arena *arena; /* for the texts of replies; when it is full, texts are empty */
    void *owner;         /* the binding's */
};

struct client_result {
    void *owner;
    unsigned delivered, deferred, failed, untried; /* of the recipients it was begun with */
    bool may_duplicate; /* some were deferred although all of the body had gone out */
    bool attempted;     /* some got a verdict; false: all are as untried as before */
};

enum client_step { /* the rows of the table */
                   STEP_BANNER,
                   STEP_EHLO,
                   STEP_HELO,
                   STEP_STARTTLS,
                   STEP_RSET,
                   STEP_MAIL,
                   STEP_RCPT,
                   STEP_DATA,
                   STEP_BODY,
                   STEP_BDAT,
                   STEP_QUIT,
                   STEP_END,
};

/* A transaction on its way through both cursors. Finished when all was sent and nothing is owed. */
struct client_flight {
    struct client_transaction transaction;
    uint64_t body_len;
    uint8_t sending, judging;        /* enum client_step */
    unsigned send_at, judge_at, end; /* indexes of recipients; those from `end` on stay untried */
    unsigned rcpt_sent, rcpt_judged, accepted;
    uint32_t owed; /* replies to what was handed out */
    unsigned total, delivered, deferred, failed;
    bool chunking;      /* BDAT instead of DATA */
    bool utf8;          /* MAIL carries SMTPUTF8 */
    bool started;       /* its first command was handed out */
    bool answered;      /* its MAIL was */
    bool mail_accepted; /* so the peer holds a transaction until the end of data or RSET */
    bool go_ahead;      /* 354 */
    bool body_begun, body_out;
    bool body_held; /* bytes of the body are in an output whose client_sent has not come */
    bool may_duplicate;
    bool closed; /* finished and accounted for */
    struct stuffing body;
};

struct client_settings {
    const struct config_delivery *delivery; /* timeouts, enable_pipelining, enable_chunking */
    struct span ehlo_name;
    enum tls_policy tls; /* TLS_DISABLED: as if no server offered it */
};

struct client {
    struct client_settings settings;
    struct capabilities capabilities;
    struct client_flight flights[CLIENT_FLIGHTS];
    unsigned first, flight_count; /* ring: `first` is the oldest */
    uint8_t state, trouble;
    uint8_t session;   /* enum client_step: BANNER, EHLO, HELO, QUIT; END in between */
    bool handshake;    /* STARTTLS was accepted: nothing is said or heard but TLS */
    bool secured;      /* the session is over TLS */
    bool session_owed; /* its command was handed out (or it has none) */
    bool greeted;      /* has been READY; a failure before that is the host's */
    bool extended;     /* EHLO, not HELO */
    bool proven;       /* has answered one transaction cleanly */
    bool needs_reset;  /* the peer still holds a transaction that we have given up */
    bool output_held;  /* handed out, client_sent has not come */
    bool quit_wanted;
    uint64_t begun, completed; /* transactions of this connection */
    uint32_t progress;
    struct reply_summary failure; /* text in failure_text or static */
    uint16_t name_len, commands_len;
    struct reply_parser parser;
    char name[CLIENT_NAME];
    char failure_text[CLIENT_TEXT];
    char commands[CLIENT_COMMANDS];
};

/* The connection is open, the banner is awaited. What `settings` points to outlives the client. */
void client_init(struct client *client, const struct client_settings *settings);

/* Takes replies from `input` and judges them; always consumes all of it. */
void client_input(struct client *client, struct span *input);

/* What to send now: up to `max` iovecs (at least 4). 0: nothing, or the last output is still held.
 * The bytes are valid until client_sent, which also says that a send was given up. */
MUST_USE unsigned client_output(struct client *client, struct iovec *iov, unsigned max);
void client_sent(struct client *client);
static inline bool client_output_held(const struct client *client)
{
    return client->output_held;
}

/* STARTTLS was accepted. When client_output is not held any more, and nothing has come in, the
 * owner makes the handshake and says how it ended: client_secured, or client_insecure with why, a
 * phrase.
 */
static inline bool client_handshake_due(const struct client *client)
{
    return client->handshake;
}
void client_secured(struct client *client);
void client_insecure(struct client *client, struct span why);

/* Whether client_begin is legal: READY, or BUSY with room for one behind a proven pipeline. */
bool client_can_begin(const struct client *client);
void client_begin(struct client *client, const struct client_transaction *transaction);

/* The oldest transaction if it is finished and nobody holds its bytes. All its recipients have
 * their verdicts. After FAILED or DONE with a send in flight, results may come only with
 * client_sent. */
bool client_take_result(struct client *client, struct client_result *ret_result);

/* No more client_begin; QUIT goes out when the open transactions are answered. After a refused
 * greeting or EHLO it still says QUIT; where nothing can be said any more the state does not
 * change. */
void client_quit(struct client *client);

/* The connection ended or the deadline passed (`timeout`). Every open transaction is finished. */
void client_lost(struct client *client, bool timeout);

/* How long to wait from the last progress, for what is awaited now (RFC 5321 4.5.3.2). */
uint64_t client_wait_ms(const struct client *client);

/* Changes with every whole reply, output handed out or sent, and transaction begun. Bytes of an
 * unfinished reply are no progress. */
static inline uint32_t client_progress(const struct client *client)
{
    return client->progress;
}

static inline enum client_state client_state(const struct client *client)
{
    return (enum client_state)client->state;
}

static inline enum client_trouble client_trouble(const struct client *client)
{
    return (enum client_trouble)client->trouble;
}

/* What failed the connection; valid as long as the client. */
static inline const struct reply_summary *client_failure(const struct client *client)
{
    return &client->failure;
}

/* What the transaction of `owner` waits for, for a person; borrowed, static. */
struct span client_step_of(const struct client *client, const void *owner);

/* "ESMTP", "ESMTPS" or "SMTP". */
struct span client_protocol(const struct client *client);

/* The name that the peer gave itself, cleaned; empty before its greeting. */
static inline struct span client_peer_name(const struct client *client)
{
    return span_of(client->name, client->name_len);
}
