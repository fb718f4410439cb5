/* The lock is a file of its own, because the cursor's is replaced each time it moves. */
#include "queue/journal_cursor.h"

#include "queue/journal_state.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CURSOR_MAX = JOURNAL_WORKERS * 32 + 128, PATH_ROOM = 4096 };
#define CURSOR_TITLE "ringpost journal cursor 1\n"

bool journal_consumer_name_good(struct span name)
{
    if (name.len == 0 || name.len > JOURNAL_CONSUMER_MAX || name.data[0] == '.')
        return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!letter && c != '-' && c != '_' && c != '.')
            return false;
    }
    /* These end the names of our own files. */
    return !(name.len > 4 && span_equals(span_skip(name, name.len - 4), SPAN(".new"))) &&
           !(name.len > 5 && span_equals(span_skip(name, name.len - 5), SPAN(".lock")));
}

static bool folder_of(const char *directory, char path[PATH_ROOM])
{
    int len = snprintf(path, PATH_ROOM, "%s/cursors", directory);
    return len > 0 && len < PATH_ROOM;
}

/* ---- text ---- */

bool journal_cursor_parse(struct span text, struct journal_cursor *ret_cursor)
{
    struct journal_cursor cursor = {0};
    struct span rest;
    if (!journal_sum_take(text, &rest) || !span_starts_with(rest, SPAN(CURSOR_TITLE)))
        return false;
    rest = span_skip(rest, sizeof CURSOR_TITLE - 1);
    while (rest.len) {
        uint64_t worker, next;
        struct span line = span_first(rest, span_find(rest, '\n'));
        size_t blank = span_find(line, ' ');
        rest = span_skip(rest, line.len + 1);
        if (!span_starts_with(line, SPAN("w")) ||
            !span_decimal(span_skip(span_first(line, blank), 1), JOURNAL_WORKERS - 1, &worker) ||
            !span_decimal(span_skip(line, blank + 1), UINT64_MAX, &next))
            return false;
        cursor.next[worker] = next;
    }
    *ret_cursor = cursor;
    return true;
}

int journal_cursor_read(const char *directory, const char *name, struct journal_cursor *ret_cursor)
{
    char folder[PATH_ROOM], text[CURSOR_MAX];
    *ret_cursor = (struct journal_cursor){0};
    if (!folder_of(directory, folder))
        return -ENAMETOOLONG;
    ssize_t len = journal_read_small(folder, name, text, sizeof text);
    if (len < 0)
        return (int)len;
    return journal_cursor_parse(span_of(text, (size_t)len), ret_cursor) ? 0 : -EBADMSG;
}

int journal_cursor_write(const char *directory, const char *name,
                         const struct journal_cursor *cursor)
{
    char folder[PATH_ROOM], text[CURSOR_MAX];
    struct sink sink;
    if (!folder_of(directory, folder))
        return -ENAMETOOLONG;
    sink_init(&sink, text, sizeof text);
    sink_put(&sink, SPAN(CURSOR_TITLE));
    for (unsigned i = 0; i < JOURNAL_WORKERS; i++)
        if (cursor->next[i])
            sink_format(&sink, "w%u %llu\n", i, (unsigned long long)cursor->next[i]);
    journal_sum_put(&sink);
    check(!sink.full);
    return journal_replace(folder, name, sink_span(&sink), true);
}

/* ---- files ---- */

int journal_cursor_lock(const char *directory, const char *name)
{
    char folder[PATH_ROOM], path[PATH_ROOM + JOURNAL_CONSUMER_MAX + 8];
    if (!folder_of(directory, folder))
        return -ENAMETOOLONG;
    if (mkdir(folder, 0750) < 0 && errno != EEXIST)
        return -errno;
    snprintf(path, sizeof path, "%s/%s.lock", folder, name);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (fd < 0)
        return -errno;
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        int error = errno == EWOULDBLOCK ? EBUSY : errno;
        close(fd);
        return -error;
    }
    return fd;
}

int journal_cursor_remove(const char *directory, const char *name)
{
    char folder[PATH_ROOM], path[PATH_ROOM + JOURNAL_CONSUMER_MAX + 8];
    int lock = journal_cursor_lock(directory, name);
    if (lock < 0)
        return lock;
    folder_of(directory, folder);
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int result = unlink(path) < 0 ? -errno : 0;
    snprintf(path, sizeof path, "%s/%s.lock", folder, name);
    unlink(path);
    close(lock);
    return result;
}

int journal_cursors_each(const char *directory, journal_cursor_visit *visit, void *context)
{
    char folder[PATH_ROOM];
    if (!folder_of(directory, folder))
        return -ENAMETOOLONG;
    DIR *entries = opendir(folder);
    if (!entries)
        return errno == ENOENT ? 0 : -errno;
    const struct dirent *entry;
    while ((entry = readdir(entries))) {
        struct journal_cursor cursor;
        struct stat status;
        if (!journal_consumer_name_good(span_string(entry->d_name)) ||
            fstatat(dirfd(entries), entry->d_name, &status, 0) < 0 || !S_ISREG(status.st_mode))
            continue;
        int error = journal_cursor_read(directory, entry->d_name, &cursor);
        if (error != -ENOENT)
            visit(context, entry->d_name, &cursor, status.st_mtim.tv_sec, error);
    }
    closedir(entries);
    return 0;
}
