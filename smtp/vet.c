#include "smtp/vet.h"

#include "smtp/auth_results.h"

#include <errno.h>

/* ---- the body ---- */

static void emit_to_body(void *context, struct span octets)
{
    struct vet_body *body = context;
    octets = span_first(octets, octets.len < body->left ? octets.len : (size_t)body->left);
    digest_add(&body->digest, octets);
    body->left -= octets.len;
}

/* The body that this signature wants; one that is hashed already, if it is the same. */
static struct vet_body *want_body(struct vet *vet, const struct dkim_signature *signature)
{
    for (unsigned i = 0; i < vet->body_count; i++)
        if (vet->bodies[i].form.canon == signature->body_canon &&
            vet->bodies[i].limit == signature->limit)
            return &vet->bodies[i];
    check(vet->body_count < VET_BODIES);
    struct vet_body *body = &vet->bodies[vet->body_count++];
    body->limit = body->left = signature->limit;
    digest_init(&body->digest);
    dkim_body_init(&body->form, signature->body_canon, emit_to_body, body);
    return body;
}

static void end_bodies(struct vet *vet)
{
    for (unsigned i = 0; i < vet->body_count; i++) {
        struct vet_body *body = &vet->bodies[i];
        dkim_body_end(&body->form);
        digest_finish(&body->digest, body->result);
        if (body->limit != UINT64_MAX && body->left)
            memset(body->result, 0, DIGEST_LEN); /* l= says more than there is (RFC 6376 3.5) */
    }
}

/* ---- the header section ---- */

/* The section in one piece. */
static bool join_header(struct vet *vet, struct span *ret_header)
{
    if (vet->header.pieces == 1) {
        *ret_header = span_of(vet->header.first->data, vet->header.len);
        return true;
    }
    char *copy = arena_take(vet->arena, vet->header.len + 1);
    if (!copy)
        return false;
    *ret_header = span_of(copy, text_copy(&vet->header, 0, copy, vet->header.len));
    return true;
}

static struct span broken_line(struct span rest)
{
    return span_first(rest, span_find(rest, '\n') + 1);
}

/* A line that is no field is stored like one that is. */
static struct span next_part(struct span *rest, struct header_field *ret_field)
{
    *ret_field = (struct header_field){0};
    switch (fields_next(rest, ret_field)) {
    case FIELDS_FIELD:
        return ret_field->text;
    case FIELDS_BROKEN:
        break;
    case FIELDS_END: {
        struct span end = *rest;
        *rest = (struct span){0};
        return end;
    }
    }
    struct span line = broken_line(*rest);
    *rest = span_skip(*rest, line.len);
    return line;
}

static bool is_in_our_name(const struct vet *vet, const struct header_field *field)
{
    return span_equals_any_case(field->name, SPAN("Authentication-Results")) &&
           auth_results_claims(field->value, vet->subject.hostname);
}

/* Of a part of VET_HEADER octets the share never says that it has to wait. */
static int append_kept(struct message *message, struct span kept)
{
    int error = kept.len ? message_append(message, kept, NULL) : 0;
    check(error != -EAGAIN);
    return error;
}

/* Stores the section without what is in our name. Adjacent fields are one piece. */
static int store_header(struct vet *vet, struct message *message, struct span header)
{
    struct span kept = {.data = header.data};
    int error = 0;
    for (struct span rest = header; rest.len && error == 0;) {
        struct header_field field;
        struct span part = next_part(&rest, &field);
        if (!is_in_our_name(vet, &field)) {
            kept.len += part.len;
            continue;
        }
        vet->removed++;
        error = append_kept(message, kept);
        kept = (struct span){.data = part.data + part.len};
    }
    return error ? error : append_kept(message, kept);
}

/* False: no memory. Of a section with a line that is no field, or with too many fields, nothing is
 * looked at: no two readers would agree on what was signed. */
static bool split_header(struct vet *vet, struct span header)
{
    struct header_field field;
    enum fields_next next;
    unsigned count = 0;
    for (struct span rest = header; (next = fields_next(&rest, &field)) == FIELDS_FIELD;)
        count++;
    if (next == FIELDS_BROKEN || count > DKIM_FIELDS_MOST)
        return true;
    vet->fields = arena_take(vet->arena, (count + 1) * sizeof *vet->fields);
    if (!vet->fields)
        return false;
    for (struct span rest = header; vet->field_count < count; vet->field_count++)
        fields_next(&rest, &vet->fields[vet->field_count]);
    return true;
}

/* ---- signatures ---- */

static void fail_chain(struct vet *vet, enum dkim_verdict verdict, const char *why)
{
    vet->arc_verdict = verdict;
    vet->arc_why = why;
    vet->check_count = vet->dkim_count; /* no more of it is looked at */
}

/* The check is complete but for the key. */
static void begin_check(struct vet *vet, struct vet_check *one, const struct header_field *field,
                        enum dkim_signature_kind kind)
{
    *one = (struct vet_check){.verdict = DKIM_TEMPERROR, .why = "no time was left"};
    const char *why;
    if (!dkim_signature_read(field, kind, &one->signature, &why)) {
        one->verdict = DKIM_PERMERROR;
        one->why = why;
        one->judged = true;
    } else if (kind != ARC_SEAL) {
        one->body = want_body(vet, &one->signature);
    }
}

static void begin_chain(struct vet *vet)
{
    unsigned count = vet->arc.count;
    const struct arc_set *newest = &vet->arc.sets[count - 1];
    struct vet_check *checks = vet->checks + vet->dkim_count;
    vet->arc_verdict = DKIM_TEMPERROR;
    vet->arc_why = "no time was left";
    vet->check_count = vet->dkim_count + 1 + count;
    begin_check(vet, &checks[0], newest->message, ARC_MESSAGE_SIGNATURE);
    for (unsigned i = 0; i < count; i++)
        begin_check(vet, &checks[1 + i], vet->arc.sets[count - 1 - i].seal, ARC_SEAL);
    for (unsigned i = 0; i <= count; i++) {
        if (checks[i].judged)
            fail_chain(vet, DKIM_FAIL, checks[i].why);
        else if (i && !arc_seal_consistent(&checks[i].signature))
            fail_chain(vet, DKIM_FAIL, "the chain says that it was broken before");
    }
}

static unsigned count_signatures(const struct vet *vet)
{
    unsigned count = 0;
    for (unsigned i = 0; i < vet->field_count && count < VET_SIGNATURES; i++)
        count += span_equals_any_case(vet->fields[i].name, SPAN("DKIM-Signature"));
    return count;
}

static bool begin_checks(struct vet *vet)
{
    enum arc_status status = arc_collect(vet->fields, vet->field_count, &vet->arc);
    unsigned room = count_signatures(vet) + 1 + vet->arc.count;
    vet->checks = arena_take(vet->arena, room * sizeof *vet->checks);
    if (!vet->checks)
        return false;
    for (unsigned i = 0; i < vet->field_count && vet->dkim_count < VET_SIGNATURES; i++)
        if (span_equals_any_case(vet->fields[i].name, SPAN("DKIM-Signature")))
            begin_check(vet, &vet->checks[vet->dkim_count++], &vet->fields[i], DKIM_SIGNATURE);
    vet->check_count = vet->dkim_count;
    if (status == ARC_BROKEN)
        fail_chain(vet, DKIM_FAIL, vet->arc.why);
    else if (status == ARC_CHAIN)
        begin_chain(vet);
    return true;
}

static void hash_headers(struct vet *vet)
{
    for (unsigned i = 0; i < vet->check_count; i++) {
        struct vet_check *one = &vet->checks[i];
        if (one->judged)
            continue;
        if (one->signature.kind == ARC_SEAL)
            arc_seal_digest(&vet->arc, one->signature.instance - 1, &one->signature, one->digest);
        else
            dkim_signature_digest(&one->signature, vet->fields, vet->field_count, one->digest);
    }
}

/* ---- while it arrives ---- */

static void begin_spf(struct vet *vet)
{
    struct vet_subject *about = &vet->subject;
    struct spf_subject subject = {.domain = about->helo, .helo = about->helo};
    memcpy(subject.client, about->client_bits, sizeof subject.client);
    size_t at = about->sender.len;
    while (at && about->sender.data[at - 1] != '@')
        at--;
    if (at) {
        subject.local = span_first(about->sender, at - 1);
        subject.domain = span_skip(about->sender, at);
    }
    spf_init(&vet->spf, vet->arena, &subject);
}

struct vet *vet_new(struct arena *arena, const struct vet_subject *subject)
{
    struct vet *vet = arena_take_zeroed(arena, sizeof *vet);
    if (!vet)
        return NULL;
    vet->arena = arena;
    vet->subject = *subject;
    if (!arena_copy(arena, subject->client, &vet->subject.client) ||
        !arena_copy(arena, subject->helo, &vet->subject.helo) ||
        !arena_copy(arena, subject->sender, &vet->subject.sender))
        return NULL;
    begin_spf(vet);
    return vet;
}

static int end_header(struct vet *vet, struct message *message)
{
    struct span header = {0};
    vet->header_ended = true;
    if (vet->header.len == 0)
        return begin_checks(vet) ? 0 : -ENOMEM;
    if (!join_header(vet, &header) || !split_header(vet, header) || !begin_checks(vet))
        return -ENOMEM;
    return store_header(vet, message, header);
}

static int take_header(struct vet *vet, struct message *message, struct span *piece)
{
    size_t end = header_end_find(&vet->line_at, *piece);
    struct span part = end ? span_first(*piece, end) : *piece;
    if (vet->header.len + part.len > VET_HEADER)
        return -ENOMEM; /* the scanner's limit comes before */
    if (!text_append(&vet->header, vet->arena, part))
        return -ENOMEM;
    vet->swallowed += part.len;
    *piece = span_skip(*piece, part.len);
    return end ? end_header(vet, message) : 0;
}

int vet_add(struct vet *vet, struct message *message, struct span piece, struct op *room)
{
    int error = 0;
    piece = span_skip(piece, vet->swallowed);
    if (!vet->header_ended)
        error = take_header(vet, message, &piece);
    if (error == 0 && piece.len)
        error = message_append(message, piece, room);
    if (error)
        return error;
    vet->swallowed = 0;
    for (unsigned i = 0; i < vet->body_count && piece.len; i++)
        dkim_body_add(&vet->bodies[i].form, piece);
    return 0;
}

int vet_end(struct vet *vet, struct message *message)
{
    int error = vet->header_ended ? 0 : end_header(vet, message);
    if (error)
        return error;
    end_bodies(vet);
    hash_headers(vet);
    return 0;
}

/* ---- DNS ---- */

static void judged(struct vet *vet, struct vet_check *one, enum dkim_verdict verdict,
                   const char *why)
{
    one->verdict = verdict;
    one->why = why;
    one->judged = true;
    if ((size_t)(one - vet->checks) < vet->dkim_count)
        return;
    if (verdict != DKIM_PASS)
        fail_chain(vet, verdict == DKIM_TEMPERROR ? verdict : DKIM_FAIL, why);
    else if (one == &vet->checks[vet->check_count - 1])
        vet->arc_verdict = DKIM_PASS;
}

static bool asks_key(struct vet *vet, struct name *ret_name)
{
    for (; vet->at < vet->check_count; vet->at++) {
        struct vet_check *one = &vet->checks[vet->at];
        if (one->judged)
            continue;
        if (dkim_signature_key_name(&one->signature, ret_name))
            return true;
        judged(vet, one, DKIM_PERMERROR, "no key can have this name");
    }
    return false;
}

bool vet_asks(struct vet *vet, enum vet_line line, struct name *ret_name, enum rr_type *ret_type)
{
    if (line == VET_SPF)
        return spf_asks(&vet->spf, ret_name, ret_type);
    *ret_type = RR_TXT;
    return asks_key(vet, ret_name);
}

static void answer_key(struct vet *vet, const struct answer *answer, uint64_t now_s)
{
    char text[ANSWER_STRINGS];
    struct sink sink;
    struct vet_check *one = &vet->checks[vet->at++];
    if (!answer || (answer->rcode != RCODE_NOERROR && answer->rcode != RCODE_NXDOMAIN)) {
        judged(vet, one, DKIM_TEMPERROR, "the key could not be looked up");
        return;
    }
    if (answer->count == 0) {
        judged(vet, one, DKIM_PERMERROR, "there is no key");
        return;
    }
    sink_init(&sink, text, sizeof text);
    answer_text(&answer->records[0], &sink);
    const char *why;
    enum dkim_verdict verdict =
        dkim_signature_judge(&one->signature, sink_span(&sink), one->digest,
                             one->body ? one->body->result : NULL, now_s, &one->bits, &why);
    judged(vet, one, verdict, why);
}

void vet_answer(struct vet *vet, enum vet_line line, const struct answer *answer, uint64_t now_s)
{
    if (line == VET_SPF)
        spf_answer(&vet->spf, answer);
    else
        answer_key(vet, answer, now_s);
}

/* ---- results ---- */

static void put_reason(struct sink *sink, const char *why)
{
    if (why)
        sink_format(sink, " reason=\"%s\"", why);
}

static void put_spf(struct vet *vet, struct sink *sink)
{
    struct name unused;
    enum rr_type type;
    bool open = spf_asks(&vet->spf, &unused, &type);
    sink_put(sink, SPAN("spf="));
    sink_put(sink, spf_result_name(open ? SPF_TEMPERROR : vet->spf.result));
    if (vet->subject.sender.len) {
        sink_put(sink, SPAN(" smtp.mailfrom="));
        auth_results_put_mailbox(sink, vet->subject.sender);
    } else if (vet->subject.helo.len) {
        sink_put(sink, SPAN(" smtp.helo="));
        auth_results_put_value(sink, vet->subject.helo);
    }
}

static void put_property(struct sink *sink, const char *name, struct span value)
{
    if (value.len == 0 || value.len > NAME_BYTES)
        return;
    sink_format(sink, " %s=", name);
    auth_results_put_value(sink, value);
}

static void put_dkim(const struct vet_check *one, struct sink *sink)
{
    const struct dkim_signature *signature = &one->signature;
    sink_put(sink, SPAN("dkim="));
    sink_put(sink, dkim_verdict_name(one->verdict));
    if (one->bits)
        sink_format(sink, " (%u-bit key)", one->bits);
    put_reason(sink, one->why);
    put_property(sink, "header.d", signature->domain);
    put_property(sink, "header.s", signature->selector);
    if (signature->signature_len) /* it was read as far as that */
        put_property(sink, "header.a", dkim_algorithm_name(signature->algorithm));
    put_property(sink, "header.b", span_first(signature->signature_text, 8));
}

static void put_arc(const struct vet *vet, struct sink *sink)
{
    sink_put(sink, SPAN("arc="));
    sink_put(sink, dkim_verdict_name(vet->arc_verdict));
    put_reason(sink, vet->arc_verdict == DKIM_PASS ? NULL : vet->arc_why);
    put_property(sink, "smtp.remote-ip", vet->subject.client);
}

static void put_all(struct vet *vet, struct span separator, struct sink *sink)
{
    put_spf(vet, sink);
    for (unsigned i = 0; i < vet->dkim_count; i++) {
        sink_put(sink, separator);
        put_dkim(&vet->checks[i], sink);
    }
    if (vet->dkim_count == 0) {
        sink_put(sink, separator);
        sink_put(sink, SPAN("dkim=none"));
    }
    if (vet->arc_verdict != DKIM_NONE) {
        sink_put(sink, separator);
        put_arc(vet, sink);
    }
}

void vet_put_results(struct vet *vet, struct sink *sink)
{
    sink_put(sink, SPAN("Authentication-Results: "));
    sink_put(sink, vet->subject.hostname);
    sink_put(sink, SPAN(";\r\n\t"));
    put_all(vet, SPAN(";\r\n\t"), sink);
    sink_put(sink, SPAN("\r\n"));
}

void vet_put_summary(struct vet *vet, struct sink *sink)
{
    put_all(vet, SPAN("; "), sink);
}
