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

static void finish(struct sealer *sealer, struct sealing *sealing, int result)
{
    list_remove(&sealing->link);
    if (result == 0)
        count(sealer, sealing->seal);
    sealing->seal = NULL;
    loop_ready(sealer->loop, sealing->done, result);
}

static void on_turn(struct op *op)
{
    struct sealer *sealer = container_of(op, struct sealer, next_turn);
    struct signing batch[WIDTH_MOST];
    struct sealing *sealings[WIDTH_MOST];
    unsigned width = sign_batch_width() < WIDTH_MOST ? sign_batch_width() : WIDTH_MOST, count = 0;
    list_for_each (&sealer->waiting, link, following) {
        if (count == width)
            break;
        sealings[count] = container_of(link, struct sealing, link);
        check(seal_prepare(sealings[count]->seal, &batch[count]));
        count++;
    }
    sign_batch(batch, count);
    for (unsigned i = 0; i < count; i++) {
        seal_complete(sealings[i]->seal, &batch[i]);
        if (batch[i].failed || seal_finished(sealings[i]->seal))
            finish(sealer, sealings[i], batch[i].failed ? -ENOMEM : 0);
    }
    turn_later(sealer);
}

void sealer_init(struct sealer *sealer, struct loop *loop, struct metrics *metrics)
{
    *sealer = (struct sealer){.loop = loop, .metrics = metrics};
    list_init(&sealer->waiting);
    op_init(&sealer->next_turn, on_turn);
}

void sealer_start(struct sealer *sealer, struct sealing *sealing, struct seal *seal,
                  struct op *done)
{
    *sealing = (struct sealing){.seal = seal, .done = done};
    list_append(&sealer->waiting, &sealing->link);
    if (seal_finished(seal))
        finish(sealer, sealing, 0);
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
