/* What no option can see by itself: values that contradict each other, and defaults that depend on
 * the machine or on another option. */
#include "core/config_private.h"
#include "core/config_value.h"

#include <unistd.h>

static struct origin origin_of(const struct loading *loading, enum table_id table, const char *key,
                               size_t element)
{
    struct origin *origins = loading->memory->origins[table];
    if (!origins)
        return (struct origin){0};
    return *config_origin(loading->memory, option_find(table, span_string(key)), element);
}

static void complain_at(struct loading *loading, struct origin origin, const char *text)
{
    loading_complain(loading, origin.line ? origin.line : 1, origin.line ? origin.column : 1, "%s",
                     text);
}

static void check_hostname(struct loading *loading)
{
    char name[256] = "";
    if (origin_of(loading, TABLE_TOP, "hostname", 0).line)
        return;
    if (gethostname(name, sizeof name - 1) < 0)
        name[0] = '\0';
    struct span own = span_string(name);
    if (strchr(name, '.') && value_domain(own)) {
        config_keep_text(loading, own, &loading->config->hostname);
        return;
    }
    loading_complain(loading, 1, 1,
                     "'hostname' is missing at the top of the file, and this machine's own name, "
                     "\"%s\", is not a full one; set it, like hostname = \"mail.example.org\"",
                     name);
}

static bool same_address(const struct address *a, const struct address *b)
{
    char text_a[ADDRESS_TEXT], text_b[ADDRESS_TEXT];
    struct sink sink_a, sink_b;
    if (a->family == AF_UNSPEC || b->family == AF_UNSPEC)
        return false;
    sink_init(&sink_a, text_a, sizeof text_a);
    sink_init(&sink_b, text_b, sizeof text_b);
    address_put(a, &sink_a);
    address_put(b, &sink_b);
    return span_equals(sink_span(&sink_a), sink_span(&sink_b));
}

static void check_tls(struct loading *loading, size_t index)
{
    const struct config_listener *listener = &loading->config->listeners[index];
    struct origin at = origin_of(loading, TABLE_LISTENER, "tls", index);
    if (listener->tls == LISTENER_PLAIN)
        return;
    if (listener->service == SERVICE_HTTP)
        complain_at(loading, at, "'tls' in [[listener]]: \"http\" is served in the clear only");
    if (!listener->certificate.len || !listener->key.len)
        complain_at(loading, at, "'tls' in [[listener]] needs 'certificate' and 'key'");
}

/* "*." in front of a name, or the name alone. */
static void check_certificates(struct loading *loading)
{
    const struct config *config = loading->config;
    for (size_t i = 0; i < config->certificate_count; i++)
        for (size_t n = 0; n < config->certificates[i].name_count; n++) {
            struct span name = config->certificates[i].names[n];
            size_t star = span_starts_with(name, SPAN("*.")) ? 2 : 0;
            if (!value_domain(span_skip(name, star)))
                complain_at(loading, origin_of(loading, TABLE_CERTIFICATE, "names", i),
                            "'names' in [[certificate]]: host names, like \"mail.example.com\" or "
                            "\"*.example.com\"");
        }
}

static void check_listeners(struct loading *loading)
{
    struct config *config = loading->config;
    if (config->listener_count == 0 && !loading->memory->origins[TABLE_LISTENER])
        loading_complain(loading, 1, 1,
                         "no [[listener]]: nothing could come in; add one with address = "
                         "\"127.0.0.1:2525\"");
    for (size_t i = 0; i < config->listener_count; i++) {
        struct config_listener *listener = &config->listeners[i];
        for (size_t j = 0; j < i; j++)
            if (same_address(&listener->address, &config->listeners[j].address))
                loading_complain(loading, origin_of(loading, TABLE_LISTENER, "address", i).line,
                                 origin_of(loading, TABLE_LISTENER, "address", i).column,
                                 "another [[listener]] has this address, in line %u",
                                 config->listeners[j].line);
        check_tls(loading, i);
        if (listener->service != SERVICE_SMTP && listener->relay_from_count)
            complain_at(loading, origin_of(loading, TABLE_LISTENER, "relay_from", i),
                        "'relay_from' in [[listener]]: only a listener for \"smtp\" relays");
        if (listener->service == SERVICE_SUBMISSION && !config->accounts.passwd_file.len)
            complain_at(loading, origin_of(loading, TABLE_LISTENER, "service", i),
                        "'service' in [[listener]]: a listener for \"submission\" needs "
                        "'passwd_file' in [accounts], else nobody could log in");
    }
}

/* TOML itself refuses a table twice, but not in another case. */
static void check_routes(struct loading *loading)
{
    const struct config *config = loading->config;
    for (size_t i = 0; i < config->route_count; i++) {
        bool given = origin_of(loading, TABLE_ROUTE, "hosts", i).line > 0; /* and maybe judged */
        if (!config->routes[i].host_count && config->routes[i].enable_tls == TLS_AS_DELIVERY &&
            !(given && loading->mistakes))
            loading_complain(loading, config->routes[i].line, config->routes[i].column,
                             "[route.\"%.*s\"] says nothing: it needs 'hosts' or 'enable_tls'",
                             SPAN_FORMAT(config->routes[i].domain));
        for (size_t j = 0; j < i; j++)
            if (config->routes[i].domain.len &&
                span_equals(config->routes[i].domain, config->routes[j].domain))
                loading_complain(loading, origin_of(loading, TABLE_ROUTE, "hosts", i).line,
                                 origin_of(loading, TABLE_ROUTE, "hosts", i).column,
                                 "[route.\"%.*s\"] is there twice (domains have no case)",
                                 SPAN_FORMAT(config->routes[i].domain));
    }
}

/* TOML itself refuses a table twice, but not in another case. */
static void check_domains(struct loading *loading)
{
    const struct config *config = loading->config;
    for (size_t i = 0; i < config->domain_count; i++)
        for (size_t j = 0; j < i; j++)
            if (config->domains[i].name.len &&
                span_equals(config->domains[i].name, config->domains[j].name))
                loading_complain(loading, config->domains[i].line, config->domains[i].column,
                                 "[domain.\"%.*s\"] is there twice (domains have no case)",
                                 SPAN_FORMAT(config->domains[i].name));
}

static void check_accounts(struct loading *loading)
{
    const struct config *config = loading->config;
    if (config->accounts.failure_delay_most_ms < config->accounts.failure_delay_ms)
        complain_at(loading, origin_of(loading, TABLE_ACCOUNTS, "failure_delay_most", 0),
                    "'failure_delay_most' in [accounts] is shorter than 'failure_delay'");
}

static void check_bounce(struct loading *loading)
{
    const struct config *config = loading->config;
    if (config->bounce.delay_after_ms && config->bounce.delay_after_ms >= config->retry.max_age_ms)
        complain_at(loading, origin_of(loading, TABLE_BOUNCE, "delay_after", 0),
                    "'delay_after' in [bounce] is not before 'max_age' in [retry]: no delay would "
                    "ever be reported");
    for (size_t i = 0; i < config->bounce.stream_count; i++)
        if (!config->bounce.streams[i].tenant.len && !config->bounce.streams[i].campaign.len)
            complain_at(
                loading, origin_of(loading, TABLE_STREAM, "mode", i),
                "[[bounce.stream]] fits everything; name a 'tenant' or a 'campaign', or set "
                "'mode' in [bounce]");
}

static void check_dkim(struct loading *loading)
{
    const struct config *config = loading->config;
    for (size_t i = 0; i < config->dkim_count; i++)
        for (size_t j = 0; j < i; j++)
            if (config->dkims[i].selector.len &&
                span_equals_any_case(config->dkims[i].selector, config->dkims[j].selector) &&
                span_equals_any_case(config->dkims[i].domain, config->dkims[j].domain))
                complain_at(loading, origin_of(loading, TABLE_DKIM, "selector", i),
                            "another [[dkim]] has this selector and domain: one name in DNS is "
                            "one key");
}

static void check_control(struct loading *loading)
{
    struct config *config = loading->config;
    struct span *socket = &config->control.socket;
    if (!socket->len && config->data_dir.len) {
        char *path = config_keep(loading, config->data_dir.len + sizeof "/control.socket", 1);
        if (!path)
            return;
        memcpy(path, config->data_dir.data, config->data_dir.len);
        memcpy(path + config->data_dir.len, "/control.socket", sizeof "/control.socket");
        *socket = span_string(path);
    }
    if (socket->len >= sizeof((struct sockaddr_un *)NULL)->sun_path)
        complain_at(
            loading, origin_of(loading, TABLE_CONTROL, "socket", 0),
            "'socket' in [control]: the path (default: control.socket in data_dir) is longer "
            "than the 107 bytes that a Unix socket may have; set a shorter one");
}

/* Fields that a message cannot do without on its way: what names a stream is taken out. */
static bool must_stay(struct span field)
{
    static const struct span fields[] = {
        SPAN("Received"),
        SPAN("Return-Path"),
        SPAN("DKIM-Signature"),
        SPAN("Authentication-Results"),
        SPAN("ARC-Seal"),
        SPAN("ARC-Message-Signature"),
        SPAN("ARC-Authentication-Results"),
        SPAN("Date"),
        SPAN("From"),
        SPAN("Message-ID"),
        SPAN("MIME-Version"),
        SPAN("Content-Type"),
        SPAN("Content-Transfer-Encoding"),
    };
    for (size_t i = 0; i < countof(fields); i++)
        if (span_equals_any_case(fields[i], field))
            return true;
    return false;
}

static void check_stream_header(struct loading *loading, const char *key, struct span field)
{
    if (!must_stay(field))
        return;
    struct origin origin = origin_of(loading, TABLE_POLICY, key, 0);
    loading_complain(loading, origin.line ? origin.line : 1, origin.line ? origin.column : 1,
                     "'%s' in [policy]: it is removed from each message, and '%.*s' must stay; "
                     "choose a field of your own like \"X-Tenant\"",
                     key, SPAN_FORMAT(field));
}

static void check_policy(struct loading *loading)
{
    check_stream_header(loading, "tenant_header", loading->config->policy.tenant_header);
    check_stream_header(loading, "campaign_header", loading->config->policy.campaign_header);
}

void config_check(struct loading *loading)
{
    check_hostname(loading);
    check_listeners(loading);
    check_certificates(loading);
    check_routes(loading);
    check_domains(loading);
    check_accounts(loading);
    check_bounce(loading);
    check_dkim(loading);
    check_control(loading);
    check_policy(loading);
}
