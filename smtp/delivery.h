/* delivery: one outbound connection: a conn, the client dialogue over it, and the rows it carries.
 *
 * It is opened by a lane for a host, and from then on takes rows from the lane whenever the client
 * can begin a transaction: one, and on a connection that has proven itself a second one behind the
 * first (RFC 2920 3.1). Each row goes back to the share with a verdict per recipient, whatever
 * happens to the connection. With nothing to send it waits in the lane's idle list for
 * idle_timeout, then quits.
 *
 * TLS is what the lane's policy says (config.h, enum tls_policy). A handshake that fails, for its
 * certificate too, is the host's failure, and the lane goes on to the next one. Where the policy
 * lets mail go in the clear, the host is remembered as broken instead, and the lane, which is told
 * nothing, opens the next connection, which then does not ask for TLS.
 *
 *     CONNECTING --> GREETING --> working <--> idle --> QUIT --> closing --> gone
 *           \____________\__________\_____ failed ______________/
 */
#pragma once

#include "smtp/lane.h"

/* Opens a connection to `host` for `lane`, which has taken a slot for it. Everything that happens
 * afterwards is told by lane_established, lane_connect_failed and lane_delivery_gone. False: no
 * memory, nothing was started. */
MUST_USE bool delivery_open(struct lane *lane, const struct host *host);

/* For the egress, when the drain's deadline has passed: cuts the connection; its rows are deferred.
 * `all` is the delivery's link in egress->deliveries. */
void delivery_cut(struct list_link *all);

/* If this delivery has `row`: to whom, which step, and since when, for a person. */
bool delivery_tell(const struct list_link *all, const struct row *row, struct sink *sink,
                   uint64_t *ret_since_ms);

/* For the lane; `idle` is a link that lane_idle was given and that is out of the list again.
 * delivery_start: here is a row (LENT). delivery_quit: say QUIT. */
void delivery_start(struct list_link *idle, struct row *row);
void delivery_quit(struct list_link *idle);
