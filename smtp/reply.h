/* reply: the form of SMTP replies (RFC 5321 4.2, RFC 2034), and the table of those that the server
 * gives. Pure. */
#pragma once

#include "core/sink.h"

enum answer {
    ANSWER_NONE,
#define ANSWER(name, code, enhanced, text) ANSWER_##name,
#include "smtp/replies.def"
#undef ANSWER
    ANSWERS,
};

int answer_code(enum answer answer);

/* The whole reply, one line. */
void answer_put(enum answer answer, struct sink *sink);

/* One line: "250-2.0.0 text" or, the last one, "250 2.0.0 text". `enhanced` may be "". */
void reply_put_line(int code, bool last, const char *enhanced, struct span text, struct sink *sink);
