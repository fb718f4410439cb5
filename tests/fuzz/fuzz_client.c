/* Fuzz: the client dialogue against any server and any order of events. The input is a list of
 * orders to the binding: hear raw bytes or a canned reply, send, begin, take, quit, lose. It must
 * end; each transaction yields one result, whose counts are those of its recipients' verdicts; what
 * was settled once is never touched again; nothing is said after the end. */
#include "smtp/client.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MESSAGES = 4, RECIPIENTS = 5, PIECES = 3 };

struct message {
    struct envelope envelope;
    struct recipient recipients[RECIPIENTS];
    struct verdict verdicts[RECIPIENTS], before[RECIPIENTS];
    struct span pieces[PIECES];
    bool open;
};

struct stage {
    struct client client;
    struct config_delivery delivery;
    struct chunk_pool pool;
    struct arena arena;
    struct message messages[MESSAGES];
    unsigned begun, taken;
    bool held;
};

static const char *const canned[] = {
    "220 mx ready\r\n",
    "250 ok\r\n",
    "250 2.0.0 ok\r\n",
    "354 go\r\n",
    "250-mx\r\n250 PIPELINING\r\n",
    "250-mx\r\n250-PIPELINING\r\n250-CHUNKING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 DSN\r\n",
    "250-mx\r\n250-SIZE 60\r\n250 LIMITS RCPTMAX=2 MAILMAX=3\r\n",
    "250 ok\r\n250 ok\r\n354 go\r\n",
    "250 ok\r\n250 ok\r\n250 ok\r\n",
    "421 4.4.2 idle\r\n",
    "421 closing\r\n",
    "450 4.2.1 later\r\n",
    "452 4.5.3 too many recipients\r\n",
    "550 5.1.1 no\r\n",
    "503 5.5.1 bad sequence\r\n",
    "554 no\r\n",
    "250-mx\r\n250-PIPELINING\r\n250 STARTTLS\r\n",
};

static void message_init(struct message *message, unsigned number)
{
    static const struct span bodies[][PIECES] = {
        {SPAN("Subject: x\r\n\r\n"), SPAN("."), SPAN("\r\n.\r\n")},
        {SPAN("S: \xc3\xa4\r\n"), {0}, SPAN("no end")},
        {{0}, {0}, {0}},
        {SPAN("0123456789012345678901234567890123456789\r\n"), SPAN("0123456789\r\n"), SPAN("\r")},
    };
    *message = (struct message){.envelope = {.reverse_path = SPAN("a@s.example"),
                                             .recipients = message->recipients,
                                             .recipient_count = 1 + number,
                                             .ret = (uint8_t)(number % 3),
                                             .flags = (uint8_t)(number * 5)}};
    for (unsigned i = 0; i < RECIPIENTS; i++)
        message->recipients[i] =
            (struct recipient){.address = i == 2 ? SPAN("\xc3\xa4@d.example") : SPAN("b@d.example"),
                               .original = SPAN("rfc822;b@d.example"),
                               .notify = (uint8_t)(i * 3)};
    memcpy(message->pieces, bodies[number], sizeof message->pieces);
}

static void stage_init(struct stage *stage, uint8_t options)
{
    struct client_settings settings = {.delivery = &stage->delivery,
                                       .ehlo_name = SPAN("me"),
                                       .tls = (enum tls_policy)(options / 16 % 5)};
    *stage = (struct stage){.delivery = {.enable_pipelining = !(options & 1),
                                         .enable_chunking = !(options & 2),
                                         .max_recipients_per_batch = options & 4 ? 2 : 0}};
    chunk_pool_init(&stage->pool, options & 8 ? 0 : 1 << 20, 0);
    arena_init(&stage->arena, &stage->pool, 1 << 20);
    for (unsigned i = 0; i < MESSAGES; i++)
        message_init(&stage->messages[i], i);
    client_init(&stage->client, &settings);
}

static bool over(const struct stage *stage)
{
    return client_state(&stage->client) == CLIENT_DONE ||
           client_state(&stage->client) == CLIENT_FAILED;
}

static void hear(struct stage *stage, struct span bytes)
{
    client_input(&stage->client, &bytes);
    check(bytes.len == 0);
}

static void say(struct stage *stage)
{
    struct iovec iov[6];
    bool was_over = over(stage);
    unsigned count = client_output(&stage->client, iov, countof(iov));
    check(count <= countof(iov) && (count == 0 || (!was_over && !stage->held)));
    for (unsigned i = 0; i < count; i++)
        check(iov[i].iov_len > 0);
    stage->held = stage->held || count > 0;
}

static void sent(struct stage *stage)
{
    if (stage->held)
        client_sent(&stage->client);
    stage->held = false;
}

static void begin(struct stage *stage, unsigned number)
{
    struct message *message = &stage->messages[number % MESSAGES];
    if (message->open || !client_can_begin(&stage->client))
        return;
    struct client_transaction transaction = {.envelope = &message->envelope,
                                             .verdicts = message->verdicts,
                                             .body = message->pieces,
                                             .body_pieces = PIECES,
                                             .arena = &stage->arena,
                                             .owner = message};
    memcpy(message->before, message->verdicts, sizeof message->before);
    message->open = true;
    stage->begun++;
    client_begin(&stage->client, &transaction);
}

static bool take(struct stage *stage)
{
    struct client_result result;
    if (!client_take_result(&stage->client, &result))
        return false;
    struct message *message = result.owner;
    unsigned count[OUTCOME_EXPIRED + 1] = {0};
    check(message->open);
    message->open = false;
    stage->taken++;
    for (unsigned i = 0; i < message->envelope.recipient_count; i++) {
        const struct verdict *before = &message->before[i], *after = &message->verdicts[i];
        if (before->outcome == OUTCOME_UNTRIED)
            count[after->outcome]++;
        else
            check(memcmp(before, after, sizeof *after) == 0);
        check(after->outcome == OUTCOME_UNTRIED || after->reply.code >= 200);
        check(after->outcome != OUTCOME_UNTRIED || after->reply.code == 0 ||
              after->reply.code >= 400);
    }
    check(count[OUTCOME_UNTRIED] == result.untried && count[OUTCOME_FAILED] == result.failed);
    check(count[OUTCOME_DELIVERED] == result.delivered &&
          count[OUTCOME_DEFERRED] == result.deferred);
    return true;
}

static void shake(struct stage *stage, bool good)
{
    if (good && !stage->held)
        client_secured(&stage->client);
    else
        client_insecure(&stage->client, SPAN("the handshake failed"));
}

/* One order; returns how many bytes of input it used. */
static size_t run_order(struct stage *stage, struct span input)
{
    uint8_t order = (uint8_t)input.data[0];
    unsigned argument = order >> 3;
    struct span raw = span_first(span_skip(input, 1), argument + 1);
    switch (order & 7) {
    case 0:
        hear(stage, raw);
        return 1 + raw.len;
    case 1:
    case 2:
        hear(stage, span_string(canned[argument % countof(canned)]));
        break;
    case 3:
        say(stage);
        sent(stage);
        break;
    case 4:
        say(stage);
        break;
    case 5:
        sent(stage);
        take(stage);
        break;
    case 6:
        begin(stage, argument);
        break;
    default:
        if (argument == 0)
            client_quit(&stage->client);
        else if (argument < 3)
            client_lost(&stage->client, argument == 1);
        else if (argument < 5 && client_handshake_due(&stage->client))
            shake(stage, argument == 3);
        else
            hear(stage, span_string(canned[argument % countof(canned)]));
        break;
    }
    return 1;
}

static void finish(struct stage *stage)
{
    client_lost(&stage->client, false);
    check(over(stage) && !client_can_begin(&stage->client));
    sent(stage);
    while (take(stage))
        continue;
    check(stage->begun == stage->taken);
    say(stage);
    check(!stage->held);
    arena_fini(&stage->arena);
    chunk_pool_fini(&stage->pool);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const size_t most_orders = 4096;
    struct stage stage;
    struct span rest = span_of(data, size);
    if (size == 0)
        return 0;
    stage_init(&stage, data[0]);
    rest = span_skip(rest, 1);
    for (size_t i = 0; rest.len && i < most_orders; i++) {
        uint32_t progress = client_progress(&stage.client);
        rest = span_skip(rest, run_order(&stage, rest));
        check(client_wait_ms(&stage.client) == 0 && progress <= client_progress(&stage.client));
    }
    finish(&stage);
    return 0;
}
