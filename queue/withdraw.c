/* A message whose commit came after its 451: it is on disk, and must go again before anybody sees
 * it.
 *
 * Its rows stay ACCEPTING until the delete is committed, so no window brings them and no lane gets
 * them. A full disk only delays the delete; with a dead one the next start delivers the message: a
 * duplicate rather than a loss. */
#include "queue/spool_private.h"

bool share_withdraw(struct share *share, struct message *message, struct op *done)
{
    if (done->state == OP_READY)
        return false;
    struct intake *intake = intake_of(message);
    intake->withdrawn = true;
    done->state = OP_IDLE;
    share->usage.withdrawn++;
    return true;
}

static void on_withdrawn(struct op *op)
{
    struct intake *intake = container_of(op, struct intake, commit.op);
    struct share *share = intake->message.share;
    share->writes--;
    if (op->result < 0) { /* disk full: tried again; dead: the next start will deliver it */
        list_append(&share->stuck_withdrawals, &intake->link);
        share_look_drained(share);
        return;
    }
    segments_release(intake, intake->commit.group);
    for (unsigned i = 0; i < intake->row_count; i++) {
        struct stored_queue *queue = stored(intake->rows[i].row.queue);
        window_forget(&intake->rows[i]);
        queue_look(queue);
    }
    intake_free(intake);
    share_look_drained(share);
}

static bool delete_all(struct intake *intake, uint64_t sequence)
{
    struct commit *commit = &intake->commit;
    struct arena *arena = &intake->message.arena;
    uint64_t id = intake->message.envelope.id;
    char key[KEY_MAX];
    if (intake->fresh)
        return commit_delete(commit, arena, FAMILY_FRESH, fresh_key(key, sequence));
    for (unsigned i = 0; i < intake->row_count; i++) {
        struct held *held = &intake->rows[i];
        struct stored_queue *queue = stored(held->row.queue);
        if (!commit_delete(commit, arena, FAMILY_ROW,
                           row_key(key, queue->shard, queue->number, held->row.due_ms, id)) ||
            (intake->row_count > 1 &&
             !commit_delete(commit, arena, FAMILY_REF, ref_key(key, id, queue->number))))
            return false;
    }
    return body_delete(commit, arena, id, intake->message.envelope.size);
}

void intake_withdraw(struct intake *intake)
{
    struct share *share = intake->message.share;
    uint64_t sequence = intake->commit.sequence;
    commit_init(&intake->commit, share->loop, COMMIT_WRITTEN, on_withdrawn);
    intake->commit.sequence = sequence; /* in case it has to be tried again */
    if (!delete_all(intake, sequence)) {
        list_append(&share->stuck_withdrawals, &intake->link);
        return;
    }
    share->writes++;
    share_submit(share, &intake->commit);
}

void withdrawals_retry(struct share *share)
{
    struct list stuck;
    list_init(&stuck);
    list_append_all(&stuck, &share->stuck_withdrawals);
    for (struct list_link *link; (link = list_take_first(&stuck));) {
        intake_withdraw(container_of(link, struct intake, link));
    }
}
