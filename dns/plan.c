/* plan.c: one `plan_work` per open request, in two stages: the MX look-up (by domain only), then
 * the addresses of all its hosts at once; when the last look-up has ended, `judge` decides.
 *
 *     plan_find ---> MX ----> ADDRESSES ---> judge ---> finish: plan to the request, work freed
 *                     \-- NXDOMAIN, null MX, failure ---^
 *     plan_find_hosts, address literal -> ADDRESSES (often nothing to look up)
 *
 * A look-up that fails marks its host only; what counts is whether any host is left. The answer of
 * a look-up is borrowed from the cache, so what is needed of it is copied in its `ended`. */
#include "dns/plan.h"

#include "core/clock.h"
#include "dns/mx.h"
#include "dns/plan_work.h"

#include <errno.h>
#include <stdlib.h>

enum { FOLLOWS = 4, MIN_EXPIRY_MS = 5 * 1000 };

/* ---- the work's life ---- */

static struct plan_work *work_new(struct dns *dns, struct plan_request *request, enum origin origin,
                                  struct span subject)
{
    struct plan_work *work = calloc(1, sizeof(*work));
    if (!work)
        return NULL;
    work->dns = dns;
    work->request = request;
    work->origin = origin;
    work->expires_ns = dns->loop->now_ns + dns->options.max_ttl_ms * NS_PER_MS;
    struct sink sink;
    sink_init(&sink, work->subject, SUBJECT_BYTES);
    sink_printable(&sink, subject, SUBJECT_BYTES);
    list_append(&dns->works, &work->link);
    request->work = work;
    request->op.state = OP_BUSY;
    return work;
}

static void cancel_searches(struct plan_work *work)
{
    lookup_cancel(&work->mx.lookup);
    for (size_t i = 0; work->searches && i < 2 * work->count; i++)
        lookup_cancel(&work->searches[i].lookup);
    work->open = 0;
}

void plan_work_free(struct plan_work *work)
{
    cancel_searches(work);
    loop_disarm(work->dns->loop, &work->deadline);
    list_remove(&work->link);
    work->request->work = NULL;
    free(work->candidates);
    free(work->searches);
    free(work);
}

static void finish(struct plan_work *work, enum plan_status status, bool temporary)
{
    struct plan_request *request = work->request;
    struct loop *loop = work->dns->loop;
    uint64_t soonest_ns = loop->now_ns + MIN_EXPIRY_MS * NS_PER_MS;
    if (work->expires_ns < soonest_ns)
        work->expires_ns = soonest_ns;
    struct plan *plan = plan_new(work, status, temporary);
    plan_work_free(work);
    request->plan = plan;
    loop_ready(loop, &request->op, plan ? 0 : -ENOMEM);
}

static void fail(struct plan_work *work, int error)
{
    work->error = error;
    finish(work, PLAN_TEMPORARY, true);
}

/* ---- the end: which hosts are left ---- */

struct tally {
    bool usable, failed, prohibited, skipped, no_domain, us;
};

static uint32_t our_preference(const struct plan_work *work)
{
    uint32_t best = UINT32_MAX;
    if (work->origin == BY_ROUTE)
        return best;
    for (size_t i = 0; i < work->count; i++) {
        const struct candidate *candidate = &work->candidates[i];
        if (candidate->preference < best && candidate_is_us(candidate, &work->dns->options))
            best = candidate->preference;
    }
    return best;
}

/* RFC 5321 5.1: where we are an MX, only better ones may be tried. */
static struct tally choose_all(struct plan_work *work)
{
    struct tally tally = {0};
    uint32_t ours = our_preference(work);
    tally.us = ours != UINT32_MAX;
    for (size_t i = 0; i < work->count; i++) {
        struct candidate *candidate = &work->candidates[i];
        if (candidate->preference >= ours)
            continue;
        candidate_choose(candidate, &work->dns->options, work->origin != BY_ROUTE,
                         &work->dns->loop->random);
        tally.usable |= candidate->chosen_count > 0;
        tally.failed |= candidate->failed;
        tally.prohibited |= candidate->prohibited;
        tally.skipped |= candidate->skipped;
        tally.no_domain |= candidate->no_domain;
    }
    return tally;
}

static void judge(struct plan_work *work)
{
    struct tally tally = choose_all(work);
    if (tally.usable)
        finish(work, PLAN_OK, false);
    else if (tally.failed)
        finish(work, PLAN_TEMPORARY, true);
    else if (tally.us)
        finish(work, PLAN_LOOP, false);
    else if (tally.prohibited)
        finish(work, PLAN_PROHIBITED, false);
    else if (work->implicit && tally.no_domain)
        finish(work, PLAN_NO_DOMAIN, false);
    else /* a route without hosts is the operator's mistake: no reason to bounce */
        finish(work, PLAN_NO_ADDRESS, tally.skipped || work->origin == BY_ROUTE);
}

/* ---- look-ups ---- */

static void believe(struct plan_work *work, const struct lookup *lookup)
{
    if (lookup->expires_ns < work->expires_ns)
        work->expires_ns = lookup->expires_ns;
}

static void search_start(struct search *search, const struct name *name, lookup_ended *ended)
{
    search->work->open++;
    cache_find(&search->work->dns->cache, &search->lookup, name, search->type, ended);
}

/* The answer only named another name (a CNAME whose target this server does not know). */
static bool search_follow(struct search *search, lookup_ended *ended)
{
    struct name name;
    if (++search->follows > FOLLOWS || !name_parse(search->lookup.answer->name, &name))
        return false;
    search_start(search, &name, ended);
    return true;
}

static void on_address_ended(struct lookup *lookup)
{
    struct search *search = container_of(lookup, struct search, lookup);
    struct plan_work *work = search->work;
    work->open--;
    believe(work, lookup);
    if (!lookup->answer) {
        search->candidate->failed = true;
        work->error = lookup->error;
    } else if (!lookup->answer->follow) {
        candidate_add(search->candidate, lookup->answer);
    } else if (!search_follow(search, on_address_ended)) {
        search->candidate->failed = true;
        work->error = -ELOOP;
    }
    if (work->open == 0)
        judge(work);
}

static bool candidates_new(struct plan_work *work, size_t count)
{
    work->candidates = calloc(count ? count : 1, sizeof(*work->candidates));
    work->searches = calloc(count ? 2 * count : 1, sizeof(*work->searches));
    if (!work->candidates || !work->searches)
        return false;
    work->count = count;
    return true;
}

static void search_candidate(struct plan_work *work, size_t index, enum rr_type type)
{
    if (!ip_strategy_wants(work->dns->options.ip_lookup_strategy, type))
        return;
    struct search *search = &work->searches[2 * index + (type == RR_AAAA)];
    search->work = work;
    search->candidate = &work->candidates[index];
    search->type = type;
    search_start(search, &search->candidate->name, on_address_ended);
}

/* Looks up every candidate that has no address yet. */
static void search_addresses(struct plan_work *work)
{
    for (size_t i = 0; i < work->count; i++) {
        const struct candidate *candidate = &work->candidates[i];
        if (candidate->v4_count > 0 || candidate->v6_count > 0 || candidate->name.len == 0)
            continue;
        search_candidate(work, i, RR_A);
        search_candidate(work, i, RR_AAAA);
    }
    if (work->open == 0)
        judge(work);
}

static void set_site(struct plan_work *work, struct span site)
{
    work->site_len = site.len;
    memcpy(work->site, site.data, site.len);
}

/* Our own name without MX is us by name, whatever address it has: behind a translated address, no
 * interface would tell. */
static void use_implicit_mx(struct plan_work *work)
{
    if (span_equals_any_case(name_span(&work->domain), work->dns->options.hostname)) {
        finish(work, PLAN_LOOP, false);
        return;
    }
    if (!candidates_new(work, 1)) {
        fail(work, -ENOMEM);
        return;
    }
    work->implicit = true;
    work->candidates[0].name = work->domain;
    work->candidates[0].port = work->dns->options.smtp_port;
    set_site(work, name_span(&work->domain));
    search_addresses(work);
}

static void use_hosts(struct plan_work *work, const struct mx *mx)
{
    if (!candidates_new(work, mx->count < PLAN_HOSTS ? mx->count : PLAN_HOSTS)) {
        fail(work, -ENOMEM);
        return;
    }
    for (size_t i = 0; i < work->count; i++) {
        work->candidates[i].name = mx->hosts[i].name;
        work->candidates[i].preference = mx->hosts[i].preference;
        work->candidates[i].port = work->dns->options.smtp_port;
    }
    set_site(work, span_of(mx->site, mx->site_len));
    search_addresses(work);
}

static void use_mx(struct plan_work *work, const struct answer *answer)
{
    struct mx mx;
    mx_read(answer, work->dns->options.hostname, &work->dns->loop->random, &mx);
    work->authentic = answer->authentic;
    switch (mx.kind) {
    case MX_HOSTS:
        use_hosts(work, &mx);
        break;
    case MX_NONE:
        use_implicit_mx(work);
        break;
    case MX_NO_DOMAIN:
        finish(work, PLAN_NO_DOMAIN, false);
        break;
    case MX_NULL:
        finish(work, PLAN_NULL_MX, false);
        break;
    case MX_US:
        finish(work, PLAN_LOOP, false);
        break;
    case MX_UNUSABLE:
        finish(work, PLAN_NO_ADDRESS, false);
        break;
    }
}

static void on_mx_ended(struct lookup *lookup)
{
    struct search *search = container_of(lookup, struct search, lookup);
    struct plan_work *work = search->work;
    work->open--;
    believe(work, lookup);
    if (!lookup->answer)
        fail(work, lookup->error);
    else if (!lookup->answer->follow)
        use_mx(work, lookup->answer);
    else if (!search_follow(search, on_mx_ended))
        fail(work, -ELOOP);
}

/* What is open by now has failed; what was found is judged. */
static void on_deadline(struct op *op)
{
    struct plan_work *work = container_of(op, struct plan_work, deadline.op);
    work->error = -ETIMEDOUT;
    work->expires_ns = work->dns->loop->now_ns;
    for (size_t i = 0; work->searches && i < 2 * work->count; i++)
        if (lookup_open(&work->searches[i].lookup))
            work->searches[i].candidate->failed = true;
    cancel_searches(work);
    if (work->candidates)
        judge(work);
    else
        fail(work, -ETIMEDOUT);
}

static void arm_deadline(struct plan_work *work)
{
    timer_init(&work->deadline, on_deadline);
    loop_arm(work->dns->loop, &work->deadline, PLAN_DEADLINE_MS * NS_PER_MS);
}

/* ---- the three beginnings ---- */

static struct plan_work *begin(struct dns *dns, struct plan_request *request, enum origin origin,
                               struct span subject)
{
    check(op_idle(&request->op));
    request->plan = NULL;
    request->work = NULL;
    struct plan_work *work = dns->stopping ? NULL : work_new(dns, request, origin, subject);
    if (work)
        arm_deadline(work);
    else
        loop_ready(dns->loop, &request->op, dns->stopping ? -ECANCELED : -ENOMEM);
    return work;
}

static bool candidate_set_address(struct candidate *candidate, const struct address *address)
{
    struct plan_address compact = {.port = address_port(address)};
    if (!address_bits(address, compact.bits))
        return false;
    struct sink sink;
    sink_init(&sink, candidate->name.text, NAME_BYTES);
    address_put_host(address, &sink);
    candidate->name.len = (uint8_t)sink.len;
    candidate_add_address(candidate, &compact);
    return true;
}

/* RFC 5321 4.1.3. `inside`: without the brackets; no port may hide in it. */
static bool parse_literal(struct span inside, uint16_t port, struct address *ret_address)
{
    bool v6 = span_starts_with_any_case(inside, SPAN("IPv6:"));
    if (v6)
        inside = span_skip(inside, 5);
    if (inside.len == 0 || inside.data[0] == '[' || !address_parse(inside, port, ret_address))
        return false;
    if (v6)
        return ret_address->family == AF_INET6;
    return ret_address->family == AF_INET && span_find(inside, ':') == inside.len;
}

static void find_literal(struct plan_work *work, struct span inside)
{
    struct address address;
    if (!parse_literal(inside, work->dns->options.smtp_port, &address)) {
        finish(work, PLAN_NO_DOMAIN, false);
        return;
    }
    if (!candidates_new(work, 1)) {
        fail(work, -ENOMEM);
        return;
    }
    if (candidate_set_address(&work->candidates[0], &address))
        set_site(work, name_span(&work->candidates[0].name));
    search_addresses(work);
}

void plan_find(struct dns *dns, struct plan_request *request, struct span domain)
{
    bool literal = domain.len > 2 && domain.data[0] == '[' && domain.data[domain.len - 1] == ']';
    struct plan_work *work = begin(dns, request, literal ? BY_ADDRESS : BY_DOMAIN, domain);
    if (!work)
        return;
    if (literal) {
        find_literal(work, span_first(span_skip(domain, 1), domain.len - 2));
        return;
    }
    if (!name_parse(domain, &work->domain)) {
        finish(work, PLAN_NO_DOMAIN, false);
        return;
    }
    work->mx.work = work;
    work->mx.type = RR_MX;
    search_start(&work->mx, &work->domain, on_mx_ended);
}

/* What cannot be parsed stays a candidate without name and address: it falls out at the end. */
static void set_route_host(struct candidate *candidate, struct span text, uint16_t smtp_port)
{
    struct address address;
    struct span host;
    if (address_parse(text, smtp_port, &address))
        candidate_set_address(candidate, &address);
    else if (address_split_host(text, smtp_port, &host, &candidate->port))
        (void)name_parse(host, &candidate->name);
}

void plan_find_hosts(struct dns *dns, struct plan_request *request, const struct span *hosts,
                     size_t count)
{
    struct plan_work *work = begin(dns, request, BY_ROUTE, count ? hosts[0] : SPAN("a route"));
    if (!work)
        return;
    if (!candidates_new(work, count < PLAN_HOSTS ? count : PLAN_HOSTS)) {
        fail(work, -ENOMEM);
        return;
    }
    for (size_t i = 0; i < work->count; i++) {
        work->candidates[i].preference = (uint16_t)i;
        set_route_host(&work->candidates[i], hosts[i], dns->options.smtp_port);
    }
    struct sink sink;
    sink_init(&sink, work->site, sizeof(work->site));
    site_route(hosts, count, &sink);
    work->site_len = sink.len;
    search_addresses(work);
}

void plan_cancel(struct dns *dns, struct plan_request *request)
{
    if (op_idle(&request->op))
        return;
    if (request->op.state == OP_READY)
        loop_unready(dns->loop, &request->op);
    request->op.state = OP_IDLE;
    if (request->work)
        plan_work_free(request->work);
    request->plan = plan_free(request->plan);
}
