/* Fuzz: any octets in place of a peer's TLS: as the other side's handshake, for a server and for a
 * client, and behind a handshake that was done. Nothing but a failure, an end or more waiting may
 * come of it; what was consumed, what was written and what is said afterwards keep their promises.
 */
#include "core/tls.h"

#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ROOM = 1 << 16 };

struct side {
    struct tls *tls;
    char room[ROOM];
    struct sink output;
};

static void side_init(struct side *side, struct tls *tls)
{
    check(tls);
    side->tls = tls;
    sink_init(&side->output, side->room, sizeof side->room);
}

static void keep_promise(enum tls_result result, struct span before, struct span after,
                         const struct sink *output)
{
    check(after.len <= before.len && after.data + after.len == before.data + before.len);
    check(result != TLS_MORE_INPUT || after.len == 0);
    check(!output->full && output->len <= output->capacity);
}

/* Nobody without the keys gets through a handshake. */
static void shake_with(struct side *side, struct span input, size_t cut)
{
    enum tls_result result = TLS_MORE_INPUT;
    while (input.len && result == TLS_MORE_INPUT) {
        struct span part = span_first(input, cut ? cut : input.len), before = part;
        result = tls_handshake(side->tls, &part, &side->output);
        keep_promise(result, before, part, &side->output);
        input = span_skip(input, before.len);
    }
    check(result == TLS_MORE_INPUT || result == TLS_FAILED);
    if (result == TLS_FAILED) {
        char text[256];
        struct sink sink, none;
        struct span nothing = {0};
        sink_init(&sink, text, sizeof text);
        sink_init(&none, text, 0);
        tls_put_trouble(side->tls, &sink);
        check(sink.len > 0);
        check(tls_handshake(side->tls, &nothing, &none) == TLS_FAILED);
    }
    tls_end(side->tls, &side->output);
}

static void read_with(struct side *side, struct span input, size_t cut)
{
    static char plain[TLS_RECORD];
    enum tls_result result = TLS_MORE_INPUT;
    while (input.len && result == TLS_MORE_INPUT) {
        struct span part = span_first(input, cut ? cut : input.len), before = part;
        size_t len = 0;
        result = tls_read(side->tls, &part, &side->output, plain, sizeof plain, &len);
        keep_promise(result, before, part, &side->output);
        input = span_skip(input, before.len);
    }
    check(result != TLS_DONE); /* it would be forged */
    struct span plain_text = SPAN("an answer");
    check(tls_write(side->tls, &plain_text, &side->output) != TLS_MORE_ROOM);
    tls_end(side->tls, &side->output);
}

static void pass_on(struct side *from, struct side *to, enum tls_result *result)
{
    struct span input = sink_span(&from->output);
    while (*result == TLS_MORE_INPUT && input.len)
        *result = tls_handshake(to->tls, &input, &to->output);
    from->output.len = 0;
}

static void shake_hands(struct side *server, struct side *client)
{
    enum tls_result at_server = TLS_MORE_INPUT, at_client = TLS_MORE_INPUT;
    struct span nothing = {0};
    check(tls_handshake(client->tls, &nothing, &client->output) == TLS_MORE_INPUT);
    for (unsigned i = 0; i < 4; i++) {
        pass_on(client, server, &at_server);
        pass_on(server, client, &at_client);
    }
    check(at_server == TLS_DONE && at_client == TLS_DONE);
}

static struct tls_context *server_context(void)
{
    char error[TLS_ERROR];
    struct tls_context *context;
    struct tls_identity_files identity = {RINGPOST_TESTS_DIR "/certificates/server.pem",
                                          RINGPOST_TESTS_DIR "/certificates/server.key", NULL, 0};
    check(tls_context_server(&identity, 1, NULL, SPAN("fuzz"), &context, error) == 0);
    return context;
}

static struct tls_context *client_context(void)
{
    char error[TLS_ERROR];
    struct tls_context *context;
    check(tls_context_client(RINGPOST_TESTS_DIR "/certificates/ca.pem", &context, error) == 0);
    return context;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct tls_context *for_server, *for_client;
    static struct side server, client;
    if (size < 2)
        return 0;
    if (!for_server) {
        for_server = server_context();
        for_client = client_context();
    }
    struct tls_client_options options = {.name = SPAN("mx.example.com"), .insecure = data[0] & 4};
    side_init(&server, tls_new_server(for_server));
    side_init(&client, tls_new_client(for_client, &options));
    struct span input = span_of(data + 2, size - 2);
    if ((data[0] & 3) == 0) {
        shake_with(&server, input, data[1]);
    } else if ((data[0] & 3) == 1) {
        struct span nothing = {0};
        check(tls_handshake(client.tls, &nothing, &client.output) == TLS_MORE_INPUT);
        shake_with(&client, input, data[1]);
    } else {
        shake_hands(&server, &client);
        read_with(data[0] & 1 ? &client : &server, input, data[1]);
    }
    tls_free(server.tls);
    tls_free(client.tls);
    return 0;
}
