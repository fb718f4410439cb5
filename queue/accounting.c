/* A line is taken apart once into spans; what is nested is read when its turn comes. Strings are
 * unescaped into the caller's scratch memory. */
#include "queue/accounting.h"

#include "core/check.h"
#include "core/date.h"
#include "core/json.h"

/* ---- the line, taken apart ---- */

struct reply_parts {
    struct span code, class, subject, detail, content;
};

struct parts {
    struct span type, sender, recipients, queue, size, timestamp, created, classification;
    struct span source, pool, delivery_protocol, campaign, envid, orcpt, cipher, tls, user;
    struct span peer_name, peer_address, local_address;
    struct reply_parts reply;
};

/* A string member, or nothing for null and everything else. */
static bool take_text(struct span value, struct sink *scratch, struct span *ret_text)
{
    return value.data[0] != '"' || json_read_string(value, scratch, ret_text);
}

struct member {
    const char *name;
    struct span *text; /* where a string goes */
    struct span *raw;  /* where anything else goes as it stands */
};

static const struct member *member_of(const struct member *members, unsigned count, struct span key)
{
    for (unsigned i = 0; i < count; i++)
        if (span_equals(key, span_string(members[i].name)))
            return &members[i];
    return NULL;
}

static bool take_members(struct span object, const struct member *members, unsigned count,
                         struct sink *scratch)
{
    struct json_walk walk = json_walk_over(object);
    struct span key, value;
    while (json_next(&walk, &key, &value)) {
        const struct member *member = member_of(members, count, key);
        if (!member || value.len == 0)
            continue;
        if (member->raw)
            *member->raw = value;
        else if (!take_text(value, scratch, member->text))
            return false;
    }
    return !walk.bad;
}

static bool take_nested(struct span object, const struct member *members, unsigned count,
                        struct sink *scratch)
{
    return object.len == 0 || object.data[0] != '{' ||
           take_members(object, members, count, scratch);
}

#define TAKE(object, members, scratch) take_nested(object, members, countof(members), scratch)

static bool take_reply(struct span object, struct sink *scratch, struct reply_parts *parts)
{
    struct span enhanced = {0};
    const struct member members[] = {
        {"code", NULL, &parts->code},
        {"enhanced_code", NULL, &enhanced},
        {"content", &parts->content, NULL},
    };
    const struct member codes[] = {
        {"class", NULL, &parts->class},
        {"subject", NULL, &parts->subject},
        {"detail", NULL, &parts->detail},
    };
    return TAKE(object, members, scratch) && TAKE(enhanced, codes, scratch);
}

static bool take_line(struct span line, struct sink *scratch, struct parts *parts)
{
    struct span response = {0}, peer = {0}, local = {0}, meta = {0};
    const struct member members[] = {
        {"type", &parts->type, NULL},
        {"sender", &parts->sender, NULL},
        {"recipient", NULL, &parts->recipients},
        {"queue", &parts->queue, NULL},
        {"size", NULL, &parts->size},
        {"timestamp", NULL, &parts->timestamp},
        {"created", NULL, &parts->created},
        {"bounce_classification", &parts->classification, NULL},
        {"egress_source", &parts->source, NULL},
        {"egress_pool", &parts->pool, NULL},
        {"delivery_protocol", &parts->delivery_protocol, NULL},
        {"envid", &parts->envid, NULL},
        {"orcpt", &parts->orcpt, NULL},
        {"tls_cipher", &parts->cipher, NULL},
        {"tls_protocol_version", &parts->tls, NULL},
        {"response", NULL, &response},
        {"peer_address", NULL, &peer},
        {"source_address", NULL, &local},
        {"meta", NULL, &meta},
    };
    const struct member peers[] = {
        {"name", &parts->peer_name, NULL},
        {"addr", &parts->peer_address, NULL},
    };
    const struct member locals[] = {{"address", &parts->local_address, NULL}};
    const struct member metas[] = {
        {"campaign", &parts->campaign, NULL},
        {"user", &parts->user, NULL},
    };
    return take_members(line, members, countof(members), scratch) && parts->type.len > 0 &&
           take_reply(response, scratch, &parts->reply) && TAKE(peer, peers, scratch) &&
           TAKE(local, locals, scratch) && TAKE(meta, metas, scratch);
}

/* ---- cells ---- */

static void put_cell(struct sink *sink, struct span text)
{
    bool quoted = false;
    for (size_t i = 0; i < text.len; i++)
        quoted |= text.data[i] == ',' || text.data[i] == '"' || text.data[i] == '\r' ||
                  text.data[i] == '\n';
    if (!quoted) {
        sink_put(sink, text);
        return;
    }
    sink_byte(sink, '"');
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] == '"')
            sink_byte(sink, '"');
        sink_byte(sink, text.data[i]);
    }
    sink_byte(sink, '"');
}

/* One row being written. */
struct row {
    const struct parts *parts;
    struct span recipient;
    enum accounting_type type;
    struct sink *sink;
};

typedef void put_column(const struct row *row);

static bool is_attempt(const struct row *row)
{
    return row->type & (ACCOUNTING_D | ACCOUNTING_B | ACCOUNTING_T);
}

static void put_type(const struct row *row)
{
    static const struct {
        enum accounting_type type;
        struct span name;
    } names[] = {
        {ACCOUNTING_D, SPAN("d")}, {ACCOUNTING_B, SPAN("b")},   {ACCOUNTING_T, SPAN("t")},
        {ACCOUNTING_R, SPAN("r")}, {ACCOUNTING_RB, SPAN("rb")}, {ACCOUNTING_F, SPAN("f")},
    };
    for (unsigned i = 0; i < countof(names); i++)
        if (names[i].type == row->type)
            sink_put(row->sink, names[i].name);
}

/* "2026-11-24 15:42:20+0000": a date of RFC 3339 has it all, in another order of marks. */
static void put_time(struct sink *sink, struct span seconds)
{
    char text[DATE_RFC3339_LENGTH + 1];
    struct sink date;
    uint64_t value;
    if (!span_decimal(seconds, UINT64_MAX / 1000, &value))
        return;
    sink_init(&date, text, sizeof text);
    date_put_rfc3339(&date, value * 1000);
    struct span whole = sink_span(&date);
    sink_put(sink, span_first(whole, 10));
    sink_byte(sink, ' ');
    sink_put(sink, span_first(span_skip(whole, 11), 8));
    sink_put(sink, SPAN("+0000"));
}

static void put_logged(const struct row *row)
{
    put_time(row->sink, row->parts->timestamp);
}

static void put_queued(const struct row *row)
{
    if (is_attempt(row))
        put_time(row->sink, row->parts->created);
}

static void put_seconds_queued(const struct row *row)
{
    uint64_t logged, created;
    if (is_attempt(row) && span_decimal(row->parts->timestamp, UINT64_MAX, &logged) &&
        span_decimal(row->parts->created, UINT64_MAX, &created))
        sink_decimal(row->sink, logged > created ? logged - created : 0);
}

static void put_sender(const struct row *row)
{
    put_cell(row->sink, row->parts->sender);
}

static void put_recipient(const struct row *row)
{
    put_cell(row->sink, row->recipient);
}

static void put_orcpt(const struct row *row)
{
    put_cell(row->sink, row->parts->orcpt);
}

static void put_action(const struct row *row)
{
    if (row->type & ACCOUNTING_D)
        sink_put(row->sink, SPAN("relayed"));
    else if (row->type & (ACCOUNTING_B | ACCOUNTING_RB))
        sink_put(row->sink, SPAN("failed"));
    else if (row->type & ACCOUNTING_T)
        sink_put(row->sink, SPAN("delayed"));
}

static char reply_class(const struct reply_parts *reply)
{
    if (reply->class.len)
        return reply->class.data[0];
    return reply->code.len ? reply->code.data[0] : '0';
}

static void put_status(const struct row *row)
{
    const struct reply_parts *reply = &row->parts->reply;
    char class = reply_class(reply);
    if (row->type & ACCOUNTING_R)
        return;
    sink_byte(row->sink, class);
    sink_byte(row->sink, '.');
    sink_put(row->sink, reply->subject.len ? reply->subject : SPAN("0"));
    sink_byte(row->sink, '.');
    sink_put(row->sink, reply->detail.len ? reply->detail : SPAN("0"));
    sink_put(row->sink, class == '2'   ? SPAN(" (success)")
                        : class == '4' ? SPAN(" (temporary failure)")
                                       : SPAN(" (permanent failure)"));
}

/* The text has the enhanced code no more: it was taken out when the reply was read. */
static void put_diagnostic(const struct row *row)
{
    char storage[4096];
    struct sink text;
    const struct reply_parts *reply = &row->parts->reply;
    if (row->type & ACCOUNTING_R)
        return;
    sink_init(&text, storage, sizeof storage);
    sink_put(&text, SPAN("smtp;"));
    sink_put(&text, reply->code);
    if (reply->class.len) {
        sink_format(&text, " %.*s.%.*s.%.*s", SPAN_FORMAT(reply->class),
                    SPAN_FORMAT(reply->subject), SPAN_FORMAT(reply->detail));
    }
    if (reply->content.len) {
        sink_byte(&text, ' ');
        sink_put(&text, span_first(reply->content, sizeof storage / 2));
    }
    put_cell(row->sink, sink_span(&text));
}

/* "name (address)" */
static void put_host(struct sink *sink, struct span name, struct span address)
{
    char storage[2048];
    struct sink text;
    sink_init(&text, storage, sizeof storage);
    sink_put(&text, span_first(name, sizeof storage / 2));
    if (address.len) {
        sink_put(&text, name.len ? SPAN(" (") : SPAN("("));
        sink_put(&text, span_first(address, 128));
        sink_byte(&text, ')');
    }
    put_cell(sink, sink_span(&text));
}

static void put_remote(const struct row *row)
{
    if (is_attempt(row))
        put_host(row->sink, row->parts->peer_name, row->parts->peer_address);
}

/* The names of both systems differ by their spelling: InvalidSender, invalid-sender. */
static void put_category(const struct row *row)
{
    static const struct {
        struct span ours, theirs;
    } other_names[] = {
        {SPAN("Uncategorized"), SPAN("other")},
        {SPAN("InvalidRecipient"), SPAN("bad-mailbox")},
        {SPAN("DNSFailure"), SPAN("routing-errors")},
        {SPAN("SpamBlock"), SPAN("spam-related")},
        {SPAN("SpamContent"), SPAN("spam-related")},
        {SPAN("RelayDenied"), SPAN("relaying-issues")},
        {SPAN("AuthenticationFailed"), SPAN("policy-related")},
    };
    struct span class = row->parts->classification;
    if (!(row->type & (ACCOUNTING_B | ACCOUNTING_T | ACCOUNTING_RB)))
        return;
    for (unsigned i = 0; i < countof(other_names); i++)
        if (span_equals(class, other_names[i].ours)) {
            sink_put(row->sink, other_names[i].theirs);
            return;
        }
    for (size_t i = 0; i < class.len && i < 64; i++) {
        char c = class.data[i];
        bool capital = c >= 'A' && c <= 'Z';
        if (capital && i > 0)
            sink_byte(row->sink, '-');
        if (capital || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
            sink_byte(row->sink, capital ? (char)(c + 'a' - 'A') : c);
    }
}

static void put_source_type(const struct row *row)
{
    sink_put(row->sink, SPAN("smtp"));
}

static void put_injector(const struct row *row)
{
    if (row->type & ACCOUNTING_R)
        put_host(row->sink, row->parts->peer_name, row->parts->peer_address);
}

static void put_received_from(const struct row *row)
{
    if (row->type & ACCOUNTING_R)
        put_cell(row->sink, row->parts->peer_address);
}

static void put_delivery_type(const struct row *row)
{
    if (is_attempt(row))
        sink_put(row->sink, SPAN("smtp"));
}

/* Without its port: "192.0.2.1:1234", "[2001:db8::1]:1234". */
static void put_local(const struct row *row)
{
    struct span text = row->parts->local_address;
    if (span_starts_with(text, SPAN("["))) {
        text = span_skip(text, 1);
        text = span_first(text, span_find(text, ']'));
    } else {
        text = span_first(text, span_find(text, ':'));
    }
    put_cell(row->sink, text);
}

static void put_destination(const struct row *row)
{
    if (is_attempt(row))
        put_cell(row->sink, row->parts->peer_address);
}

static void put_size(const struct row *row)
{
    if (row->type & ACCOUNTING_D)
        put_cell(row->sink, row->parts->size);
}

static void put_vmta(const struct row *row)
{
    put_cell(row->sink, row->parts->source);
}

static void put_pool(const struct row *row)
{
    put_cell(row->sink, row->parts->pool);
}

static void put_job(const struct row *row)
{
    put_cell(row->sink, row->parts->campaign);
}

static void put_envid(const struct row *row)
{
    put_cell(row->sink, row->parts->envid);
}

/* "domain/vmta" */
static void put_queue(const struct row *row)
{
    char storage[2048];
    struct sink text;
    struct span name = row->parts->queue, domain = name;
    for (size_t i = name.len; i > 0; i--)
        if (name.data[i - 1] == '@') {
            domain = span_skip(name, i);
            break;
        }
    if (!is_attempt(row))
        return;
    sink_init(&text, storage, sizeof storage);
    sink_put(&text, span_first(domain, sizeof storage / 2));
    sink_byte(&text, '/');
    sink_put(&text, span_first(row->parts->source, sizeof storage / 4));
    put_cell(row->sink, sink_span(&text));
}

static void put_tls(const struct row *row)
{
    if (is_attempt(row))
        put_cell(row->sink, row->parts->tls);
}

static void put_cipher(const struct row *row)
{
    if (is_attempt(row))
        put_cell(row->sink, row->parts->cipher);
}

static void put_user(const struct row *row)
{
    put_cell(row->sink, row->parts->user);
}

static const struct {
    const char *name;
    put_column *put;
} columns[] = {
    {"type", put_type},
    {"timeLogged", put_logged},
    {"timeQueued", put_queued},
    {"totalSecondsQueued", put_seconds_queued},
    {"orig", put_sender},
    {"rcpt", put_recipient},
    {"orcpt", put_orcpt},
    {"dsnAction", put_action},
    {"dsnStatus", put_status},
    {"dsnDiag", put_diagnostic},
    {"dsnMta", put_remote},
    {"bounceCat", put_category},
    {"srcType", put_source_type},
    {"srcMta", put_injector},
    {"rcvSourceIp", put_received_from},
    {"dlvType", put_delivery_type},
    {"dlvSourceIp", put_local},
    {"dlvDestinationIp", put_destination},
    {"dlvSize", put_size},
    {"vmta", put_vmta},
    {"vmtaPool", put_pool},
    {"jobId", put_job},
    {"envId", put_envid},
    {"queue", put_queue},
    {"dlvTlsProtocol", put_tls},
    {"dlvTlsCipher", put_cipher},
    {"rcvSmtpUser", put_user},
};

/* ---- rows ---- */

void accounting_put_header(struct sink *sink)
{
    for (unsigned i = 0; i < countof(columns); i++) {
        if (i > 0)
            sink_byte(sink, ',');
        sink_put(sink, span_string(columns[i].name));
    }
    sink_put(sink, SPAN("\r\n"));
}

static void put_row(const struct row *row)
{
    for (unsigned i = 0; i < countof(columns); i++) {
        if (i > 0)
            sink_byte(row->sink, ',');
        columns[i].put(row);
    }
    sink_put(row->sink, SPAN("\r\n"));
}

static const struct {
    struct span name;
    enum accounting_type type;
} types_of[] = {
    {SPAN("Delivery"), ACCOUNTING_D},
    {SPAN("Bounce"), ACCOUNTING_B},
    {SPAN("Expiration"), ACCOUNTING_B},
    {SPAN("AdminBounce"), ACCOUNTING_B},
    {SPAN("TransientFailure"), ACCOUNTING_T},
    {SPAN("Reception"), ACCOUNTING_R},
    {SPAN("OOB"), ACCOUNTING_RB},
    {SPAN("Feedback"), ACCOUNTING_F},
};

static unsigned type_of(struct span name)
{
    for (unsigned i = 0; i < countof(types_of); i++)
        if (span_equals(name, types_of[i].name))
            return types_of[i].type;
    return 0;
}

bool accounting_types_read(struct span text, unsigned *ret_types)
{
    static const struct {
        struct span name;
        enum accounting_type type;
    } names[] = {
        {SPAN("d"), ACCOUNTING_D}, {SPAN("b"), ACCOUNTING_B},   {SPAN("t"), ACCOUNTING_T},
        {SPAN("r"), ACCOUNTING_R}, {SPAN("rb"), ACCOUNTING_RB}, {SPAN("f"), ACCOUNTING_F},
    };
    unsigned types = 0;
    while (text.len) {
        struct span word = span_first(text, span_find(text, ','));
        unsigned found = 0;
        for (unsigned i = 0; i < countof(names); i++)
            if (span_equals(word, names[i].name))
                found = names[i].type;
        if (!found)
            return false;
        types |= found;
        text = span_skip(text, word.len + 1);
    }
    *ret_types = types;
    return types != 0;
}

/* The strings of an array of strings, one after the other. */
static bool next_string(struct span *rest, struct sink *scratch, struct span *ret_text)
{
    size_t start = span_find(*rest, '"'), end = start + 1;
    if (start == rest->len)
        return false;
    while (end < rest->len && rest->data[end] != '"')
        end += rest->data[end] == '\\' ? 2 : 1;
    if (end >= rest->len)
        return false;
    bool read =
        json_read_string(span_first(span_skip(*rest, start), end + 1 - start), scratch, ret_text);
    *rest = span_skip(*rest, end + 1);
    return read;
}

bool accounting_put_rows(struct span line, unsigned types, struct sink *scratch, struct sink *sink)
{
    struct parts parts = {0};
    if (!take_line(line, scratch, &parts))
        return false;
    struct row row = {.parts = &parts, .type = type_of(parts.type), .sink = sink};
    if (!(row.type & types))
        return true;
    while (next_string(&parts.recipients, scratch, &row.recipient))
        put_row(&row);
    return true;
}
