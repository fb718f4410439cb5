/* Fuzz: SPF. The input is lines; each question takes the next one as its answer: "!" fails, "" does
 * not exist, anything else is a text, a name and an address. */
#include "smtp/spf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct answer *answer_with(struct span line, enum rr_type type)
{
    char strings[ANSWER_STRINGS + 64];
    struct sink sink;
    struct name name;
    struct answer_record record = {.bits = {[10] = 0xff, [11] = 0xff, 192, 0, 2, 1}};
    struct answer header = {.count = line.len > 0, .name = SPAN("a.test")};
    header.rcode = line.len ? RCODE_NOERROR : RCODE_NXDOMAIN;
    if (span_equals(line, SPAN("!")))
        return NULL;
    sink_init(&sink, strings, sizeof strings);
    for (struct span text = span_first(line, 4000); text.len; text = span_skip(text, 255)) {
        sink_u8(&sink, (uint8_t)span_first(text, 255).len);
        sink_put(&sink, span_first(text, 255));
    }
    record.strings = sink_span(&sink);
    if ((type == RR_MX || type == RR_PTR) && name_parse(line, &name))
        record.name = name_span(&name);
    return answer_new(&header, &record);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct spf spf;
    struct chunk_pool pool;
    struct arena arena;
    struct span rest = span_of(data, size);
    struct spf_subject subject = {.local = SPAN("l.o-c"),
                                  .domain = SPAN("a.test"),
                                  .helo = SPAN("client.test"),
                                  .client = {[10] = 0xff, [11] = 0xff, 192, 0, 2, 1}};
    struct name name;
    enum rr_type type;
    unsigned asked = 0;
    chunk_pool_init(&pool, SIZE_MAX / 2, 0);
    arena_init(&arena, &pool, SIZE_MAX / 2);
    spf_init(&spf, &arena, &subject);
    while (spf_asks(&spf, &name, &type)) {
        struct span line = span_first(rest, span_find(rest, '\n'));
        rest = span_skip(rest, line.len + 1);
        struct answer *answer = answer_with(line, type);
        spf_answer(&spf, answer);
        answer_free(answer);
        check(++asked <= SPF_TERMS * (SPF_HOSTS + 2) + 20);
    }
    check(spf_result_name(spf.result).len > 0);
    arena_fini(&arena);
    chunk_pool_fini(&pool);
    return 0;
}
