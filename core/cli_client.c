/* The client's side of core/control_frame.h, with a blocking socket: one call, then the end. */
#include "core/cli.h"
#include "core/config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#ifndef RINGPOST_CONFIG_FILE
#define RINGPOST_CONFIG_FILE "/etc/ringpost/ringpost.toml"
#endif

enum {
    PATIENCE_S = 40 /* the daemon says something each CONTROL_PULSE_MS unless a worker hangs */
};

struct link {
    int fd;
    size_t len;
    char input[FRAME_HEAD + FRAME_MAX];
};

/* ---- which socket ---- */

static bool keep_path(struct span text, char *ret_path, size_t size)
{
    if (text.len >= size)
        return false;
    memcpy(ret_path, text.data, text.len);
    ret_path[text.len] = '\0';
    return true;
}

/* "key = "value"" on a line: the value. */
static bool read_setting(const char *line, const char *key, char *ret_value, size_t size)
{
    char name[64], value[256];
    if (sscanf(line, " %63[a-z_] = \"%255[^\"]\"", name, value) != 2 || strcmp(name, key) != 0)
        return false;
    return snprintf(ret_value, size, "%s", value) < (int)size;
}

/* The socket that a file names which has a mistake elsewhere: just then one wants to ask the
 * daemon. Line by line, and only for the plain way of writing it. */
static bool guess_socket(const char *config, char *ret_path, size_t size)
{
    FILE *file = fopen(config, "re");
    char line[1024], folder[256] = "";
    bool in_control = false, found = false;
    while (file && !found && fgets(line, sizeof line, file)) {
        if (line[0] == '[')
            in_control = strncmp(line, "[control]", 9) == 0;
        read_setting(line, "data_dir", folder, sizeof folder);
        found = in_control && read_setting(line, "socket", ret_path, size);
    }
    if (file)
        fclose(file);
    if (!found && folder[0])
        found = snprintf(ret_path, size, "%s/control.socket", folder) < (int)size;
    return found && access(ret_path, F_OK) == 0;
}

static int find_socket(const struct cli *cli, char *ret_path, size_t size)
{
    if (cli->socket)
        return keep_path(span_string(cli->socket), ret_path, size) ? EXIT_GOOD : EXIT_USAGE;
    struct config *config;
    char error[CONFIG_ERROR];
    const char *file = cli->config ? cli->config : RINGPOST_CONFIG_FILE;
    int result = config_load(file, &config, error);
    if (result == -EINVAL && guess_socket(file, ret_path, size))
        return EXIT_GOOD;
    if (result < 0) {
        cli_say("%s", error);
        if (!cli->config)
            cli_say("--config FILE or --socket PATH says where the daemon is");
        return EXIT_UNREACHABLE;
    }
    bool fits = keep_path(config->control.socket, ret_path, size);
    config_free(config);
    if (!fits)
        cli_say("the control socket's path is too long");
    return fits ? EXIT_GOOD : EXIT_UNREACHABLE;
}

static int open_socket(const char *path, int *ret_fd)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval patience = {.tv_sec = PATIENCE_S};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        int error = -errno;
        close(fd);
        return error;
    }
    *ret_fd = fd;
    return 0;
}

static int connect_to_daemon(const struct cli *cli, int *ret_fd)
{
    char path[sizeof((struct sockaddr_un *)0)->sun_path];
    int status = find_socket(cli, path, sizeof path);
    if (status != EXIT_GOOD)
        return status;
    int error = open_socket(path, ret_fd);
    if (error == 0)
        return EXIT_GOOD;
    cli_say("cannot reach the daemon at %s: %s%s", path, strerror(-error),
            error == -EACCES         ? " (your user or group may not use it)"
            : error == -ENOENT       ? " (is it running?)"
            : error == -ECONNREFUSED ? " (it is not running)"
                                     : "");
    return EXIT_UNREACHABLE;
}

/* ---- frames ---- */

static bool send_all(int fd, struct span bytes)
{
    while (bytes.len) {
        ssize_t sent = send(fd, bytes.data, bytes.len, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return false;
        bytes = span_skip(bytes, (size_t)sent);
    }
    return true;
}

/* More input behind what is there. */
static bool receive(struct link *link)
{
    for (;;) {
        ssize_t got = recv(link->fd, link->input + link->len, sizeof link->input - link->len, 0);
        if (got > 0)
            link->len += (size_t)got;
        if (got < 0 && errno == EINTR)
            continue;
        return got > 0;
    }
}

static int lost(void)
{
    if (errno == EAGAIN || errno == EWOULDBLOCK)
        cli_say("the daemon does not answer");
    else
        cli_say("the daemon has closed the connection before it had answered");
    return EXIT_UNREACHABLE;
}

static int greet(const struct frame *frame)
{
    unsigned version;
    if (frame->type != FRAME_HELLO || !hello_read(frame->payload, &version)) {
        cli_say("what listens there is not ringpostd");
        return EXIT_UNREACHABLE;
    }
    if (version == CONTROL_VERSION)
        return -1;
    cli_say("the daemon speaks version %u of the control protocol, this program version %u: use "
            "the program that came with the daemon",
            version, CONTROL_VERSION);
    return EXIT_UNREACHABLE;
}

static int end_of_call(struct span payload)
{
    enum call_status status;
    struct span text;
    if (!end_read(payload, &status, &text)) {
        cli_say("malformed answer");
        return EXIT_UNREACHABLE;
    }
    if (status == CALL_DONE)
        return EXIT_GOOD;
    cli_say("%.*s", SPAN_FORMAT(text));
    return status == CALL_WRONG ? EXIT_USAGE : EXIT_BAD;
}

/* -1: go on; else the exit status. */
static int take_frame(const struct frame *frame, bool *greeted, cli_on_record *on_record,
                      void *context)
{
    if (!*greeted) {
        *greeted = true;
        return greet(frame);
    }
    if (frame->type == FRAME_END)
        return end_of_call(frame->payload);
    if (frame->type == FRAME_RECORD && !on_record(context, frame->payload))
        return EXIT_GOOD;
    return -1;
}

static int take_answer(struct link *link, cli_on_record *on_record, void *context)
{
    bool greeted = false;
    for (;;) {
        struct span rest = span_of(link->input, link->len);
        struct frame frame;
        int len;
        while ((len = frame_read(rest, FRAME_MAX, &frame)) > 0) {
            int status = take_frame(&frame, &greeted, on_record, context);
            if (status >= 0)
                return status;
            rest = span_skip(rest, (size_t)len);
        }
        if (len < 0) {
            cli_say("malformed answer");
            return EXIT_UNREACHABLE;
        }
        memmove(link->input, rest.data, rest.len);
        link->len = rest.len;
        errno = 0;
        if (!receive(link))
            return lost();
    }
}

static int call(int fd, const struct command *command, const struct values *values,
                cli_on_record *on_record, void *context)
{
    char output[FRAME_HEAD + CALL_MAX];
    struct sink sink;
    sink_init(&sink, output, sizeof output);
    hello_put(&sink);
    call_put(command, values, &sink);
    if (sink.full) {
        cli_say("the arguments are too long");
        return EXIT_USAGE;
    }
    struct link *link = malloc(sizeof *link);
    if (!link) {
        cli_say("no memory");
        return EXIT_BAD;
    }
    *link = (struct link){.fd = fd};
    errno = 0;
    int status = send_all(fd, sink_span(&sink)) ? take_answer(link, on_record, context) : lost();
    free(link);
    return status;
}

int cli_call(const struct cli *cli, const struct command *command, const struct values *values,
             cli_on_record *on_record, void *context)
{
    int fd;
    int status = connect_to_daemon(cli, &fd);
    if (status != EXIT_GOOD)
        return status;
    status = call(fd, command, values, on_record, context);
    close(fd);
    return status;
}
