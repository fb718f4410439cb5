/* program: what the bench's programs share around their loop: descriptors, signals, the end. */
#pragma once

#include "core/loop.h"

/* As many descriptors as are allowed; SIGPIPE ignored. Ends the program if io_uring is not to be
 * had. `buffers` and `buffer_size` as in io_options. */
void program_loop_init(struct loop *loop, unsigned buffers, unsigned buffer_size);

/* SIGTERM and SIGINT call loop_stop from a thread of their own. Call it before threads are made:
 * these signals are blocked in all of them. */
void program_stop_by_signal(struct loop *loop);

/* Ends the program; what is open or allocated goes with it, whatever a leak checker thinks. */
__attribute__((noreturn)) void program_end(int status);

/* User and system time of this process so far. */
double program_cpu_s(void);
