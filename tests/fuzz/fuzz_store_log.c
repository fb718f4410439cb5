/* Any bytes as a write-ahead log: surveying and repairing it must end, and what the repair leaves
 * is a clean log with exactly the records that were found sound. */
#include "queue/store_log.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define LOG_NAME "000001.log"

static void write_log(int dir_fd, const uint8_t *data, size_t size)
{
    int fd = openat(dir_fd, LOG_NAME, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    check(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[] = "/tmp/ringpost-fuzz-XXXXXX";
    struct log_survey before, after;
    check(mkdtemp(path));
    int dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    check(dir_fd >= 0);
    write_log(dir_fd, data, size);
    check(log_survey(dir_fd, LOG_NAME, &before) == 0);
    check(before.behind <= before.records && (!before.cut || before.tail));
    check(log_salvage(dir_fd, LOG_NAME) == 0);
    check(log_survey(dir_fd, LOG_NAME, &after) == 0);
    check(after.records == before.records && !after.damaged && !after.tail);
    unlinkat(dir_fd, LOG_NAME, 0);
    close(dir_fd);
    rmdir(path);
    return 0;
}
