/* What needs no daemon. */
#include "core/command_private.h"

static const struct argument completion_arguments[] = {
    {"SHELL", ARGUMENT_CHOICE, POSITIONAL | MANDATORY, NULL, "bash zsh fish", "For which shell."},
};

static const struct argument dkim_new_arguments[] = {
    {"FILE", ARGUMENT_PATH, POSITIONAL | MANDATORY, NULL, NULL, "Where to write it; must not exist."},
    {"type", ARGUMENT_CHOICE, 0, "TYPE", "rsa ed25519", "What kind of key; rsa unless said."},
    {"bits", ARGUMENT_COUNT, 0, "N", NULL, "Of an RSA key, 1024 to 4096; 2048 unless said."},
};

static const struct argument dkim_check_arguments[] = {
    {"RECORD", ARGUMENT_PATH, POSITIONAL, NULL, NULL,
     "A file with the record's text, to hold the only key against in place of DNS."},
};

static const struct command commands[] = {
    {"completion", NULL, .local = true, .shape = ANSWER_NONE, ARGUMENTS(completion_arguments),
     .brief = "Print the completion of this command line for a shell.",
     .text = "bash: `ringpost completion bash > /etc/bash_completion.d/ringpost`."},
    {"dkim", "new", .local = true, .shape = ANSWER_NONE, ARGUMENTS(dkim_new_arguments),
     .brief = "Make a private key for DKIM, readable by you alone."},
    {"dkim", "dns", .local = true, .shape = ANSWER_NONE,
     .brief = "Print the DNS record of every [[dkim]] of --config FILE, as lines of a zone."},
    {"dkim", "check", .local = true, .shape = ANSWER_NONE, ARGUMENTS(dkim_check_arguments),
     .brief = "Hold every [[dkim]] key of --config FILE against its record in DNS.",
     .text = "Exit status 0: all are published; 1: one is not, or another key is; 3: a file or the "
             "name servers do not let us know."},
};

struct command_family commands_local(void)
{
    return FAMILY(commands);
}
