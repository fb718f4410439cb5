#include "smtp/auth_results.h"

static bool is_white(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* A comment, which may hold others, at the front of `text`. */
static struct span skip_comment(struct span text)
{
    unsigned depth = 0;
    while (text.len) {
        char c = text.data[0];
        text = span_skip(text, c == '\\' ? 2 : 1);
        depth += c == '(' ? 1u : c == ')' ? -1u : 0u;
        if (depth == 0)
            break;
    }
    return text;
}

static struct span skip_white(struct span text)
{
    while (text.len && (is_white(text.data[0]) || text.data[0] == '('))
        text = text.data[0] == '(' ? skip_comment(text) : span_skip(text, 1);
    return text;
}

/* Quoted pairs inside a quoted id cannot make one that is not ours into ours: a plain comparison of
 * what is between the quotes would miss one, so it is undone. */
static void take_quoted(struct span text, struct sink *sink)
{
    for (text = span_skip(text, 1); text.len && text.data[0] != '"'; text = span_skip(text, 1)) {
        if (text.data[0] == '\\')
            text = span_skip(text, 1);
        if (text.len)
            sink_byte(sink, text.data[0]);
    }
}

bool auth_results_claims(struct span value, struct span authserv_id)
{
    char storage[256];
    struct sink sink;
    struct span text = skip_white(value);
    sink_init(&sink, storage, sizeof storage);
    if (text.len && text.data[0] == '"') {
        take_quoted(text, &sink);
        return span_equals_any_case(sink_span(&sink), authserv_id);
    }
    size_t len = 0;
    while (len < text.len && !is_white(text.data[len]) && text.data[len] != ';' &&
           text.data[len] != '(')
        len++;
    return span_equals_any_case(span_first(text, len), authserv_id);
}

static bool is_plain(char c)
{
    char lower = ascii_lower(c);
    return (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') ||
           (c && strchr("-._!#$%&'*+^`{|}~", c));
}

static bool all_plain(struct span text)
{
    for (size_t i = 0; i < text.len; i++)
        if (!is_plain(text.data[i]))
            return false;
    return text.len > 0;
}

void auth_results_put_value(struct sink *sink, struct span value)
{
    if (all_plain(value)) {
        sink_put(sink, value);
        return;
    }
    sink_byte(sink, '"');
    for (size_t i = 0; i < value.len; i++)
        if (value.data[i] >= ' ' && value.data[i] <= '~' && value.data[i] != '"' &&
            value.data[i] != '\\')
            sink_byte(sink, value.data[i]);
    sink_byte(sink, '"');
}

void auth_results_put_mailbox(struct sink *sink, struct span address)
{
    size_t at = address.len;
    while (at && address.data[at - 1] != '@')
        at--;
    struct span domain = span_skip(address, at);
    if (at && all_plain(span_first(address, at - 1)) && all_plain(domain))
        sink_put(sink, address);
    else
        auth_results_put_value(sink, domain);
}
