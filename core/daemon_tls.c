/* TLS as the daemon sees it: opened at start, looked at by the control thread, told in the log. */
#include "core/daemon.h"

#include <stdio.h>

enum { LOOK_TICKS = 2 };

/* A line of the log per line of `text`. */
static void log_lines(enum log_level level, struct span name, const char *text)
{
    struct span rest = span_string(text);
    while (rest.len > 0) {
        struct span line = span_first(rest, span_find(rest, '\n'));
        rest = span_skip(rest, line.len + 1);
        log_write(level, "tls: %.*s: %.*s", SPAN_FORMAT(name), SPAN_FORMAT(line));
    }
}

static void tell_changed(void *context, struct span name, enum tls_look what, const char *text)
{
    if (what == TLS_RENEWED)
        log_notice("tls: %.*s: the files have changed and are in use now", SPAN_FORMAT(name));
    log_lines(what == TLS_REFUSED ? LOG_ERROR : LOG_WARNING, name, text);
    if (what == TLS_REFUSED)
        log_error("tls: %.*s: the files have changed and are no good: what was in use stays in use",
                  SPAN_FORMAT(name));
}

void daemon_look_at_tls(struct daemon *daemon)
{
    if (++daemon->ticks % LOOK_TICKS == 0)
        tls_services_look(&daemon->snapshot->tls, tell_changed, NULL);
}

static void print(void *context, struct span name, enum tls_look what, const char *text)
{
    struct span rest = span_string(text);
    while (rest.len > 0) {
        struct span line = span_first(rest, span_find(rest, '\n'));
        rest = span_skip(rest, line.len + 1);
        fprintf(stderr, "ringpostd: tls: %.*s: %s%.*s\n", SPAN_FORMAT(name),
                what == TLS_REFUSED ? "" : "note: ", SPAN_FORMAT(line));
    }
}

bool daemon_check_tls(const struct config *config)
{
    struct tls_services services;
    bool good = tls_services_open(&services, config, print, NULL);
    tls_services_close(&services);
    return good;
}
