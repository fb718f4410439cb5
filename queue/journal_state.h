/* journal_state: what the directory of a journal cannot tell by its segments: how far retention has
 * removed them, and how far they once reached.
 *
 * A small text file, `state`, replaced as a whole; the keeper of the running daemon alone writes
 * it. `retired` is made durable before a segment is removed, so a segment that is missing above it
 * was removed by somebody else. `head` is written without a sync now and then: it may be behind,
 * never ahead. */
#pragma once

#include "queue/journal.h"

struct journal_state {
    struct {
        uint64_t retired; /* the last sequence that retention has removed; 0: none */
        uint64_t head;    /* the last sequence that is known to have been on disk; 0: none */
    } workers[JOURNAL_WORKERS];
};

/* 0; -ENOENT: there is none (all zeros); -EBADMSG: damaged (all zeros); other negative errno. */
MUST_USE int journal_state_read(const char *directory, struct journal_state *ret_state);
MUST_USE int journal_state_write(const char *directory, const struct journal_state *state,
                                 bool durable);

/* Any bytes. Pure. */
bool journal_state_parse(struct span text, struct journal_state *ret_state);

/* ---- small files that are replaced as a whole: the state and the consumers' cursors ---- */

/* Writes `<directory>/<name>` by way of a temporary file. 0 or negative errno. */
MUST_USE int journal_replace(const char *directory, const char *name, struct span text,
                             bool durable);
/* Reads one of at most `room` bytes. Its length or negative errno (-E2BIG). */
ssize_t journal_read_small(const char *directory, const char *name, char *text, size_t room);

/* The sum over everything before the last line, as both kinds end. */
void journal_sum_put(struct sink *sink);
/* Whether it is right; *ret_body is what it is over. */
bool journal_sum_take(struct span text, struct span *ret_body);
