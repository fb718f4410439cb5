/* How writing does not block: a socket (the journal's) is sent to with MSG_DONTWAIT; a pipe or a
 * terminal is opened anew through /proc/self/fd, because O_NONBLOCK belongs to the open file and
 * would otherwise change the shell's terminal too; where that fails, and for files (whose offset
 * must stay shared with whoever else writes there), poll(2) is asked before each write.
 *
 * Repeats are told by the format's address: the same place in the code, whatever it is about. A
 * second begins with the first line of a format; the eleventh and later ones of that second are
 * counted, and the sum is written by the next line of that format, or by log_tick. */
#include "core/log.h"

#include "core/check.h"
#include "core/clock.h"
#include "core/date.h"
#include "core/sink.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

enum { PER_SECOND = 10, FORMATS = 64, EXCERPT = 200 };

/* One format that was seen in the last second. */
struct repeat {
    const char *format;
    uint64_t since_ns;
    unsigned written, held;
    enum log_level level;
    char excerpt[EXCERPT]; /* the start of the last line that was held back */
};

enum way { WAY_POLL, WAY_NONBLOCKING, WAY_SEND };

static struct {
    pthread_mutex_t mutex;
    _Atomic int level;
    int fd;
    enum way way;
    bool journal, file;  /* file: opened by log_use_file */
    uint64_t unreported; /* dropped since the last line that went through */
    _Atomic uint64_t dropped;
    struct repeat repeats[FORMATS];
} the_log = {
    .mutex = PTHREAD_MUTEX_INITIALIZER,
    .level = LOG_INFO,
    .fd = STDERR_FILENO,
};

static const struct {
    const char *name;
    int syslog; /* RFC 5424 severity */
} levels[] = {
    [LOG_ERROR] = {"error", 3}, [LOG_WARNING] = {"warning", 4}, [LOG_NOTICE] = {"notice", 5},
    [LOG_INFO] = {"info", 6},   [LOG_DEBUG] = {"debug", 7},
};

/* systemd names the journal's socket in the environment, so that a redirection can be told. */
static bool is_journal(const struct stat *status)
{
    unsigned long long device, inode;
    const char *stream = getenv("JOURNAL_STREAM");
    return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
           device == status->st_dev && inode == status->st_ino;
}

void log_open(enum log_level level)
{
    struct stat status = {0};
    pthread_mutex_lock(&the_log.mutex);
    if (the_log.fd != STDERR_FILENO)
        close(the_log.fd);
    the_log.fd = STDERR_FILENO;
    the_log.way = WAY_POLL;
    the_log.file = false;
    the_log.journal = fstat(STDERR_FILENO, &status) == 0 && is_journal(&status);
    if (S_ISSOCK(status.st_mode)) {
        the_log.way = WAY_SEND;
    } else if (S_ISFIFO(status.st_mode) || S_ISCHR(status.st_mode)) {
        int fd = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (fd >= 0) {
            the_log.fd = fd;
            the_log.way = WAY_NONBLOCKING;
        }
    }
    atomic_store(&the_log.level, (int)level);
    pthread_mutex_unlock(&the_log.mutex);
}

int log_use_file(const char *path)
{
    if (!path || path[0] == '\0') {
        if (the_log.file)
            log_open(log_level_now());
        return 0;
    }
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);
    if (fd < 0)
        return -errno;
    pthread_mutex_lock(&the_log.mutex);
    if (the_log.fd != STDERR_FILENO)
        close(the_log.fd);
    the_log.fd = fd;
    the_log.way = WAY_POLL;
    the_log.journal = false;
    the_log.file = true;
    pthread_mutex_unlock(&the_log.mutex);
    return 0;
}

void log_set_level(enum log_level level)
{
    atomic_store(&the_log.level, (int)level);
}

enum log_level log_level_now(void)
{
    return (enum log_level)atomic_load(&the_log.level);
}

uint64_t log_dropped(void)
{
    return atomic_load(&the_log.dropped);
}

/* True: the whole line is out. */
static bool write_line(struct span line)
{
    struct pollfd ready = {.fd = the_log.fd, .events = POLLOUT};
    ssize_t written = -1;
    if (the_log.way == WAY_SEND)
        written = send(the_log.fd, line.data, line.len, MSG_DONTWAIT | MSG_NOSIGNAL);
    else if (the_log.way == WAY_NONBLOCKING || poll(&ready, 1, 0) == 1)
        written = write(the_log.fd, line.data, line.len);
    return written == (ssize_t)line.len;
}

static void put_head(struct sink *sink, enum log_level level)
{
    char thread[17] = "";
    prctl(PR_GET_NAME, thread);
    if (the_log.journal)
        sink_format(sink, "<%d>", levels[level].syslog);
    if (the_log.file) {
        date_put_rfc3339(sink, clock_wall_ms());
        sink_byte(sink, ' ');
    }
    sink_format(sink, "%s ringpostd[%d]", levels[level].name, (int)getpid());
    if (strcmp(thread, "ringpostd") != 0) {
        sink_byte(sink, ' ');
        sink_printable(sink, span_string(thread), sizeof thread);
    }
    sink_put(sink, SPAN(": "));
}

/* Head, text and the line's end; text that finds no room is cut and ends in dots. */
static void put_line(struct sink *sink, enum log_level level, struct span text)
{
    size_t start = sink->len;
    put_head(sink, level);
    size_t room = LOG_LINE - 4 - (sink->len - start);
    sink_printable(sink, text, room);
    sink_put(sink, text.len > room ? SPAN("...\n") : SPAN("\n"));
}

/* What was lost before goes out in the same write as the line: both or neither. */
static void emit(enum log_level level, struct span text)
{
    char lines[2 * LOG_LINE], lost[100];
    struct sink sink;
    sink_init(&sink, lines, sizeof lines);
    if (the_log.unreported) {
        snprintf(lost, sizeof lost, "%llu lines before this one were lost: the log was full",
                 (unsigned long long)the_log.unreported);
        put_line(&sink, LOG_WARNING, span_string(lost));
    }
    put_line(&sink, level, text);
    if (write_line(sink_span(&sink))) {
        the_log.unreported = 0;
        return;
    }
    the_log.unreported++;
    atomic_fetch_add(&the_log.dropped, 1);
}

/* Writes how many were held back, if any, and forgets them. */
static void sum_up(struct repeat *repeat)
{
    char text[EXCERPT + 64];
    if (repeat->held == 0)
        return;
    int len = snprintf(text, sizeof text, "%u more like this: %s", repeat->held, repeat->excerpt);
    repeat->held = 0;
    emit(repeat->level, span_of(text, (size_t)len));
}

/* The slot of this format; else the one that was begun longest ago, emptied. */
static struct repeat *find_repeat(const char *format)
{
    struct repeat *oldest = &the_log.repeats[0];
    for (unsigned i = 0; i < FORMATS; i++) {
        struct repeat *repeat = &the_log.repeats[i];
        if (repeat->format == format)
            return repeat;
        if (repeat->since_ns < oldest->since_ns)
            oldest = repeat;
    }
    sum_up(oldest);
    *oldest = (struct repeat){.format = format};
    return oldest;
}

/* True: this line is one too many in this second; it was counted. */
static bool hold_back(enum log_level level, const char *format, struct span text)
{
    uint64_t now_ns = clock_mono_ns();
    struct repeat *repeat = find_repeat(format);
    if (repeat->written == 0 || now_ns - repeat->since_ns >= NS_PER_S) {
        sum_up(repeat);
        repeat->since_ns = now_ns;
        repeat->written = 0;
    }
    if (repeat->written < PER_SECOND) {
        repeat->written++;
        return false;
    }
    struct sink excerpt;
    sink_init(&excerpt, repeat->excerpt, sizeof repeat->excerpt - 1);
    sink_put(&excerpt, span_first(text, excerpt.capacity));
    repeat->excerpt[excerpt.len] = '\0';
    repeat->level = level;
    repeat->held++;
    return true;
}

void log_write(enum log_level level, const char *format, ...)
{
    char text[LOG_LINE + 1];
    if ((int)level > atomic_load_explicit(&the_log.level, memory_order_relaxed))
        return;
    int error = errno; /* a line about an error must not change it */
    va_list arguments;
    va_start(arguments, format);
    int len = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (len > LOG_LINE)
        len = LOG_LINE;
    pthread_mutex_lock(&the_log.mutex);
    if (len >= 0 && !hold_back(level, format, span_of(text, (size_t)len)))
        emit(level, span_of(text, (size_t)len));
    pthread_mutex_unlock(&the_log.mutex);
    errno = error;
}

void log_tick(void)
{
    uint64_t now_ns = clock_mono_ns();
    pthread_mutex_lock(&the_log.mutex);
    for (unsigned i = 0; i < FORMATS; i++)
        if (now_ns - the_log.repeats[i].since_ns >= NS_PER_S)
            sum_up(&the_log.repeats[i]);
    pthread_mutex_unlock(&the_log.mutex);
}
