#include "smtp/fields.h"

#include "smtp/mailbox.h"

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* ---- fields ---- */

static size_t line_len(struct span text)
{
    size_t lf = span_find(text, '\n');
    return lf < text.len ? lf + 1 : text.len;
}

/* The length of a field's name (RFC 5322 ftext); 0: none begins here. */
static size_t name_len(struct span line, size_t *ret_colon)
{
    size_t len = 0;
    while (len < line.len && line.data[len] > ' ' && line.data[len] < 0x7f && line.data[len] != ':')
        len++;
    size_t colon = len; /* the obsolete syntax has blanks in front of it */
    while (colon < line.len && is_blank(line.data[colon]))
        colon++;
    *ret_colon = colon;
    return colon < line.len && line.data[colon] == ':' ? len : 0;
}

enum fields_next fields_next(struct span *rest, struct header_field *ret_field)
{
    size_t colon, len = line_len(*rest);
    if (rest->len == 0 || span_starts_with(*rest, SPAN("\r\n")))
        return FIELDS_END;
    size_t name = name_len(span_first(*rest, len), &colon);
    if (name == 0)
        return FIELDS_BROKEN;
    while (len < rest->len && is_blank(rest->data[len]))
        len += line_len(span_skip(*rest, len));
    ret_field->text = span_first(*rest, len);
    ret_field->name = span_first(*rest, name);
    ret_field->value = span_skip(ret_field->text, colon + 1);
    *rest = span_skip(*rest, len);
    return FIELDS_FIELD;
}

/* How much of a CR LF was seen at the start of a line. */
enum { AT_START, BEHIND_CR, INSIDE };

size_t header_end_find(uint8_t *state, struct span octets)
{
    size_t at = 0;
    while (at < octets.len) {
        if (*state == INSIDE) {
            at += span_find(span_skip(octets, at), '\n');
            if (at == octets.len)
                return 0;
            *state = AT_START;
        } else if (*state == BEHIND_CR && octets.data[at] == '\n') {
            return at + 1;
        } else {
            *state = *state == AT_START && octets.data[at] == '\r' ? BEHIND_CR : INSIDE;
        }
        at++;
    }
    return 0;
}

/* ---- the author ---- */

enum { ADDRESS_ROOM = 512 };

struct address_scan {
    struct sink text; /* of the mailbox, without comments and white space */
    unsigned comment;
    bool quoted, escaped, angle;
};

static void forget_text(struct address_scan *scan)
{
    sink_init(&scan->text, scan->text.data, scan->text.capacity);
}

static void scan_comment(struct address_scan *scan, char c)
{
    if (scan->escaped)
        scan->escaped = false;
    else if (c == '\\')
        scan->escaped = true;
    else
        scan->comment += c == '(' ? 1u : c == ')' ? -1u : 0u;
}

static void scan_quoted(struct address_scan *scan, char c)
{
    sink_byte(&scan->text, c);
    if (scan->escaped)
        scan->escaped = false;
    else if (c == '\\')
        scan->escaped = true;
    else if (c == '"')
        scan->quoted = false;
}

static bool has_at(const struct address_scan *scan)
{
    return span_find(sink_span(&scan->text), '@') < scan->text.len;
}

/* True: the mailbox has ended. */
static bool scan_octet(struct address_scan *scan, char c)
{
    if (scan->comment) {
        scan_comment(scan, c);
    } else if (scan->quoted) {
        scan_quoted(scan, c);
    } else if (c == '(') {
        scan->comment = 1;
    } else if (c == '<' && !scan->angle) {
        forget_text(scan); /* it was the name */
        scan->angle = true;
    } else if (c == '>' && scan->angle) {
        return true;
    } else if ((c == ',' || c == ';' || c == ':') && !scan->angle) {
        if (has_at(scan))
            return true;
        forget_text(scan); /* a group's name, or nothing */
    } else if (!is_blank(c) && c != '\r' && c != '\n') {
        scan->quoted = c == '"';
        sink_byte(&scan->text, c);
    }
    return false;
}

bool author_domain(struct span value, struct sink *sink)
{
    char storage[ADDRESS_ROOM];
    struct address_scan scan = {0};
    sink_init(&scan.text, storage, sizeof storage);
    for (size_t i = 0; i < value.len && !scan_octet(&scan, value.data[i]); i++)
        ;
    struct span text = sink_span(&scan.text);
    size_t at = text.len;
    while (at && text.data[at - 1] != '@')
        at--;
    return at > 1 && !scan.quoted && !scan.text.full && domain_normalise(span_skip(text, at), sink);
}
