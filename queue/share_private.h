/* share_private: what the files of the share (message, upload, accept, nursery, window, pull,
 * settle, report, recover, share) have in common. Nobody else includes it.
 *
 * Where a row is in memory, and who holds it:
 *
 *     ACCEPTING   its first commit is in flight              queue's window->busy
 *     WAITING     fresh: message in memory                   window->fresh, share->nursery
 *                 else: a copy of the row's record           window->tree
 *     LENT        a lane has it                              window->busy
 *     SETTLING    journal, references, commit in flight      window->busy
 *     GONE        no longer on disk, but a load that began   window->gone, until that load ends
 *                 earlier may still bring it
 *
 * All of them are found by (message id, queue number) in share->held: what a load brings and is
 * found there is dropped.
 *
 * The rule of windows: every row of a queue that lies before `loaded_to` is in memory. While a load
 * is in flight, what is put behind it is kept as well, since nobody knows which moment of the store
 * that load sees; when it has ended, what then lies behind `loaded_to` is dropped. */
#pragma once

#include "queue/agenda.h"
#include "queue/committer_thread.h"
#include "queue/due_tree.h"
#include "queue/ids.h"
#include "queue/journal.h"
#include "queue/loader_thread.h"
#include "queue/schedule.h"
#include "queue/segments.h"
#include "queue/share.h"
#include "queue/spool.h"

enum {
    SHARE_TICK_MS = 1000,
    CHECKPOINT_MS = 30000,   /* how often first_due and counters of busy queues are written */
    DIRTY_QUEUES = 4096,     /* or when so many wait for it: each keeps its window */
    EMPTY_QUEUE_MS = 600000, /* a queue without rows is forgotten after this */
    WINDOW_LOAD_ROWS = 1024, /* rows of one load, at most */
    WINDOW_REST_MS = 1000,   /* untouched for this long: its memory may go to others */
    WINDOW_LOAD_BYTES = 4 << 20,
    AHEAD_ROWS = 64, /* bodies read ahead for a queue */
    AHEAD_BYTES = 1 << 20,
    AHEAD_LOW_ROWS = 16, /* fewer bodies than this ready: the next are read */
    DEMOTIONS_IN_FLIGHT = 256,
    ARENA_LIMIT = 256 << 20, /* of one message: its bytes are bounded by the server's limits */
};

enum held_state { HELD_ACCEPTING, HELD_WAITING, HELD_LENT, HELD_SETTLING, HELD_GONE };

struct stored_queue;
struct event;

/* What a queue's record said that went along with a row's batch; zeros: it did not. */
struct record_promise {
    uint64_t first_due_ms, arrivals_until_ms;
};

/* A row in memory. */
struct held {
    struct row row; /* first: what the borrower sees */
    struct map_node by_id;
    struct due_node due;   /* WAITING, not fresh */
    struct list_link link; /* in one of the window's lists */
    struct list_link age;  /* fresh: share->nursery; else, WAITING with a body: share->bodies */
    uint64_t next_due_ms;  /* while a commit that puts it anew is in flight; else UINT64_MAX */
    struct intake *intake; /* fresh: owns this struct, the envelope and the body; else NULL */
    uint64_t sequence;     /* fresh: its key */
    uint64_t entered_ns;   /* fresh: when it came into the nursery, monotonic */
    char *body_memory;     /* loaded body */
    struct span body_span;
    uint8_t state;
    bool entered;                   /* in share->held */
    bool malloced;                  /* counts as a window's row; else part of an intake */
    bool body_missing, body_broken; /* not on disk; there, but unreadable */
    bool unreported; /* fresh, after a crash: the journal does not know of its reception */
};

/* The part of a queue that exists while anything of it is in memory or unwritten. */
struct window {
    struct stored_queue *queue;
    struct due_tree tree;
    struct list fresh, busy, gone;
    struct window_load *load;
    struct body_load *bodies;
    struct queue_job *job;
    struct list_link recent; /* share->recent while it has rows: least recently touched first */
    uint64_t touched_ns;
    struct list_link dirty; /* share->dirty: counters or first_due changed */
    unsigned bodies_ready;
    unsigned fresh_rows;       /* waiting, lent or settling */
    unsigned record_puts;      /* commits in flight that hold the queue's record */
    uint64_t pending_due_ms;   /* the lowest first_due in them */
    uint64_t pending_until_ms; /* the highest arrivals_until in them */
    unsigned users;            /* walks that are at this queue, rows that move to it */
};

struct stored_queue {
    struct queue queue; /* first: what the lanes see */
    struct agenda_item look;
    uint32_t number;
    struct list_link all;     /* share->all */
    struct list_link waiting; /* share->capped or share->starved: to be announced later */
    struct position loaded_to;
    uint64_t first_due_ms; /* no lower than what is on disk says; UINT64_MAX: no record there */
    struct window *window;
    uint64_t arrivals_until_ms; /* no higher than what is on disk says */
    uint32_t rows;
    uint8_t shard;
    bool recorded; /* its record is on disk */
    bool announced;
    bool empty;       /* was seen empty at the last look */
    bool approximate; /* `rows` is what was recorded before a crash */
    char text[];      /* the name */
};

/* A message from message_new to the end of its first commit; a fresh one until it leaves. */
struct intake {
    struct message message; /* first */
    struct held *rows;      /* in the message's arena; one per destination */
    struct intake_row {
        struct span record;
        struct record_promise promise;
    } * records;
    unsigned row_count;
    struct list_link link; /* share->stuck_withdrawals */
    bool fresh, withdrawn;
    struct segment_slot slot; /* of the body, until it is released */
    struct op body_written;
    struct upload *upload;
    void *seal; /* of a report that is not sealed yet */
    struct commit commit;
    struct op *done;     /* set: share_accept was called */
    uint64_t ceiling_ms; /* 0: the batch holds none */
    int error;           /* of an upload */
};

enum { REPORTS_MAX = 3 }; /* one of each kind */

/* A row's way to its next state. */
struct settlement {
    struct list_link link; /* share->stuck, several->waiting */
    struct share *share;
    struct held *held;
    struct op journaled;
    struct op sealed; /* the seal of report `sealing` */
    unsigned sealing;
    struct commit commit;
    struct arena arena;
    struct stored_queue *target; /* it goes on there; NULL: where it is */
    struct span record;          /* the row as it goes on; empty: it is gone */
    struct position put_at;
    struct record_promise promise;
    struct several *several;
    struct intake *reports[REPORTS_MAX]; /* DSNs in the same batch */
    unsigned report_count;
    uint64_t *dsn_ids; /* by recipient: its report, 0 for none; NULL: none at all */
    bool verdict;      /* counts as unrecorded; else a demotion */
    bool submitted;    /* once at least */
    bool body_deleted;
};

struct share {
    struct spool *spool;
    struct loop *loop;
    unsigned worker;
    const struct spool_options *options; /* the spool's, or `reloaded` */
    struct spool_options reloaded;
    struct share_limits limits;
    share_on_ready *on_ready;
    void *context;
    share_reserve_seal *reserve_seal; /* NULL: reports are not sealed */
    share_fill_seal *fill_seal;
    share_drop_seal *drop_seal;
    void *seal_context;
    struct journal *journal;
    struct segments segments;
    struct chunk_pool inbound, own; /* messages from outside; settlements and reports */
    struct ids ids;
    struct map queues, held, several;
    struct agenda agenda;
    struct timer look, tick;
    struct op jobs_turn, wake_turn, journal_closed;
    struct list nursery, recent, dirty, bodies, capped, starved, stuck, stuck_withdrawals, jobs;
    uint64_t rejection_second;
    unsigned rejections_told; /* in that second */
    struct list unreported;   /* rows whose reception the journal does not know, until the start */
    struct list all;          /* queues, oldest first */
    struct list walks;        /* walk.h */
    struct upkeep *upkeep;
    uint8_t shards[SHARD_COUNT]; /* those of this worker */
    unsigned shard_count;
    uint32_t next_number[SHARD_COUNT];
    uint64_t loaded_bytes; /* read, or being read */
    unsigned window_rows;  /* held rows that are not fresh */
    unsigned dirty_count;
    unsigned loading_rows;                   /* that the loads in flight may bring */
    unsigned accepting, lent, loads, writes; /* what a drain waits for */
    unsigned settling, stuck_count, unrecorded, demotions;
    struct share_usage usage;
    uint64_t checkpoint_ns, wall_recorded_ns;
    char *line; /* scratch for journal lines */
    struct op *drained;
    bool draining;
    enum { DRAIN_WORK, DRAIN_COUNTERS, DRAIN_JOURNAL } drain_step;
};

static inline struct stored_queue *stored(struct queue *queue)
{
    return (struct stored_queue *)queue;
}

static inline struct held *held_of(struct row *row)
{
    return (struct held *)row;
}

static inline struct intake *intake_of(struct message *message)
{
    return (struct intake *)message;
}

/* The domain of "local@domain", a quoted local part may hold another @. */
static inline struct span address_domain(struct span address)
{
    for (size_t i = address.len; i > 0; i--)
        if (address.data[i - 1] == '@')
            return span_skip(address, i);
    return (struct span){0};
}

static inline bool queue_entirely_loaded(const struct stored_queue *queue)
{
    return queue->loaded_to.due_ms == UINT64_MAX;
}

/* ---- share.c ---- */
int share_init(struct share *share, struct spool *spool, unsigned worker);
void share_fini(struct share *share);
void share_load(struct share *share, struct load *load);
void share_submit(struct share *share, struct commit *commit);
bool share_may_expire(const struct share *share);
/* Writes an event to the journal; `durable` as journal_append. */
void share_journal(struct share *share, struct event *event, struct op *durable);
/* Everything that ends calls it: the end of a drain may have come. */
void share_look_drained(struct share *share);
void share_arm_look(struct share *share);
uint8_t share_shard(const struct share *share, struct span domain);

/* ---- queues.c ---- */
struct stored_queue *queue_find(struct share *share, uint8_t shard, struct span name);
/* Finds or makes. NULL: no memory. */
struct stored_queue *queue_obtain(struct share *share, uint8_t shard, const struct envelope *row);
struct stored_queue *queue_add(struct share *share, uint8_t shard, uint32_t number,
                               struct span name);
MUST_USE bool queue_open_window(struct stored_queue *queue);
void queue_trim_window(struct stored_queue *queue);
void queue_free(struct stored_queue *queue);
/* Decides what is next for this queue: announce, wait, or forget it. Call it after every change. */
void queue_look(struct stored_queue *queue);
void queue_look_later(struct stored_queue *queue, uint64_t delay_ms); /* something failed */
void queue_mark_dirty(struct stored_queue *queue);
void queues_look_due(struct share *share);
/* No row of it that waits is due before this; UINT64_MAX: none waits. */
uint64_t queue_first_due_ms(const struct stored_queue *queue);
/* What the counter says is replaced by what was counted. */
void queue_set_rows(struct stored_queue *queue, uint32_t rows);
void queues_checkpoint(struct share *share);
/* Adds the queue's record to a batch that puts a row due at `due_ms`, if that needs it. *promise,
 * zeros at first, is then what queue_record_done wants when the batch has ended. If it is not zero
 * already (the batch is submitted again and holds an older record), one that is right now is added:
 * the last put of a key counts. */
MUST_USE bool queue_put_record(struct stored_queue *queue, struct commit *commit,
                               struct arena *arena, uint64_t due_ms,
                               struct record_promise *promise);
void queue_record_done(struct stored_queue *queue, struct record_promise *promise, int result);
void queue_record_put_over(struct stored_queue *queue); /* one of window->record_puts */

/* ---- window.c ---- */
void held_enter(struct held *held, struct stored_queue *queue); /* into share->held, no list yet */
void held_leave(struct held *held);                             /* out of share->held and lists */
struct held *held_find(struct share *share, uint64_t id, const struct stored_queue *queue);
/* A row from its record, WAITING, not entered. NULL: no memory or malformed (-> *ret_damaged). */
struct held *held_new(struct stored_queue *queue, struct position at, struct span record,
                      bool *ret_damaged);
struct held *held_free(struct held *held);
void held_set_busy(struct held *held, enum held_state state);
void held_wait(struct held *held); /* fresh or not: into its place among the waiting */
/* A row is on disk as `record` now: takes it into the window if it belongs there. */
void window_put(struct stored_queue *queue, struct position at, struct span record);
/* The row is not on disk any more: takes it out of all lists. Its memory stays the caller's. */
void window_forget(struct held *held);
/* False: no room, or no memory. */
MUST_USE bool window_load_start(struct stored_queue *queue);
/* How many rows one load brings; when a quarter of them is left, the next one begins. */
unsigned window_load_rows(const struct share *share);
void window_evict(struct share *share, unsigned rows, const struct stored_queue *except);
void window_touch(struct window *window); /* it was pulled, or filled */
bool window_in_use(const struct window *window);
unsigned window_rows_used(const struct share *share); /* in memory, or being read */

/* ---- pull.c ---- */
/* Too many verdicts are unrecorded, or the disk takes none now. */
bool share_capped(const struct share *share);
void held_lend(struct held *held); /* in memory, or just entered */
/* A due row, LENT (its body may be missing if `with_body` is false), or why there is none. */
enum pull_result pull_row(struct share *share, struct stored_queue *queue, bool with_body,
                          struct held **ret_held);
/* Memory or verdicts have become free: who waits for them will be announced. */
void pull_wake(struct share *share);
void on_wake_turn(struct op *op);
void pull_make_room(struct share *share);

/* ---- bodies.c ---- */
void bodies_load_start(struct stored_queue *queue);
void held_drop_body(struct held *held);

/* ---- jobs.c ---- */
void on_jobs_turn(struct op *op);
void queue_wake_job(struct stored_queue *queue);
struct queue_job *job_free(struct queue_job *job);
struct reply_summary job_reply(const struct queue_job *job);

/* ---- accept.c ---- */
unsigned text_spans(const struct text *text, struct span *ret_spans); /* room for text->pieces */
/* A line per row, or several if it has many recipients. `message` (who injected it) is NULL after a
 * crash, when nobody knows any more. */
void journal_reception(struct share *share, const struct row *row, const struct message *message);
void intake_parts_written(struct intake *intake);
struct intake *intake_new(struct share *share, struct chunk_pool *pool);
struct intake *intake_blank(struct share *share, struct chunk_pool *pool); /* without times */
void intake_drop_seal(struct intake *intake);
void intake_free(struct intake *intake);
enum fresh_form {
    FRESH_NEVER,
    FRESH_INLINE,
    FRESH_OR_SEGMENT, /* the body may go to a segment: intake->slot says, and it must be written
                         before the commit is submitted */
};
/* Makes the rows and fills `commit` with all but records and ceiling. 0 or -ENOMEM (nothing was
 * entered anywhere then). */
MUST_USE int intake_fill(struct intake *intake, struct commit *commit, enum fresh_form form);
MUST_USE bool intake_put_records(struct intake *intake, struct commit *commit, struct arena *arena,
                                 bool again);
void intake_committed(struct intake *intake, uint64_t sequence);
void intake_failed(struct intake *intake, int result);
void intake_discard(struct intake *intake); /* at the end of the share: memory only */

/* ---- withdraw.c ---- */
void intake_withdraw(struct intake *intake); /* it is on disk and must not be */
void withdrawals_retry(struct share *share);

/* ---- upload.c ---- */
int upload_append(struct intake *intake, struct span bytes, struct op *room);
bool upload_busy(const struct intake *intake);
void upload_abandon(struct intake *intake);
MUST_USE bool upload_fill(struct intake *intake, struct commit *commit, struct arena *arena);
struct upload *upload_free(struct upload *upload);

/* ---- nursery.c ---- */
bool nursery_has_room(const struct share *share, uint64_t size);
void nursery_enter(struct held *held); /* a new one: announces its queue, too */
void nursery_place(struct held *held);
/* Its record went with this group of the committer. */
void nursery_leave(struct held *held, uint64_t group);
void nursery_demote_old(struct share *share);

/* ---- settle.c: verdicts ---- */
void settle(struct held *held, const struct attempt *attempt, bool journal);
/* One verdict of our own for all recipients. */
void settle_internal(struct held *held, const struct verdict *verdict, bool journal);
void settle_administered(struct held *held, const struct verdict *verdict, bool unreported);
void settle_expired(struct held *held);
/* If the journal says that recipients of this row were settled before a crash: settles them. */
void settle_journaled(struct held *held);

/* ---- upkeep.c ---- */
MUST_USE int upkeep_init(struct share *share);
void upkeep_start(struct share *share); /* the loop runs */
void upkeep_tick(struct share *share);
void upkeep_fini(struct share *share);

/* ---- settlement.c: the way of a batch ---- */
/* A row that is LENT will be due at another time, without an attempt. */
void settlement_reschedule(struct held *held, uint64_t due_ms);
/* A row that is LENT goes to another queue of its shard, whose window is open, under the name that
 * `envelope` says. */
void settlement_move(struct held *held, const struct envelope *envelope,
                     struct stored_queue *target);
struct settlement *settlement_new(struct held *held, bool verdict);
/* Deletes what the row is on disk now, and (if it goes on) puts what it will be. */
MUST_USE bool settlement_fill(struct settlement *settlement, const struct envelope *envelope,
                              const struct row_state *state, uint64_t due_ms);
/* Everything is filled in; `journaled` is with the journal, or idle. */
void settlement_begin(struct settlement *settlement);
/* Nothing was submitted: the row waits again. */
void settlement_abort(struct settlement *settlement);
void settlement_retry(struct settlement *settlement);
void settlements_retry(struct share *share);

/* Deletes of all parts that a body of this size can have. */
MUST_USE bool body_delete(struct commit *commit, struct arena *arena, uint64_t id, uint64_t size);

/* ---- several.c: messages with several rows ---- */
/* Whether the batch may be submitted now; *ret_last: it must delete the body, too. False: the
 * settlement waits, settlement_go is called when its turn has come. */
bool several_join(struct settlement *settlement, bool *ret_last);
void several_leave(struct settlement *settlement, bool committed);
void settlement_go(struct settlement *settlement, bool last);

/* ---- report.c ---- */
/* Makes the reports that this attempt calls for and fills them into the settlement's batch;
 * `open` are the recipients that stay (their delay_reported may be set). False: no memory. */
MUST_USE bool reports_make(struct settlement *settlement, const struct attempt *attempt,
                           const struct row_state *state, struct recipient *open,
                           unsigned open_count);
