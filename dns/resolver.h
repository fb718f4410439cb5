/* resolver: one question to the name servers, one decoded answer, as an op with a deadline.
 * Replaced at link time by the simulator (and by tests).
 *
 * The real one (ares.c) is c-ares on the loop's ring: UDP with EDNS, TCP when an answer was cut,
 * the next server when one fails. No cache, no rules: cache.h and plan.h stand above. It never
 * answers from the call that asks.
 *
 * A query that ends without a usable answer ends with a negative errno, and all of them are
 * temporary: -ETIMEDOUT, -ECONNREFUSED (no server could be reached, or all of them said SERVFAIL,
 * REFUSED or NOTIMP), -EREMOTEIO (another rcode), -EBADMSG, -EPROTO, -EMSGSIZE (answer_decode's),
 * -ENOMEM, -EIO. */
#pragma once

#include "core/loop.h"
#include "dns/answer.h"

struct resolver;

struct resolver_options {
    const struct address *servers; /* none: the system's (/etc/resolv.conf, read here and now) */
    size_t server_count;
    uint64_t timeout_ms; /* of one query, all its tries together */
};

struct resolver_ticket;
struct resolver_query {
    struct op op;          /* result 0: `answer`, NOERROR or NXDOMAIN; else see above */
    struct answer *answer; /* the asker's, answer_free */
    struct name name;
    enum rr_type type;
    struct resolver_ticket *ticket; /* the resolver's */
};

MUST_USE int resolver_new(struct loop *loop, const struct resolver_options *options,
                          struct resolver **ret_resolver);

/* `query->op` is idle with its `done` set; name and type are filled in. Stays until done. */
void resolver_ask(struct resolver *resolver, struct resolver_query *query);

/* At once: the query is idle, `done` does not run, an answer that was ready is freed. */
void resolver_cancel(struct resolver *resolver, struct resolver_query *query);

/* No query may be open. `stopped` becomes ready when nothing of it is in flight any more; then
 * resolver_free. A resolver that was never asked may be freed at once. */
void resolver_stop(struct resolver *resolver, struct op *stopped);
struct resolver *resolver_free(struct resolver *resolver);
