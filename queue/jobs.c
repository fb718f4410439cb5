/* One verdict for everything that is due in a queue: no route, or none for now.
 *
 * Works by the same pulls and settlements as a lane does, in turns, so that a queue of a million
 * rows does not stop the worker and stays within the cap of unrecorded verdicts. */
#include "queue/spool_private.h"

#include <stdlib.h>

enum { JOB_ROWS_PER_TURN = 64 };

struct queue_job {
    struct list_link link; /* share->jobs while it has something to do */
    struct stored_queue *queue;
    struct attempt attempt;
    struct verdict verdict;
    char text[];
};

static struct span keep(char **at, struct span span)
{
    if (span.len)
        memcpy(*at, span.data, span.len);
    struct span kept = span_of(*at, span.len);
    *at += span.len;
    return kept;
}

static struct queue_job *job_new(struct stored_queue *queue, const struct attempt *attempt)
{
    const struct verdict *verdict = &attempt->verdicts[0];
    size_t size = attempt->source.len + attempt->site.len + attempt->peer_name.len +
                  attempt->protocol.len + verdict->reply.text.len + verdict->reply.command.len;
    struct queue_job *job = calloc(1, sizeof(*job) + size);
    if (!job)
        return NULL;
    char *at = job->text;
    job->queue = queue;
    job->verdict = *verdict;
    job->attempt = *attempt;
    job->attempt.verdicts = NULL;
    job->attempt.source = keep(&at, attempt->source);
    job->attempt.site = keep(&at, attempt->site);
    job->attempt.peer_name = keep(&at, attempt->peer_name);
    job->attempt.protocol = keep(&at, attempt->protocol);
    job->attempt.tls_subject = (struct span){0}; /* no connection was made */
    job->verdict.reply.text = keep(&at, verdict->reply.text);
    job->verdict.reply.command = keep(&at, verdict->reply.command);
    return job;
}

struct queue_job *job_free(struct queue_job *job)
{
    if (job && list_linked(&job->link))
        list_remove(&job->link);
    free(job);
    return NULL;
}

struct reply_summary job_reply(const struct queue_job *job)
{
    return job->verdict.reply;
}

/* The same verdict for each recipient; the array is turn memory. */
static void settle_row(struct share *share, struct queue_job *job, struct held *held)
{
    struct arena scratch;
    arena_init(&scratch, &share->own, ARENA_LIMIT);
    unsigned count = held->row.envelope.recipient_count;
    struct verdict *verdicts = arena_take(&scratch, count * sizeof(*verdicts));
    if (verdicts) {
        for (unsigned i = 0; i < count; i++)
            verdicts[i] = job->verdict;
        struct attempt attempt = job->attempt;
        attempt.verdicts = verdicts;
        share_settle(share, &held->row, &attempt);
    } else {
        share_return(share, &held->row);
    }
    arena_fini(&scratch);
}

static void job_end(struct stored_queue *queue)
{
    queue->window->job = job_free(queue->window->job);
    queue->announced = false;
    queue_look(queue);
    queue_trim_window(queue);
}

static void work(struct share *share, struct queue_job *job)
{
    struct stored_queue *queue = job->queue;
    bool with_body = job->verdict.outcome == OUTCOME_FAILED; /* a report quotes it */
    enum pull_result result = PULL_ROW;
    struct held *held;
    for (unsigned i = 0; i < JOB_ROWS_PER_TURN; i++) {
        result = pull_row(share, queue, with_body, &held);
        if (result != PULL_ROW)
            break;
        settle_row(share, job, held);
    }
    if (result == PULL_ROW)
        queue_wake_job(queue); /* more in the next turn */
    else if (result == PULL_EMPTY)
        job_end(queue);
}

void on_jobs_turn(struct op *op)
{
    struct share *share = container_of(op, struct share, jobs_turn);
    struct list jobs;
    list_init(&jobs);
    list_append_all(&jobs, &share->jobs);
    for (struct list_link *link; (link = list_take_first(&jobs));)
        work(share, container_of(link, struct queue_job, link));
}

void queue_wake_job(struct stored_queue *queue)
{
    struct share *share = queue->queue.share;
    struct queue_job *job = queue->window->job;
    if (!list_linked(&job->link))
        list_append(&share->jobs, &job->link);
    loop_nudge(share->loop, &share->jobs_turn);
}

void share_settle_queue(struct share *share, struct queue *public_queue,
                        const struct attempt *attempt)
{
    struct stored_queue *queue = stored(public_queue);
    struct queue_job *job = queue_open_window(queue) ? job_new(queue, attempt) : NULL;
    if (!job) { /* no memory: the lane is asked again */
        queue->announced = false;
        queue_look_later(queue, SHARE_TICK_MS);
        return;
    }
    job_free(queue->window->job);
    queue->window->job = job;
    queue_wake_job(queue);
}
