/* A pass each second, at a lower priority than everything that moves mail. */
#include "queue/journal_keeper_thread.h"

#include "core/clock.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

enum { PASS_EACH_S = 1, NICE = 10 };

struct keeper_thread {
    struct journal_keeper *keeper;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t stop;
    bool stopping;
};

static bool wait_a_second(struct keeper_thread *thread)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += PASS_EACH_S;
    pthread_mutex_lock(&thread->mutex);
    int result = 0;
    while (!thread->stopping && result == 0)
        result = pthread_cond_timedwait(&thread->stop, &thread->mutex, &until);
    bool goes_on = !thread->stopping;
    pthread_mutex_unlock(&thread->mutex);
    return goes_on;
}

static void *run(void *context)
{
    struct keeper_thread *thread = context;
    setpriority(PRIO_PROCESS, (id_t)gettid(), NICE);
    while (wait_a_second(thread))
        journal_keeper_pass(thread->keeper, clock_mono_ns(), clock_wall_ms());
    return NULL;
}

int keeper_start(struct journal_keeper *keeper, struct keeper_thread **ret_thread)
{
    struct keeper_thread *thread = calloc(1, sizeof *thread);
    pthread_condattr_t attributes;
    if (!thread)
        return -ENOMEM;
    thread->keeper = keeper;
    pthread_mutex_init(&thread->mutex, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&thread->stop, &attributes);
    pthread_condattr_destroy(&attributes);
    int error = pthread_create(&thread->thread, NULL, run, thread);
    if (error) {
        pthread_cond_destroy(&thread->stop);
        pthread_mutex_destroy(&thread->mutex);
        free(thread);
        return -error;
    }
    pthread_setname_np(thread->thread, "journal");
    *ret_thread = thread;
    return 0;
}

void keeper_stop(struct keeper_thread *thread)
{
    if (!thread)
        return;
    atomic_store(&thread->keeper->stop, true);
    pthread_mutex_lock(&thread->mutex);
    thread->stopping = true;
    pthread_cond_signal(&thread->stop);
    pthread_mutex_unlock(&thread->mutex);
    pthread_join(thread->thread, NULL);
    pthread_cond_destroy(&thread->stop);
    pthread_mutex_destroy(&thread->mutex);
    free(thread);
}
