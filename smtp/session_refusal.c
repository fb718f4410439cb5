/* What a client was refused, for the journal: its line and our reply, taken apart. */
#include "queue/rejection.h"
#include "smtp/session.h"

/* "550 5.7.1 text": our own replies, so their form is known; of several lines the first counts. */
static struct reply_summary summary_of(struct span reply)
{
    struct reply_summary summary = {0};
    uint64_t code = 0, parts[3];
    struct span line = span_trim(span_first(reply, span_find(reply, '\r')));
    if (span_decimal(span_first(line, 3), 999, &code))
        summary.code = (uint16_t)code;
    struct span rest = span_skip(line, 4), word = span_first(rest, span_find(rest, ' '));
    unsigned found = 0;
    for (struct span left = word; left.len && found < countof(parts);) {
        struct span part = span_first(left, span_find(left, '.'));
        if (!span_decimal(part, 999, &parts[found++]))
            found = countof(parts) + 1;
        left = span_skip(left, part.len + 1);
    }
    summary.text = rest;
    if (found == countof(parts) && parts[0] < 10) {
        summary.enhanced =
            (struct enhanced){(uint8_t)parts[0], (uint16_t)parts[1], (uint16_t)parts[2]};
        summary.text = span_skip(rest, word.len + 1);
    }
    return summary;
}

void session_refused(void *context, struct span command, struct span reply)
{
    const struct session *session = context;
    const struct server *server = &session->server;
    struct reply_summary summary = summary_of(reply);
    summary.command = command;
    struct rejection rejection = {
        .sender = server->message ? server->message->envelope.reverse_path : (struct span){0},
        .peer = *server->peer,
        .peer_name = server_helo(server),
        .protocol = server_protocol(server),
        .reply = &summary,
    };
    share_rejected(server->settings->share, &rejection);
}
