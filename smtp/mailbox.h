/* mailbox: the paths of MAIL FROM and RCPT TO (RFC 5321 4.1.2, RFC 6531 3.3). Pure.
 *
 * Strict: what the grammar does not produce is refused, because every lenient reading is some other
 * server's route. `%`, `!` and a quoted `@` are ordinary characters of a local part and are never
 * read again as a route. A source route ("@a,@b:") is checked and dropped (RFC 5321 appendix C).
 *
 * The result is normalised, so that equal mailboxes have equal bytes as far as the standards allow:
 * the domain in lower-case A-labels (U-labels through libidn2, IDNA2008), address literals in one
 * spelling, quotes only where the local part needs them. The local part keeps its case.
 *
 * Only a domain that holds U-labels costs an allocation, inside libidn2. After a refusal what
 * ret_mailbox holds means nothing. */
#pragma once

#include "core/sink.h"

enum {
    MAILBOX_LOCAL = 64,   /* octets, RFC 5321 4.5.3.1.1 */
    MAILBOX_DOMAIN = 255, /* octets in A-labels */
    MAILBOX_PATH = 256,   /* octets with <>, as given */
    MAILBOX_TEXT = 320,   /* storage that always suffices */
};

struct mailbox {
    struct span local;   /* "" for the null path */
    struct span domain;  /* "" for the null path and for a bare postmaster; "[...]": a literal */
    struct span address; /* local@domain; "" for the null path */
    bool utf8;           /* the path as given was not all ASCII: needs SMTPUTF8 */
    bool literal;
    char text[MAILBOX_TEXT]; /* what the spans point into: do not copy the struct */
};

enum mailbox_kind { MAILBOX_REVERSE, MAILBOX_FORWARD };

/* Reads a path "<...>" from the front of `input` and consumes it. MAILBOX_REVERSE also takes "<>",
 * MAILBOX_FORWARD also takes "<postmaster>" (any case, no domain). False: not a path; `input` is
 * unchanged. */
bool mailbox_read_path(struct span *input, enum mailbox_kind kind, struct mailbox *ret_mailbox);

/* "local@domain" without brackets, filling the whole span. */
bool mailbox_parse(struct span text, struct mailbox *ret_mailbox);

/* A domain name (not a literal) in lower-case A-labels, written to `sink`. */
bool domain_normalise(struct span domain, struct sink *sink);

/* Well-formed UTF-8 without C1 control characters (U+0080 to U+009F). Empty is. */
bool utf8_clean(struct span text);

/* The null path. */
static inline bool mailbox_null(const struct mailbox *mailbox)
{
    return mailbox->address.len == 0;
}
