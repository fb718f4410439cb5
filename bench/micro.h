/* micro: parts of the daemon by themselves, under Google Benchmark, in C.
 *
 * A benchmark prepares what it needs, then repeats what is measured, then cleans up:
 *
 *     static void body_10k(struct micro *micro)
 *     {
 *         ...
 *         while (micro_next(micro))
 *             work();
 *         micro_bytes(micro, 10240);
 *     }
 *
 * and stands in its file's list. micro_shim.cc is the only C++. */
#pragma once

#include "core/check.h"

#include <stddef.h>
#include <stdint.h>

struct micro;
typedef void micro_run(struct micro *micro);

struct micro_case {
    const char *name;
    micro_run *run;
};

/* True: once more. The time outside is not counted. */
bool micro_next(struct micro *micro);

/* Each iteration did so many things, or went through so many octets. */
void micro_items(struct micro *micro, uint64_t per_iteration);
void micro_bytes(struct micro *micro, uint64_t per_iteration);

/* The compiler must believe that this memory is read. */
static inline void micro_use(const void *value)
{
    __asm__ volatile("" : : "g"(value) : "memory");
}

/* Ended by an empty name. */
extern const struct micro_case micro_core_cases[], micro_smtp_cases[], micro_queue_cases[],
    micro_sign_cases[];

/* The library's side: micro_shim.cc. */
void micro_register(const struct micro_case *cases);
int micro_main(int argc, char **argv);
