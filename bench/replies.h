/* replies: SMTP replies as a bench program needs them: their codes. The peers are measured, not
 * distrusted: what is no reply has code 0 or less than 200, which nobody waits for. */
#pragma once

#include "core/span.h"

struct reply_reader {
    uint8_t len;
    bool whole;    /* the line is the last one's, and over */
    char line[60]; /* the beginning of the current line */
};

/* Consumes up to the end of the next whole reply and returns its code; -1: all is consumed and none
 * was complete. */
static inline int reply_read(struct reply_reader *reader, struct span *input)
{
    while (input->len) {
        const char *end = memchr(input->data, '\n', input->len);
        size_t len = end ? (size_t)(end - input->data) + 1 : input->len;
        if (reader->whole)
            reader->len = 0;
        reader->whole = false;
        for (size_t i = 0; i < len && reader->len < sizeof reader->line; i++)
            reader->line[reader->len++] = input->data[i];
        *input = span_skip(*input, len);
        if (!end)
            break;
        const char *line = reader->line;
        bool last = reader->len < 4 || line[3] != '-';
        reader->whole = true;
        if (last)
            return (line[0] - '0') * 100 + (line[1] - '0') * 10 + line[2] - '0';
    }
    return -1;
}
