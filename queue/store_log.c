/* One reader serves both: it goes block by block, hands out the fragments that are sound, joins
 * them to records, and where something is wrong it looks for the next place where a sound fragment
 * begins. The length of a damaged fragment is believed first, because what lies inside of it may be
 * a mail that looks like a log; only if nothing sound follows there, every byte is tried. Sequence
 * numbers must rise, which such a mail would have to guess too.
 *
 * What is wrong is noted as `open damage` and becomes damage only when something sound follows: at
 * the end of a log it is the tail of a write that nobody was told of. */
#include "queue/store_log.h"

#include "core/crc32c.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    BLOCK = 32 * 1024,
    HEADER = 7,
    BATCH_HEADER = 12,
};

enum fragment_type { FRAGMENT_FULL = 1, FRAGMENT_FIRST, FRAGMENT_MIDDLE, FRAGMENT_LAST };

struct fragment {
    enum fragment_type type;
    struct span payload;
};

typedef int on_record(void *context, struct span record);

struct log_reader {
    int fd;
    off_t at; /* of the next block */
    char block[BLOCK];
    size_t len; /* of the block; short only at the end of the file */
    char *record;
    size_t record_len, record_capacity;
    bool joining;      /* a first fragment was read, the last one was not */
    bool open_damage;  /* bytes were passed over since the last sound fragment */
    bool open_cut;     /* and all of them may be the beginning of a fragment */
    uint64_t sequence; /* the lowest that the next record may have */
    struct log_survey survey;
    on_record *on_record;
    void *context;
};

/* ---- numbers ---- */

static uint64_t little_endian(const char *bytes, unsigned count)
{
    uint64_t value = 0;
    for (unsigned i = count; i-- > 0;)
        value = value << 8 | (unsigned char)bytes[i];
    return value;
}

static void put_little_endian(char *bytes, uint64_t value, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        bytes[i] = (char)(value >> (8 * i));
}

/* A checksum of bytes that contain checksums is weak, so RocksDB stores a changed one. */
static uint32_t mask(uint32_t crc)
{
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

static uint32_t fragment_crc(const char *type_and_payload, size_t payload_len)
{
    return mask(crc32c(0, span_of(type_and_payload, 1 + payload_len)));
}

/* ---- fragments ---- */

static size_t length_at(const struct log_reader *reader, size_t at)
{
    return (size_t)little_endian(reader->block + at + 4, 2);
}

static bool fragment_at(const struct log_reader *reader, size_t at, struct fragment *ret_fragment)
{
    if (reader->len - at < HEADER)
        return false;
    const char *header = reader->block + at;
    size_t len = length_at(reader, at);
    unsigned type = (unsigned char)header[6];
    if (type < FRAGMENT_FULL || type > FRAGMENT_LAST || len > reader->len - at - HEADER)
        return false;
    if (little_endian(header, 4) != fragment_crc(header + 6, len))
        return false;
    *ret_fragment = (struct fragment){(enum fragment_type)type, span_of(header + HEADER, len)};
    return true;
}

static bool all_zero(const char *bytes, size_t len)
{
    return len == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, len - 1) == 0);
}

/* Where a sound fragment begins behind the bad one at `at`; the block's length if there is none. */
static size_t find_next(const struct log_reader *reader, size_t at)
{
    struct fragment fragment;
    if (reader->len - at < HEADER)
        return reader->len;
    size_t next = at + HEADER + length_at(reader, at);
    if (next < reader->len && fragment_at(reader, next, &fragment))
        return next;
    for (next = at + 1; next < reader->len; next++)
        if (fragment_at(reader, next, &fragment))
            return next;
    return reader->len;
}

/* ---- records ---- */

static int append(struct log_reader *reader, struct span payload)
{
    size_t need = reader->record_len + payload.len;
    if (need > reader->record_capacity) {
        char *grown = realloc(reader->record, 2 * need);
        if (!grown)
            return -ENOMEM;
        reader->record = grown;
        reader->record_capacity = 2 * need;
    }
    if (payload.len)
        memcpy(reader->record + reader->record_len, payload.data, payload.len);
    reader->record_len = need;
    return 0;
}

static void note_damage(struct log_reader *reader, bool may_be_cut)
{
    reader->joining = false;
    reader->open_cut = may_be_cut && (!reader->open_damage || reader->open_cut);
    reader->open_damage = true;
}

static int emit(struct log_reader *reader, struct span record)
{
    if (record.len < BATCH_HEADER || little_endian(record.data, 8) < reader->sequence) {
        note_damage(reader, false);
        return 0;
    }
    /* A batch takes as many numbers as it has operations; an empty one takes none. */
    reader->sequence = little_endian(record.data, 8) + little_endian(record.data + 8, 4);
    reader->survey.damaged += reader->open_damage;
    reader->open_damage = false;
    reader->survey.records++;
    reader->survey.behind += reader->survey.damaged > 0;
    return reader->on_record ? reader->on_record(reader->context, record) : 0;
}

static int join(struct log_reader *reader, const struct fragment *fragment)
{
    bool begins = fragment->type == FRAGMENT_FULL || fragment->type == FRAGMENT_FIRST;
    if (begins == reader->joining)
        note_damage(reader, false); /* a record without its end, or an end without its beginning */
    if (!begins && !reader->joining)
        return 0;
    if (fragment->type == FRAGMENT_FULL)
        return emit(reader, fragment->payload);
    if (begins)
        reader->record_len = 0;
    int result = append(reader, fragment->payload);
    if (result < 0)
        return result;
    reader->joining = fragment->type != FRAGMENT_LAST;
    return reader->joining ? 0 : emit(reader, span_of(reader->record, reader->record_len));
}

/* ---- blocks ---- */

/* The bytes from `at` on are no sound fragment: notes it, and says where one begins. */
static size_t pass_over(struct log_reader *reader, size_t at)
{
    size_t left = reader->len - at;
    bool last = reader->len < BLOCK;
    if (left < HEADER && all_zero(reader->block + at, left) && !last)
        return reader->len; /* the filling at the end of a block */
    size_t next = find_next(reader, at);
    bool beyond = left < HEADER || HEADER + length_at(reader, at) > left;
    note_damage(reader, next == reader->len && last && beyond);
    return next;
}

static int read_fragments(struct log_reader *reader)
{
    size_t at = 0;
    while (at < reader->len) {
        struct fragment fragment;
        if (!fragment_at(reader, at, &fragment)) {
            at = pass_over(reader, at);
            continue;
        }
        int result = join(reader, &fragment);
        if (result < 0)
            return result;
        at += HEADER + fragment.payload.len;
    }
    return 0;
}

/* What the disk does not give becomes zeros. False: the end of the file. */
static bool read_block(struct log_reader *reader, off_t size)
{
    if (reader->at >= size)
        return false;
    off_t left = size - reader->at;
    reader->len = left < BLOCK ? (size_t)left : BLOCK;
    memset(reader->block, 0, sizeof reader->block);
    for (size_t got = 0; got < reader->len;) {
        ssize_t count =
            pread(reader->fd, reader->block + got, reader->len - got, reader->at + (off_t)got);
        if (count > 0)
            got += (size_t)count;
        else if (count == 0 || errno != EINTR)
            break;
    }
    reader->at += (off_t)reader->len;
    return true;
}

static int read_log(struct log_reader *reader, int dir_fd, const char *name)
{
    reader->fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
    if (reader->fd < 0)
        return -errno;
    off_t size = lseek(reader->fd, 0, SEEK_END);
    int result = size < 0 ? -errno : 0;
    while (result == 0 && read_block(reader, size))
        result = read_fragments(reader);
    if (reader->joining)
        note_damage(reader, true);
    reader->survey.tail = reader->open_damage;
    reader->survey.cut = reader->open_damage && reader->open_cut;
    close(reader->fd);
    free(reader->record);
    return result;
}

static int run_reader(int dir_fd, const char *name, on_record *on_record_, void *context,
                      struct log_survey *ret_survey)
{
    struct log_reader *reader = calloc(1, sizeof *reader);
    if (!reader)
        return -ENOMEM;
    reader->on_record = on_record_;
    reader->context = context;
    int result = read_log(reader, dir_fd, name);
    if (result == 0)
        *ret_survey = reader->survey;
    free(reader);
    return result;
}

int log_survey(int dir_fd, const char *name, struct log_survey *ret_survey)
{
    return run_reader(dir_fd, name, NULL, NULL, ret_survey);
}

/* ---- writing a log ---- */

struct log_writer {
    int fd;
    char block[BLOCK];
    size_t at;
};

static int write_block(struct log_writer *writer)
{
    for (size_t done = 0; done < writer->at;) {
        ssize_t count = write(writer->fd, writer->block + done, writer->at - done);
        if (count < 0 && errno != EINTR)
            return -errno;
        done += count > 0 ? (size_t)count : 0;
    }
    writer->at = 0;
    return 0;
}

static void put_fragment(struct log_writer *writer, enum fragment_type type, struct span payload)
{
    char *header = writer->block + writer->at;
    header[6] = (char)type;
    if (payload.len)
        memcpy(header + HEADER, payload.data, payload.len);
    put_little_endian(header, fragment_crc(header + 6, payload.len), 4);
    put_little_endian(header + 4, payload.len, 2);
    writer->at += HEADER + payload.len;
}

static int write_record(void *context, struct span record)
{
    struct log_writer *writer = context;
    for (bool first = true, last = false; !last; first = false) {
        if (BLOCK - writer->at < HEADER) {
            memset(writer->block + writer->at, 0, BLOCK - writer->at);
            writer->at = BLOCK;
            int result = write_block(writer);
            if (result < 0)
                return result;
        }
        struct span payload = span_first(record, BLOCK - writer->at - HEADER);
        record = span_skip(record, payload.len);
        last = record.len == 0;
        put_fragment(writer,
                     last ? (first ? FRAGMENT_FULL : FRAGMENT_LAST)
                          : (first ? FRAGMENT_FIRST : FRAGMENT_MIDDLE),
                     payload);
    }
    return 0;
}

static int write_salvaged(int dir_fd, const char *name, struct log_writer *writer)
{
    struct log_survey survey;
    int result = run_reader(dir_fd, name, write_record, writer, &survey);
    if (result == 0)
        result = write_block(writer);
    if (result == 0 && fsync(writer->fd) < 0)
        result = -errno;
    return result;
}

#define SALVAGE_NAME "salvage.tmp"

int log_salvage(int dir_fd, const char *name)
{
    struct log_writer *writer = calloc(1, sizeof *writer);
    if (!writer)
        return -ENOMEM;
    writer->fd = openat(dir_fd, SALVAGE_NAME, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int result = writer->fd < 0 ? -errno : write_salvaged(dir_fd, name, writer);
    if (writer->fd >= 0)
        close(writer->fd);
    free(writer);
    if (result == 0 && renameat(dir_fd, SALVAGE_NAME, dir_fd, name) < 0)
        result = -errno;
    if (result == 0 && fsync(dir_fd) < 0)
        result = -errno;
    if (result < 0)
        unlinkat(dir_fd, SALVAGE_NAME, 0);
    return result;
}
