/* The bytes of a segment, whatever form it has. Compressed ones are read front to back: passing
 * over bytes means decompressing them. The two newest segments of a worker stay plain (the keeper
 * sees to that), so what recovery reads is rarely compressed. */
#include "queue/journal_files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

struct journal_bytes {
    int fd;
    uint64_t offset;      /* in the file */
    uint64_t size;        /* uncompressed, when it was opened */
    ZSTD_DStream *stream; /* NULL: plain */
    bool whole;           /* the stream has ended as it should */
    ZSTD_inBuffer input;
    char data[64 * 1024]; /* of the file, not yet decompressed */
};

static int open_either(int directory_fd, const struct journal_file *file, bool *ret_compressed)
{
    char other[JOURNAL_NAME_MAX + 8];
    *ret_compressed = file->compressed;
    int fd = openat(directory_fd, file->name, O_RDONLY | O_CLOEXEC);
    if (fd >= 0 || errno != ENOENT || file->compressed)
        return fd < 0 ? -errno : fd;
    snprintf(other, sizeof other, "%s.zst", file->name);
    *ret_compressed = true;
    fd = openat(directory_fd, other, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static int fill_input(struct journal_bytes *bytes)
{
    for (;;) {
        ssize_t got = pread(bytes->fd, bytes->data, sizeof bytes->data, (off_t)bytes->offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        bytes->offset += (uint64_t)got;
        bytes->input = (ZSTD_inBuffer){bytes->data, (size_t)got, 0};
        return 0;
    }
}

static int begin(struct journal_bytes *bytes, bool compressed)
{
    struct stat status;
    if (fstat(bytes->fd, &status) < 0)
        return -errno;
    bytes->size = (uint64_t)status.st_size;
    if (!compressed)
        return 0;
    bytes->stream = ZSTD_createDStream();
    if (!bytes->stream)
        return -ENOMEM;
    int result = fill_input(bytes);
    if (result < 0)
        return result;
    unsigned long long size = ZSTD_getFrameContentSize(bytes->data, bytes->input.size);
    bool unknown = size == ZSTD_CONTENTSIZE_UNKNOWN || size == ZSTD_CONTENTSIZE_ERROR;
    bytes->size = unknown ? 0 : size;
    return 0;
}

int journal_bytes_open(int directory_fd, const struct journal_file *file,
                       struct journal_bytes **ret_bytes)
{
    bool compressed;
    struct journal_bytes *bytes = calloc(1, sizeof *bytes);
    if (!bytes)
        return -ENOMEM;
    bytes->fd = open_either(directory_fd, file, &compressed);
    int result = bytes->fd < 0 ? bytes->fd : begin(bytes, compressed);
    if (result < 0)
        journal_bytes_close(bytes);
    else
        *ret_bytes = bytes;
    return result;
}

struct journal_bytes *journal_bytes_close(struct journal_bytes *bytes)
{
    if (!bytes)
        return NULL;
    ZSTD_freeDStream(bytes->stream);
    if (bytes->fd >= 0)
        close(bytes->fd);
    free(bytes);
    return NULL;
}

uint64_t journal_bytes_size(const struct journal_bytes *bytes)
{
    return bytes->size;
}

static ssize_t read_plain(struct journal_bytes *bytes, char *buffer, size_t room)
{
    ssize_t got;
    do
        got = pread(bytes->fd, buffer, room, (off_t)bytes->offset);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return -errno;
    bytes->offset += (uint64_t)got;
    return got;
}

ssize_t journal_bytes_read(struct journal_bytes *bytes, char *buffer, size_t room)
{
    if (!bytes->stream)
        return read_plain(bytes, buffer, room);
    ZSTD_outBuffer output = {buffer, room, 0};
    while (output.pos == 0) {
        if (bytes->input.pos == bytes->input.size) {
            int result = fill_input(bytes);
            if (result < 0)
                return result;
            if (bytes->input.size == 0)
                return bytes->whole ? 0 : -EBADMSG;
        }
        size_t left = ZSTD_decompressStream(bytes->stream, &output, &bytes->input);
        if (ZSTD_isError(left))
            return -EBADMSG;
        bytes->whole = left == 0;
    }
    return (ssize_t)output.pos;
}

int journal_bytes_skip(struct journal_bytes *bytes, uint64_t count)
{
    char waste[16 * 1024];
    if (!bytes->stream) {
        bytes->offset += count;
        return 0;
    }
    while (count > 0) {
        ssize_t got = journal_bytes_read(bytes, waste, count < sizeof waste ? count : sizeof waste);
        if (got <= 0)
            return (int)got;
        count -= (uint64_t)got;
    }
    return 0;
}
