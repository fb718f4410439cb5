/* tls_pair: contexts from tests/certificates, and two sessions that talk through memory. */
#pragma once

#include "core/tls.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static inline const char *certificate_path(const char *file, char path[512])
{
    snprintf(path, 512, "%s/certificates/%s", RINGPOST_TESTS_DIR, file);
    return path;
}

/* NAME.pem with NAME.key, for clients that ask for nothing. */
static inline struct tls_context *server_context(const char *name, const char *client_ca,
                                                 const char *service)
{
    char file[64], certificate[512], key[512], ca[512], error[TLS_ERROR];
    struct tls_context *context = NULL;
    struct tls_identity_files identity = {.certificate = certificate, .key = key};
    snprintf(file, sizeof file, "%s.pem", name);
    certificate_path(file, certificate);
    snprintf(file, sizeof file, "%s.key", name);
    certificate_path(file, key);
    if (client_ca)
        certificate_path(client_ca, ca);
    int result = tls_context_server(&identity, 1, client_ca ? ca : NULL, span_string(service),
                                    &context, error);
    if (result < 0)
        fail_msg("%s", error);
    return context;
}

static inline struct tls_context *client_context(const char *roots)
{
    char path[512], error[TLS_ERROR];
    struct tls_context *context = NULL;
    if (tls_context_client(certificate_path(roots, path), &context, error) < 0)
        fail_msg("%s", error);
    return context;
}

/* What one side has said and the other has not heard yet. */
struct tls_wire {
    char data[1 << 18];
    struct sink sink;
    size_t heard;
};

static inline struct span wire_unheard(const struct tls_wire *wire)
{
    return span_skip(sink_span(&wire->sink), wire->heard);
}

static inline void wire_heard(struct tls_wire *wire, struct span rest)
{
    wire->heard = wire->sink.len - rest.len;
    if (wire->heard == wire->sink.len)
        wire->heard = wire->sink.len = 0;
}

struct tls_pair {
    struct tls *server, *client;
    struct tls_wire to_server, to_client;
    enum tls_result server_result, client_result;
    size_t cut; /* octets of input in a call; 0: all */
};

static inline void pair_init(struct tls_pair *pair, struct tls *server, struct tls *client)
{
    assert_non_null(server);
    assert_non_null(client);
    pair->server = server;
    pair->client = client;
    pair->cut = 0;
    pair->to_server.heard = pair->to_client.heard = 0;
    sink_init(&pair->to_server.sink, pair->to_server.data, sizeof pair->to_server.data);
    sink_init(&pair->to_client.sink, pair->to_client.data, sizeof pair->to_client.data);
}

static inline void pair_fini(struct tls_pair *pair)
{
    tls_free(pair->server);
    tls_free(pair->client);
}

static inline enum tls_result shake_side(struct tls *tls, struct tls_wire *from,
                                         struct tls_wire *to, size_t cut)
{
    enum tls_result result;
    do {
        struct span all = wire_unheard(from);
        struct span input = cut ? span_first(all, cut) : all;
        size_t before = input.len;
        result = tls_handshake(tls, &input, &to->sink);
        wire_heard(from, span_skip(all, before - input.len));
    } while (result == TLS_MORE_INPUT && wire_unheard(from).len);
    return result;
}

/* Both to the end, which may be a failure. */
static inline void pair_shake(struct tls_pair *pair)
{
    pair->client_result = pair->server_result = TLS_MORE_INPUT;
    for (unsigned round = 0; round < 10; round++) {
        if (pair->client_result == TLS_MORE_INPUT)
            pair->client_result =
                shake_side(pair->client, &pair->to_client, &pair->to_server, pair->cut);
        if (pair->server_result == TLS_MORE_INPUT)
            pair->server_result =
                shake_side(pair->server, &pair->to_server, &pair->to_client, pair->cut);
    }
}

static inline void expect_shaken(struct tls_pair *pair)
{
    pair_shake(pair);
    assert_int_equal(pair->client_result, TLS_DONE);
    assert_int_equal(pair->server_result, TLS_DONE);
}

static inline void expect_trouble(const struct tls *tls, const char *wanted)
{
    char text[256];
    struct sink sink;
    sink_init(&sink, text, sizeof text - 1);
    tls_put_trouble(tls, &sink);
    text[sink.len] = '\0';
    assert_string_equal(text, wanted);
}

/* One side's octets, read by the other; `wanted` NULL: nothing comes. */
static inline void expect_read(struct tls *tls, struct tls_wire *from, struct tls_wire *to,
                               const char *wanted)
{
    static char data[TLS_RECORD];
    size_t len = 0;
    struct span input = wire_unheard(from);
    enum tls_result result = tls_read(tls, &input, &to->sink, data, sizeof data, &len);
    wire_heard(from, input);
    assert_int_equal(result, wanted ? TLS_DONE : TLS_MORE_INPUT);
    if (wanted) {
        assert_int_equal(len, strlen(wanted));
        assert_memory_equal(data, wanted, len);
    }
}

static inline void say(struct tls *tls, struct tls_wire *to, const char *text)
{
    struct span plain = span_string(text);
    assert_int_equal(tls_write(tls, &plain, &to->sink), TLS_DONE);
    assert_int_equal(plain.len, 0);
}
