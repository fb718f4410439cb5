/* answer.c: the packet is walked section by section with a cursor; nothing is copied before the
 * records to keep are known.
 *
 * The chain is followed by walking the answer section once per step, so that the order of the
 * records does not matter; the work is bounded by ANSWER_CHAIN walks over at most 64 KB. Failure
 * modes: compression that points forward or at itself (only pointers backwards are taken, so each
 * jump shrinks the rest), names over 255 bytes, counts that promise more than there is. */
#include "dns/answer.h"

#include "core/cursor.h"

#include <errno.h>
#include <stdlib.h>

enum {
    HEADER_BYTES = 12,
    FLAG_QR = 0x8000,
    FLAG_TC = 0x0200,
    FLAG_AD = 0x0020,
    RCODE_MASK = 0x000f,
    CLASS_IN = 1,
    POINTER = 0xc0,
};

struct packet {
    struct span bytes;
    struct cursor cursor;
    uint16_t flags, questions, answers, authorities;
};

/* A name in the packet. `odd`: well-formed on the wire, but nothing that mail could use. */
struct wire_name {
    struct name name;
    bool odd;
};

struct record {
    struct wire_name owner;
    uint16_t type, class;
    uint32_t ttl_s;
    struct cursor data;
};

struct kept {
    uint16_t preference;
    struct name name;
    struct span strings;
    uint8_t bits[16];
};

struct collection {
    struct name target; /* whose records are collected */
    struct name cname;  /* where the target's CNAME points to */
    bool has_cname;
    uint32_t ttl_s, cname_ttl_s;
    uint16_t count, left_out;
    struct kept kept[ANSWER_RECORDS];
};

static void append_label(struct wire_name *wire, struct span label)
{
    struct name *name = &wire->name;
    if (name->len > 0)
        name->text[name->len++] = '.';
    check(name->len + label.len < sizeof(name->text));
    for (size_t i = 0; i < label.len; i++) {
        wire->odd |= !name_byte_valid(label.data[i]);
        name->text[name->len++] = ascii_lower(label.data[i]);
    }
}

/* Reads a name at the cursor, which ends behind it (behind the first pointer). */
static bool read_name(struct span packet, struct cursor *cursor, struct wire_name *ret_wire)
{
    struct cursor at = *cursor;
    bool jumped = false;
    size_t wire_len = 0;
    *ret_wire = (struct wire_name){0};
    for (;;) {
        size_t offset = packet.len - at.rest.len;
        uint8_t len = cursor_u8(&at);
        if (at.bad)
            return false;
        if ((len & POINTER) == POINTER) {
            size_t target = (size_t)(len & ~POINTER) << 8 | cursor_u8(&at);
            if (at.bad || target >= offset)
                return false;
            if (!jumped)
                *cursor = at;
            jumped = true;
            at = cursor_over(span_skip(packet, target));
            continue;
        }
        wire_len += len + 1u;
        if (len > LABEL_BYTES || wire_len > 255)
            return false;
        if (len == 0)
            break;
        struct span label = cursor_bytes(&at, len);
        if (at.bad)
            return false;
        append_label(ret_wire, label);
    }
    if (!jumped)
        *cursor = at;
    return true;
}

static bool read_record(struct packet *packet, struct cursor *cursor, struct record *ret_record)
{
    if (!read_name(packet->bytes, cursor, &ret_record->owner))
        return false;
    ret_record->type = cursor_u16(cursor);
    ret_record->class = cursor_u16(cursor);
    ret_record->ttl_s = cursor_u32(cursor);
    if (ret_record->ttl_s > INT32_MAX) /* RFC 2181 8 */
        ret_record->ttl_s = 0;
    /* The data's cursor may not see beyond the record, but names in it point all over the packet:
     * read_name gets offsets right as long as the rest reaches the packet's end. */
    size_t len = cursor_u16(cursor);
    ret_record->data = *cursor;
    cursor_bytes(cursor, len);
    return !cursor->bad;
}

/* A name that must end exactly where the record ends. */
static bool read_last_name(struct packet *packet, struct record *record, const struct cursor *end,
                           struct wire_name *ret_wire)
{
    return read_name(packet->bytes, &record->data, ret_wire) &&
           record->data.rest.len == end->rest.len;
}

/* Where the next record of the wanted type goes; NULL: it is left out. */
static struct kept *place(struct collection *collection, uint16_t preference)
{
    if (collection->count < ANSWER_RECORDS)
        return &collection->kept[collection->count++];
    if (collection->left_out < UINT16_MAX)
        collection->left_out++;
    struct kept *worst = &collection->kept[0];
    for (size_t i = 1; i < collection->count; i++)
        if (collection->kept[i].preference >= worst->preference)
            worst = &collection->kept[i];
    return preference < worst->preference ? worst : NULL;
}

static void leave_out(struct collection *collection)
{
    if (collection->left_out < UINT16_MAX)
        collection->left_out++;
}

static bool collect_mx(struct packet *packet, struct record *record, const struct cursor *end,
                       struct collection *collection)
{
    struct wire_name exchange;
    uint16_t preference = cursor_u16(&record->data);
    if (record->data.bad || !read_last_name(packet, record, end, &exchange))
        return false;
    if (exchange.odd) {
        leave_out(collection);
        return true;
    }
    struct kept *kept = place(collection, preference);
    if (kept)
        *kept = (struct kept){.preference = preference, .name = exchange.name};
    return true;
}

static bool collect_ptr(struct packet *packet, struct record *record, const struct cursor *end,
                        struct collection *collection)
{
    struct wire_name target;
    if (!read_last_name(packet, record, end, &target))
        return false;
    if (target.odd || target.name.len == 0) {
        leave_out(collection);
        return true;
    }
    struct kept *kept = place(collection, 0);
    if (kept)
        *kept = (struct kept){.name = target.name};
    return true;
}

static bool collect_txt(struct record *record, const struct cursor *end,
                        struct collection *collection)
{
    struct span strings = span_first(record->data.rest, record->data.rest.len - end->rest.len);
    struct cursor cursor = cursor_over(strings);
    while (cursor.rest.len && !cursor.bad)
        cursor_bytes(&cursor, cursor_u8(&cursor));
    if (cursor.bad || strings.len == 0)
        return false;
    if (strings.len > ANSWER_STRINGS) {
        leave_out(collection);
        return true;
    }
    struct kept *kept = place(collection, 0);
    if (kept)
        *kept = (struct kept){.strings = strings};
    return true;
}

static bool collect_address(struct record *record, const struct cursor *end, enum rr_type type,
                            struct collection *collection)
{
    size_t len = type == RR_A ? 4 : 16;
    if (record->data.rest.len - end->rest.len != len)
        return false;
    struct kept *kept = place(collection, 0);
    if (!kept)
        return true;
    *kept = (struct kept){.bits = {[10] = 0xff, [11] = 0xff}};
    memcpy(kept->bits + sizeof(kept->bits) - len, record->data.rest.data, len);
    return true;
}

static uint32_t smaller(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static bool collect_record(struct packet *packet, struct record *record, const struct cursor *end,
                           enum rr_type type, struct collection *collection)
{
    if (record->class != CLASS_IN || record->owner.odd ||
        !name_equals(&record->owner.name, &collection->target))
        return true;
    if (record->type == RR_CNAME) {
        struct wire_name cname;
        if (!read_last_name(packet, record, end, &cname) || cname.odd || cname.name.len == 0)
            return false;
        collection->has_cname = true;
        collection->cname = cname.name;
        collection->cname_ttl_s = record->ttl_s;
        return true;
    }
    if (record->type != type)
        return true;
    collection->ttl_s = smaller(collection->ttl_s, record->ttl_s);
    switch (type) {
    case RR_MX:
        return collect_mx(packet, record, end, collection);
    case RR_PTR:
        return collect_ptr(packet, record, end, collection);
    case RR_TXT:
        return collect_txt(record, end, collection);
    default:
        return collect_address(record, end, type, collection);
    }
}

/* One walk over the answer section: the target's records, or its CNAME. `cursor` ends behind it. */
static bool walk_answers(struct packet *packet, struct cursor *cursor, enum rr_type type,
                         struct collection *collection)
{
    collection->has_cname = false;
    for (unsigned i = 0; i < packet->answers; i++) {
        struct record record;
        if (!read_record(packet, cursor, &record) ||
            !collect_record(packet, &record, cursor, type, collection))
            return false;
    }
    return true;
}

static bool follow_chain(struct packet *packet, enum rr_type type, struct collection *collection,
                         unsigned *ret_steps)
{
    struct cursor start = packet->cursor;
    for (unsigned steps = 0; steps <= ANSWER_CHAIN; steps++) {
        packet->cursor = start;
        if (!walk_answers(packet, &packet->cursor, type, collection))
            return false;
        if (collection->count > 0 || collection->left_out > 0 || !collection->has_cname) {
            *ret_steps = steps;
            return true;
        }
        collection->target = collection->cname;
        collection->ttl_s = smaller(collection->ttl_s, collection->cname_ttl_s);
    }
    return false;
}

/* What the authority section says about a negative answer. */
struct authority {
    bool has_soa, has_ns;
    uint32_t ttl_s;
};

static bool read_soa(struct packet *packet, struct record *record, struct authority *authority)
{
    struct wire_name ignored;
    if (!read_name(packet->bytes, &record->data, &ignored) ||
        !read_name(packet->bytes, &record->data, &ignored))
        return false;
    cursor_bytes(&record->data, 4 * sizeof(uint32_t)); /* serial, refresh, retry, expire */
    uint32_t minimum = cursor_u32(&record->data);
    authority->has_soa = true;
    authority->ttl_s = smaller(record->ttl_s, minimum > INT32_MAX ? 0 : minimum);
    return !record->data.bad;
}

static bool walk_authority(struct packet *packet, struct authority *authority)
{
    for (unsigned i = 0; i < packet->authorities; i++) {
        struct record record;
        if (!read_record(packet, &packet->cursor, &record))
            return false;
        authority->has_ns |= record.type == RR_NS;
        if (record.type == RR_SOA && !read_soa(packet, &record, authority))
            return false;
    }
    return true;
}

static int read_header(struct packet *packet, const struct name *name, enum rr_type type)
{
    struct cursor *cursor = &packet->cursor;
    cursor_u16(cursor); /* the id was the transport's business */
    packet->flags = cursor_u16(cursor);
    packet->questions = cursor_u16(cursor);
    packet->answers = cursor_u16(cursor);
    packet->authorities = cursor_u16(cursor);
    cursor_u16(cursor); /* nothing in the additional section is believed */
    if (cursor->bad || !(packet->flags & FLAG_QR) || packet->questions != 1)
        return -EPROTO;
    struct wire_name asked;
    if (!read_name(packet->bytes, cursor, &asked) || asked.odd || !name_equals(&asked.name, name))
        return -EPROTO;
    if (cursor_u16(cursor) != type || cursor_u16(cursor) != CLASS_IN || cursor->bad)
        return -EPROTO;
    return packet->flags & FLAG_TC ? -EMSGSIZE : 0;
}

static int build(const struct packet *packet, const struct collection *collection, bool follow,
                 bool ttl_known, struct answer **ret_answer)
{
    struct answer header = {
        .rcode = packet->flags & RCODE_MASK,
        .authentic = packet->flags & FLAG_AD,
        .follow = follow,
        .ttl_known = ttl_known,
        .ttl_s = collection->ttl_s,
        .left_out = collection->left_out,
        .count = collection->count,
        .name = name_span(&collection->target),
    };
    struct answer_record records[ANSWER_RECORDS];
    for (size_t i = 0; i < collection->count; i++) {
        const struct kept *kept = &collection->kept[i];
        records[i] = (struct answer_record){
            .preference = kept->preference,
            .name = name_span(&kept->name),
            .strings = kept->strings,
        };
        memcpy(records[i].bits, kept->bits, sizeof(kept->bits));
    }
    *ret_answer = answer_new(&header, records);
    return *ret_answer ? 0 : -ENOMEM;
}

int answer_decode(struct span bytes, const struct name *name, enum rr_type type,
                  struct answer **ret_answer)
{
    struct packet packet = {.bytes = bytes, .cursor = cursor_over(bytes)};
    int error = read_header(&packet, name, type);
    if (error)
        return error;
    struct collection collection = {.target = *name, .ttl_s = INT32_MAX};
    struct authority authority = {0};
    unsigned steps;
    if (!follow_chain(&packet, type, &collection, &steps) || !walk_authority(&packet, &authority))
        return -EBADMSG;

    /* RFC 6604: the code is about the end of the chain. */
    unsigned rcode = packet.flags & RCODE_MASK;
    if (rcode != RCODE_NOERROR)
        collection.count = collection.left_out = 0;
    bool positive = collection.count > 0 || collection.left_out > 0;
    bool follow = rcode == RCODE_NOERROR && !positive && steps > 0 && !authority.has_soa;
    if (positive || follow)
        return build(&packet, &collection, follow, true, ret_answer);

    /* A server that refers us to others has not answered (RFC 2308 2.2, "referral"). */
    if (rcode == RCODE_NOERROR && !authority.has_soa && authority.has_ns)
        return -EBADMSG;
    collection.ttl_s = authority.has_soa ? smaller(collection.ttl_s, authority.ttl_s) : 0;
    return build(&packet, &collection, false, authority.has_soa, ret_answer);
}

static struct span copy_span(char **at, struct span span)
{
    struct span copy = span_of(*at, span.len);
    if (span.len > 0)
        memcpy(*at, span.data, span.len);
    *at += span.len;
    return copy;
}

struct answer *answer_new(const struct answer *header, const struct answer_record *records)
{
    size_t size = sizeof(struct answer) + header->count * sizeof(records[0]) + header->name.len;
    for (size_t i = 0; i < header->count; i++)
        size += records[i].name.len + records[i].strings.len;
    struct answer *answer = malloc(size);
    if (!answer)
        return NULL;
    *answer = *header;
    char *at = (char *)&answer->records[header->count];
    answer->name = copy_span(&at, header->name);
    for (size_t i = 0; i < header->count; i++) {
        answer->records[i] = records[i];
        answer->records[i].name = copy_span(&at, records[i].name);
        answer->records[i].strings = copy_span(&at, records[i].strings);
    }
    return answer;
}

struct answer *answer_free(struct answer *answer)
{
    free(answer);
    return NULL;
}

void answer_text(const struct answer_record *record, struct sink *sink)
{
    struct cursor cursor = cursor_over(record->strings);
    while (cursor.rest.len && !cursor.bad)
        sink_put(sink, cursor_bytes(&cursor, cursor_u8(&cursor)));
}
