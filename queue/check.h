/* check: reads a whole queue of a stopped daemon and names every illegal state (`queue check`).
 *
 * The legal states of a message are: absent; fresh (`fresh` only); queued (`body` and one or more
 * `row`, a `ref` for each row if the message had several). The check opens the database read-only,
 * takes its lock, reads every record once, and compares the families by message id. It changes
 * nothing, repairs nothing, and knows nothing that is not on disk.
 *
 * Memory: 16 bytes per row and 8 per fresh message, twice while they are sorted (10 million rows:
 * 320 MB); bodies and references come in the order of their ids and are not kept. Time: that of
 * reading the database. */
#pragma once

#include "core/check.h"
#include "core/span.h"

/* KIND(name, text for machines, is it only a note?) */
#define QUEUE_CHECK_KINDS(KIND)                                                                    \
    KIND(UNREADABLE, "unreadable", false)   /* a family could not be read to its end */            \
    KIND(LOG_DAMAGED, "log-damaged", false) /* the daemon repairs it when it starts */             \
    KIND(UNDECODABLE, "undecodable", false) /* a key or record that is none of ours */             \
    KIND(MISMATCH, "mismatch", false)       /* record and key, or record and queue, differ */      \
    KIND(FRESH_AND_QUEUED, "fresh-and-queued", false)                                              \
    KIND(FRESH_BODY, "fresh-body", false)     /* in a segment, and not as it was written */        \
    KIND(BODY_OVERLAP, "body-overlap", false) /* two bodies in one place of a segment */           \
    KIND(ROW_WITHOUT_BODY, "row-without-body", false)                                              \
    KIND(BODY_WITHOUT_ROW, "body-without-row", false)                                              \
    KIND(BODY_SIZE, "body-size", false) /* parts missing, or not the envelope's size */            \
    KIND(REF_WITHOUT_ROW, "ref-without-row", false)                                                \
    KIND(REF_FOR_SINGLE, "ref-for-single-row", false)                                              \
    KIND(ROW_WITHOUT_REF, "row-without-ref", false)                                                \
    KIND(DUPLICATE_ID, "duplicate-id", false)      /* two records where there can be one */        \
    KIND(ABOVE_CEILING, "id-above-ceiling", false) /* it could be given out again */               \
    KIND(QUEUE_MISSING, "queue-missing", false)                                                    \
    KIND(FIRST_DUE, "first-due-too-late", false)   /* rows before it would not be found */         \
    KIND(UPLOAD_QUEUED, "upload-of-queued", false) /* the next start would delete its body */      \
    KIND(META, "meta", false)                                                                      \
    KIND(FRESH_UNFINISHED, "fresh-unfinished", true) /* of a commit that was never synced */       \
    KIND(UPLOAD_LEFT, "upload-left", true) /* parts of a message that was never accepted */        \
    KIND(TORN_TAIL, "torn-tail", true)     /* an unfinished write at the end of the log */

enum queue_check_kind {
#define KIND(name, text, note) QUEUE_CHECK_##name,
    QUEUE_CHECK_KINDS(KIND)
#undef KIND
        QUEUE_CHECK_COUNT,
};

const char *queue_check_kind_name(enum queue_check_kind kind);
bool queue_check_is_note(enum queue_check_kind kind);

struct queue_finding {
    enum queue_check_kind kind;
    uint64_t id; /* of the message; 0: it is not about one */
    char text[400];
};
typedef void queue_on_finding(void *context, const struct queue_finding *finding);

struct queue_check_result {
    uint64_t fresh, messages, rows, references, queues, body_bytes; /* messages: with rows */
    uint64_t illegal, notes;
    char error[400]; /* why it could not be opened */
};

/* `directory`: the data directory or the queue's folder in it. 0: read, look at `illegal`; a
 * negative errno: not opened, or no memory, see `error`. */
MUST_USE int queue_check(const char *directory, queue_on_finding *on_finding, void *context,
                         struct queue_check_result *ret_result);
