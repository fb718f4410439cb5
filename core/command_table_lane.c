/* Lanes: the ways to other servers. */
#include "core/command_private.h"

static const struct argument list_arguments[] = {
    {"site", ARGUMENT_TEXT, 0, "TEXT", NULL, "Only lanes whose site has this in its name."},
    {"state", ARGUMENT_CHOICE, 0, "STATE", "ok held rate suspended", "Only lanes in this state."},
};

static const struct field list_fields[] = {
    {"lane", FIELD_TEXT, 0, "Its name: source->site."},
    {"source", FIELD_TEXT, ONLY_JSON, "Parts of the name."},
    {"site", FIELD_TEXT, ONLY_JSON, "Parts of the name."},
    {"worker", FIELD_COUNT, 0, "Each worker has its own; limits hold over all of them."},
    {"state", FIELD_TEXT, 0,
     "ok; held (no host could be reached, until); rate (the message rate binds, until); suspended "
     "(by an administrator, until)."},
    {"until_ms", FIELD_TIME, 0, "When it goes on."},
    {"connections", FIELD_COUNT, 0, "Open connections of this worker."},
    {"connecting", FIELD_COUNT, 0, "Of this worker, on their way."},
    {"idle", FIELD_COUNT, ONLY_JSON, "Open and without work."},
    {"slots", FIELD_COUNT, 0, "Connections of all workers."},
    {"limit", FIELD_COUNT, 0, "[delivery] connection_limit."},
    {"queues", FIELD_COUNT, 0, "Queues of this worker that want it (counted up to 10,000)."},
    {"failures", FIELD_COUNT, 0, "Connections that failed in a row."},
    {"failure", FIELD_TEXT, 0, "What the last of them met with."},
};

static const struct argument show_arguments[] = {
    {"NAME", ARGUMENT_TEXT, POSITIONAL | MANDATORY, NULL, NULL,
     "The lane as `lane list` names it, or its site."},
};

static const struct field host_fields[] = {
    {"name", FIELD_TEXT, 0, "The host."},
    {"address", FIELD_TEXT, 0, "Its address and port."},
    {"preference", FIELD_COUNT, 0, "Of its MX record, or its place in the route."},
    {"bad_until_ms", FIELD_TIME, 0, "It could not be reached and is left alone until then."},
};

static const struct field show_fields[] = {
    {"lane", FIELD_TEXT, 0, "Its name: source->site."},
    {"worker", FIELD_COUNT, 0, "Each worker has its own; limits hold over all of them."},
    {"state", FIELD_TEXT, 0, "ok, held, rate or suspended, as `lane list` says."},
    {"until_ms", FIELD_TIME, 0, "When it goes on."},
    {"connections", FIELD_COUNT, 0, "Open connections of this worker."},
    {"connecting", FIELD_COUNT, 0, "Of this worker, on their way."},
    {"idle", FIELD_COUNT, 0, "Open and without work."},
    {"slots", FIELD_COUNT, 0, "Connections of all workers."},
    {"limit", FIELD_COUNT, 0, "[delivery] connection_limit."},
    {"queues", FIELD_COUNT, 0, "Queues of this worker that want it (counted up to 10,000)."},
    {"failures", FIELD_COUNT, 0, "Connections that failed in a row."},
    {"failure", FIELD_TEXT, 0, "What the last of them met with."},
    {"hosts", FIELD_RECORDS, 0, "What it connects to.", FIELDS(host_fields)},
};

static const struct command commands[] = {
    {"lane", "list", .shape = ANSWER_MANY, ARGUMENTS(list_arguments), FIELDS(list_fields),
     .brief = "The ways to other servers that are in use, with their state.",
     .text = "A lane is what one source sends to one site (a set of MX hosts). It is forgotten a "
             "minute after its last use."},
    {"lane", "show", .shape = ANSWER_CARDS, ARGUMENTS(show_arguments), FIELDS(show_fields),
     .brief = "One lane, with its hosts, in each worker that uses it."},
};

struct command_family commands_lane(void)
{
    return FAMILY(commands);
}
