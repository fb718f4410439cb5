/* tls_services: all TLS of the process, as the configuration wants it. The main thread's; what the
 * workers get is a pointer to the service that they need. */
#pragma once

#include "core/config.h"
#include "core/tls_service.h"

struct tls_services {
    struct tls_service **listeners; /* one per config->listeners; NULL: no TLS there */
    size_t listener_count;
    struct tls_service *delivery; /* NULL: [delivery] enable_tls = "Disabled" everywhere */
    struct tls_gate gate;
};

/* Told once per service that has something to say. `name`: "listener 192.0.2.1:25", "delivery". */
typedef void tls_services_tell(void *context, struct span name, enum tls_look what,
                               const char *text);

/* `config` is looked at in this call only. Blocks. Mistakes of all services are told (TLS_REFUSED),
 * and remarks (TLS_UNCHANGED). False: there were mistakes, or no memory; nothing is kept. */
MUST_USE bool tls_services_open(struct tls_services *services, const struct config *config,
                                tls_services_tell *tell, void *context);

/* Looks at all files; what changed is told. */
void tls_services_look(struct tls_services *services, tls_services_tell *tell, void *context);

/* Also after an open that failed. */
void tls_services_close(struct tls_services *services);
