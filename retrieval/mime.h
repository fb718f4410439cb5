/* mime: where everything is in a message. A push parser: one pass, no allocation. Pure.
 *
 * Use: mime_init over your own array of parts, mime_push for the bytes as they arrive (cut
 * anywhere), mime_finish. Then `parts[0]` is the message, the others follow in the order in which
 * they begin; a part's children are those whose `parent` it is. All positions are octets from the
 * start of the message, so whoever holds the message can find any section of it (RFC 3501 6.4.5)
 * without looking at another byte, and mime_envelope and mime_structure write what IMAP shows.
 *
 * Lines end with LF, with or without a CR before it. A message is read as the field reads it, not
 * as RFC 2046 has it: MIME-Version is not asked for, a boundary is found where a line begins with
 * it, a boundary ends a header that has no blank line, and what cannot be understood is text.
 *
 * Limits, each for a reason: a message that exceeds one is cut into fewer parts than it claims to
 * have, never refused, and everything in it is still reachable as the body of some part. */
#pragma once

#include "retrieval/mime_token.h"

enum {
    MIME_PARTS = 1000, /* parts in a message, with the message itself */
    MIME_DEPTH = 100,  /* parts inside parts */
    MIME_LINE = 1000,  /* octets of a header line that are looked at; RFC 5322 2.1.1 has 998 */
    MIME_TYPE = 4096,  /* octets of a Content-Type field that are looked for type and boundary */
};

/* Fields whose values are remembered. Of a name that comes again in one header the last counts, of
 * the Content- fields the first (as in Dovecot); `repeated` tells that there are more. */
enum mime_field {
    MIME_DATE,
    MIME_SUBJECT,
    MIME_FROM,
    MIME_SENDER,
    MIME_REPLY_TO,
    MIME_TO,
    MIME_CC,
    MIME_BCC,
    MIME_IN_REPLY_TO,
    MIME_MESSAGE_ID,
    MIME_CONTENT_TYPE,
    MIME_CONTENT_ENCODING,
    MIME_CONTENT_ID,
    MIME_CONTENT_DESCRIPTION,
    MIME_CONTENT_DISPOSITION,
    MIME_CONTENT_MD5,
    MIME_CONTENT_LANGUAGE,
    MIME_CONTENT_LOCATION,
    MIME_FIELDS,
};

enum mime_kind {
    MIME_LEAF,
    MIME_TEXT,      /* a leaf of type text/... */
    MIME_MULTIPART, /* its children are its parts */
    MIME_MESSAGE,   /* message/rfc822: its one child is the message in it */
};

struct mime_range {
    uint32_t at, len;
};

struct mime_part {
    uint16_t parent; /* index; of the message itself 0 */
    uint16_t depth;
    uint8_t kind;
    bool is_default_message;  /* in a multipart/digest, without a type of its own */
    struct mime_range header; /* with the blank line */
    struct mime_range body;   /* without the line end before the boundary, which belongs to it */
    uint32_t header_lines, body_lines;
    uint32_t repeated; /* bits by enum mime_field */
    struct mime_range
        fields[MIME_FIELDS]; /* values, folded, without the last line end; len 0: none */
};

struct mime_level {
    uint16_t part;
    uint8_t boundary_len; /* 0: not a multipart, or its end was seen */
    bool is_digest;
    uint32_t lines_before; /* of its body */
    char boundary[MIME_BOUNDARY];
};

struct mime_parser {
    struct mime_part *parts;
    unsigned capacity, count;
    bool has_8bit;
    bool has_dot_line; /* a line begins with a dot: POP3 must stuff */
    bool cut;          /* a limit was met: there are more parts than `count` */

    /* private */
    bool in_header, ends_with_cr;
    uint8_t field;                     /* of the header line before; MIME_FIELDS: of no interest */
    uint32_t line_at, line_len, lines; /* the current line; lines before it */
    uint32_t end_before;               /* octets of the end of the line before */
    uint32_t type_len, held;           /* octets in `type` and `line` */
    unsigned depth;
    char type[MIME_TYPE];
    char line[MIME_LINE]; /* the beginning of a line that a push has cut */
    struct mime_level levels[MIME_DEPTH];
};

/* `parts` has `capacity` elements, 1 to MIME_PARTS. */
void mime_init(struct mime_parser *parser, struct mime_part *parts, unsigned capacity);
/* At most 2^31 octets in all. */
void mime_push(struct mime_parser *parser, struct span bytes);
void mime_finish(struct mime_parser *parser);

/* The value of the next field of that name in a header, folded, with its line end; `header` moves
 * behind it. */
bool mime_field_next(struct span *header, enum mime_field field, struct span *ret_value);
