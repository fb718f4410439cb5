/* What a share does with its rows unasked, in the background, by three walks:
 *
 *     sweep     each expiry_sweep: expires rows that are due and that no lane comes for (a slow
 *               rate, a suspension). Queues whose first row is not due yet are not read: a row is
 *               due at its expiry at the latest
 *     recount   after an unclean stop, one queue after the other: how many rows it has
 *     set-back  after the wall clock went back: rows that wait for a time which the retry schedule
 *               could not have given are given one by it
 *
 * The recount adds up rows in memory before its cursor and what loads count behind it. What comes
 * and goes before the cursor meanwhile is added and taken off (walks_note); a stretch in which
 * something came or went while it was being counted is counted again. */
#include "core/clock.h"
#include "queue/spool_private.h"
#include "queue/walk.h"

#include <errno.h>
#include <stdlib.h>

enum { FIRST_SWEEP_MS = 60000 };

struct upkeep {
    struct share *share;
    struct walk sweep, recount, set_back;
    uint64_t sweep_at_ns;
    uint64_t last_wall_ms, last_ns; /* of the last tick */
    uint64_t far_ms; /* set_back: the longest wait that a schedule makes; loaders read it */
    bool sweeping, recounting, setting_back;
    bool went_back; /* once more, from the start */
};

/* ---- the sweep ---- */

static bool choose_due(struct walk *walk, struct stored_queue *queue, struct position *ret_from,
                       struct position *ret_to)
{
    *ret_to = (struct position){walk->started_ms + 1, 0};
    return position_before(*ret_from, *ret_to);
}

static bool has_expired(const struct walk *walk, const struct envelope *envelope,
                        const struct row_state *state, uint64_t due_ms)
{
    return envelope->expires_ms <= walk->started_ms;
}

static void expire(struct walk *walk, struct held *held)
{
    struct share *share = walk->share;
    if (held->row.envelope.expires_ms <= share->loop->wall_ms && share_may_expire(share))
        settle_expired(held);
    else
        walk_release(held);
}

static void on_swept(struct walk *walk, bool whole)
{
    struct upkeep *upkeep = container_of(walk, struct upkeep, sweep);
    struct share *share = upkeep->share;
    upkeep->sweeping = false;
    upkeep->sweep_at_ns = share->loop->now_ns + share->options->expiry_sweep_ms * NS_PER_MS;
}

static const struct walk_kind sweep_kind = {.with_body = true,
                                            .choose = choose_due,
                                            .match = has_expired,
                                            .visit = expire,
                                            .end = on_swept};

static void sweep_if_due(struct upkeep *upkeep)
{
    struct share *share = upkeep->share;
    if (upkeep->sweeping || share->options->expiry_sweep_ms == 0 ||
        share->loop->now_ns < upkeep->sweep_at_ns || !share_may_expire(share))
        return;
    upkeep->sweeping = true;
    walk_start(&upkeep->sweep, share, &sweep_kind);
}

/* ---- the recount ---- */

/* Rows on disk that are in memory and lie before this place. */
static uint64_t rows_in_memory_before(const struct stored_queue *queue, struct position to)
{
    const struct window *window = queue->window;
    if (!window)
        return 0;
    uint64_t rows = window->tree.count;
    for (const struct due_node *node = due_tree_last(&window->tree);
         node && !position_before(node->at, to); node = due_tree_before(&window->tree, node->at))
        rows--;
    list_for_each (&window->busy, link, following) {
        const struct held *held = container_of(link, struct held, link);
        struct position at = {held->row.due_ms, held->row.envelope.id};
        rows += held->state != HELD_ACCEPTING && !held->intake && position_before(at, to);
    }
    return rows;
}

static void counted_all(struct stored_queue *queue, uint64_t stored_rows)
{
    unsigned fresh_rows = queue->window ? queue->window->fresh_rows : 0;
    queue_set_rows(queue, (uint32_t)stored_rows + fresh_rows);
}

static bool choose_uncounted(struct walk *walk, struct stored_queue *queue,
                             struct position *ret_from, struct position *ret_to)
{
    if (!queue->approximate)
        return false;
    *ret_from = queue->loaded_to;
    walk->matched = rows_in_memory_before(queue, queue->loaded_to);
    if (position_before(queue->loaded_to, POSITION_END))
        return true;
    counted_all(queue, walk->matched);
    return false;
}

static bool count_rows(struct walk *walk, struct position next, unsigned rows, bool at_end)
{
    struct stored_queue *queue = walk->queue;
    walk->matched += rows;
    if (at_end && queue->approximate)
        counted_all(queue, walk->matched);
    return true;
}

static void on_recounted(struct walk *walk, bool whole)
{
    container_of(walk, struct upkeep, recount)->recounting = false;
}

static const struct walk_kind recount_kind = {
    .choose = choose_uncounted, .counted = count_rows, .end = on_recounted};

/* ---- the clock went back ---- */

static uint64_t longest_wait_ms(const struct share *share)
{
    const struct spool_options *options = share->options;
    uint64_t longest_ms = 0;
    for (unsigned i = 0; i < options->retry_interval_count; i++)
        if (options->retry_intervals_ms[i] > longest_ms)
            longest_ms = options->retry_intervals_ms[i];
    return longest_ms + (uint64_t)((double)longest_ms * options->retry_jitter);
}

static uint64_t far_ms_of(const struct walk *walk)
{
    const char *upkeep = (const char *)walk - offsetof(struct upkeep, set_back);
    return ((const struct upkeep *)(const void *)upkeep)->far_ms;
}

static bool choose_far(struct walk *walk, struct stored_queue *queue, struct position *ret_from,
                       struct position *ret_to)
{
    *ret_from = (struct position){walk->started_ms + far_ms_of(walk) + 1, 0};
    return true;
}

static bool is_far(const struct walk *walk, const struct envelope *envelope,
                   const struct row_state *state, uint64_t due_ms)
{
    return due_ms > walk->started_ms + far_ms_of(walk);
}

static void bring_near(struct walk *walk, struct held *held)
{
    struct share *share = walk->share;
    const struct spool_options *options = share->options;
    struct schedule schedule = {options->retry_intervals_ms, options->retry_interval_count,
                                options->retry_jitter};
    uint64_t now_ms = share->loop->wall_ms;
    uint64_t wait_ms = schedule_wait_ms(&schedule, held->row.state.attempts, &share->loop->random);
    settlement_reschedule(held,
                          schedule_due_ms(now_ms + wait_ms, held->row.envelope.expires_ms, now_ms));
    share->usage.set_back++;
}

static void on_set_back(struct walk *walk, bool whole)
{
    container_of(walk, struct upkeep, set_back)->setting_back = false;
}

static const struct walk_kind set_back_kind = {
    .choose = choose_far, .match = is_far, .visit = bring_near, .end = on_set_back};

/* The guard looks at steps both ways, and only at the first. */
static void look_at_clock(struct upkeep *upkeep)
{
    struct share *share = upkeep->share;
    uint64_t now_ns = share->loop->now_ns, wall_ms = share->loop->wall_ms;
    uint64_t expected_ms = upkeep->last_wall_ms + (now_ns - upkeep->last_ns) / NS_PER_MS;
    upkeep->went_back |= wall_ms + CLOCK_GUARD_STEP_MS < expected_ms;
    upkeep->last_wall_ms = wall_ms;
    upkeep->last_ns = now_ns;
    if (!upkeep->went_back || upkeep->setting_back)
        return;
    upkeep->went_back = false;
    upkeep->setting_back = true;
    upkeep->far_ms = longest_wait_ms(upkeep->share);
    walk_start(&upkeep->set_back, share, &set_back_kind);
}

/* ---- life ---- */

int upkeep_init(struct share *share)
{
    share->upkeep = calloc(1, sizeof(*share->upkeep));
    if (!share->upkeep)
        return -ENOMEM;
    share->upkeep->share = share;
    return 0;
}

void upkeep_start(struct share *share)
{
    struct upkeep *upkeep = share->upkeep;
    uint64_t first_ms = share->options->expiry_sweep_ms;
    upkeep->last_wall_ms = share->loop->wall_ms;
    upkeep->last_ns = share->loop->now_ns;
    upkeep->went_back = share->spool->clock_went_back;
    upkeep->sweep_at_ns =
        upkeep->last_ns + (first_ms < FIRST_SWEEP_MS ? first_ms : FIRST_SWEEP_MS) * NS_PER_MS;
}

void upkeep_tick(struct share *share)
{
    struct upkeep *upkeep = share->upkeep;
    if (share->draining)
        return;
    look_at_clock(upkeep);
    sweep_if_due(upkeep);
    if (share->usage.queues_uncounted && !upkeep->recounting) {
        upkeep->recounting = true;
        walk_start(&upkeep->recount, share, &recount_kind);
    }
}

void upkeep_fini(struct share *share)
{
    free(share->upkeep);
    share->upkeep = NULL;
}
