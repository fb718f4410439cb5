/* sink: an SMTP server for measurements. It takes everything, counts it, and may be slow or refuse.
 *
 * Runs until SIGTERM, then prints its counts as one JSON object. With --tally others read them
 * while it runs. */
#include "bench/arguments.h"
#include "bench/program.h"
#include "bench/sink_session.h"
#include "core/listen.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static void on_connection(struct listener *listener, int fd, const struct address *peer,
                          enum listen_verdict verdict)
{
    if (!sink_session_open(listener->context, listener->loop, fd, peer))
        io_close_now(listener->loop->io, fd);
}

static enum sink_stage stage_named(const char *name)
{
    static const char *const names[SINK_STAGES] = {"mail", "rcpt", "dot"};
    for (unsigned i = 0; i < SINK_STAGES; i++)
        if (strcmp(names[i], name) == 0)
            return (enum sink_stage)i;
    arguments_wrong("--at: mail, rcpt or dot");
}

static void prepare_tls(struct sink_settings *settings, const char *certificate, const char *key)
{
    char error[TLS_ERROR];
    const struct tls_identity_files files = {.certificate = certificate,
                                             .key = key ? key : certificate};
    if (certificate &&
        tls_context_server(&files, 1, NULL, SPAN("sink"), &settings->tls, error) != 0)
        arguments_wrong("--certificate: %s", error);
    if (settings->implicit_tls && !settings->tls)
        arguments_wrong("--implicit-tls needs --certificate");
}

static void print_counts(const struct tally *tally)
{
    printf("{\"program\":\"sink\",\"messages\":%" PRIu64 ",\"recipients\":%" PRIu64
           ",\"bytes\":%" PRIu64 ",\"by_chunks\":%" PRIu64 ",\"connections\":%" PRIu64,
           tally->messages, tally->recipients, tally->bytes, tally->by_chunks, tally->connections);
    printf(",\"secured\":%" PRIu64 ",\"duplicates\":%" PRIu64 ",\"strangers\":%" PRIu64
           ",\"hash_right\":%" PRIu64 ",\"hash_wrong\":%" PRIu64 ",\"hash_missing\":%" PRIu64,
           tally->secured, tally->duplicates, tally->strangers, tally->hash_right,
           tally->hash_wrong, tally->hash_missing);
    printf(",\"deferred\":%" PRIu64 ",\"refused\":%" PRIu64 ",\"closed\":%" PRIu64
           ",\"cpu_s\":%.3f}\n",
           tally->deferred, tally->refused, tally->closed, program_cpu_s());
}

int main(int argc, char **argv)
{
    struct sink_settings settings = {0};
    const char *listen = NULL, *tally_path = NULL, *stage = "rcpt";
    const char *certificate = NULL, *key = NULL, *login = NULL;
    char login_memory[400];
    uint64_t numbers = 0;
    bool no_pipelining = false, no_chunking = false;
    const struct argument table[] = {
        {"listen", ARGUMENT_TEXT, &listen, "address and port"},
        {"delay-ms", ARGUMENT_COUNT, &settings.delay_ms, "wait before the answer to a message"},
        {"deferred", ARGUMENT_SHARE, &settings.deferred, "share of answers that are 451"},
        {"refused", ARGUMENT_SHARE, &settings.refused, "share of answers that are 550 or 554"},
        {"closed", ARGUMENT_SHARE, &settings.closed, "share that are 421, and the end"},
        {"at", ARGUMENT_TEXT, &stage, "what these three answer: mail, rcpt (default), dot"},
        {"no-pipelining", ARGUMENT_FLAG, &no_pipelining, "do not offer PIPELINING"},
        {"no-chunking", ARGUMENT_FLAG, &no_chunking, "do not offer CHUNKING"},
        {"check", ARGUMENT_FLAG, &settings.check, "compare each body with its X-Bench-Hash"},
        {"certificate", ARGUMENT_TEXT, &certificate, "PEM file: offer STARTTLS"},
        {"key", ARGUMENT_TEXT, &key, "its key, if that file does not hold it"},
        {"implicit-tls", ARGUMENT_FLAG, &settings.implicit_tls, "TLS from the first octet"},
        {"login", ARGUMENT_TEXT, &login, "USER:PASSWORD that clients must know (AUTH PLAIN)"},
        {"tally", ARGUMENT_TEXT, &tally_path, "a file to count in, for others to map"},
        {"numbers", ARGUMENT_COUNT, &numbers, "count each of user0@ to user<N-1>@ there"},
    };
    arguments_read("sink: an SMTP server that takes, counts, delays and refuses.", table,
                   countof(table), argc, argv);
    const struct address address = arguments_address(listen);
    settings.pipelining = !no_pipelining;
    settings.chunking = !no_chunking;
    settings.stage = stage_named(stage);
    settings.login = arguments_login(login, login_memory, sizeof login_memory);
    prepare_tls(&settings, certificate, key);
    settings.tally = tally_open(tally_path, numbers);
    if (!settings.tally)
        return perror(tally_path), 1;

    struct loop loop;
    struct admission admission;
    settings.admission = &admission;
    struct listener listener;
    /* What is pipelined behind a message waits with it, in a buffer of its own. */
    program_loop_init(&loop, settings.delay_ms ? 32768 : 1024, settings.delay_ms ? 4096 : 16384);
    program_stop_by_signal(&loop);
    int error = admission_init(&admission, 0, 0);
    if (!error)
        error = listener_init(&listener, &loop, &address, &admission, on_connection, &settings);
    if (error)
        return fprintf(stderr, "sink: %s: %s\n", listen, strerror(-error)), 1;
    listener_start(&listener);
    error = loop_run(&loop);
    print_counts(settings.tally);
    program_end(error ? 1 : 0);
}
