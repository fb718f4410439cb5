/* share: one worker's share of the queue. The only authority over its rows.
 *
 * A message comes in by message_new, is filled by the server, and share_accept makes it durable;
 * the 250 goes out when its op is done. From then on it lives as rows: one per destination domain,
 * in the queue "campaign:tenant@domain". A queue with due rows is announced to the lanes (on_ready,
 * recorded state, announced once until the lane has seen it empty). A lane takes a row by
 * share_pull, tries it, and gives it back by share_settle with a verdict per recipient, or by
 * share_return untouched. The share writes the journal line, then the one batch that moves the
 * message to its next legal state, the DSN's own record included.
 *
 *     row:  WAITING --pull--> LENT --settle--> SETTLING --journal, commit--> gone or WAITING
 *              |                 \--return--> WAITING
 *              \--expiry, demotion out of the nursery--> SETTLING --> gone or WAITING
 *
 * A row has at most one transition in flight. In memory a queue is a header plus a window of its
 * earliest rows, at most `window_rows` in all queues of the share; the others are only on disk and
 * are loaded by the loader threads. The share never blocks and never reads the store itself.
 *
 * Limits: memory for bodies being received or in the nursery (chunk pool: message_new and
 * message_append answer -ENOMEM, the server says 452), memory for loaded bodies, unrecorded
 * verdicts (4,096: then share_pull says PULL_CAPPED until some are recorded).
 *
 * Files: message.c (a message being received), upload.c (large bodies), accept.c, withdraw.c,
 * nursery.c, queues.c, window.c (rows in memory), bodies.c, pull.c, jobs.c (a verdict for a whole
 * queue), settle.c (verdicts), settlement.c (their way to the disk), several.c, report.c (DSNs),
 * admin.c (bounce, delete, flush, move), walk.c (once through all rows, those on disk only as
 * well), upkeep.c (what is done unasked), share.c, recover.c and spool.c; what they have in common
 * is in share_private.h. */
#pragma once

#include "core/address.h"
#include "core/arena.h"
#include "core/loop.h"
#include "core/map.h"
#include "queue/commit.h"
#include "queue/record.h"
#include "queue/segment.h"
#include "queue/verdict.h"

struct spool;
struct share;
struct queue;
struct row;

/* ---- a message on its way in ---- */

struct message {
    struct share *share;
    struct arena arena;       /* envelope, head, and the body while it is small */
    struct envelope envelope; /* all recipients; the id is set by the first recipient, times, size,
                                 domain and the row flags by share_accept */
    struct text head;         /* the headers that we add, in front of the body; set before accept */
    struct text body;         /* as received: CRLF, unstuffed; of a large body only its beginning */
    uint64_t body_len;        /* everything appended so far */
    struct address peer;      /* for the journal: who injected it (AF_UNSPEC: we ourselves) */
    struct span peer_name;    /* its EHLO name, in the arena */
    struct span protocol;     /* "ESMTP", static */
    struct span user;         /* for the journal: the account that injected; empty: none */
    struct span authentication; /* for the journal: what was found out about it; empty: nothing */
    struct span tls_version, tls_cipher; /* static; empty: it came in the clear */
    struct span tls_subject; /* a client's certificate that was found good, in the arena */
};

/* A new message with arrival and expiry; its arena is open for the envelope. NULL: no memory, or
 * the disk is low (share_refusal says which). */
struct message *message_new(struct share *share);

/* Adds a recipient to the envelope (strings are copied). The first one gives the message its id,
 * whose shard follows from the recipient's domain. False: no memory. */
MUST_USE bool message_add_recipient(struct message *message, const struct recipient *recipient);

/* Appends body bytes, at most BODY_PART of them, after the first recipient was added. 0; -EAGAIN:
 * nothing was taken, a large body is being written out: stop reading, `room` becomes ready when
 * there is room again; -ENOMEM, -ENOSPC: 452; other negative: 451. After an error (not -EAGAIN)
 * only message_abandon is left. `room` may be forgotten by message_abandon alone. */
MUST_USE int message_append(struct message *message, struct span bytes, struct op *room);

/* Gives up a message that was not accepted (aborted, refused). `room` will not become ready. */
void message_abandon(struct message *message);

/* Makes it durable; always ends in `done`, later: 0 (answer 250), -ENOSPC (452), -ENOMEM (452),
 * other negative (451). The share owns the message from here on and may free it before `done` runs:
 * what the answer needs (the id) is copied before. A recipient named twice is delivered to once. */
void share_accept(struct share *share, struct message *message, struct op *done);

/* The server is about to answer 451 because the commit takes too long: when it completes, the
 * message is withdrawn (deleted, never delivered, counted) instead of queued, and `done` will not
 * be called. False: too late, `done` is already ready with its result; answer by that. */
MUST_USE bool share_withdraw(struct share *share, struct message *message, struct op *done);

/* 0: may accept; -ENOSPC: disk low or full (452 4.3.1); -ENOMEM (452 4.3.1); -EIO: the queue is
 * dead (421 4.3.0). Ask at MAIL. */
int share_refusal(const struct share *share);

/* ---- rows and lanes ---- */

struct row {
    struct queue *queue;
    struct envelope envelope; /* open recipients only */
    struct row_state state;
    uint64_t due_ms;
    const struct span *body; /* while LENT: the pieces of head and body, in order */
    unsigned body_pieces;
    /* the share's own follow in share_private.h, which embeds this struct */
};

/* A destination of one tenant's campaign, in one shard (two shards may know the same name). Kept
 * small: a million of them must fit in 300 MB. A queue without rows for ten minutes is freed, but
 * never while `want` is linked. */
struct queue {
    struct share *share;
    struct map_node by_name;
    struct span name, domain; /* name as queue_name_put; the domain is its end */
    /* for the lanes: */
    struct list_link want;  /* in the lane's list of queues that want it */
    uint64_t held_until_ms; /* lane closed: new mail goes past the nursery; 0: open */
};

/* Something is (probably) due in this queue. Said once, until share_pull has answered anything but
 * PULL_ROW. Called from dispatch, must only record. */
typedef void share_on_ready(void *context, struct queue *queue);

enum pull_result {
    PULL_ROW,     /* a due row with its body, LENT */
    PULL_EMPTY,   /* nothing is due: on_ready will be called when something is */
    PULL_LOADING, /* due, but rows or bodies are being read: on_ready will be called */
    PULL_CAPPED,  /* too many verdicts wait to be recorded: on_ready will be called */
};
enum pull_result share_pull(struct share *share, struct queue *queue, struct row **ret_row);

/* How many rows in memory are due, at most `enough`; changes nothing. */
unsigned share_due_rows(const struct queue *queue, unsigned enough);

/* Ends the loan: the row and its body are the share's again (and `row` is not to be looked at any
 * more). An attempt whose recipients are all OUTCOME_UNTRIED and that does not count is a return.
 */
void share_settle(struct share *share, struct row *row, const struct attempt *attempt);
/* Untouched: due at once; the queue is announced again after a PULL_EMPTY. */
void share_return(struct share *share, struct row *row);

/* Everything that waits in this queue and is due gets this verdict without being lent (no route:
 * NXDOMAIN, null MX; or a temporary one with retry_at_ms). `attempt->verdicts` holds one verdict,
 * for all recipients; it is copied. Works through the rows in turns; until it is through,
 * share_pull says PULL_LOADING. A second call for the same queue replaces the verdict. */
void share_settle_queue(struct share *share, struct queue *queue, const struct attempt *attempt);

/* ---- reports of ours ---- */

/* `message` is written, but for its head: puts signatures in front of it whose places are filled
 * later. NULL: no memory. What it returns lies in the message's arena. */
typedef void *share_reserve_seal(void *context, struct message *message);
/* Fills the places; always ends in `done`, later: 0, or negative, and it is asked for again. */
typedef void share_fill_seal(void *context, void *seal, struct op *done);

/* What share_reserve_seal returned is not needed any more, filled or not. */
typedef void share_drop_seal(void *context, void *seal);

/* From now on reports are sealed before they are committed; `reserve` NULL: new ones are not. */
void share_seal_reports(struct share *share, share_reserve_seal *reserve, share_fill_seal *fill,
                        share_drop_seal *drop, void *context);

/* ---- life ---- */

struct share_limits {
    size_t inbound_memory;     /* bodies arriving or in the nursery, bytes */
    size_t loaded_memory;      /* bodies read back, bytes */
    unsigned nursery_messages; /* default: 40,000 in all workers */
    size_t nursery_bytes;
    uint64_t nursery_age_ms; /* 30,000 */
    unsigned window_rows;    /* 65,536 */
    unsigned unrecorded;     /* 4,096 */
};

/* For metrics. */
struct share_usage {
    uint64_t inbound_bytes, loaded_bytes; /* memory of bodies, see share_limits */
    uint64_t rows, queues, rows_in_memory, nursery_messages, nursery_bytes, unrecorded;
    uint64_t accepted, withdrawn, delivered, deferred, bounced, expired, dsn_made, may_duplicate;
    uint64_t settled_by_journal; /* recipients whose verdict outlived a crash, its batch did not */
    uint64_t damaged;            /* rows that cannot be read: see `queue check` */
    uint64_t rows_loaded;        /* into windows; a row that was evicted counts again */
    uint64_t journal_frames, journal_lost, journal_errors; /* see journal.h */
    bool journal_behind;
    uint64_t rejections_untold; /* see rejection.h */
    uint64_t admin_bounced;     /* recipients bounced or deleted by an administrator */
    uint64_t journal_syncs, journal_bytes;
    uint64_t set_back;         /* rows rescheduled because the wall clock went back */
    uint64_t queues_uncounted; /* after an unclean stop: their rows are as last recorded */
    struct segments_usage segments;
    uint64_t segment_bodies, segment_inlined, segment_errors; /* see segments.h */
};
void share_usage(const struct share *share, struct share_usage *ret_usage);

/* Stops proposing rows (share_pull says PULL_EMPTY); `done` is ready when nothing is lent,
 * settling, loading or uncommitted, the counters are written and the journal is closed. */
void share_drain(struct share *share, struct op *done);
