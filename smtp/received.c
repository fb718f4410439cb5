#include "smtp/received.h"

#include "core/date.h"
#include "queue/record.h"

static bool has_literal(const struct address *peer)
{
    return peer->family == AF_INET || peer->family == AF_INET6;
}

static void put_from(const struct received *received, struct sink *sink)
{
    if (received->helo.len)
        sink_put(sink, received->helo);
    else if (has_literal(received->peer))
        address_put_literal(received->peer, sink);
    else
        sink_put(sink, SPAN("unknown"));
    if (!has_literal(received->peer))
        return;
    sink_put(sink, SPAN(" ("));
    address_put_literal(received->peer, sink);
    sink_byte(sink, ')');
}

/* A subject may hold anything: what would end the comment early is replaced. */
static void put_subject(struct span subject, struct sink *sink)
{
    char text[200];
    struct sink cleaned;
    sink_init(&cleaned, text, sizeof text);
    sink_printable(&cleaned, subject, sizeof text);
    for (size_t i = 0; i < cleaned.len; i++)
        sink_byte(sink, strchr("()\\", text[i]) ? '?' : text[i]);
}

static void put_tls(const struct tls_facts *tls, struct sink *sink)
{
    sink_put(sink, SPAN("\r\n\t(using "));
    sink_put(sink, tls->version);
    sink_put(sink, SPAN(" with cipher "));
    sink_put(sink, tls->cipher);
    if (tls->verified) {
        sink_put(sink, SPAN(",\r\n\tverified client "));
        put_subject(tls->subject, sink);
    }
    sink_byte(sink, ')');
}

void received_put(const struct received *received, struct sink *sink)
{
    char id[ID_TEXT];
    id_text(received->id, id);
    sink_put(sink, SPAN("Received: from "));
    put_from(received, sink);
    if (received->tls)
        put_tls(received->tls, sink);
    sink_put(sink, SPAN("\r\n\tby "));
    sink_put(sink, received->hostname);
    sink_put(sink, SPAN(" with "));
    sink_put(sink, received->protocol);
    sink_put(sink, SPAN(" id "));
    sink_put(sink, span_string(id));
    if (received->recipient.len) {
        sink_put(sink, SPAN("\r\n\tfor <"));
        sink_put(sink, received->recipient);
        sink_byte(sink, '>');
    }
    sink_put(sink, SPAN(";\r\n\t"));
    date_put_rfc5322(sink, received->wall_ms);
    sink_put(sink, SPAN("\r\n"));
}

static bool is_name_octet(char c)
{
    char lower = ascii_lower(c);
    return (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') || (c && strchr("-._:[]", c));
}

void helo_clean(struct span helo, struct sink *sink)
{
    for (size_t i = 0; i < helo.len; i++)
        sink_byte(sink, is_name_octet(helo.data[i]) ? helo.data[i] : '?');
}
