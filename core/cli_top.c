/* top: a live screen made of what the daemon answers to `status`, `queue summary`, `domain errors`
 * and `lane list`. The screen is composed as lines in memory, and only lines that differ from what
 * stands there are written again. */
#include "core/cli.h"
#include "core/json.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum {
    COLUMNS_MOST = 200,
    LINES_MOST = 60,
    COLUMNS_DEFAULT = 80,
    LINES_DEFAULT = 24,
    DOMAINS_MOST = 40,
    LANES_MOST = 20,
    NAME_SIZE = 64,
    TEXT_SIZE = 200,
    INTERVAL_MS = 2000,
    HEAD_LINES = 5,
};

struct totals {
    uint64_t accepted, delivered, deferred, bounced, expired;
    uint64_t rows, queues, fresh, in, out, workers, started_ms, suspensions;
    char state[NAME_SIZE], version[NAME_SIZE], alarm[TEXT_SIZE];
};

struct top_domain {
    char name[NAME_SIZE], error[TEXT_SIZE];
    uint64_t rows, due, next_due_ms, error_at_ms;
};

struct top_lane {
    char name[NAME_SIZE], state[NAME_SIZE], failure[TEXT_SIZE];
    uint64_t until_ms, failures;
};

struct top {
    struct cli *cli;
    struct totals now, before;
    uint64_t now_ms, before_ms;
    struct top_domain domains[DOMAINS_MOST];
    struct top_lane lanes[LANES_MOST];
    unsigned domain_count, lane_count;
    unsigned columns, lines;
    bool plain; /* printed once, without escapes */
    char shown[LINES_MOST][COLUMNS_MOST + 1], wanted[LINES_MOST][COLUMNS_MOST + 1];
    unsigned line;
};

static volatile sig_atomic_t ended; /* a signal asked for the end */

static void on_signal(int number)
{
    ended = number;
}

static uint64_t wall_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- reading answers ---- */

struct member {
    const char *name;
    uint64_t *number; /* one of both */
    char *text;
    size_t size;
};

static void take_number(struct span value, uint64_t *ret_number)
{
    uint64_t number = 0;
    for (size_t i = 0; i < value.len && value.data[i] >= '0' && value.data[i] <= '9'; i++)
        number = number * 10 + (uint64_t)(value.data[i] - '0');
    *ret_number = number;
}

static void take_text(struct span value, char *to, size_t size)
{
    char scratch[2048];
    struct sink sink, out;
    struct span text;
    sink_init(&sink, scratch, sizeof scratch);
    if (!json_read_string(value, &sink, &text))
        return;
    sink_init(&out, to, size - 1);
    sink_printable(&out, text, size - 1);
    to[out.len] = '\0';
}

static void read_object(struct span object, const struct member *members, unsigned count)
{
    struct json_walk walk = json_walk_over(object);
    struct span key, value;
    while (json_next(&walk, &key, &value))
        for (unsigned i = 0; i < count; i++) {
            if (!span_equals(key, span_string(members[i].name)))
                continue;
            if (members[i].number)
                take_number(value, members[i].number);
            else
                take_text(value, members[i].text, members[i].size);
        }
}

#define NUMBER(name, field)                                                                        \
    {                                                                                              \
        name, &(field), NULL, 0                                                                    \
    }
#define STRING(name, field)                                                                        \
    {                                                                                              \
        name, NULL, (field), sizeof(field)                                                         \
    }

static bool on_status(void *context, struct span object)
{
    struct totals *totals = &((struct top *)context)->now;
    const struct member members[] = {
        NUMBER("accepted", totals->accepted),       NUMBER("delivered", totals->delivered),
        NUMBER("deferred", totals->deferred),       NUMBER("bounced", totals->bounced),
        NUMBER("expired", totals->expired),         NUMBER("rows", totals->rows),
        NUMBER("queues", totals->queues),           NUMBER("fresh", totals->fresh),
        NUMBER("connections_in", totals->in),       NUMBER("connections_out", totals->out),
        NUMBER("workers", totals->workers),         NUMBER("started_ms", totals->started_ms),
        NUMBER("suspensions", totals->suspensions), STRING("state", totals->state),
        STRING("version", totals->version),         STRING("alarm", totals->alarm),
    };
    read_object(object, members, countof(members));
    return true;
}

static bool on_domain(void *context, struct span object)
{
    struct top *top = context;
    if (top->domain_count == DOMAINS_MOST)
        return true;
    struct top_domain *domain = &top->domains[top->domain_count++];
    *domain = (struct top_domain){0};
    const struct member members[] = {STRING("name", domain->name), NUMBER("rows", domain->rows),
                                     NUMBER("due", domain->due),
                                     NUMBER("next_due_ms", domain->next_due_ms)};
    read_object(object, members, countof(members));
    return true;
}

static bool on_error(void *context, struct span object)
{
    struct top *top = context;
    struct top_domain error = {0};
    const struct member members[] = {STRING("domain", error.name), STRING("error", error.error),
                                     NUMBER("at_ms", error.error_at_ms)};
    read_object(object, members, countof(members));
    for (unsigned i = 0; i < top->domain_count; i++) {
        struct top_domain *domain = &top->domains[i];
        if (strcmp(domain->name, error.name) != 0 || domain->error_at_ms > error.error_at_ms)
            continue;
        memcpy(domain->error, error.error, sizeof domain->error);
        domain->error_at_ms = error.error_at_ms;
    }
    return true;
}

static bool on_lane(void *context, struct span object)
{
    struct top *top = context;
    struct top_lane lane = {0};
    const struct member members[] = {
        STRING("lane", lane.name), STRING("state", lane.state), STRING("failure", lane.failure),
        NUMBER("until_ms", lane.until_ms), NUMBER("failures", lane.failures)};
    read_object(object, members, countof(members));
    if (strcmp(lane.state, "ok") == 0)
        return true;
    for (unsigned i = 0; i < top->lane_count; i++) /* the same lane in another worker */
        if (strcmp(top->lanes[i].name, lane.name) == 0)
            return true;
    if (top->lane_count < LANES_MOST)
        top->lanes[top->lane_count++] = lane;
    return true;
}

static int ask(struct top *top, char *const *words, int count, cli_on_record *on_record)
{
    const struct command *command;
    struct values values = {0};
    char error[200];
    struct sink sink;
    sink_init(&sink, error, sizeof error);
    check(command_parse(count, words, &command, &values, &sink)); /* they are ours */
    return cli_call(top->cli, command, &values, on_record, top);
}

static int look(struct top *top)
{
    static char status[] = "status", queue[] = "queue", summary[] = "summary", domain[] = "domain",
                errors[] = "errors", lane[] = "lane", list[] = "list";
    top->before = top->now;
    top->before_ms = top->now_ms;
    top->now = (struct totals){0};
    top->domain_count = top->lane_count = 0;
    int result = ask(top, (char *[]){status}, 1, on_status);
    top->now_ms = wall_ms();
    if (result == EXIT_GOOD)
        result = ask(top, (char *[]){queue, summary}, 2, on_domain);
    if (result == EXIT_GOOD)
        result = ask(top, (char *[]){domain, errors}, 2, on_error);
    if (result == EXIT_GOOD)
        result = ask(top, (char *[]){lane, list}, 2, on_lane);
    return result;
}

/* ---- composing ---- */

/* The next line of the screen, cut to its width. */
static void __attribute__((format(printf, 2, 3))) line(struct top *top, const char *format, ...)
{
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (top->line < top->lines)
        snprintf(top->wanted[top->line++], top->columns + 1, "%s", text);
}

static double per_second(const struct top *top, uint64_t now, uint64_t before)
{
    uint64_t ms = top->now_ms - top->before_ms;
    return top->before_ms && ms && now >= before ? (double)(now - before) * 1000 / (double)ms : 0;
}

/* "5s", "3m", "2h", "4d" */
static const char *span_text(uint64_t ms, char text[16])
{
    if (ms < 120000)
        snprintf(text, 16, "%us", (unsigned)(ms / 1000));
    else if (ms < 7200000)
        snprintf(text, 16, "%um", (unsigned)(ms / 60000));
    else if (ms < 172800000)
        snprintf(text, 16, "%uh", (unsigned)(ms / 3600000));
    else
        snprintf(text, 16, "%llud", (unsigned long long)(ms / 86400000));
    return text;
}

static const char *until_text(const struct top *top, uint64_t at_ms, char text[16])
{
    if (at_ms == 0)
        return "-";
    return at_ms > top->now_ms ? span_text(at_ms - top->now_ms, text) : "now";
}

static void compose_head(struct top *top)
{
    const struct totals *now = &top->now, *before = &top->before;
    char up[16], clock[16];
    time_t seconds = (time_t)(top->now_ms / 1000);
    struct tm local;
    localtime_r(&seconds, &local);
    strftime(clock, sizeof clock, "%H:%M:%S", &local);
    line(top, "ringpost %s  %s  up %s  %llu workers  %s%s%s", now->version, now->state,
         span_text(top->now_ms - now->started_ms, up), (unsigned long long)now->workers, clock,
         now->alarm[0] ? "  ALARM: " : "", now->alarm);
    line(top, "in    %9.1f/s   %12llu accepted   %6llu connections",
         per_second(top, now->accepted, before->accepted), (unsigned long long)now->accepted,
         (unsigned long long)now->in);
    line(top, "out   %9.1f/s   %12llu delivered  %6llu connections",
         per_second(top, now->delivered, before->delivered), (unsigned long long)now->delivered,
         (unsigned long long)now->out);
    line(top, "late  %9.1f/s deferred %8.1f/s bounced   %llu expired   %llu suspensions",
         per_second(top, now->deferred, before->deferred),
         per_second(top, now->bounced, before->bounced), (unsigned long long)now->expired,
         (unsigned long long)now->suspensions);
    line(top, "queue %11llu waiting in %llu queues, %llu of them new",
         (unsigned long long)now->rows, (unsigned long long)now->queues,
         (unsigned long long)now->fresh);
}

static void compose_domains(struct top *top, unsigned count)
{
    char next[16];
    line(top, "%s", "");
    line(top, "%-26s %9s %5s  %s", "DOMAIN", "WAITING", "NEXT", "LAST ERROR");
    for (unsigned i = 0; i < count; i++) {
        const struct top_domain *domain = &top->domains[i];
        if (i < top->domain_count && domain->rows)
            line(top, "%-26.26s %9llu %5s  %s", domain->name, (unsigned long long)domain->rows,
                 domain->due ? "now" : until_text(top, domain->next_due_ms, next), domain->error);
        else
            line(top, "%s", "");
    }
}

/* The name of the host is the lane's, or nearly. */
static const char *behind_peer(const char *failure)
{
    const char *text = strstr(failure, "): ");
    return text ? text + 3 : failure;
}

static void compose_lanes(struct top *top)
{
    char until[16];
    line(top, "%-28s %-9s %5s  %s", "LANES IN BACKOFF", "STATE", "UNTIL", "LAST FAILURE");
    for (unsigned i = 0; i < top->lane_count; i++) {
        const struct top_lane *lane = &top->lanes[i];
        line(top, "%-28.28s %-9s %5s  %s", lane->name, lane->state,
             until_text(top, lane->until_ms, until), behind_peer(lane->failure));
    }
    if (top->lane_count == 0)
        line(top, "none");
}

static void compose(struct top *top)
{
    memset(top->wanted, 0, sizeof top->wanted);
    top->line = 0;
    compose_head(top);
    unsigned left = top->lines > HEAD_LINES + 4 ? top->lines - HEAD_LINES - 4 : 0;
    unsigned lanes = top->lane_count ? top->lane_count : 1;
    if (lanes > left / 3)
        lanes = left / 3;
    unsigned domains = left - lanes;
    compose_domains(top, domains < DOMAINS_MOST ? domains : DOMAINS_MOST);
    line(top, "%s", "");
    compose_lanes(top);
}

/* ---- showing ---- */

static void measure(struct top *top)
{
    struct winsize size = {0};
    bool known = !top->plain && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
    unsigned columns = known ? size.ws_col : COLUMNS_DEFAULT;
    unsigned lines = known ? size.ws_row : LINES_DEFAULT;
    columns = columns < COLUMNS_MOST ? columns : COLUMNS_MOST;
    lines = lines < LINES_MOST ? lines : LINES_MOST;
    if (columns == top->columns && lines == top->lines)
        return;
    top->columns = columns;
    top->lines = lines;
    memset(top->shown, 0xff, sizeof top->shown); /* nothing of what stands there is known */
    if (!top->plain)
        fputs("\033[2J", stdout);
}

static void show(struct top *top)
{
    for (unsigned i = 0; i < top->lines; i++) {
        if (top->plain && i < top->line)
            printf("%s\n", top->wanted[i]);
        if (top->plain || strcmp(top->shown[i], top->wanted[i]) == 0)
            continue;
        printf("\033[%u;1H%s\033[K", i + 1, top->wanted[i]);
        memcpy(top->shown[i], top->wanted[i], sizeof top->shown[i]);
    }
    fflush(stdout);
}

/* False: it is to end. */
static bool rest(uint64_t ms)
{
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    char key;
    int ready = poll(&input, 1, (int)ms);
    if (ended)
        return false;
    if (ready <= 0 || read(STDIN_FILENO, &key, 1) != 1)
        return ready <= 0;
    return key != 'q' && key != 'Q' && key != 3;
}

static int run_once(struct top *top, uint64_t interval_ms)
{
    struct timespec pause = {(time_t)(interval_ms / 1000), (long)(interval_ms % 1000) * 1000000};
    int status = look(top);
    if (status == EXIT_GOOD) {
        nanosleep(&pause, NULL);
        status = look(top);
    }
    if (status != EXIT_GOOD)
        return status;
    measure(top);
    compose(top);
    show(top);
    return EXIT_GOOD;
}

static int run_live(struct top *top, uint64_t interval_ms)
{
    struct termios before, raw;
    bool keys = tcgetattr(STDIN_FILENO, &before) == 0;
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    if (keys) {
        raw = before;
        raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
        tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    }
    fputs("\033[?1049h\033[?25l", stdout); /* another screen, no cursor */
    int status;
    while ((status = look(top)) == EXIT_GOOD) {
        measure(top);
        compose(top);
        show(top);
        if (!rest(interval_ms))
            break;
    }
    fputs("\033[?25h\033[?1049l", stdout);
    fflush(stdout);
    if (keys)
        tcsetattr(STDIN_FILENO, TCSANOW, &before);
    return status;
}

int cli_top(struct cli *cli)
{
    struct top *top = calloc(1, sizeof *top);
    if (!top) {
        cli_say("no memory");
        return EXIT_BAD;
    }
    uint64_t interval_ms = values_duration_ms(cli->command, &cli->values, "interval", INTERVAL_MS);
    top->cli = cli;
    top->plain = values_flag(cli->command, &cli->values, "once") || !isatty(STDOUT_FILENO);
    setvbuf(stdout, NULL, _IOFBF, 0); /* a screen in one write */
    int status = top->plain ? run_once(top, interval_ms) : run_live(top, interval_ms);
    free(top);
    return status;
}
