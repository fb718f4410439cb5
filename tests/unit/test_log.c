#include "core/check.h"
#include "core/clock.h"
#include "core/log.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* This program's clock stands still until a test moves it. */
static uint64_t now_ns = 5 * NS_PER_S;

uint64_t clock_mono_ns(void)
{
    return now_ns;
}

uint64_t clock_wall_ms(void)
{
    return 0;
}

struct capture {
    int saved, reader, writer;
    char text[1 << 17];
    size_t len;
};

static struct capture *capture_begin(int reader, int writer)
{
    struct capture *capture = calloc(1, sizeof *capture);
    capture->reader = reader;
    fcntl(reader, F_SETFL, O_NONBLOCK);
    capture->saved = dup(STDERR_FILENO);
    dup2(writer, STDERR_FILENO);
    close(writer);
    return capture;
}

static struct capture *capture_pipe(void)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    fcntl(ends[1], F_SETPIPE_SZ, 4096);
    struct capture *capture = capture_begin(ends[0], ends[1]);
    now_ns += 10 * NS_PER_S;
    log_tick(); /* sums of an earlier test go nowhere that counts */
    log_open(LOG_INFO);
    return capture;
}

/* What has come since the last call. */
static const char *capture_read(struct capture *capture)
{
    ssize_t got;
    capture->len = 0;
    while ((got = read(capture->reader, capture->text + capture->len,
                       sizeof capture->text - 1 - capture->len)) > 0)
        capture->len += (size_t)got;
    capture->text[capture->len] = '\0';
    return capture->text;
}

static void capture_end(struct capture *capture)
{
    dup2(capture->saved, STDERR_FILENO);
    close(capture->saved);
    close(capture->reader);
    free(capture);
    log_open(LOG_INFO);
}

static const char *line(const char *head, const char *text)
{
    static char expected[2048];
    snprintf(expected, sizeof expected, "%s ringpostd[%d] w7: %s\n", head, (int)getpid(), text);
    return expected;
}

static void test_form(void **state)
{
    struct capture *capture = capture_pipe();
    log_error("%s failed: %d", "this", 5);
    assert_string_equal(capture_read(capture), line("error", "this failed: 5"));
    log_warning("careful");
    assert_string_equal(capture_read(capture), line("warning", "careful"));
    log_notice("it is so");
    assert_string_equal(capture_read(capture), line("notice", "it is so"));
    log_info("well");
    assert_string_equal(capture_read(capture), line("info", "well"));
    prctl(PR_SET_NAME, "ringpostd");
    log_info("from the first thread");
    prctl(PR_SET_NAME, "w7");
    char expected[100];
    snprintf(expected, sizeof expected, "info ringpostd[%d]: from the first thread\n",
             (int)getpid());
    assert_string_equal(capture_read(capture), expected);
    capture_end(capture);
}

static void test_levels(void **state)
{
    struct capture *capture = capture_pipe();
    log_debug("not yet");
    assert_string_equal(capture_read(capture), "");
    log_set_level(LOG_DEBUG);
    log_debug("now");
    assert_string_equal(capture_read(capture), line("debug", "now"));
    log_set_level(LOG_ERROR);
    log_warning("no more");
    assert_string_equal(capture_read(capture), "");
    capture_end(capture);
}

/* No peer writes to the operator's terminal, nor a second line into the log. */
static void test_cleaned(void **state)
{
    struct capture *capture = capture_pipe();
    log_info("a%sb", "\x1b[31m\r\n\t\x7f\xc2\x9b");
    assert_string_equal(capture_read(capture), line("info", "a?[31m??????b"));
    capture_end(capture);
}

static void test_long_line(void **state)
{
    struct capture *capture = capture_pipe();
    char text[5000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    log_info("%s", text);
    capture_read(capture);
    assert_int_equal(capture->len, LOG_LINE);
    assert_string_equal(capture->text + LOG_LINE - 5, "x...\n");
    capture_end(capture);
}

static void say_again(unsigned number)
{
    log_info("peer %u is odd", number);
}

static void test_repeats(void **state)
{
    struct capture *capture = capture_pipe();
    for (unsigned i = 0; i < 10; i++)
        say_again(i);
    capture_read(capture);
    assert_non_null(strstr(capture->text, "peer 9 is odd"));
    for (unsigned i = 10; i < 1000; i++)
        say_again(i);
    assert_string_equal(capture_read(capture), "");
    log_info("another message is not held back");
    assert_string_equal(capture_read(capture), line("info", "another message is not held back"));
    log_tick(); /* the second is not over */
    assert_string_equal(capture_read(capture), "");
    now_ns += NS_PER_S;
    log_tick();
    assert_string_equal(capture_read(capture), line("info", "990 more like this: peer 999 is odd"));
    log_tick();
    assert_string_equal(capture_read(capture), "");

    /* the next second begins with the next line, which also brings the sum */
    for (unsigned i = 0; i < 12; i++)
        say_again(i);
    capture_read(capture);
    now_ns += NS_PER_S;
    say_again(77);
    char expected[4096];
    snprintf(expected, sizeof expected, "%s", line("info", "2 more like this: peer 11 is odd"));
    strcat(expected, line("info", "peer 77 is odd"));
    assert_string_equal(capture_read(capture), expected);
    capture_end(capture);
}

/* Formats at addresses of their own. */
static char formats[80][16];

static void test_many_formats(void **state)
{
    struct capture *capture = capture_pipe();
    for (unsigned i = 0; i < 20; i++)
        say_again(i);
    capture_read(capture);
    for (size_t i = 0; i < countof(formats); i++) {
        now_ns++;
        snprintf(formats[i], sizeof formats[i], "format %zu", i);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#pragma GCC diagnostic ignored "-Wformat-security"
        log_write(LOG_INFO, formats[i]);
#pragma GCC diagnostic pop
        capture->len = 0;
        capture_read(capture);
        if (strstr(capture->text, "10 more like this: peer 19 is odd"))
            break;
    }
    /* its slot was needed for another format: the sum came before it went */
    assert_non_null(strstr(capture->text, "10 more like this: peer 19 is odd"));
    capture_end(capture);
}

/* A pipe that nobody reads: nothing blocks, what is lost is counted and said later. */
static void test_full_pipe(void **state)
{
    struct capture *capture = capture_pipe();
    char text[901];
    memset(text, 'x', 900);
    text[900] = '\0';
    uint64_t before = log_dropped();
    errno = EXDEV;
    for (unsigned i = 0; i < 9; i++)
        log_info("%s", text);
    assert_int_equal(errno, EXDEV); /* a line about an error does not change it */
    uint64_t lost = log_dropped() - before;
    assert_true(lost >= 4 && lost < 9);
    capture_read(capture);
    log_info("room again");
    char expected[4096], said[100];
    snprintf(said, sizeof said, "%d lines before this one were lost: the log was full", (int)lost);
    snprintf(expected, sizeof expected, "%s", line("warning", said));
    strcat(expected, line("info", "room again"));
    assert_string_equal(capture_read(capture), expected);
    assert_int_equal(log_dropped() - before, lost);
    /* and the pipe's other users are as they were: our end is another open file */
    assert_int_equal(fcntl(STDERR_FILENO, F_GETFL) & O_NONBLOCK, 0);
    capture_end(capture);
}

static void test_closed_pipe(void **state)
{
    struct capture *capture = capture_pipe();
    uint64_t before = log_dropped();
    close(capture->reader);
    log_info("to nobody");
    assert_int_equal(log_dropped() - before, 1);
    capture->reader = dup(capture->saved);
    capture_end(capture);
    log_set_level(LOG_ERROR);
}

/* The journal: a socket, named by device and inode in JOURNAL_STREAM. */
static void test_journal(void **state)
{
    int ends[2];
    struct stat status;
    char name[64];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    struct capture *capture = capture_begin(ends[0], ends[1]);
    fstat(STDERR_FILENO, &status);
    snprintf(name, sizeof name, "%ju:%ju", (uintmax_t)status.st_dev, (uintmax_t)status.st_ino);
    setenv("JOURNAL_STREAM", name, 1);
    now_ns += 10 * NS_PER_S;
    log_tick();
    capture_read(capture);
    log_open(LOG_DEBUG);
    log_error("x");
    capture_read(capture);
    const char *at = strstr(capture->text, "<3>error"); /* behind the sum of the closed pipe */
    assert_non_null(at);
    assert_string_equal(at, line("<3>error", "x"));
    log_debug("y");
    assert_string_equal(capture_read(capture), line("<7>debug", "y"));

    uint64_t before = log_dropped(); /* a journal that does not read does not stop us */
    for (unsigned i = 0; i < 1000000 && log_dropped() == before; i++) {
        now_ns += NS_PER_S;
        log_info("filling up");
    }
    assert_true(log_dropped() > before);
    capture_read(capture);
    setenv("JOURNAL_STREAM", "1:1", 1); /* inherited from a unit, but redirected since */
    log_open(LOG_DEBUG);
    log_debug("z");
    assert_null(strchr(capture_read(capture), '<'));
    unsetenv("JOURNAL_STREAM");
    capture_end(capture);
}

static void test_file(void **state)
{
    char path[] = "/tmp/ringpost-log-XXXXXX";
    int fd = mkstemp(path);
    struct capture *capture = capture_begin(open(path, O_RDONLY), fd);
    log_open(LOG_INFO);
    capture_read(capture);
    log_info("first");
    dprintf(STDERR_FILENO, "somebody else\n");
    log_info("second");
    capture_read(capture);
    const char *first = strstr(capture->text, ": first\n");
    assert_non_null(first);
    assert_non_null(strstr(first, ": first\nsomebody else\n"));
    assert_non_null(strstr(first, ": second\n"));
    capture_end(capture);
    unlink(path);
}

static size_t read_all(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY);
    ssize_t got = fd < 0 ? 0 : read(fd, text, size - 1);
    if (fd >= 0)
        close(fd);
    text[got] = '\0';
    return (size_t)got;
}

/* [log] file, moved away and opened again. */
static void test_own_file(void **state)
{
    char path[] = "/tmp/ringpost-log-XXXXXX", moved[64], text[4096];
    close(mkstemp(path));
    snprintf(moved, sizeof moved, "%s.1", path);
    struct capture *capture = capture_pipe();
    assert_int_equal(log_use_file(path), 0);
    log_info("to the file\x1b");
    assert_int_equal(rename(path, moved), 0);
    log_info("still to the old one");
    assert_int_equal(log_use_file(path), 0);
    log_info("to the new one");
    assert_true(log_use_file("/nonexistent/log") < 0);
    log_info("nothing has changed");
    assert_int_equal(log_use_file(""), 0);
    log_info("to standard error");
    assert_non_null(strstr(capture_read(capture), ": to standard error\n"));
    assert_null(strstr(capture->text, "file"));
    read_all(moved, text, sizeof text);
    assert_int_equal(text[10], 'T'); /* 2026-11-24T... */
    assert_non_null(strstr(text, ": to the file?\n"));
    assert_non_null(strstr(text, ": still to the old one\n"));
    read_all(path, text, sizeof text);
    assert_non_null(strstr(text, ": to the new one\n"));
    assert_non_null(strstr(text, ": nothing has changed\n"));
    capture_end(capture);
    unlink(path);
    unlink(moved);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_NAME, "w7");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_form),      cmocka_unit_test(test_levels),
        cmocka_unit_test(test_cleaned),   cmocka_unit_test(test_long_line),
        cmocka_unit_test(test_repeats),   cmocka_unit_test(test_many_formats),
        cmocka_unit_test(test_full_pipe), cmocka_unit_test(test_closed_pipe),
        cmocka_unit_test(test_journal),   cmocka_unit_test(test_file),
        cmocka_unit_test(test_own_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
