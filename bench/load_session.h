/* load_session: one connection of the load: injects messages, one transaction after the other.
 *
 * How much goes out before an answer is waited for:
 *
 *     LOAD_NONE     every command by itself
 *     LOAD_CLASSIC  MAIL, RCPT and DATA in one write (RFC 2920); the text behind the 354
 *     LOAD_BEHIND   and the next transaction's MAIL, RCPT and DATA right behind the final dot
 *     LOAD_BDAT     MAIL, RCPT, BDAT LAST and the text in one write (RFC 3030)
 *
 * A session that ends (its share of messages, a 421, an error) connects again while there are
 * messages to send. A transaction on a connection that was lost counts as lost; it is not repeated.
 */
#pragma once

#include "bench/histogram.h"
#include "bench/load_plan.h"
#include "bench/replies.h"
#include "core/conn.h"

enum load_tls { LOAD_PLAIN, LOAD_STARTTLS, LOAD_IMPLICIT_TLS };
enum load_mode { LOAD_NONE, LOAD_CLASSIC, LOAD_BEHIND, LOAD_BDAT, LOAD_MODES };

struct load_counts {
    uint64_t accepted, deferred, refused, lost; /* messages, by their end: 2xx, 4xx, 5xx, none */
    uint64_t recipients, recipients_deferred, recipients_refused;
    uint64_t bytes; /* of accepted messages */
    uint64_t connections, connect_failures;
    char first_refusal[64];   /* the beginning of the first 4xx or 5xx */
    struct histogram latency; /* of every 250 to a message */
};

/* Shared by all sessions. */
struct load {
    struct loop *loop;
    struct load_plan plan;
    struct load_counts counts;
    struct address to;
    enum load_mode mode;
    enum load_tls tls;
    struct tls_context *tls_context; /* any certificate will do */
    const char *login;               /* the base64 text for AUTH PLAIN, or NULL */
    uint64_t per_connection;         /* messages; 0: any number */
    uint64_t warmup;                 /* messages that are not counted */
    uint64_t ended;                  /* messages, of any end */
    uint64_t started_ns, counted_from_ns;
    struct list waiting; /* sessions that are free, while no message is due */
    unsigned sessions;   /* that are not over */
    unsigned connecting; /* connections without a greeting */
    struct list queued;  /* sessions that may not connect yet: too many do */
    struct timer due;    /* open loop: the next message, for a session that waits */
};

enum { LOAD_CONNECTING = 256 };

struct load_session;

/* All of them at once; the loop stops when the last is over. NULL: no memory. */
MUST_USE struct load_session *load_sessions_start(struct load *load, unsigned count);
void load_sessions_free(struct load *load, struct load_session *sessions, unsigned count);
