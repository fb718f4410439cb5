/* vet_intake: what the server's dialogue must know of vet.h: a message goes through it while it
 * arrives. */
#pragma once

#include "queue/share.h"

enum { VET_HEADER = BODY_PART / 2 }; /* of a header section: the share takes it without a pause */

struct vet;

struct vet_subject {
    struct span hostname; /* ours: who says so */
    struct span client;   /* its address as text */
    struct span helo, sender;
    uint8_t client_bits[16]; /* IPv4 as ::ffff:a.b.c.d */
};

/* The subject's spans stay the caller's until vet_end. NULL: no memory. */
struct vet *vet_new(struct arena *arena, const struct vet_subject *subject);

/* In place of message_append, with its results; after -EAGAIN the same octets come again. */
MUST_USE int vet_add(struct vet *vet, struct message *message, struct span piece, struct op *room);
/* They were all. As message_append, but for -EAGAIN. */
MUST_USE int vet_end(struct vet *vet, struct message *message);
