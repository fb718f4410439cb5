/* dns.c: resolver, cache and open requests of one loop, put together and taken apart. */
#include "dns/plan_work.h"
#include "dns/question.h"

#include <errno.h>
#include <stdlib.h>

int dns_new(struct loop *loop, const struct dns_options *options, struct dns **ret_dns)
{
    struct dns *dns = calloc(1, sizeof(*dns));
    if (!dns)
        return -ENOMEM;
    const struct resolver_options resolver_options = {
        .servers = options->servers,
        .server_count = options->server_count,
        .timeout_ms = options->timeout_ms,
    };
    dns->loop = loop;
    dns->options = *options;
    list_init(&dns->works);
    list_init(&dns->questions);
    int error = resolver_new(loop, &resolver_options, &dns->resolver);
    if (error)
        goto failed;
    dns->cache = (struct cache){
        .loop = loop,
        .resolver = dns->resolver,
        .metrics = options->metrics,
        .max_entries = options->cache_entries,
        .max_ttl_ms = options->max_ttl_ms,
        .negative_ttl_ms = options->negative_ttl_ms,
        .stale_ttl_ms = options->stale_ttl_ms,
    };
    error = cache_init(&dns->cache);
    if (error)
        goto failed;
    *ret_dns = dns;
    return 0;
failed:
    resolver_free(dns->resolver);
    free(dns);
    return error;
}

void dns_reconfigure(struct dns *dns, const struct dns_options *options)
{
    struct dns_options rules = dns->options;
    rules.hostname = options->hostname;
    rules.own_addresses = options->own_addresses;
    rules.own_address_count = options->own_address_count;
    rules.prohibited_hosts = options->prohibited_hosts;
    rules.prohibited_host_count = options->prohibited_host_count;
    rules.skip_hosts = options->skip_hosts;
    rules.skip_host_count = options->skip_host_count;
    rules.ip_lookup_strategy = options->ip_lookup_strategy;
    rules.smtp_port = options->smtp_port;
    dns->options = rules;
}

void dns_stop(struct dns *dns, struct op *stopped)
{
    check(!dns->stopping);
    dns->stopping = true;
    stopped->state = OP_BUSY;
    list_for_each (&dns->works, link, following) {
        struct plan_work *work = container_of(link, struct plan_work, link);
        struct plan_request *request = work->request;
        plan_work_free(work);
        loop_ready(dns->loop, &request->op, -ECANCELED);
    }
    questions_end(dns);
    cache_fini(&dns->cache);
    resolver_stop(dns->resolver, stopped);
}

struct dns *dns_free(struct dns *dns)
{
    if (!dns)
        return NULL;
    check(list_empty(&dns->works));
    if (!dns->stopping)
        cache_fini(&dns->cache);
    resolver_free(dns->resolver);
    free(dns);
    return NULL;
}
