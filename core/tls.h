/* tls: TLS 1.2 and 1.3 as a filter between memory and memory.
 *
 * No I/O, no clock of ours, no log. A `struct tls` is one side of one session: what came from the
 * peer goes in as a span, what has to go to the peer is appended to a sink, and between the two are
 * plain octets. core/conn.h puts it between a socket and a protocol; nothing else should need it.
 *
 *     handshake: tls_handshake until TLS_DONE; send what is in the sink after each call
 *     reading:   tls_read until TLS_MORE_INPUT
 *     writing:   tls_write takes up to a record of plain octets and seals it into the sink
 *     ending:    tls_end seals the close_notify
 *
 * A `struct tls_context` is what sessions are made with: our certificates and their keys, or the
 * roots that we believe. It never changes, is counted, and may be used by all threads; new files
 * make a new context (tls_service.h). Each has ticket keys of its own, random and changed every 48
 * hours by the library, so no ticket of one service opens a session of another.
 *
 * The library is BoringSSL, and only core/tls*.c see its headers. It holds a record's memory only
 * while a record is incomplete, and drops what only the handshake needed (an idle session: see
 * docs/ARCHITECTURE.md). What it allocates is bounded by a record in each direction and 64 KB of
 * handshake.
 *
 * A peer's certificate is judged in every handshake (chain, dates, name by subjectAltName: RFC
 * 6125, RFC 7672 does not apply), and the judgement can be asked for; only a client that was told
 * to insist on it fails because of it. A resumed session keeps the judgement of its first one. */
#pragma once

#include "core/check.h"
#include "core/sink.h"

enum {
    TLS_RECORD = 16384,           /* plain octets of one record, at most */
    TLS_ROOM = TLS_RECORD + 1024, /* a sink of this size takes any record and an alert behind it */
    TLS_ERROR = 2048,             /* text of what is wrong with files */
};

/* ---- contexts: made from files; they block, for start-up and the control thread ---- */

struct tls_context;

struct tls_identity_files {
    const char *certificate, *key; /* PEM; the certificate, then its issuers */
    const struct span *names;      /* for SNI: "mail.example.com", "*.example.com"; any case */
    size_t name_count;
};

/* The first identity is for clients that ask for no name, or for one that nobody has. `client_ca`
 * (or NULL): clients are asked for a certificate, which is judged by these roots and never needed.
 * `service` keeps tickets apart. 0 or -EINVAL (with a line "FILE: what is
 * wrong" per mistake in `error`), -ENOMEM. */
MUST_USE int tls_context_server(const struct tls_identity_files *identities, size_t count,
                                const char *client_ca, struct span service,
                                struct tls_context **ret_context, char error[TLS_ERROR]);

/* `roots`: PEM file of the certificates that are believed. */
MUST_USE int tls_context_client(const char *roots, struct tls_context **ret_context,
                                char error[TLS_ERROR]);

/* What is odd about the files but no reason to refuse them, a line each; empty: nothing. As long as
 * the context. */
struct span tls_context_remarks(const struct tls_context *context);

struct tls_context *tls_context_share(struct tls_context *context); /* another reference */
struct tls_context *tls_context_free(struct tls_context *context);  /* gives one back */

/* ---- sessions ---- */

struct tls;
struct tls_session; /* what a client needs to resume */

struct tls_client_options {
    struct span name; /* the host as we know it: SNI and subjectAltName; or an address literal,
                         which must be in the certificate as such and is no SNI */
    bool insecure;    /* any certificate will do */
    const struct tls_session *resume; /* or NULL; borrowed for the call */
};

/* `context` is shared, not taken. NULL: no memory. */
struct tls *tls_new_server(struct tls_context *context);
struct tls *tls_new_client(struct tls_context *context, const struct tls_client_options *options);
struct tls *tls_free(struct tls *tls);

enum tls_result {
    TLS_DONE,       /* it is done, or something was read or taken */
    TLS_MORE_INPUT, /* all input is consumed, more is needed */
    TLS_MORE_ROOM,  /* the sink is full: send it and call again */
    TLS_ENDED,      /* the peer has said close_notify */
    TLS_FAILED,     /* for good: tls_put_trouble. The sink may hold an alert for the peer */
};

/* All consume from the front of `input` and append to `output`, whose `full` they never set. */
enum tls_result tls_handshake(struct tls *tls, struct span *input, struct sink *output);

/* TLS_DONE: *ret_len octets (1 to `capacity`, which is at least TLS_RECORD) are in `data`. */
enum tls_result tls_read(struct tls *tls, struct span *input, struct sink *output, void *data,
                         size_t capacity, size_t *ret_len);

/* Takes up to TLS_RECORD octets from the front of `plain`, as many as `output` has room for when
 * sealed; TLS_MORE_ROOM: none. */
enum tls_result tls_write(struct tls *tls, struct span *plain, struct sink *output);

/* Our close_notify, if there is a session to end and room. */
void tls_end(struct tls *tls, struct sink *output);

/* ---- questions, after the handshake; what they return is static or lives as long as `tls` ---- */

struct tls_facts {
    struct span version; /* "TLSv1.3", static */
    struct span cipher;  /* "TLS_AES_128_GCM_SHA256", static */
    struct span subject; /* a verified peer's, "/O=Example/CN=client.example"; empty: not known, as
                            when a session was resumed */
    bool verified;       /* the peer's certificate: chain, dates and (of a server) name */
    bool resumed;
};
void tls_facts(const struct tls *tls, struct tls_facts *ret_facts);

/* Why TLS_FAILED, in a few words: "certificate: self signed certificate", "alert unknown ca". Made
 * of the library's own words, so it is safe to show. */
void tls_put_trouble(const struct tls *tls, struct sink *sink);

/* The newest session that the peer gave us for resuming, the caller's from now on; NULL: none since
 * the last call. TLS 1.3 gives it some time after the handshake. */
struct tls_session *tls_take_session(struct tls *tls);
struct tls_session *tls_session_free(struct tls_session *session);
/* TLS 1.3: must be used once only. */
bool tls_session_single_use(const struct tls_session *session);
