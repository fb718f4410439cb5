/* command_private: what the tables of command_table_*.c share. */
#pragma once

#include "core/command.h"

/* Rows of one family; the order of the families is command.c's. */
struct command_family {
    const struct command *commands;
    unsigned count;
};

#define FAMILY(array) ((struct command_family){(array), countof(array)})

struct command_family commands_daemon(void);
struct command_family commands_queue(void);
struct command_family commands_local(void);
