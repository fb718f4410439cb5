#include "retrieval/imap_envelope.h"

#include "retrieval/imap_address.h"
#include "retrieval/imap_string.h"

static struct span value_of(struct span message, const struct mime_part *part,
                            enum mime_field field)
{
    struct mime_range range = part->fields[field];
    return span_first(span_skip(message, range.at), range.len);
}

static void put_value(struct sink *sink, struct span message, const struct mime_part *part,
                      enum mime_field field)
{
    if (part->fields[field].at == 0)
        imap_nil_put(sink);
    else
        imap_unfolded_put(sink, tokens_trim(value_of(message, part, field)));
}

static bool write_addresses(struct sink *sink, struct span message, const struct mime_part *part,
                            enum mime_field field)
{
    struct imap_address_list list;
    imap_address_list_begin(&list, sink);
    if (part->repeated & 1U << field) {
        struct span header = span_first(span_skip(message, part->header.at), part->header.len);
        struct span value;
        while (mime_field_next(&header, field, &value))
            imap_address_list_add(&list, value);
    } else {
        imap_address_list_add(&list, value_of(message, part, field));
    }
    return imap_address_list_end(&list);
}

static void put_addresses(struct sink *sink, struct span message, const struct mime_part *part,
                          enum mime_field field)
{
    bool defaults = field == MIME_SENDER || field == MIME_REPLY_TO;
    if (!write_addresses(sink, message, part, field) &&
        !(defaults && write_addresses(sink, message, part, MIME_FROM)))
        imap_nil_put(sink);
}

void imap_envelope_put(struct sink *sink, struct span message, const struct mime_part *part)
{
    sink_byte(sink, '(');
    put_value(sink, message, part, MIME_DATE);
    sink_byte(sink, ' ');
    put_value(sink, message, part, MIME_SUBJECT);
    for (enum mime_field field = MIME_FROM; field <= MIME_BCC; field++) {
        sink_byte(sink, ' ');
        put_addresses(sink, message, part, field);
    }
    sink_byte(sink, ' ');
    put_value(sink, message, part, MIME_IN_REPLY_TO);
    sink_byte(sink, ' ');
    put_value(sink, message, part, MIME_MESSAGE_ID);
    sink_byte(sink, ')');
}
