/* A large body on its way in: parts of BODY_PART bytes that are written, unsynced, while more
 * arrive.
 *
 * Part 0 will be our own headers, which come last; the received bytes are parts 1, 2, ... The first
 * part lies in the message's arena (it was small until then), the others alternate between two
 * buffers: one fills while the other is written. If both are busy, the sender is told to wait: that
 * is the back-pressure of a disk slower than the network.
 *
 * A marker `upload/<id>` in meta goes with part 1 and is removed in the final, synced batch, which
 * also makes all earlier parts durable (one log). What a crash leaves under a marker is deleted at
 * the next start. A part that failed spoils the message: its bytes are gone from memory. */
#include "queue/share_private.h"
#include "queue/spool_private.h"

#include <errno.h>
#include <stdlib.h>

struct upload_part {
    struct intake *intake;
    struct arena *arena;
    struct arena own;
    struct text *text;
    struct text own_text;
    struct commit commit;
    bool writing;
};

struct upload {
    struct upload_part first, parts[2];
    unsigned filling;
    uint32_t next_number; /* of the part that is submitted next */
    unsigned in_flight;
    struct op *room;
    bool abandoned;
};

static void remove_parts(struct intake *intake);

static void part_init(struct upload_part *part, struct intake *intake)
{
    part->intake = intake;
    part->arena = &part->own;
    part->text = &part->own_text;
    arena_init(&part->own, intake->message.arena.pool, 2 * BODY_PART);
}

static int upload_open(struct intake *intake)
{
    struct upload *upload = calloc(1, sizeof(*upload));
    if (!upload)
        return -ENOMEM;
    part_init(&upload->parts[0], intake);
    part_init(&upload->parts[1], intake);
    part_init(&upload->first, intake);
    upload->first.arena = &intake->message.arena;
    upload->first.text = &intake->message.body;
    upload->next_number = 1;
    intake->upload = upload;
    return 0;
}

struct upload *upload_free(struct upload *upload)
{
    if (!upload)
        return NULL;
    arena_fini(&upload->parts[0].own);
    arena_fini(&upload->parts[1].own);
    arena_fini(&upload->first.own);
    free(upload);
    return NULL;
}

static void on_part_written(struct op *op)
{
    struct upload_part *part = container_of(op, struct upload_part, commit.op);
    struct intake *intake = part->intake;
    struct upload *upload = intake->upload;
    struct share *share = intake->message.share;

    part->writing = false;
    upload->in_flight--;
    share->writes--;
    if (op->result < 0 && intake->error == 0)
        intake->error = op->result;
    if (part != &upload->first) {
        arena_fini(&part->own);
        part->own_text = (struct text){0};
        arena_init(&part->own, intake->message.arena.pool, 2 * BODY_PART);
    }
    struct op *room = upload->room;
    upload->room = NULL;
    if (room)
        loop_ready(share->loop, room, 0);
    if (upload->in_flight == 0 && upload->abandoned)
        remove_parts(intake);
    else if (upload->in_flight == 0 && intake->done)
        intake_parts_written(intake);
    share_look_drained(share);
}

/* The pieces of `text` as the value of a body part. */
static bool put_part(struct commit *commit, struct arena *arena, uint64_t id, uint32_t number,
                     const struct text *text)
{
    char key[KEY_MAX];
    struct span *spans = arena_take(arena, (text->pieces + 1) * sizeof(*spans));
    if (!spans)
        return false;
    unsigned count = text_spans(text, spans);
    return commit_put(commit, arena, FAMILY_BODY, body_key(key, id, number), spans, count);
}

static bool put_marker(struct commit *commit, struct arena *arena, uint64_t id)
{
    static const struct span nothing = {"", 0};
    char key[KEY_MAX];
    return commit_put(commit, arena, FAMILY_META, upload_key(key, id), &nothing, 1);
}

static int submit_part(struct upload *upload, struct upload_part *part)
{
    struct intake *intake = part->intake;
    struct share *share = intake->message.share;
    uint64_t id = intake->message.envelope.id;
    uint32_t number = upload->next_number;

    commit_init(&part->commit, share->loop, COMMIT_WRITTEN, on_part_written);
    if (!put_part(&part->commit, part->arena, id, number, part->text) ||
        (number == 1 && !put_marker(&part->commit, part->arena, id)))
        return -ENOMEM;
    upload->next_number++;
    upload->in_flight++;
    part->writing = true;
    share->writes++;
    share_submit(share, &part->commit);
    return 0;
}

/* Takes what fits into the part; a full part is submitted. */
static int fill_part(struct upload *upload, struct upload_part *part, struct span *bytes)
{
    struct message *message = &part->intake->message;
    struct span taken = span_first(*bytes, BODY_PART - part->text->len);
    if (!text_append(part->text, part->arena, taken))
        return -ENOMEM;
    message->body_len += taken.len;
    *bytes = span_skip(*bytes, taken.len);
    return part->text->len == BODY_PART ? submit_part(upload, part) : 0;
}

static int append(struct upload *upload, struct span bytes)
{
    while (bytes.len) {
        struct upload_part *part = &upload->parts[upload->filling];
        int result = fill_part(upload, part, &bytes);
        if (result)
            return result;
        if (part->writing)
            upload->filling ^= 1;
    }
    return 0;
}

int upload_append(struct intake *intake, struct span bytes, struct op *room)
{
    if (intake->error)
        return intake->error;
    if (!intake->upload) {
        int result = upload_open(intake);
        if (result == 0)
            result = fill_part(intake->upload, &intake->upload->first, &bytes);
        if (result)
            return intake->error = result;
    }
    struct upload *upload = intake->upload;
    struct upload_part *part = &upload->parts[upload->filling];
    struct upload_part *other = &upload->parts[upload->filling ^ 1];
    if (part->writing || (bytes.len > BODY_PART - part->text->len && other->writing)) {
        upload->room = room;
        return -EAGAIN;
    }
    intake->error = append(upload, bytes);
    return intake->error;
}

bool upload_busy(const struct intake *intake)
{
    return intake->upload && intake->upload->in_flight > 0;
}

bool upload_fill(struct intake *intake, struct commit *commit, struct arena *arena)
{
    struct upload *upload = intake->upload;
    struct upload_part *part = &upload->parts[upload->filling];
    uint64_t id = intake->message.envelope.id;
    char key[KEY_MAX];
    if (!put_part(commit, arena, id, 0, &intake->message.head) ||
        !commit_delete(commit, arena, FAMILY_META, upload_key(key, id)))
        return false;
    return part->text->len == 0 || put_part(commit, arena, id, upload->next_number, part->text);
}

static void on_parts_removed(struct op *op)
{
    /* If it failed, the marker still stands and the next start removes them. */
    struct intake *intake = container_of(op, struct intake, commit.op);
    struct share *share = intake->message.share;
    share->writes--;
    intake_free(intake);
    share_look_drained(share);
}

static void remove_parts(struct intake *intake)
{
    struct share *share = intake->message.share;
    struct arena *arena = &intake->message.arena;
    uint64_t id = intake->message.envelope.id;
    char key[KEY_MAX];

    commit_init(&intake->commit, share->loop, COMMIT_WRITTEN, on_parts_removed);
    bool fits = commit_delete(&intake->commit, arena, FAMILY_META, upload_key(key, id));
    for (uint32_t part = 0; fits && part <= intake->upload->next_number; part++)
        fits = commit_delete(&intake->commit, arena, FAMILY_BODY, body_key(key, id, part));
    if (!fits) { /* no memory: the marker stays, as after a crash */
        intake_free(intake);
        return;
    }
    share->writes++;
    share_submit(share, &intake->commit);
}

void upload_abandon(struct intake *intake)
{
    struct upload *upload = intake->upload;
    upload->room = NULL;
    upload->abandoned = true;
    if (upload->in_flight == 0)
        remove_parts(intake);
}
