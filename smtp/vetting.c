#include "smtp/vetting.h"

#include "core/clock.h"

static void on_answered(struct question *question);

static void ask(struct vetting *vetting, enum vet_line line)
{
    struct name name;
    enum rr_type type;
    struct vetting_line *asking = &vetting->lines[line];
    asking->open = vet_asks(vetting->vet, line, &name, &type);
    if (asking->open)
        question_ask(vetting->dns, &asking->question, &name, type, on_answered);
}

static void stop(struct vetting *vetting)
{
    for (unsigned line = 0; line < VET_LINES; line++)
        question_cancel(&vetting->lines[line].question);
    timer_disarm(&vetting->loop->timers, &vetting->deadline);
    vetting->running = false;
}

static void finish(struct vetting *vetting)
{
    stop(vetting);
    loop_ready(vetting->loop, vetting->done, 0);
}

static void finish_if_over(struct vetting *vetting)
{
    for (unsigned line = 0; line < VET_LINES; line++)
        if (vetting->lines[line].open)
            return;
    finish(vetting);
}

static void on_answered(struct question *question)
{
    struct vetting_line *asking = container_of(question, struct vetting_line, question);
    struct vetting *vetting = asking->vetting;
    enum vet_line line = (enum vet_line)(asking - vetting->lines);
    vet_answer(vetting->vet, line, question->answer, vetting->loop->wall_ms / 1000);
    ask(vetting, line);
    finish_if_over(vetting);
}

static void on_deadline(struct op *op)
{
    finish(container_of(op, struct vetting, deadline.op));
}

void vetting_start(struct vetting *vetting, struct loop *loop, struct dns *dns, struct vet *vet,
                   uint64_t deadline_ms, struct op *done)
{
    *vetting =
        (struct vetting){.loop = loop, .dns = dns, .vet = vet, .done = done, .running = true};
    timer_init(&vetting->deadline, on_deadline);
    loop_arm(loop, &vetting->deadline, deadline_ms * NS_PER_MS);
    for (unsigned line = 0; line < VET_LINES; line++) {
        vetting->lines[line].vetting = vetting;
        ask(vetting, (enum vet_line)line);
    }
    finish_if_over(vetting);
}

bool vetting_open(const struct vetting *vetting)
{
    return vetting->running || (vetting->done && !op_idle(vetting->done));
}

void vetting_cancel(struct vetting *vetting)
{
    if (vetting->running)
        stop(vetting);
    else if (vetting->done && !op_idle(vetting->done))
        loop_unready(vetting->loop, vetting->done);
    vetting->done = NULL;
}
