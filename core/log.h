/* log: one line per event that a person should act on, to standard error or to a file.
 *
 * Only owners that give up log, libraries return errors. Text is cleaned of control characters, so
 * no peer can write to the operator's terminal. Writing never blocks a worker: a line that the pipe
 * does not take is dropped and counted, and the next line that goes through says how many. The same
 * message (format) more than 10 times a second is counted, not written, and summed up afterwards.
 * Form: "<level> ringpostd[pid] w0: text", with journald's <N> prefix when stderr is a journal,
 * with the time (UTC) in front in a file; "w0" is the thread's name, left out where it is the
 * program's. A line is at most LOG_LINE bytes, the rest is cut.
 *
 * The log is one for the process and safe from all threads: together with the thread's name this is
 * the one state that is not handed around, since a line may be due anywhere. SIGPIPE must be
 * ignored. */
#pragma once

#include "core/check.h"

#include <stdint.h>

enum log_level { LOG_ERROR, LOG_WARNING, LOG_NOTICE, LOG_INFO, LOG_DEBUG };

enum { LOG_LINE = 1024 };

/* Takes standard error (again: after it was replaced). Until then lines of LOG_INFO and more
 * important go to it as well. */
void log_open(enum log_level level);
void log_set_level(enum log_level level);

/* Lines go to `path` (appended, made with mode 0640) instead; called again it opens what is there
 * now. NULL or "": standard error again. On an error (negative errno) nothing changes. */
MUST_USE int log_use_file(const char *path);
enum log_level log_level_now(void);
void log_write(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Each second, by one thread: writes what repeats have been held back. */
void log_tick(void);

/* Lines that standard error did not take, since the start. */
uint64_t log_dropped(void);

#define log_error(...)   log_write(LOG_ERROR, __VA_ARGS__)
#define log_warning(...) log_write(LOG_WARNING, __VA_ARGS__)
#define log_notice(...)  log_write(LOG_NOTICE, __VA_ARGS__)
#define log_info(...)    log_write(LOG_INFO, __VA_ARGS__)
#define log_debug(...)   log_write(LOG_DEBUG, __VA_ARGS__)
