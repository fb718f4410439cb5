#include "smtp/dkim_write.h"

#include "smtp/dkim_signature.h"

#include "core/base64.h"

enum {
    LINE = 76,   /* octets of a line, without its end */
    FIRST = 4,   /* of a signature line that begins with "\tb=", as columns */
    FIXED = 512, /* more than all that is neither name nor domain */
};

size_t dkim_write_room(const struct dkim_written *written)
{
    size_t room = FIXED + written->domain.len + written->selector.len;
    for (unsigned i = 0; i < written->name_count; i++)
        room += written->names[i].len + sizeof ":\r\n\t ";
    return room;
}

/* "\th=From:From:To:\r\n\t Subject;" */
static void put_names(const struct dkim_written *written, struct sink *sink)
{
    size_t column = sizeof "\th=" - 1;
    sink_put(sink, SPAN("\th="));
    for (unsigned i = 0; i < written->name_count; i++) {
        struct span name = written->names[i];
        if (i && column + name.len + 1 > LINE) {
            sink_put(sink, SPAN("\r\n\t "));
            column = 2;
        }
        sink_put(sink, name);
        sink_byte(sink, i + 1 < written->name_count ? ':' : ';');
        column += name.len + 1;
    }
    sink_put(sink, SPAN("\r\n"));
}

void dkim_write(const struct dkim_written *written, struct sink *sink)
{
    sink_put(sink, SPAN("DKIM-Signature: v=1; a="));
    sink_put(sink, dkim_algorithm_name(written->algorithm));
    sink_put(sink, written->body_canon == DKIM_SIMPLE ? SPAN("; c=relaxed/simple;\r\n\td=")
                                                      : SPAN("; c=relaxed/relaxed;\r\n\td="));
    sink_put(sink, written->domain);
    sink_put(sink, SPAN("; s="));
    sink_put(sink, written->selector);
    sink_put(sink, SPAN(";\r\n\tt="));
    sink_decimal(sink, written->signed_at_s);
    if (written->expires_at_s) {
        sink_put(sink, SPAN("; x="));
        sink_decimal(sink, written->expires_at_s);
    }
    sink_put(sink, SPAN(";\r\n"));
    put_names(written, sink);
    sink_put(sink, SPAN("\tbh="));
    base64_put(sink, span_of(written->body_hash, DIGEST_LEN));
    sink_put(sink, SPAN(";\r\n\tb="));
}

void dkim_write_signature(struct span signature, struct sink *sink)
{
    char text[BASE64_LEN(SIGN_LEN)];
    struct sink base64;
    sink_init(&base64, text, sizeof text);
    base64_put(&base64, signature);
    struct span rest = sink_span(&base64);
    for (size_t room = LINE - FIRST; rest.len > room; room = LINE - 2) {
        sink_put(sink, span_first(rest, room));
        sink_put(sink, SPAN("\r\n\t "));
        rest = span_skip(rest, room);
    }
    sink_put(sink, rest);
    sink_put(sink, SPAN("\r\n"));
}
