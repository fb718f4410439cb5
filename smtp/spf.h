/* spf: may this client use this domain in its envelope? check_host() of RFC 7208 as a machine that
 * asks its owner for DNS records. Pure.
 *
 *     spf_init; while (spf_asks(spf, &name, &type)) spf_answer(spf, answer or NULL); spf->result
 *
 * All limits of RFC 7208 4.6.4: ten terms that cost look-ups (include, a, mx, ptr, exists,
 * redirect), ten hosts of an MX, ten names of a PTR, two look-ups that find nothing; beyond them:
 * permerror. `exp` is checked for syntax and not evaluated: nothing is refused here, so nothing is
 * to be explained. Records lie in the arena, at most SPF_DEPTH of them. */
#pragma once

#include "core/arena.h"
#include "dns/answer.h"
#include "smtp/spf_record.h"

enum {
    SPF_TERMS = 10,
    SPF_HOSTS = 10,
    SPF_VOID = 2,
    SPF_DEPTH = SPF_TERMS + 1,
};

struct spf_subject {
    uint8_t client[16]; /* IPv4 as ::ffff:a.b.c.d */
    struct span local;  /* of the sender; empty: postmaster */
    struct span domain; /* of the sender; of a null sender the HELO name */
    struct span helo;
};

/* One record on its way: the first, or of an include. */
struct spf_frame {
    struct name domain;
    struct span rest, redirect;
    struct spf_term term; /* the one that is being looked at */
    bool redirected;      /* its record must exist (6.1) */
};

enum spf_state {
    SPF_AT_RECORD,
    SPF_AT_TERM,
    SPF_AT_ADDRESS, /* of a */
    SPF_AT_MX,
    SPF_AT_MX_ADDRESS,
    SPF_AT_PTR,
    SPF_AT_PTR_ADDRESS,
    SPF_AT_EXISTS,
    SPF_OVER,
};

struct spf {
    struct arena *arena;
    struct spf_subject subject;
    struct spf_frame frames[SPF_DEPTH];
    unsigned depth; /* frames in use */
    unsigned terms, voids;
    enum spf_state state;
    enum spf_result result;
    struct name asked;
    enum rr_type type;
    struct name target; /* of a, ptr, exists, with macros expanded */
    struct name hosts[SPF_HOSTS];
    unsigned host_count, host;
    struct name validated; /* the name behind %{p} */
    bool validating;       /* PTR look-ups are made for %{p}, not for a mechanism */
    bool validated_known;
};

/* The subject's spans stay the caller's until it is over. */
void spf_init(struct spf *spf, struct arena *arena, const struct spf_subject *subject);

/* False: it is over. True: answer it, with the same name and type until then. */
bool spf_asks(const struct spf *spf, struct name *ret_name, enum rr_type *ret_type);

/* NULL: temporary failure. */
void spf_answer(struct spf *spf, const struct answer *answer);

/* "pass", "softfail", ... */
struct span spf_result_name(enum spf_result result);
