/* The kernel's randomness, apart from the generator it seeds (random.c): this is what the simulator
 * replaces. */
#include "core/check.h"
#include "core/random.h"

#include <errno.h>
#include <sys/random.h>

void random_fill(void *data, size_t len)
{
    char *at = data;
    while (len) {
        ssize_t got = getrandom(at, len, 0);
        if (got < 0 && errno == EINTR)
            continue;
        check(got > 0);
        at += got;
        len -= (size_t)got;
    }
}
