/* sim: one process's world in virtual time, from one seed.
 *
 * The simulator runs the real worker (loop, conn, dialogues, share, committer, lanes, delivery) on
 * a virtual network, clock, store and name server, all in one thread. Whatever happens next is
 * drawn from one generator, so a seed is a run, bit for bit. Replaced at link time:
 *
 *     world.c    core/clock.h, core/entropy.c, and the list of what happens when
 *     net.c      the sockets of core/io.h: streams with latency, cut in random pieces, lost at will
 *     ring.c     core/io.h itself; files are real files in the seed's folder, unsynced tails are
 *                lost; of direct writes that no sync has flushed a crash keeps what it likes
 *     store.c      queue/store.h: synced and unsynced batches, a crash keeps a prefix of the
 * latter; aborts on a Put over a live fresh, body or row key threads.c  queue/committer_thread.h,
 * queue/loader_thread.h: steps at random moments names.c    dns/resolver.h: answers by script
 *
 * On top: peers.c (injectors and receiving servers that misbehave by script) and auditor.c (who was
 * promised what, who got what; nothing of the daemon's code). run.c is the scenario, main.c runs
 * many seeds. */
#pragma once

#include "core/address.h"
#include "core/list.h"
#include "core/random.h"

#include <stdbool.h>
#include <stdint.h>

/* ---- world.c ---- */

struct world {
    uint64_t seed;
    uint64_t now_ns;        /* virtual monotonic time */
    int64_t wall_offset_ms; /* wall = start + now + this: steps of the clock */
    struct random random;   /* of the world; the daemon's generators are seeded from it */
    const char *folder;     /* of this seed, for files */
    uint64_t happened;
    unsigned life; /* raised by a crash: what belonged to an earlier life does not happen */
    bool calm;     /* no more faults: the queue must drain */
    bool expiry;   /* mail that nobody takes expires after minutes */
    bool trace;
};
extern struct world world;

void world_begin(uint64_t seed, const char *folder, bool trace);

typedef void happening(void *context, uint64_t argument);

/* `what` happens `delay_ns` from now; what is due at the same time happens in the order given.
 * `mortal`: belongs to the daemon's present life. */
void world_later(uint64_t delay_ns, bool mortal, happening *what, void *context, uint64_t argument);

/* Lets the next thing happen if it is due at or before `until_ns`. False: nothing is. */
bool world_step(uint64_t until_ns);
uint64_t world_next_ns(void); /* UINT64_MAX: nothing is planned */

uint64_t world_draw(uint64_t bound); /* 0 <= result < bound */
bool world_chance(unsigned of_thousand);
bool world_fault(unsigned of_thousand);                                  /* never when calm */
void say(const char *format, ...) __attribute__((format(printf, 1, 2))); /* with --trace */

/* ---- net.c: both ends of a stream; the daemon's ends are fds of ring.c, the others are peers'
 * ---- */

struct end;
struct end_events {
    void (*connected)(void *owner, struct end *end);
    void (*received)(void *owner, struct end *end, const char *data, size_t len);
    void (*finished)(void *owner, struct end *end); /* the other side ended its direction */
    void (*broken)(void *owner, struct end *end);   /* reset, refused: the end is dead */
};

/* A peer's connection to the daemon. `owner` hears events until net_drop. */
struct end *net_dial(const struct address *from, const struct address *to,
                     const struct end_events *events, void *owner);
void net_send(struct end *end, const char *data, size_t len);
void net_finish(struct end *end); /* no more from this side */
void net_break(struct end *end);  /* both sides hear a reset; bytes on the way may be lost */
void net_drop(struct end *end);   /* its owner goes away: broken, and no more events */
bool net_alive(const struct end *end);

/* A peer that listens: `arrived` gets a new end and returns its owner, or NULL to refuse. */
typedef void *net_arrived(void *context, struct end *end, const struct end_events **ret_events);
void net_serve(const struct address *address, net_arrived *arrived, void *context);
/* SYNs to it are refused / answered again. */
void net_serve_set_down(const struct address *address, bool down);

/* For ring.c: the daemon's side of streams. */
struct end *net_dial_out(const struct address *from, const struct address *to,
                         const struct end_events *events, void *owner);
typedef void net_daemon_accept(void *context, struct end *end, const struct address *peer);
void net_daemon_listen(const struct address *address, net_daemon_accept *accept, void *context);
void net_daemon_gone(void); /* crash: all its ends break, nothing listens */
void net_own(struct end *end, const struct end_events *events, void *owner);
size_t net_room(const struct end *end); /* bytes that may be sent now (window) */

/* ---- ring.c, store.c, threads.c ---- */

struct io;
bool ring_has_results(const struct io *io);
void ring_flush(void);          /* what was written past the cache is on disk */
void ring_crash(void);          /* files lose a random part of what was not synced */
void store_crash(void);         /* the same for batches */
bool store_empty_of_mail(void); /* no fresh, row, body, ref */
uint64_t store_commits(void);
void store_set_full(bool full);       /* commits and revivals give -ENOSPC */
void store_set_syncing(bool syncing); /* false: a sync does not end before the crash */
bool threads_commit_waits(void);      /* a message is on its way into the store */
void threads_crash(void);

/* ---- run.c: the scenario. False: something is wrong, and it was said what. ---- */

bool run_seed(uint64_t seed, const char *folder, bool trace);
