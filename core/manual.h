/* manual: the manual pages (mdoc) and the reference of the command line (Markdown), written from
 * the tables that the parsers use. Pure: text goes to `put`. */
#pragma once

#include "core/command.h"
#include "core/text_writer.h"

/* `page`: "ringpost.1", "ringpostd.8" or "ringpost.toml.5". False: there is no such page. */
MUST_USE bool manual_page(struct span page, text_put *put, void *context);

/* docs/COMMANDS.md. */
void manual_commands(text_put *put, void *context);

/* What ringpostd is called with: for its usage and its page. NULL behind the last. */
struct daemon_usage {
    const char *option, *value, *doc;
};
const struct daemon_usage *manual_daemon_usage(unsigned index);
