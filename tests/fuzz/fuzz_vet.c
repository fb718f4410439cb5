/* Fuzz: whole messages through verification. The first octet chooses how they are cut, the text up
 * to the first NUL is what every name has as its TXT record, the rest is the message. */
#include "smtp/vet.h"
#include "tests/message_fake.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct answer *answer_with(struct span text, enum rr_type type)
{
    char strings[256];
    struct sink sink;
    struct answer_record record = {.name = SPAN("a.test"), .bits = {[10] = 0xff, [11] = 0xff, 192}};
    struct answer header = {.count = 1, .name = SPAN("a.test")};
    sink_init(&sink, strings, sizeof strings);
    sink_u8(&sink, (uint8_t)span_first(text, 255).len);
    sink_put(&sink, span_first(text, 255));
    if (type == RR_TXT)
        record.strings = sink_span(&sink);
    return answer_new(&header, &record);
}

static void answer_all(struct vet *vet, struct span text)
{
    struct name name;
    enum rr_type type;
    unsigned asked = 0;
    for (unsigned line = 0; line < VET_LINES; line++)
        while (vet_asks(vet, (enum vet_line)line, &name, &type)) {
            struct answer *answer = answer_with(text, type);
            vet_answer(vet, (enum vet_line)line, answer, 1600000000);
            answer_free(answer);
            check(++asked < 1000);
        }
}

static void put_results(struct vet *vet)
{
    char text[VET_RESULTS];
    struct sink sink;
    sink_init(&sink, text, sizeof text);
    vet_put_results(vet, &sink);
    check(!sink.full);
    for (size_t i = 0; i < sink.len; i++)
        check((text[i] >= ' ' && text[i] <= '~') || text[i] == '\t' || text[i] == '\r' ||
              text[i] == '\n');
}

static bool take_all(struct vet *vet, struct message *message, struct span text, size_t step)
{
    for (; text.len; text = span_skip(text, step))
        if (vet_add(vet, message, span_first(text, step), NULL) != 0)
            return false;
    return vet_end(vet, message) == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct share share = {.next_id = 1};
    struct vet_subject subject = {.hostname = SPAN("mail.test"),
                                  .client = SPAN("192.0.2.1"),
                                  .helo = SPAN("client.test"),
                                  .sender = SPAN("a@b.test"),
                                  .client_bits = {[10] = 0xff, [11] = 0xff, 192, 0, 2, 1}};
    if (size < 2)
        return 0;
    struct span rest = span_of(data + 1, size - 1);
    struct span record = span_first(rest, span_find(rest, '\0'));
    chunk_pool_init(&share.pool, SIZE_MAX / 2, 0);
    struct message *message = message_new(&share);
    struct vet *vet = vet_new(&message->arena, &subject);
    check(vet);
    if (take_all(vet, message, span_skip(rest, record.len + 1), data[0] ? data[0] : SIZE_MAX)) {
        answer_all(vet, record);
        put_results(vet);
    }
    message_abandon(message);
    chunk_pool_fini(&share.pool);
    return 0;
}
