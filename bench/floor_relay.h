/* floor_relay: a worker of the null relay.
 *
 * It makes the round trips of an SMTP relay, with load before it (classic pipelining) and sink
 * behind it, and understands nothing: what comes in is counted in octets, replies that come in are
 * counted in line ends. A message is copied once, stored as the durability wants, answered, and
 * sent on over a kept connection, the next envelope behind the text. Everything that a real relay
 * does beside this (reading, deciding, scheduling, accounting) is missing: that is the point. */
#pragma once

#include "bench/floor_disk.h"
#include "core/listen.h"

struct floor_settings {
    enum floor_durability durability;
    struct floor_disk *disk; /* NULL: FLOOR_NONE */
    const char *folder;
    struct address listen, sink;
    struct span hello, envelope; /* as load sends them and as they go out; constant */
    size_t text_len;             /* octets from the 354 to the final dot, stuffed */
    unsigned recipients, connections_out;
};

struct floor_worker;
MUST_USE int floor_worker_new(const struct floor_settings *settings, unsigned index,
                              struct floor_worker **ret_worker);
struct loop *floor_worker_loop(struct floor_worker *worker);
uint64_t floor_worker_relayed(const struct floor_worker *worker);
