/* What a peer cannot be given is said before anything is sent: an honest bounce in place of a
 * silent downgrade (RFC 1870 6.1, RFC 6152 3, RFC 6531 3.2), and which recipients a transaction is
 * for. */
#include "smtp/client_steps.h"

static void refuse_message(struct client *client, struct client_flight *flight, uint16_t code,
                           struct enhanced enhanced, const char *text)
{
    struct reply_summary reply = {
        .code = code, .enhanced = enhanced, .text = span_string(text), .internal = true};
    client_settle(client, flight, OUTCOME_FAILED, &reply);
}

static bool ascii(struct span span)
{
    unsigned char any = 0;
    for (size_t i = 0; i < span.len; i++)
        any |= (unsigned char)span.data[i];
    return any < 0x80;
}

/* Whether a path can stand in a command at all: whatever came in, no command of ours is split. */
static bool speakable(struct span path)
{
    for (size_t i = 0; i < path.len; i++)
        if ((unsigned char)path.data[i] < 0x20 || path.data[i] == 0x7f)
            return false;
    return path.len <= CLIENT_PATH;
}

/* What this peer cannot be given at all. */
static void check_message(struct client *client, struct client_flight *flight)
{
    const struct capabilities *capabilities = &client->capabilities;
    const struct envelope *envelope = flight->transaction.envelope;
    bool utf8_header =
        (envelope->flags & ENVELOPE_UTF8) && (envelope->flags & ENVELOPE_HEADER_HAS_8BIT);
    bool utf8_path = !ascii(envelope->reverse_path);
    bool header_8bit = (envelope->flags & ENVELOPE_HEADER_HAS_8BIT) && !utf8_header;
    flight->utf8 = utf8_header || utf8_path;
    if (!speakable(envelope->reverse_path))
        refuse_message(client, flight, 553, (struct enhanced){5, 1, 7}, "bad sender address");
    else if (capabilities->size && flight->body_len > capabilities->size)
        refuse_message(client, flight, 552, (struct enhanced){5, 3, 4},
                       "message is larger than the peer accepts");
    else if (utf8_path && !capable(capabilities, CAPABILITY_SMTPUTF8))
        refuse_message(client, flight, 553, (struct enhanced){5, 6, 7},
                       "the peer does not take UTF-8 addresses");
    else if (utf8_header && !capable(capabilities, CAPABILITY_SMTPUTF8))
        refuse_message(client, flight, 554, (struct enhanced){5, 6, 9},
                       "the peer does not take UTF-8 headers");
    else if (((envelope->flags & ENVELOPE_BODY_HAS_8BIT) || header_8bit) &&
             !capable(capabilities, CAPABILITY_8BITMIME))
        refuse_message(client, flight, 554, (struct enhanced){5, 6, 3},
                       "the peer does not take 8-bit messages");
}

/* False: this recipient got its verdict here. */
static bool check_recipient(struct client *client, struct client_flight *flight, unsigned index)
{
    struct span address = flight->transaction.envelope->recipients[index].address;
    bool plain = ascii(address);
    struct reply_summary reply = {.code = 553, .internal = true};
    if (!speakable(address) || address.len == 0) {
        reply.enhanced = (struct enhanced){5, 1, 3};
        reply.text = SPAN("bad recipient address");
    } else if (!plain && !capable(&client->capabilities, CAPABILITY_SMTPUTF8)) {
        reply.enhanced = (struct enhanced){5, 6, 7};
        reply.text = SPAN("the peer does not take UTF-8 addresses");
    } else {
        flight->utf8 = flight->utf8 || !plain;
        return true;
    }
    client_settle_one(client, flight, index, OUTCOME_FAILED, &reply);
    return false;
}

static uint64_t recipient_limit(const struct client *client)
{
    uint64_t own = client->settings.delivery->max_recipients_per_batch;
    uint64_t theirs = client->capabilities.rcpt_max;
    if (own == 0 || (theirs && theirs < own))
        own = theirs;
    return own ? own : UINT64_MAX;
}

/* Which recipients this flight is for: the first untried ones up to the limit. */
static uint64_t choose_recipients(struct client *client, struct client_flight *flight)
{
    uint64_t limit = recipient_limit(client), chosen = 0;
    unsigned count = flight->end;
    flight->end = 0;
    for (unsigned i = 0; i < count && chosen < limit; i++) {
        if (!client_recipient_open(flight, i))
            continue;
        chosen += check_recipient(client, flight, i);
        flight->end = i + 1;
    }
    return chosen;
}

static void open_recipients(struct client_flight *flight)
{
    flight->end = flight->transaction.envelope->recipient_count;
    for (unsigned i = 0; i < flight->end; i++) {
        struct verdict *verdict = &flight->transaction.verdicts[i];
        if (verdict->outcome != OUTCOME_UNTRIED)
            continue;
        *verdict = (struct verdict){.outcome = OUTCOME_UNTRIED};
        flight->total++;
    }
}

uint64_t client_choose_recipients(struct client *client, struct client_flight *flight)
{
    open_recipients(flight);
    check_message(client, flight);
    return choose_recipients(client, flight);
}
