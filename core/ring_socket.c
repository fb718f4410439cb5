/* The sockets of io.h: making, binding and naming them takes plain calls that return at once, so no
 * ring is needed. What waits (accept, connect, receive, send) is in ring.c. */
#include "core/io.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <sys/stat.h>
#include <unistd.h>

static int enable_option(int fd, int level, int option)
{
    int on = 1;
    return setsockopt(fd, level, option, &on, sizeof on) < 0 ? -errno : 0;
}

static bool is_ip(sa_family_t family)
{
    return family == AF_INET || family == AF_INET6;
}

/* The descriptor, or what went wrong with it. */
static int fd_or_close(int fd, int error)
{
    if (error == 0)
        return fd;
    close(fd);
    return error;
}

static int new_socket(sa_family_t family)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    return fd_or_close(fd, is_ip(family) ? enable_option(fd, IPPROTO_TCP, TCP_NODELAY) : 0);
}

/* Does somebody answer at this Unix socket? */
static bool answers(const struct address *address)
{
    int fd = new_socket(AF_UNIX);
    if (fd < 0)
        return true;
    int result = connect(fd, &address->any, address->len);
    bool refused = result < 0 && errno == ECONNREFUSED;
    close(fd);
    return !refused;
}

static int bind_to(int fd, const struct address *address)
{
    return bind(fd, &address->any, address->len) < 0 ? -errno : 0;
}

static int bind_unix(int fd, const struct address *address)
{
    if (fchmod(fd, 0660) < 0) /* before bind: the file is born with no more than this */
        return -errno;
    int error = bind_to(fd, address);
    if (error == -EADDRINUSE && !answers(address)) {
        unlink(address->unix_path.sun_path);
        error = bind_to(fd, address);
    }
    /* The process's mask has taken its bits away. */
    if (error == 0 && chmod(address->unix_path.sun_path, 0660) < 0)
        error = -errno;
    return error;
}

static int bind_listener(int fd, const struct address *address)
{
    if (!is_ip(address->family))
        return bind_unix(fd, address);
    int error = enable_option(fd, SOL_SOCKET, SO_REUSEADDR);
    if (error == 0)
        error = enable_option(fd, SOL_SOCKET, SO_REUSEPORT);
    if (error == 0 && address->family == AF_INET6)
        error = enable_option(fd, IPPROTO_IPV6, IPV6_V6ONLY);
    return error ? error : bind_to(fd, address);
}

int io_listen(struct io *io, const struct address *address, int backlog)
{
    int fd = new_socket(address->family);
    if (fd < 0)
        return fd;
    int error = bind_listener(fd, address);
    if (error == 0 && listen(fd, backlog) < 0)
        error = -errno;
    return fd_or_close(fd, error);
}

typedef int ask_name(int fd, struct sockaddr *address, socklen_t *len);

static int ask_address(ask_name *ask, int fd, struct address *ret_address)
{
    struct address address = {0};
    address.len = sizeof address.unix_path;
    if (ask(fd, &address.any, &address.len) < 0)
        return -errno;
    *ret_address = address;
    return 0;
}

int io_local_address(struct io *io, int fd, struct address *ret_address)
{
    return ask_address(getsockname, fd, ret_address);
}

int io_peer_address(struct io *io, int fd, struct address *ret_address)
{
    return ask_address(getpeername, fd, ret_address);
}

int64_t io_peer_user(struct io *io, int fd)
{
    struct ucred peer;
    socklen_t len = sizeof peer;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 ? -1 : (int64_t)peer.uid;
}

static int bind_source(int fd, const struct address *source)
{
    int error = address_port(source) == 0 && is_ip(source->family)
                    ? enable_option(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT)
                    : 0;
    return error ? error : bind_to(fd, source);
}

int io_socket(struct io *io, sa_family_t family, const struct address *source)
{
    int fd = new_socket(family);
    if (fd < 0 || !source || source->family == AF_UNSPEC)
        return fd;
    return fd_or_close(fd, bind_source(fd, source));
}
