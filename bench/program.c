#include "bench/program.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

void program_loop_init(struct loop *loop, unsigned buffers, unsigned buffer_size)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    signal(SIGPIPE, SIG_IGN);
    const struct io_options options = {
        .entries = 1024, .buffers = buffers, .buffer_size = buffer_size, .optional_features = true};
    int error = loop_init(loop, &options, 0);
    if (error) {
        fprintf(stderr, "%s\n", io_explain(error));
        exit(1);
    }
}

static void stop_signals(sigset_t *ret_set)
{
    sigemptyset(ret_set);
    sigaddset(ret_set, SIGTERM);
    sigaddset(ret_set, SIGINT);
}

static void *wait_for_signal(void *argument)
{
    sigset_t set;
    int signal_number;
    stop_signals(&set);
    while (sigwait(&set, &signal_number) != 0)
        continue;
    loop_stop(argument);
    return NULL;
}

void program_stop_by_signal(struct loop *loop)
{
    sigset_t set;
    pthread_t thread;
    stop_signals(&set);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    if (pthread_create(&thread, NULL, wait_for_signal, loop) != 0) {
        perror("pthread_create");
        exit(1);
    }
    pthread_detach(thread);
}

double program_cpu_s(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

void program_end(int status)
{
    fflush(NULL);
    _exit(status);
}
