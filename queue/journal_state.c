/* Lines of text, so that an operator can look at it; a checksum in the last one. */
#include "queue/journal_state.h"

#include "core/crc32c.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { STATE_MAX = JOURNAL_WORKERS * 80 + 128, PATH_ROOM = 4096 };
#define STATE_NAME  "state"
#define STATE_TITLE "ringpost journal state 1\n"
#define SUM_TITLE   "crc32c "

/* ---- small files ---- */

static bool path_put(char path[PATH_ROOM], const char *directory, const char *name, const char *end)
{
    int len = snprintf(path, PATH_ROOM, "%s/%s%s", directory, name, end);
    return len > 0 && len < PATH_ROOM;
}

static int write_whole(const char *path, struct span text, bool durable)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    if (fd < 0)
        return -errno;
    ssize_t put = write(fd, text.data, text.len);
    int result = put < 0 ? -errno : (size_t)put < text.len ? -ENOSPC : 0;
    if (result == 0 && durable && fdatasync(fd) < 0)
        result = -errno;
    close(fd);
    return result;
}

static int sync_directory(const char *directory)
{
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int result = fsync(fd) < 0 ? -errno : 0;
    close(fd);
    return result;
}

int journal_replace(const char *directory, const char *name, struct span text, bool durable)
{
    char path[PATH_ROOM], temporary[PATH_ROOM];
    if (!path_put(path, directory, name, "") || !path_put(temporary, directory, name, ".new"))
        return -ENAMETOOLONG;
    int result = write_whole(temporary, text, durable);
    if (result == 0 && rename(temporary, path) < 0)
        result = -errno;
    if (result == 0 && durable)
        result = sync_directory(directory);
    return result;
}

ssize_t journal_read_small(const char *directory, const char *name, char *text, size_t room)
{
    char path[PATH_ROOM];
    if (!path_put(path, directory, name, ""))
        return -ENAMETOOLONG;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    ssize_t got = read(fd, text, room);
    got = got < 0 ? -errno : (size_t)got == room ? -E2BIG : got;
    close(fd);
    return got;
}

void journal_sum_put(struct sink *sink)
{
    uint32_t sum = crc32c(0, sink_span(sink));
    sink_format(sink, SUM_TITLE "%08x\n", sum);
}

bool journal_sum_take(struct span text, struct span *ret_body)
{
    char expected[64];
    struct sink sink;
    size_t end_len = sizeof SUM_TITLE - 1 + 8 + 1;
    if (text.len < end_len)
        return false;
    struct span body = span_first(text, text.len - end_len);
    sink_init(&sink, expected, sizeof expected);
    sink_format(&sink, SUM_TITLE "%08x\n", crc32c(0, body));
    if (!span_equals(span_skip(text, body.len), sink_span(&sink)))
        return false;
    *ret_body = body;
    return true;
}

/* ---- the state ---- */

static struct span take_until(struct span *rest, char byte)
{
    struct span word = span_first(*rest, span_find(*rest, byte));
    *rest = span_skip(*rest, word.len + 1);
    return word;
}

/* "w<worker> retired <n> head <n>" */
static bool read_line(struct span line, struct journal_state *state)
{
    uint64_t worker, retired, head;
    if (!span_starts_with(line, SPAN("w")))
        return false;
    line = span_skip(line, 1);
    if (!span_decimal(take_until(&line, ' '), JOURNAL_WORKERS - 1, &worker) ||
        !span_equals(take_until(&line, ' '), SPAN("retired")) ||
        !span_decimal(take_until(&line, ' '), UINT64_MAX - 1, &retired) ||
        !span_equals(take_until(&line, ' '), SPAN("head")) ||
        !span_decimal(line, UINT64_MAX - 1, &head))
        return false;
    state->workers[worker].retired = retired;
    state->workers[worker].head = head;
    return true;
}

bool journal_state_parse(struct span text, struct journal_state *ret_state)
{
    struct journal_state state = {0};
    struct span rest;
    if (!journal_sum_take(text, &rest) || !span_starts_with(rest, SPAN(STATE_TITLE)))
        return false;
    rest = span_skip(rest, sizeof STATE_TITLE - 1);
    while (rest.len)
        if (!read_line(take_until(&rest, '\n'), &state))
            return false;
    *ret_state = state;
    return true;
}

int journal_state_read(const char *directory, struct journal_state *ret_state)
{
    char text[STATE_MAX];
    *ret_state = (struct journal_state){0};
    ssize_t len = journal_read_small(directory, STATE_NAME, text, sizeof text);
    if (len < 0)
        return (int)len;
    return journal_state_parse(span_of(text, (size_t)len), ret_state) ? 0 : -EBADMSG;
}

int journal_state_write(const char *directory, const struct journal_state *state, bool durable)
{
    char text[STATE_MAX];
    struct sink sink;
    sink_init(&sink, text, sizeof text);
    sink_put(&sink, SPAN(STATE_TITLE));
    for (unsigned i = 0; i < JOURNAL_WORKERS; i++)
        if (state->workers[i].retired || state->workers[i].head)
            sink_format(&sink, "w%u retired %llu head %llu\n", i,
                        (unsigned long long)state->workers[i].retired,
                        (unsigned long long)state->workers[i].head);
    journal_sum_put(&sink);
    check(!sink.full);
    return journal_replace(directory, STATE_NAME, sink_span(&sink), durable);
}
