/* A stack that senders push to with compare-and-swap and that the owner empties with one exchange.
 * The stack is newest first; the owner turns it round. Emptying as a whole leaves no ABA problem.
 */
#include "core/inbox.h"

void inbox_init(struct inbox *inbox)
{
    atomic_init(&inbox->newest, NULL);
    atomic_init(&inbox->asleep, false);
}

/* Turns a chain round; returns its new first. */
static struct op *reverse(struct op *op)
{
    struct op *before = NULL;
    while (op) {
        struct op *next = op->inbox_next;
        op->inbox_next = before;
        before = op;
        op = next;
    }
    return before;
}

bool inbox_push(struct inbox *inbox, struct op *first, struct op *last)
{
    last->inbox_next = NULL;
    for (struct op *op = first; op; op = op->inbox_next)
        op->state = OP_BUSY;
    reverse(first);
    struct op *newest = atomic_load_explicit(&inbox->newest, memory_order_relaxed);
    do
        first->inbox_next = newest;
    while (!atomic_compare_exchange_weak_explicit(&inbox->newest, &newest, last,
                                                  memory_order_seq_cst, memory_order_relaxed));
    /* Either we see that the owner sleeps, or its second look sees our op. Of many senders one
     * takes the flag and wakes. */
    return atomic_load_explicit(&inbox->asleep, memory_order_seq_cst) &&
           atomic_exchange_explicit(&inbox->asleep, false, memory_order_seq_cst);
}

void inbox_take(struct inbox *inbox, struct list *ready)
{
    if (!atomic_load_explicit(&inbox->newest, memory_order_relaxed))
        return;
    struct op *op = reverse(atomic_exchange_explicit(&inbox->newest, NULL, memory_order_acquire));
    while (op) {
        struct op *next = op->inbox_next;
        op->inbox_next = NULL;
        op->state = OP_READY;
        list_append(ready, &op->link);
        op = next;
    }
}

bool inbox_sleep(struct inbox *inbox)
{
    atomic_store_explicit(&inbox->asleep, true, memory_order_seq_cst);
    if (!atomic_load_explicit(&inbox->newest, memory_order_seq_cst))
        return true;
    atomic_store_explicit(&inbox->asleep, false, memory_order_relaxed);
    return false;
}

void inbox_awake(struct inbox *inbox)
{
    atomic_store_explicit(&inbox->asleep, false, memory_order_relaxed);
}
