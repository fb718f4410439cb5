/* Queues and the messages in them. */
#include "core/command_private.h"

static const struct argument list_arguments[] = {FILTER_ARGUMENTS};

static const struct field list_fields[] = {
    {"queue", FIELD_TEXT, 0, "Its name: campaign:tenant@domain."},
    {"campaign", FIELD_TEXT, ONLY_JSON, "Parts of the name."},
    {"tenant", FIELD_TEXT, ONLY_JSON, "Parts of the name."},
    {"domain", FIELD_TEXT, ONLY_JSON, "Parts of the name."},
    {"rows", FIELD_COUNT, 0, "Messages that wait in it."},
    {"fresh", FIELD_COUNT, 0, "Of these, new ones before their first attempt."},
    {"matched", FIELD_COUNT, 0, "Those that --age and --state mean, if given."},
    {"approximate", FIELD_FLAG, ONLY_JSON,
     "The counts are from before a crash and are being made anew."},
    {"due", FIELD_FLAG, 0, "Something in it is due, or being delivered."},
    {"next_due_ms", FIELD_TIME, 0, "When the next one is due."},
    {"suspended", FIELD_TEXT, 0,
     "What of it is suspended: queue, domain, tenant or campaign. `queue why` says more."},
    {"worker", FIELD_COUNT, 0, "The worker whose it is."},
};

static const struct argument summary_arguments[] = {
    FILTER_ARGUMENTS,
    {"by", ARGUMENT_CHOICE, 0, "WHAT", "domain tenant campaign", "What is summed up: domain."},
    {"limit", ARGUMENT_COUNT, 0, "N", NULL, "The N largest; 20."},
};

static const struct field summary_fields[] = {
    {"name", FIELD_TEXT, 0, "The domain, tenant or campaign; empty: mail without one."},
    {"queues", FIELD_COUNT, 0, "Its queues."},
    {"rows", FIELD_COUNT, 0, "Messages that wait in them."},
    {"fresh", FIELD_COUNT, 0, "Of these, new ones before their first attempt."},
    {"matched", FIELD_COUNT, 0, "Those that --age and --state mean, if given."},
    {"due", FIELD_COUNT, 0, "Queues in which something is due."},
    {"next_due_ms", FIELD_TIME, 0, "When the next one is due."},
};

static const struct argument show_arguments[] = {
    {"NAME", ARGUMENT_TEXT, POSITIONAL, NULL, NULL, "The queue, as --queue."},
    FILTER_ARGUMENTS,
    {"limit", ARGUMENT_COUNT, 0, "N", NULL, "Stop after N messages."},
};

static const struct field show_fields[] = {
    {"id", FIELD_TEXT, 0, "The message."},
    {"queue", FIELD_TEXT, ONLY_JSON, "Its queue."},
    {"state", FIELD_TEXT, 0,
     "new (no attempt yet), deferred, due (its time has come), delivering (a connection has it)."},
    {"attempts", FIELD_COUNT, 0, "Attempts so far."},
    {"arrived_ms", FIELD_TIME, 0, "When it was accepted."},
    {"due_ms", FIELD_TIME, 0, "When it is tried next."},
    {"expires_ms", FIELD_TIME, ONLY_JSON, "When it is given up."},
    {"size", FIELD_BYTES, 0, "Its size."},
    {"from", FIELD_TEXT, 0, "The reverse-path; empty: a report."},
    {"to", FIELD_TEXT, 0, "Its first recipient here."},
    {"recipients", FIELD_COUNT, ONLY_JSON, "How many recipients it has here."},
    {"last_reply", FIELD_TEXT, 0, "What the last attempt heard."},
    {"last_attempt_ms", FIELD_TIME, ONLY_JSON, "When that was."},
    {"last_peer", FIELD_TEXT, ONLY_JSON, "And from whom."},
};

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
    {"queue", "list", .shape = ANSWER_MANY, ARGUMENTS(list_arguments), FIELDS(list_fields),
     .brief = "The queues and how much waits in each.",
     .text = "With --age or --state the rows of each queue are read and counted, which takes time "
             "where many wait; queues without such a row are left out. A listing is not of one "
             "moment: mail moves meanwhile."},
    {"queue", "summary", .shape = ANSWER_MANY, ARGUMENTS(summary_arguments), FIELDS(summary_fields),
     .brief = "What waits, summed up by domain, tenant or campaign: the largest first.",
     .text = "The same counts as `queue list`. Beyond 100,000 names what is left is summed up as "
             "\"(other)\"."},
    {"queue", "show", .shape = ANSWER_MANY, ARGUMENTS(show_arguments), FIELDS(show_fields),
     .brief = "The messages that wait, one by one.",
     .text = "First those that wait for their first attempt, then those on disk in the order in "
             "which they are due. A message to several domains has a line for each."},
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
