#include "queue/segments.h"

#include "core/clock.h"
#include "core/crc32c.h"
#include "queue/spool_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

/* ---- the set ---- */

int segments_init(struct segments *segments, const char *directory, unsigned limit, uint64_t size)
{
    *segments = (struct segments){.limit = limit < SEGMENTS_MAX ? limit : SEGMENTS_MAX,
                                  .size = size / SEGMENT_BLOCK * SEGMENT_BLOCK};
    segments->directory = strdup(directory);
    segments->all = calloc(segments->limit + (size_t)1, sizeof(struct segment *));
    return segments->directory && segments->all ? 0 : -ENOMEM;
}

void segments_fini(struct segments *segments)
{
    for (unsigned i = 0; i < segments->count; i++)
        segment_free(segments->all[i]);
    segment_free(segments->being_opened);
    leaving_fini(&segments->leaving);
    free(segments->all);
    free(segments->directory);
    *segments = (struct segments){0};
}

struct segment *segments_find(const struct segments *segments, uint32_t number)
{
    for (unsigned i = 0; i < segments->count; i++)
        if (segments->all[i]->number == number)
            return segments->all[i];
    return NULL;
}

struct segment *segments_add(struct segments *segments, uint32_t number, uint64_t size)
{
    if (segments->count == segments->limit || size / SEGMENT_BLOCK > UINT32_MAX)
        return NULL;
    struct segment *segment = segment_new(number, (uint32_t)(size / SEGMENT_BLOCK));
    if (segment)
        segments->all[segments->count++] = segment;
    return segment;
}

static uint32_t blocks_of(uint64_t len)
{
    return (uint32_t)((len + SEGMENT_BLOCK - 1) / SEGMENT_BLOCK);
}

bool segments_mark(struct segments *segments, const struct place *place,
                   struct segment_slot *ret_slot)
{
    struct segment *segment = segments_find(segments, place->segment);
    struct segment_slot slot = {segment, (uint32_t)(place->offset / SEGMENT_BLOCK),
                                blocks_of(place->len)};
    if (!segment || place->offset % SEGMENT_BLOCK ||
        place->offset / SEGMENT_BLOCK > segment->blocks ||
        !segment_mark(segment, slot.first, slot.blocks))
        return false;
    *ret_slot = slot;
    return true;
}

/* ---- making and opening ---- */

static void look_on(struct share *share);

static struct share *share_of_segments(struct segments *segments)
{
    return container_of(segments, struct share, segments);
}

static void rest(struct segments *segments)
{
    struct share *share = share_of_segments(segments);
    segments->retry_ns = share->loop->now_ns + SEGMENT_RETRY_MS * NS_PER_MS;
}

static void end(struct share *share)
{
    share->segments.busy = false;
    share->writes--;
    look_on(share);
    share_look_drained(share);
}

static void retire(struct share *share, struct segment *segment)
{
    if (segment->retired)
        return;
    segment->retired = true;
    share->segments.errors++;
    atomic_fetch_add(&share->spool->segments_lost, 1);
}

/* A segment that cannot be opened is as good as full. */
static void on_opened(struct op *op)
{
    struct segments *segments = container_of(op, struct segments, opening);
    struct segment *segment = segments->being_opened;
    segments->being_opened = NULL;
    if (op->result >= 0) {
        segment->fd = op->result;
    } else {
        retire(share_of_segments(segments), segment);
        rest(segments);
    }
    if (segments_find(segments, segment->number) != segment)
        segments->all[segments->count++] = segment;
    end(share_of_segments(segments));
}

static void open_segment(struct segments *segments, struct segment *segment)
{
    struct share *share = share_of_segments(segments);
    segments->being_opened = segment;
    op_init(&segments->opening, on_opened);
    io_open(share->loop->io, &segments->opening, segments->path, O_WRONLY | O_DIRECT, 0);
}

static void on_made(struct op *op)
{
    struct segments *segments = container_of(op, struct segments, making.op);
    struct segment *segment = op->result < 0
                                  ? NULL
                                  : segment_new(segments->making.segment_number,
                                                (uint32_t)(segments->size / SEGMENT_BLOCK));
    if (segment) {
        open_segment(segments, segment);
        return;
    }
    rest(segments); /* the disk is full, say */
    end(share_of_segments(segments));
}

static void make_segment(struct share *share)
{
    struct segments *segments = &share->segments;
    uint32_t number = share->worker;
    while (segments_find(segments, number))
        number += share->options->workers;
    if (!segment_path(segments->path, segments->directory, number))
        return;
    load_init(&segments->making, share->loop, LOAD_SEGMENT, on_made);
    segments->making.segment_number = number;
    segments->making.segment_path = segments->path;
    segments->making.segment_size = segments->size;
    segments->busy = true;
    share->writes++;
    share_load(share, &segments->making);
}

/* Opens the next one that recovery found. False: all are open. */
static bool open_next(struct share *share)
{
    struct segments *segments = &share->segments;
    for (unsigned i = 0; i < segments->count; i++) {
        struct segment *segment = segments->all[i];
        if (segment->fd >= 0 || segment->retired ||
            !segment_path(segments->path, segments->directory, segment->number))
            continue;
        segments->busy = true;
        share->writes++;
        open_segment(segments, segment);
        return true;
    }
    return false;
}

static void look_on(struct share *share)
{
    if (!share->segments.busy && !share->draining)
        open_next(share);
}

void segments_start(struct share *share)
{
    look_on(share);
}

/* Less than a quarter of what can be written to is free. */
static bool runs_short(const struct segments *segments)
{
    uint64_t blocks = 0, used = 0;
    for (unsigned i = 0; i < segments->count; i++) {
        const struct segment *segment = segments->all[i];
        if (segment->fd < 0 || segment->retired)
            continue;
        blocks += segment->blocks;
        used += segment->used;
    }
    return used + blocks / 4 >= blocks;
}

static void look_for_more(struct share *share)
{
    struct segments *segments = &share->segments;
    if (!segments->busy && segments->count < segments->limit && !share->draining &&
        share->loop->now_ns >= segments->retry_ns && runs_short(segments))
        make_segment(share);
}

void segments_close(struct share *share)
{
    struct segments *segments = &share->segments;
    for (unsigned i = 0; i < segments->count; i++) {
        struct segment *segment = segments->all[i];
        if (segment->fd >= 0)
            io_close_now(share->loop->io, segment->fd);
        segment->fd = -1;
        segment->retired = true;
    }
}

/* ---- slots ---- */

static bool take_from(struct segment *segment, uint32_t blocks, struct segment_slot *ret_slot)
{
    uint32_t first;
    if (segment->fd < 0 || segment->retired || !segment_take(segment, blocks, &first))
        return false;
    *ret_slot = (struct segment_slot){segment, first, blocks};
    return true;
}

static bool take(struct segments *segments, uint32_t blocks, struct segment_slot *ret_slot)
{
    for (unsigned i = 0; i < segments->count; i++) {
        unsigned at = (segments->current + i) % segments->count;
        if (!take_from(segments->all[at], blocks, ret_slot))
            continue;
        segments->current = at;
        return true;
    }
    return false;
}

static uint32_t checksum(const struct text *text)
{
    uint32_t crc = 0;
    for (const struct text_piece *piece = text->first; piece; piece = piece->next)
        crc = crc32c(crc, span_of(piece->data, piece->len));
    return crc;
}

bool segments_take(struct intake *intake, struct place *ret_place)
{
    struct share *share = intake->message.share;
    struct segments *segments = &share->segments;
    const struct text *body = &intake->message.body;
    if (body->len < SEGMENT_BODY_LEAST || segments->limit == 0)
        return false;
    leaving_give(&segments->leaving, atomic_load(&share->spool->committer.synced));
    bool taken = take(segments, blocks_of(body->len), &intake->slot);
    look_for_more(share);
    if (!taken) {
        segments->inlined++;
        return false;
    }
    *ret_place = (struct place){
        .kind = PLACE_SEGMENT,
        .segment = intake->slot.segment->number,
        .offset = (uint64_t)intake->slot.first * SEGMENT_BLOCK,
        .len = (uint32_t)body->len,
        .crc32c = checksum(body),
    };
    return true;
}

void segments_release(struct intake *intake, uint64_t group)
{
    struct segments *segments = &intake->message.share->segments;
    struct segment_slot slot = intake->slot;
    if (!slot.segment)
        return;
    intake->slot = (struct segment_slot){0};
    if (group == 0)
        segment_give(slot.segment, slot.first, slot.blocks);
    else if (!leaving_add(&segments->leaving, slot, group))
        segments->errors++; /* no memory: it stays taken until the next start */
}

void segments_usage(const struct segments *segments, struct segments_usage *ret_usage)
{
    struct segments_usage usage = {.segments = segments->count};
    for (unsigned i = 0; i < segments->count; i++) {
        const struct segment *segment = segments->all[i];
        bool writable = segment->fd >= 0 && !segment->retired;
        usage.used_bytes += (uint64_t)segment->used * SEGMENT_BLOCK;
        usage.free_bytes +=
            writable ? (uint64_t)(segment->blocks - segment->used) * SEGMENT_BLOCK : 0;
    }
    *ret_usage = usage;
}

/* ---- writing ---- */

/* The last block is written whole, and what lies behind the text in memory is somebody else's. */
static void clear_rest(const struct text_piece *last, struct iovec *iov)
{
    size_t whole = (last->len + SEGMENT_BLOCK - 1) / SEGMENT_BLOCK * SEGMENT_BLOCK;
    memset(last->data + last->len, 0, whole - last->len);
    iov->iov_len = whole;
}

bool segments_write(struct intake *intake)
{
    struct message *message = &intake->message;
    const struct text *body = &message->body;
    struct iovec *iov = arena_take(&message->arena, body->pieces * sizeof *iov);
    if (!iov)
        return false;
    unsigned count = 0;
    for (const struct text_piece *piece = body->first; piece; piece = piece->next)
        iov[count++] = (struct iovec){piece->data, piece->len};
    clear_rest(body->last, &iov[count - 1]);
    io_write(message->share->loop->io, &intake->body_written, intake->slot.segment->fd, iov, count,
             (uint64_t)intake->slot.first * SEGMENT_BLOCK);
    return true;
}

int segments_written(struct intake *intake)
{
    struct segments *segments = &intake->message.share->segments;
    if (intake->body_written.result == (int32_t)(intake->slot.blocks * SEGMENT_BLOCK)) {
        segments->bodies++;
        return 0;
    }
    retire(intake->message.share, intake->slot.segment);
    return -EIO;
}
