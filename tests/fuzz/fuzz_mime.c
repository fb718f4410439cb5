/* Any octets as a message: every section lies in it, the answer does not depend on where the pushes
 * were cut, and its parentheses and quotes close. */
#include "core/check.h"
#include "retrieval/imap_envelope.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ANSWER = 4 << 20 };

struct parsed {
    struct mime_parser parser;
    struct mime_part parts[MIME_PARTS];
};

static void parse(struct parsed *parsed, struct span message, size_t cut)
{
    mime_init(&parsed->parser, parsed->parts, MIME_PARTS);
    mime_push(&parsed->parser, span_first(message, cut));
    mime_push(&parsed->parser, span_skip(message, cut));
    mime_finish(&parsed->parser);
}

static void check_inside(struct mime_range range, size_t size)
{
    check(range.at <= size && range.len <= size - range.at);
}

static void check_parts(const struct parsed *parsed, size_t size)
{
    for (unsigned i = 0; i < parsed->parser.count; i++) {
        const struct mime_part *part = &parsed->parts[i];
        check_inside(part->header, size);
        check_inside(part->body, size);
        check(part->body.at == part->header.at + part->header.len);
        check(part->parent < i || i == 0);
        for (unsigned field = 0; field < MIME_FIELDS; field++)
            check_inside(part->fields[field], size);
    }
}

/* RFC 3501 9: a literal is skipped by its length. */
static void check_balanced(struct span answer)
{
    int depth = 0;
    for (size_t at = 0; at < answer.len; at++) {
        char c = answer.data[at];
        if (c == '"') {
            for (at++; at < answer.len && answer.data[at] != '"'; at++)
                at += answer.data[at] == '\\';
            check(at < answer.len);
        } else if (c == '{') {
            size_t end = span_find(span_skip(answer, at), '}');
            uint64_t len;
            check(span_decimal(span_first(span_skip(answer, at + 1), end - 1), ANSWER, &len));
            at += end + 2 + len;
            check(at < answer.len);
        } else {
            depth += (c == '(') - (c == ')');
            check(depth >= 0);
        }
    }
    check(depth == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct parsed whole, cut;
    static char answer[ANSWER];
    struct span message = span_of(data, size);
    parse(&whole, message, 0);
    parse(&cut, message, size / 3);
    check(whole.parser.count == cut.parser.count);
    check(memcmp(whole.parts, cut.parts, whole.parser.count * sizeof *whole.parts) == 0);
    check_parts(&whole, size);
    struct sink sink;
    sink_init(&sink, answer, sizeof answer);
    imap_envelope_put(&sink, message, whole.parts);
    if (!sink.full)
        check_balanced(sink_span(&sink));
    sink_init(&sink, answer, sizeof answer);
    imap_structure_put(&sink, message, whole.parts, whole.parser.count, true);
    if (!sink.full)
        check_balanced(sink_span(&sink));
    return 0;
}
