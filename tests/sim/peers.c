/* Recipients are "rN-mM-KIND@domain": N the recipient's index, M the message's number, KIND what
 * the server does with it: "ok", "bad" (always 550), "slow" (4yz a few times first), "never" (4yz
 * until it expires). The header "X-Message: M" tells a report of failure which message it is about;
 * its Final-Recipient lines tell the recipients. */
#include "tests/sim/peers.h"

#include "core/clock.h"
#include "core/sink.h"
#include "tests/sim/auditor.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- injector ---- */

enum { BODY_MAX = 400 * 1024 };

struct injector {
    struct address daemon;
    struct end *end;
    unsigned left; /* messages */
    unsigned on_connection;
    unsigned message, recipients, replies_due, refused;
    enum { GREETING, HELLO, ENVELOPE, END } step;
    char line[1024];
    size_t line_len;
};

static unsigned injecting;

static const struct end_events injector_events;

static void connect_again(void *context, uint64_t argument)
{
    struct injector *injector = context;
    if (injector->left == 0 || (world.calm && argument == 0)) {
        injecting--;
        free(injector);
        return;
    }
    static const struct address any = {0};
    injector->step = GREETING;
    injector->line_len = 0;
    injector->on_connection = 0;
    injector->end = net_dial(&any, &injector->daemon, &injector_events, injector);
}

static void reconnect(struct injector *injector)
{
    net_drop(injector->end);
    world_later(100 * NS_PER_MS + world_draw(3 * NS_PER_S), false, connect_again, injector, 0);
}

static void put(struct injector *injector, const char *text)
{
    net_send(injector->end, text, strlen(text));
}

static const char *pick_domain(void)
{
    static const char *const domains[] = {"d0.test", "d0.test",     "d1.test",   "d1.test",
                                          "d2.test", "single.test", "gone.test", "null.test"};
    return domains[world_draw(8)];
}

static const char *pick_kind(void)
{
    if (world.expiry && world_chance(50))
        return "never";
    return world_chance(100) ? "bad" : world_chance(200) ? "slow" : "ok";
}

static void send_envelope(struct injector *injector)
{
    char text[4096];
    struct sink sink;
    sink_init(&sink, text, sizeof text);
    injector->recipients = 1 + (unsigned)(world_chance(600) ? 0 : world_draw(6));
    injector->message = audit_new(injector->recipients);
    const char *domain = pick_domain();
    sink_format(&sink, "MAIL FROM:<sender@d3.test>\r\n");
    for (unsigned r = 0; r < injector->recipients; r++) {
        if (world_chance(500))
            domain = pick_domain();
        sink_format(&sink, "RCPT TO:<r%u-m%u-%s@%s>\r\n", r, injector->message, pick_kind(),
                    domain);
    }
    sink_format(&sink, "DATA\r\n");
    check(!sink.full);
    injector->step = ENVELOPE;
    injector->replies_due = injector->recipients + 2;
    injector->refused = 0;
    net_send(injector->end, text, sink.len);
}

static void send_body(struct injector *injector)
{
    size_t size = world_chance(20)    ? world_draw(BODY_MAX)
                  : world_chance(500) ? world_draw(24000)
                                      : world_draw(4000);
    char *body = malloc(size + 1024);
    check(body);
    size_t len =
        (size_t)sprintf(body, "Subject: simulated\r\nX-Message: %u\r\n\r\n", injector->message);
    while (len < size) {
        if (world_chance(50))
            len += (size_t)sprintf(body + len, "..dot\r\n");
        else
            len += (size_t)sprintf(body + len, "line %u of some text\r\n", (unsigned)len);
    }
    len += (size_t)sprintf(body + len, ".\r\n");
    injector->step = END;
    net_send(injector->end, body, len);
    free(body);
}

static void next_message(struct injector *injector)
{
    if (injector->left == 0 || world_chance(50)) {
        put(injector, "QUIT\r\n");
        reconnect(injector);
        return;
    }
    injector->left--;
    injector->on_connection++;
    send_envelope(injector);
}

static void note_promise(const struct injector *injector, const char *line)
{
    char id[32];
    const char *queued = strstr(line, "queued as ");
    check(queued && sscanf(queued, "queued as %31s", id) == 1);
    audit_id(injector->message, id);
    if (injector->refused == 0)
        audit_promised(injector->message);
}

static void take_reply(struct injector *injector, const char *line)
{
    if (line[3] == '-')
        return;
    bool good = line[0] == '2' || line[0] == '3';
    switch (injector->step) {
    case GREETING:
        if (!good) {
            reconnect(injector);
            return;
        }
        injector->step = HELLO;
        put(injector, "EHLO injector.test\r\n");
        return;
    case HELLO:
        next_message(injector);
        return;
    case ENVELOPE:
        injector->replies_due--;
        if (injector->replies_due > 0 && !good)
            injector->refused++; /* then the audit cannot say who was accepted: not promised */
        if (injector->replies_due > 0)
            return;
        if (line[0] == '3')
            send_body(injector);
        else
            reconnect(injector);
        return;
    case END:
        if (line[0] == '2')
            note_promise(injector, line);
        next_message(injector);
    }
}

static void injector_received(void *owner, struct end *end, const char *data, size_t len)
{
    struct injector *injector = owner;
    for (size_t i = 0; i < len; i++) {
        check(injector->line_len < sizeof injector->line - 1);
        injector->line[injector->line_len++] = data[i];
        if (data[i] != '\n')
            continue;
        injector->line[injector->line_len] = 0;
        injector->line_len = 0;
        take_reply(injector, injector->line);
        if (injector->end != end || !net_alive(end))
            return;
    }
}

static void injector_broken(void *owner, struct end *end)
{
    reconnect(owner);
}

static const struct end_events injector_events = {NULL, injector_received, injector_broken,
                                                  injector_broken};

void peers_inject(const struct address *daemon, unsigned messages)
{
    struct injector *injector = calloc(1, sizeof *injector);
    check(injector);
    injector->daemon = *daemon;
    injector->left = messages;
    injecting++;
    world_later(world_draw(2 * NS_PER_S), false, connect_again, injector, 0);
}

bool peers_injecting(void)
{
    return injecting > 0;
}

/* ---- receiving servers ---- */

enum { SERVER_RECIPIENTS = 64, SERVER_DATA = 1 << 20 };

struct server {
    struct end *end;
    struct server *next;
    bool chunking, pipelining;
    enum { COMMANDS, DATA, CHUNK } mode;
    uint64_t number;
    bool thinks; /* about a final dot; what comes meanwhile waits */
    char *waiting;
    size_t waiting_len;
    char line[2048];
    size_t line_len;
    char *data;
    size_t data_len, chunk_left;
    bool chunk_last;
    bool mail_accepted, from_null;
    unsigned count;
    struct {
        unsigned recipient, message;
        bool known; /* "rN-mM-..." */
    } recipients[SERVER_RECIPIENTS];
    /* The answers to the last two messages may not have reached the daemon: it sends a second one
     * before it has heard the first. */
    struct answered {
        unsigned count;
        struct {
            unsigned recipient, message;
        } copies[SERVER_RECIPIENTS];
    } answered[2];
};

static struct server *live_servers;
static uint64_t servers_made;

static void answer(struct server *server, const char *text)
{
    say("server %p says %s", (void *)server, text);
    net_send(server->end, text, strlen(text));
}

static void was_heard(struct answered *answered)
{
    for (unsigned i = 0; i < answered->count; i++)
        audit_heard(answered->copies[i].message, answered->copies[i].recipient);
    answered->count = 0;
}

static void excuse_unheard(struct server *server, const char *why)
{
    for (unsigned a = 0; a < 2; a++)
        for (unsigned i = 0; i < server->answered[a].count; i++)
            audit_excuse(server->answered[a].copies[i].message,
                         server->answered[a].copies[i].recipient, why);
    server->answered[0].count = server->answered[1].count = 0;
}

static void leave(struct server *server, const char *why)
{
    say("server %p leaves: %s", (void *)server, why);
    excuse_unheard(server, why);
    for (struct server **at = &live_servers; *at; at = &(*at)->next)
        if (*at == server) {
            *at = server->next;
            break;
        }
    free(server->waiting);
    free(server->data);
    free(server);
}

static void server_broken(void *owner, struct end *end)
{
    net_drop(end);
    leave(owner, "connection broken");
}

static void close_server(struct server *server, const char *why)
{
    net_drop(server->end);
    leave(server, why);
}

static void note_recipient(struct server *server, const char *line)
{
    unsigned recipient, message;
    const char *at = strchr(line, '<');
    bool known = at && sscanf(at, "<r%u-m%u-", &recipient, &message) == 2;
    check(server->count < SERVER_RECIPIENTS);
    server->recipients[server->count].known = known;
    if (known) {
        server->recipients[server->count].recipient = recipient;
        server->recipients[server->count].message = message;
    }
    server->count++;
}

/* A report of failure names each copy in a Final-Recipient line. What follows the last one may be
 * the original, which says nothing about this report. */
static void read_report(struct server *server)
{
    static const char field[] = "\r\nFinal-Recipient: rfc822; ";
    for (const char *at = server->data; (at = strstr(at, field));) {
        unsigned recipient, message;
        at += sizeof field - 1;
        const char *end = strstr(at, "\r\n\r\n"), *failed = strstr(at, "\r\nAction: failed\r\n");
        bool names_copy = sscanf(at, "r%u-m%u-", &recipient, &message) == 2;
        if (!names_copy || !failed || (end && failed > end))
            continue;
        audit_reported(message, recipient);
        const char *expired = strstr(at, "\r\nStatus: 4.4.7\r\n");
        if (expired && (!end || expired < end))
            audit_expired(message, recipient);
    }
}

static void forget_transaction(struct server *server)
{
    server->count = 0;
    server->data_len = 0;
    server->mail_accepted = false;
    server->mode = COMMANDS;
}

static void server_received(void *owner, struct end *end, const char *data, size_t len);

/* By number: the server may be gone. */
static void on_thought(void *context, uint64_t number)
{
    struct server *server = live_servers;
    while (server && server->number != number)
        server = server->next;
    if (!server)
        return;
    server->thinks = false;
    answer(server, "250 2.0.0 taken\r\n");
    char *waiting = server->waiting;
    size_t len = server->waiting_len;
    server->waiting = NULL;
    server->waiting_len = 0;
    server_received(server, server->end, waiting, len);
    free(waiting);
}

static void think(struct server *server, uint64_t delay_ns)
{
    server->thinks = true;
    world_later(delay_ns, false, on_thought, NULL, server->number);
}

static void wait_with(struct server *server, const char *data, size_t len)
{
    server->waiting = realloc(server->waiting, server->waiting_len + len);
    check(server->waiting);
    memcpy(server->waiting + server->waiting_len, data, len);
    server->waiting_len += len;
}

static void end_of_message(struct server *server)
{
    if (world_fault(20)) {
        answer(server, "451 4.3.0 try later\r\n");
        forget_transaction(server);
        return;
    }
    server->data[server->data_len] = 0;
    was_heard(&server->answered[0]);
    server->answered[0] = server->answered[1];
    server->answered[1].count = 0;
    struct answered *answered = &server->answered[1];
    if (server->from_null)
        read_report(server);
    for (unsigned i = 0; i < server->count; i++) {
        if (!server->recipients[i].known)
            continue;
        audit_received(server->recipients[i].message, server->recipients[i].recipient);
        answered->copies[answered->count].message = server->recipients[i].message;
        answered->copies[answered->count++].recipient = server->recipients[i].recipient;
    }
    forget_transaction(server);
    if (world_fault(20))
        think(server, world_draw(15 * 60 * NS_PER_S));
    else
        answer(server, "250 2.0.0 taken\r\n");
}

static void run_command(struct server *server, const char *line)
{
    say("server %p hears %s", (void *)server, line);
    if (strncmp(line, "EHLO", 4) == 0) {
        answer(server, "250-sink.test\r\n");
        if (server->pipelining)
            answer(server, "250-PIPELINING\r\n");
        if (server->chunking)
            answer(server, "250-CHUNKING\r\n");
        answer(server, "250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n");
    } else if (strncmp(line, "MAIL", 4) == 0) {
        server->count = 0;
        server->from_null = strstr(line, "<>") != NULL;
        server->mail_accepted = !world_fault(20);
        answer(server, server->mail_accepted ? "250 2.1.0 ok\r\n" : "450 4.7.1 not now\r\n");
    } else if (strncmp(line, "RCPT", 4) == 0) {
        if (!server->mail_accepted) {
            answer(server, "503 5.5.1 MAIL first\r\n");
        } else if (strstr(line, "-bad@")) {
            answer(server, "550 5.1.1 no such user\r\n");
        } else if ((strstr(line, "-slow@") && world_fault(600)) || strstr(line, "-never@") ||
                   world_fault(10)) {
            answer(server, "450 4.2.1 greylisted\r\n");
        } else {
            note_recipient(server, line);
            answer(server, "250 2.1.5 ok\r\n");
        }
    } else if (strncmp(line, "DATA", 4) == 0) {
        if (server->count == 0) {
            answer(server, "554 5.5.1 no valid recipients\r\n");
        } else {
            server->mode = DATA;
            server->data_len = 0;
            answer(server, "354 go\r\n");
        }
    } else if (strncmp(line, "BDAT", 4) == 0) {
        server->mode = CHUNK;
        server->chunk_left = (size_t)strtoull(line + 5, NULL, 10);
        server->chunk_last = strstr(line, "LAST") != NULL;
    } else if (strncmp(line, "RSET", 4) == 0) {
        forget_transaction(server);
        answer(server, "250 2.0.0 ok\r\n");
    } else if (strncmp(line, "QUIT", 4) == 0) {
        answer(server, "221 2.0.0 bye\r\n");
        was_heard(&server->answered[0]);
        was_heard(&server->answered[1]);
        net_finish(server->end);
    } else {
        answer(server, "500 5.5.2 what?\r\n");
    }
}

static void keep(struct server *server, char byte)
{
    check(server->data_len < SERVER_DATA - 1);
    server->data[server->data_len++] = byte;
}

static bool dot_line(const struct server *server)
{
    return (server->data_len == 3 && memcmp(server->data, ".\r\n", 3) == 0) ||
           (server->data_len >= 5 &&
            memcmp(server->data + server->data_len - 5, "\r\n.\r\n", 5) == 0);
}

static void end_of_chunk(struct server *server)
{
    server->mode = COMMANDS;
    if (!server->chunk_last)
        answer(server, "250 2.0.0 ok\r\n");
    else if (server->count == 0)
        answer(server, "554 5.5.1 no valid recipients\r\n");
    else
        end_of_message(server);
}

/* False: the server is gone. */
static bool take_byte(struct server *server, char byte)
{
    switch (server->mode) {
    case DATA:
        keep(server, byte);
        if (byte == '\n' && dot_line(server))
            end_of_message(server);
        return true;
    case CHUNK:
        keep(server, byte);
        if (--server->chunk_left == 0)
            end_of_chunk(server);
        return true;
    case COMMANDS:
        check(server->line_len < sizeof server->line - 1);
        server->line[server->line_len++] = byte;
        if (byte != '\n')
            return true;
        server->line[server->line_len] = 0;
        server->line_len = 0;
        if (world_fault(5)) {
            answer(server, "421 4.3.2 closing\r\n");
            net_finish(server->end);
            close_server(server, "421");
            return false;
        }
        if (world_fault(5)) {
            close_server(server, "cut");
            return false;
        }
        run_command(server, server->line);
        if (server->mode == CHUNK && server->chunk_left == 0)
            end_of_chunk(server);
        return true;
    }
    return true;
}

static void server_received(void *owner, struct end *end, const char *data, size_t len)
{
    struct server *server = owner;
    for (size_t i = 0; i < len; i++) {
        if (server->thinks) {
            wait_with(server, data + i, len - i);
            return;
        }
        if (!take_byte(server, data[i]))
            return;
    }
}

static void server_finished(void *owner, struct end *end)
{
    close_server(owner, "the daemon ended the connection");
}

static const struct end_events server_events = {NULL, server_received, server_finished,
                                                server_broken};

static void greet(void *context, uint64_t argument)
{
    struct end *end = context;
    if (!net_alive(end))
        return;
    const char *text = world_fault(20)   ? "554 5.3.2 not here\r\n"
                       : world_fault(20) ? "421 4.3.2 too busy\r\n"
                                         : "220 sink.test ESMTP\r\n";
    net_send(end, text, strlen(text));
}

static void *arrived(void *context, struct end *end, const struct end_events **ret_events)
{
    if (world_fault(30))
        return NULL;
    struct server *server = calloc(1, sizeof *server);
    check(server);
    server->end = end;
    server->number = ++servers_made;
    server->pipelining = world_chance(700);
    server->chunking = world_chance(500);
    server->data = malloc(SERVER_DATA);
    check(server->data);
    server->next = live_servers;
    live_servers = server;
    *ret_events = &server_events;
    world_later(NS_PER_MS, false, greet, end, 0);
    return server;
}

static void flap(void *context, uint64_t argument)
{
    const struct address *address = context;
    net_serve_set_down(address, world_fault(300));
    world_later((1 + world_draw(60)) * NS_PER_S, false, flap, context, 0);
}

static void serve_at(const char *text)
{
    struct address *address = calloc(1, sizeof *address);
    check(address && address_parse(span_string(text), 25, address));
    net_serve(address, arrived, NULL);
    flap(address, 0);
}

void peers_serve(void)
{
    for (unsigned domain = 0; domain < 4; domain++)
        for (unsigned host = 1; host <= 2; host++) {
            char text[32];
            snprintf(text, sizeof text, "10.0.%u.%u", domain, host);
            serve_at(text);
        }
    serve_at("10.0.99.1");
}

void peers_daemon_crashed(void)
{
    for (struct server *server = live_servers; server; server = server->next)
        excuse_unheard(server, "daemon crashed");
}
