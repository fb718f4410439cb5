/* Accounts as the daemon sees them: read at start, looked at by the control thread, told in the
 * log.
 */
#include "core/daemon.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { COMPLAINTS = 8192, LOOK_TICKS = 2 };

static void log_complaints(const char *path, struct span rest)
{
    while (rest.len > 0) {
        struct span line = span_first(rest, span_find(rest, '\n'));
        rest = span_skip(rest, line.len + 1);
        log_warning("accounts: %s: %.*s", path, SPAN_FORMAT(line));
    }
}

static bool say_unreadable(const char *path, int error)
{
    log_error("accounts: cannot read %s: %s", path, strerror(-error));
    return false;
}

/* No passwd_file: daemon->logins stays without accounts, and nobody is given it. */
bool daemon_open_accounts(struct daemon *daemon)
{
    const struct config *config = daemon->config;
    const char *path = config->accounts.passwd_file.data;
    char text[COMPLAINTS];
    struct sink complaints;
    struct login_settings settings = {
        .accounts = &daemon->accounts,
        .hasher_threads = (unsigned)config->accounts.hasher_threads,
        .cache_ms = config->accounts.cache_lifetime_ms,
        .first_delay_ms = config->accounts.failure_delay_ms,
        .most_delay_ms = config->accounts.failure_delay_most_ms,
        .seed = daemon->seed,
    };
    if (!config->accounts.passwd_file.len)
        return true;
    sink_init(&complaints, text, sizeof text);
    int error = accounts_init(&daemon->accounts, path, daemon->seed, &complaints);
    log_complaints(path, sink_span(&complaints));
    if (error == 0)
        error = logins_init(&daemon->logins, &settings);
    return error == 0 || say_unreadable(path, error);
}

void daemon_close_accounts(struct daemon *daemon)
{
    if (!daemon->config->accounts.passwd_file.len)
        return;
    logins_fini(&daemon->logins);
    accounts_fini(&daemon->accounts);
}

static size_t count_accounts(struct daemon *daemon)
{
    struct account_set *set = accounts_take(&daemon->accounts);
    size_t count = account_set_count(set);
    account_set_free(set);
    return count;
}

void daemon_look_at_accounts(struct daemon *daemon)
{
    const char *path = daemon->config->accounts.passwd_file.data;
    char text[COMPLAINTS];
    struct sink complaints;
    if (!daemon->config->accounts.passwd_file.len || daemon->ticks % LOOK_TICKS)
        return;
    sink_init(&complaints, text, sizeof text);
    int result = accounts_look(&daemon->accounts, &complaints);
    log_complaints(path, sink_span(&complaints));
    if (result > 0)
        log_notice("accounts: %s has changed: %zu accounts", path, count_accounts(daemon));
    if (result < 0 && result != daemon->accounts_error)
        log_error("accounts: cannot read %s: %s; what was read before stays in use", path,
                  result == -EBADMSG ? "no line of it is an account" : strerror(-result));
    daemon->accounts_error = result < 0 ? result : 0;
}

/* For --check-config. */
bool daemon_check_accounts(const struct config *config)
{
    char text[COMPLAINTS];
    struct sink complaints;
    struct accounts accounts;
    const char *path = config->accounts.passwd_file.data;
    if (!config->accounts.passwd_file.len)
        return true;
    sink_init(&complaints, text, sizeof text);
    int error = accounts_init(&accounts, path, (struct hash_seed){0}, &complaints);
    accounts_fini(&accounts);
    if (error < 0)
        fprintf(stderr, "ringpostd: accounts: cannot read %s: %s\n", path, strerror(-error));
    for (struct span rest = sink_span(&complaints); rest.len;) {
        struct span line = span_first(rest, span_find(rest, '\n'));
        rest = span_skip(rest, line.len + 1);
        fprintf(stderr, "ringpostd: accounts: %s: %.*s\n", path, SPAN_FORMAT(line));
    }
    return error == 0 && complaints.len == 0;
}
