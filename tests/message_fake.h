/* message_fake: the queue as those see it who receive a message: a body in memory, and all that can
 * go wrong with it on demand. For one source file per program: it defines the queue's message
 * functions, which the linker then does not take from the library. */
#pragma once

#include "core/check.h"
#include "queue/share.h"

#include <errno.h>
#include <stdlib.h>

struct share {
    struct chunk_pool pool;
    uint64_t next_id;
    int refusal;         /* of share_refusal, and then of message_new */
    unsigned room_every; /* each n-th append finds no room, once */
    unsigned appends;
    bool room_was_denied;
    int append_error; /* after `append_most` octets of a message */
    size_t append_most;
    unsigned alive; /* messages not given back yet */
};

/* ---- the queue's side ---- */

struct message *message_new(struct share *share)
{
    struct message *message = share->refusal ? NULL : calloc(1, sizeof *message);
    if (!message)
        return NULL;
    message->share = share;
    arena_init(&message->arena, &share->pool, SIZE_MAX);
    message->envelope.id = share->next_id++;
    share->alive++;
    return message;
}

void message_abandon(struct message *message)
{
    message->share->alive--;
    free(message->envelope.recipients);
    arena_fini(&message->arena);
    free(message);
}

bool message_add_recipient(struct message *message, const struct recipient *recipient)
{
    struct envelope *envelope = &message->envelope;
    size_t size = (envelope->recipient_count + 1) * sizeof *recipient;
    struct recipient *recipients = realloc(envelope->recipients, size);
    check(recipients);
    envelope->recipients = recipients;
    struct recipient *added = &recipients[envelope->recipient_count++];
    *added = *recipient;
    return arena_copy(&message->arena, recipient->address, &added->address) &&
           arena_copy(&message->arena, recipient->original, &added->original);
}

int message_append(struct message *message, struct span bytes, struct op *room)
{
    struct share *share = message->share;
    check(bytes.len > 0);
    if (share->room_every && !share->room_was_denied && ++share->appends % share->room_every == 0) {
        share->room_was_denied = true;
        return -EAGAIN;
    }
    share->room_was_denied = false;
    if (share->append_error && message->body.len + bytes.len > share->append_most)
        return share->append_error;
    return text_append(&message->body, &message->arena, bytes) ? 0 : -ENOMEM;
}

int share_refusal(const struct share *share)
{
    return share->refusal;
}
