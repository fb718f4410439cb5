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
 * - The disk hangs: at the deadline, and each time it passes again, the waiting ops get -ETIMEDOUT;
 *   the buffer stays with the kernel, the other one fills, then frames are lost until it answers.
 */
#include "queue/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

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
    struct list waiting;     /* ops, done when this buffer is on disk */
    uint64_t first_sequence; /* of `frames` */
    uint64_t frame_count;
};

struct journal {
    struct loop *loop;
    struct buffer buffers[2];
    struct buffer *filling, *flushing;
    uint64_t next_sequence;
    unsigned worker;
    uint64_t file_bytes;

    enum step step;
    struct op op;
    struct iovec iov;
    struct timer due;      /* when the next flush may start */
    struct timer deadline; /* of the flush that is running */
    uint64_t flushed_ns;   /* when the last flush started */
    bool must_rest;        /* the last flush failed */

    int directory_fd, fd;
    uint64_t offset; /* end of what was synced in `fd` */
    size_t written;  /* of `flushing` */

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
    journal->worker = options->worker;
    journal->file_bytes = options->file_bytes ? options->file_bytes : JOURNAL_FILE_BYTES;
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

bool journal_append(struct journal *journal, struct span line, struct op *durable)
{
    struct buffer *buffer = journal->filling;
    uint64_t sequence = journal->next_sequence++;
    if (journal->closed || !journal_frame_write(&buffer->frames, sequence, line)) {
        journal->usage.lost++;
        if (durable)
            loop_ready(journal->loop, durable, -ENOSPC);
        return false;
    }
    if (buffer->frame_count++ == 0)
        buffer->first_sequence = sequence;
    journal->usage.frames++;
    if (durable) {
        durable->state = OP_BUSY;
        list_append(&buffer->waiting, &durable->link);
    }
    if (journal->step == RESTING) {
        uint64_t due_ns = flush_due_ns(journal);
        if (!timer_armed(&journal->due) || due_ns < journal->due.due_ns)
            timer_arm(&journal->loop->timers, &journal->due, due_ns);
    }
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

/* O_TRUNC: a name that exists belongs to a run that left no whole frame in it, or this sequence
 * would have been used up. */
static void start_open(struct journal *journal)
{
    int len =
        snprintf(journal->path, sizeof journal->path, "%s/w%u-%016llx.log", journal->directory,
                 journal->worker, (unsigned long long)journal->flushing->first_sequence);
    if (len < 0 || (size_t)len >= sizeof journal->path)
        journal->path[0] = '\0'; /* the open says ENOENT */
    journal->step = OPENING;
    journal->offset = 0;
    io_open(journal->loop->io, &journal->op, journal->path,
            O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
}

static void start_write(struct journal *journal)
{
    struct sink *frames = &journal->flushing->frames;
    journal->step = WRITING;
    journal->iov.iov_base = frames->data + journal->written;
    journal->iov.iov_len = frames->len - journal->written;
    io_write(journal->loop->io, &journal->op, journal->fd, &journal->iov, 1,
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

static void start_flush(struct journal *journal)
{
    struct buffer *buffer = journal->filling;
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

/* Nothing is in flight: what next? */
static void rest(struct journal *journal)
{
    journal->step = RESTING;
    bool empty = journal->filling->frames.len == 0;
    bool file_over = journal->closed ? empty : journal->offset >= journal->file_bytes;
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
}

static void flush_over(struct journal *journal, int result)
{
    struct buffer *buffer = journal->flushing;
    loop_disarm(journal->loop, &journal->deadline);
    finish_waiting(journal, buffer, result);
    if (result == 0) {
        journal->offset += buffer->frames.len;
        journal->usage.bytes += buffer->frames.len;
        journal->usage.syncs++;
    }
    buffer_empty(buffer);
}

static void flush_failed(struct journal *journal, int error)
{
    journal->usage.errors++;
    journal->usage.lost += journal->flushing->frame_count;
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
    if (journal->written < journal->flushing->frames.len)
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
