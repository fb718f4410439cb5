/* arguments: the command line of the bench's programs, as a table.
 *
 * `--name VALUE` or `--name=VALUE`; a flag takes no value. `--help` prints the table. Values that
 * are given twice: the last one counts. */
#pragma once

#include "core/address.h"
#include "core/check.h"

#include <stdint.h>

enum argument_kind { ARGUMENT_FLAG, ARGUMENT_COUNT, ARGUMENT_SHARE, ARGUMENT_TEXT };

struct argument {
    const char *name;
    enum argument_kind kind;
    void *ret_value; /* bool, uint64_t, double (0 to 1), const char *; holds the default */
    const char *meaning;
};

/* Reads all of argv or prints what is wrong, or the help, and ends the program. */
void arguments_read(const char *purpose, const struct argument *table, unsigned count, int argc,
                    char **argv);

/* Says what is wrong with the command line and ends the program with status 2. */
__attribute__((noreturn, format(printf, 1, 2))) void arguments_wrong(const char *format, ...);

/* "ADDRESS:PORT", or ends the program. */
struct address arguments_address(const char *text);

/* "USER:PASSWORD" as the argument of AUTH PLAIN (RFC 4616), in `memory`; NULL stays NULL. */
const char *arguments_login(const char *login, char *memory, size_t capacity);
