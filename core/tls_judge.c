/* Whether a peer is who we think it is: chain to a root, dates, purpose, name (RFC 5280, RFC 6125).
 * Names count only as subjectAltName; a common name is no name of a host (RFC 9525). */
#include "core/tls_private.h"

#include <openssl/x509v3.h>

/* The peer's certificates behind the first. NULL: one of them makes no sense, or no memory. */
static STACK_OF(X509) * rest_of(const STACK_OF(CRYPTO_BUFFER) * buffers)
{
    STACK_OF(X509) *rest = sk_X509_new_null();
    for (size_t i = 1; rest && i < sk_CRYPTO_BUFFER_num(buffers) && i < TLS_CHAIN; i++) {
        X509 *one = X509_parse_from_buffer(sk_CRYPTO_BUFFER_value(buffers, i));
        if (one && sk_X509_push(rest, one))
            continue;
        X509_free(one);
        sk_X509_pop_free(rest, X509_free);
        return NULL;
    }
    return rest;
}

static bool expect_name(X509_STORE_CTX *store_ctx, const char *name)
{
    X509_VERIFY_PARAM *parameters = X509_STORE_CTX_get0_param(store_ctx);
    X509_VERIFY_PARAM_set_hostflags(parameters, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    return X509_VERIFY_PARAM_set1_ip_asc(parameters, name) ||
           X509_VERIFY_PARAM_set1_host(parameters, name, strlen(name));
}

static int judge(X509_STORE *roots, X509 *leaf, STACK_OF(X509) * rest, const char *name,
                 bool is_client)
{
    X509_STORE_CTX *store_ctx = X509_STORE_CTX_new();
    int error = X509_V_ERR_OUT_OF_MEM;
    if (store_ctx && X509_STORE_CTX_init(store_ctx, roots, leaf, rest) &&
        X509_STORE_CTX_set_default(store_ctx, is_client ? "ssl_client" : "ssl_server") &&
        (!*name || expect_name(store_ctx, name)))
        error = X509_verify_cert(store_ctx) == 1 ? X509_V_OK : X509_STORE_CTX_get_error(store_ctx);
    X509_STORE_CTX_free(store_ctx);
    return error;
}

static char *subject_of(const X509 *leaf)
{
    char text[256];
    bool good = X509_NAME_oneline(X509_get_subject_name(leaf), text, sizeof text) != NULL;
    return good ? strdup(text) : NULL;
}

int tls_judge_peer(SSL *ssl, const struct tls_context *context, const char *name,
                   char **ret_subject)
{
    const STACK_OF(CRYPTO_BUFFER) *buffers = SSL_get0_peer_certificates(ssl);
    if (!buffers || sk_CRYPTO_BUFFER_num(buffers) == 0 || !context->roots)
        return X509_V_ERR_INVALID_CALL;
    X509 *leaf = X509_parse_from_buffer(sk_CRYPTO_BUFFER_value(buffers, 0));
    STACK_OF(X509) *rest = rest_of(buffers);
    int error = X509_V_ERR_UNSPECIFIED;
    if (leaf && rest)
        error = judge(context->roots, leaf, rest, name, SSL_is_server(ssl));
    if (error == X509_V_OK) /* worth keeping only if it was proven */
        *ret_subject = subject_of(leaf);
    sk_X509_pop_free(rest, X509_free);
    X509_free(leaf);
    ERR_clear_error();
    return error;
}
