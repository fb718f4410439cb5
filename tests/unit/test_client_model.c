/* The client against a strict but capricious server, over a line that delays, cuts and breaks; one
 * seed is one run. What the server really took is compared with what the verdicts say:
 *
 *     DELIVERED           it took the message for that recipient, once
 *     FAILED, UNTRIED     it did not
 *     DEFERRED            it did not, unless the result says "may duplicate"
 *
 * and whatever it took had the reverse-path, the recipients and the body of one and the same
 * message: that is what goes wrong when pipelines are reset badly. */
#include "smtp/client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { MESSAGES = 10, RECIPIENTS = 4, PIPE = 64 * 1024, BODY_MAX = 600, SEEDS = 2000 };

struct pipe {
    char data[PIPE];
    size_t len;
};

struct message {
    struct envelope envelope;
    struct recipient recipients[RECIPIENTS];
    struct verdict verdicts[RECIPIENTS];
    unsigned taken[RECIPIENTS], before[RECIPIENTS]; /* by the server; when it was last begun */
    char paths[RECIPIENTS + 1][32];
    char body[BODY_MAX];
    size_t body_len;
    struct span pieces[4];
    bool open;
};

struct server {
    bool pipelining, chunking, sticky, closed, in_data, in_chunk;
    unsigned rcpt_max, patience; /* commands until it breaks off */
    bool has_mail;
    int message; /* whose reverse-path MAIL gave */
    unsigned rcpt_count;
    int rcpts[RECIPIENTS * 2];
    size_t chunk_left;
    char body[4 * BODY_MAX];
    size_t body_len;
};

struct world {
    uint64_t seed, random;
    struct message messages[MESSAGES];
    struct server server;
    struct client client;
    struct config_delivery delivery;
    struct chunk_pool pool;
    struct arena arena;
    struct pipe to_server, to_client;
    bool send_held;
};

static uint64_t draw(struct world *world, uint64_t below)
{
    world->random ^= world->random << 13;
    world->random ^= world->random >> 7;
    world->random ^= world->random << 17;
    return (world->random >> 11) % below;
}

static bool chance(struct world *world, unsigned percent)
{
    return draw(world, 100) < percent;
}

#define expect(world, condition)                                                                   \
    do {                                                                                           \
        if (!(condition))                                                                          \
            fail_msg("seed %lu: %s (line %d)", (unsigned long)(world)->seed, #condition,           \
                     __LINE__);                                                                    \
    } while (0)

static void pipe_put(struct pipe *pipe, struct span bytes)
{
    assert_true(pipe->len + bytes.len <= PIPE);
    memcpy(pipe->data + pipe->len, bytes.data, bytes.len);
    pipe->len += bytes.len;
}

static void pipe_drop(struct pipe *pipe, size_t count)
{
    memmove(pipe->data, pipe->data + count, pipe->len - count);
    pipe->len -= count;
}

/* The server. */

static void answer(struct world *world, const char *text)
{
    pipe_put(&world->to_client, span_string(text));
    pipe_put(&world->to_client, SPAN("\r\n"));
}

static void forget(struct server *server)
{
    server->has_mail = false;
    server->rcpt_count = 0;
}

/* "<m3@s.example>" or "<r2-m3@d.example>". */
static void read_path(struct world *world, struct span line, int *ret_recipient, int *ret_message)
{
    char text[64] = {0};
    size_t start = span_find(line, '<') + 1, end = span_find(line, '>');
    expect(world, start < end && end < line.len && end - start < sizeof text);
    memcpy(text, line.data + start, end - start);
    *ret_recipient = -1;
    if (sscanf(text, "m%d@s.example", ret_message) != 1)
        expect(world, sscanf(text, "r%d-m%d@d.example", ret_recipient, ret_message) == 2);
    expect(world, *ret_message >= 0 && *ret_message < MESSAGES && *ret_recipient < RECIPIENTS);
}

static void take_message(struct world *world)
{
    struct server *server = &world->server;
    struct message *message = &world->messages[server->message];
    expect(world, server->rcpt_count > 0);
    expect(world, span_equals(span_of(server->body, server->body_len),
                              span_of(message->body, message->body_len)));
    for (unsigned i = 0; i < server->rcpt_count; i++) {
        expect(world, server->rcpts[i] / RECIPIENTS == server->message);
        message->taken[server->rcpts[i] % RECIPIENTS]++;
    }
}

static void end_of_data(struct world *world, bool chunked)
{
    struct server *server = &world->server;
    if (server->rcpt_count == 0) {
        answer(world, "554 5.5.1 no valid recipients");
        if (!chunked || !server->sticky)
            forget(server);
        return;
    }
    if (chance(world, 15)) {
        answer(world, chance(world, 50) ? "451 4.3.0 later" : "554 5.6.0 never");
        if (!chunked || !server->sticky)
            forget(server);
        return;
    }
    take_message(world);
    forget(server);
    if (chance(world, 3))
        server->closed = true; /* after the dot, before its answer */
    else
        answer(world, "250-2.0.0 I have\r\n250 2.0.0 taken it");
}

static void run_mail(struct world *world, struct span line)
{
    struct server *server = &world->server;
    int recipient, message;
    read_path(world, line, &recipient, &message);
    expect(world, recipient == -1);
    if (server->has_mail) {
        answer(world, "503 5.5.1 nested MAIL");
    } else if (chance(world, 8)) {
        answer(world, chance(world, 50) ? "450 4.1.8 later" : "550 5.1.8 never");
    } else {
        server->has_mail = true;
        server->message = message;
        answer(world, "250 2.1.0 ok");
    }
}

static void run_rcpt(struct world *world, struct span line)
{
    struct server *server = &world->server;
    int recipient, message;
    read_path(world, line, &recipient, &message);
    expect(world, recipient >= 0);
    if (!server->has_mail) {
        answer(world, "503 5.5.1 MAIL first");
    } else if (server->rcpt_count >= server->rcpt_max) {
        answer(world, "452 4.5.3 too many recipients");
    } else if (chance(world, 20)) {
        answer(world, chance(world, 50) ? "450 4.2.1 later" : "550 5.1.1 never");
    } else {
        server->rcpts[server->rcpt_count++] = message * RECIPIENTS + recipient;
        answer(world, "250 2.1.5 ok");
    }
}

static void run_data(struct world *world)
{
    struct server *server = &world->server;
    server->body_len = 0;
    if (!server->has_mail || (server->rcpt_count == 0 && chance(world, 50))) {
        answer(world, "503 5.5.1 RCPT first");
    } else if (chance(world, 5)) {
        answer(world, "451 4.3.0 no room");
    } else {
        server->in_data = true;
        answer(world, "354 go");
    }
}

static void run_bdat(struct world *world, struct span line)
{
    unsigned long size;
    char text[64] = {0};
    expect(world, line.len < sizeof text);
    memcpy(text, line.data, line.len);
    expect(world, sscanf(text, "BDAT %lu LAST", &size) == 1);
    world->server.in_chunk = true;
    world->server.chunk_left = size;
    world->server.body_len = 0;
}

static void run_ehlo(struct world *world)
{
    struct server *server = &world->server;
    forget(server);
    answer(world, "250-mx.d.example");
    if (server->pipelining)
        answer(world, "250-PIPELINING");
    if (server->chunking)
        answer(world, "250-CHUNKING");
    answer(world, "250 ENHANCEDSTATUSCODES");
}

static void run_command(struct world *world, struct span line, bool more)
{
    struct server *server = &world->server;
    bool bdat = span_starts_with(line, SPAN("BDAT "));
    expect(world, span_find(line, '\r') == line.len && span_find(line, '\n') == line.len);
    expect(world, server->pipelining || bdat || (!more && world->to_client.len == 0));
    if (server->patience-- == 0) {
        if (chance(world, 60))
            answer(world, "421 4.3.2 closing");
        server->closed = true;
    } else if (bdat) {
        expect(world, server->chunking);
        run_bdat(world, line);
    } else if (span_starts_with(line, SPAN("MAIL FROM:"))) {
        run_mail(world, line);
    } else if (span_starts_with(line, SPAN("RCPT TO:"))) {
        run_rcpt(world, line);
    } else if (span_equals(line, SPAN("DATA"))) {
        run_data(world);
    } else if (span_equals(line, SPAN("RSET"))) {
        forget(server);
        answer(world, "250 2.0.0 reset");
    } else if (span_starts_with(line, SPAN("EHLO "))) {
        run_ehlo(world);
    } else {
        expect(world, span_equals(line, SPAN("QUIT")));
        answer(world, "221 2.0.0 bye");
        server->closed = true;
    }
}

/* Takes a body line or a part of a chunk; false: more bytes are needed. */
static bool serve_body(struct world *world)
{
    struct server *server = &world->server;
    struct span rest = span_of(world->to_server.data, world->to_server.len);
    const char *end = memmem(rest.data, rest.len, "\r\n", 2);
    if (!end)
        return false;
    struct span line = span_first(rest, (size_t)(end - rest.data) + 2);
    bool last = span_equals(line, SPAN(".\r\n"));
    expect(world, span_find(line, '\n') == line.len - 1);
    if (!last) {
        struct span text = span_skip(line, line.data[0] == '.');
        expect(world, server->body_len + text.len <= sizeof server->body);
        memcpy(server->body + server->body_len, text.data, text.len);
        server->body_len += text.len;
    }
    pipe_drop(&world->to_server, line.len);
    if (last) {
        server->in_data = false;
        end_of_data(world, false);
    }
    return true;
}

static bool serve_chunk(struct world *world)
{
    struct server *server = &world->server;
    struct span part =
        span_first(span_of(world->to_server.data, world->to_server.len), server->chunk_left);
    if (part.len == 0 && server->chunk_left)
        return false;
    expect(world, server->body_len + part.len <= sizeof server->body);
    memcpy(server->body + server->body_len, part.data, part.len);
    server->body_len += part.len;
    server->chunk_left -= part.len;
    pipe_drop(&world->to_server, part.len);
    if (server->chunk_left == 0) {
        server->in_chunk = false;
        end_of_data(world, true);
    }
    return true;
}

static bool serve_command(struct world *world)
{
    struct pipe *pipe = &world->to_server;
    const char *end = pipe->len ? memmem(pipe->data, pipe->len, "\r\n", 2) : NULL;
    if (!end)
        return false;
    char line[256];
    size_t len = (size_t)(end - pipe->data);
    expect(world, len < sizeof line);
    memcpy(line, pipe->data, len);
    pipe_drop(pipe, len + 2);
    run_command(world, span_of(line, len), pipe->len > 0);
    return true;
}

static bool serve(struct world *world)
{
    if (world->server.closed)
        return false;
    if (world->server.in_data)
        return serve_body(world);
    return world->server.in_chunk ? serve_chunk(world) : serve_command(world);
}

static void server_init(struct world *world)
{
    world->server = (struct server){
        .pipelining = chance(world, 75),
        .chunking = chance(world, 50),
        .sticky = chance(world, 50),
        .rcpt_max = chance(world, 30) ? 1 + (unsigned)draw(world, 3) : 100,
        .patience = chance(world, 50) ? (unsigned)draw(world, 60) : 100000,
    };
    world->to_client.len = world->to_server.len = 0;
    answer(world, "220 mx.d.example ready");
}

/* Our side of the line. */

static void pump_output(struct world *world)
{
    struct iovec iov[8];
    unsigned count = client_output(&world->client, iov, 4 + (unsigned)draw(world, 5));
    for (unsigned i = 0; i < count; i++)
        pipe_put(&world->to_server, span_of(iov[i].iov_base, iov[i].iov_len));
    world->send_held = world->send_held || count > 0;
}

static void pump_input(struct world *world)
{
    size_t len = 1 + draw(world, world->to_client.len);
    if (chance(world, 50))
        len = world->to_client.len;
    char *copy = malloc(len);
    memcpy(copy, world->to_client.data, len);
    struct span input = span_of(copy, len);
    pipe_drop(&world->to_client, len);
    client_input(&world->client, &input);
    free(copy);
}

static bool untried(const struct message *message)
{
    for (unsigned i = 0; i < message->envelope.recipient_count; i++)
        if (message->verdicts[i].outcome == OUTCOME_UNTRIED)
            return true;
    return false;
}

static void begin_one(struct world *world)
{
    for (unsigned i = 0; i < MESSAGES; i++) {
        struct message *message = &world->messages[i];
        if (message->open || !untried(message))
            continue;
        struct client_transaction transaction = {.envelope = &message->envelope,
                                                 .verdicts = message->verdicts,
                                                 .body = message->pieces,
                                                 .body_pieces = countof(message->pieces),
                                                 .arena = &world->arena,
                                                 .owner = message};
        memcpy(message->before, message->taken, sizeof message->before);
        message->open = true;
        client_begin(&world->client, &transaction);
        return;
    }
}

/* What the verdict says and what the server did. `settled` before: nothing may have happened. */
static void compare(struct world *world, struct message *message, bool may_duplicate)
{
    for (unsigned i = 0; i < message->envelope.recipient_count; i++) {
        unsigned taken = message->taken[i] - message->before[i];
        struct verdict *verdict = &message->verdicts[i];
        switch (verdict->outcome) {
        case OUTCOME_DELIVERED:
            expect(world, message->taken[i] >= 1 && taken <= 1);
            break;
        case OUTCOME_DEFERRED:
            expect(world, taken == 0 || (taken == 1 && may_duplicate));
            verdict->outcome = OUTCOME_UNTRIED; /* the schedule has come round */
            break;
        default:
            expect(world, taken == 0);
            break;
        }
    }
}

static bool take_one(struct world *world)
{
    struct client_result result;
    if (!client_take_result(&world->client, &result))
        return false;
    struct message *message = result.owner;
    expect(world, message->open);
    message->open = false;
    compare(world, message, result.may_duplicate);
    return true;
}

static bool over(const struct world *world)
{
    return client_state(&world->client) == CLIENT_DONE ||
           client_state(&world->client) == CLIENT_FAILED;
}

/* Whether anything could move. */
static bool step(struct world *world)
{
    switch (draw(world, 6)) {
    case 0:
        pump_output(world);
        break;
    case 1:
        if (world->send_held)
            client_sent(&world->client);
        world->send_held = false;
        break;
    case 2:
        if (world->to_client.len)
            pump_input(world);
        break;
    case 3:
        if (client_can_begin(&world->client))
            begin_one(world);
        break;
    case 4:
        take_one(world);
        break;
    default:
        serve(world);
        break;
    }
    return !over(world) && !(world->server.closed && world->to_client.len == 0);
}

/* The line breaks: what is on its way to the server may still arrive there. */
static void break_line(struct world *world)
{
    bool arrives = chance(world, 50);
    client_lost(&world->client, chance(world, 50));
    world->to_client.len = 0;
    while (arrives && world->to_server.len && serve(world))
        world->to_client.len = 0;
    if (client_output_held(&world->client))
        client_sent(&world->client);
    while (take_one(world))
        continue;
    for (unsigned i = 0; i < MESSAGES; i++)
        expect(world, !world->messages[i].open);
}

static void connection(struct world *world)
{
    struct client_settings settings = {.delivery = &world->delivery, .ehlo_name = SPAN("me")};
    unsigned steps = chance(world, 70) ? 20000 : (unsigned)draw(world, 600);
    world->delivery = (struct config_delivery){
        .enable_pipelining = chance(world, 90),
        .enable_chunking = chance(world, 90),
        .max_recipients_per_batch = chance(world, 20) ? 2 : 0,
    };
    server_init(world);
    client_init(&world->client, &settings);
    world->send_held = false;
    while (steps-- && step(world))
        if (chance(world, 1) && chance(world, 5))
            client_quit(&world->client);
    break_line(world);
}

static void message_init(struct world *world, unsigned number)
{
    static const char *const tokens[] = {"x", ".", "\r\n", "\r\n.", "\r\n.\r\n", "words "};
    struct message *message = &world->messages[number];
    snprintf(message->paths[RECIPIENTS], 32, "m%u@s.example", number);
    message->envelope = (struct envelope){
        .reverse_path = span_string(message->paths[RECIPIENTS]),
        .recipients = message->recipients,
        .recipient_count = 1 + (unsigned)draw(world, RECIPIENTS),
    };
    for (unsigned i = 0; i < RECIPIENTS; i++) {
        snprintf(message->paths[i], 32, "r%u-m%u@d.example", i, number);
        message->recipients[i].address = span_string(message->paths[i]);
    }
    struct sink sink;
    sink_init(&sink, message->body, BODY_MAX - 2);
    sink_format(&sink, "Subject: %u\r\n", number);
    for (uint64_t i = draw(world, 100); i; i--)
        sink_put(&sink, span_string(tokens[draw(world, countof(tokens))]));
    memcpy(message->body + sink.len, "\r\n", 2);
    message->body_len = sink.len + 2;
    struct span rest = span_of(message->body, message->body_len);
    for (unsigned i = 0; i < countof(message->pieces); i++) {
        size_t len = i + 1 < countof(message->pieces) ? draw(world, rest.len + 1) : rest.len;
        message->pieces[i] = span_first(rest, len);
        rest = span_skip(rest, len);
    }
}

static void run_seed(struct world *world, uint64_t seed)
{
    *world = (struct world){.seed = seed, .random = seed * 0x9e3779b97f4a7c15u + 1};
    chunk_pool_init(&world->pool, 8 << 20, 8 << 20);
    arena_init(&world->arena, &world->pool, 8 << 20);
    for (unsigned i = 0; i < MESSAGES; i++)
        message_init(world, i);
    for (unsigned i = 0; i < 6; i++)
        connection(world);
    arena_fini(&world->arena);
    chunk_pool_fini(&world->pool);
}

static void test_seeds(void **state)
{
    struct world *world = malloc(sizeof *world);
    const char *one = getenv("RINGPOST_SEED");
    uint64_t first = one ? strtoull(one, NULL, 10) : 1;
    for (uint64_t seed = first; seed < first + (one ? 1 : SEEDS); seed++)
        run_seed(world, seed);
    free(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_seeds)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
