/* op: the one kind of thing that is in flight.
 *
 * Socket and file I/O, timers, DNS answers, store commits and messages from another worker are all
 * ops, embedded in the object that started them. A mechanism finishes an op by writing `result` and
 * handing it to the loop (loop_ready, or loop_post from another thread); the loop's dispatch calls
 * `done`. Nothing ever calls back synchronously from the call that started it.
 *
 *      idle --start--> busy --mechanism--> ready --dispatch--> idle, then done(op)
 *                        ^                               |
 *                        +------ multishot: `more` ------+
 *
 * The idiom for `done` is to record what happened in the owner and to let the owner's one
 * `x_advance()` decide. The owner's memory must stay until the op is idle: count `op_busy`, closing
 * is a state. An op belongs to one loop. */
#pragma once

#include "core/list.h"

#include <stdint.h>

struct op;
typedef void op_done(struct op *op);

enum op_state {
    OP_IDLE,
    OP_BUSY,  /* with its mechanism: the kernel, the wheel, another thread */
    OP_READY, /* finished, waiting for dispatch in the loop's ready list */
};

struct op {
    struct list_link link; /* of whoever holds it: wheel, ready list, a mechanism's queue */
    union {
        struct op *inbox_next; /* while it travels between threads */
        int fd;                /* io_receive: to arm it again */
    };
    op_done *done;
    int32_t result; /* 0 or more, or a negative errno; -ECANCELED after a cancel */
    uint8_t state;
    uint8_t mechanism_state; /* private to the mechanism that runs it */
    bool more;               /* multishot: armed on, further results will come */
    uint16_t buffer;         /* io_receive: the lent buffer of this result */
};

static inline void op_init(struct op *op, op_done *done)
{
    *op = (struct op){.done = done};
}

static inline bool op_idle(const struct op *op)
{
    return op->state == OP_IDLE;
}
