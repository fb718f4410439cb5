/* Keywords as in RFC 5321 4.1.1.1, any case, arguments behind blanks. Some servers write "SIZE=..."
 * or "LIMITS=...": passed over, as an unknown keyword. */
#include "smtp/capabilities.h"

#include "core/check.h"

static const struct {
    struct span keyword;
    unsigned capability;
} known[] = {
    {SPAN("PIPELINING"), CAPABILITY_PIPELINING},
    {SPAN("SIZE"), CAPABILITY_SIZE},
    {SPAN("8BITMIME"), CAPABILITY_8BITMIME},
    {SPAN("SMTPUTF8"), CAPABILITY_SMTPUTF8},
    {SPAN("DSN"), CAPABILITY_DSN},
    {SPAN("CHUNKING"), CAPABILITY_CHUNKING},
    {SPAN("ENHANCEDSTATUSCODES"), CAPABILITY_ENHANCED_CODES},
    {SPAN("STARTTLS"), CAPABILITY_STARTTLS},
};

static struct span take_word(struct span *rest)
{
    *rest = span_trim(*rest);
    struct span word = span_first(*rest, span_find(*rest, ' '));
    *rest = span_skip(*rest, word.len);
    return word;
}

/* RFC 9422 4: "RCPTMAX=25". Zero and nonsense announce nothing. */
static void take_limit(struct span word, struct span name, uint64_t *limit)
{
    uint64_t value;
    if (span_starts_with_any_case(word, name) &&
        span_decimal(span_skip(word, name.len), 1000000, &value) && value > 0)
        *limit = value;
}

static void add_limits(struct capabilities *capabilities, struct span rest)
{
    for (struct span word = take_word(&rest); word.len; word = take_word(&rest)) {
        take_limit(word, SPAN("RCPTMAX="), &capabilities->rcpt_max);
        take_limit(word, SPAN("MAILMAX="), &capabilities->mail_max);
    }
}

void capabilities_add(struct capabilities *capabilities, struct span line)
{
    struct span keyword = take_word(&line);
    for (size_t i = 0; i < countof(known); i++)
        if (span_equals_any_case(keyword, known[i].keyword))
            capabilities->set |= known[i].capability;
    if (span_equals_any_case(keyword, SPAN("SIZE"))) {
        uint64_t size;
        if (span_decimal(take_word(&line), UINT64_MAX, &size))
            capabilities->size = size;
    }
    if (span_equals_any_case(keyword, SPAN("LIMITS")))
        add_limits(capabilities, line);
}
