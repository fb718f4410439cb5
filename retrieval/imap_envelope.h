/* imap_envelope: what IMAP shows of a message's header and shape (RFC 3501 7.4.2). Pure.
 *
 * Written once, when a message is stored, from the parts that `mime` found in it. */
#pragma once

#include "core/sink.h"
#include "retrieval/mime.h"

/* The ENVELOPE of the message whose header is that of `part`; Sender and Reply-To default to From.
 */
void imap_envelope_put(struct sink *sink, struct span message, const struct mime_part *part);

/* The BODYSTRUCTURE, or without `extended` the BODY, of a whole message: `count` parts. */
void imap_structure_put(struct sink *sink, struct span message, const struct mime_part *parts,
                        unsigned count, bool extended);
