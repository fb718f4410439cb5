/* Each listener's first identity is its own certificate; the [[certificate]] tables follow, the
 * same for all listeners. */
#include "core/tls_services.h"

#include <stdlib.h>

enum { NAME_ROOM = ADDRESS_TEXT + 16 };

static struct span name_of(const struct config_listener *listener, char text[NAME_ROOM])
{
    struct sink sink;
    sink_init(&sink, text, NAME_ROOM);
    sink_put(&sink, SPAN("listener "));
    address_put(&listener->address, &sink);
    return sink_span(&sink);
}

static struct tls_service *open_one(const struct tls_service_options *options,
                                    tls_services_tell *tell, void *context)
{
    char text[TLS_ERROR];
    struct tls_service *service = NULL;
    if (tls_service_new(options, &service, text) < 0) {
        tell(context, options->name, TLS_REFUSED, *text ? text : "no memory for TLS");
        return NULL;
    }
    struct tls_context *first = tls_service_context(service);
    struct span remarks = tls_context_remarks(first);
    memcpy(text, remarks.data, remarks.len);
    text[remarks.len] = '\0';
    tls_context_free(first);
    if (*text)
        tell(context, options->name, TLS_UNCHANGED, text);
    return service;
}

static bool open_listener(struct tls_services *services, const struct config *config, size_t index,
                          tls_services_tell *tell, void *context)
{
    const struct config_listener *listener = &config->listeners[index];
    size_t count = config->certificate_count + 1;
    struct tls_identity_files *identities = calloc(count, sizeof *identities);
    char name[NAME_ROOM];
    if (!identities)
        return false;
    identities[0] = (struct tls_identity_files){.certificate = listener->certificate.data,
                                                .key = listener->key.data,
                                                .names = &config->hostname, /* as clients know us */
                                                .name_count = config->hostname.len > 0};
    for (size_t i = 1; i < count; i++) {
        const struct config_certificate *more = &config->certificates[i - 1];
        identities[i] = (struct tls_identity_files){.certificate = more->certificate.data,
                                                    .key = more->key.data,
                                                    .names = more->names,
                                                    .name_count = more->name_count};
    }
    struct tls_service_options options = {
        .name = name_of(listener, name),
        .identities = identities,
        .identity_count = count,
        .client_ca = listener->client_ca.len ? listener->client_ca.data : NULL,
    };
    services->listeners[index] = open_one(&options, tell, context);
    free(identities);
    return services->listeners[index] != NULL;
}

static bool wants_delivery(const struct config *config)
{
    bool wanted = config->delivery.enable_tls != TLS_DISABLED;
    for (size_t i = 0; i < config->route_count; i++)
        wanted = wanted || config->routes[i].enable_tls < TLS_DISABLED;
    return wanted;
}

static bool open_delivery(struct tls_services *services, const struct config *config,
                          tls_services_tell *tell, void *context)
{
    struct tls_service_options options = {.name = SPAN("delivery"),
                                          .roots = config->delivery.tls_roots.data};
    if (!wants_delivery(config))
        return true;
    services->delivery = open_one(&options, tell, context);
    if (!services->delivery)
        tell(context, options.name, TLS_REFUSED,
             "these roots are [delivery] tls_roots (Debian: package ca-certificates); with "
             "enable_tls "
             "= \"Disabled\" none are needed");
    return services->delivery != NULL;
}

bool tls_services_open(struct tls_services *services, const struct config *config,
                       tls_services_tell *tell, void *context)
{
    size_t count = config->listener_count;
    *services = (struct tls_services){
        .listeners = calloc(count + 1, sizeof *services->listeners),
        .listener_count = count,
        .gate = {.limit = (unsigned)config->limits.tls_handshakes},
    };
    bool good = services->listeners != NULL;
    for (size_t i = 0; services->listeners && i < count; i++)
        if (config->listeners[i].tls != LISTENER_PLAIN)
            good = open_listener(services, config, i, tell, context) && good;
    good = open_delivery(services, config, tell, context) && good;
    if (!good)
        tls_services_close(services);
    return good;
}

static void look_at(struct tls_service *service, tls_services_tell *tell, void *context)
{
    char text[TLS_ERROR];
    enum tls_look what = service ? tls_service_look(service, text) : TLS_UNCHANGED;
    if (what != TLS_UNCHANGED)
        tell(context, tls_service_name(service), what, text);
}

void tls_services_look(struct tls_services *services, tls_services_tell *tell, void *context)
{
    for (size_t i = 0; i < services->listener_count; i++)
        look_at(services->listeners[i], tell, context);
    look_at(services->delivery, tell, context);
}

void tls_services_close(struct tls_services *services)
{
    for (size_t i = 0; services->listeners && i < services->listener_count; i++)
        tls_service_free(services->listeners[i]);
    tls_service_free(services->delivery);
    free(services->listeners);
    *services = (struct tls_services){0};
}
