/* rejection: a client was refused a command or a message; the journal tells of it.
 *
 * There is no message, so the line's id is zero. Strangers can be refused as often as they like:
 * at most REJECTIONS_PER_SECOND of a worker are told, and none while the journal is behind; the
 * others are counted. */
#pragma once

#include "queue/share.h"

enum { REJECTIONS_PER_SECOND = 100 };

struct rejection {
    struct span sender; /* empty: none yet, or the null path */
    struct address peer;
    struct span peer_name, protocol;
    const struct reply_summary *reply; /* ours; `command` is the client's line */
};

void share_rejected(struct share *share, const struct rejection *rejection);
