/* ringpostd: the composition root, the one file that sees everything.
 *
 *     ringpostd --config FILE            run in the foreground until SIGTERM or SIGINT
 *     ringpostd --check-config FILE      say what is wrong with it, or nothing
 *     ringpostd --dump-config FILE       every option with its value and where it was set
 *     ringpostd --options                every option, documented (Markdown)
 *     ringpostd --metrics                every metric, documented (Markdown)
 *
 * Start-up is straight-line code in the main thread: configuration, queue (recovery), workers with
 * their listeners bound; then one thread per worker, and the main thread becomes the control
 * thread: HTTP for /metrics, /healthz and /readyz, signals, the second's tick. Shutdown is the
 * reverse, and bounded: what has not ended SHUTDOWN_EXTRA_MS after the workers' own bound is cut by
 * _exit, which loses nothing that was acknowledged (the queue recovers).
 *
 * Exit status: 0 ended as asked; 1 the queue failed while running, or start-up failed; 2 usage. */
#include "core/daemon.h"
#include "core/manual.h"

#include <stdio.h>
#include <string.h>

static void print_line(void *context, const char *text)
{
    fprintf(context, "%s\n", text);
}

static void print_complaint(void *context, bool fatal, const char *text)
{
    fprintf(stderr, "ringpostd: %s%s\n", fatal ? "" : "warning: ", text);
}

/* The files that it names belong to it. */
static bool check_keys(const struct config *config)
{
    struct dkim_keys keys;
    if (dkim_keys_load(config, print_complaint, NULL, &keys) < 0)
        return false;
    dkim_keys_free(&keys);
    return true;
}

static int check_config(const char *path)
{
    struct config *config = daemon_load_config(path);
    bool tls_good = config && daemon_check_tls(config);
    bool accounts_good = config && daemon_check_accounts(config);
    bool good = config && check_keys(config) && tls_good && accounts_good;
    config_free(config);
    return good ? 0 : 1;
}

static int dump_config(const char *path)
{
    struct config *config = daemon_load_config(path);
    if (!config)
        return 1;
    config_dump(config, print_line, stdout);
    config_free(config);
    return 0;
}

static int run(const char *path)
{
    static struct daemon
        daemon; /* not on the stack: it is large, and lives as long as the process */
    daemon.path = path;
    struct config *config = daemon_load_config(path);
    if (!config)
        return 1;
    log_open((enum log_level)config->log.level);
    if (!daemon_open_log(config))
        return 1;
    if (!daemon_start(&daemon, config))
        return 1;
    daemon_run_begin(&daemon);
    log_notice("running: ringpostd %s, %u workers, %zu listeners, queue in %s", RINGPOST_VERSION,
               daemon.worker_count, daemon.config->listener_count, daemon.config->data_dir.data);
    int error = loop_run(&daemon.control);
    bool fine = daemon_end(&daemon) && error == 0;
    log_notice("ended");
    return fine ? 0 : 1;
}

static int usage(FILE *to, int status)
{
    const struct daemon_usage *row;
    for (unsigned i = 0; (row = manual_daemon_usage(i)); i++)
        fprintf(to, "%s ringpostd %s %s\n", i ? "      " : "usage:", row->option,
                row->value ? row->value : "");
    return status;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--config") == 0)
        return run(argv[2]);
    if (argc == 3 && strcmp(argv[1], "--check-config") == 0)
        return check_config(argv[2]);
    if (argc == 3 && strcmp(argv[1], "--dump-config") == 0)
        return dump_config(argv[2]);
    if (argc == 2 && strcmp(argv[1], "--options") == 0) {
        config_document(print_line, stdout);
        return 0;
    }
    if (argc == 2 && strcmp(argv[1], "--metrics") == 0) {
        metrics_document(print_line, stdout);
        labels_document(print_line, stdout);
        return 0;
    }
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        printf("ringpostd %s\n", RINGPOST_VERSION);
        return 0;
    }
    if (argc == 2 && strcmp(argv[1], "--help") == 0)
        return usage(stdout, 0);
    return usage(stderr, 2);
}
