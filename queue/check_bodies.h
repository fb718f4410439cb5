/* check_bodies: the part of `queue check` that reads the bodies of fresh records in segments.
 *
 * Each is read once and compared with its checksum; then no two may share a block. A wrong checksum
 * in the last group of the log is what a power failure leaves of a message that nobody was promised
 * (recover.c), so it can be judged only when all records were seen. */
#pragma once

#include "queue/check.h"
#include "queue/segment_file.h"

struct noted_body {
    uint64_t id, sequence, offset;
    uint32_t segment, len;
    int result; /* of reading it */
};

struct body_check {
    struct segment_files files;
    struct noted_body *bodies;
    size_t count, capacity;
    char *buffer;
    uint64_t last_sequence, last_run; /* of the run at the end, the first */
};

/* `directory`: SEGMENT_FOLDER. 0 or a negative errno. */
MUST_USE int body_check_open(struct body_check *check, const char *directory);
void body_check_close(struct body_check *check);

/* A fresh record in the order of sequences, wherever its body is. False: no memory. */
MUST_USE bool body_check_take(struct body_check *check, uint64_t sequence,
                              const struct fresh_record *record);

typedef void body_on_fault(void *context, enum queue_check_kind kind, uint64_t id,
                           const char *text);
void body_check_judge(struct body_check *check, body_on_fault *on_fault, void *context);
