/* why: what binds waiting mail now. One vocabulary for every delay of the program: whatever makes
 * mail wait tells it here, and `ringpost queue why`, `message why` and `lane why` show it.
 *
 * A reason is told by the part that delays: the share (this file), the outbound side (smtp/why.h).
 * They are told from the outside in: what would have to end first stands first. */
#pragma once

#include "queue/share.h"

/* NAME(reason, name for machines) */
#define REASONS(NAME)                                                                              \
    /* the share */                                                                                \
    NAME(EMPTY, "empty")               /* nothing waits in this queue */                           \
    NAME(NOT_DUE, "not-due")           /* its time has not come: retry schedule */                 \
    NAME(STOPPING, "stopping")         /* the daemon ends */                                       \
    NAME(DISK_FULL, "disk-full")       /* or dead: verdicts could not be recorded */               \
    NAME(DISK_RESERVE, "disk-reserve") /* new mail is refused; binds no mail that is here */       \
    NAME(UNRECORDED, "unrecorded")     /* too many verdicts wait for the disk */                   \
    NAME(LOADING_ROWS, "loading-rows") /* being read from disk */                                  \
    NAME(LOADING_BODY, "loading-body")                                                             \
    NAME(NO_MEMORY, "no-memory")           /* waits for room to read into */                       \
    NAME(SETTLING_QUEUE, "settling-queue") /* all that is due gets one verdict, in turns */        \
    NAME(ON_DISK, "on-disk")               /* others of its queue are due before it */             \
    NAME(IN_DELIVERY, "in-delivery")       /* a connection has it */                               \
    NAME(RECORDING, "recording")           /* its verdict is on the way to the disk */             \
    NAME(ACCEPTING, "accepting")           /* its first commit is under way */                     \
    NAME(CLOCK, "clock")                   /* nothing expires; binds no delivery */                \
    /* the outbound side */                                                                        \
    NAME(SUSPENDED, "suspended") /* by an administrator */                                         \
    NAME(RESOLVING, "resolving") /* its domain is being looked up */                               \
    NAME(NO_ROUTE, "no-route")   /* no usable MX: what DNS said */                                 \
    NAME(BACKOFF, "backoff")     /* no host could be reached */                                    \
    NAME(HOSTS_BAD, "hosts-bad") /* all hosts failed lately */                                     \
    NAME(MESSAGE_RATE, "message-rate")                                                             \
    NAME(CONNECTION_RATE, "connection-rate")                                                       \
    NAME(CONNECTION_LIMIT, "connection-limit")                                                     \
    NAME(CONNECTING, "connecting") /* connections are on their way */                              \
    NAME(TURN, "turn")             /* waits its turn among the others of its lane */               \
    NAME(READY, "ready")           /* nothing binds it: it goes in one of the next turns */

enum reason {
#define NAME(reason, name) REASON_##reason,
    REASONS(NAME)
#undef NAME
        REASON_COUNT,
};

const char *reason_name(enum reason reason);

/* Texts are borrowed until return. Times are wall time; 0: not known, or no end. */
struct why {
    enum reason reason;
    struct span text; /* a sentence without its full stop */
    uint64_t since_ms, until_ms;
    const char *option; /* "delivery.connection_limit": what sets it; NULL: no option does */
};
typedef void why_tell(void *context, const struct why *why);

/* What the share itself has against this queue. True: the lanes have been told of it, and what they
 * do is the next part of the answer. */
bool share_why_queue(struct queue *queue, why_tell *tell, void *context);

/* ---- messages ---- */

/* One row of a message as the share knows it. */
struct why_row {
    struct queue *queue;
    const struct row *row; /* NULL: not in memory */
    bool fresh;            /* in the nursery */
    bool waiting;          /* else in delivery, being recorded or accepted, as was told */
};

/* Each row of the message that is in memory, then what binds it itself. `on_row` comes first. */
typedef void why_on_row(void *context, const struct why_row *row);
void share_why_message(struct share *share, uint64_t id, why_on_row *on_row, why_tell *tell,
                       void *context);

/* A row that was found on disk: whether it is in memory (and was told above); else its reason. */
bool share_why_stored(struct share *share, struct queue *queue, uint64_t id, uint64_t due_ms,
                      uint32_t attempts, why_tell *tell, void *context);

/* NULL: there is none by this name (in this shard). */
struct queue *share_find_queue(struct share *share, uint8_t shard, struct span name);
/* In any of the share's shards: the first one behind `after`. */
struct queue *share_next_queue(struct share *share, struct span name, const struct queue *after);
