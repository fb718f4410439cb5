/* http_request: the head of an HTTP/1.0 or 1.1 request (RFC 9110, RFC 9112). Pure.
 *
 * Only what a reader of metrics needs: the request line, who wants to keep the connection, and
 * whether a body follows (which is never read: such a connection closes after the reply). Line ends
 * may lack the CR (RFC 9112 2.2), everything else is strict: what two programs could read in two
 * ways is refused. */
#pragma once

#include "core/sink.h"

enum { HTTP_REQUEST_MAX = 8192 }; /* bytes of the whole head; beyond: 431 */

struct http_request {
    struct span method;
    struct span path;          /* without query; "/..." or "*" */
    struct span query;         /* behind the "?"; as it came */
    struct span authorization; /* the field's value; empty: none */
    bool keep_alive;           /* the client's wish, by version and Connection */
    bool http_1_0;             /* must be told if the connection stays */
    bool body_follows;         /* a length above 0 or a transfer coding */
};

/* More than 0: a whole head of that many bytes was read; its spans point into `input`. 0: it is not
 * complete. Less than 0: the status to refuse it with (-400, -431, -505), final whatever follows.
 */
int http_request_parse(struct span input, struct http_request *ret_request);

/* The next "name=value" of a query, decoded into `storage` (percent signs and "+", RFC 3986 and
 * forms); `query` moves behind it. False: no more, or malformed: then `query` is not empty. */
bool http_query_next(struct span *query, struct sink *storage, struct span *ret_name,
                     struct span *ret_value);
