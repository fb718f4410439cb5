#include "core/loop.h"

#include "core/clock.h"
#include "core/conn.h"

#include <errno.h>
#include <stdlib.h>

enum { SENDS_KEPT = 64, BLOCKS_KEPT = 64 };

static int lent_init(struct loop *loop)
{
    struct io_usage usage;
    io_usage(loop->io, &usage);
    loop->lent = calloc(usage.buffers_total, sizeof *loop->lent);
    return loop->lent ? 0 : -ENOMEM;
}

int loop_init(struct loop *loop, const struct io_options *options, unsigned index)
{
    *loop = (struct loop){.index = index};
    int error = io_new(options, &loop->io);
    if (error)
        return error;
    error = lent_init(loop);
    if (error) {
        loop->io = io_free(loop->io);
        return error;
    }
    loop->now_ns = clock_mono_ns();
    loop->wall_ms = clock_wall_ms();
    timers_init(&loop->timers, loop->now_ns);
    inbox_init(&loop->inbox);
    list_init(&loop->ready);
    random_init(&loop->random);
    pool_init(&loop->sends, sizeof(struct conn_send), SENDS_KEPT);
    pool_init(&loop->blocks, sizeof(struct conn_block), BLOCKS_KEPT);
    return 0;
}

void loop_fini(struct loop *loop)
{
    loop->io = io_free(loop->io);
    pool_fini(&loop->sends);
    pool_fini(&loop->blocks);
    free(loop->lent);
    loop->lent = NULL;
}

void loop_ready(struct loop *loop, struct op *op, int32_t result)
{
    check(op->state != OP_READY);
    op->result = result;
    op->more = false;
    op->state = OP_READY;
    list_append(&loop->ready, &op->link);
}

void loop_nudge(struct loop *loop, struct op *op)
{
    check(op->state != OP_BUSY);
    if (op->state == OP_IDLE)
        loop_ready(loop, op, 0);
}

void loop_unready(struct loop *loop, struct op *op)
{
    check(op->state == OP_READY);
    list_remove(&op->link);
    op->state = OP_IDLE;
}

void loop_post_chain(struct loop *loop, struct loop *from, struct op *first, struct op *last)
{
    if (inbox_push(&loop->inbox, first, last))
        io_wake(loop->io, from ? from->io : NULL);
}

void loop_post(struct loop *loop, struct loop *from, struct op *op)
{
    loop_post_chain(loop, from, op, op);
}

static void dispatch(struct op *op)
{
    op->state = op->more ? OP_BUSY : OP_IDLE;
    op->done(op);
}

/* True: there may be more. */
static bool dispatch_ring(struct loop *loop)
{
    for (unsigned i = 0; i < LOOP_BUDGET; i++) {
        struct op *op = io_next(loop->io);
        if (!op)
            return false;
        dispatch(op);
    }
    return true;
}

static void dispatch_ready(struct loop *loop)
{
    for (unsigned i = 0; i < LOOP_BUDGET; i++) {
        struct list_link *link = list_take_first(&loop->ready);
        if (!link)
            return;
        dispatch(container_of(link, struct op, link));
    }
}

/* How long nothing will be due. The clock is read again: the dispatch took time. */
static uint64_t idle_ns(const struct loop *loop, uint64_t max_wait_ns)
{
    uint64_t next = timers_next_ns(&loop->timers);
    if (next == UINT64_MAX)
        return max_wait_ns;
    uint64_t now = clock_mono_ns();
    uint64_t wait = next > now ? next - now : 0;
    return wait < max_wait_ns ? wait : max_wait_ns;
}

/* Submits; waits only if the inbox was still empty after we had said that we sleep. (loop_stop
 * wakes in any case, so a wait that begins after it ends at once.) */
static int submit_and_wait(struct loop *loop, uint64_t wait_ns)
{
    if (wait_ns == 0 || !inbox_sleep(&loop->inbox))
        return io_turn(loop->io, 0);
    int error = io_turn(loop->io, wait_ns);
    inbox_awake(&loop->inbox);
    return error;
}

int loop_turn(struct loop *loop, uint64_t max_wait_ns)
{
    loop->turns++;
    loop->now_ns = clock_mono_ns();
    loop->wall_ms = clock_wall_ms();
    inbox_take(&loop->inbox, &loop->ready);
    timers_advance(&loop->timers, loop->now_ns, &loop->ready);
    bool unfinished = dispatch_ring(loop);
    dispatch_ready(loop);
    if (unfinished || !list_empty(&loop->ready))
        max_wait_ns = 0;
    return submit_and_wait(loop, max_wait_ns ? idle_ns(loop, max_wait_ns) : 0);
}

int loop_run(struct loop *loop)
{
    int error = 0;
    while (error == 0 && !atomic_load(&loop->stop))
        error = loop_turn(loop, UINT64_MAX);
    return error;
}

void loop_stop(struct loop *loop)
{
    atomic_store(&loop->stop, true);
    io_wake(loop->io, NULL);
}
