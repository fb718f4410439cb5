/* bounce_private: the report while it is written; shared by the files that write its parts.
 *
 * Written front to back into one text; a failed allocation is noted in `failed` and looked at once,
 * at the end. Everything that others wrote passes report_put_clean or is an original that was
 * looked at before. */
#pragma once

#include "queue/bounce.h"

enum {
    LINE_MAX_OCTETS = 998, /* RFC 5322 2.1.1, without CRLF */
    ADDRESS_MAX = 320,
    NAME_MAX_BYTES = 300,
    REPLY_MAX = 700,
};

struct report {
    const struct bounce *bounce;
    struct arena *arena;
    struct text *text;
    bool failed;          /* no memory */
    bool utf8;            /* an address has letters beyond ASCII: RFC 6533 */
    bool whole;           /* the original is returned, not only its headers */
    bool original_8bit;   /* of what is returned */
    bool headers_8bit;    /* of the original */
    struct span original; /* flat */
    size_t headers_len;   /* of `original` */
    char boundary[64];
};

#define PUT(report, literal) report_put(report, SPAN(literal))

void report_put(struct report *report, struct span span);

/* Text of others: control characters and, unless letters of UTF-8 are allowed, everything outside
 * ASCII becomes '?'. At most `max` bytes, never half a character. */
void report_put_clean(struct report *report, struct span span, size_t max, bool utf8);

void report_put_decimal(struct report *report, uint64_t value);
void report_put_date(struct report *report, uint64_t wall_ms);
void report_put_id(struct report *report, uint64_t id);
void report_put_address(struct report *report, struct span address);
void report_put_host(struct report *report); /* the reporting MTA */
void report_put_encoding(struct report *report, bool eight_bit);
void report_put_boundary(struct report *report, struct span end); /* end: "" or "--" */

unsigned report_count_concerned(const struct bounce *bounce);

/* What the other side said about a recipient, last of all; empty: nothing. For one that expired
 * that is the reply to the last attempt. `sink` is room for it (LINE_MAX_OCTETS). */
struct span report_last_words(const struct report *report, const struct verdict *verdict,
                              struct sink *sink);
/* Who said it; empty: we did. */
struct span report_peer(const struct report *report, const struct verdict *verdict);

/* Copies the original flat and decides how it is returned, and the boundary. False: no memory. */
MUST_USE bool report_look_at_original(struct report *report);

void report_put_person_part(struct report *report);
void report_put_machine_part(struct report *report);
void report_put_original_part(struct report *report);
