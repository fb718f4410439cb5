/* What recovery reads: each worker's newest segments, oldest first, in pieces of twice the longest
 * frame, so that memory is bounded whatever the files hold. Compressed segments count by what they
 * hold. One whose data is damaged is left where it broke; the jump behind it is a gap. */
#include "queue/journal_files.h"
#include "queue/journal_state.h"

#include <errno.h>
#include <stdlib.h>

static int scan_file(struct journal_bytes *bytes, uint64_t offset, char *piece,
                     struct journal_scan *scan, journal_on_line *on_line, void *context)
{
    size_t held = 0;
    int result = journal_bytes_skip(bytes, offset);
    scan->resync = offset > 0;
    while (result == 0) {
        ssize_t got = journal_bytes_read(bytes, piece + held, JOURNAL_PIECE - held);
        if (got == -EBADMSG) {
            scan->damaged++;
            got = 0;
        }
        if (got < 0)
            return (int)got;
        held += (size_t)got;
        size_t used = journal_scan_bytes(scan, span_of(piece, held), got == 0, on_line, context);
        memmove(piece, piece + used, held - used);
        held -= used;
        if (got == 0)
            return 0;
    }
    scan->damaged += result == -EBADMSG;
    return result == -EBADMSG ? 0 : result;
}

struct tail {
    const struct journal_listing *listing;
    uint64_t bytes;
    char *piece;
    journal_on_line *on_line;
    void *context;
};

static int open_file(const struct tail *tail, size_t index, struct journal_bytes **ret_bytes)
{
    return journal_bytes_open(tail->listing->directory_fd, &tail->listing->files[index], ret_bytes);
}

/* The files [first, end) are one worker's. */
static int scan_worker(const struct tail *tail, size_t first, size_t end, struct journal_scan *scan)
{
    size_t at = end;
    uint64_t found = 0, offset = 0;
    struct journal_bytes *bytes;
    int result = 0;
    while (at > first && found < tail->bytes) {
        result = open_file(tail, --at, &bytes);
        if (result < 0)
            return result;
        uint64_t size = journal_bytes_size(bytes);
        offset = size > tail->bytes - found ? size - (tail->bytes - found) : 0;
        found += size;
        journal_bytes_close(bytes);
    }
    for (; at < end && result == 0; at++, offset = 0) {
        result = open_file(tail, at, &bytes);
        if (result < 0)
            return result;
        result = scan_file(bytes, offset, tail->piece, scan, tail->on_line, tail->context);
        journal_bytes_close(bytes);
    }
    return result;
}

/* A file without a readable frame has used up its first sequence if anything was written to it:
 * better a loss that was none than an unreadable file replaced by one of its name. */
static void note_end(struct journal_tail *tail, const struct journal_file *newest,
                     const struct journal_scan *scan)
{
    uint64_t used = newest->first_sequence + (newest->size > 0);
    tail->next_sequence[scan->worker] = scan->next_sequence > used ? scan->next_sequence : used;
    if (used > scan->next_sequence && newest->size > 0)
        tail->torn_from[scan->worker] = newest->first_sequence;
}

/* What was on disk once is not given again, even if its file is gone. */
static void pass_heads(const char *directory, struct journal_tail *tail)
{
    struct journal_state state;
    if (journal_state_read(directory, &state) != 0)
        return;
    for (unsigned i = 0; i < JOURNAL_WORKERS; i++)
        if (state.workers[i].head > 0 && state.workers[i].head >= tail->next_sequence[i]) {
            tail->next_sequence[i] = state.workers[i].head + 1;
            tail->torn_from[i] = 0;
        }
}

int journal_recover(const char *directory, uint64_t tail_bytes, journal_on_line *on_line,
                    void *context, struct journal_tail *ret_tail)
{
    struct journal_listing listing;
    struct journal_tail tail = {0};
    struct tail reading = {&listing, tail_bytes, malloc(JOURNAL_PIECE), on_line, context};
    int result = journal_list(directory, &listing);
    if (!reading.piece)
        result = -ENOMEM;
    for (size_t first = 0, end; result == 0 && first < listing.count; first = end) {
        struct journal_scan scan = {.worker = listing.files[first].worker};
        end = journal_list_worker_end(&listing, first);
        result = scan_worker(&reading, first, end, &scan);
        tail.frames += scan.frames;
        tail.gaps += scan.gaps;
        tail.damaged += scan.damaged;
        tail.lost += scan.lost;
        note_end(&tail, &listing.files[end - 1], &scan);
    }
    free(reading.piece);
    journal_listing_fini(&listing);
    pass_heads(directory, &tail);
    if (result == 0)
        *ret_tail = tail;
    return result;
}
