/* journal_verify: is this the whole journal? Reads every segment, also while the daemon runs.
 *
 * Found are: frames missing without a declaration, wherever they are (a removed line, a removed
 * segment, also the oldest and, below the recorded head, the newest), and bytes that cannot be read
 * (a flipped bit). Not found can be damage of exactly the last frames behind the recorded head:
 * they look like a write that a crash has cut. */
#pragma once

#include "queue/journal_files.h"

struct journal_finding {
    unsigned worker;
    enum { JOURNAL_MISSING, JOURNAL_DAMAGED, JOURNAL_UNREADABLE, JOURNAL_STATE_DAMAGED } kind;
    uint64_t from, to; /* missing: first and last sequence; damaged: between these */
    char file[JOURNAL_NAME_MAX];
};
typedef void journal_on_finding(void *context, const struct journal_finding *finding);

struct journal_verified {
    uint64_t workers, segments, frames, lost, findings;
};

/* 0 or negative errno (what was found before it is in *ret_verified). */
MUST_USE int journal_verify(const char *directory, journal_on_finding *on_finding, void *context,
                            struct journal_verified *ret_verified);
