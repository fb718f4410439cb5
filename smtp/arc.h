/* arc: the chain of those who handed a message on (RFC 8617 5.2). Pure.
 *
 * arc_collect looks at the structure; then the newest ARC-Message-Signature and every ARC-Seal must
 * be true (dkim_signature.h), the seals over what arc_seal_digest says. Older message signatures
 * may be broken: the ones behind them have changed the message. */
#pragma once

#include "smtp/dkim_signature.h"

enum { ARC_SETS = 50 };

struct arc_set {
    const struct header_field *results, *message, *seal;
};

enum arc_status {
    ARC_NONE, /* no ARC fields */
    ARC_CHAIN,
    ARC_BROKEN, /* fields that are no chain, or one that says of itself that it is broken */
};

struct arc {
    unsigned count; /* sets, all of them whole */
    struct arc_set sets[ARC_SETS];
    const char *why; /* it is broken */
};

enum arc_status arc_collect(const struct header_field *fields, unsigned field_count,
                            struct arc *ret_arc);

/* What the seal of set `index` (from 0) signs. `seal` is that seal, read. */
void arc_seal_digest(const struct arc *arc, unsigned index, const struct dkim_signature *seal,
                     uint8_t ret_digest[DIGEST_LEN]);

/* Whether what a seal says about the chain before it (cv=) is what the place says. */
bool arc_seal_consistent(const struct dkim_signature *seal);
