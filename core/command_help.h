/* command_help: the table of commands as help, completion and manual. Pure: text goes to `put`. */
#pragma once

#include "core/command.h"

typedef void command_put(void *context, struct span text);

/* All commands, those of a noun, or one in full. False: there is no such command. */
MUST_USE bool command_help(struct span noun, struct span verb, command_put *put, void *context);

/* `shell` is bash, zsh or fish. */
void command_completion(struct span shell, command_put *put, void *context);
