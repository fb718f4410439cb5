/* command_help: the table of commands as help, completion and manual. Pure: text goes to `put`. */
#pragma once

#include "core/command.h"
#include "core/text_writer.h"

/* All commands, those of a noun, or one in full. False: there is no such command. */
MUST_USE bool command_help(struct span noun, struct span verb, text_put *put, void *context);

/* `shell` is bash, zsh or fish. */
void command_completion(struct span shell, text_put *put, void *context);
