/* Any octets as a whole session: in one receive and in any cuts the replies and the stored messages
 * are the same, and every borrowed thing comes back. The first octets choose settings and cuts. */
#include "tests/server_harness.h"

enum { INPUT_MOST = 8 * 1024, TEXT_MOST = 32 * INPUT_MOST };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void set_up(struct harness *harness, uint8_t choice)
{
    harness_init(harness, TEXT_MOST);
    harness->relay = choice & 1;
    if (choice & 2)
        harness->settings.tenant_header = SPAN("X-T");
    if (choice & 4)
        harness->settings.limits = (struct server_limits){.message_size = 200,
                                                          .header_size = 60,
                                                          .received_headers = 2,
                                                          .line = 40,
                                                          .recipients = 2,
                                                          .messages_per_connection = 3,
                                                          .errors = 4,
                                                          .junk_commands = 5,
                                                          .command_line = 64,
                                                          .login_failures = 2};
    harness->share.append_error = choice & 8 ? -ENOMEM : 0;
    harness->store_result = choice & 16 ? -EIO : 0;
    harness->settings.starttls = choice & 64;
    harness->settings.mechanisms_clear = choice & 128 ? 7 : 0;
    harness->settings.mechanisms_tls = 7;
    harness->settings.submission = harness->may_xclient = choice & 128;
    harness->reply_room = choice & 32 ? SERVER_REPLY_ROOM : 4 * SERVER_REPLY_ROOM;
}

static void run(struct harness *harness, struct span input, uint64_t cuts)
{
    struct server server;
    harness_begin(harness, &server);
    while (input.len) {
        size_t piece = cuts ? cuts % 61 + 1 : input.len;
        cuts = cuts * UINT64_C(6364136223846793005) + (cuts ? 1442695040888963407u : 0);
        harness_feed(harness, &server, span_first(input, piece));
        input = span_skip(input, piece);
    }
    harness_end(harness, &server);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3 || size > INPUT_MOST)
        return 0;
    struct harness whole, cut;
    struct span input = span_of(data + 3, size - 3);
    set_up(&whole, data[0]);
    set_up(&cut, data[0]);
    cut.share.room_every = data[1] % 4u;
    run(&whole, input, 0);
    run(&cut, input, data[2] + 1u);
    if (data[0] & 64) /* what may stand behind STARTTLS depends on the cuts */
        whole.replies.len = cut.replies.len = whole.stored.len = cut.stored.len = 0;
    check(span_equals(sink_span(&whole.replies), sink_span(&cut.replies)));
    check(span_equals(sink_span(&whole.stored), sink_span(&cut.stored)));
    harness_fini(&whole);
    harness_fini(&cut);
    return 0;
}
