/* The table: what each step says, how its reply is judged, how long it may take. */
#include "smtp/client_steps.h"

/* Hands out one command, whole or not at all. */
static bool put_command(struct client *client, struct client_out *out, const struct sink *command)
{
    char *at = client->commands + client->commands_len;
    struct iovec *last = out->count ? &out->iov[out->count - 1] : NULL;
    bool joins = last && (char *)last->iov_base + last->iov_len == at;
    if (command->full || (!joins && out->count == out->max))
        return false;
    if (joins)
        last->iov_len += command->len;
    else
        out->iov[out->count++] = (struct iovec){.iov_base = at, .iov_len = command->len};
    client->commands_len = (uint16_t)(client->commands_len + command->len);
    out->bytes += command->len;
    return true;
}

static struct sink begin_command(struct client *client)
{
    struct sink sink;
    sink_init(&sink, client->commands + client->commands_len,
              (size_t)(CLIENT_COMMANDS - client->commands_len));
    return sink;
}

static bool put_text(struct client *client, struct client_out *out, struct span text)
{
    struct sink command = begin_command(client);
    sink_put(&command, text);
    return put_command(client, out, &command);
}

static unsigned class_of(const struct client *client)
{
    return client->parser.code / 100;
}

/* Greeting. */

static void judge_banner(struct client *client, struct client_flight *flight)
{
    switch (class_of(client)) {
    case 2:
        client->session = STEP_EHLO;
        break;
    case 3:
        client_nonsense(client, "a greeting with an impossible code");
        break;
    default:
        client_refused(client, SPAN("CONNECT"));
        break;
    }
}

static bool send_hello(struct client *client, struct client_out *out, struct span verb)
{
    struct sink command = begin_command(client);
    sink_put(&command, verb);
    sink_byte(&command, ' ');
    sink_put(&command, span_first(client->settings.ehlo_name, CLIENT_PATH));
    sink_put(&command, SPAN("\r\n"));
    return put_command(client, out, &command);
}

static bool send_ehlo(struct client *client, struct client_flight *flight, struct client_out *out)
{
    return send_hello(client, out, SPAN("EHLO"));
}

static bool send_helo(struct client *client, struct client_flight *flight, struct client_out *out)
{
    return send_hello(client, out, SPAN("HELO"));
}

static void greeted(struct client *client, bool extended)
{
    client->greeted = true;
    client->extended = extended;
    client->session = STEP_END;
    client->state = CLIENT_READY;
}

static bool tls_required(const struct client *client)
{
    return client->settings.tls == TLS_REQUIRED || client->settings.tls == TLS_REQUIRED_INSECURE;
}

static void not_offered(struct client *client)
{
    struct reply_summary reply = {.code = 451,
                                  .enhanced = {4, 7, 4},
                                  .text = SPAN("STARTTLS is required here and was not offered"),
                                  .command = client_steps[client->session].verb,
                                  .internal = true};
    client_no_tls(client, &reply);
}

/* EHLO or HELO is answered, for the last time or, where STARTTLS is to follow, not. */
static void introduced(struct client *client, bool extended)
{
    bool offered = capable(&client->capabilities, CAPABILITY_STARTTLS);
    if (client->secured || client->settings.tls == TLS_DISABLED)
        greeted(client, extended);
    else if (offered)
        client->session = STEP_STARTTLS;
    else if (tls_required(client))
        not_offered(client);
    else
        greeted(client, extended);
}

/* RFC 5321 3.2: a 5yz means a server without extensions, unless it is one that takes no mail at all
 * (RFC 7504). */
static void judge_ehlo(struct client *client, struct client_flight *flight)
{
    unsigned code = client->parser.code;
    if (code / 100 == 2) {
        introduced(client, true);
    } else if (code / 100 == 5 && code != 521 && code != 554 && code != 556) {
        client->session = STEP_HELO;
    } else if (code / 100 == 3) {
        client_nonsense(client, "an impossible code for EHLO");
    } else {
        client_refused(client, SPAN("EHLO"));
    }
}

static void judge_helo(struct client *client, struct client_flight *flight)
{
    switch (class_of(client)) {
    case 2:
        introduced(client, false);
        break;
    case 3:
        client_nonsense(client, "an impossible code for HELO");
        break;
    default:
        client_refused(client, SPAN("HELO"));
        break;
    }
}

static bool send_starttls(struct client *client, struct client_flight *flight,
                          struct client_out *out)
{
    return put_text(client, out, SPAN("STARTTLS\r\n"));
}

/* Announced, and then refused: as if it had not been announced, which costs whoever stands between
 * us no more than taking the announcement away. */
static void judge_starttls(struct client *client, struct client_flight *flight)
{
    switch (class_of(client)) {
    case 2:
        client->handshake = true;
        return;
    case 3:
        client_nonsense(client, "an impossible code for STARTTLS");
        return;
    default:
        break;
    }
    struct reply_summary reply = {
        .code = client->parser.code,
        .enhanced = client->parser.enhanced,
        .text = reply_text(&client->parser),
        .command = SPAN("STARTTLS"),
    };
    if (tls_required(client))
        client_no_tls(client, &reply);
    else if (reply.code == 421)
        client_refused(client, SPAN("STARTTLS"));
    else
        greeted(client, true);
}

/* Transaction. */

static bool send_rset(struct client *client, struct client_flight *flight, struct client_out *out)
{
    if (!put_text(client, out, SPAN("RSET\r\n")))
        return false;
    client->needs_reset = false;
    flight->owed++;
    flight->sending = STEP_MAIL;
    return true;
}

/* Without a clean slate nothing that follows would mean what we think. */
static void judge_rset(struct client *client, struct client_flight *flight)
{
    if (class_of(client) != 2)
        client_unusable(client, "RSET was refused");
}

static void put_mail_parameters(const struct client *client, const struct client_flight *flight,
                                struct sink *command)
{
    const struct envelope *envelope = flight->transaction.envelope;
    unsigned body_8bit =
        ENVELOPE_BODY_HAS_8BIT | (envelope->flags & ENVELOPE_UTF8 ? 0 : ENVELOPE_HEADER_HAS_8BIT);
    if (capable(&client->capabilities, CAPABILITY_SIZE)) {
        sink_put(command, SPAN(" SIZE="));
        sink_decimal(command, flight->body_len);
    }
    if (capable(&client->capabilities, CAPABILITY_8BITMIME) && (envelope->flags & body_8bit))
        sink_put(command, SPAN(" BODY=8BITMIME"));
    if (flight->utf8)
        sink_put(command, SPAN(" SMTPUTF8"));
    if (!capable(&client->capabilities, CAPABILITY_DSN))
        return;
    if (envelope->ret != RET_NONE)
        sink_put(command, envelope->ret == RET_FULL ? SPAN(" RET=FULL") : SPAN(" RET=HDRS"));
    if (envelope->envid.len && envelope->envid.len <= CLIENT_PARAMETER) {
        sink_put(command, SPAN(" ENVID="));
        sink_put(command, envelope->envid);
    }
}

static bool send_mail(struct client *client, struct client_flight *flight, struct client_out *out)
{
    struct sink command = begin_command(client);
    sink_put(&command, SPAN("MAIL FROM:<"));
    sink_put(&command, flight->transaction.envelope->reverse_path);
    sink_byte(&command, '>');
    put_mail_parameters(client, flight, &command);
    sink_put(&command, SPAN("\r\n"));
    if (!put_command(client, out, &command))
        return false;
    flight->owed++;
    flight->sending = STEP_RCPT;
    return true;
}

static enum outcome refusal(const struct client *client)
{
    return class_of(client) == 4 ? OUTCOME_DEFERRED : OUTCOME_FAILED;
}

static void judge_mail(struct client *client, struct client_flight *flight)
{
    flight->answered = true;
    if (class_of(client) == 3) {
        client_nonsense(client, "an impossible code for MAIL");
    } else if (class_of(client) == 2) {
        flight->mail_accepted = true;
    } else {
        struct reply_summary reply = client_reply(client, flight, SPAN("MAIL"));
        client_settle(client, flight, refusal(client), &reply);
    }
}

static void put_notify(struct sink *command, unsigned notify)
{
    static const struct {
        unsigned bit;
        struct span name;
    } names[] = {{NOTIFY_SUCCESS, SPAN("SUCCESS")},
                 {NOTIFY_FAILURE, SPAN("FAILURE")},
                 {NOTIFY_DELAY, SPAN("DELAY")}};
    const char *before = " NOTIFY=";
    if (notify & NOTIFY_NEVER) {
        sink_put(command, SPAN(" NOTIFY=NEVER"));
        return;
    }
    for (size_t i = 0; i < countof(names); i++) {
        if (!(notify & names[i].bit))
            continue;
        sink_put(command, span_string(before));
        sink_put(command, names[i].name);
        before = ",";
    }
}

static bool plain(struct span span)
{
    for (size_t i = 0; i < span.len; i++)
        if ((unsigned char)span.data[i] <= ' ' || (unsigned char)span.data[i] >= 0x7f)
            return false;
    return true;
}

static void put_rcpt_parameters(const struct client *client, const struct recipient *recipient,
                                struct sink *command)
{
    if (!capable(&client->capabilities, CAPABILITY_DSN))
        return;
    put_notify(command, recipient->notify);
    if (recipient->original.len && recipient->original.len <= CLIENT_PARAMETER &&
        plain(recipient->original)) {
        sink_put(command, SPAN(" ORCPT="));
        sink_put(command, recipient->original);
    }
}

static void skip_to_open(const struct client_flight *flight, unsigned *index)
{
    while (*index < flight->end && !client_recipient_open(flight, *index))
        ++*index;
}

static bool send_rcpt(struct client *client, struct client_flight *flight, struct client_out *out)
{
    const struct recipient *recipient;
    struct sink command = begin_command(client);
    skip_to_open(flight, &flight->send_at);
    check(flight->send_at < flight->end);
    recipient = &flight->transaction.envelope->recipients[flight->send_at];
    sink_put(&command, SPAN("RCPT TO:<"));
    sink_put(&command, recipient->address);
    sink_byte(&command, '>');
    put_rcpt_parameters(client, recipient, &command);
    sink_put(&command, SPAN("\r\n"));
    if (!put_command(client, out, &command))
        return false;
    flight->owed++;
    flight->rcpt_sent++;
    flight->send_at++;
    skip_to_open(flight, &flight->send_at);
    if (flight->send_at == flight->end)
        flight->sending = flight->chunking ? STEP_BDAT : STEP_DATA;
    return true;
}

static bool mentions_too_many(struct span text)
{
    struct span phrase = SPAN("too many recipients");
    for (; text.len >= phrase.len; text = span_skip(text, 1))
        if (span_starts_with_any_case(text, phrase))
            return true;
    return false;
}

/* RFC 5321 4.5.3.1.10: 452, from old servers 552. Both also mean a full mailbox, which the enhanced
 * code or the words tell apart. */
static bool too_many_recipients(const struct client *client)
{
    const struct reply_parser *reply = &client->parser;
    if (reply->enhanced.class && reply->enhanced.subject == 5 && reply->enhanced.detail == 3)
        return true;
    if (reply->code != 452 && reply->code != 552)
        return false;
    return mentions_too_many(reply_text(reply)) ||
           (reply->code == 452 && reply->enhanced.class == 0);
}

static void judge_recipient(struct client *client, struct client_flight *flight, unsigned index)
{
    struct verdict *verdict = &flight->transaction.verdicts[index];
    if (class_of(client) == 2) {
        verdict->reply.code = client->parser.code;
        flight->accepted++;
        return;
    }
    struct reply_summary reply = client_reply(client, flight, SPAN("RCPT"));
    if (flight->accepted && too_many_recipients(client))
        verdict->reply = reply;
    else
        client_settle_one(client, flight, index, refusal(client), &reply);
}

static void judge_rcpt(struct client *client, struct client_flight *flight)
{
    flight->rcpt_judged++;
    if (class_of(client) == 3) {
        client_nonsense(client, "an impossible code for RCPT");
        return;
    }
    if (!flight->mail_accepted)
        return; /* MAIL's verdict stands */
    skip_to_open(flight, &flight->judge_at);
    check(flight->judge_at < flight->end);
    judge_recipient(client, flight, flight->judge_at++);
}

static bool send_data(struct client *client, struct client_flight *flight, struct client_out *out)
{
    if (!put_text(client, out, SPAN("DATA\r\n")))
        return false;
    flight->owed++;
    flight->sending = STEP_BODY;
    return true;
}

/* RFC 2920 3.1: a 354 although no recipient was accepted is answered by a lone dot. */
static void judge_data(struct client *client, struct client_flight *flight)
{
    switch (class_of(client)) {
    case 2:
        client_nonsense(client, "an impossible code for DATA");
        return;
    case 3:
        flight->go_ahead = true;
        if (flight->accepted == 0)
            stuffing_start(&flight->body, STUFFING_DOT, NULL, 0);
        return;
    default:
        break;
    }
    flight->sending = STEP_END;
    if (flight->accepted == 0)
        return;
    struct reply_summary reply = client_reply(client, flight, SPAN("DATA"));
    client_settle(client, flight, refusal(client), &reply);
}

static bool send_bdat(struct client *client, struct client_flight *flight, struct client_out *out)
{
    struct sink command = begin_command(client);
    sink_put(&command, SPAN("BDAT "));
    sink_decimal(&command, flight->body_len);
    sink_put(&command, SPAN(" LAST\r\n"));
    if (!put_command(client, out, &command))
        return false;
    flight->body_begun = true;
    flight->sending = STEP_BODY;
    return true;
}

static bool send_body(struct client *client, struct client_flight *flight, struct client_out *out)
{
    if (out->count == out->max || out->bytes >= CLIENT_OUTPUT)
        return false;
    struct iovec *iov = out->iov + out->count;
    unsigned count =
        stuffing_emit(&flight->body, iov, out->max - out->count, CLIENT_OUTPUT - out->bytes);
    for (unsigned i = 0; i < count; i++)
        out->bytes += iov[i].iov_len;
    out->count += count;
    flight->body_begun = true;
    flight->body_held = flight->body_held || count > 0;
    if (!flight->body.done)
        return false;
    flight->body_out = true;
    flight->owed++;
    flight->sending = STEP_END;
    return true;
}

/* The final dot, or BDAT LAST. */
static void judge_end(struct client *client, struct client_flight *flight)
{
    unsigned class = class_of(client);
    if (class == 3 || (class == 2 && flight->accepted == 0 && flight->chunking)) {
        client_nonsense(client, "an impossible code for the end of data");
        return;
    }
    if (flight->accepted == 0)
        return; /* each recipient has its verdict; this answers the lone dot */
    struct reply_summary reply = client_reply(client, flight, client_steps[STEP_BODY].verb);
    client->proven = client->proven || class == 2;
    client_settle(client, flight, class == 2 ? OUTCOME_DELIVERED : refusal(client), &reply);
}

/* End. */

static bool send_quit(struct client *client, struct client_flight *flight, struct client_out *out)
{
    return put_text(client, out, SPAN("QUIT\r\n"));
}

static void judge_quit(struct client *client, struct client_flight *flight)
{
    client->state = CLIENT_DONE;
}

#define WAIT(member) offsetof(struct config_delivery, member)

const struct client_step_row client_steps[STEP_END] = {
    [STEP_BANNER] = {SPAN("CONNECT"), WAIT(banner_timeout_ms), NULL, judge_banner},
    [STEP_EHLO] = {SPAN("EHLO"), WAIT(ehlo_timeout_ms), send_ehlo, judge_ehlo},
    [STEP_HELO] = {SPAN("HELO"), WAIT(ehlo_timeout_ms), send_helo, judge_helo},
    [STEP_STARTTLS] = {SPAN("STARTTLS"), WAIT(starttls_timeout_ms), send_starttls, judge_starttls},
    [STEP_RSET] = {SPAN("RSET"), WAIT(rset_timeout_ms), send_rset, judge_rset},
    [STEP_MAIL] = {SPAN("MAIL"), WAIT(mail_from_timeout_ms), send_mail, judge_mail},
    [STEP_RCPT] = {SPAN("RCPT"), WAIT(rcpt_to_timeout_ms), send_rcpt, judge_rcpt},
    [STEP_DATA] = {SPAN("DATA"), WAIT(data_timeout_ms), send_data, judge_data},
    [STEP_BODY] = {SPAN("."), WAIT(data_dot_timeout_ms), send_body, judge_end},
    /* Readers of the journal know the end of data as ".", however the body travelled. */
    [STEP_BDAT] = {SPAN("."), WAIT(data_dot_timeout_ms), send_bdat, judge_end},
    [STEP_QUIT] = {SPAN("QUIT"), WAIT(rset_timeout_ms), send_quit, judge_quit},
};
