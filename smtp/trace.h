/* trace: what SMTP connections say, live, for those who asked to see it.
 *
 * Each worker's inbound and outbound side has a list of traces, nearly always empty: then a tap
 * costs one comparison. A trace keeps the lines that its filter wants in a buffer of fixed size
 * until they are fetched; what does not fit is dropped and counted, so a slow reader slows nobody.
 * Message text is never kept, only how many octets it had, nor what a client says to log in.
 *
 * A trace that is not fetched for TRACE_FORGOTTEN_MS is forgotten. All in the worker's thread. */
#pragma once

#include "core/address.h"
#include "core/list.h"
#include "core/sink.h"

enum {
    TRACES_MAX = 4, /* per list */
    TRACE_BUFFER = 64 * 1024,
    TRACE_LINE = 600, /* octets of a line that are kept */
    TRACE_FORGOTTEN_MS = 90 * 1000,
};

/* Whom it is about; what is empty is no condition. */
struct trace_filter {
    char address[64]; /* the peer's, without port */
    char domain[256]; /* inbound: named in MAIL or RCPT; outbound: of the queue */
    char queue[1024]; /* outbound: of the queue */
};

/* One piece of a conversation. */
struct trace_event {
    uint64_t wall_ms;
    uint32_t connection; /* number, of this worker and side */
    char side;           /* 'C' the client says it, 'S' the server, '*' a remark */
    const struct address *peer;
    struct span text;          /* lines, as they were sent */
    bool hidden;               /* what the client says to log in: not kept */
    struct span queue, domain; /* outbound, while a message is on its way; else empty */
    uint64_t
        *interesting; /* of the connection: which traces' domain or queue it has met, a bit each */
};

struct traces {
    struct list all;
    uint64_t next_number;
};

void traces_init(struct traces *traces);
void traces_fini(struct traces *traces);

/* A trace's number; 0: there are TRACES_MAX, or there is no memory. */
uint64_t trace_start(struct traces *traces, const struct trace_filter *filter, uint64_t now_ns);

static inline bool traces_any(const struct traces *traces)
{
    return !list_empty(&traces->all);
}

/* Splits `text` into lines and gives them to whom they interest. */
void traces_tell(struct traces *traces, const struct trace_event *event, uint64_t now_ns);

/* A line as it was kept. */
struct traced {
    uint64_t wall_ms;
    uint32_t connection;
    char side;
    struct address peer;
    struct span text;
};

/* The next line that was not fetched yet; borrowed until trace_take or the next event. False: there
 * is none (now). trace_take: it is done with. */
bool trace_next(struct traces *traces, uint64_t number, uint64_t now_ns, struct traced *ret_line);
void trace_take(struct traces *traces, uint64_t number);
/* How many lines were dropped since it was asked last. */
uint64_t trace_dropped(struct traces *traces, uint64_t number);
