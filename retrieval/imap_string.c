#include "retrieval/imap_string.h"

enum { QUOTED_MOST = 1000 }; /* some clients read a line into a fixed buffer */

static bool may_be_quoted(struct span text)
{
    if (text.len > QUOTED_MOST)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (c == 0 || c == '\r' || c == '\n' || c >= 0x80)
            return false;
    }
    return true;
}

static void put_escaped(struct sink *sink, struct span text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] == '"' || text.data[i] == '\\')
            sink_byte(sink, '\\');
        sink_byte(sink, text.data[i]);
    }
}

static void put_literal_head(struct sink *sink, size_t len)
{
    sink_byte(sink, '{');
    sink_decimal(sink, len);
    sink_put(sink, SPAN("}\r\n"));
}

void imap_string_put(struct sink *sink, struct span text)
{
    if (!may_be_quoted(text)) {
        put_literal_head(sink, text.len);
        sink_put(sink, text);
        return;
    }
    sink_byte(sink, '"');
    put_escaped(sink, text);
    sink_byte(sink, '"');
}

static bool is_line_end(char c)
{
    return c == '\r' || c == '\n';
}

/* The next run of a value: text, or one blank for a line end and the blanks behind it. Empty: no
 * more. */
static struct span take_run(struct span *value)
{
    size_t len = 0;
    while (len < value->len && !is_line_end(value->data[len]))
        len++;
    struct span run = span_first(*value, len);
    if (len == 0 && value->len > 0) {
        run = SPAN(" ");
        while (len < value->len && strchr("\r\n\t ", value->data[len]))
            len++;
    }
    *value = span_skip(*value, len);
    return run;
}

void imap_unfolded_put(struct sink *sink, struct span value)
{
    size_t len = 0;
    bool quoted = true;
    struct span rest = value, run;
    while ((run = take_run(&rest)).len > 0) {
        len += run.len;
        quoted = quoted && len <= QUOTED_MOST && may_be_quoted(run);
    }
    if (!quoted) {
        put_literal_head(sink, len);
        while ((run = take_run(&value)).len > 0)
            sink_put(sink, run);
        return;
    }
    sink_byte(sink, '"');
    while ((run = take_run(&value)).len > 0)
        put_escaped(sink, run);
    sink_byte(sink, '"');
}
