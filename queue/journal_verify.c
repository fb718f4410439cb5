/* One stream per worker. The scan is told what must come first: what retention has left. */
#include "queue/journal_verify.h"

#include "queue/journal_state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct verifying {
    const char *directory;
    struct journal_stream stream;
    journal_on_finding *on_finding;
    void *context;
    struct journal_verified verified;
};

static void find(struct verifying *verifying, struct journal_finding finding)
{
    finding.worker = verifying->stream.worker;
    if (verifying->stream.first_sequence)
        snprintf(finding.file, sizeof finding.file, "w%u-%016llx.log", finding.worker,
                 (unsigned long long)verifying->stream.first_sequence);
    verifying->verified.findings++;
    verifying->on_finding(verifying->context, &finding);
}

static void on_break(void *context, enum journal_break kind, uint64_t from, uint64_t to)
{
    if (kind == JOURNAL_GAP)
        find(context,
             (struct journal_finding){.kind = JOURNAL_MISSING, .from = from, .to = to - 1});
    else
        find(context,
             (struct journal_finding){.kind = JOURNAL_DAMAGED, .from = from - 1, .to = to});
}

static void on_line(void *context, const struct journal_line *line)
{
}

static int verify_worker(struct verifying *verifying, unsigned worker,
                         const struct journal_state *state)
{
    struct journal_stream *stream = &verifying->stream;
    int result = journal_stream_init(stream, verifying->directory, worker, 0);
    uint64_t segment = 0, head = state->workers[worker].head;
    stream->scan.next_sequence = state->workers[worker].retired + 1;
    stream->scan.on_break = on_break;
    stream->scan.break_context = verifying;
    for (int more = result == 0; more == 1;) {
        uint64_t damaged = stream->damaged_files;
        more = journal_stream_read(stream, on_line, verifying);
        result = more < 0 ? more : 0;
        if (stream->damaged_files > damaged)
            find(verifying, (struct journal_finding){.kind = JOURNAL_UNREADABLE});
        verifying->verified.segments += segment != stream->first_sequence;
        segment = stream->first_sequence;
    }
    if (result == 0)
        journal_stream_end(stream, on_line, verifying);
    if (result == 0 && stream->scan.next_sequence <= head)
        on_break(verifying, JOURNAL_GAP, stream->scan.next_sequence, head + 1);
    verifying->verified.workers++;
    verifying->verified.frames += stream->scan.frames;
    verifying->verified.lost += stream->scan.lost;
    journal_stream_fini(stream);
    return result;
}

static int mark_workers(const char *directory, const struct journal_state *state,
                        bool wanted[JOURNAL_WORKERS])
{
    struct journal_listing listing;
    int result = journal_list(directory, &listing);
    for (size_t i = 0; i < listing.count; i++)
        wanted[listing.files[i].worker] = true;
    for (unsigned i = 0; i < JOURNAL_WORKERS; i++)
        wanted[i] |= state->workers[i].head > 0;
    journal_listing_fini(&listing);
    return result;
}

int journal_verify(const char *directory, journal_on_finding *on_finding, void *context,
                   struct journal_verified *ret_verified)
{
    struct verifying verifying = {
        .directory = directory, .on_finding = on_finding, .context = context};
    struct journal_state state;
    bool wanted[JOURNAL_WORKERS] = {0};
    int result = journal_state_read(directory, &state);
    if (result == -EBADMSG)
        find(&verifying, (struct journal_finding){.kind = JOURNAL_STATE_DAMAGED});
    if (result == -EBADMSG || result == -ENOENT)
        result = 0;
    if (result == 0)
        result = mark_workers(directory, &state, wanted);
    for (unsigned i = 0; result == 0 && i < JOURNAL_WORKERS; i++)
        if (wanted[i])
            result = verify_worker(&verifying, i, &state);
    *ret_verified = verifying.verified;
    return result;
}
