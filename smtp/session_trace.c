/* What somebody who traces is told of a session: what the dialogue took and said, message text only
 * as a number of octets, logins not at all. */
#include "smtp/session.h"

static void tell(struct session *session, char side, struct span text)
{
    struct ingress *ingress = ingress_of(session);
    struct trace_event event = {
        .wall_ms = ingress->loop->wall_ms,
        .connection = session->number,
        .side = side,
        .peer = &session->conn.peer,
        .text = text,
        .hidden = session->secrets,
        .interesting = &session->traced,
    };
    traces_tell(&ingress->traces, &event, ingress->loop->now_ns);
}

static void tell_octets(struct session *session)
{
    char text[64];
    struct sink sink;
    sink_init(&sink, text, sizeof text);
    sink_format(&sink, "[%llu octets of message]", (unsigned long long)session->untold_octets);
    session->untold_octets = 0;
    tell(session, '*', sink_span(&sink));
}

/* A line that comes in pieces may be one that logs in: its rest is hidden, whatever it is. */
static void tell_commands(struct session *session, struct span commands)
{
    if (session->secrets && commands.len) {
        size_t len = span_find(commands, '\n');
        tell(session, 'C', span_first(commands, len));
        if (len == commands.len)
            return;
        session->secrets = false;
        commands = span_skip(commands, len + 1);
    }
    tell(session, 'C', commands);
    session->secrets = commands.len > 0 && commands.data[commands.len - 1] != '\n';
}

/* What the dialogue has taken: `data_octets` of it, at the front if it was in a message before,
 * else at the end, were message text; it has stopped behind them (stops_behind_data). */
void session_tell_input(struct session *session, struct span taken, uint64_t data_octets,
                        bool was_in_data)
{
    if (!traces_any(&ingress_of(session)->traces))
        return;
    struct span commands = span_first(taken, 0);
    if (data_octets < taken.len)
        commands = was_in_data ? span_skip(taken, data_octets)
                               : span_first(taken, taken.len - data_octets);
    if (!was_in_data)
        tell_commands(session, commands);
    session->untold_octets += data_octets;
    if (session->untold_octets && server_phase(&session->server) != PHASE_DATA)
        tell_octets(session);
    if (was_in_data)
        tell_commands(session, commands);
}

void session_tell_replies(struct session *session)
{
    if (!traces_any(&ingress_of(session)->traces))
        return;
    struct span replies = sink_span(&session->replies);
    tell(session, 'S', replies);
    session->secrets |= span_starts_with(replies, SPAN("334")) ||
                        memmem(replies.data, replies.len, "\n334", 4) != NULL;
}
