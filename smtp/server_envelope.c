/* MAIL and RCPT: path, parameters, policy, then the message's envelope. A command that fails leaves
 * the transaction as it was. */
#include "smtp/server_private.h"

#include "core/check.h"
#include "smtp/parameters.h"

/* " FROM:" or " TO:", and no blank behind it: RFC 5321 allows none, and lenient readings of paths
 * are how relays are found. */
static bool skip_keyword(struct span *arguments, struct span keyword)
{
    if (!span_starts_with_any_case(*arguments, keyword))
        return false;
    *arguments = span_skip(*arguments, keyword.len);
    return true;
}

static enum answer parameters_answer(enum parameters_fault fault)
{
    switch (fault) {
    case PARAMETERS_UNKNOWN:
        return ANSWER_UNKNOWN_PARAMETER;
    case PARAMETERS_BAD:
        return ANSWER_BAD_PARAMETER;
    case PARAMETERS_GOOD:
        break;
    }
    return ANSWER_NONE;
}

/* ---- MAIL ---- */

static enum answer read_mail(const struct server *server, struct span arguments,
                             struct mailbox *sender, struct mail_parameters *parameters)
{
    if (!skip_keyword(&arguments, SPAN(" FROM:")))
        return ANSWER_BAD_ARGUMENT;
    if (!mailbox_read_path(&arguments, MAILBOX_REVERSE, sender))
        return ANSWER_BAD_SENDER;
    enum answer wrong = parameters_answer(mail_parameters_read(arguments, parameters));
    if (wrong)
        return wrong;
    if (parameters->auth.len && !server_offers_auth(server))
        return ANSWER_UNKNOWN_PARAMETER;
    return sender->utf8 && !parameters->utf8 ? ANSWER_NEED_UTF8 : ANSWER_NONE;
}

static bool fill_sender(struct server *server, struct message *message,
                        const struct mailbox *sender, const struct mail_parameters *parameters)
{
    struct span user = server->identity ? server->identity->name : (struct span){0};
    struct envelope *envelope = &message->envelope;
    envelope->ret = parameters->ret;
    envelope->flags |= (uint8_t)((parameters->eight_bit ? ENVELOPE_8BIT : 0) |
                                 (parameters->utf8 ? ENVELOPE_UTF8 : 0));
    return arena_copy(&message->arena, sender->address, &envelope->reverse_path) &&
           arena_copy(&message->arena, parameters->envid, &envelope->envid) &&
           arena_copy(&message->arena, user, &message->user);
}

static enum answer judge_sender(struct server *server, const struct mailbox *sender)
{
    if (!server->settings->may_send)
        return ANSWER_NONE;
    switch (server->settings->may_send(server->context, sender)) {
    case SENDER_ACCEPT:
        return ANSWER_NONE;
    case SENDER_TOO_FAST:
        return ANSWER_TOO_FAST;
    case SENDER_STALE:
        return ANSWER_ACCOUNT_CHANGED;
    case SENDER_DENIED:
        break;
    }
    return ANSWER_SENDER_DENIED;
}

static enum answer begin_message(struct server *server, const struct mailbox *sender,
                                 const struct mail_parameters *parameters)
{
    int refusal = share_refusal(server->settings->share);
    if (refusal)
        return refusal == -ENOSPC || refusal == -ENOMEM ? ANSWER_NO_STORAGE : ANSWER_QUEUE_DEAD;
    struct message *message = message_new(server->settings->share);
    if (!message)
        return ANSWER_NO_STORAGE;
    if (!fill_sender(server, message, sender, parameters)) {
        message_abandon(message);
        return ANSWER_NO_STORAGE;
    }
    server->message = message;
    server->utf8 = parameters->utf8;
    server->state = STATE_MAIL;
    server->messages++;
    return ANSWER_SENDER_OK;
}

void run_mail(struct server *server, struct turn *turn, struct span arguments)
{
    const struct server_limits *limits = &server->settings->limits;
    struct mailbox sender;
    struct mail_parameters parameters;
    if (server->draining) {
        server_answer(server, turn, ANSWER_SHUTTING_DOWN);
        return;
    }
    if (server->messages >= limits->messages_per_connection) {
        server_answer_limit(server, turn, LIMIT_messages_per_connection);
        return;
    }
    if (server->settings->submission && !server->identity) {
        server_answer(server, turn, ANSWER_NEED_AUTH);
        return;
    }
    enum answer wrong = read_mail(server, arguments, &sender, &parameters);
    if (!wrong && parameters.size <= limits->message_size)
        wrong = judge_sender(server, &sender);
    if (wrong)
        server_answer(server, turn, wrong);
    else if (parameters.size > limits->message_size)
        server_answer_limit(server, turn, LIMIT_message_size);
    else
        server_answer(server, turn, begin_message(server, &sender, &parameters));
}

/* ---- RCPT ---- */

static enum answer read_rcpt(const struct server *server, struct span arguments,
                             struct mailbox *mailbox, struct rcpt_parameters *parameters)
{
    if (!skip_keyword(&arguments, SPAN(" TO:")))
        return ANSWER_BAD_ARGUMENT;
    if (!mailbox_read_path(&arguments, MAILBOX_FORWARD, mailbox))
        return ANSWER_BAD_RECIPIENT;
    enum answer wrong = parameters_answer(rcpt_parameters_read(arguments, parameters));
    if (wrong)
        return wrong;
    return mailbox->utf8 && !server->utf8 ? ANSWER_NEED_UTF8 : ANSWER_NONE;
}

static bool is_postmaster(const struct server *server, const struct mailbox *mailbox)
{
    return span_equals_any_case(mailbox->local, SPAN("postmaster")) &&
           (mailbox->domain.len == 0 ||
            span_equals_any_case(mailbox->domain, server->settings->hostname));
}

static enum answer judge_relay(struct server *server, const struct mailbox *mailbox)
{
    if (is_postmaster(server, mailbox))
        return ANSWER_NONE;
    switch (server->settings->may_relay(server->context, mailbox)) {
    case RELAY_ACCEPT:
        return ANSWER_NONE;
    case RELAY_NO_MAILBOX:
        return ANSWER_NO_MAILBOX;
    case RELAY_LATER:
        return ANSWER_RELAY_LATER;
    case RELAY_DENIED:
        break;
    }
    return ANSWER_RELAY_DENIED;
}

/* Whatever way it was spelled, the postmaster is one mailbox. */
static struct span postmaster_address(const struct server *server, struct sink *sink)
{
    sink_put(sink, SPAN("postmaster@"));
    for (size_t i = 0; i < server->settings->hostname.len; i++)
        sink_byte(sink, ascii_lower(server->settings->hostname.data[i]));
    return sink_span(sink);
}

static enum answer add_recipient(struct server *server, const struct mailbox *mailbox,
                                 const struct rcpt_parameters *parameters)
{
    char text[MAILBOX_TEXT];
    struct sink sink;
    sink_init(&sink, text, sizeof text);
    struct recipient recipient = {
        .address =
            is_postmaster(server, mailbox) ? postmaster_address(server, &sink) : mailbox->address,
        .original = parameters->original,
        .notify = parameters->notify,
    };
    if (!message_add_recipient(server->message, &recipient))
        return ANSWER_NO_STORAGE;
    server->recipients++;
    server->state = STATE_RCPT;
    return ANSWER_RECIPIENT_OK;
}

void run_rcpt(struct server *server, struct turn *turn, struct span arguments)
{
    struct mailbox mailbox;
    struct rcpt_parameters parameters;
    server->rcpt_tried = true;
    enum answer wrong = read_rcpt(server, arguments, &mailbox, &parameters);
    if (!wrong)
        wrong = judge_relay(server, &mailbox);
    if (wrong)
        server_answer(server, turn, wrong);
    else if (server->recipients >= server->settings->limits.recipients)
        server_answer_limit(server, turn, LIMIT_recipients);
    else
        server_answer(server, turn, add_recipient(server, &mailbox, &parameters));
}
