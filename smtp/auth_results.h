/* auth_results: the Authentication-Results field (RFC 8601), as far as we must read and write it.
 * Pure. */
#pragma once

#include "core/sink.h"

/* Does this value claim to be the work of `authserv_id`? So that what others put in our name can be
 * taken out (RFC 8601 5). */
bool auth_results_claims(struct span value, struct span authserv_id);

/* A property's value: as it stands if it is a token or a name, quoted if it needs that, without the
 * octets that no value may have. */
void auth_results_put_value(struct sink *sink, struct span value);

/* local@domain if both can stand there unquoted, else only the domain. */
void auth_results_put_mailbox(struct sink *sink, struct span address);
