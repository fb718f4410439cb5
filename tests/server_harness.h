/* server_harness: a whole SMTP session without a socket: input in any cuts, all replies and all
 * stored messages as text. For one source file per program: it defines the queue's message
 * functions, which the linker then does not take from the library.
 *
 * The mail system it plays: mx.example takes mail for here.example, whose only mailboxes are `user`
 * and `later` (which cannot be decided now); everything else needs `relay`. */
#pragma once

#include "core/check.h"
#include "smtp/received.h"
#include "smtp/server.h"
#include "smtp/xclient.h"
#include "tests/message_fake.h"

#include <stdio.h>
#include <stdlib.h>

enum { HARNESS_WALL_MS = 1000 };

struct harness {
    struct server_settings settings;
    struct metrics metrics;
    struct share share;
    struct slots slots;
    struct address peer;
    struct op room;
    const struct server *server; /* the present session's */
    bool relay;
    int store_result;
    size_t reply_room;           /* size of the sink */
    struct sink replies, stored; /* everything, as text */
    bool closed;
    bool handshake;           /* STARTTLS was answered: the next input comes over TLS */
    enum start_tls start_tls; /* what the owner finds then */
    bool may_xclient;
    struct server_identity identity; /* who `tim` is */
};

/* ---- a stored message as text ---- */

/* Readable, and one line a line: "\r\n" ends a line, other odd octets are escaped. */
static void put_escaped(struct sink *sink, struct span text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (c == '\\')
            sink_put(sink, SPAN("\\\\"));
        else if (c >= 0x20 && c < 0x7f)
            sink_byte(sink, (char)c);
        else
            sink_format(sink, "\\x%02x", c);
    }
}

static void put_recipient(struct sink *sink, const struct recipient *recipient)
{
    sink_put(sink, SPAN(" <"));
    put_escaped(sink, recipient->address);
    sink_byte(sink, '>');
    if (recipient->notify)
        sink_format(sink, " notify=%u", recipient->notify);
    if (recipient->original.len) {
        sink_put(sink, SPAN(" orcpt="));
        put_escaped(sink, recipient->original);
    }
}

static void put_named(struct sink *sink, const char *name, struct span value)
{
    if (value.len)
        sink_format(sink, " %s=%.*s", name, SPAN_FORMAT(value));
}

static void put_envelope(struct sink *sink, const struct envelope *envelope, bool separated)
{
    static const struct {
        uint8_t flag;
        const char *name;
    } flags[] = {
        {ENVELOPE_8BIT, " 8bitmime"},
        {ENVELOPE_UTF8, " smtputf8"},
        {ENVELOPE_HEADER_HAS_8BIT, " header-has-8bit"},
        {ENVELOPE_BODY_HAS_8BIT, " body-has-8bit"},
    };
    sink_put(sink, SPAN("M: <"));
    put_escaped(sink, envelope->reverse_path);
    sink_put(sink, SPAN("> to"));
    for (unsigned i = 0; i < envelope->recipient_count; i++)
        put_recipient(sink, &envelope->recipients[i]);
    if (envelope->ret)
        sink_put(sink, envelope->ret == RET_FULL ? SPAN(" ret=full") : SPAN(" ret=hdrs"));
    put_named(sink, "envid", envelope->envid);
    put_named(sink, "tenant", envelope->tenant);
    put_named(sink, "campaign", envelope->campaign);
    for (size_t i = 0; i < countof(flags); i++)
        if (envelope->flags & flags[i].flag)
            sink_put(sink, span_string(flags[i].name));
    if (separated)
        sink_put(sink, SPAN(" blank-line-added"));
    sink_byte(sink, '\n');
}

static void put_body(struct sink *sink, struct span body)
{
    while (body.len) {
        size_t line_len = 0;
        while (line_len < body.len && memcmp(body.data + line_len, "\r\n", 2) != 0)
            line_len++;
        sink_put(sink, SPAN("B: "));
        put_escaped(sink, span_first(body, line_len));
        sink_byte(sink, '\n');
        body = span_skip(body, line_len + 2);
    }
}

/* The fields that were added behind Received, which ends where a line is not folded. */
static void put_added_fields(struct sink *sink, struct span head)
{
    bool received = true;
    while (head.len) {
        size_t line_len = span_find(head, '\r');
        if (!received && line_len) {
            sink_put(sink, SPAN("H: "));
            put_escaped(sink, span_first(head, line_len));
            sink_byte(sink, '\n');
        }
        head = span_skip(head, line_len + 2);
        received = received && head.len && head.data[0] == '\t';
    }
}

static void record_message(struct harness *harness, const struct message *message)
{
    char head[RECEIVED_TEXT + 400];
    size_t head_len = text_copy(&message->head, 0, head, sizeof head);
    struct span end = span_skip(span_of(head, head_len), head_len - 4);
    check(message->head.len == head_len && memcmp(head, "Received: from ", 15) == 0);
    check(message->envelope.size == message->head.len + message->body.len);
    size_t body_len = message->body.len;
    char *body = malloc(body_len + 1);
    check(body && text_copy(&message->body, 0, body, body_len) == body_len);
    check(body_len == 0 || (body_len >= 2 && memcmp(body + body_len - 2, "\r\n", 2) == 0));
    put_envelope(&harness->stored, &message->envelope, span_equals(end, SPAN("\r\n\r\n")));
    put_added_fields(&harness->stored, span_of(head, head_len));
    put_body(&harness->stored, span_of(body, body_len));
    free(body);
}

/* ---- the session ---- */

/* An account may send as anybody but three. */
static enum sender_verdict harness_may_send(void *context, const struct mailbox *sender)
{
    static const struct {
        struct span domain;
        enum sender_verdict verdict;
    } odd[] = {
        {SPAN("denied.example"), SENDER_DENIED},
        {SPAN("fast.example"), SENDER_TOO_FAST},
        {SPAN("stale.example"), SENDER_STALE},
    };
    for (size_t i = 0; i < countof(odd); i++)
        if (span_equals(sender->domain, odd[i].domain))
            return odd[i].verdict;
    return SENDER_ACCEPT;
}

static bool harness_may_author(void *context, struct span domain)
{
    return !span_equals(domain, SPAN("denied.example"));
}

static enum become_result harness_become(void *context, const struct xclient *client,
                                         const struct server_identity **ret_identity)
{
    struct harness *harness = context;
    if (client->has_login && span_equals(client->login, SPAN("many")))
        return BECOME_TOO_MANY;
    if (client->has_login && !span_equals(client->login, SPAN("tim")))
        return BECOME_NO_LOGIN;
    *ret_identity = client->has_login ? &harness->identity : NULL;
    if (client->has_address)
        harness->peer = client->address;
    return BECOME_DONE;
}

static enum relay_verdict harness_relay(void *context, const struct mailbox *recipient)
{
    const struct harness *harness = context;
    if (harness->server->identity)
        return RELAY_ACCEPT;
    bool ours = span_equals(recipient->domain, SPAN("here.example"));
    if (ours && span_equals(recipient->local, SPAN("later")))
        return RELAY_LATER;
    if (ours)
        return span_equals(recipient->local, SPAN("user")) ? RELAY_ACCEPT : RELAY_NO_MAILBOX;
    return harness->relay ? RELAY_ACCEPT : RELAY_DENIED;
}

static void harness_room(struct op *op)
{
}

/* `most`: room for the text of all replies, and for that of all messages. */
static void harness_init(struct harness *harness, size_t most)
{
    *harness = (struct harness){
        .relay = true,
        .reply_room = 2 * SERVER_REPLY_ROOM,
        .settings =
            {
                .hostname = SPAN("mx.example"),
                .limits = {.message_size = 1000000,
                           .header_size = 4096,
                           .received_headers = 100,
                           .line = 1000,
                           .recipients = 100,
                           .messages_per_connection = 100,
                           .errors = 1000,
                           .junk_commands = 1000,
                           .login_failures = 3,
                           .command_line = 2048},
                .may_relay = harness_relay,
                .metrics = &harness->metrics,
                .may_send = harness_may_send,
                .may_author = harness_may_author,
                .become = harness_become,
            },
        .identity = {.name = SPAN("tim")},
    };
    harness->peer.v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = {htonl(0xc0000207)}};
    op_init(&harness->room, harness_room);
    char *memory = malloc(2 * most);
    check(memory);
    sink_init(&harness->replies, memory, most);
    sink_init(&harness->stored, memory + most, most);
}

static void harness_fini(struct harness *harness)
{
    free(harness->replies.data);
}

static void harness_store(struct harness *harness, struct server *server, struct sink *sink)
{
    struct seal *seal;
    struct vet *vet;
    struct message *message = server_take_message(server, &seal, &vet);
    if (harness->store_result == 0)
        record_message(harness, message);
    message_abandon(message);
    server_stored(server, harness->store_result, sink);
}

static void harness_shake(struct harness *harness, struct server *server)
{
    static const struct tls_facts facts = {.version = SPAN("TLSv1.3"),
                                           .cipher = SPAN("TLS_AES_128_GCM_SHA256")};
    harness->handshake = false;
    server_secured(server, &facts);
}

/* Accounts: `tim` with "secret", and by SCRAM `user` with "pencil"; `busy` cannot be decided. */
static void harness_login(struct harness *harness, struct server *server, struct sink *sink)
{
    static const uint8_t random[SASL_RANDOM];
    struct scram_verifier verifier;
    struct span name = server_auth_name(server);
    bool busy = span_equals(name, SPAN("busy"));
    switch (server_auth_question(server)) {
    case AUTH_VERIFIER:
        check(password_scram(SPAN("{SCRAM-SHA-256}4096,W22ZaJ0SNY7soEsUEjb6gQ==,"
                                  "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,"
                                  "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="),
                             &verifier));
        if (busy)
            server_authenticated(server, AUTH_LATER, NULL, sink);
        else
            server_auth_verifier(server, &verifier, random, sink);
        return;
    case AUTH_PASSWORD: {
        bool good = span_equals(name, SPAN("tim")) &&
                    span_equals(server_auth_password(server), SPAN("secret"));
        enum auth_result result = busy ? AUTH_LATER : good ? AUTH_GOOD : AUTH_WRONG;
        server_authenticated(server, result, &harness->identity, sink);
        return;
    }
    default:
        server_authenticated(server,
                             server_auth_question(server) == AUTH_PROVED ? AUTH_GOOD : AUTH_WRONG,
                             &harness->identity, sink);
    }
}

/* Gives the session one receive's worth of input. The input is copied to memory of exactly its
 * size, so that a read beyond it is seen, and is gone afterwards. */
static void harness_feed(struct harness *harness, struct server *server, struct span input)
{
    char *copy = malloc(input.len ? input.len : 1);
    char *room = malloc(harness->reply_room);
    check(copy && room);
    if (input.len)
        memcpy(copy, input.data, input.len);
    struct span rest = span_of(copy, input.len);
    struct sink sink;
    sink_init(&sink, room, harness->reply_room);
    if (harness->handshake && input.len)
        harness_shake(harness, server);
    for (;;) {
        enum server_want want = server_input(server, &rest, &sink, HARNESS_WALL_MS);
        if (want == WANT_STORE && sink.capacity - sink.len >= SERVER_REPLY_ROOM) {
            harness_store(harness, server, &sink);
            continue;
        }
        if (want == WANT_AUTH && sink.capacity - sink.len >= SERVER_REPLY_ROOM) {
            harness_login(harness, server, &sink);
            continue;
        }
        if (want == WANT_TLS) {
            check(rest.len == 0);
            server_start_tls(server, harness->start_tls, &sink);
            harness->handshake = harness->start_tls == START_TLS_GO;
        }
        check(!sink.full);
        sink_put(&harness->replies, sink_span(&sink));
        sink.len = 0;
        if (want == WANT_INPUT || want == WANT_CLOSE || harness->handshake) {
            check(rest.len == 0);
            harness->closed = want == WANT_CLOSE;
            break;
        }
    }
    free(room);
    free(copy);
}

/* Begins a session: forgets what earlier ones said. */
static void harness_begin(struct harness *harness, struct server *server)
{
    harness->replies.len = harness->stored.len = 0;
    harness->closed = harness->handshake = false;
    harness->share.next_id = 1;
    harness->share.appends = 0;
    harness->share.room_was_denied = false;
    chunk_pool_init(&harness->share.pool, SIZE_MAX, 1 << 20);
    slots_init(&harness->slots, server_slot_size(&harness->settings.limits), 8, 4);
    harness->settings.share = &harness->share;
    harness->settings.slots = &harness->slots;
    harness->server = server;
    server_init(server, &harness->settings, &harness->peer, harness, &harness->room);
    server->may_xclient = harness->may_xclient;
}

/* Ends it; everything borrowed must have come back. */
static void harness_end(struct harness *harness, struct server *server)
{
    server_fini(server);
    check(harness->share.alive == 0);
    check(!harness->replies.full && !harness->stored.full);
    slots_fini(&harness->slots);
    chunk_pool_fini(&harness->share.pool);
}
