/* What a server needs to receive a message, and nothing else: dialogue tests replace this file.
 *
 * The id's shard is a hash of the first recipient's domain, so that one worker keeps one domain's
 * queues in one shard as long as messages go to one domain. */
#include "queue/share_private.h"
#include "queue/spool_private.h"

#include <errno.h>

enum { SMALL_BODY = 2048 };

int share_refusal(const struct share *share)
{
    const struct spool *spool = share->spool;
    int committing = committer_state(spool->committing);
    if (committing)
        return committing == -ENOSPC ? -ENOSPC : -EIO;
    if (atomic_load_explicit(&spool->disk, memory_order_relaxed))
        return -ENOSPC;
    if (share->options->journal_blocks && journal_behind(share->journal))
        return -ENOSPC;
    if (share->inbound.in_use >= share->inbound.limit)
        return -ENOMEM;
    return 0;
}

struct message *message_new(struct share *share)
{
    if (share_refusal(share) != 0 || share->draining)
        return NULL;
    struct intake *intake = intake_new(share, &share->inbound);
    return intake ? &intake->message : NULL;
}

/* The array doubles at each power of two; its predecessors stay in the arena until the end. */
static bool grow_recipients(struct message *message)
{
    struct envelope *envelope = &message->envelope;
    unsigned count = envelope->recipient_count;
    if (count & (count - 1))
        return true;
    size_t capacity = count ? (size_t)count * 2 : 1;
    struct recipient *recipients = arena_take(&message->arena, capacity * sizeof(*recipients));
    if (!recipients)
        return false;
    if (count)
        memcpy(recipients, envelope->recipients, count * sizeof(*recipients));
    envelope->recipients = recipients;
    return true;
}

bool message_add_recipient(struct message *message, const struct recipient *recipient)
{
    struct envelope *envelope = &message->envelope;
    struct recipient copy = *recipient;
    if (!arena_copy(&message->arena, recipient->address, &copy.address) ||
        !arena_copy(&message->arena, recipient->original, &copy.original) ||
        !grow_recipients(message))
        return false;
    struct share *share = message->share;
    if (envelope->recipient_count == 0)
        envelope->id = ids_next(&share->ids, share->loop->wall_ms,
                                share_shard(share, address_domain(copy.address)));
    envelope->recipients[envelope->recipient_count++] = copy;
    return true;
}

/* A body that may become large enough for a segment is written from where it lies, so it lies in
 * pages, all of it: the short beginning of one that came in drops is copied once. */
static bool append_text(struct message *message, struct span bytes)
{
    struct text *body = &message->body;
    struct arena *arena = &message->arena;
    if (body->len + bytes.len <= SMALL_BODY)
        return text_append(body, arena, bytes);
    if (body->len > 0 && body->len <= SMALL_BODY && !arena->blocks) {
        char beginning[SMALL_BODY];
        size_t len = text_copy(body, 0, beginning, sizeof beginning);
        *body = (struct text){0};
        if (!text_append_pages(body, arena, span_of(beginning, len)))
            return false;
    }
    return text_append_pages(body, arena, bytes);
}

int message_append(struct message *message, struct span bytes, struct op *room)
{
    struct intake *intake = intake_of(message);
    check(bytes.len <= BODY_PART && message->envelope.id != 0);
    if (intake->upload || message->body_len + bytes.len > BODY_PART)
        return upload_append(intake, bytes, room);
    if (!append_text(message, bytes))
        return -ENOMEM;
    message->body_len += bytes.len;
    return 0;
}

void message_abandon(struct message *message)
{
    struct intake *intake = intake_of(message);
    if (intake->upload)
        upload_abandon(intake);
    else
        intake_free(intake);
}
