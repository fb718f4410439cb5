/* A recursive descent over the grammar of RFC 5321 4.1.2 with the additions of RFC 6531 3.3. Each
 * read_ function takes what its rule produces from the front of a span and leaves the rest; each
 * put_ function writes the normal form of a piece that was read. Whatever stops a rule early meets
 * the '>' that read_path insists on, so there is one way out for everything that is not a path. */
#include "smtp/mailbox.h"

#include "core/utf8.h"

#include <arpa/inet.h>
#include <idn2.h>

enum { LABEL = 63 };

static bool is_letter_or_digit(char c)
{
    char lower = ascii_lower(c);
    return (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9');
}

static bool is_non_ascii(char c)
{
    return (unsigned char)c >= 0x80;
}

static bool is_atext(char c)
{
    return is_letter_or_digit(c) || is_non_ascii(c) ||
           (c && memchr("!#$%&'*+-/=?^_`{|}~", c, 19) != NULL);
}

static bool take(struct span *at, char c)
{
    if (at->len == 0 || at->data[0] != c)
        return false;
    *at = span_skip(*at, 1);
    return true;
}

bool utf8_clean(struct span text)
{
    for (size_t i = 1; i < text.len; i++)
        if ((unsigned char)text.data[i - 1] == 0xc2 && (unsigned char)text.data[i] < 0xa0)
            return false;
    return utf8_valid(text);
}

/* ---- domains and literals ---- */

static bool put_label(struct span label, struct sink *sink)
{
    if (label.len == 0 || label.len > LABEL || label.data[0] == '-' ||
        label.data[label.len - 1] == '-')
        return false;
    for (size_t i = 0; i < label.len; i++) {
        if (!is_letter_or_digit(label.data[i]) && label.data[i] != '-')
            return false;
        sink_byte(sink, ascii_lower(label.data[i]));
    }
    return true;
}

static bool all_digits(struct span span)
{
    for (size_t i = 0; i < span.len; i++)
        if (span.data[i] < '0' || span.data[i] > '9')
            return false;
    return true;
}

/* A top-level label of digits only is an address without its brackets (RFC 1123 2.1). */
static bool put_ascii_domain(struct span domain, struct sink *sink)
{
    struct span label;
    do {
        label = span_first(domain, span_find(domain, '.'));
        if (!put_label(label, sink))
            return false;
        domain = span_skip(domain, label.len);
        if (domain.len)
            sink_byte(sink, '.');
    } while (take(&domain, '.'));
    return !all_digits(label);
}

static unsigned count_dots(struct span span)
{
    unsigned dots = 0;
    for (size_t i = 0; i < span.len; i++)
        dots += span.data[i] == '.';
    return dots;
}

/* IDNA maps some signs to a dot (U+FF0E, U+2024): a name that gains labels that way reads
 * differently to a human and to DNS, so it is refused. */
static bool put_unicode_domain(struct span domain, struct sink *sink)
{
    char name[MAILBOX_DOMAIN + 1];
    if (!utf8_clean(domain) || domain.len >= sizeof name)
        return false;
    memcpy(name, domain.data, domain.len);
    name[domain.len] = '\0';
    uint8_t *ascii = NULL;
    int flags = IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL;
    if (idn2_lookup_u8((const uint8_t *)name, &ascii, flags) != IDN2_OK)
        return false;
    struct span result = span_string((const char *)ascii);
    bool good = count_dots(result) == count_dots(domain) && put_ascii_domain(result, sink);
    idn2_free(ascii);
    return good;
}

bool domain_normalise(struct span domain, struct sink *sink)
{
    size_t start = sink->len;
    if (domain.len == 0 || domain.len > MAILBOX_DOMAIN)
        return false;
    bool good =
        utf8_is_ascii(domain) ? put_ascii_domain(domain, sink) : put_unicode_domain(domain, sink);
    return good && !sink->full && sink->len - start <= MAILBOX_DOMAIN;
}

/* RFC 5321 4.1.3: IPv4 as four decimal numbers, IPv6 behind its tag, and no other tag is known.
 * inet_pton takes exactly these forms: no octal, no hexadecimal, no short IPv4. */
static bool put_literal(struct span inside, struct sink *sink)
{
    char text[INET6_ADDRSTRLEN];
    struct span tag = SPAN("IPv6:");
    bool v6 = span_starts_with_any_case(inside, tag);
    if (v6)
        inside = span_skip(inside, tag.len);
    if (inside.len >= sizeof text || memchr(inside.data, '\0', inside.len))
        return false;
    memcpy(text, inside.data, inside.len);
    text[inside.len] = '\0';
    struct in6_addr bits;
    int family = v6 ? AF_INET6 : AF_INET;
    if (inet_pton(family, text, &bits) != 1 || !inet_ntop(family, &bits, text, sizeof text))
        return false;
    sink_byte(sink, '[');
    if (v6)
        sink_put(sink, tag);
    sink_put(sink, span_string(text));
    sink_byte(sink, ']');
    return true;
}

static struct span read_domain(struct span *at)
{
    size_t len = 0;
    while (len < at->len && (is_letter_or_digit(at->data[len]) || is_non_ascii(at->data[len]) ||
                             at->data[len] == '-' || at->data[len] == '.'))
        len++;
    struct span domain = span_first(*at, len);
    *at = span_skip(*at, len);
    return domain;
}

static bool copy_domain(struct span *at, struct sink *sink)
{
    return domain_normalise(read_domain(at), sink);
}

static bool copy_literal(struct span *at, struct sink *sink)
{
    struct span inside = span_first(*at, span_find(*at, ']'));
    *at = span_skip(*at, inside.len);
    return take(at, ']') && put_literal(inside, sink);
}

/* "@a,@b:" */
static bool skip_source_route(struct span *at)
{
    char scratch[MAILBOX_DOMAIN];
    do {
        struct sink ignored;
        sink_init(&ignored, scratch, sizeof scratch);
        if (!take(at, '@'))
            return false;
        if (!(take(at, '[') ? copy_literal(at, &ignored) : copy_domain(at, &ignored)))
            return false;
    } while (take(at, ','));
    return take(at, ':');
}

/* ---- local parts ---- */

static size_t dot_string_len(struct span span)
{
    size_t len = 0;
    while (len < span.len && (is_atext(span.data[len]) ||
                              (span.data[len] == '.' && len && span.data[len - 1] != '.')))
        len++;
    return len && span.data[len - 1] == '.' ? 0 : len;
}

/* The inside of a quoted string without its escapes; the opening quote has been taken. */
static bool read_quoted(struct span *at, struct sink *content)
{
    while (at->len && at->data[0] != '"') {
        take(at, '\\'); /* the character behind it stands for itself, if it may stand at all */
        if (at->len == 0 || (unsigned char)at->data[0] < 0x20 || at->data[0] == 0x7f)
            return false;
        sink_byte(content, at->data[0]);
        *at = span_skip(*at, 1);
    }
    return take(at, '"');
}

static void put_quoted(struct span content, struct sink *sink)
{
    sink_byte(sink, '"');
    for (size_t i = 0; i < content.len; i++) {
        if (content.data[i] == '"' || content.data[i] == '\\')
            sink_byte(sink, '\\');
        sink_byte(sink, content.data[i]);
    }
    sink_byte(sink, '"');
}

static bool copy_local(struct span *at, struct sink *sink)
{
    char storage[MAILBOX_LOCAL];
    struct span before = *at, content;
    if (take(at, '"')) {
        struct sink unquoted;
        sink_init(&unquoted, storage, sizeof storage);
        if (!read_quoted(at, &unquoted) || unquoted.full)
            return false;
        content = sink_span(&unquoted);
    } else {
        content = span_first(*at, dot_string_len(*at));
        *at = span_skip(*at, content.len);
    }
    if (content.len == 0 || before.len - at->len > MAILBOX_LOCAL || !utf8_clean(content))
        return false;
    if (dot_string_len(content) == content.len)
        sink_put(sink, content);
    else
        put_quoted(content, sink);
    return true;
}

/* ---- whole paths ---- */

static bool copy_mailbox(struct span *at, bool postmaster, struct mailbox *mailbox)
{
    struct sink sink;
    sink_init(&sink, mailbox->text, sizeof mailbox->text);
    if (!copy_local(at, &sink))
        return false;
    mailbox->local = sink_span(&sink);
    if (take(at, '@')) {
        sink_byte(&sink, '@');
        mailbox->literal = take(at, '[');
        if (!(mailbox->literal ? copy_literal(at, &sink) : copy_domain(at, &sink)))
            return false;
        mailbox->domain = span_skip(sink_span(&sink), mailbox->local.len + 1);
    } else if (!postmaster || !span_equals_any_case(mailbox->local, SPAN("postmaster"))) {
        return false;
    }
    mailbox->address = sink_span(&sink);
    return !sink.full && sink.len <= MAILBOX_PATH - 2;
}

bool mailbox_read_path(struct span *input, enum mailbox_kind kind, struct mailbox *ret_mailbox)
{
    struct span at = *input;
    ret_mailbox->local = ret_mailbox->domain = ret_mailbox->address = (struct span){0};
    ret_mailbox->utf8 = ret_mailbox->literal = false;
    if (!take(&at, '<'))
        return false;
    if (kind == MAILBOX_REVERSE && take(&at, '>')) {
        *input = at;
        return true;
    }
    bool routed = at.len && at.data[0] == '@';
    if (routed && !skip_source_route(&at))
        return false;
    bool postmaster = kind == MAILBOX_FORWARD && !routed;
    if (!copy_mailbox(&at, postmaster, ret_mailbox) || !take(&at, '>'))
        return false;
    size_t len = input->len - at.len;
    if (len > MAILBOX_PATH)
        return false;
    ret_mailbox->utf8 = !utf8_is_ascii(span_first(*input, len));
    *input = at;
    return true;
}

bool mailbox_parse(struct span text, struct mailbox *ret_mailbox)
{
    ret_mailbox->local = ret_mailbox->domain = ret_mailbox->address = (struct span){0};
    ret_mailbox->literal = false;
    ret_mailbox->utf8 = !utf8_is_ascii(text);
    return text.len <= MAILBOX_PATH - 2 && copy_mailbox(&text, false, ret_mailbox) && text.len == 0;
}
