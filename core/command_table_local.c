/* What needs no daemon. */
#include "core/command_private.h"

static const struct argument completion_arguments[] = {
    {"SHELL", ARGUMENT_CHOICE, POSITIONAL | MANDATORY, NULL, "bash zsh fish", "For which shell."},
};

static const struct argument dkim_new_arguments[] = {
    {"FILE", ARGUMENT_PATH, POSITIONAL | MANDATORY, NULL, NULL,
     "Where to write it; must not exist."},
    {"type", ARGUMENT_CHOICE, 0, "TYPE", "rsa ed25519", "What kind of key; rsa unless said."},
    {"bits", ARGUMENT_COUNT, 0, "N", NULL, "Of an RSA key, 1024 to 4096; 2048 unless said."},
};

static const struct argument dkim_check_arguments[] = {
    {"RECORD", ARGUMENT_PATH, POSITIONAL, NULL, NULL,
     "A file with the record's text, to hold the only key against in place of DNS."},
};

static const struct argument manual_arguments[] = {
    {"PAGE", ARGUMENT_CHOICE, POSITIONAL | MANDATORY, NULL,
     "ringpost.1 ringpostd.8 ringpost.toml.5 COMMANDS.md", "Which one."},
};

static const struct argument check_arguments[] = {
    {"FILE", ARGUMENT_PATH, POSITIONAL, NULL, NULL, "The file; without it, that of --config."},
};

static const struct field check_fields[] = {
    {"file", FIELD_TEXT, 0, "What was looked at."},
    {"good", FIELD_FLAG, 0, "It can be used."},
    {"text", FIELD_TEXT, ONLY_JSON, "What is wrong, a line per mistake, and remarks."},
};

static const struct argument explain_arguments[] = {
    {"KEY", ARGUMENT_TEXT, POSITIONAL | MANDATORY, NULL, NULL,
     "An option: \"delivery.connection_limit\", or \"connection_limit\" wherever there is one."},
};

static const struct field explain_fields[] = {
    {"option", FIELD_TEXT, 0, "Its table and key."},
    {"form", FIELD_TEXT, 0, "What a value looks like."},
    {"default", FIELD_TEXT, 0, "What holds if it is not given."},
    {"least", FIELD_TEXT, 0, "The least value."},
    {"most", FIELD_TEXT, 0, "The greatest value."},
    {"changes", FIELD_TEXT, 0, "reload or restart: what makes a change take effect."},
    {"meaning", FIELD_TEXT, 0, "What it does."},
};

static const struct command commands[] = {
    {"config", "check", .local = true, .shape = ANSWER_ONE, ARGUMENTS(check_arguments),
     FIELDS(check_fields),
     .brief = "Say what is wrong with a configuration, with all the files that it names.",
     .text = "It runs `ringpostd --check-config`, so run it as a user who may read the keys. Exit "
             "status 0: it can be used; 1: it cannot."},
    {"config", "explain", .local = true, .shape = ANSWER_CARDS, ARGUMENTS(explain_arguments),
     FIELDS(explain_fields), .brief = "What an option means, its form and its default."},
    {"manual", NULL, .local = true, .shape = ANSWER_NONE, ARGUMENTS(manual_arguments),
     .brief = "Print a manual page (mdoc) or the reference of the commands (Markdown).",
     .text = "`ringpost manual ringpost.1 | mandoc -a` shows one."},
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
