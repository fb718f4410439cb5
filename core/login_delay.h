/* login_delay: how long the next try to log in has to wait, by address and by account. Pure; the
 * time is an argument. Bounded memory, allocated once.
 *
 * Each failure of an address (IPv6: of its /64) or of an account doubles its delay, from `first_ms`
 * to `most_ms`. During that time one try is held back until it is over, the next one behind it, and
 * so on; a try that would be held back for longer than LOGIN_DELAY_WAIT_MS is refused at once. So
 * the number of guesses is bounded however many connections they come over. LOGIN_DELAY_FORGET_MS
 * after the last failure all is forgotten.
 *
 * Whoever attacks an account would so lock out its owner. Therefore an address from which the
 * account has logged in before is not held to the account's delay, only to its own.
 *
 * The table is a hash table of fixed size, LOGIN_DELAY_WAYS entries for a key; the least guilty and
 * oldest is overwritten. Keys are 64 bits of a keyed hash, so nobody can aim at another's entry. */
#pragma once

#include "core/address.h"
#include "core/check.h"
#include "core/map.h"

enum {
    LOGIN_DELAY_WAYS = 8,
    LOGIN_DELAY_SETS = 2048,
    LOGIN_DELAY_WAIT_MS = 60 * 1000,
    LOGIN_DELAY_FORGET_MS = 15 * 60 * 1000,
};

struct login_delay_entry {
    uint64_t key;     /* 0: unused */
    uint64_t next_ms; /* the next try begins no earlier */
    uint64_t seen_ms;
    uint32_t failures;
    uint32_t worked; /* a pair of account and address that has logged in */
};

struct login_delay {
    struct hash_seed seed;
    uint64_t first_ms, most_ms;
    struct login_delay_entry *entries; /* LOGIN_DELAY_SETS * LOGIN_DELAY_WAYS: 512 KB */
};

MUST_USE int login_delay_init(struct login_delay *delay, struct hash_seed seed, uint64_t first_ms,
                              uint64_t most_ms);
void login_delay_fini(struct login_delay *delay);

/* A try begins: in *ret_wait_ms (0: now). False: it is refused. */
MUST_USE bool login_delay_begin(struct login_delay *delay, const struct address *address,
                                struct span account, uint64_t now_ms, uint64_t *ret_wait_ms);

/* How it ended. After a failure: for how long the answer is held back. */
uint64_t login_delay_failed(struct login_delay *delay, const struct address *address,
                            struct span account, uint64_t now_ms);
void login_delay_worked(struct login_delay *delay, const struct address *address,
                        struct span account, uint64_t now_ms);
