/* BODY and BODYSTRUCTURE. Parts come in the order in which they begin, so a part's children are the
 * parts behind it that are deeper, up to the first that is not. */
#include "retrieval/imap_envelope.h"

#include "retrieval/imap_string.h"

enum {
    VALUE_MOST = 2048, /* octets of a parameter's value */
    PARAMETERS = 100,  /* of a field that are looked at: joining pieces takes the square of it */
    LANGUAGES = 32,
};

struct structure {
    struct sink *sink;
    struct span message;
    const struct mime_part *parts;
    unsigned count;
    bool extended;
};

static struct span value_of(const struct structure *structure, const struct mime_part *part,
                            enum mime_field field)
{
    struct mime_range range = part->fields[field];
    return span_first(span_skip(structure->message, range.at), range.len);
}

/* ---- parameters ---- */

struct parameter {
    struct sink name, value;
    char name_text[MIME_TYPE_NAME], value_text[VALUE_MOST];
};

static void parameter_init(struct parameter *parameter)
{
    sink_init(&parameter->name, parameter->name_text, sizeof parameter->name_text);
    sink_init(&parameter->value, parameter->value_text, sizeof parameter->value_text);
}

/* The pieces name*0, name*1, ... of RFC 2231 3 come out as one name, or as name* where one of them
 * is encoded. True: `piece` is such a piece, `ret_base` its name without the number. */
static bool is_piece(struct span name, struct span *ret_base, bool *ret_encoded)
{
    *ret_encoded = name.len > 0 && name.data[name.len - 1] == '*';
    struct span plain = span_first(name, name.len - *ret_encoded);
    size_t star = span_find(plain, '*');
    uint64_t number;
    *ret_base = span_first(plain, star);
    return star < plain.len && span_decimal(span_skip(plain, star + 1), 999, &number);
}

/* Whether an earlier parameter was the first piece of the same name. */
static bool joins_earlier(struct span value, struct span before, struct span base)
{
    struct tokens tokens = tokens_over(span_first(value, value.len - before.len));
    struct parameter parameter;
    parameter_init(&parameter);
    while (tokens_parameter(&tokens, &parameter.name, &parameter.value)) {
        struct span earlier;
        bool encoded;
        if (is_piece(sink_span(&parameter.name), &earlier, &encoded) &&
            span_equals_any_case(earlier, base))
            return true;
    }
    return false;
}

/* All pieces of `base`, joined in the order in which they stand. */
static void join_pieces(struct span value, struct span base, struct sink *joined, bool *ret_encoded)
{
    struct tokens tokens = tokens_over(value);
    struct parameter parameter;
    parameter_init(&parameter);
    *ret_encoded = false;
    for (unsigned count = 0; count < PARAMETERS; count++) {
        struct span name;
        bool encoded;
        if (!tokens_parameter(&tokens, &parameter.name, &parameter.value))
            return;
        if (!is_piece(sink_span(&parameter.name), &name, &encoded) ||
            !span_equals_any_case(name, base))
            continue;
        *ret_encoded |= encoded;
        sink_put_cut(joined, sink_span(&parameter.value));
    }
}

static void put_pair(struct sink *sink, bool first, struct span name, bool star, struct span value)
{
    char text[MIME_TYPE_NAME + 1];
    struct sink whole;
    sink_init(&whole, text, sizeof text);
    sink_put(&whole, name);
    if (star)
        sink_byte(&whole, '*');
    sink_byte(sink, first ? '(' : ' ');
    imap_string_put(sink, sink_span(&whole));
    sink_byte(sink, ' ');
    imap_string_put(sink, value);
}

/* The parameters of a field's value, or NIL; text without a charset gets us-ascii (RFC 2046 4.1.2).
 */
static void put_parameters(struct sink *sink, struct span value, bool add_charset)
{
    struct tokens tokens = tokens_over(value);
    struct parameter parameter;
    bool any = false;
    parameter_init(&parameter);
    for (unsigned count = 0; count < PARAMETERS; count++) {
        struct span before = tokens.rest;
        if (!tokens_parameter(&tokens, &parameter.name, &parameter.value))
            break;
        struct span name = sink_span(&parameter.name), base;
        bool encoded;
        add_charset = add_charset && !span_equals_any_case(name, SPAN("charset"));
        if (!is_piece(name, &base, &encoded)) {
            put_pair(sink, !any, name, false, sink_span(&parameter.value));
        } else if (!joins_earlier(value, before, base)) {
            char text[VALUE_MOST];
            struct sink joined;
            sink_init(&joined, text, sizeof text);
            join_pieces(value, base, &joined, &encoded);
            put_pair(sink, !any, base, encoded, sink_span(&joined));
        } else {
            continue;
        }
        any = true;
    }
    if (add_charset)
        put_pair(sink, !any, SPAN("charset"), false, SPAN("us-ascii"));
    if (any || add_charset)
        sink_byte(sink, ')');
    else
        imap_nil_put(sink);
}

/* ---- fields ---- */

static void put_field(struct structure *structure, const struct mime_part *part,
                      enum mime_field field)
{
    struct span value = tokens_trim(value_of(structure, part, field));
    if (part->fields[field].at == 0)
        imap_nil_put(structure->sink);
    else
        imap_unfolded_put(structure->sink, value);
}

static void put_encoding(struct structure *structure, const struct mime_part *part)
{
    char text[MIME_TYPE_NAME];
    struct sink encoding;
    sink_init(&encoding, text, sizeof text);
    struct tokens tokens = tokens_over(value_of(structure, part, MIME_CONTENT_ENCODING));
    bool given = tokens_token(&tokens, &encoding) && tokens_next(&tokens) < 0;
    imap_string_put(structure->sink, given ? sink_span(&encoding) : SPAN("7bit"));
}

static void put_disposition(struct structure *structure, const struct mime_part *part)
{
    char text[MIME_TYPE_NAME];
    struct sink kind;
    sink_init(&kind, text, sizeof text);
    struct span value = value_of(structure, part, MIME_CONTENT_DISPOSITION);
    struct tokens tokens = tokens_over(value);
    if (!tokens_token(&tokens, &kind)) {
        imap_nil_put(structure->sink);
        return;
    }
    sink_byte(structure->sink, '(');
    imap_string_put(structure->sink, sink_span(&kind));
    sink_byte(structure->sink, ' ');
    put_parameters(structure->sink, tokens.rest, false);
    sink_byte(structure->sink, ')');
}

/* RFC 3282: tags with commas between them. */
static void put_language(struct structure *structure, const struct mime_part *part)
{
    struct tokens tokens = tokens_over(value_of(structure, part, MIME_CONTENT_LANGUAGE));
    unsigned count = 0;
    while (count < LANGUAGES) {
        char text[MIME_TYPE_NAME];
        struct sink tag;
        sink_init(&tag, text, sizeof text);
        if (!tokens_token(&tokens, &tag))
            break;
        sink_byte(structure->sink, count++ == 0 ? '(' : ' ');
        imap_string_put(structure->sink, sink_span(&tag));
        if (tokens_next(&tokens) != ',')
            break;
        tokens_take(&tokens);
    }
    if (count > 0)
        sink_byte(structure->sink, ')');
    else
        imap_nil_put(structure->sink);
}

static void put_extensions(struct structure *structure, const struct mime_part *part)
{
    sink_byte(structure->sink, ' ');
    put_disposition(structure, part);
    sink_byte(structure->sink, ' ');
    put_language(structure, part);
    sink_byte(structure->sink, ' ');
    put_field(structure, part, MIME_CONTENT_LOCATION);
}

/* ---- parts ---- */

/* Type and subtype in quotes, as given; what is not a type is text/plain (RFC 2045 5.2). */
static void put_type(struct structure *structure, const struct mime_part *part)
{
    struct mime_type_storage storage;
    struct mime_type type;
    struct span value = value_of(structure, part, MIME_CONTENT_TYPE);
    if (part->kind == MIME_MESSAGE)
        sink_put(structure->sink, SPAN("\"message\" \"rfc822\""));
    else if (!mime_type_read(value, &storage, &type))
        sink_put(structure->sink, SPAN("\"text\" \"plain\""));
    else {
        imap_string_put(structure->sink, type.type);
        sink_byte(structure->sink, ' ');
        imap_string_put(structure->sink, type.subtype);
    }
}

static unsigned end_of(const struct structure *structure, unsigned index)
{
    unsigned end = index + 1;
    while (end < structure->count && structure->parts[end].depth > structure->parts[index].depth)
        end++;
    return end;
}

/* Where a part must be shown and there is none. */
static void put_nothing(struct structure *structure)
{
    sink_put(structure->sink,
             SPAN("(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 0 0"));
    sink_put(structure->sink, structure->extended ? SPAN(" NIL NIL NIL NIL)") : SPAN(")"));
}

static void put_part(struct structure *structure, unsigned index);

/* A message that was cut by a limit is shown without what would be in it. */
static void put_inner_message(struct structure *structure, unsigned index)
{
    static const struct mime_part nothing = {.kind = MIME_TEXT};
    bool there = end_of(structure, index) > index + 1;
    struct sink *sink = structure->sink;
    sink_byte(sink, ' ');
    imap_envelope_put(sink, structure->message, there ? structure->parts + index + 1 : &nothing);
    sink_byte(sink, ' ');
    if (there)
        put_part(structure, index + 1);
    else
        put_nothing(structure);
}

static void put_leaf(struct structure *structure, unsigned index)
{
    const struct mime_part *part = &structure->parts[index];
    struct sink *sink = structure->sink;
    put_type(structure, part);
    sink_byte(sink, ' ');
    put_parameters(sink, value_of(structure, part, MIME_CONTENT_TYPE), part->kind == MIME_TEXT);
    sink_byte(sink, ' ');
    put_field(structure, part, MIME_CONTENT_ID);
    sink_byte(sink, ' ');
    put_field(structure, part, MIME_CONTENT_DESCRIPTION);
    sink_byte(sink, ' ');
    put_encoding(structure, part);
    sink_byte(sink, ' ');
    sink_decimal(sink, part->body.len);
    if (part->kind == MIME_MESSAGE)
        put_inner_message(structure, index);
    if (part->kind != MIME_LEAF) {
        sink_byte(sink, ' ');
        sink_decimal(sink, part->body_lines);
    }
    if (!structure->extended)
        return;
    sink_byte(sink, ' ');
    put_field(structure, part, MIME_CONTENT_MD5);
    put_extensions(structure, part);
}

static void put_multipart(struct structure *structure, unsigned index)
{
    const struct mime_part *part = &structure->parts[index];
    struct mime_type_storage storage;
    struct mime_type type = {.subtype = SPAN("mixed")};
    struct span value = value_of(structure, part, MIME_CONTENT_TYPE);
    unsigned end = end_of(structure, index);
    for (unsigned child = index + 1; child < end; child = end_of(structure, child))
        put_part(structure, child);
    if (end == index + 1) /* the grammar wants one (RFC 3501 9, body-type-mpart) */
        put_nothing(structure);
    sink_byte(structure->sink, ' ');
    (void)mime_type_read(value, &storage, &type);
    imap_string_put(structure->sink, type.subtype);
    if (!structure->extended)
        return;
    sink_byte(structure->sink, ' ');
    put_parameters(structure->sink, value, false);
    put_extensions(structure, part);
}

/* At most MIME_DEPTH deep. */
static void put_part(struct structure *structure, unsigned index)
{
    sink_byte(structure->sink, '(');
    if (structure->parts[index].kind == MIME_MULTIPART)
        put_multipart(structure, index);
    else
        put_leaf(structure, index);
    sink_byte(structure->sink, ')');
}

void imap_structure_put(struct sink *sink, struct span message, const struct mime_part *parts,
                        unsigned count, bool extended)
{
    struct structure structure = {sink, message, parts, count, extended};
    put_part(&structure, 0);
}
