/* Reports about messages whose every string is any bytes: the report keeps its structure, has no
 * header that is not ours, no control character and no line that is too long. */
#include "core/cursor.h"
#include "queue/bounce.h"
#include "tests/unit/report_parse.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct span string(struct cursor *input)
{
    size_t len = cursor_u8(input);
    if (len >= 0xf0) /* now and then a long one */
        len = (len & 15) << 8 | cursor_u8(input);
    return cursor_bytes(input, len < input->rest.len ? len : input->rest.len);
}

static struct reply_summary reply(struct cursor *input)
{
    return (struct reply_summary){
        .code = cursor_u16(input),
        .enhanced = {cursor_u8(input), cursor_u16(input), cursor_u16(input)},
        .internal = cursor_u8(input) & 1,
        .text = string(input),
    };
}

static void write_report(const struct bounce *bounce)
{
    struct chunk_pool pool;
    struct arena arena;
    struct text text;
    uint8_t flags;
    chunk_pool_init(&pool, 4 << 20, 0);
    arena_init(&arena, &pool, 4 << 20);
    check(bounce_write(bounce, &arena, &text, &flags));
    char *flat = malloc(text.len);
    check(flat && text_copy(&text, 0, flat, text.len) == text.len);
    struct parsed_report report = parse_report(span_of(flat, text.len));
    bool has_8bit = !utf8_is_ascii(span_of(flat, text.len));
    check(!has_8bit || flags & ENVELOPE_BODY_HAS_8BIT);
    check(utf8_is_ascii(report.headers) || flags & ENVELOPE_HEADER_HAS_8BIT);
    check(flags & ENVELOPE_DSN);
    free(flat);
    arena_fini(&arena);
    chunk_pool_fini(&pool);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cursor input = cursor_over(span_of(data, size));
    struct recipient recipients[2];
    struct verdict verdicts[2];
    for (int i = 0; i < 2; i++) {
        recipients[i] = (struct recipient){
            .address = string(&input),
            .original = string(&input),
            .notify = cursor_u8(&input) & 15,
        };
        verdicts[i] = (struct verdict){.outcome = cursor_u8(&input) % 5, .reply = reply(&input)};
    }
    struct envelope envelope = {
        .id = cursor_u64(&input),
        .arrived_ms = cursor_u64(&input),
        .reverse_path = string(&input),
        .envid = string(&input),
        .ret = cursor_u8(&input) % 3,
        .recipients = recipients,
        .recipient_count = 2,
    };
    struct row_state state = {
        .last_attempt_ms = cursor_u64(&input),
        .last_reply = string(&input),
        .last_peer = string(&input),
    };
    struct bounce bounce = {
        .kind = cursor_u8(&input) % 3,
        .hostname = string(&input),
        .id = cursor_u8(&input),
        .wall_ms = cursor_u64(&input),
        .remote_mta = string(&input),
        .retry_until_ms = cursor_u64(&input),
        .original_whole = cursor_u8(&input) & 1,
        .envelope = &envelope,
        .state = &state,
        .verdicts = verdicts,
        .original_pieces = 1,
    };
    bounce.original = &input.rest;
    if (bounce_wanted(&bounce))
        write_report(&bounce);
    return 0;
}
