#include "queue/check_bodies.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

int body_check_open(struct body_check *check, const char *directory)
{
    *check = (struct body_check){0};
    check->buffer = malloc(BODY_PART);
    if (!check->buffer)
        return -ENOMEM;
    return segment_files_open(directory, false, &check->files);
}

void body_check_close(struct body_check *check)
{
    segment_files_close(&check->files);
    free(check->bodies);
    free(check->buffer);
    *check = (struct body_check){0};
}

static struct noted_body *add(struct body_check *check)
{
    if (check->count == check->capacity) {
        size_t capacity = check->capacity ? 2 * check->capacity : 1024;
        struct noted_body *grown = reallocarray(check->bodies, capacity, sizeof *grown);
        if (!grown)
            return NULL;
        check->bodies = grown;
        check->capacity = capacity;
    }
    return &check->bodies[check->count++];
}

bool body_check_take(struct body_check *check, uint64_t sequence, const struct fresh_record *record)
{
    const struct place *place = &record->place;
    if (sequence != check->last_sequence + 1)
        check->last_run = sequence;
    check->last_sequence = sequence;
    if (place->kind != PLACE_SEGMENT)
        return true;
    struct noted_body *body = add(check);
    if (!body)
        return false;
    *body = (struct noted_body){record->id, sequence, place->offset, place->segment, place->len, 0};
    body->result = place->len > BODY_PART ? -EMSGSIZE
                                          : segment_files_read(&check->files, place, check->buffer);
    return true;
}

static int compare(const void *a, const void *b)
{
    const struct noted_body *x = a, *y = b;
    if (x->segment != y->segment)
        return x->segment < y->segment ? -1 : 1;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static bool overlap(const struct noted_body *before, const struct noted_body *after)
{
    uint64_t len = ((uint64_t)before->len + SEGMENT_BLOCK - 1) / SEGMENT_BLOCK * SEGMENT_BLOCK;
    return before->segment == after->segment && before->offset + len > after->offset;
}

static const char *reason(int result)
{
    switch (result) {
    case -ENOENT:
        return "there is no such segment";
    case -ENXIO:
        return "the segment ends before it";
    case -EMSGSIZE:
        return "it is too long";
    case -EBADMSG:
        return "its checksum is another";
    }
    return strerror(-result);
}

void body_check_judge(struct body_check *check, body_on_fault *on_fault, void *context)
{
    char text[200];
    if (check->count)
        qsort(check->bodies, check->count, sizeof *check->bodies, compare);
    for (size_t i = 0; i < check->count; i++) {
        const struct noted_body *body = &check->bodies[i];
        bool unfinished = body->result == -EBADMSG && body->sequence >= check->last_run;
        snprintf(text, sizeof text, "body in segment %u at %llu: %s", body->segment,
                 (unsigned long long)body->offset, reason(body->result));
        if (body->result)
            on_fault(context, unfinished ? QUEUE_CHECK_FRESH_UNFINISHED : QUEUE_CHECK_FRESH_BODY,
                     body->id, text);
        if (i == 0 || !overlap(&check->bodies[i - 1], body))
            continue;
        snprintf(text, sizeof text, "body in segment %u at %llu: another's lies there, too",
                 body->segment, (unsigned long long)body->offset);
        on_fault(context, QUEUE_CHECK_BODY_OVERLAP, body->id, text);
    }
}
