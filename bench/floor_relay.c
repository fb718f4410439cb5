#include "bench/floor_relay.h"

#include "bench/program.h"
#include "bench/replies.h"
#include "core/clock.h"
#include "core/conn.h"
#include "queue/record.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    BLOCK = 4096,
    SEGMENT_MAX = 64 << 20, /* of a worker: what may be in flight */
    MESSAGES_MAX = 2048,
    DEADLINE_S = 3600,
    KEYS_APART = 64, /* most workers */
    RECORD = 200,    /* FLOOR_SEGMENT: octets of the record beside the text, as an envelope has */
};

static const char bye[] = "221 bye\r\n", stored[] = "250 stored\r\n";

enum inbound_state { IN_HELLO, IN_ENVELOPE, IN_TEXT, IN_HUNGRY, IN_STORING };

struct inbound {
    struct conn conn;
    struct floor_worker *worker;
    struct list_link link; /* in hungry */
    struct message *message;
    enum inbound_state state;
    size_t left; /* octets of this state still to come */
    bool quitting, was_stored;
    unsigned pieces;
    struct iovec replies[8];
};

/* A message has its place in memory and in the segment for good. */
struct message {
    struct floor_worker *worker;
    struct list_link link; /* spare, or waiting to go out */
    struct floor_job job;
    struct op write;
    struct iovec iov;
    struct inbound *from;
    char *data;
    size_t len;
    uint64_t offset;
};

struct outbound {
    struct conn conn;
    struct floor_worker *worker;
    struct list_link link; /* in idle */
    struct reply_reader reader;
    struct message *current, *next; /* next: its envelope is out behind current's text */
    unsigned hello_left, envelope_left;
    bool text_out, text_wanted;
    struct iovec pieces[2];
};

struct floor_worker {
    struct loop loop;
    const struct floor_settings *settings;
    struct listener listener;
    struct admission admission;
    struct list spare, ready, hungry, idle;
    struct message *messages;
    struct outbound *outbounds;
    char *envelope_replies;
    int segment_fd;
    uint64_t next_key, relayed;
};

static uint64_t deadline_ns(const struct floor_worker *worker)
{
    return worker->loop.now_ns + DEADLINE_S * NS_PER_S;
}

/* ---- out ---- */

static void give_message(struct floor_worker *worker, struct message *message)
{
    list_append(&worker->spare, &message->link);
    struct list_link *link = list_take_first(&worker->hungry);
    if (link)
        conn_wake(&container_of(link, struct inbound, link)->conn);
}

static struct message *take_ready(struct floor_worker *worker)
{
    struct list_link *link = list_take_first(&worker->ready);
    return link ? container_of(link, struct message, link) : NULL;
}

static void delivered(struct floor_worker *worker, struct message *message)
{
    worker->relayed++;
    if (worker->settings->durability == FLOOR_NONE) {
        give_message(worker, message);
        return;
    }
    message->job.delete = true;
    floor_disk_submit(worker->settings->disk, &message->job);
}

static void read_replies(struct outbound *outbound)
{
    struct span input;
    while ((input = conn_input(&outbound->conn)).len) {
        size_t len = input.len;
        int code = reply_read(&outbound->reader, &input);
        conn_consume(&outbound->conn, len - input.len);
        if (code < 0)
            continue;
        if (code >= 400) {
            fprintf(stderr, "floor: the sink says %d\n", code);
            exit(1);
        }
        if (outbound->hello_left) {
            outbound->hello_left--;
        } else if (outbound->text_out) {
            outbound->text_out = false;
            delivered(outbound->worker, outbound->current);
            outbound->current = outbound->next;
            outbound->next = NULL;
        } else if (--outbound->envelope_left == 0) {
            outbound->text_wanted = true;
        }
    }
}

static unsigned put_envelope(struct outbound *outbound, unsigned piece)
{
    struct span envelope = outbound->worker->settings->envelope;
    outbound->envelope_left = outbound->worker->settings->recipients + 2;
    outbound->pieces[piece] =
        (struct iovec){.iov_base = (void *)(uintptr_t)envelope.data, .iov_len = envelope.len};
    return piece + 1;
}

static void send_on(struct outbound *outbound)
{
    struct floor_worker *worker = outbound->worker;
    unsigned pieces = 0;
    if (outbound->text_wanted) {
        struct message *message = outbound->current;
        outbound->text_wanted = false;
        outbound->text_out = true;
        outbound->pieces[pieces++] =
            (struct iovec){.iov_base = message->data, .iov_len = message->len};
        outbound->next = take_ready(worker);
        if (outbound->next)
            pieces = put_envelope(outbound, pieces);
    } else if (!outbound->current && !outbound->hello_left) {
        outbound->current = take_ready(worker);
        if (outbound->current)
            pieces = put_envelope(outbound, pieces);
        else if (!list_linked(&outbound->link))
            list_append(&worker->idle, &outbound->link);
    }
    if (pieces)
        check(conn_send(&outbound->conn, outbound->pieces, pieces));
}

static void advance_out(struct conn *conn)
{
    struct outbound *outbound = container_of(conn, struct outbound, conn);
    unsigned events = conn_events(conn);
    if (events & (CONN_ERROR | CONN_EOF | CONN_CLOSED)) {
        fprintf(stderr, "floor: the sink is gone\n");
        exit(1);
    }
    if (events & CONN_CONNECTED) {
        struct span hello = outbound->worker->settings->hello;
        outbound->pieces[0] =
            (struct iovec){.iov_base = (void *)(uintptr_t)hello.data, .iov_len = hello.len};
        check(conn_send(conn, outbound->pieces, 1));
    }
    if (conn_sending(conn))
        return;
    read_replies(outbound);
    send_on(outbound);
}

static void message_ready(struct floor_worker *worker, struct message *message)
{
    list_append(&worker->ready, &message->link);
    struct list_link *link = list_take_first(&worker->idle);
    if (link)
        conn_wake(&container_of(link, struct outbound, link)->conn);
}

/* ---- storing ---- */

static void message_stored(struct message *message)
{
    struct inbound *from = message->from;
    if (from) {
        from->message = NULL;
        from->was_stored = true;
        conn_wake(&from->conn);
    }
    message->from = NULL;
    message_ready(message->worker, message);
}

static void on_job(struct op *op)
{
    struct message *message = container_of(op, struct message, job.op);
    if (message->job.delete)
        give_message(message->worker, message);
    else
        message_stored(message);
}

static void submit_record(struct message *message)
{
    static const char envelope[RECORD];
    struct floor_worker *worker = message->worker;
    bool whole = worker->settings->durability == FLOOR_RECORD;
    message->job.delete = false;
    fresh_key(message->job.key, worker->loop.index + KEYS_APART * worker->next_key++);
    message->job.record[0] = span_of(envelope, RECORD);
    message->job.record[1] = whole ? span_of(message->data, message->len) : span_of(NULL, 0);
    floor_disk_submit(worker->settings->disk, &message->job);
}

static void on_write(struct op *op)
{
    struct message *message = container_of(op, struct message, write);
    if (op->result != (int)message->iov.iov_len) {
        fprintf(stderr, "floor: segment: %s\n", strerror(op->result < 0 ? -op->result : EIO));
        exit(1);
    }
    submit_record(message);
}

static void store(struct message *message)
{
    struct floor_worker *worker = message->worker;
    switch (worker->settings->durability) {
    case FLOOR_SEGMENT:
        message->iov = (struct iovec){.iov_base = message->data,
                                      .iov_len = (message->len + BLOCK - 1) / BLOCK * BLOCK};
        io_write(worker->loop.io, &message->write, worker->segment_fd, &message->iov, 1,
                 message->offset);
        break;
    case FLOOR_RECORD:
        submit_record(message);
        break;
    default:
        message_stored(message);
    }
}

/* ---- in ---- */

static void reply(struct inbound *inbound, const char *text, size_t len)
{
    check(inbound->pieces < countof(inbound->replies));
    inbound->replies[inbound->pieces++] =
        (struct iovec){.iov_base = (void *)(uintptr_t)text, .iov_len = len};
}

static void enter(struct inbound *inbound, enum inbound_state state)
{
    const struct floor_settings *settings = inbound->worker->settings;
    inbound->state = state;
    if (state == IN_HELLO)
        inbound->left = settings->hello.len;
    else if (state == IN_ENVELOPE)
        inbound->left = settings->envelope.len;
    else if (state == IN_TEXT)
        inbound->left = settings->text_len;
}

/* The octets of a state are all there. */
static void complete(struct inbound *inbound)
{
    static const char capabilities[] = "250-floor\r\n250 PIPELINING\r\n";
    switch (inbound->state) {
    case IN_HELLO:
        reply(inbound, capabilities, sizeof capabilities - 1);
        enter(inbound, IN_ENVELOPE);
        break;
    case IN_ENVELOPE:
        reply(inbound, inbound->worker->envelope_replies,
              strlen(inbound->worker->envelope_replies));
        enter(inbound, IN_HUNGRY);
        break;
    default:
        enter(inbound, IN_STORING);
        store(inbound->message);
    }
}

static void read_in(struct inbound *inbound, struct span *input)
{
    struct span part = span_first(*input, inbound->left);
    if (inbound->state == IN_ENVELOPE && inbound->left == inbound->worker->settings->envelope.len &&
        part.data[0] == 'Q') {
        reply(inbound, bye, sizeof bye - 1);
        inbound->quitting = true;
        return;
    }
    if (inbound->state == IN_TEXT) {
        memcpy(inbound->message->data + inbound->message->len, part.data, part.len);
        inbound->message->len += part.len;
    }
    inbound->left -= part.len;
    *input = span_skip(*input, part.len);
    if (inbound->left == 0)
        complete(inbound);
}

/* The next message's memory; false: none is free, the session waits in the list. */
static bool take_memory(struct inbound *inbound)
{
    struct floor_worker *worker = inbound->worker;
    struct list_link *link = list_take_first(&worker->spare);
    if (!link) {
        if (!list_linked(&inbound->link))
            list_append(&worker->hungry, &inbound->link);
        return false;
    }
    inbound->message = container_of(link, struct message, link);
    inbound->message->from = inbound;
    inbound->message->len = 0;
    enter(inbound, IN_TEXT);
    return true;
}

static void work_in(struct inbound *inbound)
{
    struct span input;
    if (inbound->was_stored) {
        inbound->was_stored = false;
        reply(inbound, stored, sizeof stored - 1);
        enter(inbound, IN_ENVELOPE);
    }
    while (!inbound->quitting && inbound->state != IN_STORING &&
           (input = conn_input(&inbound->conn)).len) {
        size_t len = input.len;
        if (inbound->state == IN_HUNGRY && !take_memory(inbound))
            break;
        read_in(inbound, &input);
        conn_consume(&inbound->conn, len - input.len);
    }
    if (inbound->pieces)
        check(conn_send(&inbound->conn, inbound->replies, inbound->pieces));
    inbound->pieces = 0;
}

static void end_in(struct inbound *inbound)
{
    if (inbound->message) {
        inbound->message->from = NULL;
        if (inbound->state == IN_TEXT)
            give_message(inbound->worker, inbound->message);
    }
    if (list_linked(&inbound->link))
        list_remove(&inbound->link);
    admission_leave(&inbound->worker->admission, &inbound->conn.peer);
    free(inbound);
}

static void advance_in(struct conn *conn)
{
    struct inbound *inbound = container_of(conn, struct inbound, conn);
    unsigned events = conn_events(conn);
    if (events & CONN_CLOSED) {
        end_in(inbound);
        return;
    }
    if (events & (CONN_ERROR | CONN_EOF | CONN_TIMEOUT)) {
        conn_close(conn);
        return;
    }
    if (conn_sending(conn))
        return;
    work_in(inbound);
    if (inbound->quitting)
        conn_close(conn);
}

static void on_connection(struct listener *listener, int fd, const struct address *peer,
                          enum listen_verdict verdict)
{
    static const char greeting[] = "220 floor\r\n";
    struct floor_worker *worker = listener->context;
    struct inbound *inbound = calloc(1, sizeof *inbound);
    check(inbound);
    inbound->worker = worker;
    inbound->conn.peer = *peer;
    enter(inbound, IN_HELLO);
    reply(inbound, greeting, sizeof greeting - 1);
    conn_open(&inbound->conn, &worker->loop, fd, advance_in, deadline_ns(worker));
    conn_wake(&inbound->conn);
}

/* ---- the worker ---- */

static void make_messages(struct floor_worker *worker)
{
    size_t slot = (worker->settings->text_len + BLOCK - 1) / BLOCK * BLOCK;
    size_t count = SEGMENT_MAX / slot < MESSAGES_MAX ? SEGMENT_MAX / slot : MESSAGES_MAX;
    char *memory = aligned_alloc(BLOCK, count * slot);
    worker->messages = calloc(count, sizeof *worker->messages);
    check(memory && worker->messages && count);
    memset(memory, 0, count * slot);
    for (size_t i = 0; i < count; i++) {
        struct message *message = &worker->messages[i];
        message->worker = worker;
        message->data = memory + i * slot;
        message->offset = i * slot;
        message->job.home = &worker->loop;
        op_init(&message->job.op, on_job);
        op_init(&message->write, on_write);
        list_append(&worker->spare, &message->link);
    }
    if (worker->settings->durability != FLOOR_SEGMENT)
        return;
    worker->segment_fd =
        floor_segment_open(worker->settings->folder, worker->loop.index, count * slot);
}

static void make_replies(struct floor_worker *worker)
{
    static const char ok[] = "250 ok\r\n", go_on[] = "354 go on\r\n";
    size_t len = (worker->settings->recipients + 1) * (sizeof ok - 1);
    worker->envelope_replies = malloc(len + sizeof go_on);
    check(worker->envelope_replies);
    for (size_t at = 0; at < len; at += sizeof ok - 1)
        memcpy(worker->envelope_replies + at, ok, sizeof ok);
    memcpy(worker->envelope_replies + len, go_on, sizeof go_on);
}

static void connect_out(struct floor_worker *worker)
{
    const struct floor_settings *settings = worker->settings;
    worker->outbounds = calloc(settings->connections_out, sizeof *worker->outbounds);
    check(worker->outbounds);
    for (unsigned i = 0; i < settings->connections_out; i++) {
        struct outbound *outbound = &worker->outbounds[i];
        outbound->worker = worker;
        outbound->hello_left = 2; /* greeting and EHLO */
        conn_connect(&outbound->conn, &worker->loop, &settings->sink, NULL, advance_out,
                     deadline_ns(worker));
    }
}

int floor_worker_new(const struct floor_settings *settings, unsigned index,
                     struct floor_worker **ret_worker)
{
    struct floor_worker *worker = calloc(1, sizeof *worker);
    check(worker);
    worker->settings = settings;
    program_loop_init(&worker->loop, 1024, 16384); /* the daemon's defaults */
    worker->loop.index = index;
    list_init(&worker->spare);
    list_init(&worker->ready);
    list_init(&worker->hungry);
    list_init(&worker->idle);
    make_messages(worker);
    if (worker->segment_fd < 0)
        return worker->segment_fd;
    make_replies(worker);
    int error = admission_init(&worker->admission, 0, 0);
    if (!error)
        error = listener_init(&worker->listener, &worker->loop, &settings->listen,
                              &worker->admission, on_connection, worker);
    if (error)
        return error;
    connect_out(worker);
    listener_start(&worker->listener);
    *ret_worker = worker;
    return 0;
}

struct loop *floor_worker_loop(struct floor_worker *worker)
{
    return &worker->loop;
}

uint64_t floor_worker_relayed(const struct floor_worker *worker)
{
    return worker->relayed;
}
