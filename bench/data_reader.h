/* data_reader: finds the end of a message that comes by DATA, and its hash, as fast as it can.
 *
 * Written apart from smtp/body.c, so that sink checks the daemon's own reading. Only dots at the
 * beginning of a line matter, so it jumps from dot to dot. Text that comes by BDAT goes through
 * data_reader_chunk. */
#pragma once

#include "core/span.h"

struct data_reader {
    bool check;       /* read the header, compute the hash */
    bool in_body;     /* behind the blank line */
    bool has_hash;    /* the header field was there */
    uint8_t dot;      /* 1: a dot began this line; 2: and then came CR */
    uint8_t line_len; /* of the header line held in `line` */
    char before[2];   /* the last two octets read */
    char line[64];    /* the beginning of the current header line */
    uint32_t expected, hash;
    uint64_t size;
};

void data_reader_init(struct data_reader *reader, bool check);

/* Consumes from `input`. True: the final dot has come. */
bool data_reader_feed(struct data_reader *reader, struct span *input);
void data_reader_chunk(struct data_reader *reader, struct span chunk);

static inline bool data_reader_matches(const struct data_reader *reader)
{
    return reader->has_hash && reader->expected == reader->hash;
}
