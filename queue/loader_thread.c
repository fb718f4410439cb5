/* Loads take milliseconds when they reach the disk, so a mutex and a condition variable around one
 * queue cost nothing that could be measured, and any idle thread takes the next. */
#include "queue/loader_thread.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

struct loader_threads {
    struct store *store;
    pthread_mutex_t mutex;
    pthread_cond_t work;
    struct load *first, *last; /* linked by `next` */
    bool stopping;
    unsigned count;
    pthread_t threads[];
};

static struct load *take(struct loader_threads *threads)
{
    pthread_mutex_lock(&threads->mutex);
    while (!threads->first && !threads->stopping)
        pthread_cond_wait(&threads->work, &threads->mutex);
    struct load *load = threads->first;
    if (load) {
        threads->first = load->next;
        if (!threads->first)
            threads->last = NULL;
    }
    pthread_mutex_unlock(&threads->mutex);
    return load;
}

static void *run(void *context)
{
    struct loader_threads *threads = context;
    struct load *load;
    while ((load = take(threads))) {
        loader_run(threads->store, load);
        loop_post(load->home, NULL, &load->op);
    }
    return NULL;
}

int loader_start(struct store *store, unsigned threads, struct loader_threads **ret_threads)
{
    struct loader_threads *loaders = calloc(1, sizeof *loaders + threads * sizeof(pthread_t));
    if (!loaders)
        return -ENOMEM;
    loaders->store = store;
    pthread_mutex_init(&loaders->mutex, NULL);
    pthread_cond_init(&loaders->work, NULL);
    while (loaders->count < threads) {
        int error = pthread_create(&loaders->threads[loaders->count], NULL, run, loaders);
        if (error) {
            loader_stop(loaders);
            return -error;
        }
        pthread_setname_np(loaders->threads[loaders->count++], "loader");
    }
    *ret_threads = loaders;
    return 0;
}

void load_submit(struct loader_threads *threads, struct load *load)
{
    check(op_idle(&load->op));
    load->op.state = OP_BUSY;
    load->next = NULL;
    pthread_mutex_lock(&threads->mutex);
    if (threads->last)
        threads->last->next = load;
    else
        threads->first = load;
    threads->last = load;
    pthread_cond_signal(&threads->work);
    pthread_mutex_unlock(&threads->mutex);
}

void loader_stop(struct loader_threads *threads)
{
    pthread_mutex_lock(&threads->mutex);
    threads->stopping = true;
    pthread_cond_broadcast(&threads->work);
    pthread_mutex_unlock(&threads->mutex);
    for (unsigned i = 0; i < threads->count; i++)
        pthread_join(threads->threads[i], NULL);
    pthread_cond_destroy(&threads->work);
    pthread_mutex_destroy(&threads->mutex);
    free(threads);
}
