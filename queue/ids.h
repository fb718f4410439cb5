/* ids: the numbers of messages: 42 bits of milliseconds since 2020, 8 bits shard, 14 bits counter.
 * Pure.
 *
 * A shard belongs to one worker, so each worker makes its ids alone. They rise within a run
 * whatever the clock does: a clock that steps back, or stands, only lets the counter run, and the
 * millisecond goes on when the counter is full. Over restarts a ceiling in `meta` keeps them apart:
 * every id that becomes durable lies below it, and the next run starts at it. The ceiling is
 * reserved IDS_AHEAD_MS ahead, and travels in the very batch that needs it: a message and the
 * ceiling above its id become durable together, so nobody waits for it. */
#pragma once

#include "core/check.h"

#include <stdint.h>

enum { IDS_AHEAD_MS = 10000, IDS_COUNTERS = 1 << 14 };

struct ids {
    uint64_t at_ms;      /* Unix time of the last id, or of the floor */
    uint32_t counter;    /* next within at_ms */
    uint64_t ceiling_ms; /* confirmed on disk: ids at or above it must not become durable alone */
    uint64_t asked_ms;   /* the highest ceiling in a batch that is not confirmed yet */
};

/* `floor_ms`: the highest ceiling that earlier runs left, 0 for none. */
void ids_init(struct ids *ids, uint64_t floor_ms);

uint64_t ids_next(struct ids *ids, uint64_t wall_ms, uint8_t shard);

/* Whether the batch that makes `id` durable must carry a ceiling, and which (also when the reserve
 * has shrunk to its half, so that few batches do). */
bool ids_need_ceiling(struct ids *ids, uint64_t id, uint64_t *ret_ceiling_ms);

/* The highest ceiling that is on disk or on its way there. */
uint64_t ids_ceiling(const struct ids *ids);

/* A batch with this ceiling is on disk. */
void ids_confirm(struct ids *ids, uint64_t ceiling_ms);
