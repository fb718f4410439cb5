/* config: the configuration as a read-only snapshot, filled from one TOML file by one option table.
 *
 * `options.def` declares every option once: table, key, type with unit, default, range, a line of
 * documentation. From it come the parser, the checks (an unknown key is an error with file, line,
 * column and "did you mean"), `config dump` and the manual page. This header is the shape the
 * readers see.
 *
 * Durations are milliseconds, sizes bytes (KB = 1,024). Strings are NUL-terminated spans that live
 * as long as the snapshot. config_load never half succeeds, and reports every mistake it can see,
 * not only the first. */
#pragma once

#include "core/address.h"
#include "core/check.h"
#include "core/span.h"

enum service { SERVICE_SMTP, SERVICE_SUBMISSION, SERVICE_HTTP };

/* "N/unit" or "N/kunit" with unit s, m, h, d: N events per `period_ms`; count 0: no limit.
 * `burst` 0: the whole budget may be spent at once (GCRA, reference/kumo-formats 1.6). */
struct rate {
    uint64_t count, period_ms, burst;
};

enum listener_tls { LISTENER_PLAIN, LISTENER_STARTTLS, LISTENER_IMPLICIT };

struct config_listener {
    struct address address;
    enum service service;
    enum listener_tls tls;
    struct span certificate, key; /* paths; empty: none */
    struct span token_file;       /* path; empty: none */
    struct span client_ca;        /* path; empty: clients are asked for no certificate */
    struct network *relay_from, *proxy_from, *xclient_from;
    size_t relay_from_count, proxy_from_count, xclient_from_count;
    bool allow_plaintext_auth;
    unsigned line; /* in the file, for messages */
};

/* [[certificate]]: for clients that ask for one of these names (SNI). */
struct config_certificate {
    struct span *names; /* "mail.example.com", "*.example.com" */
    size_t name_count;
    struct span certificate, key; /* paths */
};

/* How safe a delivery must be (KumoMTA's names and meanings). */
enum tls_policy {
    TLS_OPPORTUNISTIC,          /* where STARTTLS is offered the certificate must be good */
    TLS_OPPORTUNISTIC_INSECURE, /* where it is offered; any certificate will do */
    TLS_REQUIRED,               /* never without, and the certificate must be good */
    TLS_REQUIRED_INSECURE,      /* never without; any certificate will do */
    TLS_DISABLED,
    TLS_AS_DELIVERY, /* of a route: as [delivery] says */
};

/* [route."example.net"]: takes the place of MX and address look-ups for this domain, if it names
 * hosts. */
struct config_route {
    struct span domain; /* lower case; "*" is the smart host */
    struct span *hosts; /* "name", "name:port", "192.0.2.1:25", "[::1]:2525", in the order given */
    size_t host_count;
    enum tls_policy enable_tls;
    unsigned line, column; /* in the file, for messages */
};

enum ip_strategy { IP_V4_AND_V6, IP_V4_ONLY, IP_V6_ONLY, IP_V6_THEN_V4, IP_V4_THEN_V6 };

/* [domain."example.com"]: what we do for it. */
struct config_domain {
    struct span name; /* lower case */
    bool relay_to;
    unsigned line, column;
};

struct config_delivery {
    uint16_t smtp_port;
    struct network *prohibited_hosts, *skip_hosts;
    size_t prohibited_host_count, skip_host_count;
    uint64_t connection_limit, max_deliveries_per_connection, max_recipients_per_batch;
    uint64_t consecutive_connection_failures_before_delay;
    struct rate max_message_rate, max_connection_rate;
    uint64_t connect_timeout_ms, banner_timeout_ms, ehlo_timeout_ms, mail_from_timeout_ms;
    uint64_t rcpt_to_timeout_ms, data_timeout_ms, data_dot_timeout_ms, rset_timeout_ms;
    uint64_t idle_timeout_ms, system_shutdown_timeout_ms;
    bool enable_pipelining, enable_chunking;
    enum tls_policy enable_tls;
    struct span tls_roots;   /* path */
    bool reconnect_in_clear; /* opportunistic_tls_reconnect_on_failed_handshake */
    uint64_t remember_broken_tls_ms, starttls_timeout_ms;
    enum ip_strategy ip_lookup_strategy;
    struct span ehlo_domain;       /* empty: hostname */
    struct address source_address; /* AF_UNSPEC: the kernel chooses */
};

struct config_bounce_stream {
    struct span tenant, campaign; /* empty: any */
    bool event_only;
};

/* [[dkim]]: a key that signs. */
struct config_dkim {
    struct span domain, selector, key; /* key: the path of its file */
    struct span *headers;
    size_t header_count;
    uint64_t expires_after_ms; /* 0: never */
    bool simple_body;          /* canonicalization = "relaxed/relaxed" | "relaxed/simple" */
    bool standard;             /* default = true */
    unsigned line;             /* in the file, for messages */
};

/* [journal] overload, in the order of its names */
enum journal_overload { OVERLOAD_BLOCK, OVERLOAD_COUNT };

struct config {
    struct span file; /* its path */
    struct span hostname, data_dir;
    uint64_t workers; /* 0: one per core */

    struct config_listener *listeners;
    size_t listener_count;
    struct config_certificate *certificates;
    size_t certificate_count;
    struct config_route *routes;
    size_t route_count;
    struct config_domain *domains;
    size_t domain_count;
    struct {
        struct span passwd_file; /* empty: nobody can log in */
        uint64_t hasher_threads, cache_lifetime_ms, failure_delay_ms, failure_delay_most_ms;
    } accounts;
    struct config_dkim *dkims;
    size_t dkim_count;

    struct {
        struct address *servers; /* none: those of /etc/resolv.conf */
        size_t server_count;
        uint64_t timeout_ms, cache_entries, max_ttl_ms, negative_ttl_ms, stale_ttl_ms;
    } dns;
    struct config_delivery delivery;
    struct {
        uint64_t *intervals_ms;
        size_t interval_count;
        double jitter;
        uint64_t max_age_ms;
    } retry;
    struct {
        bool event_only; /* mode = "dsn" | "event" */
        uint64_t delay_after_ms;
        struct config_bounce_stream *streams;
        size_t stream_count;
    } bounce;
    struct {
        struct span socket; /* default: DATA_DIR/control.socket */
        struct span group;  /* empty: the process's own */
    } control;
    struct {
        struct span tenant_header, campaign_header; /* empty: none */
    } policy;
    struct {
        bool verify;
        uint64_t timeout_ms;
    } authentication;
    struct {
        uint64_t memory, inbound_memory, loaded_memory, disk_reserve;
        uint64_t nursery_messages, nursery_bytes, nursery_age_ms, window_rows, loader_threads,
            expiry_sweep_ms;
        uint64_t segments, segment_size;
        bool clock_confirmed; /* the operator says that the wall clock is right */
    } queue;
    struct {
        uint64_t keep, keep_time_ms, keep_for_consumers, segment_size, segment_time_ms;
        unsigned overload; /* enum journal_overload */
        bool compress;
    } journal;
    struct {
        uint64_t message_size, header_size, recipients, received_headers, messages_per_connection;
        uint64_t login_failures, errors, junk_commands, line, command_line, connections,
            connections_per_address;
        uint64_t idle_ms, command_ms, data_rate, data_rate_window_ms, commit_ms;
        uint64_t tls_handshakes, tls_handshake_ms;
    } limits;
    struct {
        uint64_t entries, receive_buffers, receive_buffer_size;
        bool optional_features;
    } ring;
    struct {
        int level;        /* enum log_level */
        struct span file; /* empty: standard error */
    } log;

    struct config_memory *memory; /* private: everything above points into it */
};

enum { CONFIG_ERROR = 4096 };

/* 0 and a snapshot, or a negative errno (-EINVAL: the file says something wrong) and in `error` one
 * line per mistake, without the last line break: "file:line:column: what is wrong, and what would
 * be right". Blocks: for start-up and reload. The environment's RINGPOST_RING_OPTIONAL=0 overrides
 * [ring] optional_features. */
MUST_USE int config_load(const char *path, struct config **ret_config, char error[CONFIG_ERROR]);

/* The same for text in memory; `file` is only named in messages. Looks at nothing outside but the
 * machine's name, if `hostname` is missing. */
MUST_USE int config_parse(struct span text, const char *file, struct config **ret_config,
                          char error[CONFIG_ERROR]);

struct config *config_free(struct config *config);

/* False: `wanted` changes an option that only a restart can apply, and `error` names each of them;
 * the running snapshot must stay. */
MUST_USE bool config_reloadable(const struct config *running, const struct config *wanted,
                                char error[CONFIG_ERROR]);

/* The line of the file that sets an option of a table that is there once, like
 * "delivery.connection_limit"; 0: it has its default. */
unsigned config_where(const struct config *config, const char *option);

/* What differs: "table.key" (of a repeated table only its name), with both values as TOML; a list
 * of more than a line, and what is not set, is empty. */
typedef void config_on_change(void *context, const char *option, struct span before,
                              struct span after);
void config_changes(const struct config *before, const struct config *after,
                    config_on_change *on_change, void *context);

/* Every option with its value and its source line or "default", as TOML with comments that loads
 * again. */
void config_dump(const struct config *config, void (*line)(void *context, const char *text),
                 void *context);

/* The option table as reference documentation (Markdown). */
void config_document(void (*line)(void *context, const char *text), void *context);
