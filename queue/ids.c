#include "queue/ids.h"

#include "queue/record.h"

/* 2020-01-01T00:00:00Z, from which ids count (record.h). */
static const uint64_t epoch_ms = UINT64_C(1577836800000);

void ids_init(struct ids *ids, uint64_t floor_ms)
{
    *ids = (struct ids){.at_ms = floor_ms > epoch_ms ? floor_ms : epoch_ms, .ceiling_ms = floor_ms};
}

uint64_t ids_next(struct ids *ids, uint64_t wall_ms, uint8_t shard)
{
    if (wall_ms > ids->at_ms) {
        ids->at_ms = wall_ms;
        ids->counter = 0;
    } else if (ids->counter == IDS_COUNTERS) {
        ids->at_ms++;
        ids->counter = 0;
    }
    return (ids->at_ms - epoch_ms) << 22 | (uint64_t)shard << 14 | ids->counter++;
}

bool ids_need_ceiling(struct ids *ids, uint64_t id, uint64_t *ret_ceiling_ms)
{
    uint64_t at_ms = id_wall_ms(id);
    if (at_ms + IDS_AHEAD_MS / 2 < ids->ceiling_ms)
        return false;
    /* A batch in flight may hold a higher one, and the last to be written stays. */
    if (ids->asked_ms < at_ms + IDS_AHEAD_MS)
        ids->asked_ms = at_ms + IDS_AHEAD_MS;
    *ret_ceiling_ms = ids->asked_ms;
    return true;
}

uint64_t ids_ceiling(const struct ids *ids)
{
    return ids->asked_ms > ids->ceiling_ms ? ids->asked_ms : ids->ceiling_ms;
}

void ids_confirm(struct ids *ids, uint64_t ceiling_ms)
{
    if (ceiling_ms > ids->ceiling_ms)
        ids->ceiling_ms = ceiling_ms;
}
