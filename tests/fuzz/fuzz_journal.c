/* A journal file of any bytes, read whole and in two pieces cut anywhere: the same lines, and never
 * one whose frame is not valid. */
#include "core/check.h"
#include "core/crc32c.h"
#include "queue/journal.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void add_line(void *context, const struct journal_line *line)
{
    uint32_t *sum = context;
    *sum = crc32c(*sum, line->text);
}

static struct journal_scan scan_in_pieces(struct span file, size_t cut, uint32_t *sum)
{
    struct journal_scan scan = {0};
    size_t used = journal_scan_bytes(&scan, span_first(file, cut), false, add_line, sum);
    check(used <= cut);
    used += journal_scan_bytes(&scan, span_skip(file, used), true, add_line, sum);
    check(used == file.len);
    return scan;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span file = span_of(data, size);
    uint32_t whole_sum = 0;
    struct journal_scan whole = scan_in_pieces(file, size, &whole_sum);
    check(whole.frames * JOURNAL_FRAME_EXTRA <= size);
    for (size_t cut = 0; cut < size; cut += 1 + size / 16) {
        uint32_t sum = 0;
        struct journal_scan scan = scan_in_pieces(file, cut, &sum);
        check(sum == whole_sum && scan.frames == whole.frames && scan.gaps == whole.gaps);
        check(scan.damaged == whole.damaged && scan.next_sequence == whole.next_sequence);
    }
    struct span line;
    uint64_t sequence;
    if (journal_frame_read(file, &sequence, &line) > 0) {
        char *copy = malloc(line.len + JOURNAL_FRAME_EXTRA);
        struct sink sink;
        sink_init(&sink, copy, line.len + JOURNAL_FRAME_EXTRA);
        check(journal_frame_write(&sink, sequence, line));
        check(span_equals(sink_span(&sink), span_first(file, sink.len)));
        free(copy);
    }
    return 0;
}
