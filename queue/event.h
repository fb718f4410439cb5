/* event: one thing that happened to a message, and its JSON line.
 *
 * Field names and record types are those of KumoMTA's log record (reference/kumo-formats, section
 * 2), so that what reads those logs reads ours. Our own fields come on top:
 *
 *     queue side     row_due (Unix ms, the row's key on disk; recovery finds the row by it),
 *                    next_attempt (RFC 3339), may_duplicate, internal (the response was made here)
 *                    recovered (a Reception written after a crash: its peer and protocol are null)
 *     TLS            tls_verified (delivery side: the server's certificate was found good)
 *     attempt        attempt_started (RFC 3339), duration_ms
 *     AdminRebind    from_queue (`queue` is where it is now)
 *     reception      authentication (the results of RFC 8601, of mail from outside)
 *     DSN            envid, orcpt (as given), is_dsn (the message is a report of ours), dsn_id (the
 *                    report made for this event)
 *
 * The sequence number is not in the line: the journal's frame has it. Times carry milliseconds.
 * Pure: struct in, one line out, no newline. Peer text is escaped as JSON; bytes that are not UTF-8
 * become U+FFFD, so a line is always valid UTF-8 and holds no control character. */
#pragma once

#include "core/sink.h"
#include "queue/record.h"
#include "queue/verdict.h"

enum event_type {
    EVENT_RECEPTION,
    EVENT_DELIVERY,
    EVENT_TRANSIENT_FAILURE,
    EVENT_BOUNCE,
    EVENT_EXPIRATION,
    EVENT_ADMIN_BOUNCE,
    EVENT_REJECTION,
    EVENT_DELAYED,
    EVENT_ADMIN_REBIND,
    EVENT_TYPES,
};

enum {
    /* Recipients in one line. Whoever has more writes several lines, so none is left out. */
    EVENT_RECIPIENTS = 32,
    /* A sink of this capacity holds any line: strings are cut to bounds no legal value reaches. */
    EVENT_LINE_MAX = 160 * 1024,
};

struct event {
    enum event_type type;
    const struct envelope *envelope;
    const struct recipient *recipient; /* the first that this is about; NULL: all the envelope's */
    unsigned recipient_count;          /* with `recipient`: how many follow each other; 0 means 1 */
    struct span queue;
    struct span from_queue;            /* AdminRebind: where it was; empty: left out */
    const struct attempt *attempt;     /* NULL for receptions */
    const struct reply_summary *reply; /* NULL: 250, no text */
    struct address peer;               /* reception: the injector */
    struct span peer_name;
    uint64_t wall_ms; /* when it happened */
    uint32_t attempts;
    uint64_t row_due_ms;            /* due time in the row's key; 0: left out */
    uint64_t next_due_ms;           /* deferred: when it is tried again; 0: left out */
    uint64_t dsn_id;                /* the report that follows; 0: none */
    bool recovered;                 /* written by recovery: who injected it is not known any more */
    struct span node;               /* node id */
    struct span authentication;     /* reception: "spf=pass ...; dkim=..."; empty: left out */
    struct span user;               /* reception: the account that injected; empty: none */
    struct span reception_protocol; /* "ESMTP"; "DSN" for reports of ours; empty: null */
    struct span tls_version, tls_cipher; /* of a reception; empty: in the clear */
    struct span tls_subject;             /* likewise; empty: none that was found good */
};

/* The sink is `full` if its capacity is below EVENT_LINE_MAX and did not do. */
void event_write(const struct event *event, struct sink *sink);

/* "Reception", "Delivery", ... */
struct span event_type_name(enum event_type type);

/* What recovery needs of a line: enough to find the row, to settle it, and to make the report that
 * the crash prevented. Spans are unescaped into `scratch` (as long as the line is enough) or empty.
 */
struct event_summary {
    enum event_type type;
    uint64_t id;
    struct span recipient; /* empty if the line is about several */
    struct span queue;
    struct span peer_name;
    uint64_t row_due_ms, wall_ms, dsn_id; /* wall_ms in whole seconds */
    struct reply_summary reply;
    bool final; /* Delivery, Bounce, Expiration, AdminBounce */
};

/* False: not a line of event_write. Takes any bytes. */
bool event_read(struct span line, struct sink *scratch, struct event_summary *ret_summary);
