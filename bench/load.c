/* load: a source of SMTP messages for measurements, against any server. One JSON object at the end.
 *
 * The exit status is 0 if every message was answered 2xx. */
#include "bench/arguments.h"
#include "bench/load_session.h"
#include "bench/program.h"
#include "core/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const modes[LOAD_MODES] = {"none", "classic", "behind", "bdat"};
static const char *const tls_names[] = {"none", "starttls", "implicit"};

static enum load_mode mode_named(const char *name)
{
    for (unsigned i = 0; i < LOAD_MODES; i++)
        if (strcmp(modes[i], name) == 0)
            return (enum load_mode)i;
    arguments_wrong("--pipelining: none, classic, behind or bdat");
}

static enum load_tls tls_named(const char *name)
{
    for (unsigned i = 0; i < countof(tls_names); i++)
        if (strcmp(tls_names[i], name) == 0)
            return (enum load_tls)i;
    arguments_wrong("--tls: none, starttls or implicit");
}

static void prepare_tls(struct load *load, const char *roots)
{
    char error[TLS_ERROR];
    if (load->tls != LOAD_PLAIN && tls_context_client(roots, &load->tls_context, error) != 0)
        arguments_wrong("--roots: %s", error);
}

static void print_result(const struct load *load)
{
    const struct load_counts *counts = &load->counts;
    double seconds = (double)(load->loop->now_ns - load->counted_from_ns) / 1e9;
    printf("{\"program\":\"load\",\"tls\":\"%s\",\"pipelining\":\"%s\",\"loop\":\"%s\","
           "\"messages\":%" PRIu64,
           tls_names[load->tls], modes[load->mode], load->plan.rate ? "open" : "closed",
           counts->accepted + counts->deferred + counts->refused + counts->lost);
    printf(",\"accepted\":%" PRIu64 ",\"deferred\":%" PRIu64 ",\"refused\":%" PRIu64
           ",\"lost\":%" PRIu64,
           counts->accepted, counts->deferred, counts->refused, counts->lost);
    printf(",\"recipients\":%" PRIu64 ",\"recipients_deferred\":%" PRIu64
           ",\"recipients_refused\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"connections\":%" PRIu64
           ",\"connect_failures\":%" PRIu64,
           counts->recipients, counts->recipients_deferred, counts->recipients_refused,
           counts->bytes, counts->connections, counts->connect_failures);
    printf(",\"first_refusal\":\"%s\"", counts->first_refusal);
    printf(",\"seconds\":%.3f,\"rate\":%.1f,\"cpu_s\":%.3f,\"latency_us\":", seconds,
           seconds > 0 ? (double)counts->accepted / seconds : 0, program_cpu_s());
    histogram_print_us(&counts->latency);
    printf("}\n");
}

int main(int argc, char **argv)
{
    static struct load load; /* a histogram is large */
    struct load_plan *plan = &load.plan;
    const char *to = NULL, *sizes = "10240", *domains = "destination.test", *mode = "classic";
    const char *tls = "none", *login = NULL, *roots = "/etc/ssl/certs/ca-certificates.crt";
    char login_memory[400];
    uint64_t connections = 20, seconds = 0;
    plan->recipients = 1;
    const struct argument table[] = {
        {"to", ARGUMENT_TEXT, &to, "address and port of the server"},
        {"connections", ARGUMENT_COUNT, &connections, "at the same time (20)"},
        {"messages", ARGUMENT_COUNT, &plan->messages, "in all"},
        {"seconds", ARGUMENT_COUNT, &seconds, "how long to start messages"},
        {"per-connection", ARGUMENT_COUNT, &load.per_connection, "messages (any number)"},
        {"size", ARGUMENT_TEXT, &sizes, "octets, or a mix: 1024:3,10240:1 (10240)"},
        {"recipients", ARGUMENT_COUNT, &plan->recipients, "of each message (1)"},
        {"domains", ARGUMENT_TEXT, &domains, "of the recipients: a.test:3,b.test:1"},
        {"numbered-domains", ARGUMENT_COUNT, &plan->numbered_domains, "d0.test ... instead"},
        {"spread", ARGUMENT_FLAG, &plan->spread, "a domain for each recipient, not each message"},
        {"pipelining", ARGUMENT_TEXT, &mode, "none, classic (default), behind, bdat"},
        {"rate", ARGUMENT_COUNT, &plan->rate, "messages a second: open loop"},
        {"warmup", ARGUMENT_COUNT, &load.warmup, "messages that are not counted"},
        {"tls", ARGUMENT_TEXT, &tls, "none (default), starttls, implicit"},
        {"roots", ARGUMENT_TEXT, &roots, "a PEM file for TLS; any certificate is taken anyway"},
        {"login", ARGUMENT_TEXT, &login, "USER:PASSWORD for AUTH PLAIN"},
        {"first-number", ARGUMENT_COUNT, &plan->numbers, "of the recipients (0)"},
    };
    arguments_read("load: injects messages and measures how long each 250 takes.", table,
                   countof(table), argc, argv);
    load.to = arguments_address(to);
    load.mode = mode_named(mode);
    load.tls = tls_named(tls);
    load.login = arguments_login(login, login_memory, sizeof login_memory);
    prepare_tls(&load, roots);
    load_plan_sizes(plan, sizes);
    load_plan_domains(plan, domains);
    if (plan->messages == 0 && seconds == 0)
        arguments_wrong("--messages or --seconds");
    if (connections == 0 || connections > 65536 || plan->recipients == 0 ||
        plan->recipients > 10000)
        arguments_wrong("1 to 65536 connections, 1 to 10000 recipients");

    struct loop loop;
    program_loop_init(&loop, 1024, 4096);
    program_stop_by_signal(&loop);
    random_init(&plan->random);
    load.loop = &loop;
    plan->end_ns = seconds ? loop.now_ns + seconds * NS_PER_S : UINT64_MAX;
    struct load_session *sessions = load_sessions_start(&load, (unsigned)connections);
    if (!sessions)
        return fprintf(stderr, "load: no memory\n"), 1;
    int error = loop_run(&loop);
    print_result(&load);
    loop_fini(&loop);
    tls_context_free(load.tls_context);
    load_sessions_free(&load, sessions, (unsigned)connections);
    load_plan_fini(plan);
    bool well = load.counts.deferred + load.counts.refused + load.counts.lost == 0;
    return error || load.sessions || !well ? 1 : 0;
}
