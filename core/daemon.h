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
 * daemon_snapshot.c the configuration and what is made from it
 * daemon_reload.c   another snapshot for everybody; doors opened and closed
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

/* A snapshot that was in use until `at_ns`; see daemon_snapshot.c. */
struct retired {
    struct list_link link;
    struct snapshot *snapshot;
    uint64_t at_ns;
};

struct daemon_change;

struct daemon {
    const struct config *config; /* the snapshot's */
    struct spool *spool;
    struct lane_limits limits;
    struct admission admission;
    struct snapshot *snapshot,
        *first;                   /* in use; of the start: who needs a restart points into it */
    struct list retired;          /* of struct retired: used until a moment ago */
    struct daemon_change *change; /* a reload that has not ended */
    struct list change_calls;     /* who waits for its end */
    bool shut;                    /* no mail is taken: `ringpost drain` */
    struct accounts accounts;     /* if there is a passwd_file, as the next */
    struct logins logins;
    int accounts_error; /* already said */
    unsigned ticks;
    struct hash_seed seed;

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
/* Takes over `config`. */
MUST_USE bool daemon_start(struct daemon *daemon, struct config *config);
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

/* What a worker is given, of the snapshot in use. */
void daemon_worker_settings(struct daemon *daemon, struct worker_settings *ret_settings);

/* ---- daemon_snapshot.c ---- */
typedef void daemon_tell(void *context, bool fatal, const char *text);
/* Takes over `config`. NULL: `tell` was told why. */
struct snapshot *daemon_make_snapshot(struct config *config, daemon_tell *tell, void *context);
/* The one before is released when nobody can be in the middle of anything with it. */
void daemon_use_snapshot(struct daemon *daemon, struct snapshot *snapshot);
void daemon_release_retired(struct daemon *daemon, bool all);

/* ---- daemon_reload.c ---- */
/* Starts; when all workers have done it daemon->change is NULL again. False: nothing has changed,
 * `error` says why, a line per reason. */
MUST_USE bool daemon_reload(struct daemon *daemon, struct sink *error);
MUST_USE bool daemon_set_doors(struct daemon *daemon, bool open, struct sink *error);
void daemon_change_fini(struct daemon *daemon);

/* ---- daemon_run.c ---- */
/* [log] file, opened anew. False: it cannot be, and the log says why. */
MUST_USE bool daemon_open_log(const struct config *config);
void daemon_run_init(struct daemon *daemon); /* its ops and timers */
void daemon_run_begin(struct daemon *daemon);
void daemon_begin_drain(struct daemon *daemon);   /* the way to the end; idempotent */
bool daemon_running(const struct daemon *daemon); /* ready to take mail */

/* ---- daemon_http.c ---- */
MUST_USE int daemon_open_http(struct daemon *daemon);
MUST_USE int daemon_listen_http(struct daemon *daemon, const struct config_listener *listener);

/* ---- daemon_status.c: the status page ---- */
/* Adds its routes; returns how many. */
unsigned daemon_status_routes(struct daemon *daemon, struct http_route *routes);
void daemon_status_end(struct daemon *daemon); /* when no worker's thread runs any more */

/* ---- daemon_tls.c ---- */
void daemon_look_at_tls(struct daemon *daemon);              /* each second's tick */
MUST_USE bool daemon_check_tls(const struct config *config); /* says what is wrong on stderr */

/* ---- daemon_control.c ---- */
void daemon_change_ended(struct daemon *daemon); /* tells who waits */
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
