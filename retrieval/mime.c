/* Line by line. What a line means depends on where it stands: in a header it continues a field,
 * begins one or ends the header; anywhere it may be the boundary of any multipart that is open,
 * and then everything inside that one is over.
 *
 * `levels` is the path from the message to the part that is being read. A line that a push has cut
 * is kept up to MIME_LINE octets, and whole lines are not looked at beyond that either, so the
 * result does not depend on where the pushes were cut. */
#include "retrieval/mime.h"

#include "core/check.h"

static struct mime_level *level_now(struct mime_parser *parser)
{
    return &parser->levels[parser->depth - 1];
}

static struct mime_part *part_now(struct mime_parser *parser)
{
    return &parser->parts[level_now(parser)->part];
}

/* ---- parts begin and end ---- */

/* A part whose header begins at `at`, `lines` lines into the message. No place for it: what would
 * be its text stays its parent's. */
static void part_begin(struct mime_parser *parser, uint32_t at, uint32_t lines)
{
    if (parser->count == parser->capacity || parser->depth == MIME_DEPTH) {
        parser->cut = true;
        return;
    }
    struct mime_level *parent = parser->depth > 0 ? level_now(parser) : NULL;
    parser->parts[parser->count] = (struct mime_part){
        .parent = parent ? parent->part : 0,
        .depth = (uint16_t)parser->depth,
        .kind = MIME_TEXT,
        .is_default_message = parent && parent->is_digest,
        .header = {.at = at},
    };
    struct mime_level *level = &parser->levels[parser->depth++];
    *level = (struct mime_level){.part = (uint16_t)parser->count++, .lines_before = lines};
    parser->in_header = true;
    parser->field = MIME_FIELDS;
    parser->type_len = 0;
}

static enum mime_kind kind_of(const struct mime_type *type)
{
    if (span_equals_any_case(type->type, SPAN("text")))
        return MIME_TEXT;
    if (span_equals_any_case(type->type, SPAN("message")) &&
        span_equals_any_case(type->subtype, SPAN("rfc822")))
        return MIME_MESSAGE;
    if (span_equals_any_case(type->type, SPAN("multipart")))
        return MIME_MULTIPART;
    return MIME_LEAF;
}

static void read_type(struct mime_parser *parser, struct mime_part *part, struct mime_level *level)
{
    struct mime_type_storage storage;
    struct mime_type type;
    if (part->fields[MIME_CONTENT_TYPE].len == 0) {
        part->kind = part->is_default_message ? MIME_MESSAGE : MIME_TEXT;
        return;
    }
    part->is_default_message = false;
    if (!mime_type_read(span_of(parser->type, parser->type_len), &storage, &type)) {
        part->kind = MIME_TEXT;
        return;
    }
    part->kind = kind_of(&type);
    if (part->kind != MIME_MULTIPART)
        return;
    level->boundary_len = (uint8_t)type.boundary.len;
    if (type.boundary.len > 0)
        memcpy(level->boundary, type.boundary.data, type.boundary.len);
    level->is_digest = span_equals_any_case(type.subtype, SPAN("digest"));
}

/* The header ends; the body begins at `at`, `lines` lines into the message. */
static void header_end(struct mime_parser *parser, uint32_t at, uint32_t lines)
{
    struct mime_level *level = level_now(parser);
    struct mime_part *part = part_now(parser);
    part->header.len = at - part->header.at;
    part->body.at = at;
    part->header_lines = lines - level->lines_before;
    level->lines_before = lines;
    parser->in_header = false;
    read_type(parser, part, level);
    if (part->kind == MIME_MESSAGE)
        part_begin(parser, at, lines);
}

/* All parts deeper than `depth` end before the boundary line at `at`. The line end in front of it
 * belongs to the boundary (RFC 2046 5.1.1). */
static void parts_end(struct mime_parser *parser, unsigned depth, uint32_t at, uint32_t line_end)
{
    while (parser->depth > depth) {
        if (parser->in_header) { /* may begin one more part, which then ends first */
            header_end(parser, at, parser->lines);
            continue;
        }
        struct mime_level *level = level_now(parser);
        struct mime_part *part = part_now(parser);
        uint32_t len = at - part->body.at;
        uint32_t lines = parser->lines - level->lines_before;
        part->body.len = len > line_end ? len - line_end : 0;
        part->body_lines = line_end > 0 && lines > 0 ? lines - 1 : lines;
        parser->depth--;
    }
}

/* ---- boundaries ---- */

/* The level whose boundary begins this line: the longest one, the innermost among equals. Its depth
 * counted from 1; 0: none. */
static unsigned boundary_level(const struct mime_parser *parser, struct span line)
{
    unsigned best = 0, best_len = 0;
    struct span text = span_skip(line, 2);
    for (unsigned depth = parser->depth; depth > 0; depth--) {
        const struct mime_level *level = &parser->levels[depth - 1];
        if (level->boundary_len > best_len &&
            span_starts_with(text, span_of(level->boundary, level->boundary_len))) {
            best = depth;
            best_len = level->boundary_len;
        }
    }
    return best;
}

static bool may_be_boundary(struct span line)
{
    return line.len >= 2 && line.data[0] == '-' && line.data[1] == '-';
}

/* True if the line is one. The last line of a message begins no part if nothing ends it. */
static bool take_boundary(struct mime_parser *parser, struct span line, uint32_t len,
                          uint32_t end_len)
{
    unsigned depth = boundary_level(parser, line);
    if (depth == 0)
        return false;
    parts_end(parser, depth, parser->line_at, parser->end_before);
    struct mime_level *level = level_now(parser);
    struct span behind = span_skip(line, 2 + (size_t)level->boundary_len);
    if (span_starts_with(behind, SPAN("--"))) {
        level->boundary_len = 0;
        return true;
    }
    if (end_len > 0)
        part_begin(parser, parser->line_at + len, parser->lines + 1);
    return true;
}

/* ---- header lines ---- */

static const struct span field_names[MIME_FIELDS] = {
    [MIME_DATE] = {"Date", 4},
    [MIME_SUBJECT] = {"Subject", 7},
    [MIME_FROM] = {"From", 4},
    [MIME_SENDER] = {"Sender", 6},
    [MIME_REPLY_TO] = {"Reply-To", 8},
    [MIME_TO] = {"To", 2},
    [MIME_CC] = {"Cc", 2},
    [MIME_BCC] = {"Bcc", 3},
    [MIME_IN_REPLY_TO] = {"In-Reply-To", 11},
    [MIME_MESSAGE_ID] = {"Message-ID", 10},
    [MIME_CONTENT_TYPE] = {"Content-Type", 12},
    [MIME_CONTENT_ENCODING] = {"Content-Transfer-Encoding", 25},
    [MIME_CONTENT_ID] = {"Content-ID", 10},
    [MIME_CONTENT_DESCRIPTION] = {"Content-Description", 19},
    [MIME_CONTENT_DISPOSITION] = {"Content-Disposition", 19},
    [MIME_CONTENT_MD5] = {"Content-MD5", 11},
    [MIME_CONTENT_LANGUAGE] = {"Content-Language", 16},
    [MIME_CONTENT_LOCATION] = {"Content-Location", 16},
};

static enum mime_field field_named(struct span name)
{
    for (unsigned field = 0; field < MIME_FIELDS; field++)
        if (name.len == field_names[field].len && span_equals_any_case(name, field_names[field]))
            return (enum mime_field)field;
    return MIME_FIELDS;
}

static void keep_type(struct mime_parser *parser, struct span text)
{
    struct span part = span_first(text, sizeof parser->type - parser->type_len);
    if (part.len > 0)
        memcpy(parser->type + parser->type_len, part.data, part.len);
    parser->type_len += (uint32_t)part.len;
}

/* `line` is without its end, cut at MIME_LINE; `text_len` is its true length. */
static void begin_field(struct mime_parser *parser, struct span line, uint32_t text_len)
{
    parser->field = MIME_FIELDS;
    size_t colon = span_find(line, ':');
    if (colon == line.len)
        return;
    enum mime_field field = field_named(span_trim(span_first(line, colon)));
    struct mime_part *part = part_now(parser);
    if (field == MIME_FIELDS)
        return;
    if (part->fields[field].at != 0) {
        part->repeated |= 1U << field;
        if (field >= MIME_CONTENT_TYPE)
            return;
    }
    parser->field = (uint8_t)field;
    part->fields[field] = (struct mime_range){.at = parser->line_at + (uint32_t)colon + 1,
                                              .len = text_len - (uint32_t)colon - 1};
    if (field == MIME_CONTENT_TYPE)
        keep_type(parser, span_skip(line, colon + 1));
}

static void continue_field(struct mime_parser *parser, struct span line, uint32_t text_len)
{
    if (parser->field == MIME_FIELDS)
        return;
    struct mime_range *value = &part_now(parser)->fields[parser->field];
    value->len = parser->line_at + text_len - value->at;
    if (parser->field == MIME_CONTENT_TYPE)
        keep_type(parser, line);
}

static void header_line(struct mime_parser *parser, struct span line, uint32_t text_len,
                        uint32_t len)
{
    if (text_len == 0)
        header_end(parser, parser->line_at + len, parser->lines + 1);
    else if (line.data[0] == ' ' || line.data[0] == '\t')
        continue_field(parser, line, text_len);
    else
        begin_field(parser, line, text_len);
}

/* ---- lines ---- */

/* One line: its beginning, its length with its end, and how long the end is (0 only for the last
 * line of a message). */
static void take_line(struct mime_parser *parser, struct span begin, uint32_t len, uint32_t end_len)
{
    uint32_t text_len = len - end_len;
    struct span line = span_first(span_first(begin, text_len), MIME_LINE);
    if (line.len > 0 && line.data[0] == '.')
        parser->has_dot_line = true;
    bool taken = may_be_boundary(line) && take_boundary(parser, line, len, end_len);
    if (!taken && parser->in_header)
        header_line(parser, line, text_len, len);
    parser->end_before = end_len;
    parser->line_at += len;
    parser->lines += end_len > 0;
}

/* Keeps the beginning of a line whose end is still to come. */
static void hold(struct mime_parser *parser, struct span bytes)
{
    struct span part = span_first(bytes, sizeof parser->line - parser->held);
    if (part.len > 0)
        memcpy(parser->line + parser->held, part.data, part.len);
    parser->held += (uint32_t)part.len;
    parser->line_len += (uint32_t)bytes.len;
    if (bytes.len > 0)
        parser->ends_with_cr = bytes.data[bytes.len - 1] == '\r';
}

/* The line that `rest` completes, or begins and ends. `rest` ends with its LF. */
static void end_line(struct mime_parser *parser, struct span rest)
{
    if (parser->line_len == 0) {
        bool cr = rest.len >= 2 && rest.data[rest.len - 2] == '\r';
        take_line(parser, rest, (uint32_t)rest.len, cr ? 2 : 1);
        return;
    }
    hold(parser, span_first(rest, rest.len - 1));
    uint32_t end_len = parser->ends_with_cr ? 2 : 1;
    take_line(parser, span_of(parser->line, parser->held), parser->line_len + 1, end_len);
    parser->held = parser->line_len = 0;
}

/* Written so that the compiler makes vectors of it. */
static bool any_8bit(struct span bytes)
{
    unsigned char all = 0;
    for (size_t i = 0; i < bytes.len; i++)
        all |= (unsigned char)bytes.data[i];
    return all & 0x80;
}

void mime_init(struct mime_parser *parser, struct mime_part *parts, unsigned capacity)
{
    check(capacity >= 1 && capacity <= MIME_PARTS);
    parser->parts = parts;
    parser->capacity = capacity;
    parser->count = parser->depth = 0;
    parser->has_8bit = parser->has_dot_line = parser->cut = parser->ends_with_cr = false;
    parser->line_at = parser->line_len = parser->lines = parser->held = parser->end_before = 0;
    part_begin(parser, 0, 0);
}

void mime_push(struct mime_parser *parser, struct span bytes)
{
    parser->has_8bit |= any_8bit(bytes);
    for (;;) {
        size_t end = span_find(bytes, '\n');
        if (end == bytes.len)
            break;
        end_line(parser, span_first(bytes, end + 1));
        bytes = span_skip(bytes, end + 1);
    }
    hold(parser, bytes);
}

void mime_finish(struct mime_parser *parser)
{
    if (parser->line_len > 0)
        take_line(parser, span_of(parser->line, parser->held), parser->line_len, 0);
    parser->line_len = parser->held = 0;
    parts_end(parser, 0, parser->line_at, 0);
}

bool mime_field_next(struct span *header, enum mime_field field, struct span *ret_value)
{
    while (header->len > 0) {
        size_t len = 0;
        do { /* a field with the lines that continue it */
            struct span rest = span_skip(*header, len);
            size_t end = span_find(rest, '\n');
            len += end < rest.len ? end + 1 : end;
        } while (len < header->len && (header->data[len] == ' ' || header->data[len] == '\t'));
        struct span whole = span_first(*header, len);
        size_t colon = span_find(whole, ':');
        *header = span_skip(*header, len);
        if (colon < whole.len && field_named(span_trim(span_first(whole, colon))) == field) {
            *ret_value = span_skip(whole, colon + 1);
            return true;
        }
    }
    return false;
}
