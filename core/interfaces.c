/* Asked once, at start: an address that comes later is not among them. */
#include "core/interfaces.h"

#include <errno.h>
#include <ifaddrs.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool is_wildcard(const struct address *address)
{
    if (address->family == AF_INET)
        return address->v4.sin_addr.s_addr == htonl(INADDR_ANY);
    return address->family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&address->v6.sin6_addr);
}

static bool is_of(const struct ifaddrs *interface, sa_family_t family)
{
    return interface->ifa_addr && interface->ifa_addr->sa_family == family;
}

static struct address address_of(const struct ifaddrs *interface, const struct address *like)
{
    struct address address = {.len = like->len};
    memcpy(&address.any, interface->ifa_addr, like->len);
    address_set_port(&address, address_port(like));
    return address;
}

static int one(const struct address *address, struct address **ret_addresses, size_t *ret_count)
{
    struct address *copy = malloc(sizeof *copy);
    if (!copy)
        return -ENOMEM;
    *copy = *address;
    *ret_addresses = copy;
    *ret_count = 1;
    return 0;
}

int interfaces_behind(const struct address *address, struct address **ret_addresses,
                      size_t *ret_count)
{
    struct ifaddrs *interfaces;
    size_t count = 0;
    if (!is_wildcard(address))
        return one(address, ret_addresses, ret_count);
    if (getifaddrs(&interfaces) < 0)
        return -errno;
    for (struct ifaddrs *i = interfaces; i; i = i->ifa_next)
        count += is_of(i, address->family);
    struct address *found = calloc(count + 1, sizeof *found);
    count = 0;
    for (struct ifaddrs *i = interfaces; i && found; i = i->ifa_next)
        if (is_of(i, address->family))
            found[count++] = address_of(i, address);
    freeifaddrs(interfaces);
    if (!found)
        return -ENOMEM;
    *ret_addresses = found;
    *ret_count = count;
    return 0;
}

int interfaces_free(const struct address *address)
{
    if (address->family == AF_UNIX)
        return 0;
    int fd = socket(address->family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    int on = 1, error = 0;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (address->family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    if (bind(fd, &address->any, address->len) < 0)
        error = -errno;
    close(fd);
    return error;
}
