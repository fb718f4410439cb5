/* command_private: what the tables of command_table_*.c share. */
#pragma once

#include "core/command.h"

/* Which waiting mail is meant (queue/filter.h); all conditions hold together. */
#define FILTER_ARGUMENTS                                                                           \
    {"queue", ARGUMENT_TEXT, 0, "NAME", NULL, "Only this queue: campaign:tenant@domain."},         \
        {"domain", ARGUMENT_TEXT, 0, "DOMAIN", NULL, "Only mail to this domain."},                 \
        {"tenant", ARGUMENT_TEXT, 0, "TENANT", NULL, "Only mail of this tenant."},                 \
        {"campaign", ARGUMENT_TEXT, 0, "CAMPAIGN", NULL, "Only mail of this campaign."},           \
        {"age", ARGUMENT_DURATION, 0, "AGE", NULL, "Only messages at least this old."},            \
    {                                                                                              \
        "state", ARGUMENT_CHOICE, 0, "STATE", "new deferred due",                                  \
            "Only messages without an attempt so far, those with one, or those whose time has "    \
            "come."                                                                                \
    }

/* Rows of one family; the order of the families is command.c's. */
struct command_family {
    const struct command *commands;
    unsigned count;
};

#define FAMILY(array) ((struct command_family){(array), countof(array)})

struct command_family commands_daemon(void);
struct command_family commands_queue(void);
struct command_family commands_lane(void);
struct command_family commands_admin(void);
struct command_family commands_user(void);
struct command_family commands_journal(void);
struct command_family commands_local(void);
