/* event: one thing that happened to a message, and its JSON line.
 *
 * Field names are those of KumoMTA's log record (reference/kumo-formats, section 2), plus our own:
 * `seq` (per worker), `row_due`. Pure: struct in, one line out, no newline. Peer text is escaped
 * as JSON; bytes that are not UTF-8 become U+FFFD. */
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
    EVENT_TYPES,
};

struct event {
    enum event_type type;
    const struct envelope *envelope;
    const struct recipient *recipient; /* one event per recipient; NULL: all of the envelope's */
    struct span queue;
    const struct attempt *attempt;   /* NULL for receptions */
    const struct reply_summary *reply;
    struct address peer;             /* reception: the injector */
    struct span peer_name;
    uint64_t wall_ms;
    uint32_t attempts;
    struct span node;                /* node id */
    struct span reception_protocol;  /* "ESMTP" */
};

void event_write(const struct event *event, struct sink *sink);

/* The little that recovery needs: a line's type, id and recipient. False: not such a line. */
struct event_summary {
    enum event_type type;
    uint64_t id;
    struct span recipient; /* unescaped into `scratch` */
    bool final;            /* Delivery, Bounce, Expiration, AdminBounce */
};
bool event_read(struct span line, struct sink *scratch, struct event_summary *ret_summary);
