/* One queue under a mutex: a job takes thousands of times longer than the lock. */
#include "core/hasher_thread.h"

#include "core/password.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

struct hashers {
    pthread_mutex_t mutex;
    pthread_cond_t work;
    struct hash_job *first, *last; /* linked by `next` */
    unsigned waiting;
    bool stopping;
    unsigned count;
    pthread_t threads[];
};

static struct hash_job *take(struct hashers *hashers)
{
    pthread_mutex_lock(&hashers->mutex);
    while (!hashers->first && !hashers->stopping)
        pthread_cond_wait(&hashers->work, &hashers->mutex);
    struct hash_job *job = hashers->first;
    if (job) {
        hashers->first = job->next;
        hashers->waiting--;
        if (!hashers->first)
            hashers->last = NULL;
    }
    pthread_mutex_unlock(&hashers->mutex);
    return job;
}

static void *run(void *context)
{
    struct hashers *hashers = context;
    struct hash_job *job;
    while ((job = take(hashers))) {
        bool forgotten = atomic_load(&job->forgotten);
        job->op.result = !forgotten && password_check(job->stored, job->password);
        loop_post(job->home, NULL, &job->op);
    }
    return NULL;
}

int hashers_start(unsigned threads, struct hashers **ret_hashers)
{
    struct hashers *hashers = calloc(1, sizeof *hashers + threads * sizeof(pthread_t));
    if (!hashers)
        return -ENOMEM;
    pthread_mutex_init(&hashers->mutex, NULL);
    pthread_cond_init(&hashers->work, NULL);
    while (hashers->count < threads) {
        int error = pthread_create(&hashers->threads[hashers->count], NULL, run, hashers);
        if (error) {
            hashers_stop(hashers);
            return -error;
        }
        pthread_setname_np(hashers->threads[hashers->count++], "hasher");
    }
    *ret_hashers = hashers;
    return 0;
}

bool hash_submit(struct hashers *hashers, struct hash_job *job)
{
    check(op_idle(&job->op));
    job->next = NULL;
    pthread_mutex_lock(&hashers->mutex);
    bool room = hashers->waiting < HASHER_QUEUE;
    if (room) {
        job->op.state = OP_BUSY;
        hashers->waiting++;
        if (hashers->last)
            hashers->last->next = job;
        else
            hashers->first = job;
        hashers->last = job;
        pthread_cond_signal(&hashers->work);
    }
    pthread_mutex_unlock(&hashers->mutex);
    return room;
}

void hashers_stop(struct hashers *hashers)
{
    if (!hashers)
        return;
    pthread_mutex_lock(&hashers->mutex);
    hashers->stopping = true;
    pthread_cond_broadcast(&hashers->work);
    pthread_mutex_unlock(&hashers->mutex);
    for (unsigned i = 0; i < hashers->count; i++)
        pthread_join(hashers->threads[i], NULL);
    pthread_cond_destroy(&hashers->work);
    pthread_mutex_destroy(&hashers->mutex);
    free(hashers);
}
