/* Fuzz: SMTP replies, whole and byte by byte: both must see the same, cleaned and within bounds. */
#include "smtp/reply_parser.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_held(const struct reply_parser *parser, enum reply_event event)
{
    check(parser->line_len <= REPLY_LINE && parser->text_len <= REPLY_TEXT);
    for (size_t i = 0; i < parser->text_len; i++)
        check(parser->text[i] >= 0x20 && parser->text[i] < 0x7f);
    if (event == REPLY_BAD) {
        check(parser->why != NULL);
        return;
    }
    check(parser->code >= 200 && parser->code < 600);
    check(parser->enhanced.class == 0 || parser->enhanced.class == parser->code / 100);
    check(parser->lines >= 1 && parser->lines <= REPLY_LINES);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reply_parser whole, single;
    struct span rest = span_of(data, size);
    enum reply_event event = REPLY_MORE;
    reply_parser_init(&whole);
    reply_parser_init(&single);
    while (rest.len && event != REPLY_BAD) {
        struct span before = rest;
        event = reply_parser_feed(&whole, &rest);
        check(rest.len < before.len);
        for (size_t i = 0; i < before.len - rest.len; i++) {
            struct span byte = span_first(span_skip(before, i), 1);
            enum reply_event same = reply_parser_feed(&single, &byte);
            check(same == (i + 1 == before.len - rest.len ? event : REPLY_MORE));
        }
        if (event == REPLY_MORE)
            continue;
        check_held(&whole, event);
        check(event == REPLY_BAD || whole.code == single.code);
        check(span_equals(reply_text(&whole), reply_text(&single)));
        check(span_equals(reply_line(&whole), reply_line(&single)));
    }
    return 0;
}
