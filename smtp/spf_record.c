#include "smtp/spf_record.h"

#include "core/check.h"

#include <arpa/inet.h>

enum { NAME_MOST = 253, EXPANDED = 2048 };

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_alpha(char c)
{
    char lower = ascii_lower(c);
    return lower >= 'a' && lower <= 'z';
}

static bool is_delimiter(char c)
{
    return c && strchr(".-+,/_=", c) != NULL;
}

static char first_of(struct span text)
{
    return text.len ? text.data[0] : '\0';
}

/* ---- macros: syntax ---- */

/* The length of "%{...}", "%%", "%_" or "%-" at the front of `text`; 0: broken. */
static size_t macro_len(struct span text)
{
    if (text.len >= 2 && (text.data[1] == '%' || text.data[1] == '_' || text.data[1] == '-'))
        return 2;
    if (text.len < 4 || text.data[1] != '{' || !strchr("slodiphv", ascii_lower(text.data[2])))
        return 0;
    size_t at = 3, digits = 0;
    bool any = false;
    for (; at < text.len && is_digit(text.data[at]); at++, digits++)
        any = any || text.data[at] != '0';
    if (digits && (!any || digits > 3))
        return 0;
    if (at < text.len && ascii_lower(text.data[at]) == 'r')
        at++;
    while (at < text.len && is_delimiter(text.data[at]))
        at++;
    return at < text.len && text.data[at] == '}' ? at + 1 : 0;
}

/* Is all of it a macro-string? *ret_last is where its last macro-expand begins, if it ends with
 * one.
 */
static bool macro_string(struct span text, size_t *ret_last)
{
    *ret_last = text.len;
    for (size_t at = 0; at < text.len;) {
        char c = text.data[at];
        if (c <= ' ' || c > '~')
            return false;
        size_t len = c == '%' ? macro_len(span_skip(text, at)) : 1;
        if (len == 0)
            return false;
        *ret_last = c == '%' && text.data[at + 1] == '{' ? at : text.len;
        at += len;
    }
    return true;
}

/* The last label of a name: letters, digits and inner hyphens, not digits alone. */
static bool top_label(struct span label)
{
    bool only_digits = true;
    if (label.len == 0 || label.data[0] == '-' || label.data[label.len - 1] == '-')
        return false;
    for (size_t i = 0; i < label.len; i++) {
        if (!is_alpha(label.data[i]) && !is_digit(label.data[i]) && label.data[i] != '-')
            return false;
        only_digits = only_digits && is_digit(label.data[i]);
    }
    return !only_digits;
}

static bool domain_spec(struct span text)
{
    size_t last;
    if (text.len == 0 || !macro_string(text, &last))
        return false;
    if (last < text.len)
        return true;
    if (text.data[text.len - 1] == '.')
        text.len--;
    size_t dot = text.len;
    while (dot && text.data[dot - 1] != '.')
        dot--;
    return dot > 0 && top_label(span_skip(text, dot));
}

/* ---- terms ---- */

/* "0", or digits that do not begin with it. */
static bool cidr_number(struct span digits, unsigned most, unsigned *ret_bits)
{
    uint64_t value;
    if (digits.len > 3 || (digits.len > 1 && digits.data[0] == '0') ||
        !span_decimal(digits, most, &value))
        return false;
    *ret_bits = (unsigned)value;
    return true;
}

/* How much of the end of `text` is "/digits". */
static size_t cidr_len(struct span text)
{
    size_t at = text.len;
    while (at && is_digit(text.data[at - 1]))
        at--;
    return at && at < text.len && text.data[at - 1] == '/' ? text.len - at + 1 : 0;
}

/* Takes "/24", "//64", "/24//64" off the end. */
static bool take_dual_cidr(struct span *text, struct spf_term *term)
{
    size_t len = cidr_len(*text);
    term->bits4 = 32;
    term->bits6 = 128;
    if (len && text->len > len && text->data[text->len - len - 1] == '/') {
        if (!cidr_number(span_skip(*text, text->len - len + 1), 128, &term->bits6))
            return false;
        text->len -= len + 1;
        len = cidr_len(*text);
    }
    if (len && !cidr_number(span_skip(*text, text->len - len + 1), 32, &term->bits4))
        return false;
    text->len -= len;
    return true;
}

static bool take_network(struct span text, int family, struct spf_term *term)
{
    char copy[INET6_ADDRSTRLEN + 1];
    uint8_t bits[16];
    unsigned most = family == AF_INET ? 32 : 128;
    size_t slash = span_find(text, '/');
    unsigned *field = family == AF_INET ? &term->bits4 : &term->bits6;
    *field = most;
    if (slash < text.len && !cidr_number(span_skip(text, slash + 1), most, field))
        return false;
    if (slash == 0 || slash >= sizeof copy)
        return false;
    memcpy(copy, text.data, slash);
    copy[slash] = '\0';
    if (memchr(copy, '\0', slash) || inet_pton(family, copy, bits) != 1)
        return false;
    if (family == AF_INET6) {
        memcpy(term->network, bits, 16);
    } else {
        memset(term->network, 0, 10);
        term->network[10] = term->network[11] = 0xff;
        memcpy(term->network + 12, bits, 4);
    }
    return true;
}

/* "name", "name:...", "name/...": *ret_rest is what follows the name, with its sign. */
static bool is_mechanism(struct span text, const char *name, struct span *ret_rest)
{
    struct span wanted = span_string(name);
    if (!span_starts_with_any_case(text, wanted))
        return false;
    *ret_rest = span_skip(text, wanted.len);
    char sign = first_of(*ret_rest);
    return ret_rest->len == 0 || sign == ':' || sign == '/';
}

/* ":domain-spec", or nothing if that is allowed. */
static bool take_domain(struct span rest, bool needed, struct spf_term *term)
{
    if (rest.len == 0)
        return !needed;
    term->domain = span_skip(rest, 1);
    return rest.data[0] == ':' && domain_spec(term->domain);
}

static bool take_mechanism(struct span text, struct spf_term *term)
{
    static const struct {
        const char *name;
        enum spf_mechanism mechanism;
    } names[] = {
        {"all", SPF_ALL}, {"include", SPF_INCLUDE}, {"a", SPF_A},     {"mx", SPF_MX},
        {"ptr", SPF_PTR}, {"ip4", SPF_IP4},         {"ip6", SPF_IP6}, {"exists", SPF_EXISTS},
    };
    struct span rest = {0};
    size_t i = 0;
    while (i < countof(names) && !is_mechanism(text, names[i].name, &rest))
        i++;
    if (i == countof(names))
        return false;
    term->mechanism = names[i].mechanism;
    switch (term->mechanism) {
    case SPF_ALL:
        return rest.len == 0;
    case SPF_A:
    case SPF_MX:
        return take_dual_cidr(&rest, term) && take_domain(rest, false, term);
    case SPF_PTR:
        return take_domain(rest, false, term);
    case SPF_IP4:
        return first_of(rest) == ':' && take_network(span_skip(rest, 1), AF_INET, term);
    case SPF_IP6:
        return first_of(rest) == ':' && take_network(span_skip(rest, 1), AF_INET6, term);
    default:
        return take_domain(rest, true, term);
    }
}

/* "name=" with a name of the modifiers' kind; the length of the name, or 0. */
static size_t modifier_len(struct span text)
{
    size_t len = 0;
    if (!is_alpha(first_of(text)))
        return 0;
    while (len < text.len &&
           (is_alpha(text.data[len]) || is_digit(text.data[len]) || strchr("-_.", text.data[len])))
        len++;
    return len < text.len && text.data[len] == '=' ? len : 0;
}

static bool take_modifier(struct span text, size_t name_len, struct spf_term *term)
{
    size_t last;
    struct span name = span_first(text, name_len);
    term->domain = span_skip(text, name_len + 1);
    term->kind = SPF_OTHER_MODIFIER;
    if (span_equals_any_case(name, SPAN("redirect")))
        term->kind = SPF_REDIRECT;
    else if (!span_equals_any_case(name, SPAN("exp")))
        return macro_string(term->domain, &last);
    return domain_spec(term->domain);
}

static bool take_term(struct span text, struct spf_term *term)
{
    static const char qualifiers[] = "+-~?";
    static const enum spf_result results[] = {SPF_PASS, SPF_FAIL, SPF_SOFTFAIL, SPF_NEUTRAL};
    size_t name_len = modifier_len(text);
    if (name_len)
        return take_modifier(text, name_len, term);
    const char *qualifier = strchr(qualifiers, text.data[0]);
    term->result = qualifier ? results[qualifier - qualifiers] : SPF_PASS;
    return take_mechanism(span_skip(text, qualifier ? 1 : 0), term);
}

bool spf_is_record(struct span text)
{
    return span_starts_with_any_case(text, SPAN("v=spf1")) &&
           (text.len == 6 || text.data[6] == ' ');
}

enum spf_next spf_next_term(struct span *rest, struct spf_term *ret_term)
{
    while (rest->len && rest->data[0] == ' ')
        *rest = span_skip(*rest, 1);
    if (rest->len == 0)
        return SPF_END;
    struct span text = span_first(*rest, span_find(*rest, ' '));
    *rest = span_skip(*rest, text.len);
    *ret_term = (struct spf_term){0};
    if (memchr(text.data, '\0', text.len))
        return SPF_BROKEN;
    return take_term(text, ret_term) ? SPF_TERM : SPF_BROKEN;
}

bool spf_check(struct span record, struct span *ret_redirect)
{
    struct span rest = span_skip(record, 6);
    struct spf_term term;
    enum spf_next next;
    unsigned redirects = 0, explanations = 0;
    *ret_redirect = (struct span){0};
    for (struct span at = rest; (next = spf_next_term(&rest, &term)) == SPF_TERM; at = rest) {
        if (term.kind == SPF_REDIRECT) {
            redirects++;
            *ret_redirect = term.domain;
        } else if (term.kind == SPF_OTHER_MODIFIER) {
            while (first_of(at) == ' ')
                at = span_skip(at, 1);
            explanations += span_starts_with_any_case(at, SPAN("exp="));
        }
    }
    return next == SPF_END && redirects <= 1 && explanations <= 1;
}

/* ---- macros: expansion ---- */

bool spf_is_ipv4(const uint8_t bits[16])
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    return memcmp(bits, mapped, sizeof mapped) == 0;
}

static void put_client(const struct spf_macros *macros, struct sink *sink)
{
    if (spf_is_ipv4(macros->client)) {
        const uint8_t *v4 = macros->client + 12;
        sink_format(sink, "%u.%u.%u.%u", v4[0], v4[1], v4[2], v4[3]);
        return;
    }
    for (unsigned i = 0; i < 16; i++)
        sink_format(sink, "%s%x.%x", i ? "." : "", macros->client[i] >> 4, macros->client[i] & 15);
}

static void put_letter(char letter, const struct spf_macros *macros, struct sink *sink)
{
    switch (letter) {
    case 's':
        sink_put(sink, macros->local);
        sink_byte(sink, '@');
        sink_put(sink, macros->sender_domain);
        return;
    case 'l':
        sink_put(sink, macros->local);
        return;
    case 'o':
        sink_put(sink, macros->sender_domain);
        return;
    case 'd':
        sink_put(sink, macros->domain);
        return;
    case 'i':
        put_client(macros, sink);
        return;
    case 'p':
        sink_put(sink, macros->validated.len ? macros->validated : SPAN("unknown"));
        return;
    case 'h':
        sink_put(sink, macros->helo);
        return;
    default:
        sink_put(sink, spf_is_ipv4(macros->client) ? SPAN("in-addr") : SPAN("ip6"));
    }
}

/* RFC 3986's unreserved characters stay. */
static void put_escaped(struct span text, bool escape, struct sink *sink)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        if (!escape || is_alpha(c) || is_digit(c) || (c && strchr("-._~", c)))
            sink_byte(sink, c);
        else
            sink_format(sink, "%%%02X", (unsigned char)c);
    }
}

static bool splits(char c, struct span delimiters)
{
    return delimiters.len ? span_find(delimiters, c) < delimiters.len : c == '.';
}

enum { PARTS_MOST = 256 };

static unsigned split(struct span value, struct span delimiters, struct span parts[PARTS_MOST])
{
    unsigned count = 0;
    for (size_t begin = 0, at = 0; at <= value.len && count < PARTS_MOST; at++) {
        if (at < value.len && !splits(value.data[at], delimiters))
            continue;
        parts[count++] = span_first(span_skip(value, begin), at - begin);
        begin = at + 1;
    }
    return count;
}

/* The right-most `keep` parts (0: all), in order or reversed, with dots between. */
static void put_parts(struct span value, struct span delimiters, unsigned keep, bool reverse,
                      bool escape, struct sink *sink)
{
    struct span parts[PARTS_MOST];
    unsigned count = split(value, delimiters, parts);
    unsigned used = keep && keep < count ? keep : count;
    for (unsigned i = 0; i < used; i++) {
        /* reversing comes first, then the right-most are kept */
        unsigned index = reverse ? used - 1 - i : count - used + i;
        if (i)
            sink_byte(sink, '.');
        put_escaped(parts[index], escape, sink);
    }
}

/* "%{d2r-}", which is known to be well-formed. */
static void put_macro(struct span macro, const struct spf_macros *macros, struct sink *sink)
{
    char storage[EXPANDED];
    struct sink value;
    size_t at = 3;
    unsigned keep = 0;
    char letter = macro.data[2];
    sink_init(&value, storage, sizeof storage);
    put_letter(ascii_lower(letter), macros, &value);
    for (; is_digit(macro.data[at]); at++)
        keep = keep * 10 + (unsigned)(macro.data[at] - '0');
    bool reverse = ascii_lower(macro.data[at]) == 'r';
    struct span delimiters = span_skip(macro, at + reverse);
    delimiters.len--; /* the brace */
    put_parts(sink_span(&value), delimiters, keep, reverse, letter < 'a', sink);
}

static void expand_all(struct span spec, const struct spf_macros *macros, struct sink *sink)
{
    while (spec.len) {
        size_t len = spec.data[0] == '%' ? macro_len(spec) : 1;
        check(len > 0);
        if (len == 1)
            sink_byte(sink, spec.data[0]);
        else if (spec.data[1] == '{')
            put_macro(span_first(spec, len), macros, sink);
        else
            sink_put(sink, spec.data[1] == '%'   ? SPAN("%")
                           : spec.data[1] == '_' ? SPAN(" ")
                                                 : SPAN("%20"));
        spec = span_skip(spec, len);
    }
}

bool spf_expand(struct span spec, const struct spf_macros *macros, struct sink *sink)
{
    char storage[EXPANDED * 2];
    struct sink all;
    sink_init(&all, storage, sizeof storage);
    expand_all(spec, macros, &all);
    struct span name = sink_span(&all);
    if (name.len && name.data[name.len - 1] == '.')
        name.len--;
    while (name.len > NAME_MOST && span_find(name, '.') < name.len)
        name = span_skip(name, span_find(name, '.') + 1);
    sink_put(sink, name);
    return !all.full && !sink->full;
}

bool spf_uses_validated(struct span spec)
{
    for (size_t at = 0; at + 3 < spec.len; at++)
        if (spec.data[at] == '%' && spec.data[at + 1] == '{' &&
            ascii_lower(spec.data[at + 2]) == 'p')
            return true;
    return false;
}
