#include "smtp/arc.h"

#include "smtp/tags.h"

/* The i= of a field. ARC-Authentication-Results begins with it and is otherwise no tag list. */
static unsigned instance_of(struct span value)
{
    struct tags tags;
    struct span text;
    uint64_t number;
    struct span first = span_first(value, span_find(value, ';'));
    if (!tags_read(first, &tags) || !tags_find(&tags, "i", &text)) {
        if (!tags_read(value, &tags) || !tags_find(&tags, "i", &text))
            return 0;
    }
    return span_decimal(text, ARC_SETS, &number) ? (unsigned)number : 0;
}

enum part { PART_NONE, PART_RESULTS, PART_MESSAGE, PART_SEAL };

static enum part part_of(struct span name)
{
    if (span_equals_any_case(name, SPAN("ARC-Authentication-Results")))
        return PART_RESULTS;
    if (span_equals_any_case(name, SPAN("ARC-Message-Signature")))
        return PART_MESSAGE;
    return span_equals_any_case(name, SPAN("ARC-Seal")) ? PART_SEAL : PART_NONE;
}

static const struct header_field **place_of(struct arc_set *set, enum part part)
{
    return part == PART_RESULTS ? &set->results : part == PART_MESSAGE ? &set->message : &set->seal;
}

static enum arc_status broken(struct arc *arc, const char *why)
{
    arc->why = why;
    return ARC_BROKEN;
}

/* Every set from the first to the last must be there, whole. */
static enum arc_status look_at_sets(struct arc *arc)
{
    for (unsigned i = 0; i < ARC_SETS; i++) {
        const struct arc_set *set = &arc->sets[i];
        unsigned parts = (set->results != NULL) + (set->message != NULL) + (set->seal != NULL);
        if (parts == 3 && arc->count == i)
            arc->count++;
        else if (parts)
            return broken(arc, "a set is not whole");
    }
    return ARC_CHAIN;
}

enum arc_status arc_collect(const struct header_field *fields, unsigned field_count,
                            struct arc *ret_arc)
{
    bool any = false;
    *ret_arc = (struct arc){0};
    for (unsigned i = 0; i < field_count; i++) {
        enum part part = part_of(fields[i].name);
        if (part == PART_NONE)
            continue;
        any = true;
        unsigned instance = instance_of(fields[i].value);
        if (instance == 0)
            return broken(ret_arc, "a field without an instance that may be");
        const struct header_field **place = place_of(&ret_arc->sets[instance - 1], part);
        if (*place)
            return broken(ret_arc, "a set has a field twice");
        *place = &fields[i];
    }
    return any ? look_at_sets(ret_arc) : ARC_NONE;
}

void arc_seal_digest(const struct arc *arc, unsigned index, const struct dkim_signature *seal,
                     uint8_t ret_digest[DIGEST_LEN])
{
    struct digest digest;
    digest_init(&digest);
    for (unsigned i = 0; i <= index; i++) {
        const struct arc_set *set = &arc->sets[i];
        dkim_field_put(DKIM_RELAXED, set->results->text, true, dkim_emit_to_digest, &digest);
        dkim_field_put(DKIM_RELAXED, set->message->text, true, dkim_emit_to_digest, &digest);
        if (i < index)
            dkim_field_put(DKIM_RELAXED, set->seal->text, true, dkim_emit_to_digest, &digest);
    }
    dkim_signature_put_own(seal, DKIM_RELAXED, dkim_emit_to_digest, &digest);
    digest_finish(&digest, ret_digest);
}

bool arc_seal_consistent(const struct dkim_signature *seal)
{
    return span_equals_any_case(seal->seal_status,
                                seal->instance == 1 ? SPAN("none") : SPAN("pass"));
}
