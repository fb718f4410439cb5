/* The daemon as a whole: its state, its log, its life. */
#include "core/command_private.h"

static const struct field status_fields[] = {
    {"version", FIELD_TEXT, 0, "The daemon's version."},
    {"pid", FIELD_COUNT, 0, "Its process."},
    {"started_ms", FIELD_TIME, 0, "When it was started."},
    {"state", FIELD_TEXT, 0, "running, drained (takes no mail), stopping, or disk full."},
    {"config", FIELD_TEXT, 0, "The configuration file."},
    {"config_read_ms", FIELD_TIME, 0, "When it was last read with success."},
    {"workers", FIELD_COUNT, 0, "Worker threads."},
    {"queues", FIELD_COUNT, 0, "Queues in memory."},
    {"rows", FIELD_COUNT, 0, "Waiting deliveries: a message counts once per destination domain."},
    {"fresh", FIELD_COUNT, 0, "Of these, new messages that wait for their first attempt."},
    {"connections_in", FIELD_COUNT, 0, "Open SMTP connections of clients."},
    {"connections_out", FIELD_COUNT, 0, "Open SMTP connections to other servers."},
    {"accepted", FIELD_COUNT, 0, "Messages taken since the start."},
    {"delivered", FIELD_COUNT, 0, "Recipients delivered since the start."},
    {"deferred", FIELD_COUNT, 0, "Temporary failures of recipients since the start."},
    {"bounced", FIELD_COUNT, 0, "Recipients that failed for good since the start."},
    {"expired", FIELD_COUNT, 0, "Recipients given up by age since the start."},
    {"suspensions", FIELD_COUNT, 0, "What stands still by an administrator's word."},
    {"alarm", FIELD_TEXT, 0, "What needs a person now; left out if nothing does."},
};

static const struct field level_fields[] = {
    {"level", FIELD_TEXT, 0, "The least important messages that are written now."},
};

static const struct argument level_arguments[] = {
    {"LEVEL", ARGUMENT_CHOICE, POSITIONAL, NULL, "error warning notice info debug",
     "The new level, until the next reload or restart. Without it the present one is shown."},
};

static const struct field reload_fields[] = {
    {"option", FIELD_TEXT, 0, "What has changed: table.key, or the name of a repeated table."},
    {"was", FIELD_TEXT, 0, "Its value before, if it fits on a line."},
    {"is", FIELD_TEXT, 0, "Its value now."},
};

static const struct argument drain_arguments[] = {
    {"off", ARGUMENT_FLAG, 0, NULL, NULL, "Take mail again."},
};

static const struct field dump_fields[] = {
    {"text", FIELD_TEXT, 0, "A line of TOML with its comment."},
};

static const struct command commands[] = {
    {"status", NULL, .shape = ANSWER_ONE, FIELDS(status_fields),
     .brief = "How the daemon is: state, what waits, what it has done."},
    {"reload", NULL, .shape = ANSWER_MANY, FIELDS(reload_fields),
     .brief = "Read the configuration again and use it, as SIGHUP does.",
     .text =
         "All or nothing: a file with a mistake, a changed option that only a restart can apply, "
         "a certificate or a port that cannot be used change nothing, and the answer says why. "
         "Listeners open and close as the file says. No connection is dropped: a session takes "
         "the new settings between two messages, a connection to another server ends under "
         "those that it began with. Mail that waits keeps its expiry and its next attempt. The "
         "log's file is opened anew.\n\n"
         "The answer lists what has changed."},
    {"drain", NULL, .shape = ANSWER_NONE, ARGUMENTS(drain_arguments),
     .brief = "Take no more mail, and deliver what waits.",
     .text = "The SMTP listeners close; a session ends when its message has; /readyz says 503. "
             "Delivery goes on. `ringpost drain --off` takes mail again, and so does a restart. "
             "`ringpost status` shows what is left."},
    {"stop", NULL, .shape = ANSWER_NONE, .brief = "End the daemon in order, as SIGTERM does.",
     .text =
         "Running transactions may end for [delivery] system_shutdown_timeout; what is not done "
         "stays queued. The command returns when the daemon has begun to stop."},
    {"config", "dump", .shape = ANSWER_TEXT, FIELDS(dump_fields),
     .brief = "The configuration in use: each option with its value and its line, or \"default\"."},
    {"log", "level", .shape = ANSWER_ONE, ARGUMENTS(level_arguments), FIELDS(level_fields),
     .brief = "Show or change how much the daemon logs."},
};

struct command_family commands_daemon(void)
{
    return FAMILY(commands);
}
