/* Compressing makes the new file under a temporary name, syncs it, renames it and only then removes
 * the plain one: a crash leaves both or one, never none.
 *
 * Failure modes. No room for the compressed file: it is removed, the plain one stays, and the next
 * pass tries again. A state that cannot be made durable: nothing is removed. */
#include "queue/journal_keeper.h"

#include "core/clock.h"
#include "queue/journal_cursor.h"
#include "queue/journal_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

enum {
    LEVEL = 3,
    PLAIN_NEWEST = 2, /* per worker */
    HEADS_MS = 5000,
    CHUNK = 256 << 10,
};
#define TEMPORARY_END ".tmp"

static void failed(struct journal_keeper *keeper, int error)
{
    atomic_store(&keeper->kept.last_error, error);
    atomic_fetch_add(&keeper->kept.errors, 1);
}

static bool stopping(const struct journal_keeper *keeper)
{
    return atomic_load_explicit(&keeper->stop, memory_order_relaxed);
}

/* ---- compressing ---- */

struct compression {
    struct journal_bytes *from;
    int to;
    ZSTD_CCtx *context;
    char *input, *output;
};

static int write_all(int fd, const char *data, size_t len)
{
    while (len) {
        ssize_t put = write(fd, data, len);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return put < 0 ? -errno : -EIO;
        data += put;
        len -= (size_t)put;
    }
    return 0;
}

static int put_chunk(struct compression *compression, size_t len)
{
    ZSTD_inBuffer input = {compression->input, len, 0};
    ZSTD_EndDirective directive = len ? ZSTD_e_continue : ZSTD_e_end;
    for (;;) {
        ZSTD_outBuffer output = {compression->output, CHUNK, 0};
        size_t left = ZSTD_compressStream2(compression->context, &output, &input, directive);
        if (ZSTD_isError(left))
            return -EIO;
        int result = write_all(compression->to, compression->output, output.pos);
        if (result < 0)
            return result;
        if (len ? input.pos == input.size : left == 0)
            return 0;
    }
}

static int copy_compressed(const struct journal_keeper *keeper, struct compression *compression)
{
    ZSTD_CCtx_setParameter(compression->context, ZSTD_c_compressionLevel, LEVEL);
    ZSTD_CCtx_setParameter(compression->context, ZSTD_c_checksumFlag, 1);
    ZSTD_CCtx_setPledgedSrcSize(compression->context, journal_bytes_size(compression->from));
    for (;;) {
        if (stopping(keeper))
            return -ECANCELED;
        ssize_t got = journal_bytes_read(compression->from, compression->input, CHUNK);
        if (got < 0)
            return (int)got;
        int result = put_chunk(compression, (size_t)got);
        if (result < 0 || got == 0)
            return result;
    }
}

/* With the age of the plain one, which retention goes by. */
static int finish_file(int fd, const struct journal_file *file)
{
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = file->changed_s}};
    if (futimens(fd, times) < 0 || fchmod(fd, 0440) < 0 || fsync(fd) < 0)
        return -errno;
    return 0;
}

static int compress_to(const struct journal_keeper *keeper, int directory_fd,
                       const struct journal_file *file, int to)
{
    struct compression compression = {
        .to = to,
        .context = ZSTD_createCCtx(),
        .input = malloc(CHUNK),
        .output = malloc(CHUNK),
    };
    bool room = compression.context && compression.input && compression.output;
    int result = room ? journal_bytes_open(directory_fd, file, &compression.from) : -ENOMEM;
    if (result == 0)
        result = copy_compressed(keeper, &compression);
    if (result == 0)
        result = finish_file(to, file);
    journal_bytes_close(compression.from);
    ZSTD_freeCCtx(compression.context);
    free(compression.input);
    free(compression.output);
    return result;
}

static int compress_file(const struct journal_keeper *keeper, int directory_fd,
                         const struct journal_file *file)
{
    char name[JOURNAL_NAME_MAX + 8], temporary[JOURNAL_NAME_MAX + 16];
    snprintf(name, sizeof name, "%s.zst", file->name);
    snprintf(temporary, sizeof temporary, "%s" TEMPORARY_END, name);
    int to = openat(directory_fd, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (to < 0)
        return -errno;
    int result = compress_to(keeper, directory_fd, file, to);
    close(to);
    if (result == 0 && renameat(directory_fd, temporary, directory_fd, name) < 0)
        result = -errno;
    if (result == 0 && fsync(directory_fd) < 0)
        result = -errno;
    else if (result < 0)
        unlinkat(directory_fd, temporary, 0);
    if (result == 0 && unlinkat(directory_fd, file->name, 0) < 0)
        result = -errno;
    return result;
}

/* ---- closed segments ---- */

static void close_file(struct journal_keeper *keeper, int directory_fd,
                       const struct journal_file *file)
{
    if (file->writable && fchmodat(directory_fd, file->name, 0440, 0) < 0)
        failed(keeper, -errno);
    if (!file->plain_left)
        return;
    char plain[JOURNAL_NAME_MAX];
    snprintf(plain, sizeof plain, "%.*s", (int)(strlen(file->name) - 4), file->name);
    if (unlinkat(directory_fd, plain, 0) < 0)
        failed(keeper, -errno);
}

static void look_after_worker(struct journal_keeper *keeper, const struct journal_listing *listing,
                              size_t first, size_t end)
{
    for (size_t i = first; i + 1 < end && !stopping(keeper); i++) {
        const struct journal_file *file = &listing->files[i];
        close_file(keeper, listing->directory_fd, file);
        if (!keeper->keeping.compress || file->compressed || i + PLAIN_NEWEST >= end)
            continue;
        int result = compress_file(keeper, listing->directory_fd, file);
        if (result == 0)
            atomic_fetch_add(&keeper->kept.compressed, 1);
        else if (result != -ECANCELED)
            failed(keeper, result);
    }
}

/* ---- retention ---- */

struct aged {
    const struct journal_file *file;
    uint64_t last_sequence;
    bool needed, remove;
};

struct retention {
    struct aged *aged; /* oldest first, without each worker's newest */
    size_t count;
    uint64_t total_bytes;
};

static int by_age(const void *a, const void *b)
{
    const struct journal_file *left = ((const struct aged *)a)->file;
    const struct journal_file *right = ((const struct aged *)b)->file;
    if (left->changed_s != right->changed_s)
        return left->changed_s < right->changed_s ? -1 : 1;
    if (left->worker != right->worker)
        return left->worker < right->worker ? -1 : 1;
    return left->first_sequence < right->first_sequence ? -1 : 1;
}

static int retention_init(struct retention *retention, const struct journal_listing *listing)
{
    *retention = (struct retention){.aged = calloc(listing->count + 1, sizeof(struct aged))};
    if (!retention->aged)
        return -ENOMEM;
    for (size_t i = 0; i < listing->count; i++) {
        const struct journal_file *file = &listing->files[i];
        retention->total_bytes += file->size;
        if (i + 1 < listing->count && file[1].worker == file->worker)
            retention->aged[retention->count++] =
                (struct aged){.file = file, .last_sequence = file[1].first_sequence - 1};
    }
    qsort(retention->aged, retention->count, sizeof(struct aged), by_age);
    return 0;
}

static void on_cursor(void *context, const char *name, const struct journal_cursor *cursor,
                      time_t changed, int error)
{
    struct retention *retention = context;
    for (size_t i = 0; i < retention->count; i++) {
        struct aged *aged = &retention->aged[i];
        aged->needed |= cursor->next[aged->file->worker] <= aged->last_sequence;
    }
}

/* Marks what goes. A worker's segments go in their order: one that is held holds the later ones. */
static bool choose_removals(struct journal_keeper *keeper, struct retention *retention,
                            uint64_t wall_ms)
{
    const struct journal_keeping *keeping = &keeper->keeping;
    bool held[JOURNAL_WORKERS] = {0}, any = false;
    for (size_t i = 0; i < retention->count; i++) {
        struct aged *aged = &retention->aged[i];
        unsigned worker = aged->file->worker;
        uint64_t changed_ms = (uint64_t)aged->file->changed_s * 1000;
        bool many = keeping->keep_bytes && retention->total_bytes > keeping->keep_bytes;
        bool old = keeping->keep_ms && changed_ms + keeping->keep_ms < wall_ms;
        bool full = keeping->keep_bytes &&
                    retention->total_bytes > keeping->keep_bytes + keeping->consumer_bytes;
        held[worker] |= !(many || old) || (aged->needed && !full);
        if (held[worker])
            continue;
        aged->remove = any = true;
        retention->total_bytes -= aged->file->size;
        keeper->state.workers[worker].retired = aged->last_sequence;
    }
    return any;
}

static void remove_chosen(struct journal_keeper *keeper, const struct retention *retention,
                          int directory_fd)
{
    for (size_t i = 0; i < retention->count; i++) {
        const struct aged *aged = &retention->aged[i];
        if (!aged->remove)
            continue;
        if (unlinkat(directory_fd, aged->file->name, 0) < 0 && errno != ENOENT) {
            failed(keeper, -errno);
            continue;
        }
        atomic_fetch_add(&keeper->kept.removed, 1);
        if (aged->needed)
            atomic_fetch_add(&keeper->kept.dropped, 1);
    }
}

static void retain(struct journal_keeper *keeper, const struct journal_listing *listing,
                   uint64_t wall_ms)
{
    struct retention retention;
    struct journal_state before = keeper->state;
    int result = retention_init(&retention, listing);
    if (result == 0)
        result = journal_cursors_each(keeper->directory, on_cursor, &retention);
    if (result == 0 && choose_removals(keeper, &retention, wall_ms)) {
        result = journal_state_write(keeper->directory, &keeper->state, true);
        if (result == 0)
            remove_chosen(keeper, &retention, listing->directory_fd);
        else
            keeper->state = before;
    }
    if (result < 0)
        failed(keeper, result);
    atomic_store(&keeper->kept.segments, listing->count);
    atomic_store(&keeper->kept.bytes, retention.total_bytes);
    free(retention.aged);
}

/* ---- heads ---- */

static bool take_heads(struct journal_keeper *keeper)
{
    bool moved = false;
    for (unsigned i = 0; i < keeper->workers; i++) {
        uint64_t head = atomic_load_explicit(&keeper->heads[i], memory_order_relaxed);
        if (head <= keeper->state.workers[i].head)
            continue;
        keeper->state.workers[i].head = head;
        moved = true;
    }
    return moved;
}

static void write_heads(struct journal_keeper *keeper, uint64_t now_ns)
{
    if (now_ns - keeper->state_written_ns < HEADS_MS * NS_PER_MS || !take_heads(keeper))
        return;
    keeper->state_written_ns = now_ns;
    int result = journal_state_write(keeper->directory, &keeper->state, false);
    if (result < 0)
        failed(keeper, result);
}

/* ---- life ---- */

static bool ends_with(const char *name, const char *end)
{
    size_t len = strlen(name), end_len = strlen(end);
    return len > end_len && strcmp(name + len - end_len, end) == 0;
}

static int remove_temporaries(const char *directory)
{
    DIR *entries = opendir(directory);
    if (!entries)
        return -errno;
    const struct dirent *entry;
    while ((entry = readdir(entries)))
        if (ends_with(entry->d_name, ".log.zst" TEMPORARY_END))
            unlinkat(dirfd(entries), entry->d_name, 0);
    closedir(entries);
    return 0;
}

int journal_keeper_init(struct journal_keeper *keeper, const char *directory,
                        const struct journal_keeping *keeping, _Atomic uint64_t *heads,
                        unsigned workers)
{
    *keeper = (struct journal_keeper){
        .directory = directory, .keeping = *keeping, .heads = heads, .workers = workers};
    int result = journal_state_read(directory, &keeper->state);
    if (result < 0 && result != -ENOENT && result != -EBADMSG)
        return result;
    return remove_temporaries(directory);
}

void journal_keeper_pass(struct journal_keeper *keeper, uint64_t now_ns, uint64_t wall_ms)
{
    struct journal_listing listing;
    int result = journal_list(keeper->directory, &listing);
    if (result < 0)
        failed(keeper, result);
    for (size_t first = 0, end; result == 0 && first < listing.count; first = end) {
        end = journal_list_worker_end(&listing, first);
        look_after_worker(keeper, &listing, first, end);
    }
    journal_listing_fini(&listing);
    if (result == 0) /* sizes and names have changed */
        result = journal_list(keeper->directory, &listing);
    if (result == 0 && !stopping(keeper))
        retain(keeper, &listing, wall_ms);
    if (result == 0)
        journal_listing_fini(&listing);
    write_heads(keeper, now_ns);
}

void journal_keeper_fini(struct journal_keeper *keeper)
{
    if (take_heads(keeper) && journal_state_write(keeper->directory, &keeper->state, false) < 0)
        failed(keeper, -EIO);
}
