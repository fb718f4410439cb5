/* What an administrator does to waiting mail, and asks about it. */
#include "core/command_private.h"

/* ---- jobs ---- */

#define JOB_ARGUMENTS                                                                              \
    {"reason", ARGUMENT_TEXT, 0, "TEXT", NULL, "Why; it stands in the journal and in reports."},   \
        {"rate", ARGUMENT_COUNT, 0, "N", NULL, "At most N messages a second; all at once: 0."},    \
        {"dry-run", ARGUMENT_FLAG, 0, NULL, NULL, "Only count what is meant."},                    \
    {                                                                                              \
        "all", ARGUMENT_FLAG, 0, NULL, NULL, "Mean all that waits. Without it a filter is wanted." \
    }

static const struct argument job_arguments[] = {FILTER_ARGUMENTS, JOB_ARGUMENTS};

static const struct argument queue_job_arguments[] = {
    {"NAME", ARGUMENT_TEXT, POSITIONAL, NULL, NULL, "The queue, as --queue."},
    FILTER_ARGUMENTS,
    JOB_ARGUMENTS,
};

static const struct argument move_arguments[] = {
    {"FROM", ARGUMENT_TEXT, POSITIONAL | MANDATORY, NULL, NULL, "The queue."},
    {"TO", ARGUMENT_TEXT, POSITIONAL | MANDATORY, NULL, NULL,
     "Its new name: campaign:tenant@domain."},
    JOB_ARGUMENTS,
};

static const struct argument rebind_arguments[] = {
    FILTER_ARGUMENTS,
    {"to-tenant", ARGUMENT_TEXT, 0, "TENANT", NULL, "The new tenant."},
    {"to-campaign", ARGUMENT_TEXT, 0, "CAMPAIGN", NULL, "The new campaign."},
    {"to-domain", ARGUMENT_TEXT, 0, "DOMAIN", NULL,
     "Where the mail goes from now on; its recipients stay as they are."},
    JOB_ARGUMENTS,
};

static const struct field job_fields[] = {
    {"matched", FIELD_COUNT, 0, "Messages that are meant, as far as it has come."},
    {"done", FIELD_COUNT, 0, "Of these, done."},
    {"in_delivery", FIELD_COUNT, 0, "Left, because a connection had them (known at the end)."},
    {"refused", FIELD_COUNT, 0, "Left, because they cannot be moved."},
    {"queues", FIELD_COUNT, 0, "Queues that were gone through."},
    {"finished", FIELD_FLAG, 0, "The last line says yes."},
};

/* ---- suspensions ---- */

static const struct argument suspend_arguments[] = {
    {"WHAT", ARGUMENT_CHOICE, POSITIONAL | MANDATORY, NULL,
     "queue domain tenant campaign source lane", "What stands still."},
    {"NAME", ARGUMENT_TEXT, POSITIONAL | MANDATORY, NULL, NULL,
     "Its name, as `queue list` and `lane list` show it."},
    {"for", ARGUMENT_DURATION, 0, "TIME", NULL, "How long; without it until it is resumed."},
    {"reason", ARGUMENT_TEXT, 0, "TEXT", NULL, "Why; it is shown wherever this binds."},
};

static const struct argument resume_arguments[] = {
    {"WHAT", ARGUMENT_CHOICE, POSITIONAL | MANDATORY, NULL,
     "queue domain tenant campaign source lane", "What goes on."},
    {"NAME", ARGUMENT_TEXT, POSITIONAL | MANDATORY, NULL, NULL, "Its name."},
};

static const struct field suspension_fields[] = {
    {"what", FIELD_TEXT, 0, "queue, domain, tenant, campaign, source or lane."},
    {"name", FIELD_TEXT, 0, "Its name."},
    {"since_ms", FIELD_TIME, 0, "When it was suspended."},
    {"until_ms", FIELD_TIME, 0, "When it goes on by itself; left out: never."},
    {"who", FIELD_TEXT, 0, "By whom."},
    {"reason", FIELD_TEXT, 0, "Why."},
};

/* ---- traces ---- */

static const struct argument trace_in_arguments[] = {
    {"address", ARGUMENT_TEXT, 0, "ADDRESS", NULL, "Only clients with this address."},
    {"domain", ARGUMENT_TEXT, 0, "DOMAIN", NULL,
     "Only connections from where they name this domain in MAIL or RCPT."},
};

static const struct argument trace_out_arguments[] = {
    {"address", ARGUMENT_TEXT, 0, "ADDRESS", NULL, "Only servers with this address."},
    {"domain", ARGUMENT_TEXT, 0, "DOMAIN", NULL,
     "Only connections from where they have mail for this domain."},
    {"queue", ARGUMENT_TEXT, 0, "NAME", NULL, "The same for a queue."},
};

static const struct field trace_fields[] = {
    {"text", FIELD_TEXT, 0, "The line for people: time, connection, peer, side and what it said."},
    {"time_ms", FIELD_TIME, ONLY_JSON, "When it was said."},
    {"worker", FIELD_COUNT, ONLY_JSON, "The worker whose connection it is."},
    {"connection", FIELD_COUNT, ONLY_JSON, "The connection's number in its worker."},
    {"peer", FIELD_TEXT, ONLY_JSON, "The other side's address and port."},
    {"side", FIELD_TEXT, ONLY_JSON, "C: the client said it; S: the server; *: a remark of ours."},
    {"line", FIELD_TEXT, ONLY_JSON, "What was said."},
    {"dropped", FIELD_COUNT, ONLY_JSON, "Lines that are missing here."},
};

#define TRACE_TEXT                                                                                 \
    "It goes on until it is interrupted. Message text is not shown, only its size, nor what a "    \
    "client says to log in. Lines that come faster than they are read are dropped and counted."

/* ---- domains ---- */

static const struct argument domain_arguments[] = {
    {"DOMAIN", ARGUMENT_TEXT, POSITIONAL, NULL, NULL, "Only this one."},
};

static const struct field domain_fields[] = {
    {"domain", FIELD_TEXT, 0, "The destination."},
    {"worker", FIELD_COUNT, 0, "The worker that met it."},
    {"errors", FIELD_COUNT, 0, "Attempts that left or failed recipients."},
    {"at_ms", FIELD_TIME, 0, "When the last one was."},
    {"error", FIELD_TEXT, 0, "What it heard."},
};

static const struct argument top_arguments[] = {
    {"interval", ARGUMENT_DURATION, 0, "TIME", NULL, "Between two looks: 2s."},
    {"once", ARGUMENT_FLAG, 0, NULL, NULL, "Look twice, print the screen once, and end."},
};

/* ---- why ---- */

static const struct argument id_arguments[] = {
    {"ID", ARGUMENT_TEXT, POSITIONAL | MANDATORY, NULL, NULL,
     "The message's number, as its 250 said."},
};

static const struct argument queue_arguments[] = {
    {"NAME", ARGUMENT_TEXT, POSITIONAL | MANDATORY, NULL, NULL,
     "The queue: campaign:tenant@domain."},
};

static const struct argument lane_arguments[] = {
    {"NAME", ARGUMENT_TEXT, POSITIONAL | MANDATORY, NULL, NULL,
     "The lane as `lane list` names it, or its site."},
};

static const struct field reason_fields[] = {
    {"reason", FIELD_TEXT, 0, "What binds it; the names are below."},
    {"text", FIELD_TEXT, 0, "The same for people."},
    {"since_ms", FIELD_TIME, 0, "Since when, if that is known."},
    {"until_ms", FIELD_TIME, 0, "Until when, if that is known."},
    {"option", FIELD_TEXT, 0, "Which option sets it, and where: file and line, or default."},
};

static const struct field why_fields[] = {
    {"id", FIELD_TEXT, 0, "The message."},
    {"queue", FIELD_TEXT, 0, "Its queue."},
    {"lane", FIELD_TEXT, 0, "The lane."},
    {"worker", FIELD_COUNT, 0, "The worker whose it is."},
    {"attempts", FIELD_COUNT, 0, "Attempts so far."},
    {"due_ms", FIELD_TIME, 0, "When it is tried next."},
    {"last_reply", FIELD_TEXT, 0, "What the last attempt heard."},
    {"reasons", FIELD_RECORDS, 0, "What binds it now, from the outside in.", FIELDS(reason_fields)},
};

static const struct field recipient_fields[] = {
    {"address", FIELD_TEXT, 0, "The recipient."},
    {"notify", FIELD_TEXT, 0, "What reports it wants (RFC 3461), if that was said."},
    {"orcpt", FIELD_TEXT, 0, "Its original address, if that was said."},
};

static const struct field message_fields[] = {
    {"id", FIELD_TEXT, 0, "The message."},
    {"queue", FIELD_TEXT, 0, "The queue of these recipients."},
    {"state", FIELD_TEXT, 0, "new, deferred, due, in-delivery, recording or accepting."},
    {"from", FIELD_TEXT, 0, "The reverse-path; empty: a report."},
    {"size", FIELD_BYTES, 0, "Its size."},
    {"arrived_ms", FIELD_TIME, 0, "When it was accepted."},
    {"expires_ms", FIELD_TIME, 0, "When it is given up."},
    {"attempts", FIELD_COUNT, 0, "Attempts so far."},
    {"last_attempt_ms", FIELD_TIME, 0, "When the last one was."},
    {"due_ms", FIELD_TIME, 0, "When it is tried next."},
    {"last_reply", FIELD_TEXT, 0, "What the last attempt heard."},
    {"last_peer", FIELD_TEXT, 0, "And from whom."},
    {"envid", FIELD_TEXT, 0, "The envelope's identifier, if that was said."},
    {"recipients", FIELD_RECORDS, 0, "Those that are still open.", FIELDS(recipient_fields)},
};

#define WHY_TEXT                                                                                   \
    "The reasons: not-due (the retry schedule), in-delivery, recording and accepting (it is "      \
    "being "                                                                                       \
    "worked on), suspended, resolving and no-route (DNS), backoff and hosts-bad (no connection "   \
    "could be made), connection-limit, message-rate, connection-rate, connecting, turn (others "   \
    "of "                                                                                          \
    "its lane go first), on-disk (others of its queue do), loading-rows, loading-body, no-memory " \
    "(being read, or no room for it), settling-queue (all of the queue gets one answer), "         \
    "unrecorded, disk-full, disk-reserve, clock, stopping, empty, ready (nothing binds it)."

static const struct command commands[] = {
    {"queue", "flush", .shape = ANSWER_MANY, ARGUMENTS(queue_job_arguments), FIELDS(job_fields),
     .brief = "Try what waits now, before its time; hosts that failed are tried again, too."},
    {"queue", "delete", .shape = ANSWER_MANY, ARGUMENTS(queue_job_arguments), FIELDS(job_fields),
     .brief = "Remove waiting mail without a report to its senders.",
     .text = "Each recipient is an AdminBounce line of the journal. What a connection has now is "
             "left. What was done stays done when the command is interrupted."},
    {"queue", "move", .shape = ANSWER_MANY, ARGUMENTS(move_arguments), FIELDS(job_fields),
     .brief = "Move a queue's waiting mail to another queue.",
     .text = "The same as `rebind` with all three parts of the new name. Messages with several "
             "destinations keep their domains."},
    {"queue", "why", .shape = ANSWER_CARDS, ARGUMENTS(queue_arguments), FIELDS(why_fields),
     .brief = "Why mail in this queue is still here.", .text = WHY_TEXT},
    {"message", "show", .shape = ANSWER_CARDS, ARGUMENTS(id_arguments), FIELDS(message_fields),
     .brief = "One waiting message: envelope, attempts, last reply.",
     .text = "A message to several domains has a card for each. Exit status 1: it does not wait "
             "here (any more); the journal knows what became of it."},
    {"message", "why", .shape = ANSWER_CARDS, ARGUMENTS(id_arguments), FIELDS(why_fields),
     .brief = "Why this message is still here.", .text = WHY_TEXT},
    {"lane", "why", .shape = ANSWER_CARDS, ARGUMENTS(lane_arguments), FIELDS(why_fields),
     .brief = "What holds this lane back.", .text = WHY_TEXT},
    {"bounce", NULL, .shape = ANSWER_MANY, ARGUMENTS(job_arguments), FIELDS(job_fields),
     .brief = "Return waiting mail to its senders.",
     .text = "Each recipient gets a report, if its stream wants reports ([bounce] mode), and an "
             "AdminBounce line of the journal. What a connection has now is left. A line every two "
             "seconds says how far it is; when the command is interrupted it ends, and what was "
             "done stays done. Look with --dry-run first."},
    {"rebind", NULL, .shape = ANSWER_MANY, ARGUMENTS(rebind_arguments), FIELDS(job_fields),
     .brief = "Give waiting mail another tenant, campaign, or domain to go to.",
     .text = "Each message is an AdminRebind line of the journal. With --to-domain mail takes the "
             "route of that domain; messages with several destinations are left then."},
    {"suspend", NULL, .shape = ANSWER_ONE, ARGUMENTS(suspend_arguments), FIELDS(suspension_fields),
     .brief = "Let a queue, domain, tenant, campaign, source or lane stand still.",
     .text = "Mail is accepted and waits, running transactions end, what is too old expires. It "
             "outlives restarts. Suspended again, the new reason and time hold."},
    {"resume", NULL, .shape = ANSWER_NONE, ARGUMENTS(resume_arguments),
     .brief = "Let go on what was suspended."},
    {"trace", "smtp-in", .shape = ANSWER_TEXT, ARGUMENTS(trace_in_arguments), FIELDS(trace_fields),
     .brief = "What clients and we say to each other, live.", .text = TRACE_TEXT},
    {"trace", "smtp-out", .shape = ANSWER_TEXT, ARGUMENTS(trace_out_arguments),
     FIELDS(trace_fields), .brief = "What we and other servers say to each other, live.",
     .text = TRACE_TEXT},
    {"domain", "errors", .shape = ANSWER_MANY, ARGUMENTS(domain_arguments), FIELDS(domain_fields),
     .brief = "Destinations that were tried lately and did not take everything, with their words.",
     .text = "A destination is forgotten ten minutes after its last attempt; `queue show` has the "
             "last reply of each message."},
    {"top", NULL, .local = true, .shape = ANSWER_NONE, ARGUMENTS(top_arguments),
     .brief = "A live screen: rates, the largest domains with their last error, lanes in backoff.",
     .text = "Any key looks again at once, q ends it. It fits into 80 columns and 24 lines."},
    {"suspension", "list", .shape = ANSWER_MANY, FIELDS(suspension_fields),
     .brief = "All suspensions that hold."},
};

struct command_family commands_admin(void)
{
    return FAMILY(commands);
}
