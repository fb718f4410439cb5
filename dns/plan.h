/* plan: from a domain to the hosts that take its mail, in the order in which to try them.
 *
 * A lane asks with plan_find (a domain, by DNS) or plan_find_hosts (a configured route) and gets
 * one `struct plan`: a status, and either hosts with addresses that may be dialled or the reply
 * that the recipients get. All rules of RFC 5321 5.1 and RFC 7505 are applied here, once:
 * preference order, shuffle inside one preference, implicit MX only where there is no MX record,
 * null MX, "the MX is us", prohibited networks. Whoever dials looks at nothing but the plan.
 *
 * Use: op_init(&request->op, on_plan); plan_find(dns, request, domain); in on_plan take
 * request->plan and plan_free it when done with it. A plan is a private copy: it shares nothing
 * with the cache and may be kept; after `expires_ns` one asks again (cheap: the cache is warm).
 *
 * One `struct dns` per loop: resolver, cache and rules. It blocks nowhere and logs nothing.
 *
 * Limits: PLAN_HOSTS host names are looked up per plan (the best of at most 64 MX records that the
 * decoder keeps), PLAN_ADDRESSES addresses per host, PLAN_DEADLINE_MS for all of it. When the
 * deadline passes, what was found by then is the plan. */
#pragma once

#include "core/config.h"
#include "core/loop.h"
#include "core/metrics.h"

enum {
    PLAN_HOSTS = 20,
    PLAN_ADDRESSES = 16,
    PLAN_DEADLINE_MS = 60 * 1000,
    PLAN_TEXT = 400,
};

enum plan_status {
    PLAN_OK,         /* host_count >= 1, every host has at least one address */
    PLAN_TEMPORARY,  /* 451 4.4.3: SERVFAIL, time-out, a lying server, out of memory */
    PLAN_NO_DOMAIN,  /* 550 5.1.2: NXDOMAIN, or not a domain name at all */
    PLAN_NULL_MX,    /* 556 5.1.10: RFC 7505 */
    PLAN_NO_ADDRESS, /* 550 5.4.4: nothing usable; 451 4.4.4 if only skip_hosts was in the way */
    PLAN_LOOP,       /* 554 5.4.6: we are the best MX */
    PLAN_PROHIBITED, /* 550 5.4.4: only addresses in prohibited_hosts */
};

/* An address, compact: plans are kept by the thousand. */
struct plan_address {
    uint8_t bits[16]; /* IPv4 as ::ffff:a.b.c.d */
    uint16_t port;
};

struct plan_host {
    struct span name; /* lower case, no dot at the end; of an address: its text without port */
    uint16_t preference;
    bool authentic; /* the resolver says that its addresses are signed (AD) */
    uint8_t address_count;
    const struct plan_address *addresses; /* in the order to try */
};

struct plan {
    enum plan_status status;
    uint16_t code; /* the reply for recipients; 0 if PLAN_OK */
    struct {       /* RFC 3463, RFC 7505 */
        uint8_t class;
        uint16_t subject, detail;
    } enhanced;
    char *text; /* one line of printable ASCII, behind the plan; NULL if PLAN_OK */

    struct span site; /* site name (MX roll-up); the same on every worker. Empty unless PLAN_OK */
    bool authentic;   /* AD on the MX answer */
    uint64_t expires_ns;           /* monotonic; then ask again */
    const struct plan_host *hosts; /* in the order to try */
    size_t host_count;
};

struct dns;
struct plan_work;
struct plan_request {
    struct op op; /* result 0: `plan` is there; -ENOMEM, -ECANCELED (dns_stop): it is not */
    struct plan *plan;
    struct plan_work *work; /* private */
};

struct dns_options {
    const struct address *servers; /* with ports; none: those of /etc/resolv.conf */
    size_t server_count;
    uint64_t timeout_ms; /* of one query, all its tries together */
    uint64_t cache_entries, max_ttl_ms, negative_ttl_ms, stale_ttl_ms;

    struct span hostname;                /* our name: an MX of this name is us */
    const struct address *own_addresses; /* an MX there is us. Port 0: any port, else only that */
    size_t own_address_count;
    const struct network *prohibited_hosts, *skip_hosts;
    size_t prohibited_host_count, skip_host_count;
    enum ip_strategy ip_lookup_strategy;
    uint16_t smtp_port;
    struct metrics *metrics; /* may be NULL */
};

/* What it is given by pointer (options' arrays, hostname) must outlive the dns. 0, -ENOMEM, or the
 * error of the resolver's library (-EIO). */
MUST_USE int dns_new(struct loop *loop, const struct dns_options *options, struct dns **ret_dns);

/* From now on the rules are those of `options` (addresses, networks, hostname, port, strategy);
 * servers, time-outs and cache stay as they are. What the old ones pointed to is not needed any
 * more. */
void dns_reconfigure(struct dns *dns, const struct dns_options *options);

/* Every request still open ends with -ECANCELED; `stopped` (idle, its `done` set) is busy from now
 * on and becomes ready when nothing is in flight. */
void dns_stop(struct dns *dns, struct op *stopped);
/* Only after `stopped`, or if nothing was ever asked. Takes NULL, returns NULL. */
struct dns *dns_free(struct dns *dns);

/* `domain`: any case, a dot at the end allowed, an A-label form (RFC 5890) where it is
 * internationalised, or an address literal "[192.0.2.1]", "[IPv6:2001:db8::1]". Copied. The
 * request must be idle. */
void plan_find(struct dns *dns, struct plan_request *request, struct span domain);

/* A configured route: "name", "name:port", "192.0.2.1:25", "[::1]:2525", tried in the order given,
 * at most PLAN_HOSTS. The operator said so: neither "us" nor prohibited_hosts is looked at.
 * No MX look-up. The site is "mx_list:h1,h2". Copied. */
void plan_find_hosts(struct dns *dns, struct plan_request *request, const struct span *hosts,
                     size_t count);

/* At once: the request is idle afterwards and its `done` does not run; a plan that was ready but
 * not dispatched is freed. Does nothing to an idle request. */
void plan_cancel(struct dns *dns, struct plan_request *request);

struct plan *plan_free(struct plan *plan);

/* For io_connect and friends. */
struct address plan_address(const struct plan_address *address);
