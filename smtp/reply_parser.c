/* A byte machine for the code and the line end, a copying loop for the text between them. Text
 * beyond what is kept is counted and dropped, so a 1 GB banner costs REPLY_BYTES and ends. */
#include "smtp/reply_parser.h"

enum { AT_CODE_1, AT_CODE_2, AT_CODE_3, AT_SEPARATOR, AT_TEXT, AT_LF };

void reply_parser_init(struct reply_parser *parser)
{
    parser->state = AT_CODE_1;
    parser->last = true; /* the first line begins a new reply */
    parser->broken = false;
    parser->why = NULL;
    parser->line_len = parser->text_len = 0;
}

static void begin_reply(struct reply_parser *parser)
{
    parser->last = false;
    parser->code = 0;
    parser->enhanced = (struct enhanced){0};
    parser->text_len = 0;
    parser->lines = 0;
    parser->bytes = 0;
}

static void begin_line(struct reply_parser *parser)
{
    if (parser->last)
        begin_reply(parser);
    parser->line_len = 0;
    parser->line_code = 0;
    parser->lines++;
}

static enum reply_event broken(struct reply_parser *parser, const char *why)
{
    parser->broken = true;
    parser->why = why;
    return REPLY_BAD;
}

/* A number of one to three digits at the front of `rest`, as RFC 3463 2 has them. */
static bool take_number(struct span *rest, uint16_t *ret_value)
{
    size_t digits = 0;
    while (digits < rest->len && rest->data[digits] >= '0' && rest->data[digits] <= '9')
        digits++;
    uint64_t value;
    if (digits > 3 || !span_decimal(span_first(*rest, digits), 999, &value))
        return false;
    *rest = span_skip(*rest, digits);
    *ret_value = (uint16_t)value;
    return true;
}

static bool take_byte(struct span *rest, char byte)
{
    if (rest->len == 0 || rest->data[0] != byte)
        return false;
    *rest = span_skip(*rest, 1);
    return true;
}

static bool take_enhanced(struct span *rest, unsigned class, struct enhanced *ret_enhanced)
{
    struct span at = *rest;
    uint16_t first, subject, detail;
    if (!take_number(&at, &first) || !take_byte(&at, '.') || !take_number(&at, &subject) ||
        !take_byte(&at, '.') || !take_number(&at, &detail))
        return false;
    if (first != class || (class != 2 && class != 4 && class != 5))
        return false;
    if (at.len && !take_byte(&at, ' '))
        return false;
    *ret_enhanced = (struct enhanced){(uint8_t)first, subject, detail};
    *rest = at;
    return true;
}

static void add_text(struct reply_parser *parser, struct span line)
{
    if (line.len == 0 || parser->text_len == REPLY_TEXT)
        return;
    if (parser->text_len)
        parser->text[parser->text_len++] = ' ';
    line = span_first(line, REPLY_TEXT - parser->text_len);
    if (line.len)
        memcpy(parser->text + parser->text_len, line.data, line.len);
    parser->text_len = (uint16_t)(parser->text_len + line.len);
}

static enum reply_event end_line(struct reply_parser *parser)
{
    struct span line = reply_line(parser);
    struct enhanced enhanced;
    if (take_enhanced(&line, parser->code / 100, &enhanced) && parser->enhanced.class == 0)
        parser->enhanced = enhanced;
    memmove(parser->line, line.data, line.len);
    parser->line_len = (uint16_t)line.len;
    add_text(parser, reply_line(parser));
    parser->state = AT_CODE_1;
    return parser->last ? REPLY_WHOLE : REPLY_PART;
}

static enum reply_event take_digit(struct reply_parser *parser, char byte)
{
    if (byte < '0' || byte > '9')
        return broken(parser, "a reply line without a code");
    if (parser->state == AT_CODE_1 && (byte < '2' || byte > '5'))
        return broken(parser, "a reply code out of range");
    parser->line_code = (uint16_t)(parser->line_code * 10 + (byte - '0'));
    parser->state++;
    return REPLY_MORE;
}

static enum reply_event take_separator(struct reply_parser *parser, char byte)
{
    if (byte != ' ' && byte != '-' && byte != '\r')
        return broken(parser, "a reply code that does not end");
    if (parser->lines > 1 && parser->line_code != parser->code)
        return broken(parser, "different codes in one reply");
    parser->code = parser->line_code;
    parser->last = byte != '-';
    parser->state = byte == '\r' ? AT_LF : AT_TEXT;
    return REPLY_MORE;
}

/* Copies text up to the CR, cleaned and cut; returns how many bytes it looked at. */
static size_t take_text(struct reply_parser *parser, struct span input)
{
    size_t at = 0;
    for (; at < input.len; at++) {
        unsigned char byte = (unsigned char)input.data[at];
        if (byte == '\r' || byte == '\n')
            break;
        if (parser->line_len < REPLY_LINE)
            parser->line[parser->line_len++] = byte >= 0x20 && byte < 0x7f ? (char)byte : '?';
    }
    return at;
}

static enum reply_event take(struct reply_parser *parser, char byte)
{
    switch (parser->state) {
    case AT_CODE_1:
        begin_line(parser);
        if (parser->lines > REPLY_LINES)
            return broken(parser, "a reply with too many lines");
        return take_digit(parser, byte);
    case AT_CODE_2:
    case AT_CODE_3:
        return take_digit(parser, byte);
    case AT_SEPARATOR:
        return take_separator(parser, byte);
    case AT_TEXT:
        if (byte == '\n')
            return broken(parser, "a bare LF in a reply");
        parser->state = AT_LF;
        return REPLY_MORE;
    default:
        return byte == '\n' ? end_line(parser) : broken(parser, "a bare CR in a reply");
    }
}

enum reply_event reply_parser_feed(struct reply_parser *parser, struct span *input)
{
    enum reply_event event = REPLY_MORE;
    if (parser->broken)
        return REPLY_BAD;
    while (input->len && event == REPLY_MORE) {
        size_t text = parser->state == AT_TEXT ? take_text(parser, *input) : 0;
        *input = span_skip(*input, text);
        if (input->len) {
            event = take(parser, input->data[0]);
            *input = span_skip(*input, 1);
            text++;
        }
        parser->bytes += (uint32_t)text;
        if (parser->bytes > REPLY_BYTES && event != REPLY_BAD)
            event = broken(parser, "a reply without end");
    }
    return event;
}
