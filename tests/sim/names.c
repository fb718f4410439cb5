/* dns/resolver.h by script: "dN.test" has two mail hosts, "single.test" only an address,
 * "gone.test" does not exist, "null.test" takes no mail. Anything may fail for a while. */
#include "tests/sim/sim.h"

#include "core/clock.h"
#include "dns/resolver.h"

#include <errno.h>
#include <stdlib.h>

struct resolver {
    struct loop *loop;
};

int resolver_new(struct loop *loop, const struct resolver_options *options,
                 struct resolver **ret_resolver)
{
    struct resolver *resolver = calloc(1, sizeof *resolver);
    check(resolver);
    resolver->loop = loop;
    *ret_resolver = resolver;
    return 0;
}

struct resolver *resolver_free(struct resolver *resolver)
{
    free(resolver);
    return NULL;
}

void resolver_stop(struct resolver *resolver, struct op *stopped)
{
    loop_ready(resolver->loop, stopped, 0);
}

/* The tickets of queries that were cancelled meanwhile are recognised by their number. */
struct resolver_ticket {
    struct resolver *resolver;
    struct resolver_query *query; /* NULL: cancelled */
};

void resolver_cancel(struct resolver *resolver, struct resolver_query *query)
{
    if (query->op.state == OP_READY)
        loop_unready(resolver->loop, &query->op);
    if (query->ticket)
        query->ticket->query = NULL;
    query->ticket = NULL;
    query->op.state = OP_IDLE;
}

static struct answer *made(struct span name, const struct answer_record *records, uint16_t count,
                           enum rcode rcode)
{
    struct answer header = {
        .rcode = (uint8_t)rcode, .ttl_known = true, .ttl_s = 300, .count = count, .name = name};
    struct answer *answer = answer_new(&header, records);
    check(answer);
    return answer;
}

static bool ends_with(struct span name, struct span tail)
{
    return name.len >= tail.len && span_equals(span_skip(name, name.len - tail.len), tail);
}

static struct answer *mail_hosts(struct span name)
{
    static const struct answer_record null_mx = {0};
    if (span_equals(name, SPAN("null.test")))
        return made(name, &null_mx, 1, RCODE_NOERROR);
    if (name.data[0] != 'd')
        return made(name, NULL, 0, RCODE_NOERROR);
    static char hosts[2][300];
    struct answer_record records[2];
    for (uint16_t i = 0; i < 2; i++) {
        struct sink sink;
        sink_init(&sink, hosts[i], sizeof hosts[i]);
        sink_format(&sink, "mx%u.%.*s", i + 1, SPAN_FORMAT(name));
        records[i] = (struct answer_record){.preference = (uint16_t)(10 * (i + 1)),
                                            .name = sink_span(&sink)};
    }
    return made(name, records, 2, RCODE_NOERROR);
}

/* mxM.dN.test is 10.0.N.M, single.test is 10.0.99.1. */
static struct answer *address_of(struct span name)
{
    struct answer_record record = {.bits = {[10] = 0xff, [11] = 0xff, 10, 0, 99, 1}};
    if (span_starts_with(name, SPAN("mx"))) {
        record.bits[14] = (uint8_t)(name.data[5] - '0');
        record.bits[15] = (uint8_t)(name.data[2] - '0');
    }
    return made(name, &record, 1, RCODE_NOERROR);
}

static struct answer *answer_to(const struct resolver_query *query)
{
    struct span name = name_span(&query->name);
    if (ends_with(name, SPAN("gone.test")))
        return made(name, NULL, 0, RCODE_NXDOMAIN);
    if (query->type == RR_MX)
        return mail_hosts(name);
    if (query->type == RR_A)
        return address_of(name);
    return made(name, NULL, 0, RCODE_NOERROR);
}

static void on_answer(void *context, uint64_t argument)
{
    struct resolver_ticket *ticket = context;
    struct resolver_query *query = ticket->query;
    struct resolver *resolver = ticket->resolver;
    free(ticket);
    if (!query)
        return;
    query->ticket = NULL;
    if (world_fault(50)) {
        loop_ready(resolver->loop, &query->op, world_chance(500) ? -ETIMEDOUT : -EREMOTEIO);
        return;
    }
    query->answer = answer_to(query);
    loop_ready(resolver->loop, &query->op, 0);
}

void resolver_ask(struct resolver *resolver, struct resolver_query *query)
{
    check(query->op.state == OP_IDLE);
    struct resolver_ticket *ticket = calloc(1, sizeof *ticket);
    check(ticket);
    *ticket = (struct resolver_ticket){resolver, query};
    query->ticket = ticket;
    query->op.state = OP_BUSY;
    world_later(NS_PER_MS + world_draw(world_fault(30) ? 20 * NS_PER_S : 50 * NS_PER_MS), true,
                on_answer, ticket, 0);
}
