#include "queue/rejection.h"

#include "queue/event.h"
#include "queue/share_private.h"

static bool may_be_told(struct share *share)
{
    uint64_t second = share->loop->wall_ms / 1000;
    if (second != share->rejection_second) {
        share->rejection_second = second;
        share->rejections_told = 0;
    }
    return share->rejections_told < REJECTIONS_PER_SECOND && share->drain_step != DRAIN_JOURNAL &&
           !journal_behind(share->journal);
}

void share_rejected(struct share *share, const struct rejection *rejection)
{
    if (!may_be_told(share)) {
        share->usage.rejections_untold++;
        return;
    }
    share->rejections_told++;
    struct recipient nobody = {0};
    struct envelope envelope = {
        .reverse_path = rejection->sender,
        .arrived_ms = share->loop->wall_ms,
        .recipient_count = 1,
        .recipients = &nobody,
    };
    struct event event = {
        .type = EVENT_REJECTION,
        .envelope = &envelope,
        .reply = rejection->reply,
        .peer = rejection->peer,
        .peer_name = rejection->peer_name,
        .wall_ms = share->loop->wall_ms,
        .reception_protocol = rejection->protocol,
    };
    share_journal(share, &event, NULL);
}
