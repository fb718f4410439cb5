/* dkim_write: the DKIM-Signature field as we write it (RFC 6376 3.5). Pure. */
#pragma once

#include "core/sink.h"
#include "core/span.h"
#include "smtp/dkim_canon.h"
#include "smtp/sign.h"

struct dkim_written {
    enum sign_algorithm algorithm;
    enum dkim_canon body_canon; /* the header's is always relaxed */
    struct span domain, selector;
    uint64_t signed_at_s, expires_at_s; /* 0: does not expire */
    const uint8_t *body_hash;           /* DIGEST_LEN octets */
    const struct span *names;           /* h=, in order, repeated as often as signed */
    unsigned name_count;
};

/* Room that dkim_write will not exceed. */
size_t dkim_write_room(const struct dkim_written *written);

/* Everything up to and with "b=": what is signed. Folded so that no line is longer than 78, if the
 * names and domains allow it. */
void dkim_write(const struct dkim_written *written, struct sink *sink);

enum { DKIM_SIGNATURE_TEXT = 1024 }; /* room that dkim_write_signature does not exceed */

/* What stands behind "b=": the signature in base64, folded, and the line end. */
void dkim_write_signature(struct span signature, struct sink *sink);
