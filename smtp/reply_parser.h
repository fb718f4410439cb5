/* reply_parser: SMTP replies out of whatever bytes a peer sends (RFC 5321 4.2). Pure, bounded.
 *
 * Fed with bytes in any cut, it says after each whole line what it has. Only CR LF ends a line: a
 * bare CR or LF is malformed, because a peer (or somebody who speaks through it) that can make us
 * see two replies where there is one shifts every verdict that follows. Also malformed: a code
 * outside 200..599, something else than SP, "-" or the line end behind the code, lines of one reply
 * with different codes, more than REPLY_LINES lines or REPLY_BYTES bytes. Tolerated: no text at
 * all, any second digit, long lines (cut), control and 8-bit characters (shown as '?').
 *
 * The enhanced code (RFC 3463) is taken from the first line that starts with one whose class is the
 * code's class; such prefixes are taken out of the text. */
#pragma once

#include "core/check.h"
#include "queue/verdict.h"

enum {
    REPLY_BYTES = 64 * 1024, /* of one reply; an EHLO with 50 keywords has 1 KB */
    REPLY_LINES = 200,
    REPLY_LINE = 512,  /* text kept of one line: RFC 5321 4.5.3.1.5 */
    REPLY_TEXT = 1000, /* text kept of one reply */
};

enum reply_event {
    REPLY_MORE,  /* all input consumed, no line is complete */
    REPLY_PART,  /* a line of the reply ended, others follow: look at `line` */
    REPLY_WHOLE, /* the last line ended: look at `line`, `code`, `enhanced`, `text` */
    REPLY_BAD,   /* malformed, see `why`; the parser accepts nothing more */
};

struct reply_parser {
    uint16_t code;
    struct enhanced enhanced;
    uint16_t line_len, text_len, lines;
    uint32_t bytes;
    uint8_t state;
    bool last, broken;
    uint16_t line_code;
    const char *why; /* after REPLY_BAD: a phrase for the operator */
    char line[REPLY_LINE];
    char text[REPLY_TEXT]; /* lines joined by one space */
};

void reply_parser_init(struct reply_parser *parser);

/* Consumes from `input` up to the end of the next line. What the parser holds is valid until the
 * next call; after REPLY_WHOLE the next call begins a new reply. */
MUST_USE enum reply_event reply_parser_feed(struct reply_parser *parser, struct span *input);

static inline struct span reply_line(const struct reply_parser *parser)
{
    return span_of(parser->line, parser->line_len);
}

static inline struct span reply_text(const struct reply_parser *parser)
{
    return span_of(parser->text, parser->text_len);
}
