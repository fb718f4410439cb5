/* text_writer: formatted text, piece by piece, to whoever takes it. For what is made from our own
 * tables: help, manual pages, completions. */
#pragma once

#include "core/span.h"

typedef void text_put(void *context, struct span text);

struct text_writer {
    text_put *put;
    void *context;
};

/* At most 4,095 octets at a time, which the tables never reach. */
void text_write(const struct text_writer *writer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
