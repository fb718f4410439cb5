/* smtp/: the server's dialogue, addresses, replies, the body scanner, dot-stuffing. */
#include "bench/message.h"
#include "bench/micro.h"
#include "smtp/body.h"
#include "smtp/reply_parser.h"
#include "smtp/stuffing.h"
#include "tests/server_harness.h"

enum { SIZE = 10240, MESSAGES = 50, TEXT_MAX = 1 << 20, IOVECS = 64 };

/* ---- the dialogue: small messages, so that the commands are what costs ---- */

static size_t write_session(char *text)
{
    size_t len = (size_t)sprintf(text, "EHLO source.test\r\n");
    for (unsigned i = 0; i < MESSAGES; i++)
        len += (size_t)sprintf(text + len,
                               "MAIL FROM:<sender@source.test> SIZE=300 BODY=8BITMIME\r\n"
                               "RCPT TO:<user%08u@destination.test>\r\nDATA\r\n"
                               "From: <sender@source.test>\r\nSubject: small\r\n\r\nhello\r\n.\r\n",
                               i);
    return len;
}

/* The store refuses, because the harness would write down every message. */
static void dialogue(struct micro *micro)
{
    static char text[TEXT_MAX];
    struct harness harness;
    struct server server;
    size_t len = write_session(text);
    harness_init(&harness, TEXT_MAX);
    chunk_pool_init(&harness.share.pool, SIZE_MAX, 1 << 20);
    harness.store_result = -EIO;
    while (micro_next(micro)) {
        harness_begin(&harness, &server);
        harness_feed(&harness, &server, span_of(text, len));
        harness_end(&harness, &server);
    }
    micro_items(micro, MESSAGES);
    chunk_pool_fini(&harness.share.pool);
    harness_fini(&harness);
}

static void address(struct micro *micro)
{
    const struct span text = SPAN("<some.body+tag@mail.destination.example> SIZE=10240");
    while (micro_next(micro)) {
        struct mailbox mailbox;
        struct span rest = text;
        check(mailbox_read_path(&rest, MAILBOX_FORWARD, &mailbox));
        micro_use(&mailbox);
    }
    micro_items(micro, 1);
}

static void replies(struct micro *micro)
{
    static const char text[] = "250 2.1.0 ok\r\n250 2.1.5 ok\r\n354 go on\r\n"
                               "250 2.0.0 queued as 0123456789abcdef\r\n";
    struct reply_parser parser;
    reply_parser_init(&parser);
    while (micro_next(micro)) {
        struct span input = span_of(text, sizeof text - 1);
        while (input.len)
            check(reply_parser_feed(&parser, &input) == REPLY_WHOLE);
    }
    micro_items(micro, 4);
}

/* ---- bodies ---- */

static size_t write_message(char *text)
{
    struct message_text message;
    char tail[MESSAGE_TAIL];
    message_text_init(&message, SIZE);
    size_t len = message_write(&message, 7, text, tail);
    memcpy(text + len, message.filler_stuffed.data, message.filler_stuffed.len);
    len += message.filler_stuffed.len;
    memcpy(text + len, tail, MESSAGE_TAIL);
    memcpy(text + len + MESSAGE_TAIL, ".\r\n", 3);
    message_text_fini(&message);
    return len + MESSAGE_TAIL + 3;
}

static void scan(struct micro *micro)
{
    static char text[2 * SIZE];
    static const struct body_limits limits = {
        .size = 1 << 30, .header_size = 1 << 20, .line = 1 << 20, .received = 100};
    size_t len = write_message(text);
    while (micro_next(micro)) {
        struct body body;
        struct span input = span_of(text, len), piece;
        enum body_progress progress;
        body_init(&body, &limits, SPAN("X-Tenant"), SPAN("X-Campaign"));
        while ((progress = body_data(&body, &input, &piece)) == BODY_PIECE)
            micro_use(piece.data);
        check(progress == BODY_END);
    }
    micro_bytes(micro, SIZE);
}

static void stuff(struct micro *micro)
{
    static char text[2 * SIZE];
    struct span body = span_of(text, write_message(text) - 3);
    while (micro_next(micro)) {
        struct stuffing stuffing;
        struct iovec iov[IOVECS];
        stuffing_start(&stuffing, STUFFING_DOT, &body, 1);
        while (!stuffing.done) {
            stuffing_emit(&stuffing, iov, IOVECS, SIZE_MAX / 2);
            micro_use(iov);
        }
    }
    micro_bytes(micro, SIZE);
}

const struct micro_case micro_smtp_cases[] = {
    {"smtp/dialogue_50_small_messages", dialogue},
    {"smtp/address", address},
    {"smtp/four_replies", replies},
    {"smtp/body_scanner_10k", scan},
    {"smtp/dot_stuffing_10k", stuff},
    {0},
};
