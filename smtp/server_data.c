/* DATA and BDAT: from the first octet of a message to the answer at its end.
 *
 * Failure modes: a faulty message is read to its true end without being stored, its memory is given
 * back at once; a message past all bounds ends the session, since reading on would cost more than
 * reconnecting; the share may be full for a moment (WANT_ROOM): the piece it did not take is given
 * back to the scanner and comes again. */
#include "smtp/server_private.h"

#include "core/check.h"
#include "smtp/received.h"
#include "smtp/seal.h"
#include "smtp/vet_intake.h"

enum { EXCESS_LEAST = 1024 * 1024 };

/* How many octets we are ready to read of one message, mostly to throw them away. */
static uint64_t most_octets(const struct server *server)
{
    uint64_t limit = server->settings->limits.message_size;
    return limit + (limit > EXCESS_LEAST ? limit : EXCESS_LEAST);
}

/* ---- beginning ---- */

static struct vet *begin_vet(const struct server *server)
{
    struct message *message = server->message;
    char client[ADDRESS_TEXT];
    struct sink sink;
    struct vet_subject subject = {
        .hostname = server->settings->hostname,
        .helo = server_helo(server),
        .sender = message->envelope.reverse_path,
    };
    sink_init(&sink, client, sizeof client);
    address_put_host(server->peer, &sink);
    subject.client = sink_span(&sink);
    if (!address_bits(server->peer, subject.client_bits))
        memset(subject.client_bits, 0, sizeof subject.client_bits);
    return vet_new(&message->arena, &subject);
}

/* Mail of our clients is signed, that of others verified. False: no memory. Nothing is hashed
 * before the header section has ended: only then it is known whose keys it is for. */
static bool begin_authentication(struct server *server)
{
    const struct server_settings *settings = server->settings;
    struct message *message = server->message;
    if (!message || (!settings->dkim_keys && !settings->verify))
        return true;
    bool ours = settings->is_ours && settings->is_ours(server->context);
    if (ours && settings->dkim_keys) {
        server->seal = seal_new(&message->arena, settings->dkim_keys, &message->body);
        return server->seal != NULL;
    }
    if (!ours && settings->verify) {
        server->vet = begin_vet(server);
        return server->vet != NULL;
    }
    return true;
}

static bool begin_body(struct server *server)
{
    const struct server_settings *settings = server->settings;
    struct body_limits limits = {
        .size = settings->limits.message_size,
        .header_size = settings->limits.header_size,
        .line = settings->limits.line,
        .received = settings->limits.received_headers,
    };
    if (!begin_authentication(server))
        return false;
    if (server->vet && limits.header_size > VET_HEADER)
        limits.header_size = VET_HEADER;
    server->body = slot_take(settings->slots);
    if (!server->body)
        return false;
    body_init(server->body, &limits, settings->tenant_header, settings->campaign_header);
    return true;
}

void run_data(struct server *server, struct turn *turn, struct span arguments)
{
    if (!begin_body(server)) {
        server_answer(server, turn, ANSWER_NO_STORAGE);
        return;
    }
    server->doing = DOING_DATA;
    server_answer(server, turn, ANSWER_GO_AHEAD);
}

/* "BDAT count [LAST]". False: there is no telling where the chunk ends. */
static bool read_chunk_size(struct span *arguments, uint64_t *ret_size)
{
    struct span text = *arguments;
    if (text.len == 0 || text.data[0] != ' ')
        return false;
    text = span_skip(text, 1);
    struct span digits = span_first(text, span_find(text, ' '));
    for (size_t i = 0; i < digits.len; i++)
        if (digits.data[i] < '0' || digits.data[i] > '9')
            return false;
    if (!span_decimal(digits, UINT64_MAX, ret_size))
        *ret_size = UINT64_MAX;
    *arguments = span_trim(span_skip(text, digits.len));
    return digits.len > 0;
}

/* Why this chunk is only swallowed, or ANSWER_NONE. */
static enum answer judge_chunk(struct server *server, struct span rest)
{
    if (rest.len && !span_equals_any_case(rest, SPAN("LAST")))
        return ANSWER_BAD_CHUNK;
    switch ((enum server_state)server->state) {
    case STATE_START:
        return ANSWER_NEED_HELO;
    case STATE_READY:
        return ANSWER_NEED_MAIL;
    case STATE_MAIL:
        return server->rcpt_tried ? ANSWER_NO_VALID_RECIPIENTS : ANSWER_NEED_RCPT;
    case STATE_RCPT:
        return begin_body(server) ? ANSWER_NONE : ANSWER_NO_STORAGE;
    case STATE_CHUNKS:
        break;
    }
    return ANSWER_NONE;
}

/* Chunks of no octets bring the message no nearer to its limits, so they have a limit of their own.
 */
static bool is_junk(struct server *server, uint64_t size, bool last)
{
    return size == 0 && !last && ++server->junk > server->settings->limits.junk_commands;
}

void run_bdat(struct server *server, struct turn *turn, struct span arguments)
{
    uint64_t size;
    if (!read_chunk_size(&arguments, &size)) {
        server_answer(server, turn, ANSWER_BAD_CHUNK);
        server_close(server);
        return;
    }
    bool last = arguments.len > 0;
    if (size > most_octets(server)) {
        server_answer_limit(server, turn, LIMIT_message_size);
        server_close(server);
        return;
    }
    if (is_junk(server, size, last)) {
        server_answer_limit(server, turn, LIMIT_junk_commands);
        return;
    }
    server->chunk_answer = (uint8_t)judge_chunk(server, arguments);
    server->chunk_left = size;
    server->last_chunk = last;
    server->doing = size ? DOING_CHUNK : DOING_FINISH;
    if (!server->chunk_answer)
        server->state = STATE_CHUNKS;
}

/* ---- octets ---- */

/* Nothing of this message will be kept: what it holds goes back now, not at its end. */
static void drop_message(struct server *server)
{
    if (server->message)
        message_abandon(server->message);
    server->message = NULL;
    server->seal = NULL;
    server->vet = NULL;
}

/* False: the share cannot take the piece now. */
static bool store_piece(struct server *server, struct span piece)
{
    if (!server->message)
        return true;
    int error = server->vet ? vet_add(server->vet, server->message, piece, server->room)
                            : message_append(server->message, piece, server->room);
    if (error == -EAGAIN)
        return false;
    if (error) {
        server->store_error = (int16_t)error;
        drop_message(server);
    } else if (server->seal) {
        seal_add(server->seal, piece);
    }
    return true;
}

typedef enum body_progress scan_body(struct body *body, struct span *input, struct span *ret_piece);

/* Scans and stores until the input ends, the message ends (BODY_END), or the share is full
 * (BODY_PIECE). */
static enum body_progress store_input(struct server *server, scan_body *scan, struct span *input)
{
    for (;;) {
        struct body body_before = *server->body;
        struct span input_before = *input, piece;
        enum body_progress progress = scan(server->body, input, &piece);
        if (server->body->faults)
            drop_message(server);
        if (progress != BODY_PIECE)
            return progress;
        if (!store_piece(server, piece)) {
            *server->body = body_before;
            *input = input_before;
            return progress;
        }
    }
}

/* ---- the end of a message ---- */

/* One answer for all faults of a message, always the same one whatever way its octets were cut. */
static void answer_faults(struct server *server, struct turn *turn, unsigned faults)
{
    static const struct {
        enum body_fault fault;
        enum limit limit;
    } table[] = {
        {BODY_TOO_BIG, LIMIT_message_size},
        {BODY_HEADER_TOO_BIG, LIMIT_header_size},
        {BODY_LINE_TOO_LONG, LIMIT_line},
        {BODY_LOOP, LIMIT_received_headers},
    };
    if (faults & BODY_BARE) {
        server_answer(server, turn, ANSWER_BARE_OCTETS);
        return;
    }
    for (size_t i = 0; i < countof(table); i++) {
        if (!(faults & table[i].fault))
            continue;
        server_answer_limit(server, turn, table[i].limit);
        return;
    }
}

/* True: the message is refused, and that is answered. */
static bool refuse_message(struct server *server, struct turn *turn)
{
    if (server->body->faults)
        answer_faults(server, turn, server->body->faults);
    else if (server->store_error == -ENOMEM || server->store_error == -ENOSPC)
        server_answer(server, turn, ANSWER_NO_STORAGE);
    else if (server->store_error)
        server_answer(server, turn, ANSWER_STORE_FAILED);
    else
        return false;
    server_forget(server);
    return true;
}

/* The only recipient, if it may stand in a header field of ASCII that is not too long a line. */
static struct span only_recipient(const struct envelope *envelope)
{
    if (envelope->recipient_count != 1)
        return (struct span){0};
    struct span address = envelope->recipients[0].address;
    for (size_t i = 0; i < address.len; i++)
        if ((unsigned char)address.data[i] < ' ' || (unsigned char)address.data[i] > '~')
            return (struct span){0};
    return address.len <= RECEIVED_FOR_MAX ? address : (struct span){0};
}

/* A message that does not begin with a header field gets a blank line behind ours, else its first
 * line would be read as a part of the header section. */
static bool add_head(struct server *server, uint64_t wall_ms)
{
    struct message *message = server->message;
    struct received received = {
        .helo = server_helo(server),
        .peer = server->peer,
        .hostname = server->settings->hostname,
        .protocol = server_protocol(server),
        .tls = server->tls,
        .id = message->envelope.id,
        .recipient = only_recipient(&message->envelope),
        .wall_ms = wall_ms,
    };
    char text[RECEIVED_TEXT];
    struct sink sink;
    sink_init(&sink, text, sizeof text);
    received_put(&received, &sink);
    check(!sink.full);
    return text_append(&message->head, &message->arena, sink_span(&sink)) &&
           server_add_missing_fields(server, wall_ms) &&
           (server->body->starts != BODY_STARTS_TEXT ||
            text_append(&message->head, &message->arena, SPAN("\r\n")));
}

/* Whose mail it is an account may say for all that comes from it. */
static struct span tenant_of(const struct server *server)
{
    const struct server_identity *identity = server->identity;
    return identity && identity->tenant.len ? identity->tenant : body_field_value(server->body, 0);
}

static bool fill_envelope(struct server *server)
{
    struct message *message = server->message;
    struct envelope *envelope = &message->envelope;
    const struct body *body = server->body;
    envelope->size = message->head.len + body->stored;
    message->peer = *server->peer;
    message->protocol = server_protocol(server);
    if (server->tls) {
        message->tls_version = server->tls->version;
        message->tls_cipher = server->tls->cipher;
    }
    envelope->flags |= (uint8_t)((body->body_8bit ? ENVELOPE_BODY_HAS_8BIT : 0) |
                                 (body->header_8bit ? ENVELOPE_HEADER_HAS_8BIT : 0));
    if (server->tls && !arena_copy(&message->arena, server->tls->subject, &message->tls_subject))
        return false;
    return arena_copy(&message->arena, server_helo(server), &message->peer_name) &&
           arena_copy(&message->arena, tenant_of(server), &envelope->tenant) &&
           arena_copy(&message->arena, body_field_value(body, 1), &envelope->campaign);
}

static void end_authentication(struct server *server)
{
    if (server->seal)
        seal_end(server->seal);
    if (!server->vet)
        return;
    int error = vet_end(server->vet, server->message);
    if (error == 0)
        return;
    server->store_error = (int16_t)error;
    drop_message(server);
}

static void end_message(struct server *server, struct turn *turn)
{
    server->doing = DOING_COMMANDS;
    if (server->message && !server->body->faults)
        end_authentication(server);
    if (refuse_message(server, turn))
        return;
    enum answer wrong = server_judge_author(server);
    if (wrong) {
        server_answer(server, turn, wrong);
        server_forget(server);
        return;
    }
    if (!add_head(server, turn->wall_ms) || !fill_envelope(server)) {
        server_answer(server, turn, ANSWER_NO_STORAGE);
        server_forget(server);
        return;
    }
    server->body = slot_give(server->settings->slots, server->body);
    server->doing = DOING_STORE;
}

enum server_want read_data(struct server *server, struct turn *turn)
{
    size_t before = turn->input->len;
    enum body_progress progress = store_input(server, body_data, turn->input);
    server->data_octets += before - turn->input->len;
    if (server->body->size > most_octets(server)) {
        server_answer_limit(server, turn, LIMIT_message_size);
        server_close(server);
    } else if (progress == BODY_END) {
        end_message(server, turn);
    }
    return progress == BODY_PIECE ? WANT_ROOM : WANT_INPUT;
}

enum server_want read_chunk(struct server *server, struct turn *turn)
{
    struct span part = span_first(*turn->input, server->chunk_left);
    struct span rest = part;
    enum body_progress progress = BODY_MORE;
    if (server->chunk_answer)
        rest = span_skip(part, part.len);
    else
        progress = store_input(server, body_chunk, &rest);
    size_t consumed = part.len - rest.len;
    *turn->input = span_skip(*turn->input, consumed);
    server->chunk_left -= consumed;
    server->data_octets += consumed;
    if (server->chunk_left)
        return progress == BODY_PIECE ? WANT_ROOM : WANT_INPUT;
    server->doing = DOING_FINISH;
    return finish_chunk(server, turn);
}

static enum body_progress finish_body(struct body *body, struct span *input, struct span *ret_piece)
{
    return body_finish(body, ret_piece) ? BODY_PIECE : BODY_END;
}

/* A swallowed chunk has broken the message that it belonged to, if there was one. */
static void answer_swallowed(struct server *server, struct turn *turn)
{
    server_answer(server, turn, (enum answer)server->chunk_answer);
    if (server->state == STATE_CHUNKS || server->state == STATE_RCPT)
        server_forget(server);
}

enum server_want finish_chunk(struct server *server, struct turn *turn)
{
    struct span none = {0};
    if (!server->chunk_answer && server->last_chunk &&
        store_input(server, finish_body, &none) == BODY_PIECE)
        return WANT_ROOM;
    server->doing = DOING_COMMANDS;
    if (server->chunk_answer)
        answer_swallowed(server, turn);
    else if (server->last_chunk)
        end_message(server, turn);
    else if (!refuse_message(server, turn))
        server_answer(server, turn, ANSWER_CHUNK_OK);
    return WANT_INPUT;
}
