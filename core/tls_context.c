/* What a session is made with. The library may share a context between threads as long as nobody
 * changes it, which nobody can: it is filled before anybody has it. */
#include "core/tls_private.h"

#include <errno.h>
#include <openssl/sha.h>
#include <stdlib.h>

/* ECDHE with AEAD, and with CBC for the TLS 1.2 of older systems: no renegotiated, no static-RSA
 * sessions from clients. As a client we take what a server has, except triple DES: the other choice
 * would be clear text. */
#define SERVER_CIPHERS "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES"
#define CLIENT_CIPHERS "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES:AESGCM:AES"

/* ---- what both sides share ---- */

static struct tls_context *make(bool client)
{
    struct tls_context *context = calloc(1, sizeof *context);
    if (!context)
        return NULL;
    atomic_init(&context->references, 1);
    context->client = client;
    sink_init(&context->remarks, context->remarks_text, sizeof context->remarks_text);
    SSL_CTX *ctx = context->ctx = SSL_CTX_new(TLS_with_buffers_method());
    CRYPTO_BUFFER_POOL *pool = ctx ? CRYPTO_BUFFER_POOL_new() : NULL;
    if (!pool)
        return tls_context_free(context);
    context->pool = pool;
    SSL_CTX_set0_buffer_pool(ctx, pool);
    bool good = SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) &&
                SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION) &&
                SSL_CTX_set_strict_cipher_list(ctx, client ? CLIENT_CIPHERS : SERVER_CIPHERS) &&
                SSL_CTX_set_app_data(ctx, context);
    SSL_CTX_set_mode(ctx, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    return good ? context : tls_context_free(context);
}

struct tls_context *tls_context_share(struct tls_context *context)
{
    atomic_fetch_add_explicit(&context->references, 1, memory_order_relaxed);
    return context;
}

struct tls_context *tls_context_free(struct tls_context *context)
{
    if (!context || atomic_fetch_sub_explicit(&context->references, 1, memory_order_acq_rel) > 1)
        return NULL;
    for (size_t i = 0; i < context->identity_count; i++)
        tls_identity_fini(&context->identities[i]);
    free(context->identities);
    X509_STORE_free(context->roots);
    SSL_CTX_free(context->ctx);
    CRYPTO_BUFFER_POOL_free(context->pool);
    free(context);
    return NULL;
}

struct span tls_context_remarks(const struct tls_context *context)
{
    return sink_span(&context->remarks);
}

/* The peer's certificate is judged, and what follows from it is the session's business. */
static enum ssl_verify_result_t on_certificate(SSL *ssl, uint8_t *ret_alert)
{
    struct tls *tls = (struct tls *)SSL_get_app_data(ssl);
    free(tls->subject);
    tls->subject = NULL;
    tls->verify_error = tls_judge_peer(ssl, tls->context, tls->name, &tls->subject);
    tls->judged = true;
    tls->verified = tls->verify_error == X509_V_OK;
    if (tls->verified || tls->insecure || SSL_is_server(ssl))
        return ssl_verify_ok;
    *ret_alert = (uint8_t)SSL_alert_from_verify_result(tls->verify_error);
    return ssl_verify_invalid;
}

/* ---- servers ---- */

/* "*.example.com" stands for one label, as in certificates. */
static bool name_matches(struct span pattern, struct span name)
{
    if (!span_starts_with(pattern, SPAN("*.")))
        return span_equals_any_case(pattern, name);
    struct span tail = span_skip(name, span_find(name, '.'));
    return tail.len < name.len && span_equals_any_case(span_skip(pattern, 1), tail);
}

static const struct tls_identity *identity_for(const struct tls_context *context, struct span name)
{
    const struct tls_identity *wild = NULL;
    for (size_t i = 0; i < context->identity_count; i++) {
        const struct tls_identity *identity = &context->identities[i];
        for (size_t n = 0; n < identity->name_count; n++) {
            if (!name_matches(identity->names[n], name))
                continue;
            if (identity->names[n].data[0] != '*')
                return identity; /* an exact name goes before any pattern */
            wild = wild ? wild : identity;
        }
    }
    return wild ? wild : &context->identities[0];
}

static enum ssl_select_cert_result_t on_client_hello(const SSL_CLIENT_HELLO *hello)
{
    const struct tls *tls = (const struct tls *)SSL_get_app_data(hello->ssl);
    const char *name = SSL_get_servername(hello->ssl, TLSEXT_NAMETYPE_host_name);
    const struct tls_identity *identity = identity_for(tls->context, span_string(name));
    bool good = SSL_set_chain_and_key(hello->ssl, identity->chain, identity->chain_len,
                                      identity->key, NULL);
    return good ? ssl_select_cert_success : ssl_select_cert_error;
}

static bool load_identities(struct tls_context *context, const struct tls_identity_files *files,
                            size_t count, struct sink *errors)
{
    context->identities = calloc(count, sizeof *context->identities);
    if (!context->identities)
        return false;
    bool good = true;
    for (size_t i = 0; i < count; i++) {
        struct tls_identity *identity = &context->identities[context->identity_count];
        if (tls_identity_load(&files[i], identity, errors, &context->remarks))
            context->identity_count++;
        else
            good = false; /* go on: all mistakes are told at once */
    }
    return good;
}

/* Clients are asked and never refused. Their judgement is no part of a ticket, so there are none.
 */
static bool ask_clients(struct tls_context *context, const char *client_ca, struct sink *errors)
{
    context->roots = tls_roots_load(client_ca, errors);
    SSL_CTX_set_custom_verify(context->ctx, SSL_VERIFY_PEER, on_certificate);
    SSL_CTX_set_options(context->ctx, SSL_OP_NO_TICKET);
    return context->roots != NULL;
}

static int finish(struct tls_context *context, bool good, const struct sink *errors,
                  struct tls_context **ret_context)
{
    ERR_clear_error();
    if (good) {
        *ret_context = context;
        return 0;
    }
    tls_context_free(context);
    return errors->len ? -EINVAL : -ENOMEM;
}

/* The text with a NUL behind it. */
static struct sink open_errors(char error[TLS_ERROR])
{
    struct sink errors;
    memset(error, 0, TLS_ERROR);
    sink_init(&errors, error, TLS_ERROR - 1);
    return errors;
}

int tls_context_server(const struct tls_identity_files *identities, size_t count,
                       const char *client_ca, struct span service, struct tls_context **ret_context,
                       char error[TLS_ERROR])
{
    struct sink errors = open_errors(error);
    struct tls_context *context = make(false);
    if (!context)
        return -ENOMEM;
    uint8_t id[SHA256_DIGEST_LENGTH];
    SHA256((const uint8_t *)service.data, service.len, id);
    bool good = load_identities(context, identities, count, &errors);
    good = (!client_ca || ask_clients(context, client_ca, &errors)) && good;
    good = SSL_CTX_set_session_id_context(context->ctx, id, sizeof id) && good;
    SSL_CTX_set_session_cache_mode(context->ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(context->ctx, 1);
    SSL_CTX_set_select_certificate_cb(context->ctx, on_client_hello);
    return finish(context, good, &errors, ret_context);
}

/* ---- clients ---- */

/* The library's way of handing over a ticket; 1 takes the reference. */
static int on_session(SSL *ssl, SSL_SESSION *session)
{
    struct tls *tls = (struct tls *)SSL_get_app_data(ssl);
    struct tls_session *kept = calloc(1, sizeof *kept);
    if (!kept)
        return 0;
    *kept = (struct tls_session){
        .session = session,
        .context = tls_context_share(tls->context),
        .verified = tls->verified,
    };
    tls_session_free(tls->session);
    tls->session = kept;
    return 1;
}

int tls_context_client(const char *roots, struct tls_context **ret_context, char error[TLS_ERROR])
{
    struct sink errors = open_errors(error);
    struct tls_context *context = make(true);
    if (!context)
        return -ENOMEM;
    context->roots = tls_roots_load(roots, &errors);
    SSL_CTX_set_custom_verify(context->ctx, SSL_VERIFY_PEER, on_certificate);
    SSL_CTX_set_session_cache_mode(context->ctx,
                                   SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(context->ctx, on_session);
    return finish(context, context->roots != NULL, &errors, ret_context);
}
