/* The journal, read where it lies. */
#include "core/command_private.h"

#define DIRECTORY_ARGUMENT                                                                         \
    {                                                                                              \
        "DIRECTORY", ARGUMENT_PATH, POSITIONAL, NULL, NULL,                                        \
            "The data_dir; that of --config FILE unless given."                                    \
    }
#define FORMAT_ARGUMENTS                                                                             \
    {"format",                                                                                       \
     ARGUMENT_CHOICE,                                                                                \
     0,                                                                                              \
     "FORMAT",                                                                                       \
     "json csv",                                                                                     \
     "json: a line's object, with \"worker\" and \"sequence\"; csv: PowerMTA's accounting file."},   \
        {"types", ARGUMENT_TEXT, 0, "TYPES", NULL, "Of csv, only these rows: d,b,t,r,rb,f."},        \
        {"from", ARGUMENT_TEXT,                                                                      \
         0,      "SEQUENCE",                                                                         \
         NULL,   "Begin here, in every worker's journal; or WORKER:SEQUENCE, with commas between."}, \
    {                                                                                                \
        "consumer", ARGUMENT_TEXT, 0, "NAME", NULL,                                                  \
            "Go on where this consumer has stopped, and remember how far it came."                   \
    }

static const struct argument tail_arguments[] = {
    DIRECTORY_ARGUMENT,
    {"follow", ARGUMENT_FLAG, 0, NULL, NULL, "Go on with what comes, until interrupted."},
    {"lines", ARGUMENT_COUNT, 0, "N", NULL, "The last N lines of all workers; 10 unless said."},
    FORMAT_ARGUMENTS,
};

static const struct argument export_arguments[] = {DIRECTORY_ARGUMENT, FORMAT_ARGUMENTS};

static const struct argument verify_arguments[] = {DIRECTORY_ARGUMENT};

static const struct argument cursors_arguments[] = {
    DIRECTORY_ARGUMENT,
    {"remove", ARGUMENT_TEXT, 0, "NAME", NULL, "Forget this consumer: nothing is kept for it."},
};

static const struct field verify_fields[] = {
    {"finding", FIELD_TEXT, 0,
     "missing: frames that no declared loss accounts for; damaged, unreadable: bytes that are not "
     "what was written; state damaged: the journal's own `state`."},
    {"worker", FIELD_COUNT, 0, "Whose journal."},
    {"from", FIELD_COUNT, 0, "The first sequence missing, or the last one in front of the damage."},
    {"to", FIELD_COUNT, 0, "The last sequence missing, or the first one behind the damage."},
    {"file", FIELD_TEXT, 0, "The segment it was found in or behind, as it is called while plain."},
};

static const struct field position_fields[] = {
    {"worker", FIELD_COUNT, 0, "Whose journal."},
    {"next", FIELD_COUNT, 0, "The next sequence that it wants."},
};

static const struct field cursor_fields[] = {
    {"consumer", FIELD_TEXT, 0, "Its name."},
    {"behind", FIELD_COUNT, 0, "Lines that it has not taken yet."},
    {"moved", FIELD_TIME, 0, "When it last came further."},
    {"damaged", FIELD_FLAG, 0, "Its position cannot be read: remove it and begin anew."},
    {"positions", FIELD_RECORDS, ONLY_JSON, "Per worker.", FIELDS(position_fields)},
};

static const struct command commands[] = {
    {"journal", "tail", .local = true, .shape = ANSWER_NONE, ARGUMENTS(tail_arguments),
     .brief = "Print the journal's last lines, and with -f those that come.",
     .text = "With --consumer or --from it begins there and not at the last lines."},
    {"journal", "export", .local = true, .shape = ANSWER_NONE, ARGUMENTS(export_arguments),
     .brief = "Print the journal, as JSON lines or as PowerMTA's accounting file.",
     .text =
         "A consumer's position is written after its output was flushed (and synced, if it goes to "
         "a file): if it dies in between, its next run repeats some lines and leaves out none. "
         "What "
         "a consumer has not read is kept for it, by [journal] keep_for_consumers.\n\n"
         "Exit status 1: frames are missing or damaged; everything else was printed."},
    {"journal", "verify", .local = true, .shape = ANSWER_MANY, ARGUMENTS(verify_arguments),
     FIELDS(verify_fields), .brief = "Is this the whole journal, as it was written?",
     .text =
         "Every segment is read. Exit status 1: something is missing without a declared loss, or "
         "is damaged."},
    {"journal", "cursors", .local = true, .shape = ANSWER_MANY, ARGUMENTS(cursors_arguments),
     FIELDS(cursor_fields), .brief = "List the consumers of the journal and how far they are."},
};

struct command_family commands_journal(void)
{
    return FAMILY(commands);
}
