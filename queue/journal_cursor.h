/* journal_cursor: how far a consumer of the journal has come, by name.
 *
 * A file `cursors/<name>` in the journal's directory: per worker the next sequence that it wants.
 * It is written after the consumer's output is safe, so a consumer that dies sees some lines twice
 * and none never. The keeper reads the cursors: segments that one still needs are kept for a while.
 */
#pragma once

#include "queue/journal.h"

#include <time.h>

enum { JOURNAL_CONSUMER_MAX = 64 }; /* letters, digits, '-', '_' and '.', not in front */

struct journal_cursor {
    uint64_t next[JOURNAL_WORKERS]; /* 0: nothing taken yet */
};

bool journal_consumer_name_good(struct span name);

/* -ENOENT: a new one; -EBADMSG: damaged; both leave zeros. */
MUST_USE int journal_cursor_read(const char *directory, const char *name,
                                 struct journal_cursor *ret_cursor);
/* Durable when it returns 0. */
MUST_USE int journal_cursor_write(const char *directory, const char *name,
                                  const struct journal_cursor *cursor);
/* Forgets the consumer. */
MUST_USE int journal_cursor_remove(const char *directory, const char *name);
/* One run per name: a descriptor that holds the name until it is closed, -EBUSY, or an error. */
MUST_USE int journal_cursor_lock(const char *directory, const char *name);

/* Calls `visit` for each consumer; `cursor` is all zeros if its file is damaged (`error` is then
 * -EBADMSG). 0 or negative errno. */
typedef void journal_cursor_visit(void *context, const char *name,
                                  const struct journal_cursor *cursor, time_t changed, int error);
MUST_USE int journal_cursors_each(const char *directory, journal_cursor_visit *visit,
                                  void *context);

/* Any bytes. Pure. */
bool journal_cursor_parse(struct span text, struct journal_cursor *ret_cursor);
