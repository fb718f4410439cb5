/* tally: what sink has counted, in memory that others may map and read along.
 *
 * With a file: this struct, then one octet per recipient number below `numbers`, which counts the
 * messages of "user<number>@..." (load and fill_rows name recipients so). bench/sinks.py knows this
 * layout. */
#pragma once

#include "core/check.h"

#include <stdint.h>

struct tally {
    uint64_t messages, recipients, bytes; /* taken; bytes of text, without dot-stuffing */
    uint64_t connections;
    uint64_t duplicates, strangers; /* recipients seen before; with a number that is not ours */
    uint64_t hash_right, hash_wrong, hash_missing;
    uint64_t deferred, refused, closed; /* answers 4xx, 5xx and 421 that we gave */
    uint64_t by_chunks;                 /* messages that came by BDAT */
    uint64_t secured;                   /* connections with TLS */
    uint64_t first_ns, last_ns;         /* CLOCK_MONOTONIC of messages; who sets the first to 0 asks
                                         * anew */
    uint64_t numbers;
    uint8_t seen[];
};

/* `path` NULL: only for ourselves. NULL with errno. */
MUST_USE struct tally *tally_open(const char *path, uint64_t numbers);

void tally_recipient(struct tally *tally, uint64_t number);
