/* Queues and the messages in them. */
#include "core/command_private.h"

static const struct argument check_arguments[] = {
    {"DIR", ARGUMENT_PATH, POSITIONAL, NULL, NULL,
     "The data directory, or the queue's folder in it. Without it, that of --config FILE."},
};

static const struct field check_fields[] = {
    {"kind", FIELD_TEXT, 0, "What kind of finding."},
    {"legal", FIELD_FLAG, 0, "A note only."},
    {"id", FIELD_TEXT, 0, "The message."},
    {"text", FIELD_TEXT, 0, "What was found."},
};

static const struct command commands[] = {
    {"queue", "check", .local = true, .shape = ANSWER_MANY, ARGUMENTS(check_arguments),
     FIELDS(check_fields),
     .brief = "Read the queue of a stopped daemon and name every illegal state.",
     .text = "Exit status 0: all legal; 1: not; 3: it could not be read. With --json the findings "
             "are the member \"findings\" of one object, beside the counts."},
};

struct command_family commands_queue(void)
{
    return FAMILY(commands);
}
