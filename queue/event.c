/* A line is written front to back into one sink; helpers take the name with its comma and colon, so
 * that what stands here reads like the line. Every string is cut to a bound, which is what makes
 * EVENT_LINE_MAX true.
 *
 * Failure modes: a sink that is too small is `full`; a journal that loses the line counts it. */
#include "queue/event.h"

#include "core/date.h"
#include "core/json.h"

enum {
    ADDRESS_MAX = 512,
    NAME_MAX_BYTES = 1024, /* queue, site, host names */
    TEXT_MAX = 1024,       /* replies, and what the peer said that we answered */
    WORD_MAX = 64,
    AUTHENTICATION_MAX = 8192,
};

static const struct {
    struct span name;
    bool final;
} types[EVENT_TYPES] = {
    [EVENT_RECEPTION] = {SPAN("Reception"), false},
    [EVENT_DELIVERY] = {SPAN("Delivery"), true},
    [EVENT_TRANSIENT_FAILURE] = {SPAN("TransientFailure"), false},
    [EVENT_BOUNCE] = {SPAN("Bounce"), true},
    [EVENT_EXPIRATION] = {SPAN("Expiration"), true},
    [EVENT_ADMIN_BOUNCE] = {SPAN("AdminBounce"), true},
    [EVENT_REJECTION] = {SPAN("Rejection"), false},
    [EVENT_DELAYED] = {SPAN("Delayed"), false},
    [EVENT_ADMIN_REBIND] = {SPAN("AdminRebind"), false},
};

struct span event_type_name(enum event_type type)
{
    return types[type].name;
}

/* ---- writing ---- */

#define PUT(sink, literal) sink_put(sink, SPAN(literal))

static void put_string_or_null(struct sink *sink, struct span text, size_t max)
{
    if (text.len)
        json_put_string(sink, text, max);
    else
        PUT(sink, "null");
}

static void put_id(struct sink *sink, uint64_t id)
{
    char text[ID_TEXT];
    id_text(id, text);
    sink_byte(sink, '"');
    sink_put(sink, span_string(text));
    sink_byte(sink, '"');
}

static void put_time(struct sink *sink, uint64_t wall_ms)
{
    sink_byte(sink, '"');
    date_put_rfc3339(sink, wall_ms);
    sink_byte(sink, '"');
}

struct recipients {
    const struct recipient *first;
    unsigned count;
};

static struct recipients recipients_of(const struct event *event)
{
    struct recipients all = {event->envelope->recipients, event->envelope->recipient_count};
    if (event->recipient) {
        all.first = event->recipient;
        all.count = event->recipient_count ? event->recipient_count : 1;
    }
    check(all.count <= EVENT_RECIPIENTS);
    return all;
}

static void put_recipients(struct sink *sink, struct recipients recipients)
{
    if (recipients.count == 1) {
        json_put_string(sink, recipients.first->address, ADDRESS_MAX);
        return;
    }
    sink_byte(sink, '[');
    for (unsigned i = 0; i < recipients.count; i++) {
        if (i > 0)
            sink_byte(sink, ',');
        json_put_string(sink, recipients.first[i].address, ADDRESS_MAX);
    }
    sink_byte(sink, ']');
}

static void put_message(struct sink *sink, const struct event *event)
{
    const struct envelope *envelope = event->envelope;
    PUT(sink, "{\"type\":\"");
    sink_put(sink, types[event->type].name);
    PUT(sink, "\",\"id\":");
    put_id(sink, envelope->id);
    PUT(sink, ",\"sender\":");
    json_put_string(sink, envelope->reverse_path, ADDRESS_MAX);
    PUT(sink, ",\"recipient\":");
    put_recipients(sink, recipients_of(event));
    PUT(sink, ",\"queue\":");
    json_put_string(sink, event->queue, NAME_MAX_BYTES);
    if (event->from_queue.len) {
        PUT(sink, ",\"from_queue\":");
        json_put_string(sink, event->from_queue, NAME_MAX_BYTES);
    }
    PUT(sink, ",\"size\":");
    sink_decimal(sink, envelope->size);
}

/* "<source>-><site>@smtp_client", one string (reference/kumo-formats, 1.9). */
static void put_site(struct sink *sink, const struct attempt *attempt)
{
    char text[2 * NAME_MAX_BYTES + 32];
    struct sink site;
    sink_init(&site, text, sizeof text);
    if (attempt && attempt->site.len) {
        sink_put(&site, attempt->source.len ? span_first(attempt->source, NAME_MAX_BYTES)
                                            : SPAN("unspecified"));
        PUT(&site, "->");
        sink_put(&site, span_first(attempt->site, NAME_MAX_BYTES));
        PUT(&site, "@smtp_client");
    }
    PUT(sink, ",\"site\":");
    json_put_string(sink, sink_span(&site), sizeof text);
}

static void put_enhanced(struct sink *sink, const struct enhanced *enhanced)
{
    if (enhanced->class == 0) {
        PUT(sink, "null");
        return;
    }
    PUT(sink, "{\"class\":");
    sink_decimal(sink, enhanced->class);
    PUT(sink, ",\"subject\":");
    sink_decimal(sink, enhanced->subject);
    PUT(sink, ",\"detail\":");
    sink_decimal(sink, enhanced->detail);
    sink_byte(sink, '}');
}

static void put_response(struct sink *sink, const struct reply_summary *reply)
{
    static const struct reply_summary accepted = {.code = 250, .enhanced = {2, 0, 0}};
    if (!reply)
        reply = &accepted;
    PUT(sink, ",\"response\":{\"code\":");
    sink_decimal(sink, reply->code);
    PUT(sink, ",\"enhanced_code\":");
    put_enhanced(sink, &reply->enhanced);
    PUT(sink, ",\"content\":");
    json_put_string(sink, reply->text, TEXT_MAX);
    PUT(sink, ",\"command\":");
    put_string_or_null(sink, reply->command, TEXT_MAX);
    sink_byte(sink, '}');
    if (reply->internal)
        PUT(sink, ",\"internal\":true");
}

static void put_host(struct sink *sink, const struct address *address, bool with_port)
{
    char text[ADDRESS_TEXT];
    struct sink host;
    sink_init(&host, text, sizeof text);
    if (with_port)
        address_put(address, &host);
    else
        address_put_host(address, &host);
    json_put_string(sink, sink_span(&host), sizeof text);
}

static void put_peer(struct sink *sink, const struct event *event)
{
    const struct address *peer = event->attempt ? &event->attempt->peer : &event->peer;
    struct span name = event->attempt ? event->attempt->peer_name : event->peer_name;
    PUT(sink, ",\"peer_address\":");
    if (peer->family == AF_UNSPEC) {
        PUT(sink, "null");
        return;
    }
    PUT(sink, "{\"name\":");
    json_put_string(sink, name, NAME_MAX_BYTES);
    PUT(sink, ",\"addr\":");
    put_host(sink, peer, false);
    sink_byte(sink, '}');
}

static void put_times(struct sink *sink, const struct event *event)
{
    PUT(sink, ",\"timestamp\":");
    sink_decimal(sink, event->wall_ms / 1000);
    PUT(sink, ",\"event_time\":");
    put_time(sink, event->wall_ms);
    PUT(sink, ",\"created\":");
    sink_decimal(sink, event->envelope->arrived_ms / 1000);
    PUT(sink, ",\"created_time\":");
    put_time(sink, event->envelope->arrived_ms);
    PUT(sink, ",\"num_attempts\":");
    sink_decimal(sink, event->attempts);
}

static void put_delivery(struct sink *sink, const struct attempt *attempt)
{
    PUT(sink, ",\"egress_pool\":null,\"egress_source\":");
    put_string_or_null(sink, attempt ? attempt->source : (struct span){0}, NAME_MAX_BYTES);
    PUT(sink, ",\"source_address\":");
    if (attempt && attempt->local.family != AF_UNSPEC) {
        PUT(sink, "{\"address\":");
        put_host(sink, &attempt->local, true);
        sink_byte(sink, '}');
    } else {
        PUT(sink, "null");
    }
    PUT(sink, ",\"delivery_protocol\":");
    put_string_or_null(sink, attempt ? attempt->protocol : (struct span){0}, WORD_MAX);
}

/* "/O=Example/CN=mx.example" as ["O=Example","CN=mx.example"]. A slash inside a value looks like
 * the next name only if an equals sign follows before the next slash. */
static void put_subject(struct sink *sink, struct span subject)
{
    PUT(sink, ",\"tls_peer_subject_name\":[");
    for (bool first = true; subject.len > 1; first = false) {
        subject = span_skip(subject, 1);
        size_t len = span_find(subject, '/');
        while (len < subject.len) {
            struct span next = span_skip(subject, len + 1);
            size_t end = span_find(next, '/');
            if (span_find(next, '=') < end)
                break;
            len += 1 + end;
        }
        if (!first)
            sink_byte(sink, ',');
        json_put_string(sink, span_first(subject, len), ADDRESS_MAX);
        subject = span_skip(subject, len);
    }
    sink_byte(sink, ']');
}

/* Left out where there was none, as readers of this format expect. */
static void put_tls(struct sink *sink, const struct event *event)
{
    const struct attempt *attempt = event->attempt;
    struct span subject = attempt ? attempt->tls_subject : event->tls_subject;
    struct span version = attempt ? attempt->tls_version : event->tls_version;
    struct span cipher = attempt ? attempt->tls_cipher : event->tls_cipher;
    if (version.len == 0)
        return;
    PUT(sink, ",\"tls_cipher\":");
    json_put_string(sink, cipher, WORD_MAX);
    PUT(sink, ",\"tls_protocol_version\":");
    json_put_string(sink, version, WORD_MAX);
    if (subject.len)
        put_subject(sink, subject);
    if (attempt)
        sink_put(sink, attempt->tls_verified ? SPAN(",\"tls_verified\":true")
                                             : SPAN(",\"tls_verified\":false"));
}

static void put_member(struct sink *sink, bool *any, struct span name, struct span value)
{
    if (value.len == 0)
        return;
    if (*any)
        PUT(sink, ",");
    sink_put(sink, name);
    json_put_string(sink, value, NAME_MAX_BYTES);
    *any = true;
}

static void put_meta(struct sink *sink, const struct event *event)
{
    bool any = false;
    PUT(sink, ",\"meta\":{");
    put_member(sink, &any, SPAN("\"tenant\":"), event->envelope->tenant);
    put_member(sink, &any, SPAN("\"campaign\":"), event->envelope->campaign);
    put_member(sink, &any, SPAN("\"user\":"), event->user);
    PUT(sink, "},\"headers\":{}");
}

static void put_own(struct sink *sink, const struct event *event)
{
    const struct attempt *attempt = event->attempt;
    if (event->row_due_ms) {
        PUT(sink, ",\"row_due\":");
        sink_decimal(sink, event->row_due_ms);
    }
    if (event->next_due_ms) {
        PUT(sink, ",\"next_attempt\":");
        put_time(sink, event->next_due_ms);
    }
    if (event->recovered)
        PUT(sink, ",\"recovered\":true");
    if (attempt && attempt->may_duplicate)
        PUT(sink, ",\"may_duplicate\":true");
    if (attempt && attempt->started_ms) {
        bool stepped_back = attempt->started_ms > event->wall_ms;
        PUT(sink, ",\"attempt_started\":");
        put_time(sink, attempt->started_ms);
        PUT(sink, ",\"duration_ms\":");
        sink_decimal(sink, stepped_back ? 0 : event->wall_ms - attempt->started_ms);
    }
}

static void put_dsn(struct sink *sink, const struct event *event)
{
    struct recipients recipients = recipients_of(event);
    if (event->envelope->envid.len) {
        PUT(sink, ",\"envid\":");
        json_put_string(sink, event->envelope->envid, ADDRESS_MAX);
    }
    if (recipients.count == 1 && recipients.first->original.len) {
        PUT(sink, ",\"orcpt\":");
        json_put_string(sink, recipients.first->original, ADDRESS_MAX);
    }
    if (event->envelope->flags & ENVELOPE_DSN)
        PUT(sink, ",\"is_dsn\":true");
    if (event->dsn_id) {
        PUT(sink, ",\"dsn_id\":");
        put_id(sink, event->dsn_id);
    }
}

void event_write(const struct event *event, struct sink *sink)
{
    put_message(sink, event);
    put_site(sink, event->attempt);
    put_response(sink, event->reply);
    put_peer(sink, event);
    put_times(sink, event);
    PUT(sink, ",\"bounce_classification\":\"Uncategorized\"");
    put_delivery(sink, event->attempt);
    PUT(sink, ",\"reception_protocol\":");
    put_string_or_null(sink, event->reception_protocol, WORD_MAX);
    if (event->authentication.len) {
        PUT(sink, ",\"authentication\":");
        json_put_string(sink, event->authentication, AUTHENTICATION_MAX);
    }
    PUT(sink, ",\"feedback_report\":null");
    put_tls(sink, event);
    put_meta(sink, event);
    PUT(sink, ",\"nodeid\":");
    json_put_string(sink, event->node, WORD_MAX);
    put_own(sink, event);
    put_dsn(sink, event);
    sink_byte(sink, '}');
}

/* ---- reading ---- */

static bool read_type(struct span value, struct event_summary *summary)
{
    for (unsigned i = 0; i < EVENT_TYPES; i++) {
        struct span name = types[i].name;
        if (value.len == name.len + 2 && value.data[0] == '"' &&
            span_equals(span_first(span_skip(value, 1), name.len), name)) {
            summary->type = (enum event_type)i;
            summary->final = types[i].final;
            return true;
        }
    }
    return false;
}

static bool read_id(struct span value, uint64_t *ret_id)
{
    return value.len == ID_TEXT - 1 + 2 &&
           id_parse(span_first(span_skip(value, 1), ID_TEXT - 1), ret_id);
}

static bool read_number(struct span value, uint64_t max, uint64_t *ret_number)
{
    return span_decimal(value, max, ret_number);
}

/* A string into scratch; anything else (null, an array) leaves the span empty. */
static bool read_text(struct span value, struct sink *scratch, struct span *ret_text)
{
    if (value.data[0] != '"')
        return true;
    return json_read_string(value, scratch, ret_text);
}

static bool read_enhanced(struct span value, struct enhanced *ret_enhanced)
{
    struct json_walk walk = json_walk_over(value);
    struct span key, member;
    uint64_t number;
    while (json_next(&walk, &key, &member)) {
        if (!read_number(member, 999, &number))
            return false;
        if (span_equals(key, SPAN("class")) && number < 10)
            ret_enhanced->class = (uint8_t)number;
        else if (span_equals(key, SPAN("subject")))
            ret_enhanced->subject = (uint16_t)number;
        else if (span_equals(key, SPAN("detail")))
            ret_enhanced->detail = (uint16_t)number;
        else
            return false;
    }
    return !walk.bad;
}

static bool read_response(struct span value, struct sink *scratch, struct reply_summary *reply)
{
    struct json_walk walk = json_walk_over(value);
    struct span key, member;
    uint64_t number;
    bool good = true;
    while (good && json_next(&walk, &key, &member)) {
        if (span_equals(key, SPAN("code"))) {
            good = read_number(member, 999, &number);
            reply->code = good ? (uint16_t)number : 0;
        } else if (span_equals(key, SPAN("enhanced_code"))) {
            good = member.data[0] != '{' || read_enhanced(member, &reply->enhanced);
        } else if (span_equals(key, SPAN("content"))) {
            good = read_text(member, scratch, &reply->text);
        } else if (span_equals(key, SPAN("command"))) {
            good = read_text(member, scratch, &reply->command);
        }
    }
    return good && !walk.bad;
}

static bool read_peer(struct span value, struct sink *scratch, struct event_summary *summary)
{
    struct span key, member;
    bool good = true;
    if (value.data[0] != '{')
        return true;
    struct json_walk walk = json_walk_over(value);
    while (good && json_next(&walk, &key, &member))
        if (span_equals(key, SPAN("name")))
            good = read_text(member, scratch, &summary->peer_name);
    return good && !walk.bad;
}

enum { HAS_TYPE = 1, HAS_ID = 2, HAS_QUEUE = 4, HAS_TIME = 8, HAS_ALL = 15 };

static bool read_member(struct span key, struct span value, struct sink *scratch,
                        struct event_summary *summary, unsigned *has)
{
    if (span_equals(key, SPAN("type"))) {
        *has |= HAS_TYPE;
        return read_type(value, summary);
    }
    if (span_equals(key, SPAN("id"))) {
        *has |= HAS_ID;
        return read_id(value, &summary->id);
    }
    if (span_equals(key, SPAN("queue"))) {
        *has |= HAS_QUEUE;
        return read_text(value, scratch, &summary->queue);
    }
    if (span_equals(key, SPAN("timestamp"))) {
        *has |= HAS_TIME;
        if (!read_number(value, UINT64_MAX / 1000, &summary->wall_ms))
            return false;
        summary->wall_ms *= 1000;
        return true;
    }
    if (span_equals(key, SPAN("recipient")))
        return read_text(value, scratch, &summary->recipient);
    if (span_equals(key, SPAN("row_due")))
        return read_number(value, UINT64_MAX, &summary->row_due_ms);
    if (span_equals(key, SPAN("dsn_id")))
        return read_id(value, &summary->dsn_id);
    if (span_equals(key, SPAN("response")))
        return read_response(value, scratch, &summary->reply);
    if (span_equals(key, SPAN("peer_address")))
        return read_peer(value, scratch, summary);
    if (span_equals(key, SPAN("internal")))
        summary->reply.internal = span_equals(value, SPAN("true"));
    return true;
}

bool event_read(struct span line, struct sink *scratch, struct event_summary *ret_summary)
{
    struct event_summary summary = {0};
    struct json_walk walk = json_walk_over(line);
    struct span key, value;
    unsigned has = 0;
    while (json_next(&walk, &key, &value))
        if (!read_member(key, value, scratch, &summary, &has))
            return false;
    if (walk.bad || has != HAS_ALL)
        return false;
    *ret_summary = summary;
    return true;
}
