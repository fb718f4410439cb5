/* The library reads and writes through a BIO of ours whose two ends are the span and the sink of
 * the call that runs: no socket, and no buffer of its own in between. An empty span is "try again",
 * a full sink likewise.
 *
 * Failure modes: the library's error queue belongs to the thread, so it is emptied before each call
 * and the newest entry is kept in the session when a call fails. */
#include "core/tls_private.h"

#include <openssl/bio.h>
#include <stdlib.h>

/* ---- the BIO ---- */

static int bio_read(BIO *bio, char *data, int len)
{
    struct tls *tls = bio->ptr;
    BIO_clear_retry_flags(bio);
    struct span part = tls->input ? span_first(*tls->input, (size_t)len) : SPAN("");
    if (part.len == 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    memcpy(data, part.data, part.len);
    *tls->input = span_skip(*tls->input, part.len);
    return (int)part.len;
}

static int bio_write(BIO *bio, const char *data, int len)
{
    struct tls *tls = bio->ptr;
    BIO_clear_retry_flags(bio);
    size_t room = tls->output ? tls->output->capacity - tls->output->len : 0;
    struct span part = span_first(span_of(data, (size_t)len), room);
    if (part.len == 0) {
        BIO_set_retry_write(bio);
        return -1;
    }
    sink_put(tls->output, part);
    return (int)part.len;
}

static long bio_control(BIO *bio, int command, long number, void *pointer)
{
    return command == BIO_CTRL_FLUSH;
}

BIO *tls_bio_new(struct tls *tls)
{
    static const BIO_METHOD method = {
        .type = BIO_TYPE_SOURCE_SINK,
        .name = "ringpost",
        .bwrite = bio_write,
        .bread = bio_read,
        .ctrl = bio_control,
    };
    BIO *bio = BIO_new(&method);
    if (!bio)
        return NULL;
    bio->ptr = tls;
    bio->init = 1;
    return bio;
}

/* ---- life ---- */

static struct tls *make(struct tls_context *context, struct span name)
{
    struct tls *tls = calloc(1, sizeof *tls + name.len + 1);
    if (!tls)
        return NULL;
    if (name.len)
        memcpy(tls->name, name.data, name.len);
    tls->context = tls_context_share(context);
    tls->ssl = SSL_new(context->ctx);
    BIO *bio = tls->ssl ? tls_bio_new(tls) : NULL;
    if (!bio || !SSL_set_app_data(tls->ssl, tls)) {
        BIO_free(bio);
        return tls_free(tls);
    }
    SSL_set_bio(tls->ssl, bio, bio);
    SSL_set_shed_handshake_config(tls->ssl, 1);
    return tls;
}

struct tls *tls_new_server(struct tls_context *context)
{
    check(!context->client);
    struct tls *tls = make(context, SPAN(""));
    if (tls)
        SSL_set_accept_state(tls->ssl);
    return tls;
}

static bool is_address(const char *name)
{
    return strchr(name, ':') || strspn(name, "0123456789.") == strlen(name);
}

struct tls *tls_new_client(struct tls_context *context, const struct tls_client_options *options)
{
    check(context->client);
    struct tls *tls = make(context, options->name);
    if (!tls)
        return NULL;
    tls->insecure = options->insecure;
    SSL_set_connect_state(tls->ssl);
    if (*tls->name && !is_address(tls->name) && !SSL_set_tlsext_host_name(tls->ssl, tls->name))
        return tls_free(tls);
    /* What was not proven then is not proven now. */
    if (options->resume && (options->insecure || options->resume->verified)) {
        tls->verified = options->resume->verified;
        if (!SSL_set_session(tls->ssl, options->resume->session))
            return tls_free(tls);
    }
    return tls;
}

struct tls *tls_free(struct tls *tls)
{
    if (!tls)
        return NULL;
    SSL_free(tls->ssl);
    tls->session = tls_session_free(tls->session);
    tls_context_free(tls->context);
    free(tls->subject);
    free(tls);
    return NULL;
}

/* ---- the filter ---- */

static void begin_call(struct tls *tls, struct span *input, struct sink *output)
{
    tls->input = input;
    tls->output = output;
    ERR_clear_error();
}

/* What the library's `status` means. Always the last thing of a call. */
static enum tls_result end_call(struct tls *tls, int status)
{
    enum tls_result result;
    switch (status > 0 ? SSL_ERROR_NONE : SSL_get_error(tls->ssl, status)) {
    case SSL_ERROR_NONE:
        result = TLS_DONE;
        break;
    case SSL_ERROR_WANT_READ:
        result = TLS_MORE_INPUT;
        break;
    case SSL_ERROR_WANT_WRITE:
        result = TLS_MORE_ROOM;
        break;
    case SSL_ERROR_ZERO_RETURN:
        tls->ended = true;
        result = TLS_ENDED;
        break;
    default:
        tls->failed = true;
        tls->trouble = ERR_peek_last_error();
        result = TLS_FAILED;
    }
    tls->input = NULL;
    tls->output = NULL;
    return result;
}

enum tls_result tls_handshake(struct tls *tls, struct span *input, struct sink *output)
{
    if (tls->failed)
        return TLS_FAILED;
    begin_call(tls, input, output);
    enum tls_result result = end_call(tls, SSL_do_handshake(tls->ssl));
    if (result == TLS_ENDED) { /* a close_notify before there was anything to close */
        tls->failed = true;
        return TLS_FAILED;
    }
    if (result != TLS_DONE)
        return result;
    tls->was_resumed = SSL_session_reused(tls->ssl);
    if (!tls->was_resumed && !tls->judged)
        tls->verified = false; /* what a session said that was not taken up */
    return TLS_DONE;
}

enum tls_result tls_read(struct tls *tls, struct span *input, struct sink *output, void *data,
                         size_t capacity, size_t *ret_len)
{
    check(capacity >= TLS_RECORD);
    if (tls->failed || tls->ended)
        return tls->failed ? TLS_FAILED : TLS_ENDED;
    begin_call(tls, input, output);
    int len = SSL_read(tls->ssl, data, (int)capacity);
    enum tls_result result = end_call(tls, len);
    if (result == TLS_DONE)
        *ret_len = (size_t)len;
    return result;
}

enum { FLIGHT_RESERVE = 256, LEAST_RECORD = 1024 };

enum tls_result tls_write(struct tls *tls, struct span *plain, struct sink *output)
{
    if (tls->failed)
        return TLS_FAILED;
    size_t room = output->capacity - output->len;
    size_t extra = SSL_max_seal_overhead(tls->ssl) + FLIGHT_RESERVE;
    size_t least = plain->len < LEAST_RECORD ? plain->len : LEAST_RECORD;
    if (room < extra + least)
        return TLS_MORE_ROOM;
    struct span part = span_first(*plain, room - extra < TLS_RECORD ? room - extra : TLS_RECORD);
    begin_call(tls, NULL, output);
    int written = SSL_write(tls->ssl, part.data, (int)part.len);
    enum tls_result result = end_call(tls, written);
    if (result == TLS_DONE)
        *plain = span_skip(*plain, (size_t)written);
    else
        tls->failed = true; /* there was room, so the session is broken */
    return tls->failed ? TLS_FAILED : result;
}

void tls_end(struct tls *tls, struct sink *output)
{
    if (tls->failed || SSL_in_init(tls->ssl))
        return;
    begin_call(tls, NULL, output);
    SSL_shutdown(tls->ssl);
    ERR_clear_error();
    tls->output = NULL;
}

/* ---- questions ---- */

void tls_facts(const struct tls *tls, struct tls_facts *ret_facts)
{
    const SSL_CIPHER *cipher = SSL_get_current_cipher(tls->ssl);
    *ret_facts = (struct tls_facts){
        .version = span_string(SSL_get_version(tls->ssl)),
        .cipher = span_string(cipher ? SSL_CIPHER_standard_name(cipher) : ""),
        .subject = span_string(tls->subject),
        .verified = tls->verified,
        .resumed = tls->was_resumed,
    };
}

/* "SSLV3_ALERT_HANDSHAKE_FAILURE": the prefix names where the number was first defined, not what is
 * spoken here. */
static void put_reason(struct span reason, struct sink *sink)
{
    static const char *const prefixes[] = {"SSLV3_", "TLSV1_"};
    for (size_t i = 0; i < countof(prefixes); i++)
        if (span_starts_with(reason, span_string(prefixes[i])))
            reason = span_skip(reason, strlen(prefixes[i]));
    for (size_t i = 0; i < reason.len; i++)
        sink_byte(sink, reason.data[i] == '_' ? ' ' : ascii_lower(reason.data[i]));
}

void tls_put_trouble(const struct tls *tls, struct sink *sink)
{
    const char *reason = ERR_reason_error_string(tls->trouble);
    if (tls->judged && !tls->verified && !tls->insecure &&
        ERR_GET_REASON(tls->trouble) == SSL_R_CERTIFICATE_VERIFY_FAILED) {
        sink_put(sink, SPAN("certificate: "));
        sink_put(sink, span_string(X509_verify_cert_error_string(tls->verify_error)));
        return;
    }
    if (tls->ended)
        reason = "ended by the peer";
    put_reason(span_string(reason ? reason : "the session broke"), sink);
}

/* ---- sessions to resume ---- */

struct tls_session *tls_take_session(struct tls *tls)
{
    struct tls_session *session = tls->session;
    tls->session = NULL;
    return session;
}

struct tls_session *tls_session_free(struct tls_session *session)
{
    if (!session)
        return NULL;
    SSL_SESSION_free(session->session);
    tls_context_free(session->context);
    free(session);
    return NULL;
}

bool tls_session_single_use(const struct tls_session *session)
{
    return SSL_SESSION_should_be_single_use(session->session);
}
