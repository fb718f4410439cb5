/* Certificates and keys as files, each fault told in words that say what to do.
 *
 * What is wrong (unreadable, cut short, not belonging together, expired) makes the files unusable;
 * what is only odd (nobody but us signed it, a name that it does not cover) is a remark, since mail
 * is also sent to servers whose certificate nobody checks. */
#include "core/tls_private.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

void tls_complain(struct sink *errors, const char *path, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    sink_format(errors, "%s%s: %s", errors->len ? "\n" : "", path, text);
}

/* ---- files ---- */

static char *read_descriptor(int fd, size_t *ret_len)
{
    char *data = malloc(TLS_FILE_MAX + 1);
    size_t len = 0;
    ssize_t count = 1;
    while (data && len < TLS_FILE_MAX && count > 0) {
        count = read(fd, data + len, TLS_FILE_MAX - len);
        len += count > 0 ? (size_t)count : 0;
    }
    if (!data || count < 0) {
        free(data);
        return NULL;
    }
    data[len] = '\0';
    *ret_len = len;
    char *fitting = realloc(data, len + 1);
    return fitting ? fitting : data;
}

char *tls_read_file(const char *path, size_t *ret_len, struct sink *errors)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char *data = fd < 0 ? NULL : read_descriptor(fd, ret_len);
    if (!data)
        tls_complain(errors, path, "cannot read it: %s", strerrordesc_np(errno));
    if (fd >= 0)
        close(fd);
    if (data && *ret_len >= TLS_FILE_MAX) {
        tls_complain(errors, path, "larger than %d MB, this is no certificate", TLS_FILE_MAX >> 20);
        free(data);
        return NULL;
    }
    return data;
}

/* A function that takes one PEM block of the wanted kind. False: it is damaged. */
typedef bool take_block(void *context, const uint8_t *der, long len);

enum pem_end { PEM_ALL, PEM_NONE, PEM_DAMAGED };

/* Gives each block with one of our certificate labels to `take`; others are passed over. */
static enum pem_end walk_certificates(const char *data, size_t len, take_block *take, void *context)
{
    BIO *bio = BIO_new_mem_buf(data, (ssize_t)len);
    char *name, *header;
    uint8_t *der;
    long der_len;
    unsigned found = 0;
    bool sound = true;
    while (bio && sound && PEM_read_bio(bio, &name, &header, &der, &der_len)) {
        if (strcmp(name, "CERTIFICATE") == 0 || strcmp(name, "X509 CERTIFICATE") == 0) {
            sound = take(context, der, der_len);
            found++;
        }
        OPENSSL_free(name);
        OPENSSL_free(header);
        OPENSSL_free(der);
    }
    bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    BIO_free(bio);
    ERR_clear_error();
    if (!sound || !at_end)
        return PEM_DAMAGED;
    return found ? PEM_ALL : PEM_NONE;
}

static bool report_end(enum pem_end end, const char *path, struct sink *errors)
{
    if (end == PEM_DAMAGED)
        tls_complain(errors, path, "a certificate in it is damaged or cut short");
    if (end == PEM_NONE)
        tls_complain(errors, path, "no PEM certificate in it (-----BEGIN CERTIFICATE-----)");
    return end == PEM_ALL;
}

/* ---- roots ---- */

static bool add_root(void *context, const uint8_t *der, long len)
{
    X509 *root = d2i_X509(NULL, &der, len);
    bool sound = root != NULL;
    if (sound)
        X509_STORE_add_cert(context, root); /* a duplicate is no harm */
    X509_free(root);
    return sound;
}

X509_STORE *tls_roots_load(const char *path, struct sink *errors)
{
    size_t len;
    char *data = tls_read_file(path, &len, errors);
    X509_STORE *store = data ? X509_STORE_new() : NULL;
    if (store && !report_end(walk_certificates(data, len, add_root, store), path, errors)) {
        X509_STORE_free(store);
        store = NULL;
    }
    free(data);
    return store;
}

/* ---- an identity ---- */

static bool add_to_chain(void *context, const uint8_t *der, long len)
{
    struct tls_identity *identity = context;
    const uint8_t *at = der;
    X509 *certificate = d2i_X509(NULL, &at, len);
    bool sound = certificate && at == der + len && identity->chain_len < TLS_CHAIN;
    X509_free(certificate);
    if (sound)
        identity->chain[identity->chain_len++] = CRYPTO_BUFFER_new(der, (size_t)len, NULL);
    return sound && identity->chain[identity->chain_len - 1];
}

static bool load_chain(const char *path, struct tls_identity *identity, struct sink *errors)
{
    size_t len;
    char *data = tls_read_file(path, &len, errors);
    bool good =
        data && report_end(walk_certificates(data, len, add_to_chain, identity), path, errors);
    free(data);
    return good;
}

/* Nobody is there to be asked for a password. */
static int no_password(char *buffer, int size, int for_writing, void *asked)
{
    *(bool *)asked = true;
    return 0;
}

static void complain_about_key(const char *path, const char *data, bool encrypted,
                               struct sink *errors)
{
    if (encrypted)
        tls_complain(errors, path, "the key is protected by a password; it must not be");
    else if (!strstr(data, "PRIVATE KEY-----"))
        tls_complain(errors, path, "no PEM private key in it (-----BEGIN PRIVATE KEY-----)");
    else
        tls_complain(errors, path, "the private key in it is damaged or cut short");
}

static bool load_key(const char *path, struct tls_identity *identity, struct sink *errors)
{
    size_t len;
    char *data = tls_read_file(path, &len, errors);
    if (!data)
        return false;
    bool asked = false;
    BIO *bio = BIO_new_mem_buf(data, (ssize_t)len);
    identity->key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_password, &asked) : NULL;
    BIO_free(bio);
    ERR_clear_error();
    if (!identity->key)
        complain_about_key(path, data, asked, errors);
    OPENSSL_cleanse(data, len);
    free(data);
    return identity->key != NULL;
}

static void put_date(const ASN1_TIME *time, char *text, size_t size)
{
    BIO *bio = BIO_new(BIO_s_mem());
    const uint8_t *data;
    size_t len;
    if (bio && ASN1_TIME_print(bio, time) && BIO_mem_contents(bio, &data, &len))
        snprintf(text, size, "%.*s", (int)len, (const char *)data);
    else
        snprintf(text, size, "an unknown time");
    BIO_free(bio);
}

static bool check_dates(const char *path, const X509 *leaf, struct sink *errors)
{
    char date[64];
    if (X509_cmp_current_time(X509_get0_notAfter(leaf)) < 0) {
        put_date(X509_get0_notAfter(leaf), date, sizeof date);
        tls_complain(errors, path, "the certificate expired on %s", date);
        return false;
    }
    if (X509_cmp_current_time(X509_get0_notBefore(leaf)) > 0) {
        put_date(X509_get0_notBefore(leaf), date, sizeof date);
        tls_complain(errors, path, "the certificate is valid only from %s", date);
        return false;
    }
    return true;
}

/* As clients ask for it. A wildcard must stand in the certificate as it is: try a name below it. */
static bool covers(X509 *leaf, struct span name)
{
    char below[300];
    struct sink sink;
    sink_init(&sink, below, sizeof below);
    if (span_starts_with(name, SPAN("*.")))
        sink_put(&sink, SPAN("any-name"));
    sink_put(&sink, span_starts_with(name, SPAN("*.")) ? span_skip(name, 1) : name);
    return X509_check_host(leaf, below, sink.len, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT, NULL) == 1;
}

static bool check_leaf(const struct tls_identity_files *files, const struct tls_identity *identity,
                       X509 *leaf, struct sink *errors, struct sink *remarks)
{
    const char *path = files->certificate;
    bool good = check_dates(path, leaf, errors);
    if (!X509_check_private_key(leaf, identity->key)) {
        tls_complain(errors, path, "the key in %s belongs to another certificate", files->key);
        good = false;
    }
    if (X509_NAME_cmp(X509_get_subject_name(leaf), X509_get_issuer_name(leaf)) == 0)
        tls_complain(remarks, path, "the certificate is self-signed: clients that check refuse it");
    for (size_t i = 0; i < files->name_count; i++)
        if (!covers(leaf, files->names[i]))
            tls_complain(remarks, path, "the certificate does not cover the name %.*s",
                         SPAN_FORMAT(files->names[i]));
    ERR_clear_error();
    return good;
}

static bool keep_names(const struct tls_identity_files *files, struct tls_identity *identity)
{
    size_t octets = 0;
    for (size_t i = 0; i < files->name_count; i++)
        octets += files->names[i].len;
    identity->names = calloc(1, files->name_count * sizeof *identity->names + octets + 1);
    if (!identity->names)
        return false;
    char *at = (char *)(identity->names + files->name_count);
    for (size_t i = 0; i < files->name_count; i++) {
        memcpy(at, files->names[i].data, files->names[i].len);
        identity->names[i] = span_of(at, files->names[i].len);
        at += files->names[i].len;
    }
    identity->name_count = files->name_count;
    return true;
}

bool tls_identity_load(const struct tls_identity_files *files, struct tls_identity *ret_identity,
                       struct sink *errors, struct sink *remarks)
{
    struct tls_identity identity = {0};
    bool good = load_chain(files->certificate, &identity, errors);
    good = load_key(files->key, &identity, errors) && good;
    X509 *leaf = good ? X509_parse_from_buffer(identity.chain[0]) : NULL;
    good =
        leaf && check_leaf(files, &identity, leaf, errors, remarks) && keep_names(files, &identity);
    X509_free(leaf);
    if (good)
        *ret_identity = identity;
    else
        tls_identity_fini(&identity);
    return good;
}

void tls_identity_fini(struct tls_identity *identity)
{
    for (size_t i = 0; i < identity->chain_len; i++)
        CRYPTO_BUFFER_free(identity->chain[i]);
    EVP_PKEY_free(identity->key);
    free(identity->names);
    *identity = (struct tls_identity){0};
}
