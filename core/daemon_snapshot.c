/* A configuration and all that is made from it, for the start and for each reload. What is wrong is
 * told, so that the log hears of it at the start and the caller at a reload. */
#include "core/daemon.h"
#include "core/interfaces.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GRACE_MS = 60 * 1000 };

struct telling {
    daemon_tell *tell;
    void *context;
};

static void tell_tls(void *context, struct span name, enum tls_look what, const char *text)
{
    const struct telling *telling = context;
    struct span rest = span_string(text);
    while (rest.len > 0) {
        char line[1024];
        struct span first = span_first(rest, span_find(rest, '\n'));
        rest = span_skip(rest, first.len + 1);
        snprintf(line, sizeof line, "tls: %.*s: %.*s", SPAN_FORMAT(name), SPAN_FORMAT(first));
        telling->tell(telling->context, what == TLS_REFUSED, line);
    }
}

static int add_addresses(struct snapshot *snapshot, const struct address *address)
{
    struct address *behind;
    size_t count;
    int error = interfaces_behind(address, &behind, &count);
    if (error < 0)
        return error;
    size_t total = snapshot->own_address_count + count;
    struct address *all = reallocarray(snapshot->own_addresses, total + 1, sizeof *all);
    if (all) {
        memcpy(all + snapshot->own_address_count, behind, count * sizeof *behind);
        snapshot->own_addresses = all;
        snapshot->own_address_count = total;
    }
    free(behind);
    return all ? 0 : -ENOMEM;
}

static bool collect_addresses(struct snapshot *snapshot, const struct telling *telling)
{
    const struct config *config = snapshot->config;
    char line[256];
    int error = 0;
    for (size_t i = 0; i < config->listener_count && error == 0; i++)
        if (config->listeners[i].service != SERVICE_HTTP)
            error = add_addresses(snapshot, &config->listeners[i].address);
    if (error == 0)
        return true;
    snprintf(line, sizeof line, "cannot tell this host's addresses: %s", strerror(-error));
    telling->tell(telling->context, true, line);
    return false;
}

struct snapshot *daemon_make_snapshot(struct config *config, daemon_tell *tell, void *context)
{
    struct telling telling = {tell, context};
    struct snapshot *snapshot = calloc(1, sizeof *snapshot);
    if (!snapshot) {
        tell(context, true, "no memory");
        config_free(config);
        return NULL;
    }
    snapshot->config = config;
    atomic_init(&snapshot->users, 1);
    bool tls = tls_services_open(&snapshot->tls, config, tell_tls, &telling);
    int keys = dkim_keys_load(config, tell, context, &snapshot->dkim_keys);
    if (keys == -ENOMEM)
        tell(context, true, "no memory for the DKIM keys");
    if (tls && keys == 0 && collect_addresses(snapshot, &telling))
        return snapshot;
    return snapshot_release(snapshot);
}

/* ---- the one in use ---- */

void daemon_use_snapshot(struct daemon *daemon, struct snapshot *snapshot)
{
    struct snapshot *old = daemon->snapshot;
    daemon->snapshot = snapshot;
    daemon->config = snapshot->config;
    if (!old) {
        daemon->first = snapshot_hold(snapshot);
        return;
    }
    struct retired *retired = malloc(sizeof *retired);
    if (!retired)
        return; /* it stays for good: better than too short */
    *retired = (struct retired){.snapshot = old, .at_ns = daemon->control.now_ns};
    list_append(&daemon->retired, &retired->link);
}

void daemon_release_retired(struct daemon *daemon, bool all)
{
    list_for_each (&daemon->retired, link, following) {
        struct retired *retired = container_of(link, struct retired, link);
        if (!all && daemon->control.now_ns - retired->at_ns < GRACE_MS * NS_PER_MS)
            return;
        list_remove(link);
        snapshot_release(retired->snapshot);
        free(retired);
    }
}
