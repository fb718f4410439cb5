/* check: a broken invariant is a bug, and a bug stops the program, in release builds too.
 *
 * `check(cond)` is for what our own code guarantees. What a peer, the disk or the operator can
 * cause is never checked, it is answered (see docs/ARCHITECTURE.md, "Errors"). */
#pragma once

#include <stdbool.h>

__attribute__((noreturn, cold)) void check_failed(const char *condition, const char *file,
                                                  int line);

#define check(condition)                                                                           \
    do {                                                                                           \
        if (__builtin_expect(!(condition), 0))                                                     \
            check_failed(#condition, __FILE__, __LINE__);                                          \
    } while (0)

/* The result of this function must be looked at. */
#define MUST_USE __attribute__((warn_unused_result))

/* The object that holds `member` at `pointer`. */
#define container_of(pointer, type, member)                                                        \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

#define countof(array) (sizeof(array) / sizeof((array)[0]))
