/* daemon: what the files of the composition root share (core/daemon_*.c, core/main.c): the only
 * ones that see everything.
 *
 * main.c      the command line; start, run, end
 * daemon_start.c    start-up and shutdown, straight-line code in the main thread
 * daemon_run.c      the control thread: signals, the second's tick, the drain
 * daemon_http.c     the HTTP listeners: /metrics, /healthz, /readyz
 * daemon_status.c   the status page and what it asks for; daemon_page.c holds its files
 * daemon_accounts.c who can log in: read, checked, looked at
 * daemon_tls.c      certificates: opened, checked, looked at
 * daemon_control.c  the control socket and what is asked of the daemon as a whole
 */
#pragma once

#include "core/clock.h"
#include "core/config.h"
#include "core/control.h"
#include "core/http.h"
#include "core/log.h"
#include "core/login.h"
#include "core/metrics.h"
#include "core/tls_services.h"
#include "queue/spool.h"
#include "smtp/dkim_keys.h"
#include "smtp/worker.h"

#include <pthread.h>

enum { TICK_MS = 1000, HTTP_ROUTES = 8 };

struct daemon {
    struct config *config;
    struct dkim_keys dkim_keys;
    struct spool *spool;
    struct lane_limits limits;
    struct admission admission;
    struct tls_services tls;
    struct accounts accounts; /* if there is a passwd_file, as the next */
    struct logins logins;
    int accounts_error; /* already said */
    unsigned ticks;
    struct hash_seed seed;
    struct address *own_addresses;
    size_t own_address_count;

    struct worker **workers;
    pthread_t *threads;
    unsigned worker_count, thread_count;

    struct loop control;
    struct metrics metrics; /* the control thread's own */
    struct http_server http;
    struct http_route http_routes[HTTP_ROUTES];
    char http_token[HTTP_TOKEN_MAX + 2];
    struct list status_calls; /* requests of the status page that are being answered */
    unsigned status_call_count;
    struct control_server socket;
    struct control_worker *socket_workers;
    struct op signal_ready, http_stopped, socket_stopped;
    int signal_fd;
    struct timer tick, drain_poll;
    uint64_t drain_until_ns;
    bool draining;
    unsigned closing; /* servers of the control thread that have not stopped */
    uint64_t started_ms, config_read_ms;
    const char *path; /* of the configuration file */
    int queue_error;  /* what ended the queue; 0: nothing did */
    bool disk_full_said, clock_alarm_said;
    uint64_t journal_dropped_said, journal_errors_said;
    unsigned segments_lost_said;
};

/* ---- daemon_start.c ---- */
struct config *daemon_load_config(const char *path);
MUST_USE bool daemon_start(struct daemon *daemon);
/* Ends what daemon_start has begun, when the control loop has ended. False: something had failed.
 */
MUST_USE bool daemon_end(struct daemon *daemon);
/* Says in the log why something could not be opened. */
void daemon_say_why(const struct daemon *daemon, int error, const char *step,
                    const struct config_listener *listener);

/* ---- daemon_accounts.c ---- */
MUST_USE bool daemon_open_accounts(struct daemon *daemon);
void daemon_close_accounts(struct daemon *daemon);
void daemon_look_at_accounts(struct daemon *daemon); /* each second */
MUST_USE bool daemon_check_accounts(const struct config *config);

/* ---- daemon_run.c ---- */
void daemon_run_init(struct daemon *daemon); /* its ops and timers */
void daemon_run_begin(struct daemon *daemon);
void daemon_begin_drain(struct daemon *daemon);   /* the way to the end; idempotent */
bool daemon_running(const struct daemon *daemon); /* ready to take mail */

/* ---- daemon_http.c ---- */
MUST_USE int daemon_open_http(struct daemon *daemon);

/* ---- daemon_status.c: the status page ---- */
/* Adds its routes; returns how many. */
unsigned daemon_status_routes(struct daemon *daemon, struct http_route *routes);
void daemon_status_end(struct daemon *daemon); /* when no worker's thread runs any more */

/* ---- daemon_tls.c ---- */
MUST_USE bool daemon_open_tls(struct daemon *daemon);
void daemon_look_at_tls(struct daemon *daemon);              /* each second's tick */
MUST_USE bool daemon_check_tls(const struct config *config); /* says what is wrong on stderr */

/* ---- daemon_control.c ---- */
MUST_USE int daemon_open_socket(struct daemon *daemon);
static inline struct daemon *daemon_of(const struct control_call *call)
{
    return call->owner;
}

/* ---- families of commands; each ends with a row without noun ---- */
extern const struct control_handler daemon_queue_handlers[], daemon_lane_handlers[],
    daemon_job_handlers[], daemon_suspend_handlers[], daemon_why_handlers[],
    daemon_trace_handlers[], daemon_domain_handlers[];

/* ---- daemon_queue.c ---- */
struct filter;
/* What FILTER_ARGUMENTS say; spans are those of the call. */
void daemon_read_filter(const struct control_call *call, struct filter *ret_filter);
