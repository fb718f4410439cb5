/* body: reads the octets of a message as they arrive and says which of them to store. Pure.
 *
 * Two ways in, one scanner. `body_data` is for DATA: it undoes dot-stuffing and finds CR LF . CR
 * LF, the only end there is. `body_chunk` is for BDAT, whose octets are counted by the caller;
 * behind the last chunk comes `body_finish`. All three are pulled:
 *
 *     while ((progress = body_data(body, &input, &piece)) == BODY_PIECE)
 *         store piece
 *
 * A piece lies in `input` (or in the scanner, for a few octets of a header field) and is as long as
 * the input allows, so a usual message is stored in two or three pieces. To give a piece back, copy
 * the struct and `input` before the call and restore both.
 *
 * What is wrong with a message (faults) is noted and never ends it early: reading goes on to the
 * true end, pieces stop, and the answer is given there.
 *
 * In the header section it counts Received fields and takes out the fields that name tenant and
 * campaign. Nothing else is touched; only a message that came by BDAT without a final CRLF gets
 * one, because DATA could not carry it on otherwise. */
#pragma once

#include "core/span.h"

enum {
    BODY_FIELDS = 2,
    BODY_VALUE = 64, /* octets of a taken-out field that are kept */
    BODY_NAME = 64,  /* longest name of a field that can be taken out */
    BODY_HOLD = BODY_NAME + 8,
};

enum body_fault {
    BODY_BARE = 1, /* a bare CR or LF, or a NUL */
    BODY_TOO_BIG = 2,
    BODY_HEADER_TOO_BIG = 4,
    BODY_LINE_TOO_LONG = 8,
    BODY_LOOP = 16, /* too many Received fields */
};

enum body_start { BODY_STARTS_EMPTY, BODY_STARTS_FIELD, BODY_STARTS_BLANK, BODY_STARTS_TEXT };

struct body_limits {
    uint64_t size, header_size, line, received;
};

struct body_field {
    struct span name; /* empty: none to take out */
    bool seen;
    uint8_t len;
    char value[BODY_VALUE]; /* letters, digits and ".-_+=/"; anything else as '_' */
};

struct body {
    struct body_limits limits;
    uint64_t size;   /* octets of the message so far, without dot-stuffing */
    uint64_t stored; /* octets handed out as pieces */
    uint64_t header_size, received;
    uint64_t line_len; /* octets of the current line */
    size_t cleared;    /* octets at the front of the input that are message text */
    uint8_t faults;    /* enum body_fault */
    uint8_t starts;    /* enum body_start */
    uint8_t dot, section, hold_len;
    uint8_t taken_field; /* of `fields`, while `taking` */
    bool line_start, after_cr;
    bool header_8bit, body_8bit;
    bool has_date, has_message_id; /* fields that every message should have (RFC 5322 3.6) */
    bool line_open;                /* inside a header line that has been judged */
    bool taking, value_begun, value_blank;
    struct body_field fields[BODY_FIELDS];
    char hold[BODY_HOLD]; /* the beginning of a header line that cannot be judged yet */
};

enum body_progress {
    BODY_MORE,  /* all input is consumed */
    BODY_PIECE, /* store the piece, call again */
    BODY_END,   /* the final dot is consumed; what is left of the input are commands */
};

/* The names are borrowed. An empty name takes nothing out. */
void body_init(struct body *body, const struct body_limits *limits, struct span first_field,
               struct span second_field);

enum body_progress body_data(struct body *body, struct span *input, struct span *ret_piece);

/* The same for octets of a chunk; never BODY_END. */
enum body_progress body_chunk(struct body *body, struct span *input, struct span *ret_piece);

/* After the last chunk: true and a piece to store, until false. */
bool body_finish(struct body *body, struct span *ret_piece);

static inline struct span body_field_value(const struct body *body, unsigned field)
{
    return span_of(body->fields[field].value, body->fields[field].len);
}
