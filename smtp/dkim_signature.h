/* dkim_signature: a DKIM-Signature, ARC-Message-Signature or ARC-Seal as others write it, and
 * whether it is true (RFC 6376 6.1, 8301, 8463, 8617). Pure.
 *
 * In order: dkim_signature_read, what it wants hashed (the body form, then the header by
 * dkim_signature_digest or arc.h), the key at dkim_signature_key_name, dkim_signature_judge. */
#pragma once

#include "dns/name.h"
#include "smtp/dkim_canon.h"
#include "smtp/dkim_record.h"
#include "smtp/fields.h"

enum dkim_verdict {
    DKIM_NONE,
    DKIM_PASS,
    DKIM_FAIL,
    DKIM_NEUTRAL,
    DKIM_TEMPERROR,
    DKIM_PERMERROR,
    DKIM_VERDICTS,
};

enum dkim_signature_kind { DKIM_SIGNATURE, ARC_MESSAGE_SIGNATURE, ARC_SEAL };

enum {
    DKIM_HEADERS_MOST = 128, /* names in h= that are looked at */
    DKIM_FIELDS_MOST = 512,  /* fields of a header section that is looked at */
};

struct dkim_signature {
    const struct header_field *field;
    enum dkim_signature_kind kind;
    enum sign_algorithm algorithm;
    enum dkim_canon header_canon, body_canon;
    struct span domain, selector, identity; /* d=, s=, i= (empty: none) */
    struct span headers;                    /* h=, folding in it */
    struct span signature_text;             /* b=, where it stands in the field */
    struct span seal_status;                /* cv= of an ARC-Seal */
    uint64_t limit;                         /* l=: octets of the body; UINT64_MAX: all */
    uint64_t expires_at_s;                  /* 0: never */
    unsigned instance;                      /* i= of ARC */
    uint8_t body_hash[DIGEST_LEN];
    size_t signature_len;
    char signature[SIGN_LEN];
};

/* `field` must outlive the signature. False: *ret_why says what is wrong (a constant). */
bool dkim_signature_read(const struct header_field *field, enum dkim_signature_kind kind,
                         struct dkim_signature *ret_signature, const char **ret_why);

/* "selector._domainkey.domain". False: no such name can be. */
bool dkim_signature_key_name(const struct dkim_signature *signature, struct name *ret_name);

/* The digest of the header fields that h= names and of the signature's own. */
void dkim_signature_digest(const struct dkim_signature *signature,
                           const struct header_field *fields, unsigned field_count,
                           uint8_t ret_digest[DIGEST_LEN]);

/* The signature's own field as it is hashed: its value of b= left out, no line end. */
void dkim_signature_put_own(const struct dkim_signature *signature, enum dkim_canon canon,
                            dkim_emit *emit, void *context);

/* `record`: the key's record. `digest`: of the header. `body_digest`: NULL for an ARC-Seal.
 * *ret_bits is the key's size, *ret_why a reason for anything but DKIM_PASS. */
enum dkim_verdict dkim_signature_judge(const struct dkim_signature *signature, struct span record,
                                       const uint8_t digest[DIGEST_LEN], const uint8_t *body_digest,
                                       uint64_t now_s, unsigned *ret_bits, const char **ret_why);

/* "pass", ...; and "rsa-sha256". */
struct span dkim_verdict_name(enum dkim_verdict verdict);
struct span dkim_algorithm_name(enum sign_algorithm algorithm);
