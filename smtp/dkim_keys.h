/* dkim_keys: the [[dkim]] tables with their keys read: what signs which author's mail.
 *
 * Read once at start-up (blocking), read-only afterwards, shared by all workers. */
#pragma once

#include "core/config.h"
#include "smtp/dkim_canon.h"
#include "smtp/sign.h"

struct dkim_key {
    struct sign_key *key;
    struct span domain, selector; /* the configuration's */
    const struct span *headers;
    size_t header_count;
    uint64_t expires_after_s; /* 0: never */
    enum dkim_canon body_canon;
    bool standard; /* signs what no table names */
};

struct dkim_keys {
    struct dkim_key *list;
    size_t count;
};

enum { DKIM_COMPLAINT = 768 };

/* One line about one table, "file:line: ..."; `fatal`: the keys cannot be used like this. */
typedef void dkim_complain(void *context, bool fatal, const char *text);

/* 0; -EINVAL: `complain` was told why, of every key that is wrong; -ENOMEM. What is merely unwise
 * (an RSA key below 2048 bits) is complained about as well. `config` must outlive the keys. A file
 * that everybody may read, or others may write, is refused: who has the key signs in our name. */
MUST_USE int dkim_keys_load(const struct config *config, dkim_complain *complain, void *context,
                            struct dkim_keys *ret_keys);
void dkim_keys_free(struct dkim_keys *keys);

/* The keys for an author's domain (lower-case A-labels): all that name it, else those that stand
 * for all others. Returns how many, at most `most`. */
unsigned dkim_keys_find(const struct dkim_keys *keys, struct span domain,
                        const struct dkim_key **ret_keys, unsigned most);
