#include "core/check.h"

#include <stdio.h>
#include <stdlib.h>

void check_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "ringpost: bug: check(%s) failed at %s:%d\n", condition, file, line);
    abort();
}
