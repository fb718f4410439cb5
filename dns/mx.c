/* mx.c: sort by preference and name (the canonical order that the site needs), then drop, then
 * shuffle runs of one preference. */
#include "dns/mx.h"

#include <stdlib.h>

static int compare_names(const void *left, const void *right)
{
    const struct mx_host *a = left, *b = right;
    int order = strcmp(a->name.text, b->name.text);
    return order ? order : (int)a->preference - (int)b->preference;
}

static int compare_preferences(const void *left, const void *right)
{
    const struct mx_host *a = left, *b = right;
    int order = (int)a->preference - (int)b->preference;
    return order ? order : strcmp(a->name.text, b->name.text);
}

static void take_hosts(const struct answer *answer, struct mx *mx)
{
    for (size_t i = 0; i < answer->count; i++) {
        struct mx_host *host = &mx->hosts[mx->count];
        if (!name_parse(answer->records[i].name, &host->name))
            continue; /* the root, beside real hosts */
        host->preference = answer->records[i].preference;
        mx->count++;
    }
}

/* A host named twice counts with its better preference. */
static void drop_doubles(struct mx *mx)
{
    qsort(mx->hosts, mx->count, sizeof(mx->hosts[0]), compare_names);
    size_t kept = 0;
    for (size_t i = 0; i < mx->count; i++)
        if (kept == 0 || !name_equals(&mx->hosts[i].name, &mx->hosts[kept - 1].name))
            mx->hosts[kept++] = mx->hosts[i];
    mx->count = kept;
}

static void name_site(struct mx *mx)
{
    struct span names[ANSWER_RECORDS];
    struct sink sink;
    for (size_t i = 0; i < mx->count; i++)
        names[i] = name_span(&mx->hosts[i].name);
    sink_init(&sink, mx->site, sizeof(mx->site));
    site_roll_up(names, mx->count, &sink);
    mx->site_len = sink.len;
}

static void drop_from_us_on(struct span us, struct mx *mx)
{
    for (size_t i = 0; i < mx->count; i++) {
        if (!span_equals_any_case(name_span(&mx->hosts[i].name), us))
            continue;
        while (i > 0 && mx->hosts[i - 1].preference == mx->hosts[i].preference)
            i--;
        mx->count = i;
        return;
    }
}

static void shuffle_run(struct mx_host *hosts, size_t count, struct random *random)
{
    for (size_t i = count; i > 1; i--) {
        size_t j = (size_t)random_below(random, i);
        struct mx_host host = hosts[i - 1];
        hosts[i - 1] = hosts[j];
        hosts[j] = host;
    }
}

static void shuffle(struct mx *mx, struct random *random)
{
    for (size_t start = 0, end; start < mx->count; start = end) {
        for (end = start + 1; end < mx->count; end++)
            if (mx->hosts[end].preference != mx->hosts[start].preference)
                break;
        shuffle_run(mx->hosts + start, end - start, random);
    }
}

void mx_read(const struct answer *answer, struct span us, struct random *random, struct mx *ret_mx)
{
    struct mx *mx = ret_mx;
    mx->count = mx->site_len = 0;
    if (answer->rcode == RCODE_NXDOMAIN) {
        mx->kind = MX_NO_DOMAIN;
        return;
    }
    if (!answer_positive(answer)) {
        mx->kind = MX_NONE;
        return;
    }
    if (answer->count == 1 && answer->left_out == 0 && answer->records[0].name.len == 0) {
        mx->kind = MX_NULL;
        return;
    }
    take_hosts(answer, mx);
    if (mx->count == 0) {
        mx->kind = MX_UNUSABLE;
        return;
    }
    drop_doubles(mx);
    qsort(mx->hosts, mx->count, sizeof(mx->hosts[0]), compare_preferences);
    name_site(mx);
    drop_from_us_on(us, mx);
    shuffle(mx, random);
    mx->kind = mx->count > 0 ? MX_HOSTS : MX_US;
}
