/* A file is known by what stat says of it; content is read only when that has changed. */
#include "core/tls_service.h"

#include "core/arena.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>

/* All zero: the file is not there. */
struct stamp {
    uint64_t device, inode, size;
    struct timespec modified, changed;
};

struct tls_service {
    struct chunk_pool pool;
    struct arena arena; /* what `options` points to, and `seen` */
    struct tls_service_options options;
    pthread_mutex_t mutex; /* for `context` */
    struct tls_context *context;
    bool moving; /* something had changed at the last look: wait until it is quiet */
    size_t file_count;
    struct stamp *seen;
};

static const char *file_at(const struct tls_service_options *options, size_t index)
{
    if (index < 2 * options->identity_count) {
        const struct tls_identity_files *identity = &options->identities[index / 2];
        return index % 2 ? identity->key : identity->certificate;
    }
    return options->roots ? options->roots : options->client_ca;
}

static size_t file_count(const struct tls_service_options *options)
{
    return 2 * options->identity_count + (options->roots || options->client_ca);
}

static struct stamp stamp_of(const char *path)
{
    struct stat status;
    struct stamp stamp;
    memset(&stamp, 0, sizeof stamp); /* compared as octets */
    if (stat(path, &status) == 0) {
        stamp.device = status.st_dev;
        stamp.inode = status.st_ino;
        stamp.size = (uint64_t)status.st_size;
        stamp.modified = status.st_mtim;
        stamp.changed = status.st_ctim;
    }
    return stamp;
}

/* True: something is not as it was at the last call. */
static bool stamp_all(struct tls_service *service)
{
    bool changed = false;
    for (size_t i = 0; i < service->file_count; i++) {
        struct stamp stamp = stamp_of(file_at(&service->options, i));
        changed = changed || memcmp(&stamp, &service->seen[i], sizeof stamp) != 0;
        service->seen[i] = stamp;
    }
    return changed;
}

static int load(const struct tls_service_options *options, struct tls_context **ret_context,
                char error[TLS_ERROR])
{
    if (options->identity_count == 0)
        return tls_context_client(options->roots, ret_context, error);
    return tls_context_server(options->identities, options->identity_count, options->client_ca,
                              options->name, ret_context, error);
}

/* ---- life ---- */

/* With a NUL behind it; NULL stays NULL. False: no memory. */
static bool keep_path(struct arena *arena, const char **path)
{
    struct span copy;
    if (!*path)
        return true;
    if (!arena_copy(arena, span_of(*path, strlen(*path) + 1), &copy))
        return false;
    *path = copy.data;
    return true;
}

static bool keep_identity(struct arena *arena, struct tls_identity_files *identity)
{
    struct span *names = arena_take(arena, (identity->name_count + 1) * sizeof *names);
    bool good =
        names && keep_path(arena, &identity->certificate) && keep_path(arena, &identity->key);
    for (size_t i = 0; good && i < identity->name_count; i++)
        good = arena_copy(arena, identity->names[i], &names[i]);
    identity->names = names;
    return good;
}

static bool keep_options(struct tls_service *service, const struct tls_service_options *options)
{
    struct arena *arena = &service->arena;
    size_t size = (options->identity_count + 1) * sizeof *options->identities;
    struct tls_identity_files *identities = arena_take_zeroed(arena, size);
    service->options = *options;
    service->options.identities = identities;
    bool good = identities && arena_copy(arena, options->name, &service->options.name) &&
                keep_path(arena, &service->options.client_ca) &&
                keep_path(arena, &service->options.roots);
    for (size_t i = 0; good && i < options->identity_count; i++) {
        identities[i] = options->identities[i];
        good = keep_identity(arena, &identities[i]);
    }
    service->file_count = file_count(options);
    service->seen =
        good ? arena_take_zeroed(arena, (service->file_count + 1) * sizeof(struct stamp)) : NULL;
    return service->seen != NULL;
}

int tls_service_new(const struct tls_service_options *options, struct tls_service **ret_service,
                    char error[TLS_ERROR])
{
    struct tls_service *service = calloc(1, sizeof *service);
    error[0] = '\0';
    if (!service)
        return -ENOMEM;
    pthread_mutex_init(&service->mutex, NULL);
    chunk_pool_init(&service->pool, SIZE_MAX, 0);
    arena_init(&service->arena, &service->pool, SIZE_MAX);
    int result = -ENOMEM;
    if (keep_options(service, options)) {
        stamp_all(service);
        result = load(&service->options, &service->context, error);
    }
    if (result == 0)
        *ret_service = service;
    else
        tls_service_free(service);
    return result;
}

struct tls_service *tls_service_free(struct tls_service *service)
{
    if (!service)
        return NULL;
    tls_context_free(service->context);
    arena_fini(&service->arena);
    chunk_pool_fini(&service->pool);
    pthread_mutex_destroy(&service->mutex);
    free(service);
    return NULL;
}

struct span tls_service_name(const struct tls_service *service)
{
    return service->options.name;
}

/* ---- the context ---- */

struct tls_context *tls_service_context(struct tls_service *service)
{
    pthread_mutex_lock(&service->mutex);
    struct tls_context *context = tls_context_share(service->context);
    pthread_mutex_unlock(&service->mutex);
    return context;
}

static void replace(struct tls_service *service, struct tls_context *context)
{
    pthread_mutex_lock(&service->mutex);
    struct tls_context *old = service->context;
    service->context = context;
    pthread_mutex_unlock(&service->mutex);
    tls_context_free(old);
}

enum tls_look tls_service_look(struct tls_service *service, char text[TLS_ERROR])
{
    bool moved = service->moving;
    service->moving = stamp_all(service);
    if (service->moving || !moved)
        return TLS_UNCHANGED;
    struct tls_context *context;
    if (load(&service->options, &context, text) < 0)
        return TLS_REFUSED;
    struct span remarks = tls_context_remarks(context);
    memcpy(text, remarks.data, remarks.len);
    text[remarks.len] = '\0';
    replace(service, context);
    return TLS_RENEWED;
}

/* ---- handshakes at a time ---- */

bool tls_gate_enter(struct tls_gate *gate)
{
    if (atomic_fetch_add_explicit(&gate->running, 1, memory_order_relaxed) < gate->limit)
        return true;
    tls_gate_leave(gate);
    return false;
}

void tls_gate_leave(struct tls_gate *gate)
{
    atomic_fetch_sub_explicit(&gate->running, 1, memory_order_relaxed);
}
