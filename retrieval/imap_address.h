/* imap_address: a list of addresses (RFC 5322 3.4, with its obsolete forms) as RFC 3501 7.4.2
 * writes it: ((name route mailbox host) ...), groups as a pair of half-empty addresses. Pure.
 *
 * Whatever a header holds comes out as a list that a client can read: a mailbox or host that is
 * missing is named so (MISSING_MAILBOX, MISSING_DOMAIN), names longer than IMAP_ADDRESS_TEXT are
 * cut. */
#pragma once

#include "core/sink.h"

enum { IMAP_ADDRESS_TEXT = 2048 };

/* The lists of several fields of one name are one list. */
struct imap_address_list {
    struct sink *sink;
    bool any;
};

void imap_address_list_begin(struct imap_address_list *list, struct sink *sink);
void imap_address_list_add(struct imap_address_list *list, struct span value);
/* False: there was none, and nothing was written. */
bool imap_address_list_end(struct imap_address_list *list);
