#include "smtp/reply.h"

#include "core/check.h"

static const struct {
    int code;
    const char *enhanced, *text;
} answers[ANSWERS] = {
#define ANSWER(name, code, enhanced, text) [ANSWER_##name] = {code, enhanced, text},
#include "smtp/replies.def"
#undef ANSWER
};

int answer_code(enum answer answer)
{
    return answers[answer].code;
}

void answer_put(enum answer answer, struct sink *sink)
{
    check(answer > ANSWER_NONE && answer < ANSWERS);
    reply_put_line(answers[answer].code, true, answers[answer].enhanced,
                   span_string(answers[answer].text), sink);
}

void reply_put_line(int code, bool last, const char *enhanced, struct span text, struct sink *sink)
{
    sink_decimal(sink, (uint64_t)code);
    sink_byte(sink, last ? ' ' : '-');
    if (*enhanced) {
        sink_put(sink, span_string(enhanced));
        sink_byte(sink, ' ');
    }
    sink_put(sink, text);
    sink_put(sink, SPAN("\r\n"));
}
