/* Two stages. The first (clear_) turns wire octets into message text: dots, the final dot, line
 * ends, NUL, sizes; it marks how many octets at the front of the input are text. The second (take_)
 * makes pieces out of cleared text: in the body section all of it at once, in the header section
 * line by line, but adjacent lines that stay are one piece.
 *
 * A header line is judged by its first BODY_HOLD octets at most, so that the verdict does not
 * depend on how the octets were cut; until it can be judged they wait in `hold`. After a fault
 * everything is read on as before, only no pieces come out: which faults are found does not depend
 * on the cuts either. */
#include "smtp/body.h"

#include "core/check.h"
#include "smtp/lines.h"

enum { DOT_NONE, DOT_SEEN, DOT_CR }; /* of CR LF . CR LF, behind the first CR LF */
enum { SECTION_HEADER, SECTION_BODY };

enum line_kind { KIND_UNDECIDED, KIND_FIELD, KIND_CONTINUATION, KIND_BLANK, KIND_TEXT };

void body_init(struct body *body, const struct body_limits *limits, struct span first_field,
               struct span second_field)
{
    *body = (struct body){.limits = *limits, .line_start = true};
    body->fields[0].name = first_field;
    body->fields[1].name = second_field;
}

static void fault_if(struct body *body, bool wrong, enum body_fault fault)
{
    if (wrong)
        body->faults |= (uint8_t)fault;
}

/* ---- first stage: from the wire to text ---- */

static void clear_text(struct body *body, struct span input, bool dots)
{
    struct lines lines = {.line_len = body->line_len, .after_cr = body->after_cr};
    size_t len = lines_scan(&lines, input, dots);
    body->line_len = lines.line_len;
    body->line_start = lines.line_len == 0;
    body->after_cr = lines.after_cr;
    body->cleared = len;
    body->size += len;
    fault_if(body, lines.bare || memchr(input.data, '\0', len), BODY_BARE);
    fault_if(body, lines.longest > body->limits.line, BODY_LINE_TOO_LONG);
    fault_if(body, body->size > body->limits.size, BODY_TOO_BIG);
}

/* Behind a dot at the start of a line. True: that was the end of the data. */
static bool clear_behind_dot(struct body *body, struct span *input)
{
    char c = input->data[0];
    if (body->dot == DOT_SEEN && c == '\r') {
        body->dot = DOT_CR;
        *input = span_skip(*input, 1);
        return false;
    }
    if (body->dot == DOT_CR && c == '\n') {
        *input = span_skip(*input, 1);
        return true;
    }
    fault_if(body, body->dot == DOT_CR, BODY_BARE);
    body->dot = DOT_NONE;
    body->line_start = false;
    return false;
}

static enum body_progress clear_data(struct body *body, struct span *input)
{
    while (input->len) {
        if (body->dot != DOT_NONE) {
            if (clear_behind_dot(body, input))
                return BODY_END;
        } else if (body->line_start && input->data[0] == '.') {
            body->dot = DOT_SEEN;
            *input = span_skip(*input, 1);
        } else {
            clear_text(body, *input, true);
            return BODY_PIECE;
        }
    }
    return BODY_MORE;
}

/* ---- second stage: header lines ---- */

static bool is_field_name_octet(char c) /* RFC 5322 ftext */
{
    return c > ' ' && c < 0x7f && c != ':';
}

/* Which kind of line begins here. `line` may hold more than the line, or less. */
static enum line_kind judge_line(struct span line, size_t *ret_name_len)
{
    line = span_first(line, BODY_HOLD);
    enum line_kind at_end = line.len < BODY_HOLD ? KIND_UNDECIDED : KIND_FIELD;
    if (line.len == 0)
        return KIND_UNDECIDED;
    if (line.data[0] == ' ' || line.data[0] == '\t')
        return KIND_CONTINUATION;
    if (line.data[0] == '\r')
        return line.len < 2 ? KIND_UNDECIDED : line.data[1] == '\n' ? KIND_BLANK : KIND_TEXT;
    size_t name_len = 0;
    while (name_len < line.len && is_field_name_octet(line.data[name_len]))
        name_len++;
    size_t colon = name_len; /* obsolete syntax has blanks in front of it */
    while (colon < line.len && (line.data[colon] == ' ' || line.data[colon] == '\t'))
        colon++;
    if (name_len == 0)
        return KIND_TEXT;
    *ret_name_len = name_len;
    if (colon == line.len)
        return at_end;
    return line.data[colon] == ':' ? KIND_FIELD : KIND_TEXT;
}

/* Only the first field of a name counts; later ones are taken out and forgotten. */
static void end_field(struct body *body)
{
    if (body->taking)
        body->fields[body->taken_field].seen = true;
    body->taking = false;
}

static void begin_field(struct body *body, struct span name)
{
    for (uint8_t i = 0; i < BODY_FIELDS; i++) {
        if (body->fields[i].name.len == 0 || !span_equals_any_case(name, body->fields[i].name))
            continue;
        body->taking = true;
        body->taken_field = i;
        body->value_begun = body->value_blank = false;
        return;
    }
    if (span_equals_any_case(name, SPAN("Received")))
        body->received++;
    body->has_date |= span_equals_any_case(name, SPAN("Date"));
    body->has_message_id |= span_equals_any_case(name, SPAN("Message-ID"));
    /* As many as the limit are already too many (RFC 5321 6.3). */
    fault_if(body, body->received >= body->limits.received, BODY_LOOP);
}

/* The section ends with a blank line, or before a line that is no header line. A folded line
 * belongs to the field before it; without one it is no header line. */
static void begin_line(struct body *body, enum line_kind kind, struct span name)
{
    bool first = body->starts == BODY_STARTS_EMPTY;
    if (kind == KIND_CONTINUATION && first)
        kind = KIND_TEXT;
    if (first)
        body->starts = kind == KIND_FIELD   ? BODY_STARTS_FIELD
                       : kind == KIND_BLANK ? BODY_STARTS_BLANK
                                            : BODY_STARTS_TEXT;
    body->line_open = true;
    if (kind == KIND_CONTINUATION)
        return;
    end_field(body);
    if (kind == KIND_FIELD)
        begin_field(body, name);
    else
        body->section = SECTION_BODY;
}

/* ---- second stage: the value of a field that is taken out ---- */

static bool is_value_octet(char c)
{
    char lower = ascii_lower(c);
    return (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') || (c && strchr(".-_+=/", c));
}

static void put_value(struct body_field *field, char c)
{
    if (field->len < BODY_VALUE)
        field->value[field->len++] = c;
}

/* Unfolded, trimmed, and harmless in a queue's name. */
static void take_value(struct body *body, struct span octets)
{
    struct body_field *field = &body->fields[body->taken_field];
    for (size_t i = 0; i < octets.len; i++) {
        char c = octets.data[i];
        if (!body->value_begun) {
            body->value_begun = c == ':';
        } else if (c == ' ' || c == '\t') {
            body->value_blank = true;
        } else if (c != '\r' && c != '\n' && !field->seen) {
            if (body->value_blank && field->len)
                put_value(field, '_');
            body->value_blank = false;
            put_value(field, is_value_octet(c) ? c : '_');
        }
    }
}

/* ---- second stage: pieces ---- */

static struct span line_of(struct span text)
{
    size_t lf = span_find(text, '\n');
    return span_first(text, lf + 1);
}

/* A part of a judged header line: counted, and if it is to be taken out, taken. */
static void pass_header(struct body *body, struct span part)
{
    body->line_open = part.data[part.len - 1] != '\n';
    body->header_size += part.len;
    fault_if(body, body->header_size > body->limits.header_size, BODY_HEADER_TOO_BIG);
    if (body->taking)
        take_value(body, part);
    else if (!body->header_8bit)
        body->header_8bit = span_has_8bit(part);
}

/* What waits in `hold` has been judged, or will never be: it is a piece, or taken out. */
static struct span release_held(struct body *body)
{
    struct span held = span_of(body->hold, body->hold_len);
    body->hold_len = 0;
    if (body->section == SECTION_HEADER) {
        pass_header(body, held);
        return body->taking ? (struct span){0} : held;
    }
    body->body_8bit |= span_has_8bit(held);
    return held;
}

/* Adds octets to `hold` until the line can be judged. */
static struct span take_held(struct body *body, struct span *text)
{
    struct span more = span_first(line_of(*text), (size_t)(BODY_HOLD - body->hold_len));
    memcpy(body->hold + body->hold_len, more.data, more.len);
    body->hold_len = (uint8_t)(body->hold_len + more.len);
    *text = span_skip(*text, more.len);
    struct span held = span_of(body->hold, body->hold_len);
    size_t name_len = 0;
    enum line_kind kind = judge_line(held, &name_len);
    if (kind == KIND_UNDECIDED)
        return (struct span){0};
    begin_line(body, kind, span_first(held, name_len));
    return release_held(body);
}

/* The longest run of header lines that stay, or one taken-out line, or what is held. It may also
 * only find out that the section has ended: then nothing is consumed. */
static struct span take_header(struct body *body, struct span *text)
{
    if (body->hold_len)
        return take_held(body, text);
    struct span kept = {.data = text->data};
    while (text->len) {
        if (!body->line_open) {
            size_t name_len = 0;
            enum line_kind kind = judge_line(*text, &name_len);
            if (kind == KIND_UNDECIDED)
                return kept.len ? kept : take_held(body, text);
            begin_line(body, kind, span_first(*text, name_len));
        }
        if (body->section != SECTION_HEADER || (body->taking && kept.len))
            break;
        struct span part = line_of(*text);
        pass_header(body, part);
        *text = span_skip(*text, part.len);
        if (body->taking)
            break;
        kept.len += part.len;
    }
    return kept;
}

static struct span take_body(struct body *body, struct span *text)
{
    struct span piece = *text;
    *text = span_skip(*text, text->len);
    if (!body->body_8bit)
        body->body_8bit = span_has_8bit(piece);
    return piece;
}

/* Makes the next piece out of cleared text. Its length 0: none came out of what was consumed. */
static struct span take_piece(struct body *body, struct span *input)
{
    struct span text = span_first(*input, body->cleared);
    struct span piece =
        body->section == SECTION_HEADER ? take_header(body, &text) : take_body(body, &text);
    size_t consumed = body->cleared - text.len;
    body->cleared = text.len;
    *input = span_skip(*input, consumed);
    if (body->faults)
        return (struct span){0};
    body->stored += piece.len;
    return piece;
}

enum body_progress body_data(struct body *body, struct span *input, struct span *ret_piece)
{
    for (;;) {
        if (body->cleared == 0) {
            enum body_progress progress = clear_data(body, input);
            if (progress != BODY_PIECE)
                return progress;
        }
        struct span piece = take_piece(body, input);
        if (piece.len) {
            *ret_piece = piece;
            return BODY_PIECE;
        }
    }
}

enum body_progress body_chunk(struct body *body, struct span *input, struct span *ret_piece)
{
    while (input->len) {
        if (body->cleared == 0)
            clear_text(body, *input, false);
        struct span piece = take_piece(body, input);
        if (piece.len) {
            *ret_piece = piece;
            return BODY_PIECE;
        }
    }
    return BODY_MORE;
}

/* The end came inside a line that could not be judged: "Name" without a colon is no field. */
static struct span finish_held(struct body *body)
{
    begin_line(body, KIND_TEXT, (struct span){0});
    return release_held(body);
}

static struct span finish_line(struct body *body)
{
    bool left_open = body->line_len > 0 && !body->taking;
    body->line_len = 0;
    body->size += left_open ? 2 : 0;
    return left_open ? SPAN("\r\n") : (struct span){0};
}

bool body_finish(struct body *body, struct span *ret_piece)
{
    fault_if(body, body->after_cr, BODY_BARE);
    body->after_cr = false;
    struct span piece = body->hold_len ? finish_held(body) : finish_line(body);
    if (piece.len == 0 || body->faults)
        return false;
    body->stored += piece.len;
    *ret_piece = piece;
    return true;
}
