#include "bench/message.h"

#include "core/check.h"
#include "core/crc32c.h"

#include <stdlib.h>

static const char head_before[] = "From: Bench <sender@source.test>\r\n"
                                  "To: Somebody <somebody@destination.test>\r\n"
                                  "Subject: a message of the bench\r\n"
                                  "Date: Tue, 24 Nov 2026 12:00:00 +0000\r\n"
                                  "Message-ID: <";
static const char head_middle[] = "@source.test>\r\n" MESSAGE_HASH_FIELD;
static const char head_after[] = "\r\n\r\n";

enum {
    NUMBER_DIGITS = 16,
    HASH_DIGITS = 8,
    HEAD = sizeof head_before - 1 + NUMBER_DIGITS + sizeof head_middle - 1 + HASH_DIGITS +
           sizeof head_after - 1,
    LINE = 72,
};
_Static_assert((int)HEAD <= (int)MESSAGE_HEAD_MAX &&
                   (int)HEAD + MESSAGE_TAIL + 4 <= (int)MESSAGE_SIZE_MIN,
               "the smallest message holds a head, a tail and some filler");

void message_put_hex(char *data, unsigned digits, uint64_t value)
{
    for (unsigned i = digits; i--; value >>= 4)
        data[i] = "0123456789abcdef"[value & 15];
}

/* Lines of text; the first one begins with a dot. */
static char *make_filler(size_t size)
{
    static const char words[] = "the quick brown mail relay takes a letter and passes it on, ";
    char *data = malloc(size);
    check(data);
    for (size_t i = 0; i < size; i++)
        data[i] = words[i % (sizeof words - 1)];
    for (size_t at = LINE; at + 2 < size; at += LINE)
        memcpy(data + at - 2, "\r\n", 2);
    memcpy(data + size - 2, "\r\n", 2);
    data[0] = '.';
    return data;
}

void message_text_init(struct message_text *text, uint64_t size)
{
    check(size >= MESSAGE_SIZE_MIN);
    size_t len = size - HEAD - MESSAGE_TAIL;
    char *stuffed = malloc(len + 1);
    check(stuffed);
    *text = (struct message_text){.size = size, .filler = span_of(make_filler(len), len)};
    stuffed[0] = '.';
    memcpy(stuffed + 1, text->filler.data, len);
    text->filler_stuffed = span_of(stuffed, len + 1);
    text->filler_crc32c = crc32c(0, text->filler);
}

void message_text_fini(struct message_text *text)
{
    free((void *)(uintptr_t)text->filler.data);
    free((void *)(uintptr_t)text->filler_stuffed.data);
    *text = (struct message_text){0};
}

static char *put(char *at, const char *data, size_t len)
{
    memcpy(at, data, len);
    return at + len;
}

size_t message_write(const struct message_text *text, uint64_t number, char head[MESSAGE_HEAD_MAX],
                     char tail[MESSAGE_TAIL])
{
    message_put_hex(tail, NUMBER_DIGITS, number);
    memcpy(tail + NUMBER_DIGITS, "\r\n", 2);
    uint32_t hash = crc32c(text->filler_crc32c, span_of(tail, MESSAGE_TAIL));
    char *at = put(head, head_before, sizeof head_before - 1);
    at = put(at, tail, NUMBER_DIGITS);
    at = put(at, head_middle, sizeof head_middle - 1);
    message_put_hex(at, HASH_DIGITS, hash);
    at = put(at + HASH_DIGITS, head_after, sizeof head_after - 1);
    return (size_t)(at - head);
}
