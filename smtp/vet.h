/* vet: what a message from outside says about where it comes from, and whether that is so: SPF,
 * DKIM and ARC (RFC 7208, 6376, 8617), told in an Authentication-Results field (RFC 8601). It
 * decides nothing: what becomes of the message is others' policy.
 *
 *     vet_new, vet_add ... vet_end    while it arrives; the body is hashed in the pass that stores
 * it vet_asks, vet_answer            DNS: SPF and the keys each have one question at a time
 *     vet_put_results                 when neither asks any more, or there is no more time
 *
 * The header section is kept back until it is complete, because Authentication-Results fields that
 * somebody wrote in our name must not be stored; at most VET_HEADER octets, which the owner's
 * limits must hold to. Memory is the message's arena. */
#pragma once

#include "smtp/arc.h"
#include "smtp/spf.h"
#include "smtp/vet_intake.h"

enum {
    VET_SIGNATURES = 8, /* DKIM signatures looked at, from the top */
    VET_BODIES = VET_SIGNATURES + 1,
    VET_RESULTS = 12 * 1024, /* room for the field */
};

/* A body as one or more signatures want it hashed. */
struct vet_body {
    struct dkim_body form;
    struct digest digest;
    uint64_t limit, left;
    uint8_t result[DIGEST_LEN];
};

/* One signature on its way. */
struct vet_check {
    struct dkim_signature signature;
    struct vet_body *body; /* NULL: a seal */
    uint8_t digest[DIGEST_LEN];
    enum dkim_verdict verdict;
    const char *why;
    unsigned bits;
    bool judged;
};

enum vet_line { VET_SPF, VET_KEYS, VET_LINES };

struct vet {
    struct arena *arena;
    struct vet_subject subject;
    struct text header; /* as it arrives */
    uint8_t line_at;
    bool header_ended;
    size_t swallowed; /* octets of the present piece that are in `header` already */
    struct header_field *fields;
    unsigned field_count;
    struct vet_body bodies[VET_BODIES];
    unsigned body_count;
    struct vet_check *checks; /* the DKIM signatures, then the chain's */
    unsigned check_count, dkim_count, at;
    struct arc arc;
    enum dkim_verdict arc_verdict;
    const char *arc_why;
    unsigned removed; /* fields in our name */
    struct spf spf;
};

/* The next question of this line; false: it has none (any more). */
bool vet_asks(struct vet *vet, enum vet_line line, struct name *ret_name, enum rr_type *ret_type);
/* NULL: it failed. `now_s` is Unix time. */
void vet_answer(struct vet *vet, enum vet_line line, const struct answer *answer, uint64_t now_s);

/* "Authentication-Results: ..." with its CRLF; what is not known yet is a temporary error. And the
 * same for the journal, on one line without the name. */
void vet_put_results(struct vet *vet, struct sink *sink);
void vet_put_summary(struct vet *vet, struct sink *sink);
