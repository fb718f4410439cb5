#include "smtp/sealer.h"

#include <errno.h>

enum { WIDTH_MOST = 16 };

static void turn_later(struct sealer *sealer)
{
    if (op_idle(&sealer->next_turn) && !list_empty(&sealer->waiting))
        loop_post(sealer->loop, sealer->loop, &sealer->next_turn);
}

static void count(struct sealer *sealer, const struct seal *seal)
{
    metric_add(sealer->metrics, METRIC_DKIM_SIGNATURES, seal->made);
    if (seal->skipped != SEAL_SIGNED && seal->skipped != SEAL_NO_KEY)
        metric_add(sealer->metrics, METRIC_DKIM_UNSIGNED, 1);
}

static void finish(struct sealer *sealer, struct sealing *sealing)
{
    bool failed = sealing->seal->skipped == SEAL_FAILED;
    list_remove(&sealing->link);
    count(sealer, sealing->seal);
    seal_put_head(sealing->seal, sealing->head);
    sealing->seal = NULL;
    loop_ready(sealer->loop, sealing->done, failed ? -ENOMEM : 0);
}

/* The first in the list that has something to sign; those before it are done. */
static struct sealing *next_signing(struct sealer *sealer, struct signing *ret_signing)
{
    for (struct list_link *link; (link = list_first(&sealer->waiting));) {
        struct sealing *sealing = container_of(link, struct sealing, link);
        if (seal_prepare(sealing->seal, sealer->loop->wall_ms, ret_signing)) {
            list_remove(link); /* it comes back when it is signed: once in a batch */
            return sealing;
        }
        finish(sealer, sealing);
    }
    return NULL;
}

static void on_turn(struct op *op)
{
    struct sealer *sealer = container_of(op, struct sealer, next_turn);
    struct signing batch[WIDTH_MOST];
    struct sealing *sealings[WIDTH_MOST];
    unsigned width = sign_batch_width() < WIDTH_MOST ? sign_batch_width() : WIDTH_MOST, filled = 0;
    while (filled < width && (sealings[filled] = next_signing(sealer, &batch[filled])))
        filled++;
    sign_batch(batch, filled);
    while (filled-- > 0) {
        seal_complete(sealings[filled]->seal, &batch[filled]);
        list_prepend(&sealer->waiting, &sealings[filled]->link);
    }
    /* Those that this completed are found, and answered, without waiting for the next turn. */
    struct list_link *link;
    while ((link = list_first(&sealer->waiting)) &&
           seal_finished(container_of(link, struct sealing, link)->seal))
        finish(sealer, container_of(link, struct sealing, link));
    turn_later(sealer);
}

void sealer_init(struct sealer *sealer, struct loop *loop, struct metrics *metrics)
{
    *sealer = (struct sealer){.loop = loop, .metrics = metrics};
    list_init(&sealer->waiting);
    op_init(&sealer->next_turn, on_turn);
}

void sealer_start(struct sealer *sealer, struct sealing *sealing, struct seal *seal,
                  struct text *head, struct op *done)
{
    *sealing = (struct sealing){.seal = seal, .head = head, .done = done};
    list_append(&sealer->waiting, &sealing->link);
    if (seal_finished(seal))
        finish(sealer, sealing);
    else
        turn_later(sealer);
}

bool sealing_open(const struct sealing *sealing)
{
    return list_linked(&sealing->link) || (sealing->done && !op_idle(sealing->done));
}

void sealing_cancel(struct sealer *sealer, struct sealing *sealing)
{
    if (list_linked(&sealing->link))
        list_remove(&sealing->link);
    else if (sealing->done && !op_idle(sealing->done))
        loop_unready(sealer->loop, sealing->done);
    *sealing = (struct sealing){0};
}
