/* login_cache: passwords that were right a short while ago, so that a client that connects for each
 * message costs one hash and not thousands. Pure; the time is an argument.
 *
 * Nothing of a password is kept but 128 bits of an HMAC over name, what is stored for it, and the
 * password, under a key that is made at start: a changed password is another entry. An entry lives
 * for a fixed time from the check, however often it is used. Fixed memory; the oldest of the
 * LOGIN_CACHE_WAYS entries for a key is overwritten. */
#pragma once

#include "core/check.h"
#include "core/digest.h"

enum { LOGIN_CACHE_WAYS = 4, LOGIN_CACHE_SETS = 4096, LOGIN_CACHE_TAG = 16 };

struct login_cache_entry {
    uint8_t tag[LOGIN_CACHE_TAG];
    uint64_t until_ms;
};

struct login_cache {
    uint8_t key[DIGEST_LEN];
    uint64_t lifetime_ms;
    struct login_cache_entry *entries; /* 384 KB */
};

struct login_tag {
    uint8_t octets[DIGEST_LEN];
};

MUST_USE int login_cache_init(struct login_cache *cache, uint64_t lifetime_ms);
void login_cache_fini(struct login_cache *cache);

struct login_tag login_tag_of(const struct login_cache *cache, struct span name, struct span stored,
                              struct span password);
bool login_cache_has(const struct login_cache *cache, const struct login_tag *tag, uint64_t now_ms);
void login_cache_add(struct login_cache *cache, const struct login_tag *tag, uint64_t now_ms);
