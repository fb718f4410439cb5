/* The real resolver on the real ring: against a server that lies, and against nsd. */
#include "core/clock.h"
#include "dns/plan.h"
#include "dns/resolver.h"

#include "tests/unit/dns_server.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <cmocka.h>

enum { TIMEOUT_MS = 1500, PATIENCE_S = 60 };

struct question {
    struct resolver_query query;
    bool ended;
    int result;
};

static struct loop loop;
static struct resolver *resolver;
static struct dns_server server;

static void on_answer(struct op *op)
{
    struct question *question = container_of(op, struct question, query.op);
    question->ended = true;
    question->result = op->result;
}

static void ask(struct question *question, const char *text, enum rr_type type)
{
    *question = (struct question){.query.type = type};
    op_init(&question->query.op, on_answer);
    assert_true(name_parse(span_string(text), &question->query.name));
    resolver_ask(resolver, &question->query);
    assert_false(question->ended); /* never from inside the call */
}

/* Turns until `*flag`; a machine that is merely slow is waited for. */
static void wait_for(const bool *flag)
{
    uint64_t give_up_ns = clock_mono_ns() + PATIENCE_S * NS_PER_S;
    while (!*flag) {
        assert_true(clock_mono_ns() < give_up_ns);
        assert_int_equal(loop_turn(&loop, 20 * NS_PER_MS), 0);
    }
}

/* Asks and waits. The answer is the test's. */
static struct answer *answered(const char *text, enum rr_type type, int expected)
{
    struct question question;
    ask(&question, text, type);
    wait_for(&question.ended);
    if (question.result != expected)
        fail_msg("%s: %d instead of %d", text, question.result, expected);
    return expected == 0 ? question.query.answer : NULL;
}

static void open_resolver(const struct address *servers, size_t count)
{
    static const struct io_options io = {
        .entries = 64,
        .buffers = 8,
        .buffer_size = 512,
        .optional_features = true,
    };
    struct resolver_options options = {
        .servers = servers,
        .server_count = count,
        .timeout_ms = TIMEOUT_MS,
    };
    assert_int_equal(loop_init(&loop, &io, 0), 0);
    assert_int_equal(resolver_new(&loop, &options, &resolver), 0);
}

static bool stopped;

static void on_stopped(struct op *op)
{
    stopped = true;
}

static void close_resolver(void)
{
    struct op op;
    op_init(&op, on_stopped);
    stopped = false;
    resolver_stop(resolver, &op);
    wait_for(&stopped);
    resolver = resolver_free(resolver);
    loop_fini(&loop);
}

static int setup(void **state)
{
    assert_true(dns_server_start(&server));
    open_resolver(&server.address, 1);
    return 0;
}

static int teardown(void **state)
{
    close_resolver();
    dns_server_stop(&server);
    return 0;
}

static void assert_address(const struct answer *answer, uint32_t address)
{
    assert_int_equal(answer->count, 1);
    const uint8_t *bits = answer->records[0].bits + 12;
    assert_int_equal((uint32_t)bits[0] << 24 | bits[1] << 16 | bits[2] << 8 | bits[3], address);
}

static void test_plain_answers(void **state)
{
    struct answer *answer = answered("mx.test", RR_MX, 0);
    assert_int_equal(answer->count, 2);
    assert_int_equal(answer->ttl_s, 60);
    answer_free(answer);
    answer = answered("nx.test", RR_MX, 0);
    assert_int_equal(answer->rcode, RCODE_NXDOMAIN);
    answer_free(answer);
    answer = answered("a.test", RR_A, 0);
    assert_address(answer, TRUTH);
    answer_free(answer);
    answered("servfail.test", RR_A, -ECONNREFUSED);
    answered("refused.test", RR_A, -ECONNREFUSED);
    answered("broken.test", RR_A, -EBADMSG);
}

/* RFC 7686: such a name never leaves the house. */
static void test_onion(void **state)
{
    struct answer *answer = answered("x.onion", RR_A, 0);
    assert_int_equal(answer->rcode, RCODE_NXDOMAIN);
    answer_free(answer);
    assert_int_equal(atomic_load(&server.queries), 0);
}

static void test_cut_goes_to_tcp(void **state)
{
    struct answer *answer = answered("cut.test", RR_MX, 0);
    assert_int_equal(answer->count, ANSWER_RECORDS);
    assert_int_equal(answer->left_out, 100 - ANSWER_RECORDS);
    assert_int_equal(atomic_load(&server.tcp_queries), 1);
    answer_free(answer);
}

static void test_cut_without_tcp_is_temporary(void **state)
{
    struct question question;
    ask(&question, "cutonly.test", RR_MX);
    wait_for(&question.ended);
    assert_true(question.result < 0);
}

static void test_lies_are_ignored(void **state)
{
    static const char *const names[] = {"liar.test", "stranger.test", "spoof.test"};
    for (size_t i = 0; i < countof(names); i++) {
        struct answer *answer = answered(names[i], RR_A, 0);
        assert_address(answer, TRUTH);
        answer_free(answer);
    }
}

static void test_lost_packet_is_asked_again(void **state)
{
    struct answer *answer = answered("again.test", RR_A, 0);
    assert_address(answer, TRUTH);
    assert_true(atomic_load(&server.queries) >= 2);
    answer_free(answer);
}

static void test_timeout(void **state)
{
    answered("hang.test", RR_A, -ETIMEDOUT);
}

static void test_cancel(void **state)
{
    struct question waiting, ready, later;
    ask(&waiting, "hang.test", RR_A);
    resolver_cancel(resolver, &waiting.query);
    assert_true(op_idle(&waiting.query.op));
    resolver_cancel(resolver, &waiting.query); /* idle: nothing */
    ask(&ready, "x.onion", RR_A);              /* ready at once, not dispatched */
    assert_int_equal(ready.query.op.state, OP_READY);
    resolver_cancel(resolver, &ready.query);
    ask(&later, "a.test", RR_A);
    wait_for(&later.ended);
    answer_free(later.query.answer);
    assert_false(waiting.ended || ready.ended);
    /* The teardown stops with the cancelled query still in c-ares. */
}

/* More than one channel's worth, all at once: none is lost, and the source port changes although
 * the server is never idle (an unanswered question keeps the sockets open). */
static void test_many_at_once(void **state)
{
    enum { MANY = 1500 };
    static struct question questions[MANY];
    char name[64];
    struct question unanswered;
    ask(&unanswered, "hang.test", RR_A);
    for (unsigned i = 0; i < MANY; i++) {
        snprintf(name, sizeof(name), "a-%u.test", i);
        ask(&questions[i], name, RR_A);
        if (i % 50 == 49)
            wait_for(&questions[i - 40].ended);
    }
    for (unsigned i = 0; i < MANY; i++) {
        wait_for(&questions[i].ended);
        assert_int_equal(questions[i].result, 0);
        assert_address(questions[i].query.answer, TRUTH);
        answer_free(questions[i].query.answer);
    }
    assert_true(atomic_load(&server.ports) >= 3);
    wait_for(&unanswered.ended);
    assert_int_equal(unanswered.result, -ETIMEDOUT);
}

static void test_next_server(void **state)
{
    int udp, tcp;
    struct address servers[2];
    assert_true(dns_free_port(&udp, &tcp, &servers[0])); /* nobody answers here */
    close(udp);
    close(tcp);
    assert_true(dns_server_start(&server));
    servers[1] = server.address;
    open_resolver(servers, 2);
    struct answer *answer = answered("a.test", RR_A, 0);
    assert_address(answer, TRUTH);
    answer_free(answer);
    teardown(state);
}

static void test_no_server(void **state)
{
    int udp, tcp;
    struct address address;
    assert_true(dns_free_port(&udp, &tcp, &address));
    close(udp);
    close(tcp);
    open_resolver(&address, 1);
    answered("a.test", RR_A, -ECONNREFUSED);
    close_resolver();
}

static void test_system_servers(void **state)
{
    open_resolver(NULL, 0); /* whatever the system has: it must open and close */
    close_resolver();
}

/* ---- nsd ---- */

static const char zone_text[] = "$ORIGIN ringpost.test.\n"
                                "$TTL 300\n"
                                "@ IN SOA ns hostmaster 1 3600 600 86400 120\n"
                                "@ IN NS ns\n"
                                "ns IN A 127.0.0.1\n"
                                "two IN MX 20 mx2\n"
                                "two IN MX 10 mx1\n"
                                "mx1 IN A 192.0.2.1\n"
                                "mx1 IN AAAA 2001:db8::1\n"
                                "mx2 60 IN A 192.0.2.2\n"
                                "nullmx IN MX 0 .\n"
                                "implicit IN A 192.0.2.3\n"
                                "alias IN CNAME alias2\n"
                                "alias2 IN CNAME two\n"
                                "loop IN CNAME loop2\n"
                                "loop2 IN CNAME loop\n"
                                "outside IN CNAME else.where.test.\n"
                                "inside IN MX 10 lo\n"
                                "lo IN A 127.0.0.1\n"
                                "text IN TXT \"no address\"\n"
                                "child IN NS ns.child\n"
                                "ns.child IN A 127.0.0.1\n";

static struct {
    pid_t pid;
    char folder[64];
    struct address address;
} nsd;

static FILE *create(const char *name)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", nsd.folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    return file;
}

static void write_zone(void)
{
    FILE *file = create("zone");
    fputs(zone_text, file);
    for (unsigned i = 0; i < 90; i++)
        fprintf(file, "big IN MX %u a-rather-long-host-name-%u\n", i, i);
    fclose(file);
}

static void write_configuration(void)
{
    FILE *file = create("nsd.conf");
    fprintf(file,
            "server:\n"
            "  ip-address: 127.0.0.1@%u\n"
            "  server-count: 1\n"
            "  username: \"\"\n"
            "  chroot: \"\"\n"
            "  database: \"\"\n"
            "  rrl-ratelimit: 0\n"
            "  zonesdir: \"%s\"\n"
            "  zonelistfile: \"%s/zone.list\"\n"
            "  xfrdfile: \"%s/xfrd.state\"\n"
            "  xfrdir: \"%s\"\n"
            "  pidfile: \"\"\n"
            "  logfile: \"%s/log\"\n"
            "remote-control:\n"
            "  control-enable: no\n"
            "zone:\n"
            "  name: ringpost.test\n"
            "  zonefile: zone\n",
            address_port(&nsd.address), nsd.folder, nsd.folder, nsd.folder, nsd.folder, nsd.folder);
    fclose(file);
}

static void run_nsd(void)
{
    char configuration[128];
    snprintf(configuration, sizeof(configuration), "%s/nsd.conf", nsd.folder);
    nsd.pid = fork();
    assert_true(nsd.pid >= 0);
    if (nsd.pid > 0)
        return;
    prctl(PR_SET_PDEATHSIG, SIGTERM); /* also when a test fails before its teardown */
    setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
    execlp("nsd", "nsd", "-d", "-c", configuration, (char *)NULL);
    _exit(127);
}

/* Asks until it answers. */
static void wait_for_nsd(void)
{
    uint64_t give_up_ns = clock_mono_ns() + PATIENCE_S * NS_PER_S;
    for (;;) {
        int status;
        if (waitpid(nsd.pid, &status, WNOHANG) == nsd.pid)
            fail_msg("nsd did not start (status %d): is the package nsd installed?", status);
        struct question question;
        ask(&question, "ns.ringpost.test", RR_A);
        wait_for(&question.ended);
        answer_free(question.query.answer);
        if (question.result == 0)
            return;
        assert_true(clock_mono_ns() < give_up_ns);
        usleep(20 * 1000);
    }
}

static int start_nsd(void **state)
{
    int udp, tcp;
    snprintf(nsd.folder, sizeof(nsd.folder), "/tmp/ringpost-nsd-XXXXXX");
    assert_non_null(mkdtemp(nsd.folder));
    assert_true(dns_free_port(&udp, &tcp, &nsd.address));
    write_zone();
    write_configuration();
    close(udp);
    close(tcp);
    run_nsd();
    open_resolver(&nsd.address, 1);
    wait_for_nsd();
    return 0;
}

static int stop_nsd(void **state)
{
    static const char *const files[] = {"zone", "nsd.conf", "zone.list", "xfrd.state", "log"};
    char path[128];
    close_resolver();
    kill(nsd.pid, SIGTERM);
    waitpid(nsd.pid, NULL, 0);
    for (size_t i = 0; i < countof(files); i++) {
        snprintf(path, sizeof(path), "%s/%s", nsd.folder, files[i]);
        unlink(path);
    }
    rmdir(nsd.folder);
    return 0;
}

static void test_nsd_answers(void **state)
{
    struct answer *answer = answered("two.ringpost.test", RR_MX, 0);
    assert_int_equal(answer->count, 2);
    assert_int_equal(answer->ttl_s, 300);
    answer_free(answer);

    answer = answered("alias.ringpost.test", RR_MX, 0);
    assert_int_equal(answer->count, 2);
    assert_true(span_equals(answer->name, SPAN("two.ringpost.test")));
    answer_free(answer);

    answer = answered("nullmx.ringpost.test", RR_MX, 0);
    assert_int_equal(answer->count, 1);
    assert_int_equal(answer->records[0].name.len, 0);
    answer_free(answer);

    answer = answered("nowhere.ringpost.test", RR_MX, 0);
    assert_int_equal(answer->rcode, RCODE_NXDOMAIN);
    assert_int_equal(answer->ttl_s, 120);
    answer_free(answer);

    answer = answered("text.ringpost.test", RR_MX, 0);
    assert_int_equal(answer->rcode, RCODE_NOERROR);
    assert_int_equal(answer->count, 0);
    assert_true(answer->ttl_known);
    answer_free(answer);

    answer = answered("outside.ringpost.test", RR_A, 0);
    assert_true(answer->follow);
    assert_true(span_equals(answer->name, SPAN("else.where.test")));
    answer_free(answer);

    answer = answered("big.ringpost.test", RR_MX, 0); /* over UDP it does not fit */
    assert_int_equal(answer->count, ANSWER_RECORDS);
    assert_int_equal(answer->left_out, 90 - ANSWER_RECORDS);
    answer_free(answer);

    answered("loop.ringpost.test", RR_A, -EBADMSG);
    answered("x.child.ringpost.test", RR_A, -EBADMSG); /* a referral */
    answered("other.zone.test", RR_A, -ECONNREFUSED);  /* REFUSED */
}

struct planned {
    struct plan_request request;
    bool ended;
};

static void on_plan(struct op *op)
{
    container_of(op, struct planned, request.op)->ended = true;
}

static struct plan *plan_of(struct dns *dns, const char *domain)
{
    struct planned planned = {0};
    op_init(&planned.request.op, on_plan);
    plan_find(dns, &planned.request, span_string(domain));
    wait_for(&planned.ended);
    assert_non_null(planned.request.plan);
    return planned.request.plan;
}

static void test_nsd_plans(void **state)
{
    static const struct {
        const char *domain;
        enum plan_status status;
        unsigned hosts;
    } cases[] = {
        {"two.ringpost.test", PLAN_OK, 2},
        {"Alias.ringpost.test.", PLAN_OK, 2},
        {"implicit.ringpost.test", PLAN_OK, 1},
        {"nullmx.ringpost.test", PLAN_NULL_MX, 0},
        {"nowhere.ringpost.test", PLAN_NO_DOMAIN, 0},
        {"text.ringpost.test", PLAN_NO_ADDRESS, 0},
        {"loop.ringpost.test", PLAN_TEMPORARY, 0},
        {"outside.ringpost.test", PLAN_TEMPORARY, 0}, /* its target's servers refuse us */
        {"child.ringpost.test", PLAN_TEMPORARY, 0},
        {"inside.ringpost.test", PLAN_PROHIBITED, 0},
    };
    struct network loopback;
    assert_true(network_parse(SPAN("127.0.0.0/8"), &loopback));
    struct dns *dns;
    struct dns_options options = {
        .servers = &nsd.address,
        .server_count = 1,
        .timeout_ms = TIMEOUT_MS,
        .cache_entries = 100,
        .max_ttl_ms = 3600 * 1000,
        .negative_ttl_ms = 600 * 1000,
        .hostname = SPAN("us.test"),
        .prohibited_hosts = &loopback,
        .prohibited_host_count = 1,
        .smtp_port = 25,
    };
    assert_int_equal(dns_new(&loop, &options, &dns), 0);
    for (size_t i = 0; i < countof(cases); i++) {
        struct plan *plan = plan_of(dns, cases[i].domain);
        if (plan->status != cases[i].status)
            fail_msg("%s: status %d: %s", cases[i].domain, plan->status, plan->text);
        assert_int_equal(plan->host_count, cases[i].hosts);
        plan_free(plan);
    }
    struct op op;
    op_init(&op, on_stopped);
    stopped = false;
    dns_stop(dns, &op);
    wait_for(&stopped);
    dns_free(dns);
}

#define SERVER_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define NSD_TEST(name)    cmocka_unit_test_setup_teardown(name, start_nsd, stop_nsd)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SERVER_TEST(test_plain_answers),    SERVER_TEST(test_onion),
        SERVER_TEST(test_cut_goes_to_tcp),  SERVER_TEST(test_cut_without_tcp_is_temporary),
        SERVER_TEST(test_lies_are_ignored), SERVER_TEST(test_lost_packet_is_asked_again),
        SERVER_TEST(test_timeout),          SERVER_TEST(test_cancel),
        SERVER_TEST(test_many_at_once),     cmocka_unit_test(test_next_server),
        cmocka_unit_test(test_no_server),   cmocka_unit_test(test_system_servers),
        NSD_TEST(test_nsd_answers),         NSD_TEST(test_nsd_plans),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
