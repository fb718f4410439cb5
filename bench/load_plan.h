/* load_plan: which message comes next, for whom, and when it is due.
 *
 * Closed loop: the next one whenever a connection is free. Open loop (a rate): message i is due at
 * start + i / rate, whatever the server does, and its latency counts from there, so a server that
 * stalls is charged for all that waited meanwhile. */
#pragma once

#include "bench/message.h"
#include "core/random.h"

enum { LOAD_SIZES = 16, LOAD_DOMAINS = 64, LOAD_NAME = 256 };

struct load_choice {
    uint64_t weight; /* of this one and all before it */
    char name[LOAD_NAME];
};

struct load_plan {
    struct message_text texts[LOAD_SIZES];
    struct load_choice sizes[LOAD_SIZES], domains[LOAD_DOMAINS];
    unsigned size_count, domain_count;
    uint64_t numbered_domains; /* d<number>.test in their stead, if not 0 */
    uint64_t recipients;       /* of each message */
    bool spread;               /* each recipient in a domain of its own choice */
    uint64_t messages;         /* in all; 0: no limit */
    uint64_t rate;             /* a second; 0: closed loop */
    uint64_t start_ns, end_ns; /* end: UINT64_MAX if only the count ends it */
    uint64_t given;            /* messages */
    uint64_t numbers;          /* recipients named so far */
    struct random random;
};

struct load_message {
    const struct message_text *text;
    uint64_t number;
    uint64_t due_ns; /* 0 in closed loop */
};

/* "10240" or "1024:3,10240:1": sizes or names with weights. Ends the program if malformed. */
void load_plan_sizes(struct load_plan *plan, const char *text);
void load_plan_domains(struct load_plan *plan, const char *text);
void load_plan_fini(struct load_plan *plan);

/* The next message, if one is due. */
bool load_plan_take(struct load_plan *plan, uint64_t now_ns, struct load_message *ret_message);

/* No message will come any more. */
bool load_plan_over(const struct load_plan *plan, uint64_t now_ns);

/* When the next one is due; only in open loop. */
uint64_t load_plan_next_ns(const struct load_plan *plan);

/* Bytes that the commands of one message need at most, and writes them: MAIL and RCPT. Returns how
 * many. The recipients are user<number>@domain, numbered on, with at least eight digits. */
size_t load_plan_envelope_max(const struct load_plan *plan);
size_t load_plan_envelope(struct load_plan *plan, char *data);
