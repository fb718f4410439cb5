/* sink_session: one connection of the bench's receiving server.
 *
 * Takes everything as fast as it can, unless told to be slow or to refuse. Replies of one receive
 * go out in one send; while that is in flight, or a reply is delayed, nothing is read. */
#pragma once

#include "bench/data_reader.h"
#include "bench/tally.h"
#include "core/conn.h"
#include "core/listen.h"

enum sink_stage { SINK_AT_MAIL, SINK_AT_RCPT, SINK_AT_DOT, SINK_STAGES };

struct sink_settings {
    struct tally *tally;
    struct admission *admission;
    uint64_t delay_ms;                /* before the answer to a message */
    double deferred, refused, closed; /* shares of answers that are 4xx, 5xx, 421 */
    enum sink_stage stage;            /* what gets these answers */
    bool pipelining, chunking, check;
    struct tls_context *tls; /* NULL: none is offered */
    bool implicit_tls;
    const char *login; /* what AUTH PLAIN must say before MAIL is answered 250; NULL: nobody asks */
};

/* The session frees itself when the connection is gone. False: no memory, `fd` is still the
 * caller's. */
MUST_USE bool sink_session_open(const struct sink_settings *settings, struct loop *loop, int fd,
                                const struct address *peer);
