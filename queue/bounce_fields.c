/* The part for the machine: the fields of RFC 3464, with the address type of RFC 6533. */
#include "queue/bounce_private.h"

#include "core/utf8.h"

enum { ENVID_MAX = 100 }; /* RFC 3461 4.4 */

/* xtext (RFC 3461 4): "+" and two upper-case hex digits stand for one byte. Malformed pieces stay.
 */
static struct span xtext_decode(struct span xtext, char *decoded, size_t capacity)
{
    static const char hex[] = "0123456789ABCDEF";
    struct sink sink;
    sink_init(&sink, decoded, capacity);
    while (xtext.len && !sink.full) {
        const char *high = xtext.len >= 3 && xtext.data[1] ? strchr(hex, xtext.data[1]) : NULL;
        const char *low = xtext.len >= 3 && xtext.data[2] ? strchr(hex, xtext.data[2]) : NULL;
        bool pair = xtext.data[0] == '+' && high && low;
        sink_byte(&sink, pair ? (char)((high - hex) << 4 | (low - hex)) : xtext.data[0]);
        xtext = span_skip(xtext, pair ? 3 : 1);
    }
    return sink_span(&sink);
}

static void put_message_fields(struct report *report)
{
    const struct envelope *envelope = report->bounce->envelope;
    PUT(report, "Reporting-MTA: dns; ");
    report_put_host(report);
    PUT(report, "\r\n");
    if (envelope->envid.len) {
        char decoded[ENVID_MAX];
        PUT(report, "Original-Envelope-Id: ");
        report_put_clean(report, xtext_decode(envelope->envid, decoded, sizeof decoded), ENVID_MAX,
                         false);
        PUT(report, "\r\n");
    }
    PUT(report, "X-Ringpost-Queue-ID: ");
    report_put_id(report, envelope->id);
    PUT(report, "\r\nArrival-Date: ");
    report_put_date(report, envelope->arrived_ms);
    PUT(report, "\r\n");
}

static bool is_atom(struct span span)
{
    for (size_t i = 0; i < span.len; i++) {
        char c = ascii_lower(span.data[i]);
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'))
            return false;
    }
    return span.len > 0;
}

static void put_recipient(struct report *report, const struct recipient *recipient)
{
    char decoded[ADDRESS_MAX];
    size_t type_len = span_find(recipient->original, ';');
    struct span type = span_first(recipient->original, type_len);
    struct span xtext = span_skip(recipient->original, type_len + 1);
    if (xtext.len && type.len <= 40 && is_atom(type)) {
        PUT(report, "Original-Recipient: ");
        report_put(report, type);
        PUT(report, "; ");
        report_put_address(report, xtext_decode(xtext, decoded, sizeof decoded));
        PUT(report, "\r\n");
    }
    PUT(report, "Final-Recipient: ");
    report_put(report, utf8_is_ascii(recipient->address) ? SPAN("rfc822; ") : SPAN("utf-8; "));
    report_put_address(report, recipient->address);
    PUT(report, "\r\n");
}

static struct span action_of(const struct report *report)
{
    switch (report->bounce->kind) {
    case BOUNCE_FAILURE:
        return SPAN("failed");
    case BOUNCE_DELAY:
        return SPAN("delayed");
    case BOUNCE_SUCCESS:
        break;
    }
    return report->bounce->envelope->flags & ENVELOPE_LOCAL ? SPAN("delivered") : SPAN("relayed");
}

/* RFC 3463. An expiry is a "persistent transient failure": class 4, whatever the last reply was. */
static struct enhanced status_of(const struct report *report, const struct verdict *verdict)
{
    static const uint8_t class[] = {5, 4, 2};
    struct enhanced given = verdict->reply.enhanced;
    struct enhanced fallback = {class[report->bounce->kind], 0, 0};
    if (verdict->outcome == OUTCOME_EXPIRED)
        return given.class == 4 || given.class == 5 ? given : (struct enhanced){4, 4, 7};
    return given.class == fallback.class ? given : fallback;
}

static void put_status(struct report *report, const struct verdict *verdict)
{
    struct enhanced status = status_of(report, verdict);
    PUT(report, "Status: ");
    report_put_decimal(report, status.class);
    PUT(report, ".");
    report_put_decimal(report, status.subject);
    PUT(report, ".");
    report_put_decimal(report, status.detail);
    PUT(report, "\r\n");
}

static void put_diagnosis(struct report *report, const struct verdict *verdict)
{
    char text[LINE_MAX_OCTETS];
    struct sink sink;
    sink_init(&sink, text, sizeof text);
    struct span peer = report_peer(report, verdict),
                words = report_last_words(report, verdict, &sink);
    if (peer.len) {
        PUT(report, "Remote-MTA: dns; ");
        report_put_clean(report, span_first(peer, span_find(peer, ' ')), NAME_MAX_BYTES, false);
        PUT(report, "\r\n");
    }
    if (words.len) {
        report_put(report, peer.len ? SPAN("Diagnostic-Code: smtp; ")
                                    : SPAN("Diagnostic-Code: x-ringpost; "));
        report_put_clean(report, words, REPLY_MAX, false);
        PUT(report, "\r\n");
    }
}

static void put_recipient_fields(struct report *report, unsigned index)
{
    const struct bounce *bounce = report->bounce;
    const struct verdict *verdict = &bounce->verdicts[index];
    uint64_t attempted_ms = bounce->wall_ms;
    if (verdict->outcome == OUTCOME_EXPIRED)
        attempted_ms = bounce->state ? bounce->state->last_attempt_ms : 0;
    PUT(report, "\r\n");
    put_recipient(report, &bounce->envelope->recipients[index]);
    PUT(report, "Action: ");
    report_put(report, action_of(report));
    PUT(report, "\r\n");
    put_status(report, verdict);
    put_diagnosis(report, verdict);
    if (attempted_ms) {
        PUT(report, "Last-Attempt-Date: ");
        report_put_date(report, attempted_ms);
        PUT(report, "\r\n");
    }
    if (bounce->kind == BOUNCE_DELAY && bounce->retry_until_ms) {
        PUT(report, "Will-Retry-Until: ");
        report_put_date(report, bounce->retry_until_ms);
        PUT(report, "\r\n");
    }
}

void report_put_machine_part(struct report *report)
{
    report_put_boundary(report, SPAN(""));
    PUT(report, "Content-Description: Delivery report\r\nContent-Type: message/");
    report_put(report,
               report->utf8 ? SPAN("global-delivery-status\r\n") : SPAN("delivery-status\r\n"));
    report_put_encoding(report, report->utf8);
    PUT(report, "\r\n");
    put_message_fields(report);
    for (unsigned i = 0; i < report->bounce->envelope->recipient_count; i++)
        if (bounce_concerns(report->bounce, i))
            put_recipient_fields(report, i);
}
