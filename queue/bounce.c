/* Who is told, the report's own headers, and what the files of its parts share.
 *
 * Failure modes: no memory (false); an original that cannot be returned whole comes as headers. */
#include "queue/bounce_private.h"

#include "core/date.h"
#include "core/utf8.h"

/* ---- who is concerned ---- */

static bool outcome_concerns(enum bounce_kind kind, const struct verdict *verdict)
{
    switch (kind) {
    case BOUNCE_FAILURE:
        return verdict->outcome == OUTCOME_FAILED || verdict->outcome == OUTCOME_EXPIRED;
    case BOUNCE_DELAY:
        return verdict->outcome == OUTCOME_DEFERRED;
    case BOUNCE_SUCCESS:
        return verdict->outcome == OUTCOME_DELIVERED && !verdict->dsn_passed_on;
    }
    return false;
}

/* RFC 3461 4.1: without NOTIFY failures and delays are reported, successes are not. */
static bool notify_asks(enum bounce_kind kind, const struct recipient *recipient)
{
    static const uint8_t bit[] = {NOTIFY_FAILURE, NOTIFY_DELAY, NOTIFY_SUCCESS};
    if (recipient->notify & NOTIFY_NEVER)
        return false;
    if (recipient->notify == 0)
        return kind != BOUNCE_SUCCESS;
    return recipient->notify & bit[kind];
}

bool bounce_concerns(const struct bounce *bounce, unsigned index)
{
    const struct envelope *envelope = bounce->envelope;
    const struct recipient *recipient = &envelope->recipients[index];
    if (envelope->reverse_path.len == 0 || envelope->flags & ENVELOPE_DSN)
        return false;
    if (bounce->kind == BOUNCE_DELAY && recipient->delay_reported)
        return false;
    return outcome_concerns(bounce->kind, &bounce->verdicts[index]) &&
           notify_asks(bounce->kind, recipient);
}

unsigned report_count_concerned(const struct bounce *bounce)
{
    unsigned count = 0;
    for (unsigned i = 0; i < bounce->envelope->recipient_count; i++)
        count += bounce_concerns(bounce, i);
    return count;
}

bool bounce_wanted(const struct bounce *bounce)
{
    return report_count_concerned(bounce) > 0;
}

/* ---- writing ---- */

void report_put(struct report *report, struct span span)
{
    if (!report->failed && !text_append(report->text, report->arena, span))
        report->failed = true;
}

void report_put_clean(struct report *report, struct span span, size_t max, bool utf8)
{
    char clean[LINE_MAX_OCTETS];
    struct sink sink;
    sink_init(&sink, clean, max < sizeof clean ? max : sizeof clean);
    while (span.len && !sink.full) {
        size_t len = utf8_sequence(span);
        const unsigned char *byte = (const unsigned char *)span.data;
        bool letter = len == 1 ? byte[0] >= 0x20 && byte[0] < 0x7f
                               : utf8 && len > 0 && !(byte[0] == 0xc2 && byte[1] < 0xa0);
        sink_put(&sink, letter ? span_first(span, len) : SPAN("?"));
        span = span_skip(span, len ? len : 1);
    }
    report_put(report, sink_span(&sink));
}

void report_put_decimal(struct report *report, uint64_t value)
{
    char text[20];
    struct sink sink;
    sink_init(&sink, text, sizeof text);
    sink_decimal(&sink, value);
    report_put(report, sink_span(&sink));
}

void report_put_date(struct report *report, uint64_t wall_ms)
{
    char text[DATE_RFC5322_LENGTH];
    struct sink sink;
    sink_init(&sink, text, sizeof text);
    date_put_rfc5322(&sink, wall_ms);
    report_put(report, sink_span(&sink));
}

void report_put_id(struct report *report, uint64_t id)
{
    char text[ID_TEXT];
    id_text(id, text);
    report_put(report, span_string(text));
}

void report_put_address(struct report *report, struct span address)
{
    report_put_clean(report, address, ADDRESS_MAX, report->utf8);
}

void report_put_host(struct report *report)
{
    report_put_clean(report, report->bounce->hostname, NAME_MAX_BYTES, false);
}

void report_put_encoding(struct report *report, bool eight_bit)
{
    report_put(report, eight_bit ? SPAN("Content-Transfer-Encoding: 8bit\r\n")
                                 : SPAN("Content-Transfer-Encoding: 7bit\r\n"));
}

void report_put_boundary(struct report *report, struct span end)
{
    PUT(report, "\r\n--");
    report_put(report, span_string(report->boundary));
    report_put(report, end);
    PUT(report, "\r\n");
}

static void put_codes(const struct reply_summary *reply, struct sink *sink)
{
    sink_decimal(sink, reply->code);
    if (reply->enhanced.class)
        sink_format(sink, " %u.%u.%u", reply->enhanced.class, reply->enhanced.subject,
                    reply->enhanced.detail);
    if (reply->text.len) {
        sink_byte(sink, ' ');
        sink_put(sink, span_first(reply->text, REPLY_MAX));
    }
}

struct span report_last_words(const struct report *report, const struct verdict *verdict,
                              struct sink *sink)
{
    const struct row_state *state = report->bounce->state;
    if (verdict->outcome == OUTCOME_EXPIRED && state && state->last_reply.len)
        return span_first(state->last_reply, REPLY_MAX);
    if (verdict->reply.code)
        put_codes(&verdict->reply, sink);
    return sink_span(sink);
}

struct span report_peer(const struct report *report, const struct verdict *verdict)
{
    const struct row_state *state = report->bounce->state;
    if (verdict->outcome == OUTCOME_EXPIRED)
        return state ? state->last_peer : (struct span){0};
    return verdict->reply.internal ? (struct span){0} : report->bounce->remote_mta;
}

/* ---- headers of the report ---- */

static bool has_8bit(const struct report *report)
{
    return report->utf8 || report->original_8bit;
}

static void put_subject(struct report *report)
{
    switch (report->bounce->kind) {
    case BOUNCE_FAILURE:
        PUT(report, "Your message could not be delivered");
        break;
    case BOUNCE_DELAY:
        PUT(report, "Your message is delayed, we keep trying");
        break;
    case BOUNCE_SUCCESS:
        PUT(report, "Your message was passed on");
        break;
    }
}

static void put_headers(struct report *report)
{
    const struct bounce *bounce = report->bounce;
    PUT(report, "Date: ");
    report_put_date(report, bounce->wall_ms);
    PUT(report, "\r\nFrom: Mail Delivery System <MAILER-DAEMON@");
    report_put_host(report);
    PUT(report, ">\r\nTo: <");
    report_put_address(report, bounce->envelope->reverse_path);
    PUT(report, ">\r\nSubject: ");
    put_subject(report);
    PUT(report, "\r\nMessage-ID: <");
    report_put_id(report, bounce->id);
    PUT(report, ".report@");
    report_put_host(report);
    PUT(report, ">\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n"
                "Content-Type: multipart/report;\r\n report-type=");
    report_put(report, report->utf8 ? SPAN("global-delivery-status") : SPAN("delivery-status"));
    PUT(report, ";\r\n boundary=\"");
    report_put(report, span_string(report->boundary));
    PUT(report, "\"\r\n");
    report_put_encoding(report, has_8bit(report));
    PUT(report, "\r\nThis is a delivery report in the MIME format multipart/report.\r\n");
}

/* ---- */

/* Addresses that are not ASCII but not UTF-8 either are cleaned like everything else. */
static bool needs_utf8(const struct bounce *bounce)
{
    if (!utf8_is_ascii(bounce->envelope->reverse_path))
        return true;
    for (unsigned i = 0; i < bounce->envelope->recipient_count; i++)
        if (bounce_concerns(bounce, i) && !utf8_is_ascii(bounce->envelope->recipients[i].address))
            return true;
    return false;
}

bool bounce_write(const struct bounce *bounce, struct arena *arena, struct text *ret_text,
                  uint8_t *ret_flags)
{
    check(bounce_wanted(bounce));
    struct text text = {0};
    struct report report = {.bounce = bounce, .arena = arena, .text = &text};
    report.utf8 = needs_utf8(bounce);
    if (!report_look_at_original(&report))
        return false;
    put_headers(&report);
    report_put_person_part(&report);
    report_put_machine_part(&report);
    report_put_original_part(&report);
    report_put_boundary(&report, SPAN("--"));
    if (report.failed)
        return false;
    *ret_text = text;
    *ret_flags = ENVELOPE_DSN;
    if (has_8bit(&report))
        *ret_flags |= ENVELOPE_8BIT | ENVELOPE_BODY_HAS_8BIT;
    if (!utf8_is_ascii(bounce->envelope->reverse_path))
        *ret_flags |= ENVELOPE_UTF8 | ENVELOPE_HEADER_HAS_8BIT;
    return true;
}
