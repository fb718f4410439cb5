/* In front of the body only line ends are looked for. Everything else about the header section is
 * done once, when it has ended and lies in the message's text. */
#include "smtp/seal.h"

#include "smtp/dkim_write.h"
#include "smtp/mailbox.h"

/* ---- the pass ---- */

struct seal *seal_new(struct arena *arena, const struct dkim_keys *keys, const struct text *message)
{
    struct seal *seal = arena_take_zeroed(arena, sizeof *seal);
    if (!seal)
        return NULL;
    seal->arena = arena;
    seal->keys = keys;
    seal->message = message;
    seal->skipped = SEAL_NO_AUTHOR; /* what it is as long as no header section has ended */
    return seal;
}

/* The header section in one piece: where it lies, or, if it lies in several, a copy. */
static bool join_header(struct seal *seal, struct span *ret_header)
{
    const struct text_piece *first = seal->message->first;
    if (first && first->len >= seal->header_len) {
        *ret_header = span_of(first->data, seal->header_len);
        return true;
    }
    char *copy =
        seal->message->len >= seal->header_len ? arena_take(seal->arena, seal->header_len) : NULL;
    if (!copy || text_copy(seal->message, 0, copy, seal->header_len) != seal->header_len)
        return false;
    *ret_header = span_of(copy, seal->header_len);
    return true;
}

static enum seal_skipped split_header(struct seal *seal, struct span header)
{
    struct header_field field;
    unsigned count = 0;
    enum fields_next next;
    for (struct span rest = header; (next = fields_next(&rest, &field)) == FIELDS_FIELD;)
        count++;
    if (next == FIELDS_BROKEN)
        return SEAL_NO_HEADER;
    if (count > SEAL_FIELDS)
        return SEAL_TOO_LARGE;
    seal->fields = arena_take(seal->arena, (count + 1) * sizeof *seal->fields);
    if (!seal->fields)
        return SEAL_FAILED;
    for (struct span rest = header; seal->field_count < count; seal->field_count++)
        fields_next(&rest, &seal->fields[seal->field_count]);
    return SEAL_SIGNED;
}

static enum seal_skipped choose_keys(struct seal *seal)
{
    char storage[MAILBOX_DOMAIN + 1];
    struct sink domain;
    unsigned i = 0;
    while (i < seal->field_count && !span_equals_any_case(seal->fields[i].name, SPAN("From")))
        i++;
    sink_init(&domain, storage, sizeof storage);
    if (i == seal->field_count || !author_domain(seal->fields[i].value, &domain))
        return SEAL_NO_AUTHOR;
    seal->chosen_count = dkim_keys_find(seal->keys, sink_span(&domain), seal->chosen, SEAL_KEYS);
    return seal->chosen_count ? SEAL_SIGNED : SEAL_NO_KEY;
}

static void begin_bodies(struct seal *seal)
{
    for (unsigned i = 0; i < seal->chosen_count; i++)
        seal->bodies[seal->chosen[i]->body_canon].wanted = true;
    for (unsigned canon = 0; canon < DKIM_CANONS; canon++) {
        struct seal_body *body = &seal->bodies[canon];
        digest_init(&body->digest);
        dkim_body_init(&body->form, (enum dkim_canon)canon, dkim_emit_to_digest, &body->digest);
    }
}

static void end_header(struct seal *seal, size_t header_len)
{
    struct span header;
    seal->header_len = header_len;
    seal->skipped = SEAL_TOO_LARGE;
    if (!join_header(seal, &header))
        return;
    seal->skipped = (uint8_t)split_header(seal, header);
    if (seal->skipped == SEAL_SIGNED)
        seal->skipped = (uint8_t)choose_keys(seal);
    if (seal->skipped == SEAL_SIGNED)
        begin_bodies(seal);
}

void seal_add(struct seal *seal, struct span octets)
{
    if (seal->header_len == 0) {
        size_t len = header_end_find(&seal->line_at, octets);
        seal->seen += len ? len : octets.len;
        if (len == 0)
            return;
        end_header(seal, seal->seen);
        octets = span_skip(octets, len);
    }
    if (seal->skipped != SEAL_SIGNED)
        return;
    for (unsigned canon = 0; canon < DKIM_CANONS; canon++)
        if (seal->bodies[canon].wanted)
            dkim_body_add(&seal->bodies[canon].form, octets);
}

/* What we have put above the message's own fields is signed with them: a signature says which
 * fields there are not, too. */
static void insert_added(struct seal *seal)
{
    struct header_field field;
    unsigned count = 0;
    for (struct span rest = seal->added; fields_next(&rest, &field) == FIELDS_FIELD;)
        count++;
    if (count == 0 || seal->skipped != SEAL_SIGNED)
        return;
    struct header_field *all = arena_take(seal->arena, (seal->field_count + count) * sizeof *all);
    if (!all) {
        seal->skipped = SEAL_FAILED;
        return;
    }
    memcpy(all + count, seal->fields, seal->field_count * sizeof *all);
    struct span rest = seal->added;
    for (unsigned i = 0; i < count; i++)
        fields_next(&rest, &all[i]);
    seal->fields = all;
    seal->field_count += count;
}

void seal_end(struct seal *seal)
{
    seal->ended = true;
    if (seal->header_len == 0 && seal->seen) /* a header section, and nothing behind it */
        end_header(seal, seal->seen);
    insert_added(seal);
    for (unsigned canon = 0; canon < DKIM_CANONS; canon++) {
        struct seal_body *body = &seal->bodies[canon];
        if (seal->skipped != SEAL_SIGNED || !body->wanted)
            continue;
        dkim_body_end(&body->form);
        digest_finish(&body->digest, body->result);
    }
}

/* ---- signatures ---- */

/* Fields that those who hand a message on may rightly add. */
static bool may_be_added(struct span name)
{
    return span_equals_any_case(name, SPAN("Sender")) ||
           span_starts_with_any_case(name, SPAN("List-")) ||
           span_starts_with_any_case(name, SPAN("Resent-")) ||
           span_equals_any_case(name, SPAN("Feedback-ID"));
}

struct selection {
    struct span names[SEAL_NAMES];
    const struct header_field *fields[SEAL_NAMES]; /* NULL: named, but not there */
    unsigned count;
    bool full;
};

static void select_one(struct selection *selection, struct span name,
                       const struct header_field *field)
{
    if (selection->count == SEAL_NAMES) {
        selection->full = true;
        return;
    }
    selection->names[selection->count] = name;
    selection->fields[selection->count++] = field;
}

static void select_name(struct selection *selection, const struct seal *seal, struct span name)
{
    bool any = false;
    for (unsigned i = seal->field_count; i-- > 0;) {
        if (!span_equals_any_case(seal->fields[i].name, name))
            continue;
        select_one(selection, name, &seal->fields[i]);
        any = true;
    }
    if (any || !may_be_added(name))
        select_one(selection, name, NULL);
}

static void select_fields(struct selection *selection, const struct seal *seal,
                          const struct dkim_key *key)
{
    bool from = false;
    selection->count = 0;
    selection->full = false;
    for (size_t i = 0; i < key->header_count; i++) {
        select_name(selection, seal, key->headers[i]);
        from = from || span_equals_any_case(key->headers[i], SPAN("From"));
    }
    if (!from) /* RFC 6376 5.4: without it a signature says nothing */
        select_name(selection, seal, SPAN("From"));
}

/* The whole field in one piece, with any signature of the right length. */
static char *write_field(struct seal *seal, const struct dkim_key *key,
                         const struct selection *selection, uint64_t wall_ms, struct sink *sink)
{
    static const char any[SIGN_LEN];
    struct dkim_written written = {
        .algorithm = sign_key_algorithm(key->key),
        .body_canon = key->body_canon,
        .domain = key->domain,
        .selector = key->selector,
        .signed_at_s = wall_ms / 1000,
        .expires_at_s = key->expires_after_s ? wall_ms / 1000 + key->expires_after_s : 0,
        .body_hash = seal->bodies[key->body_canon].result,
        .names = selection->names,
        .name_count = selection->count,
    };
    size_t room = dkim_write_room(&written) + DKIM_SIGNATURE_TEXT;
    char *text = arena_take(seal->arena, room);
    if (!text)
        return NULL;
    sink_init(sink, text, room);
    dkim_write(&written, sink);
    char *behind = text + sink->len;
    dkim_write_signature(span_of(any, sign_key_signature_len(key->key)), sink);
    check(!sink->full);
    return behind;
}

static void hash_header(const struct selection *selection, struct span unsigned_field,
                        uint8_t ret_digest[DIGEST_LEN])
{
    struct digest digest;
    digest_init(&digest);
    for (unsigned i = 0; i < selection->count; i++)
        if (selection->fields[i])
            dkim_field_put(DKIM_RELAXED, selection->fields[i]->text, true, dkim_emit_to_digest,
                           &digest);
    dkim_field_put(DKIM_RELAXED, unsigned_field, false, dkim_emit_to_digest, &digest);
    digest_finish(&digest, ret_digest);
}

static enum seal_skipped reserve_one(struct seal *seal, unsigned index, uint64_t wall_ms,
                                     struct span *ret_field)
{
    struct selection selection;
    struct sink sink;
    const struct dkim_key *key = seal->chosen[index];
    struct seal_place *place = &seal->places[index];
    select_fields(&selection, seal, key);
    if (selection.full)
        return SEAL_TOO_LARGE;
    place->key = key->key;
    place->at = write_field(seal, key, &selection, wall_ms, &sink);
    if (!place->at)
        return SEAL_FAILED;
    struct span field = *ret_field = sink_span(&sink);
    hash_header(&selection, span_first(field, (size_t)(place->at - field.data)), place->digest);
    return SEAL_SIGNED;
}

/* Fields that we have added ourselves, like a missing Date, stand in front of the others. */
static bool add_own_fields(struct seal *seal, const struct text *head)
{
    char *copy = arena_take(seal->arena, head->len + 1);
    struct header_field *all, field;
    unsigned count = 0;
    if (!copy)
        return false;
    struct span own = span_of(copy, text_copy(head, 0, copy, head->len));
    for (struct span rest = own; fields_next(&rest, &field) == FIELDS_FIELD;)
        count++;
    all = arena_take(seal->arena, (count + seal->field_count + 1) * sizeof *all);
    if (!all)
        return false;
    for (unsigned i = 0; i < count; i++)
        fields_next(&own, &all[i]);
    if (seal->field_count)
        memcpy(all + count, seal->fields, seal->field_count * sizeof *all);
    seal->fields = all;
    seal->field_count += count;
    return true;
}

bool seal_reserve(struct seal *seal, uint64_t wall_ms, struct text *head)
{
    struct span fields[SEAL_KEYS];
    check(seal->ended);
    if (seal->skipped == SEAL_SIGNED && head->len && !add_own_fields(seal, head))
        seal->skipped = SEAL_FAILED;
    for (unsigned i = 0; i < seal->chosen_count && seal->skipped == SEAL_SIGNED; i++)
        seal->skipped = (uint8_t)reserve_one(seal, i, wall_ms, &fields[i]);
    for (unsigned i = seal->chosen_count; i-- > 0 && seal->skipped == SEAL_SIGNED;)
        if (!text_prepend(head, seal->arena, fields[i]))
            seal->skipped = SEAL_FAILED;
    return seal->skipped != SEAL_FAILED;
}

bool seal_prepare(const struct seal *seal, struct signing *ret_signing)
{
    if (seal_finished(seal))
        return false;
    const struct seal_place *place = &seal->places[seal->made];
    ret_signing->key = place->key;
    memcpy(ret_signing->digest, place->digest, DIGEST_LEN);
    return true;
}

void seal_complete(struct seal *seal, const struct signing *signing)
{
    struct sink sink;
    if (signing->failed)
        return;
    sink_init(&sink, seal->places[seal->made].at, DKIM_SIGNATURE_TEXT);
    dkim_write_signature(span_of(signing->signature, sign_key_signature_len(signing->key)), &sink);
    seal->made++;
}
