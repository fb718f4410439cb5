/* dkim_record: a public key as it stands in DNS (RFC 6376 3.6.1, RFC 8463). Pure. */
#pragma once

#include "smtp/sign.h"

enum dkim_record_fault {
    DKIM_RECORD_GOOD,
    DKIM_RECORD_BROKEN,      /* not a tag list, another version, no p=, or p= is not base64 */
    DKIM_RECORD_REVOKED,     /* p= is empty */
    DKIM_RECORD_UNKNOWN_KEY, /* k= is none that we know */
    DKIM_RECORD_NOT_MAIL,    /* s= does not allow mail */
};

enum { DKIM_RECORD_KEY = 1024 };

struct dkim_record {
    enum sign_algorithm algorithm;
    bool sha256;  /* h= allows it */
    bool testing; /* t=y */
    bool strict;  /* t=s: i= must be of the same domain as d= */
    struct span key;
    char storage[DKIM_RECORD_KEY]; /* what `key` points into: do not copy the struct */
};

/* `text`: the strings of the TXT record, one behind the other. */
enum dkim_record_fault dkim_record_parse(struct span text, struct dkim_record *ret_record);

/* The record for a key: "v=DKIM1; k=rsa; p=...". */
void dkim_record_put(const struct sign_key *key, struct sink *sink);
