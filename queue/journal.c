/* One op walks through the steps of a flush; on_step records its result, advance() decides. The
 * timer says when the next flush may start, the deadline when the ops of the present one have
 * waited long enough.
 *
 * Failure modes.
 * - Open fails (no descriptors, disk full): what the flush held is lost; the next flush tries
 * again.
 * - Write fails or is short for good: the file may end in a torn frame. It is closed and left as it
 *   is, readers take that for a torn tail. A file in which nothing was ever synced is used again
 *   from its beginning instead, so that a full disk does not grow a file per second.
 * - Sync fails: the kernel may have dropped the pages; they are not written again (it would report
 *   success for nothing). Lost, counted, next file.
 *   What is lost is declared by a frame in front of what is written next, in one write with it.
 * - The disk hangs: at the deadline, and each time it passes again, the waiting ops get -ETIMEDOUT;
 *   the buffer stays with the kernel, the other one fills, then frames are lost until it answers.
 */
#include "queue/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

enum { LOSS_FRAME_MAX = 256 }; /* the frame that declares a loss; each buffer keeps room for one */

enum step {
    RESTING,
    OPENING_DIRECTORY, /* once, to sync it after a file was created */
    OPENING,
    SYNCING_DIRECTORY,
    WRITING,
    SYNCING,
    CLOSING_FILE,
    CLOSING_DIRECTORY,
    ENDED,
};

struct buffer {
    struct sink frames;
    struct list waiting;                    /* ops, done when this buffer is on disk */
    uint64_t first_sequence, last_sequence; /* of `frames` */
    uint64_t frame_count;
};

struct loss {
    uint64_t from, to; /* sequences; 0: none */
};

struct journal {
    struct loop *loop;
    struct buffer buffers[2];
    struct buffer *filling, *flushing;
    uint64_t next_sequence;
    unsigned worker;
    uint64_t file_bytes, file_ns;
    _Atomic uint64_t *head;

    struct loss refused;   /* no room in `filling`: declared there as soon as there is */
    struct loss unwritten; /* by a failed flush: declared in front of the next one */
    char loss_frame[LOSS_FRAME_MAX];
    size_t loss_len; /* in front of `flushing` */
    bool failing;    /* since the last flush failed */

    enum step step;
    struct op op;
    struct iovec iov[2];
    struct timer due;      /* when the next flush may start */
    struct timer deadline; /* of the flush that is running */
    uint64_t flushed_ns;   /* when the last flush started */
    bool must_rest;        /* the last flush failed */

    int directory_fd, fd;
    uint64_t opened_ns; /* `fd` */
    uint64_t offset;    /* end of what was synced in `fd` */
    size_t written;     /* of `flushing` */

    struct op *closed; /* journal_close was called */
    int close_result;
    struct journal_usage usage;
    char path[4096]; /* of the file being opened */
    char directory[];
};

static void advance(struct journal *journal);

static void on_step(struct op *op)
{
    advance(container_of(op, struct journal, op));
}

static void on_due(struct op *op)
{
    advance(container_of(container_of(op, struct timer, op), struct journal, due));
}

static void finish_waiting(struct journal *journal, struct buffer *buffer, int result)
{
    struct list_link *link;
    while ((link = list_take_first(&buffer->waiting)))
        loop_ready(journal->loop, container_of(link, struct op, link), result);
}

static void on_deadline(struct op *op)
{
    struct journal *journal =
        container_of(container_of(op, struct timer, op), struct journal, deadline);
    journal->usage.errors++;
    finish_waiting(journal, journal->flushing, -ETIMEDOUT);
    finish_waiting(journal, journal->filling, -ETIMEDOUT);
    io_cancel(journal->loop->io, &journal->op);
    loop_arm(journal->loop, &journal->deadline, JOURNAL_DEADLINE_MS * NS_PER_MS);
}

static int buffer_init(struct buffer *buffer, size_t capacity)
{
    void *data = malloc(capacity);
    if (!data)
        return -ENOMEM;
    sink_init(&buffer->frames, data, capacity);
    list_init(&buffer->waiting);
    return 0;
}

static void buffer_empty(struct buffer *buffer)
{
    sink_init(&buffer->frames, buffer->frames.data, buffer->frames.capacity);
    buffer->frame_count = 0;
}

int journal_open(const struct journal_options *options, struct loop *loop,
                 struct journal **ret_journal)
{
    check(options->worker < JOURNAL_WORKERS);
    size_t directory_len = strlen(options->directory);
    struct journal *journal = calloc(1, sizeof *journal + directory_len + 1);
    if (!journal)
        return -ENOMEM;
    size_t capacity = options->buffer_bytes ? options->buffer_bytes : JOURNAL_BUFFER_BYTES;
    if (buffer_init(&journal->buffers[0], capacity) ||
        buffer_init(&journal->buffers[1], capacity)) {
        free(journal->buffers[0].frames.data);
        free(journal);
        return -ENOMEM;
    }
    journal->loop = loop;
    journal->filling = &journal->buffers[0];
    journal->flushing = &journal->buffers[1];
    journal->next_sequence = options->first_sequence ? options->first_sequence : 1;
    if (options->torn_from) /* in a file of its own: what is unreadable stays to be looked at */
        journal->unwritten = (struct loss){options->torn_from, journal->next_sequence++};
    journal->worker = options->worker;
    journal->file_bytes = options->file_bytes ? options->file_bytes : JOURNAL_FILE_BYTES;
    journal->file_ns = options->file_ms * NS_PER_MS;
    journal->head = options->head;
    journal->fd = journal->directory_fd = -1;
    memcpy(journal->directory, options->directory, directory_len + 1);
    op_init(&journal->op, on_step);
    timer_init(&journal->due, on_due);
    timer_init(&journal->deadline, on_deadline);
    *ret_journal = journal;
    return 0;
}

struct journal *journal_free(struct journal *journal)
{
    if (!journal)
        return NULL;
    check(op_idle(&journal->op) && !timer_armed(&journal->due) && !timer_armed(&journal->deadline));
    check(list_empty(&journal->buffers[0].waiting) && list_empty(&journal->buffers[1].waiting));
    free(journal->buffers[0].frames.data);
    free(journal->buffers[1].frames.data);
    free(journal);
    return NULL;
}

void journal_usage(const struct journal *journal, struct journal_usage *ret_usage)
{
    *ret_usage = journal->usage;
}

/* ---- appending ---- */

static uint64_t flush_due_ns(const struct journal *journal)
{
    bool half_full = journal->filling->frames.len >= journal->filling->frames.capacity / 2;
    if (journal->must_rest)
        return journal->flushed_ns + JOURNAL_REST_MS * NS_PER_MS;
    if (journal->closed || half_full)
        return 0;
    return journal->flushed_ns + JOURNAL_SYNC_MS * NS_PER_MS;
}

bool journal_behind(const struct journal *journal)
{
    const struct sink *frames = &journal->filling->frames;
    return journal->failing || (journal->step != RESTING && frames->len >= frames->capacity / 2);
}

static bool nothing_to_write(const struct journal *journal)
{
    return journal->filling->frames.len == 0 && journal->refused.to == 0 &&
           journal->unwritten.to == 0;
}

static void arm_flush(struct journal *journal)
{
    if (journal->step != RESTING)
        return;
    uint64_t due_ns = flush_due_ns(journal);
    if (!timer_armed(&journal->due) || due_ns < journal->due.due_ns)
        timer_arm(&journal->loop->timers, &journal->due, due_ns);
}

static bool put_frame(struct buffer *buffer, uint64_t sequence, struct span line)
{
    if (!journal_frame_write(&buffer->frames, sequence, line))
        return false;
    if (buffer->frame_count++ == 0)
        buffer->first_sequence = sequence;
    buffer->last_sequence = sequence;
    return true;
}

static struct span loss_line(const struct journal *journal, const struct loss *loss, char *text)
{
    struct sink sink;
    sink_init(&sink, text, LOSS_FRAME_MAX - JOURNAL_FRAME_EXTRA);
    journal_loss_write(&sink, loss->from, loss->to, journal->loop->wall_ms);
    return sink_span(&sink);
}

static void declare_refused(struct journal *journal)
{
    char text[LOSS_FRAME_MAX];
    if (journal->refused.to == 0)
        return;
    struct span line = loss_line(journal, &journal->refused, text);
    check(put_frame(journal->filling, journal->refused.to, line));
    journal->refused = (struct loss){0};
}

static void refuse(struct journal *journal, uint64_t sequence)
{
    if (journal->refused.to == 0)
        journal->refused.from = sequence;
    journal->refused.to = sequence;
    journal->usage.lost++;
    if (!journal->closed)
        arm_flush(journal);
}

/* The room for one declaration is never given to a line. */
static bool has_room(const struct journal *journal, size_t line_len)
{
    const struct sink *frames = &journal->filling->frames;
    size_t needed = line_len + JOURNAL_FRAME_EXTRA + LOSS_FRAME_MAX;
    if (journal->refused.to)
        needed += LOSS_FRAME_MAX;
    return line_len <= JOURNAL_LINE_MAX && needed <= frames->capacity - frames->len;
}

bool journal_append(struct journal *journal, struct span line, struct op *durable)
{
    struct buffer *buffer = journal->filling;
    uint64_t sequence = journal->next_sequence++;
    if (journal->closed || !has_room(journal, line.len)) {
        refuse(journal, sequence);
        if (durable)
            loop_ready(journal->loop, durable, -ENOSPC);
        return false;
    }
    declare_refused(journal);
    check(put_frame(buffer, sequence, line));
    journal->usage.frames++;
    if (durable) {
        durable->state = OP_BUSY;
        list_append(&buffer->waiting, &durable->link);
    }
    arm_flush(journal);
    return true;
}

void journal_close(struct journal *journal, struct op *done)
{
    check(!journal->closed);
    journal->closed = done;
    done->state = OP_BUSY;
    journal->must_rest = false;
    if (journal->step == RESTING)
        loop_arm(journal->loop, &journal->due, 0);
}

/* ---- the steps ---- */

static void start_open_directory(struct journal *journal)
{
    journal->step = OPENING_DIRECTORY;
    io_open(journal->loop->io, &journal->op, journal->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC,
            0);
}

static uint64_t first_sequence(const struct journal *journal)
{
    return journal->loss_len ? journal->unwritten.to : journal->flushing->first_sequence;
}

/* O_TRUNC: a name that exists belongs to a run that left no whole frame in it, or this sequence
 * would have been used up. */
static void start_open(struct journal *journal)
{
    int len =
        snprintf(journal->path, sizeof journal->path, "%s/w%u-%016llx.log", journal->directory,
                 journal->worker, (unsigned long long)first_sequence(journal));
    if (len < 0 || (size_t)len >= sizeof journal->path)
        journal->path[0] = '\0'; /* the open says ENOENT */
    journal->step = OPENING;
    journal->offset = 0;
    io_open(journal->loop->io, &journal->op, journal->path,
            O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
}

static size_t flush_len(const struct journal *journal)
{
    return journal->loss_len + journal->flushing->frames.len;
}

static void start_write(struct journal *journal)
{
    struct span pieces[] = {span_of(journal->loss_frame, journal->loss_len),
                            sink_span(&journal->flushing->frames)};
    size_t skip = journal->written;
    unsigned count = 0;
    for (unsigned i = 0; i < countof(pieces); i++) {
        struct span left = span_skip(pieces[i], skip);
        skip -= pieces[i].len - left.len;
        if (left.len)
            journal->iov[count++] = (struct iovec){(void *)(uintptr_t)left.data, left.len};
    }
    journal->step = WRITING;
    io_write(journal->loop->io, &journal->op, journal->fd, journal->iov, count,
             journal->offset + journal->written);
}

static void start_sync(struct journal *journal, int fd, enum step step)
{
    journal->step = step;
    io_datasync(journal->loop->io, &journal->op, fd);
}

static void start_close(struct journal *journal, int *fd, enum step step)
{
    journal->step = step;
    io_close(journal->loop->io, &journal->op, *fd);
    *fd = -1;
}

static void declare_unwritten(struct journal *journal)
{
    char text[LOSS_FRAME_MAX];
    struct sink sink;
    journal->loss_len = 0;
    if (journal->unwritten.to == 0)
        return;
    sink_init(&sink, journal->loss_frame, sizeof journal->loss_frame);
    check(journal_frame_write(&sink, journal->unwritten.to,
                              loss_line(journal, &journal->unwritten, text)));
    journal->loss_len = sink.len;
}

static void start_flush(struct journal *journal)
{
    struct buffer *buffer = journal->filling;
    declare_refused(journal);
    declare_unwritten(journal);
    journal->filling = journal->flushing;
    journal->flushing = buffer;
    journal->flushed_ns = journal->loop->now_ns;
    journal->written = 0;
    journal->must_rest = false;
    loop_arm(journal->loop, &journal->deadline, JOURNAL_DEADLINE_MS * NS_PER_MS);
    if (journal->directory_fd < 0)
        start_open_directory(journal);
    else if (journal->fd < 0)
        start_open(journal);
    else
        start_write(journal);
}

static void end(struct journal *journal)
{
    journal->step = ENDED;
    loop_disarm(journal->loop, &journal->due);
    loop_ready(journal->loop, journal->closed, journal->close_result);
}

static bool file_full(const struct journal *journal)
{
    uint64_t age_ns = journal->loop->now_ns - journal->opened_ns;
    bool old = journal->file_ns && age_ns >= journal->file_ns;
    return journal->offset >= journal->file_bytes || (old && journal->offset > 0);
}

/* Nothing is in flight: what next? */
static void rest(struct journal *journal)
{
    journal->step = RESTING;
    bool empty = nothing_to_write(journal);
    bool file_over = journal->closed ? empty : file_full(journal);
    if (journal->fd >= 0 && file_over)
        start_close(journal, &journal->fd, CLOSING_FILE);
    else if (!empty && journal->loop->now_ns >= flush_due_ns(journal))
        start_flush(journal);
    else if (!empty)
        timer_arm(&journal->loop->timers, &journal->due, flush_due_ns(journal));
    else if (journal->closed && journal->directory_fd >= 0)
        start_close(journal, &journal->directory_fd, CLOSING_DIRECTORY);
    else if (journal->closed)
        end(journal);
    else if (journal->fd >= 0 && journal->file_ns && journal->offset > 0)
        timer_arm(&journal->loop->timers, &journal->due, journal->opened_ns + journal->file_ns);
}

static void flush_done(struct journal *journal)
{
    uint64_t head =
        journal->flushing->frame_count ? journal->flushing->last_sequence : journal->unwritten.to;
    journal->offset += flush_len(journal);
    journal->usage.bytes += flush_len(journal);
    journal->usage.syncs++;
    journal->unwritten = (struct loss){0};
    journal->failing = false;
    if (journal->head)
        atomic_store_explicit(journal->head, head, memory_order_relaxed);
}

static void flush_over(struct journal *journal, int result)
{
    struct buffer *buffer = journal->flushing;
    loop_disarm(journal->loop, &journal->deadline);
    finish_waiting(journal, buffer, result);
    if (result == 0)
        flush_done(journal);
    buffer_empty(buffer);
}

/* At the end nobody tries again: what is not on disk does not exist for the next run. */
static void lose_flushing(struct journal *journal)
{
    const struct buffer *buffer = journal->flushing;
    journal->usage.lost += buffer->frame_count;
    if (journal->unwritten.to == 0)
        journal->unwritten.from = buffer->first_sequence;
    if (buffer->frame_count)
        journal->unwritten.to = buffer->last_sequence;
    if (journal->closed)
        journal->unwritten = (struct loss){0};
}

static void flush_failed(struct journal *journal, int error)
{
    journal->usage.errors++;
    lose_flushing(journal);
    journal->failing = true;
    journal->must_rest = !journal->closed;
    if (journal->closed && journal->close_result == 0)
        journal->close_result = error;
    flush_over(journal, error);
    bool unlisted = journal->step == SYNCING_DIRECTORY; /* its name may not survive a crash */
    if (journal->fd >= 0 && (journal->offset > 0 || unlisted))
        start_close(journal, &journal->fd, CLOSING_FILE);
    else
        rest(journal);
}

static void on_written(struct journal *journal, int32_t result)
{
    journal->written += (size_t)result;
    if (journal->written < flush_len(journal))
        start_write(journal);
    else
        start_sync(journal, journal->fd, SYNCING);
}

/* One step of the flush succeeded. */
static void step_done(struct journal *journal, int32_t result)
{
    switch (journal->step) {
    case OPENING_DIRECTORY:
        journal->directory_fd = result;
        start_open(journal);
        break;
    case OPENING:
        journal->fd = result;
        journal->opened_ns = journal->loop->now_ns;
        start_sync(journal, journal->directory_fd, SYNCING_DIRECTORY);
        break;
    case SYNCING_DIRECTORY:
        start_write(journal);
        break;
    case WRITING:
        on_written(journal, result);
        break;
    case SYNCING:
        flush_over(journal, 0);
        rest(journal);
        break;
    case RESTING:
    case CLOSING_FILE:
    case CLOSING_DIRECTORY:
        rest(journal);
        break;
    case ENDED:
        break;
    }
}

static void advance(struct journal *journal)
{
    if (!op_idle(&journal->op))
        return; /* a timer fired while a step runs */
    int32_t result = journal->step == RESTING ? 0 : journal->op.result;
    bool flushing = journal->step >= OPENING_DIRECTORY && journal->step <= SYNCING;
    if (flushing && journal->step == WRITING && result == 0)
        result = -EIO; /* a write of nothing would be tried for ever */
    if (flushing && result < 0)
        flush_failed(journal, result);
    else
        step_done(journal, result);
}
