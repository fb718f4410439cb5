/* plan_build.c: the plan's parts lie in one block behind it (hosts, addresses, texts), measured
 * first; and the reply of every status in one table. */
#include "dns/plan_work.h"

#include <errno.h>
#include <stdlib.h>

struct reply {
    uint16_t code;
    uint8_t class;
    uint16_t subject, detail;
    const char *before, *behind; /* of the domain */
};

static struct reply reply_for(enum plan_status status, bool temporary)
{
    static const struct reply replies[] = {
        [PLAN_TEMPORARY] = {451, 4, 4, 3, "DNS look-up of the mail servers of ", " failed: "},
        [PLAN_NO_DOMAIN] = {550, 5, 1, 2, "Domain ", " does not exist"},
        [PLAN_NULL_MX] = {556, 5, 1, 10, "Domain ", " accepts no mail (null MX)"},
        [PLAN_NO_ADDRESS] = {550, 5, 4, 4, "No mail server of ", " has a usable address"},
        [PLAN_LOOP] = {554, 5, 4, 6, "Mail for ", " loops: its best mail server is this one"},
        [PLAN_PROHIBITED] = {550, 5, 4, 4, "Mail servers of ", " are in a prohibited network"},
    };
    struct reply reply = replies[status];
    if (status == PLAN_NO_ADDRESS && temporary) {
        reply.code = 451;
        reply.class = 4;
    }
    return reply;
}

static const char *failure_text(int error)
{
    switch (-error) {
    case ETIMEDOUT:
        return "time-out";
    case ECONNREFUSED:
        return "no name server answers";
    case EREMOTEIO:
        return "server failure";
    case ENOMEM:
        return "out of memory";
    default:
        return "unusable answer";
    }
}

static void write_reply(const struct plan_work *work, bool temporary, struct plan *plan)
{
    struct reply reply = reply_for(plan->status, temporary);
    plan->code = reply.code;
    plan->enhanced.class = reply.class;
    plan->enhanced.subject = reply.subject;
    plan->enhanced.detail = reply.detail;
    struct sink sink;
    plan->text = (char *)(plan + 1);
    sink_init(&sink, plan->text, PLAN_TEXT - 1);
    sink_format(&sink, "%s%s%s%s", reply.before, work->subject, reply.behind,
                plan->status == PLAN_TEMPORARY ? failure_text(work->error) : "");
}

struct plan_size {
    size_t hosts, addresses, text;
};

static struct plan_size measure(const struct plan_work *work)
{
    struct plan_size size = {.text = work->site_len};
    for (size_t i = 0; i < work->count; i++) {
        const struct candidate *candidate = &work->candidates[i];
        if (candidate->chosen_count == 0)
            continue;
        size.hosts++;
        size.addresses += candidate->chosen_count;
        size.text += candidate->name.len;
    }
    return size;
}

static struct span append(char **at, struct span span)
{
    struct span copy = span_of(*at, span.len);
    if (span.len > 0)
        memcpy(*at, span.data, span.len);
    *at += span.len;
    return copy;
}

static void place_hosts(const struct plan_work *work, const struct plan_size *size,
                        struct plan *plan)
{
    struct plan_host *host = (struct plan_host *)(plan + 1);
    struct plan_address *address = (struct plan_address *)(host + size->hosts);
    char *text = (char *)(address + size->addresses);
    plan->hosts = host;
    plan->host_count = size->hosts;
    plan->site = append(&text, span_of(work->site, work->site_len));
    for (size_t i = 0; i < work->count; i++) {
        const struct candidate *candidate = &work->candidates[i];
        if (candidate->chosen_count == 0)
            continue;
        *host++ = (struct plan_host){
            .name = append(&text, name_span(&candidate->name)),
            .preference = candidate->preference,
            .authentic = work->origin == BY_DOMAIN && !candidate->unauthentic,
            .address_count = candidate->chosen_count,
            .addresses = address,
        };
        for (size_t j = 0; j < candidate->chosen_count; j++)
            *address++ = candidate->chosen[j];
    }
}

/* The plan's parts in one block behind it: hosts, addresses, texts. */
struct plan *plan_new(const struct plan_work *work, enum plan_status status, bool temporary)
{
    struct plan_size size =
        status == PLAN_OK ? measure(work) : (struct plan_size){.text = PLAN_TEXT};
    struct plan *plan = calloc(1, sizeof(*plan) + size.hosts * sizeof(struct plan_host) +
                                      size.addresses * sizeof(struct plan_address) + size.text);
    if (!plan)
        return NULL;
    plan->status = status;
    plan->authentic = work->authentic;
    plan->expires_ns = work->expires_ns;
    if (status == PLAN_OK)
        place_hosts(work, &size, plan);
    else
        write_reply(work, temporary, plan);
    return plan;
}

struct plan *plan_free(struct plan *plan)
{
    free(plan);
    return NULL;
}
