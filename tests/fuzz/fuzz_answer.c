/* Fuzz: DNS responses. The first byte chooses the type; the name asked is the one in the question,
 * so that the decoder gets past it. */
#include "dns/answer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The question's labels as text, uncompressed; anything else asks for a fixed name. */
static struct name asked_name(struct span packet)
{
    struct name name;
    char text[256];
    size_t len = 0;
    struct span rest = span_skip(packet, 12);
    while (rest.len > 0 && rest.data[0] > 0 && rest.data[0] <= LABEL_BYTES) {
        struct span label = span_first(span_skip(rest, 1), (size_t)rest.data[0]);
        if (len + label.len + 1 > sizeof(text))
            break;
        memcpy(text + len, label.data, label.len);
        len += label.len;
        text[len++] = '.';
        rest = span_skip(rest, label.len + 1);
    }
    if (!name_parse(span_of(text, len), &name) && !name_parse(SPAN("a.example"), &name))
        check(false);
    return name;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum rr_type types[] = {RR_MX, RR_A, RR_AAAA, RR_TXT, RR_PTR};
    if (size == 0)
        return 0;
    struct span packet = span_of(data + 1, size - 1);
    enum rr_type type = types[data[0] % countof(types)];
    struct name name = asked_name(packet);
    struct answer *answer;
    if (answer_decode(packet, &name, type, &answer) != 0)
        return 0;
    check(answer->count <= ANSWER_RECORDS);
    check(answer->name.len > 0 && answer->name.len <= NAME_BYTES);
    check(!answer->follow || answer->count == 0);
    for (size_t i = 0; i < answer->count; i++) {
        struct name checked;
        struct span exchange = answer->records[i].name;
        check(exchange.len == 0 || name_parse(exchange, &checked));
        char text[ANSWER_STRINGS];
        struct sink sink;
        sink_init(&sink, text, sizeof text);
        answer_text(&answer->records[i], &sink);
        check(!sink.full);
    }
    answer_free(answer);
    return 0;
}
