/* What needs no daemon. */
#include "core/command_private.h"

static const struct argument completion_arguments[] = {
    {"SHELL", ARGUMENT_CHOICE, POSITIONAL | MANDATORY, NULL, "bash zsh fish", "For which shell."},
};

static const struct command commands[] = {
    {"completion", NULL, .local = true, .shape = ANSWER_NONE, ARGUMENTS(completion_arguments),
     .brief = "Print the completion of this command line for a shell.",
     .text = "bash: `ringpost completion bash > /etc/bash_completion.d/ringpost`."},
};

struct command_family commands_local(void)
{
    return FAMILY(commands);
}
