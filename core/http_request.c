#include "core/http_request.h"

#include "core/check.h"

enum { METHOD_MAX = 32 };

struct head {
    struct http_request request;
    bool close, keep_alive, hosted, sized, coded;
};

/* RFC 9110 5.6.2 */
static bool token_byte(char c)
{
    return (c >= '0' && c <= '9') || (ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z') ||
           (c && strchr("!#$%&'*+-.^_`|~", c));
}

static size_t token_len(struct span text)
{
    size_t len = 0;
    while (len < text.len && token_byte(text.data[len]))
        len++;
    return len;
}

/* The next line without its end. False: it is not complete. */
static bool take_line(struct span *rest, struct span *ret_line)
{
    size_t end = span_find(*rest, '\n');
    if (end == rest->len)
        return false;
    struct span line = span_first(*rest, end);
    if (line.len && line.data[line.len - 1] == '\r')
        line.len--;
    *rest = span_skip(*rest, end + 1);
    *ret_line = line;
    return true;
}

/* Origin form, absolute form (which every server must take) and "*". */
static bool parse_target(struct span target, struct span *ret_path, struct span *ret_query)
{
    for (size_t i = 0; i < target.len; i++)
        if (target.data[i] <= ' ' || target.data[i] > '~')
            return false;
    if (span_starts_with_any_case(target, SPAN("http://"))) {
        target = span_skip(target, 7);
        size_t slash = span_find(target, '/');
        if (slash == 0)
            return false;
        target = slash == target.len ? SPAN("/") : span_skip(target, slash);
    }
    *ret_path = span_first(target, span_find(target, '?'));
    *ret_query = span_skip(target, ret_path->len + 1);
    return span_equals(target, SPAN("*")) || span_starts_with(target, SPAN("/"));
}

static int parse_version(struct span version, struct http_request *request)
{
    if (version.len != 8 || !span_starts_with(version, SPAN("HTTP/")) || version.data[6] != '.' ||
        version.data[5] < '0' || version.data[5] > '9' || version.data[7] < '0' ||
        version.data[7] > '9')
        return -400;
    request->http_1_0 = version.data[7] == '0';
    return version.data[5] == '1' ? 0 : -505;
}

static int parse_request_line(struct span line, struct http_request *request)
{
    request->method = span_first(line, token_len(line));
    struct span rest = span_skip(line, request->method.len);
    if (request->method.len == 0 || request->method.len > METHOD_MAX || rest.len == 0 ||
        rest.data[0] != ' ')
        return -400;
    rest = span_skip(rest, 1);
    size_t blank = span_find(rest, ' ');
    if (!parse_target(span_first(rest, blank), &request->path, &request->query))
        return -400;
    return parse_version(span_skip(rest, blank + 1), request);
}

/* Connection is a list; only two of its words concern us. */
static void parse_connection(struct span value, struct head *head)
{
    while (value.len) {
        size_t comma = span_find(value, ',');
        struct span option = span_trim(span_first(value, comma));
        head->close |= span_equals_any_case(option, SPAN("close"));
        head->keep_alive |= span_equals_any_case(option, SPAN("keep-alive"));
        value = span_skip(value, comma + 1);
    }
}

static int parse_field(struct span line, struct head *head)
{
    size_t name_len = token_len(line);
    struct span name = span_first(line, name_len);
    if (name_len == 0 || name_len == line.len || line.data[name_len] != ':')
        return -400; /* a folded line, a blank before the colon, no colon */
    struct span value = span_trim(span_skip(line, name_len + 1));
    for (size_t i = 0; i < value.len; i++)
        if ((unsigned char)value.data[i] < ' ' && value.data[i] != '\t')
            return -400;
    uint64_t length;
    if (span_equals_any_case(name, SPAN("Host"))) {
        if (head->hosted)
            return -400;
        head->hosted = true;
    } else if (span_equals_any_case(name, SPAN("Content-Length"))) {
        if (head->sized || !span_decimal(value, UINT64_MAX, &length))
            return -400;
        head->sized = true;
        head->request.body_follows |= length > 0;
    } else if (span_equals_any_case(name, SPAN("Transfer-Encoding"))) {
        head->coded = head->request.body_follows = true;
    } else if (span_equals_any_case(name, SPAN("Authorization"))) {
        if (head->request.authorization.len)
            return -400;
        head->request.authorization = value;
    } else if (span_equals_any_case(name, SPAN("Connection"))) {
        parse_connection(value, head);
    }
    return 0;
}

/* What the head means as a whole. */
static int judge(struct head *head)
{
    struct http_request *request = &head->request;
    if (!request->http_1_0 && !head->hosted)
        return -400; /* RFC 9112 3.2 */
    if (head->sized && head->coded)
        return -400; /* RFC 9112 6.1: request smuggling */
    request->keep_alive = !head->close && (!request->http_1_0 || head->keep_alive);
    return 0;
}

static int parse_fields(struct span input, struct span rest, struct head *head)
{
    struct span line;
    while (take_line(&rest, &line)) {
        int result = line.len ? parse_field(line, head) : judge(head);
        if (result < 0)
            return result;
        if (line.len == 0)
            return (int)(input.len - rest.len);
    }
    return input.len >= HTTP_REQUEST_MAX ? -431 : 0;
}

int http_request_parse(struct span input, struct http_request *ret_request)
{
    struct head head = {0};
    struct span line;
    input = span_first(input, HTTP_REQUEST_MAX);
    struct span rest = input;
    while (rest.len && (rest.data[0] == '\r' || rest.data[0] == '\n'))
        rest = span_skip(rest, 1); /* RFC 9112 2.2: empty lines in front of a request */
    if (rest.len && !token_byte(rest.data[0]))
        return -400; /* a TLS hello would never end its line */
    if (!take_line(&rest, &line))
        return input.len >= HTTP_REQUEST_MAX ? -431 : 0;
    int result = parse_request_line(line, &head.request);
    if (result == 0)
        result = parse_fields(input, rest, &head);
    if (result > 0)
        *ret_request = head.request;
    return result;
}

/* ---- queries ---- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    char lower = ascii_lower(c);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

static bool decode(struct span text, struct sink *storage, struct span *ret_text)
{
    size_t begin = storage->len;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        if (c == '%') {
            int high = i + 2 < text.len ? hex_digit(text.data[i + 1]) : -1;
            int low = i + 2 < text.len ? hex_digit(text.data[i + 2]) : -1;
            if (high < 0 || low < 0)
                return false;
            c = (char)(high * 16 + low);
            i += 2;
        } else if (c == '+') {
            c = ' ';
        }
        sink_byte(storage, c);
    }
    *ret_text = span_skip(sink_span(storage), begin);
    return !storage->full;
}

bool http_query_next(struct span *query, struct sink *storage, struct span *ret_name,
                     struct span *ret_value)
{
    struct span pair = span_first(*query, span_find(*query, '&'));
    size_t equals = span_find(pair, '=');
    if (query->len == 0 || !decode(span_first(pair, equals), storage, ret_name) ||
        !decode(span_skip(pair, equals + 1), storage, ret_value))
        return false;
    *query = span_skip(*query, pair.len + 1);
    return true;
}
