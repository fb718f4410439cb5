/* simulate [--seed S] [--seeds N] [--jobs J] [--trace]
 *
 * A seed runs in a process of its own, so that a crash of the daemon may leak its memory and a
 * failed check ends only that seed; J of them at a time, as many as there are cores if nothing is
 * said. What a seed prints is shown when it has ended; with --trace it is shown as it comes. */
#include "core/check.h"
#include "tests/sim/sim.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { JOBS_MAX = 256, REAL_SECONDS = 300 };

struct job {
    pid_t child; /* 0: free */
    uint64_t seed;
    char folder[32];
};

static struct job jobs[JOBS_MAX];
static bool trace;

static void be_child(const struct job *job)
{
    if (!trace) {
        char path[64];
        snprintf(path, sizeof path, "%s/output", job->folder);
        int fd = open(path, O_WRONLY | O_CREAT, 0600);
        check(fd >= 0 && dup2(fd, 1) == 1 && dup2(fd, 2) == 2);
    }
    alarm(REAL_SECONDS); /* a seed that hangs in real time is a bug of its own */
    bool passed = run_seed(job->seed, job->folder, trace);
    fflush(NULL);
    _exit(passed ? 0 : 1);
}

static void begin(struct job *job, uint64_t seed)
{
    job->seed = seed;
    strcpy(job->folder, "/tmp/ringpost-sim-XXXXXX");
    check(mkdtemp(job->folder));
    fflush(NULL);
    job->child = fork();
    check(job->child >= 0);
    if (job->child == 0)
        be_child(job);
}

static void show_output(const struct job *job)
{
    char path[64], line[1024];
    snprintf(path, sizeof path, "%s/output", job->folder);
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file))
        fputs(line, stdout);
    if (file)
        fclose(file);
}

/* Waits for any of them. False: it failed. */
static bool end_one(void)
{
    int status;
    pid_t child = wait(&status);
    check(child > 0);
    struct job *job = jobs;
    while (job->child != child)
        job++;
    show_output(job);
    job->child = 0;
    char command[64];
    snprintf(command, sizeof command, "rm -rf '%s'", job->folder);
    if (system(command) != 0)
        printf("cannot remove %s\n", job->folder);
    bool passed = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    unsigned long long seed = job->seed;
    if (WIFSIGNALED(status))
        printf("seed %llu: died of signal %d\n", seed, WTERMSIG(status));
    if (!passed)
        printf("seed %llu FAILED, replay: simulate --seed %llu --trace\n", seed, seed);
    return passed;
}

static struct job *free_job(unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (jobs[i].child == 0)
            return &jobs[i];
    return NULL;
}

static uint64_t run_all(uint64_t seed, uint64_t seeds, unsigned at_once)
{
    uint64_t failed = 0, running = 0;
    for (uint64_t begun = 0; begun < seeds || running > 0;) {
        struct job *job = begun < seeds ? free_job(at_once) : NULL;
        if (job) {
            begin(job, seed + begun++);
            running++;
        } else {
            failed += !end_one();
            running--;
        }
    }
    return failed;
}

int main(int argc, char **argv)
{
    uint64_t seed = 1, seeds = 1;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    uint64_t at_once = cores > 0 ? (uint64_t)cores : 1;
    for (int i = 1; i < argc; i++) {
        uint64_t number = i + 1 < argc ? strtoull(argv[i + 1], NULL, 10) : 0;
        if (strcmp(argv[i], "--trace") == 0)
            trace = true;
        else if (strcmp(argv[i], "--seed") == 0 && ++i < argc)
            seed = number;
        else if (strcmp(argv[i], "--seeds") == 0 && ++i < argc)
            seeds = number;
        else if (strcmp(argv[i], "--jobs") == 0 && ++i < argc && number > 0)
            at_once = number < JOBS_MAX ? number : JOBS_MAX;
        else
            return fprintf(stderr, "usage: simulate [--seed S] [--seeds N] [--jobs J] [--trace]\n"),
                   2;
    }
    uint64_t failed = run_all(seed, seeds, (unsigned)at_once);
    printf("%llu passed, %llu failed\n", (unsigned long long)(seeds - failed),
           (unsigned long long)failed);
    return failed ? 1 : 0;
}
