/* count_sink: an SMTP server that takes everything as fast as it can and remembers who got mail.
 *
 *     count_sink PORT FILE ROWS
 *
 * Listens on 127.0.0.1. Mail is for "user<number>@...", as fill_rows writes it; FILE is mapped and
 * holds `struct tally` and then one byte per number below ROWS, which counts its messages. Whoever
 * started it maps the same file and reads along. Offers PIPELINING only: bodies come by DATA.
 *
 * For loopback and our own client: replies are small, so a send that does not fit is an error. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { INPUT_BYTES = 128 * 1024, OUTPUT_BYTES = 64 * 1024, EVENTS = 256 };

struct tally {
    uint64_t messages, duplicates, strangers, connections;
    uint64_t first_ns; /* CLOCK_MONOTONIC of the first message; whoever sets it to 0 asks again */
};

struct server {
    struct tally *tally;
    uint8_t *seen;
    uint64_t rows;
    int poll_fd, listen_fd;
};

struct session {
    int fd;
    bool in_data, has_recipient;
    uint64_t number;
    size_t in_len, out_len;
    char in[INPUT_BYTES], out[OUTPUT_BYTES];
};

static void reply(struct session *session, const char *text)
{
    size_t len = strlen(text);
    if (session->out_len + len <= sizeof session->out)
        memcpy(session->out + session->out_len, text, len);
    session->out_len += len;
}

static void count_message(struct server *server, const struct session *session)
{
    struct tally *tally = server->tally;
    if (!session->has_recipient || session->number >= server->rows) {
        __atomic_add_fetch(&tally->strangers, 1, __ATOMIC_RELAXED);
        return;
    }
    if (tally->first_ns == 0) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        tally->first_ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
    }
    uint8_t *seen = &server->seen[session->number];
    if (*seen)
        __atomic_add_fetch(&tally->duplicates, 1, __ATOMIC_RELAXED);
    else
        __atomic_add_fetch(&tally->messages, 1, __ATOMIC_RELAXED);
    *seen = (uint8_t)(*seen < UINT8_MAX ? *seen + 1 : UINT8_MAX);
}

/* `line` is a whole line. False: the session ends. */
static bool run_command(struct session *session, const char *line)
{
    static const char recipient[] = "RCPT TO:<user";
    if (strncmp(line, "EHLO", 4) == 0) {
        reply(session, "250-count.test\r\n250 PIPELINING\r\n");
    } else if (strncmp(line, recipient, sizeof recipient - 1) == 0) {
        session->number = strtoull(line + sizeof recipient - 1, NULL, 10);
        session->has_recipient = true;
        reply(session, "250 ok\r\n");
    } else if (strncmp(line, "DATA", 4) == 0) {
        session->in_data = true;
        reply(session, "354 go on\r\n");
    } else if (strncmp(line, "QUIT", 4) == 0) {
        reply(session, "221 bye\r\n");
        return false;
    } else {
        reply(session, "250 ok\r\n");
    }
    return true;
}

/* Works through what has come; keeps what is not whole yet. False: the session ends. */
static bool work(struct server *server, struct session *session)
{
    size_t at = 0;
    bool open = true;
    while (open && at < session->in_len) {
        char *from = session->in + at;
        size_t len = session->in_len - at;
        if (session->in_data) {
            char *end = memmem(from, len, "\r\n.\r\n", 5);
            if (!end) {
                at += len > 4 ? len - 4 : 0;
                break;
            }
            at += (size_t)(end - from) + 5;
            count_message(server, session);
            session->in_data = session->has_recipient = false;
            reply(session, "250 ok\r\n");
        } else {
            char *end = memchr(from, '\n', len);
            if (!end)
                break;
            *end = '\0';
            at += (size_t)(end - from) + 1;
            open = run_command(session, from);
        }
    }
    session->in_len -= at;
    memmove(session->in, session->in + at, session->in_len);
    return open && session->in_len < sizeof session->in;
}

static bool flush(struct session *session)
{
    size_t len = session->out_len;
    session->out_len = 0;
    return len <= sizeof session->out &&
           (len == 0 || send(session->fd, session->out, len, MSG_NOSIGNAL) == (ssize_t)len);
}

static void on_readable(struct server *server, struct session *session)
{
    ssize_t len = recv(session->fd, session->in + session->in_len,
                       sizeof session->in - session->in_len, MSG_DONTWAIT);
    if (len < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    bool open = len > 0;
    if (open) {
        session->in_len += (size_t)len;
        open = work(server, session);
        open = flush(session) && open;
    }
    if (!open) {
        close(session->fd);
        free(session);
    }
}

static void on_connection(struct server *server)
{
    int fd = accept4(server->listen_fd, NULL, NULL, SOCK_CLOEXEC), on = 1;
    struct session *session = fd < 0 ? NULL : malloc(sizeof *session);
    if (!session) {
        if (fd >= 0)
            close(fd);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    session->fd = fd;
    session->in_data = session->has_recipient = false;
    session->in_len = session->out_len = 0;
    server->tally->connections++;
    reply(session, "220 count.test\r\n");
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = session};
    if (!flush(session) || epoll_ctl(server->poll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
        close(fd);
        free(session);
    }
}

static bool listen_on(struct server *server, uint16_t port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    int on = 1;
    server->poll_fd = epoll_create1(EPOLL_CLOEXEC);
    server->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(server->listen_fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    return bind(server->listen_fd, (struct sockaddr *)&address, sizeof address) == 0 &&
           listen(server->listen_fd, 1024) == 0 &&
           epoll_ctl(server->poll_fd, EPOLL_CTL_ADD, server->listen_fd, &event) == 0;
}

static bool map_tally(struct server *server, const char *path)
{
    size_t size = sizeof(struct tally) + server->rows;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, (off_t)size) != 0)
        return false;
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (memory == MAP_FAILED)
        return false;
    server->tally = memory;
    server->seen = (uint8_t *)memory + sizeof(struct tally);
    return true;
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return fprintf(stderr, "usage: count_sink PORT FILE ROWS\n"), 2;
    struct server server = {.rows = strtoull(argv[3], NULL, 10)};
    if (!map_tally(&server, argv[2]) || !listen_on(&server, (uint16_t)atoi(argv[1])))
        return perror("count_sink"), 1;
    for (;;) {
        struct epoll_event events[EVENTS];
        int count = epoll_wait(server.poll_fd, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr)
                on_readable(&server, events[i].data.ptr);
            else
                on_connection(&server);
        }
    }
}
