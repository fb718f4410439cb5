/* Which segment comes next is asked of the directory each time one has been read to its end: a
 * listing grows old while the daemon works.
 *
 * Failure modes. A plain segment is over when a later one exists; what was appended between our
 * last read and the look at the directory is read once more before going on. A segment that cannot
 * be read further is left where it broke: the jump to the next one is found as a gap. */
#include "queue/journal_files.h"

#include <errno.h>
#include <stdlib.h>

int journal_stream_init(struct journal_stream *stream, const char *directory, unsigned worker,
                        uint64_t from)
{
    *stream = (struct journal_stream){.directory = directory, .worker = worker, .from = from};
    stream->scan.worker = worker;
    stream->piece = malloc(JOURNAL_PIECE);
    return stream->piece ? 0 : -ENOMEM;
}

void journal_stream_fini(struct journal_stream *stream)
{
    journal_bytes_close(stream->bytes);
    free(stream->piece);
}

/* The first time: the last segment that begins at or below `from`, else the first of all. */
static const struct journal_file *choose(const struct journal_stream *stream,
                                         const struct journal_listing *listing)
{
    const struct journal_file *chosen = NULL;
    bool begun = stream->first_sequence > 0;
    for (size_t i = 0; i < listing->count; i++) {
        const struct journal_file *file = &listing->files[i];
        if (file->worker != stream->worker)
            continue;
        if (begun && file->first_sequence <= stream->first_sequence)
            continue;
        if (chosen && (begun || file->first_sequence > stream->from))
            break;
        chosen = file;
    }
    return chosen;
}

/* 1: there is one; *ret_bytes is open. 0: none. */
static int open_next(struct journal_stream *stream, struct journal_bytes **ret_bytes,
                     uint64_t *ret_first)
{
    struct journal_listing listing;
    int result = journal_list(stream->directory, &listing);
    const struct journal_file *file = result == 0 ? choose(stream, &listing) : NULL;
    if (file) {
        *ret_first = file->first_sequence;
        result = journal_bytes_open(listing.directory_fd, file, ret_bytes);
        result = result == -ENOENT ? 1 : result; /* just removed: the caller asks again */
    }
    journal_listing_fini(&listing);
    return file && result == 0 ? 1 : result;
}

struct passing {
    const struct journal_stream *stream;
    journal_on_line *on_line;
    void *context;
};

static void pass_on(void *context, const struct journal_line *line)
{
    struct passing *passing = context;
    if (line->sequence >= passing->stream->from)
        passing->on_line(passing->context, line);
}

/* More than 0: something was read. */
static ssize_t read_piece(struct journal_stream *stream, bool end, struct passing *passing)
{
    ssize_t got = stream->bytes ? journal_bytes_read(stream->bytes, stream->piece + stream->held,
                                                     JOURNAL_PIECE - stream->held)
                                : 0;
    if (got == -EBADMSG) {
        stream->damaged_files++;
        stream->bytes = journal_bytes_close(stream->bytes);
        got = 0;
    }
    if (got < 0)
        return got;
    stream->held += (size_t)got;
    size_t used = journal_scan_bytes(&stream->scan, span_of(stream->piece, stream->held),
                                     end && got == 0, pass_on, passing);
    memmove(stream->piece, stream->piece + used, stream->held - used);
    stream->held -= used;
    return got;
}

int journal_stream_read(struct journal_stream *stream, journal_on_line *on_line, void *context)
{
    struct passing passing = {stream, on_line, context};
    ssize_t got = read_piece(stream, false, &passing);
    if (got != 0)
        return got < 0 ? (int)got : 1;
    struct journal_bytes *next = NULL;
    uint64_t first = 0;
    int result = open_next(stream, &next, &first);
    if (result <= 0 || !next)
        return result;
    while ((got = read_piece(stream, true, &passing)) > 0)
        ;
    journal_bytes_close(stream->bytes);
    stream->bytes = next;
    stream->first_sequence = first;
    stream->held = 0;
    return got < 0 ? (int)got : 1;
}

void journal_stream_end(struct journal_stream *stream, journal_on_line *on_line, void *context)
{
    struct passing passing = {stream, on_line, context};
    journal_scan_bytes(&stream->scan, span_of(stream->piece, stream->held), true, pass_on,
                       &passing);
    stream->held = 0;
}
