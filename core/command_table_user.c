/* The accounts. They are a file, so no daemon is asked; a running one reads it again by itself. */
#include "core/command_private.h"

#define FILE_ARGUMENT                                                                              \
    {                                                                                              \
        "file", ARGUMENT_PATH, 0, "FILE", NULL,                                                    \
            "The password file; else [accounts] passwd_file of --config FILE."                     \
    }
#define SCHEME_ARGUMENT                                                                            \
    {                                                                                              \
        "scheme", ARGUMENT_CHOICE, 0, "SCHEME", "SCRAM-SHA-256 ARGON2ID SHA512-CRYPT BLF-CRYPT",   \
            "How the password is kept; SCRAM-SHA-256 unless said, with which every mechanism "     \
            "works."                                                                               \
    }

static const struct argument add_arguments[] = {
    {"NAME", ARGUMENT_TEXT, POSITIONAL | MANDATORY, NULL, NULL, "The name to log in with."},
    SCHEME_ARGUMENT,
    {"domains", ARGUMENT_TEXT, 0, "LIST", NULL,
     "Domains that it may send from, with commas: a.example,*.b.example; else any."},
    {"tenant", ARGUMENT_TEXT, 0, "TENANT", NULL, "Whose mail it is, whatever the message says."},
    {"rate", ARGUMENT_TEXT, 0, "RATE", NULL, "Messages that it may send, as 1000/h."},
    FILE_ARGUMENT,
};

static const struct argument passwd_arguments[] = {
    {"NAME", ARGUMENT_TEXT, POSITIONAL | MANDATORY, NULL, NULL, "Whose password."},
    SCHEME_ARGUMENT,
    FILE_ARGUMENT,
};

static const struct argument delete_arguments[] = {
    {"NAME", ARGUMENT_TEXT, POSITIONAL | MANDATORY, NULL, NULL, "Whose account."},
    FILE_ARGUMENT,
};

static const struct argument list_arguments[] = {FILE_ARGUMENT};

static const struct field list_fields[] = {
    {"name", FIELD_TEXT, 0, "The name to log in with."},
    {"scheme", FIELD_TEXT, 0, "How its password is kept."},
    {"domains", FIELD_TEXT, 0, "Domains that it may send from; none named: any."},
    {"tenant", FIELD_TEXT, 0, "Whose mail it is."},
    {"rate", FIELD_TEXT, 0, "Messages that it may send."},
};

static const struct command commands[] = {
    {"user", "add", .local = true, .shape = ANSWER_NONE, ARGUMENTS(add_arguments),
     .brief = "Add an account to the password file.",
     .text = "The password is asked for on the terminal, twice, or is the first line of standard "
             "input. The file is replaced in one step; a running daemon reads it within seconds."},
    {"user", "passwd", .local = true, .shape = ANSWER_NONE, ARGUMENTS(passwd_arguments),
     .brief = "Change an account's password; sessions with the old one end at their next message."},
    {"user", "delete", .local = true, .shape = ANSWER_NONE, ARGUMENTS(delete_arguments),
     .brief = "Delete an account; its sessions end at their next message."},
    {"user", "list", .local = true, .shape = ANSWER_MANY, ARGUMENTS(list_arguments),
     FIELDS(list_fields), .brief = "List the accounts of the password file."},
};

struct command_family commands_user(void)
{
    return FAMILY(commands);
}
