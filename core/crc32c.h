/* crc32c: the Castagnoli checksum (RFC 3720, appendix B.4), by SSE4.2 where the CPU has it. Pure.
 *
 * It finds torn and flipped bytes on disk; it is no protection against anybody's intent. */
#pragma once

#include "core/span.h"

/* Continues from `crc`, which is 0 at the start: crc32c(crc32c(0, a), b) is that of a then b. */
uint32_t crc32c(uint32_t crc, struct span bytes);

/* The table form, whatever the CPU; for tests and CPUs without the instruction. */
uint32_t crc32c_portable(uint32_t crc, struct span bytes);
