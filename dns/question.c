#include "dns/question.h"

#include "dns/plan_work.h"

#include <errno.h>

static void tell(struct question *question)
{
    list_remove(&question->link);
    question->ended(question);
}

static void on_failed(struct op *op)
{
    struct question *question = container_of(op, struct question, failed);
    question->answer = NULL;
    question->error = op->result;
    tell(question);
}

static void on_found(struct lookup *lookup)
{
    struct question *question = container_of(lookup, struct question, lookup);
    const struct answer *answer = lookup->answer;
    struct name name;
    if (answer && answer->follow && question->steps++ < ANSWER_CHAIN &&
        name_parse(answer->name, &name)) {
        cache_find(&question->dns->cache, lookup, &name, question->type, on_found);
        return;
    }
    question->answer = answer && !answer->follow ? answer : NULL;
    question->error = question->answer ? 0 : answer ? -EBADMSG : lookup->error;
    tell(question);
}

void question_ask(struct dns *dns, struct question *question, const struct name *name,
                  enum rr_type type, question_ended *ended)
{
    *question = (struct question){.dns = dns, .ended = ended, .type = type};
    op_init(&question->failed, on_failed);
    list_append(&dns->questions, &question->link);
    if (dns->stopping)
        loop_ready(dns->loop, &question->failed, -ECANCELED);
    else
        cache_find(&dns->cache, &question->lookup, name, type, on_found);
}

void question_cancel(struct question *question)
{
    if (!list_linked(&question->link))
        return;
    list_remove(&question->link);
    lookup_cancel(&question->lookup);
    if (!op_idle(&question->failed))
        loop_unready(question->dns->loop, &question->failed);
}

void questions_end(struct dns *dns)
{
    list_for_each (&dns->questions, link, following) {
        struct question *question = container_of(link, struct question, link);
        lookup_cancel(&question->lookup);
        if (op_idle(&question->failed))
            loop_ready(dns->loop, &question->failed, -ECANCELED);
    }
}
