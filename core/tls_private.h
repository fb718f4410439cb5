/* tls_private: what core/tls*.c share of BoringSSL's. */
#pragma once

#include "core/tls.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdatomic.h>

enum { TLS_CHAIN = 10, TLS_FILE_MAX = 4 << 20 };

/* A certificate, its issuers and its key, with the names that lead to it. */
struct tls_identity {
    CRYPTO_BUFFER *chain[TLS_CHAIN];
    size_t chain_len;
    EVP_PKEY *key;
    struct span *names; /* one allocation with the octets */
    size_t name_count;
};

struct tls_context {
    SSL_CTX *ctx;
    CRYPTO_BUFFER_POOL *pool; /* equal certificates are held once */
    atomic_uint references;
    X509_STORE *roots; /* NULL: peers are not judged */
    struct tls_identity *identities;
    size_t identity_count;
    bool client;
    struct sink remarks;
    char remarks_text[TLS_ERROR];
};

struct tls_session {
    SSL_SESSION *session;
    struct tls_context *context; /* its certificates are in the context's pool */
    bool verified;
};

struct tls {
    SSL *ssl;
    struct tls_context *context;
    struct span *input;  /* of the call that runs */
    struct sink *output; /* likewise */
    struct tls_session *session;
    char *subject;
    uint32_t trouble; /* the library's packed error */
    int verify_error; /* X509_V_ERR_* */
    bool insecure, judged, verified, was_resumed, ended, failed, wants_room;
    char name[]; /* client: whom we expect, with a NUL */
};

/* Reads and checks both files. False: what is wrong is in `errors`; remarks in `remarks`. */
bool tls_identity_load(const struct tls_identity_files *files, struct tls_identity *ret_identity,
                       struct sink *errors, struct sink *remarks);
void tls_identity_fini(struct tls_identity *identity);

/* The whole file with a NUL behind it, from malloc; NULL: `errors` says why. */
char *tls_read_file(const char *path, size_t *ret_len, struct sink *errors);

/* All certificates of a PEM file as roots. NULL: `errors` says why. */
X509_STORE *tls_roots_load(const char *path, struct sink *errors);

/* Judges the peer's certificates by the context's roots: X509_V_OK, and then a subject to free (or
 * NULL), or the error. */
int tls_judge_peer(SSL *ssl, const struct tls_context *context, const char *name,
                   char **ret_subject);

/* One line "FILE: text" for the operator. */
void tls_complain(struct sink *errors, const char *path, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

BIO *tls_bio_new(struct tls *tls);
