#include "bench/tally.h"

#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

struct tally *tally_open(const char *path, uint64_t numbers)
{
    size_t size = sizeof(struct tally) + numbers;
    if (!path)
        return calloc(1, size);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return NULL;
    struct tally *tally = MAP_FAILED;
    if (ftruncate(fd, (off_t)size) == 0)
        tally = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (tally == MAP_FAILED)
        return NULL;
    tally->numbers = numbers;
    return tally;
}

void tally_recipient(struct tally *tally, uint64_t number)
{
    tally->recipients++;
    if (tally->numbers == 0)
        return;
    if (number >= tally->numbers) {
        tally->strangers++;
        return;
    }
    if (tally->seen[number])
        tally->duplicates++;
    if (tally->seen[number] < UINT8_MAX)
        tally->seen[number]++;
}
