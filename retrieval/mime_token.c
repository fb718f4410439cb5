/* The lexer is kind: an octet that no rule knows is passed over one at a time, so every value comes
 * to an end, and a comment or quoted string that nobody closes ends with the value. */
#include "retrieval/mime_token.h"

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct span tokens_trim(struct span value)
{
    while (value.len > 0 && is_blank(value.data[0]))
        value = span_skip(value, 1);
    while (value.len > 0 && is_blank(value.data[value.len - 1]))
        value = span_first(value, value.len - 1);
    return value;
}

void tokens_take(struct tokens *tokens)
{
    tokens->rest = span_skip(tokens->rest, 1);
}

/* From "(" to its ")", comments inside it too. */
static void take_comment(struct tokens *tokens)
{
    struct span rest = tokens->rest;
    size_t at = 1, depth = 1;
    for (; at < rest.len && depth > 0; at++) {
        if (rest.data[at] == '\\')
            at++;
        else if (rest.data[at] == '(')
            depth++;
        else if (rest.data[at] == ')')
            depth--;
    }
    size_t inside = depth == 0 ? at - 2 : rest.len - 1;
    tokens->comment = span_first(span_skip(rest, 1), inside);
    tokens->rest = span_skip(rest, at);
}

int tokens_next(struct tokens *tokens)
{
    while (tokens->rest.len > 0) {
        char c = tokens->rest.data[0];
        if (c == '(')
            take_comment(tokens);
        else if (is_blank(c))
            tokens_take(tokens);
        else
            return (unsigned char)c;
    }
    return -1;
}

static bool is_control(unsigned char c)
{
    return c <= ' ' || c == 127;
}

static bool is_atom(char c)
{
    return !is_control((unsigned char)c) && !strchr("()<>@,;:\\\".[]", c);
}

static bool is_token(char c)
{
    return !is_control((unsigned char)c) && !strchr("()<>@,;:\\\"/[]?=", c);
}

static bool take_run(struct tokens *tokens, bool is_part(char), struct sink *into)
{
    tokens_next(tokens);
    size_t len = 0;
    while (len < tokens->rest.len && is_part(tokens->rest.data[len]))
        len++;
    sink_put_cut(into, span_first(tokens->rest, len));
    tokens->rest = span_skip(tokens->rest, len);
    return len > 0;
}

bool tokens_atom(struct tokens *tokens, struct sink *into)
{
    return take_run(tokens, is_atom, into);
}

bool tokens_token(struct tokens *tokens, struct sink *into)
{
    return take_run(tokens, is_token, into);
}

/* Copies up to the octet `end` (or the value's end), without escapes and line ends. */
static void take_until(struct tokens *tokens, char end, struct sink *into)
{
    struct span rest = tokens->rest;
    size_t at = 0;
    for (; at < rest.len && rest.data[at] != end; at++) {
        if (rest.data[at] == '\r' || rest.data[at] == '\n')
            continue;
        if (rest.data[at] == '\\' && at + 1 < rest.len)
            at++;
        sink_put_cut(into, span_of(rest.data + at, 1));
    }
    tokens->rest = span_skip(rest, at + 1);
}

bool tokens_quoted(struct tokens *tokens, struct sink *into)
{
    if (tokens_next(tokens) != '"')
        return false;
    tokens_take(tokens);
    take_until(tokens, '"', into);
    return true;
}

bool tokens_literal(struct tokens *tokens, struct sink *into)
{
    if (tokens_next(tokens) != '[')
        return false;
    take_until(tokens, ']', into);
    sink_put_cut(into, SPAN("]"));
    return true;
}

void tokens_comment_put(struct span comment, struct sink *into)
{
    struct tokens tokens = tokens_over(comment);
    take_until(&tokens, '\0', into);
}

/* What stands behind "=", also where quotes are missing around something that needs them. */
static void take_value(struct tokens *tokens, struct sink *into)
{
    if (tokens_quoted(tokens, into))
        return;
    size_t len = 0;
    while (len < tokens->rest.len && !is_blank(tokens->rest.data[len]) &&
           tokens->rest.data[len] != ';' && tokens->rest.data[len] != '(')
        len++;
    sink_put_cut(into, span_first(tokens->rest, len));
    tokens->rest = span_skip(tokens->rest, len);
}

static void skip_to_parameter(struct tokens *tokens)
{
    while (tokens->rest.len > 0 && tokens_next(tokens) != ';') {
        char ignored;
        struct sink none;
        sink_init(&none, &ignored, 0);
        if (!tokens_quoted(tokens, &none) && tokens->rest.len > 0)
            tokens_take(tokens);
    }
}

bool tokens_parameter(struct tokens *tokens, struct sink *ret_name, struct sink *ret_value)
{
    for (;;) {
        ret_name->len = ret_value->len = 0;
        ret_name->full = ret_value->full = false;
        skip_to_parameter(tokens);
        if (tokens->rest.len == 0)
            return false;
        tokens_take(tokens);
        if (!tokens_token(tokens, ret_name) || tokens_next(tokens) != '=')
            continue;
        tokens_take(tokens);
        tokens_next(tokens);
        take_value(tokens, ret_value);
        return true;
    }
}

/* ---- the type ---- */

static bool read_name(struct tokens *tokens, char *storage, size_t size, struct span *ret_name)
{
    struct sink sink;
    sink_init(&sink, storage, size);
    bool found = tokens_token(tokens, &sink);
    *ret_name = sink_span(&sink);
    return found;
}

/* The boundary may come in the pieces of RFC 2231 too: boundary*0=..; boundary*1=.. */
static void read_boundary(struct tokens *tokens, struct mime_type_storage *storage,
                          struct mime_type *type)
{
    char name_text[MIME_TYPE_NAME], value_text[MIME_BOUNDARY];
    struct sink name, value, boundary;
    sink_init(&name, name_text, sizeof name_text);
    sink_init(&value, value_text, sizeof value_text);
    sink_init(&boundary, storage->boundary, sizeof storage->boundary);
    while (tokens_parameter(tokens, &name, &value)) {
        bool whole = span_equals_any_case(sink_span(&name), SPAN("boundary"));
        if (!whole && !span_starts_with_any_case(sink_span(&name), SPAN("boundary*")))
            continue;
        sink_put_cut(&boundary, sink_span(&value));
        if (whole)
            break;
    }
    type->boundary = sink_span(&boundary);
}

bool mime_type_read(struct span value, struct mime_type_storage *storage,
                    struct mime_type *ret_type)
{
    struct tokens tokens = tokens_over(value);
    struct mime_type type = {0};
    if (!read_name(&tokens, storage->type, sizeof storage->type, &type.type) ||
        tokens_next(&tokens) != '/')
        return false;
    tokens_take(&tokens);
    if (!read_name(&tokens, storage->subtype, sizeof storage->subtype, &type.subtype))
        return false;
    int behind = tokens_next(&tokens);
    if (behind >= 0 && behind != ';')
        return false;
    read_boundary(&tokens, storage, &type);
    *ret_type = type;
    return true;
}
