/* idle: opens connections, takes each to where it is to wait, and tells what they cost in memory.
 *
 *     banner  greeted, nothing said          mail   in a transaction, MAIL and RCPT answered
 *     ehlo    said EHLO                      data   in the middle of a message
 *     tls     STARTTLS and EHLO
 *
 * Memory is what has grown between before the first and after the last connection, per connection,
 * by part. That of the server process is exact; the kernel's parts are the whole machine's, so both
 * ends of each connection are in them, and whatever else went on. One JSON object when all wait;
 * then it holds them for --hold seconds. */
#include "bench/arguments.h"
#include "bench/program.h"
#include "bench/replies.h"
#include "core/clock.h"
#include "core/conn.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { CONNECTING = 256, DEADLINE_S = 86400, SETTLE_MS = 500, STEPS = 6 };

static const char ehlo[] = "EHLO idle.test\r\n";
static const char mail[] = "MAIL FROM:<sender@source.test>\r\n";
static const char rcpt[] = "RCPT TO:<somebody@destination.test>\r\n";
static const char data[] = "DATA\r\n";
static const char starttls[] = "STARTTLS\r\n";
/* The beginning of a message that never goes on. */
static const char text[] = "Subject: unfinished\r\n\r\nThis is not all\r\n";

/* What to say at each reply; what follows the last one waits for no answer. */
static const struct kind {
    const char *name;
    const char *says[STEPS];
    unsigned replies;
    const char *then;
} kinds[] = {
    {"banner", {0}, 1, NULL},
    {"ehlo", {ehlo}, 2, NULL},
    {"mail", {ehlo, mail, rcpt}, 4, NULL},
    {"data", {ehlo, mail, rcpt, data}, 5, text},
    {"tls", {ehlo, starttls, ehlo}, 4, NULL},
};

/* In KB, of the machine or of the process. */
struct memory {
    uint64_t anonymous, mapped, slab, socket_buffers, page_tables;
};

struct parked {
    struct conn conn;
    struct idle *idle;
    struct reply_reader reader;
    unsigned replies;
    bool arrived, lost;
};

struct idle {
    struct loop loop;
    const struct kind *kind;
    struct address to;
    struct tls_context *tls;
    struct parked *parked;
    uint64_t count, started, arrived, lost, hold_s, pid;
    struct memory before;
    struct timer timer;
    bool reported;
};

/* ---- memory ---- */

/* The number behind `name` in a file of "name: number" lines; 0 if there is none. */
static uint64_t field_of(const char *path, const char *name)
{
    char line[256];
    uint64_t value = 0;
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, name, strlen(name)) == 0)
            value = strtoull(line + strlen(name), NULL, 10);
    if (file)
        fclose(file);
    return value;
}

static uint64_t socket_pages(void)
{
    char line[256];
    unsigned long long pages = 0;
    FILE *file = fopen("/proc/net/sockstat", "r");
    while (file && fgets(line, sizeof line, file)) {
        const char *mem = strncmp(line, "TCP:", 4) == 0 ? strstr(line, " mem ") : NULL;
        if (mem)
            pages = strtoull(mem + 5, NULL, 10);
    }
    if (file)
        fclose(file);
    return pages;
}

static struct memory look(const struct idle *idle)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%" PRIu64 "/status", idle->pid);
    return (struct memory){
        .anonymous = idle->pid ? field_of(path, "RssAnon:") : 0,
        .mapped = idle->pid ? field_of(path, "RssFile:") : 0,
        .slab = field_of("/proc/meminfo", "Slab:"),
        .socket_buffers = socket_pages() * 4,
        .page_tables = field_of("/proc/meminfo", "PageTables:"),
    };
}

static void print_part(const struct idle *idle, const char *name, uint64_t before, uint64_t after)
{
    double kb = (double)(int64_t)(after - before);
    printf(",\"%s\":%.3f", name, idle->arrived ? kb / (double)idle->arrived : 0);
}

static void report(const struct idle *idle)
{
    const struct memory *before = &idle->before, after = look(idle);
    printf("{\"program\":\"idle\",\"kind\":\"%s\",\"connections\":%" PRIu64 ",\"lost\":%" PRIu64,
           idle->kind->name, idle->arrived, idle->lost);
    print_part(idle, "process_anonymous_kb", before->anonymous, after.anonymous);
    print_part(idle, "process_mapped_kb", before->mapped, after.mapped);
    print_part(idle, "kernel_slab_kb", before->slab, after.slab);
    print_part(idle, "kernel_socket_buffers_kb", before->socket_buffers, after.socket_buffers);
    print_part(idle, "page_tables_kb", before->page_tables, after.page_tables);
    printf("}\n");
    fflush(stdout);
}

/* ---- connections ---- */

static void advance(struct conn *conn);

static void start_more(struct idle *idle)
{
    while (idle->started < idle->count && idle->started - idle->arrived - idle->lost < CONNECTING) {
        struct parked *parked = &idle->parked[idle->started++];
        parked->idle = idle;
        conn_connect(&parked->conn, &idle->loop, &idle->to, NULL, advance,
                     idle->loop.now_ns + DEADLINE_S * NS_PER_S);
    }
    if (idle->arrived + idle->lost == idle->count && !idle->reported)
        loop_arm(&idle->loop, &idle->timer, SETTLE_MS * NS_PER_MS);
}

static void say(struct parked *parked, const char *words)
{
    struct iovec iov = {.iov_base = (void *)(uintptr_t)words, .iov_len = strlen(words)};
    if (!conn_send(&parked->conn, &iov, 1))
        conn_abort(&parked->conn);
}

static void arrive(struct parked *parked)
{
    parked->arrived = true;
    parked->idle->arrived++;
    start_more(parked->idle);
}

static void start_tls(struct parked *parked)
{
    const struct tls_client_options options = {.name = SPAN("bench.test"), .insecure = true};
    struct tls *tls = tls_new_client(parked->idle->tls, &options);
    if (!tls ||
        !conn_start_tls(&parked->conn, tls, parked->idle->loop.now_ns + DEADLINE_S * NS_PER_S))
        conn_abort(&parked->conn);
}

static void judge(struct parked *parked, int code)
{
    const struct kind *kind = parked->idle->kind;
    const char *said = parked->replies ? kind->says[parked->replies - 1] : NULL;
    parked->replies++;
    if (code >= 400)
        conn_close(&parked->conn);
    else if (said == starttls)
        start_tls(parked);
    else if (parked->replies < kind->replies)
        say(parked, kind->says[parked->replies - 1]);
    else if (kind->then)
        say(parked, kind->then); /* arrives when it is sent */
    else
        arrive(parked);
}

static void lose(struct parked *parked)
{
    parked->lost = true;
    parked->idle->lost += !parked->arrived;
    start_more(parked->idle);
}

static void advance(struct conn *conn)
{
    struct parked *parked = container_of(conn, struct parked, conn);
    unsigned events = conn_events(conn);
    struct span input;
    if (events & CONN_CLOSED) {
        lose(parked);
        return;
    }
    if (events & (CONN_ERROR | CONN_EOF | CONN_TIMEOUT)) {
        conn_abort(conn);
        return;
    }
    if (conn_sending(conn) || conn_handshaking(conn))
        return;
    if (events & CONN_SECURED)
        say(parked, parked->idle->kind->says[parked->replies - 1]);
    while (!conn_sending(conn) && !conn_handshaking(conn) && (input = conn_input(conn)).len) {
        size_t len = input.len;
        int code = reply_read(&parked->reader, &input);
        conn_consume(conn, len - input.len);
        if (code > 0)
            judge(parked, code);
    }
    if (parked->idle->kind->then && parked->replies == parked->idle->kind->replies &&
        (events & CONN_SENT) && !parked->arrived)
        arrive(parked);
}

/* First the report, then the end. */
static void on_timer(struct op *op)
{
    struct idle *idle = container_of(op, struct idle, timer.op);
    if (idle->reported) {
        loop_stop(&idle->loop);
        return;
    }
    idle->reported = true;
    report(idle);
    loop_arm(&idle->loop, &idle->timer, idle->hold_s * NS_PER_S);
}

static const struct kind *kind_named(const char *name)
{
    for (unsigned i = 0; i < countof(kinds); i++)
        if (strcmp(kinds[i].name, name) == 0)
            return &kinds[i];
    arguments_wrong("--kind: banner, ehlo, mail, data or tls");
}

int main(int argc, char **argv)
{
    static struct idle idle = {.count = 1000};
    const char *to = NULL, *kind = "ehlo", *roots = "/etc/ssl/certs/ca-certificates.crt";
    const struct argument table[] = {
        {"to", ARGUMENT_TEXT, &to, "address and port of the server"},
        {"connections", ARGUMENT_COUNT, &idle.count, "how many (1000)"},
        {"kind", ARGUMENT_TEXT, &kind, "banner, ehlo (default), mail, data, tls"},
        {"pid", ARGUMENT_COUNT, &idle.pid, "of the server, for its memory"},
        {"hold", ARGUMENT_COUNT, &idle.hold_s, "seconds after the report (0)"},
        {"roots", ARGUMENT_TEXT, &roots, "a PEM file for TLS; any certificate is taken anyway"},
    };
    arguments_read("idle: parks connections and tells what they cost in memory.", table,
                   countof(table), argc, argv);
    idle.to = arguments_address(to);
    idle.kind = kind_named(kind);
    if (idle.count == 0 || idle.count > 1 << 20)
        arguments_wrong("--connections: 1 to 1048576");
    char error[TLS_ERROR];
    if (strcmp(kind, "tls") == 0 && tls_context_client(roots, &idle.tls, error) != 0)
        arguments_wrong("--roots: %s", error);
    idle.parked = calloc(idle.count, sizeof *idle.parked);
    check(idle.parked);
    program_loop_init(&idle.loop, 1024, 1024);
    program_stop_by_signal(&idle.loop);
    timer_init(&idle.timer, on_timer);
    idle.before = look(&idle);
    start_more(&idle);
    int result = loop_run(&idle.loop);
    program_end(result || idle.lost ? 1 : 0);
}
