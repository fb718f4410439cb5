/* message: what load sends and how sink checks it.
 *
 * A message is a head that is written anew for each (its number, its hash), a filler that all of
 * one size share, and a tail with the number again, so that no two bodies are the same. The hash is
 * the CRC-32C of everything behind the blank line, as it is before dot-stuffing and after it is
 * undone; the field "X-Bench-Hash" carries it. Relays may put fields in front, no more. Every size
 * is exact, and head and tail always have the same length, so a whole dialogue can be counted in
 * octets (see floor.h). */
#pragma once

#include "core/span.h"

#define MESSAGE_HASH_FIELD "X-Bench-Hash: "

enum {
    MESSAGE_HEAD_MAX = 400,
    MESSAGE_TAIL = 18, /* 16 hex digits, CR LF */
    MESSAGE_SIZE_MIN = 512,
};

struct message_text {
    uint64_t size;                      /* octets of a whole message, not stuffed */
    struct span filler, filler_stuffed; /* owned; lines in CRLF form */
    uint32_t filler_crc32c;
};

/* `size` is at least MESSAGE_SIZE_MIN. Aborts without memory. */
void message_text_init(struct message_text *text, uint64_t size);
void message_text_fini(struct message_text *text);

/* Writes head and tail of the message `number`; returns the length of the head. */
size_t message_write(const struct message_text *text, uint64_t number, char head[MESSAGE_HEAD_MAX],
                     char tail[MESSAGE_TAIL]);

void message_put_hex(char *data, unsigned digits, uint64_t value);
