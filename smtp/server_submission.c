/* What submission (RFC 6409) does to a message beyond taking it: fields that it lacks are added,
 * and an account that is bound to domains is held to them in From as well, because that is the
 * author that people see, and whose key signs. */
#include "smtp/server_private.h"

#include "core/check.h"
#include "core/date.h"
#include "smtp/fields.h"
#include "smtp/seal.h"

enum { MISSING_FIELDS = 400 };

bool server_add_missing_fields(struct server *server, uint64_t wall_ms)
{
    struct message *message = server->message;
    char text[MISSING_FIELDS], id[ID_TEXT];
    struct sink sink;
    struct span added;
    sink_init(&sink, text, sizeof text);
    if (!server->settings->submission)
        return true;
    if (!server->body->has_date) {
        sink_put(&sink, SPAN("Date: "));
        date_put_rfc5322(&sink, wall_ms);
        sink_put(&sink, SPAN("\r\n"));
    }
    if (!server->body->has_message_id) {
        id_text(message->envelope.id, id);
        sink_format(&sink, "Message-ID: <%s@", id);
        sink_put(&sink, server->settings->hostname);
        sink_put(&sink, SPAN(">\r\n"));
    }
    check(!sink.full);
    if (!arena_copy(&message->arena, sink_span(&sink), &added))
        return false;
    if (server->seal)
        server->seal->added = added;
    return text_append(&message->head, &message->arena, added);
}

/* ---- the author ---- */

/* Every From field that the header section has; none is wrong, too. */
static bool may_write(struct server *server, struct span header)
{
    struct header_field field;
    bool any = false;
    while (fields_next(&header, &field) == FIELDS_FIELD) {
        char storage[MAILBOX_DOMAIN + 1];
        struct sink domain;
        if (!span_equals_any_case(field.name, SPAN("From")))
            continue;
        sink_init(&domain, storage, sizeof storage);
        any = true;
        if (!author_domain(field.value, &domain) ||
            !server->settings->may_author(server->context, sink_span(&domain)))
            return false;
    }
    return any;
}

enum answer server_judge_author(struct server *server)
{
    const struct message *message = server->message;
    size_t most = server->body->header_size;
    if (!server->identity || !server->identity->bound)
        return ANSWER_NONE;
    char *header = arena_take(&server->message->arena, most + 1);
    if (!header)
        return ANSWER_NO_STORAGE;
    size_t len = text_copy(&message->body, 0, header, most);
    return may_write(server, span_of(header, len)) ? ANSWER_NONE : ANSWER_AUTHOR_DENIED;
}
