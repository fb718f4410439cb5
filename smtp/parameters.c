/* Two tables (MAIL, RCPT) of keywords with a reader each, and one walk over the text. */
#include "smtp/parameters.h"

#include "core/check.h"
#include "smtp/mailbox.h"

typedef bool read_value(struct span value, void *parameters);

struct keyword {
    struct span name;
    bool has_value;
    read_value *read;
};

/* ---- xtext and its relatives ---- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1; /* RFC 3461: upper case only */
}

/* xchar, or "+" and two digits that stand for a printable character or an octet above 127. */
static bool is_xtext(struct span text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (c < 0x21 || c > 0x7e || c == '=')
            return false;
        if (c != '+')
            continue;
        if (text.len - i < 3)
            return false;
        int high = hex_digit(text.data[i + 1]), low = hex_digit(text.data[i + 2]);
        if (high < 2 || low < 0 || (high == 7 && low == 15))
            return false;
        i += 2;
    }
    return true;
}

/* The value that stands between the braces of "\x{...}" may be any Unicode character that is no
 * control character. Returns the length of the whole escape, 0 if it is none. */
static size_t unicode_escape_len(struct span text)
{
    if (!span_starts_with(text, SPAN("\\x{")))
        return 0;
    uint32_t value = 0;
    size_t at = 3;
    while (at < text.len && at < 9 && hex_digit(text.data[at]) >= 0)
        value = value << 4 | (uint32_t)hex_digit(text.data[at++]);
    bool control = value < 0x20 || (value >= 0x7f && value < 0xa0);
    bool valid = value <= 0x10ffff && (value < 0xd800 || value > 0xdfff);
    return at < text.len && text.data[at] == '}' && valid && !control ? at + 1 : 0;
}

/* RFC 6533 3: utf-8-addr-xtext and utf-8-addr-unitext, what may follow "utf-8;". */
static bool is_utf8_address(struct span text)
{
    if (!utf8_clean(text))
        return false;
    while (text.len) {
        unsigned char c = (unsigned char)text.data[0];
        size_t len = c == '\\' ? unicode_escape_len(text) : 1;
        if (len == 0 || c < 0x21 || c == 0x7f || c == '=' || c == '+')
            return false;
        text = span_skip(text, len);
    }
    return true;
}

static bool is_address_type(struct span type)
{
    for (size_t i = 0; i < type.len; i++) {
        char c = ascii_lower(type.data[i]);
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'))
            return false;
    }
    return type.len > 0;
}

/* ---- MAIL ---- */

static bool read_size(struct span value, void *parameters)
{
    struct mail_parameters *mail = parameters;
    if (value.len == 0 || value.len > 20) /* RFC 1870 3 */
        return false;
    for (size_t i = 0; i < value.len; i++)
        if (value.data[i] < '0' || value.data[i] > '9')
            return false;
    if (!span_decimal(value, UINT64_MAX, &mail->size))
        mail->size = UINT64_MAX;
    return true;
}

static bool read_body(struct span value, void *parameters)
{
    struct mail_parameters *mail = parameters;
    mail->eight_bit = span_equals_any_case(value, SPAN("8BITMIME"));
    return mail->eight_bit || span_equals_any_case(value, SPAN("7BIT"));
}

static bool read_smtputf8(struct span value, void *parameters)
{
    struct mail_parameters *mail = parameters;
    mail->utf8 = true;
    return true;
}

static bool read_ret(struct span value, void *parameters)
{
    struct mail_parameters *mail = parameters;
    mail->ret = span_equals_any_case(value, SPAN("FULL"))   ? RET_FULL
                : span_equals_any_case(value, SPAN("HDRS")) ? RET_HDRS
                                                            : RET_NONE;
    return mail->ret != RET_NONE;
}

static bool read_envid(struct span value, void *parameters)
{
    struct mail_parameters *mail = parameters;
    mail->envid = value;
    return value.len > 0 && value.len <= ENVID_LENGTH && is_xtext(value);
}

/* A mailbox as xtext, or "<>". */
static bool read_auth(struct span value, void *parameters)
{
    struct mail_parameters *mail = parameters;
    mail->auth = value;
    return value.len > 0 && value.len <= AUTH_LENGTH && is_xtext(value);
}

/* ---- RCPT ---- */

static int notify_flag(struct span word)
{
    static const struct {
        struct span word;
        int flag;
    } flags[] = {
        {SPAN("SUCCESS"), NOTIFY_SUCCESS},
        {SPAN("FAILURE"), NOTIFY_FAILURE},
        {SPAN("DELAY"), NOTIFY_DELAY},
        {SPAN("NEVER"), NOTIFY_NEVER},
    };
    for (size_t i = 0; i < countof(flags); i++)
        if (span_equals_any_case(word, flags[i].word))
            return flags[i].flag;
    return 0;
}

/* NEVER stands alone; the others form a list, each once (RFC 3461 4.1). */
static bool read_notify(struct span value, void *parameters)
{
    struct rcpt_parameters *rcpt = parameters;
    for (;;) {
        struct span word = span_first(value, span_find(value, ','));
        int flag = notify_flag(word);
        if (flag == 0 || (rcpt->notify & flag))
            return false;
        rcpt->notify |= (uint8_t)flag;
        if (word.len == value.len)
            return rcpt->notify == NOTIFY_NEVER || !(rcpt->notify & NOTIFY_NEVER);
        value = span_skip(value, word.len + 1);
    }
}

static bool read_orcpt(struct span value, void *parameters)
{
    struct rcpt_parameters *rcpt = parameters;
    rcpt->original = value;
    struct span type = span_first(value, span_find(value, ';'));
    struct span address = span_skip(value, type.len + 1);
    if (value.len > ORCPT_LENGTH || address.len == 0 || !is_address_type(type))
        return false;
    return span_equals_any_case(type, SPAN("utf-8")) ? is_utf8_address(address) : is_xtext(address);
}

/* ---- the walk ---- */

static const struct keyword mail_keywords[] = {
    {SPAN("SIZE"), true, read_size},          {SPAN("BODY"), true, read_body},
    {SPAN("SMTPUTF8"), false, read_smtputf8}, {SPAN("RET"), true, read_ret},
    {SPAN("ENVID"), true, read_envid},        {SPAN("AUTH"), true, read_auth},
};

static const struct keyword rcpt_keywords[] = {
    {SPAN("NOTIFY"), true, read_notify},
    {SPAN("ORCPT"), true, read_orcpt},
};

static enum parameters_fault read_parameter(const struct keyword *keywords, size_t count,
                                            struct span parameter, unsigned *seen, void *parameters)
{
    struct span name = span_first(parameter, span_find(parameter, '='));
    bool has_value = name.len < parameter.len;
    struct span value = span_skip(parameter, name.len + 1);
    if (name.len == 0)
        return PARAMETERS_BAD;
    for (size_t i = 0; i < count; i++) {
        if (!span_equals_any_case(name, keywords[i].name))
            continue;
        bool repeated = *seen & 1u << i;
        *seen |= 1u << i;
        bool good = !repeated && has_value == keywords[i].has_value;
        return good && keywords[i].read(value, parameters) ? PARAMETERS_GOOD : PARAMETERS_BAD;
    }
    return PARAMETERS_UNKNOWN;
}

static enum parameters_fault walk(const struct keyword *keywords, size_t count, struct span text,
                                  void *parameters)
{
    unsigned seen = 0;
    while (text.len) {
        if (text.data[0] != ' ')
            return PARAMETERS_BAD;
        while (text.len && text.data[0] == ' ')
            text = span_skip(text, 1);
        struct span parameter = span_first(text, span_find(text, ' '));
        text = span_skip(text, parameter.len);
        if (parameter.len == 0)
            break; /* blanks at the end are harmless and common */
        enum parameters_fault fault = read_parameter(keywords, count, parameter, &seen, parameters);
        if (fault != PARAMETERS_GOOD)
            return fault;
    }
    return PARAMETERS_GOOD;
}

enum parameters_fault mail_parameters_read(struct span text, struct mail_parameters *ret_parameters)
{
    *ret_parameters = (struct mail_parameters){0};
    return walk(mail_keywords, countof(mail_keywords), text, ret_parameters);
}

enum parameters_fault rcpt_parameters_read(struct span text, struct rcpt_parameters *ret_parameters)
{
    *ret_parameters = (struct rcpt_parameters){0};
    return walk(rcpt_keywords, countof(rcpt_keywords), text, ret_parameters);
}
