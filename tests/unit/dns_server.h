/* dns_server: a small name server in a thread, UDP and TCP on one port, that misbehaves by name.
 *
 * The first label of the name that is asked says what it does:
 *   mx, a, nx, servfail, refused   the plain answers
 *   cut      TC over UDP, 100 MX over TCP          cutonly  TC over UDP, TCP is closed without
 * answer hang     nothing                               again    nothing the first time, then an A
 *   liar     another question under the right id, then the truth
 *   stranger the truth under another id, then the truth with another address
 *   spoof    an answer from another port, then the truth
 *   broken   counts that promise more than there is */
#pragma once

#include "core/address.h"
#include "tests/unit/dns_packet.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

enum { TRUTH = 0x7f000001, LIE = 0x7f666666 };

struct dns_server {
    struct address address;
    int udp, tcp, spoof;
    pthread_t thread;
    atomic_bool stop;
    atomic_uint queries, tcp_queries;
    unsigned again;
    atomic_uint ports; /* changes of the client's source port */
    uint16_t last_port;
    struct packet_builder packet;
};

struct dns_question {
    uint16_t id, type;
    char name[256];
};

static inline bool dns_server_read(struct span query, struct dns_question *question)
{
    size_t at = 12, len = 0;
    const unsigned char *bytes = (const unsigned char *)query.data;
    if (query.len < 17)
        return false;
    question->id = (uint16_t)(bytes[0] << 8 | bytes[1]);
    while (at < query.len && bytes[at] > 0 && bytes[at] < 64) {
        if (len > 0)
            question->name[len++] = '.';
        for (unsigned i = 0; i < bytes[at]; i++)
            question->name[len++] = (char)bytes[at + 1 + i];
        at += bytes[at] + 1u;
    }
    question->name[len] = 0;
    question->type = (uint16_t)(bytes[at + 1] << 8 | bytes[at + 2]);
    return true;
}

static inline bool dns_server_is(const struct dns_question *question, const char *label)
{
    size_t len = strlen(label);
    return strncmp(question->name, label, len) == 0 &&
           (question->name[len] == '.' || question->name[len] == '-');
}

static inline void dns_server_start_answer(struct dns_server *server,
                                           const struct dns_question *question, uint16_t flags)
{
    packet_start(&server->packet, flags, question->name, question->type);
    packet_patch_u16(&server->packet, 0, question->id);
}

static inline void dns_server_answer_a(struct dns_server *server,
                                       const struct dns_question *question, uint32_t address)
{
    dns_server_start_answer(server, question, 0x8180);
    packet_a(&server->packet, question->name, 60, address);
}

static inline void dns_server_send(struct dns_server *server, int fd, const struct address *to)
{
    struct span packet = packet_span(&server->packet);
    sendto(fd, packet.data, packet.len, 0, &to->any, to->len);
}

static inline void dns_server_answer_mx(struct dns_server *server,
                                        const struct dns_question *question, unsigned count)
{
    dns_server_start_answer(server, question, 0x8180);
    for (unsigned i = 0; i < count; i++) {
        char exchange[32];
        snprintf(exchange, sizeof(exchange), "mx%u.test", i);
        packet_mx(&server->packet, question->name, 60, (uint16_t)(10 + i), exchange);
    }
}

static inline void dns_server_misbehave(struct dns_server *server,
                                        const struct dns_question *question,
                                        const struct address *client)
{
    struct dns_question other = *question;
    if (dns_server_is(question, "liar")) {
        snprintf(other.name, sizeof(other.name), "elsewhere.test");
        dns_server_answer_a(server, &other, LIE);
        dns_server_send(server, server->udp, client);
    } else if (dns_server_is(question, "stranger")) {
        other.id ^= 0x5555;
        dns_server_answer_a(server, &other, LIE);
        dns_server_send(server, server->udp, client);
    } else if (dns_server_is(question, "spoof")) {
        dns_server_answer_a(server, question, LIE);
        dns_server_send(server, server->spoof, client);
    }
}

/* Fills the packet for `question`; false: no answer. */
static inline bool dns_server_answer(struct dns_server *server, const struct dns_question *question,
                                     bool tcp)
{
    if (dns_server_is(question, "hang"))
        return false;
    if (dns_server_is(question, "again") && server->again++ == 0)
        return false;
    if (dns_server_is(question, "cutonly") && tcp)
        return false;
    if (!tcp && (dns_server_is(question, "cut") || dns_server_is(question, "cutonly")))
        dns_server_start_answer(server, question, 0x8380);
    else if (dns_server_is(question, "cut"))
        dns_server_answer_mx(server, question, 100);
    else if (dns_server_is(question, "mx"))
        dns_server_answer_mx(server, question, 2);
    else if (dns_server_is(question, "nx"))
        dns_server_start_answer(server, question, 0x8183);
    else if (dns_server_is(question, "servfail"))
        dns_server_start_answer(server, question, 0x8182);
    else if (dns_server_is(question, "refused"))
        dns_server_start_answer(server, question, 0x8185);
    else
        dns_server_answer_a(server, question, TRUTH);
    if (dns_server_is(question, "broken"))
        packet_patch_u16(&server->packet, SECTION_ANSWER, 9);
    return true;
}

static inline void dns_server_udp(struct dns_server *server)
{
    char bytes[4096];
    struct address client = {.len = sizeof(client.v6)};
    struct dns_question question;
    ssize_t len = recvfrom(server->udp, bytes, sizeof(bytes), 0, &client.any, &client.len);
    if (len <= 0 || !dns_server_read(span_of(bytes, (size_t)len), &question))
        return;
    atomic_fetch_add(&server->queries, 1);
    if (address_port(&client) != server->last_port)
        atomic_fetch_add(&server->ports, 1);
    server->last_port = address_port(&client);
    dns_server_misbehave(server, &question, &client);
    if (dns_server_answer(server, &question, false))
        dns_server_send(server, server->udp, &client);
}

static inline void dns_server_tcp(struct dns_server *server)
{
    unsigned char bytes[4096];
    struct dns_question question;
    int fd = accept(server->tcp, NULL, NULL);
    ssize_t len = fd < 0 ? -1 : recv(fd, bytes, 2, MSG_WAITALL);
    if (len == 2)
        len = recv(fd, bytes + 2, (size_t)(bytes[0] << 8 | bytes[1]), MSG_WAITALL);
    if (len > 0 && dns_server_read(span_of(bytes + 2, (size_t)len), &question)) {
        atomic_fetch_add(&server->tcp_queries, 1);
        if (dns_server_answer(server, &question, true)) {
            struct span packet = packet_span(&server->packet);
            unsigned char head[2] = {(unsigned char)(packet.len >> 8), (unsigned char)packet.len};
            send(fd, head, 1, MSG_NOSIGNAL); /* in pieces, as TCP may */
            send(fd, head + 1, 1, MSG_NOSIGNAL);
            send(fd, packet.data, packet.len, MSG_NOSIGNAL);
        }
    }
    if (fd >= 0)
        close(fd);
}

static inline void *dns_server_run(void *context)
{
    struct dns_server *server = context;
    while (!atomic_load(&server->stop)) {
        struct pollfd fds[] = {{server->udp, POLLIN, 0}, {server->tcp, POLLIN, 0}};
        if (poll(fds, 2, 10) <= 0)
            continue;
        if (fds[0].revents)
            dns_server_udp(server);
        if (fds[1].revents)
            dns_server_tcp(server);
    }
    return NULL;
}

/* A UDP and a TCP socket on one free port of 127.0.0.1; the caller closes them. */
static inline bool dns_free_port(int *ret_udp, int *ret_tcp, struct address *ret_address)
{
    for (unsigned i = 0; i < 50; i++) {
        struct address address;
        int udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        int tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (address_parse(SPAN("127.0.0.1"), 0, &address) &&
            bind(udp, &address.any, address.len) == 0 &&
            getsockname(udp, &address.any, &address.len) == 0 &&
            bind(tcp, &address.any, address.len) == 0 && listen(tcp, 64) == 0) {
            *ret_udp = udp;
            *ret_tcp = tcp;
            *ret_address = address;
            return true;
        }
        close(udp);
        close(tcp);
    }
    return false;
}

static inline bool dns_server_start(struct dns_server *server)
{
    memset(server, 0, sizeof(*server));
    server->spoof = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    return dns_free_port(&server->udp, &server->tcp, &server->address) &&
           pthread_create(&server->thread, NULL, dns_server_run, server) == 0;
}

static inline void dns_server_stop(struct dns_server *server)
{
    atomic_store(&server->stop, true);
    pthread_join(server->thread, NULL);
    close(server->udp);
    close(server->tcp);
    close(server->spoof);
}
