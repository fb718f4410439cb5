#include "smtp/worker.h"

#include "queue/suspend.h"

enum {
    PUBLISH_MS = 250,
    PUBLISHED_PER_TICK = 4,
    UNRECORDED_MAX = 4096,
    SITES_NAMED = 50, /* time series per worker and family: see labels.h */
    LISTENERS_NAMED = 256,
};

static void publish(struct worker *worker)
{
    struct share_usage usage;
    struct metrics *metrics = &worker->metrics;
    share_usage(worker->share, &usage);
    metric_set(metrics, METRIC_QUEUE_ROWS, usage.rows);
    metric_set(metrics, METRIC_QUEUE_ROWS_IN_MEMORY, usage.rows_in_memory);
    metric_set(metrics, METRIC_QUEUE_ROWS_LOADED, usage.rows_loaded);
    metric_set(metrics, METRIC_QUEUES, usage.queues);
    metric_set(metrics, METRIC_QUEUES_UNCOUNTED, usage.queues_uncounted);
    metric_set(metrics, METRIC_ROWS_SET_BACK, usage.set_back);
    metric_set(metrics, METRIC_NURSERY_MESSAGES, usage.nursery_messages);
    metric_set(metrics, METRIC_NURSERY_BYTES, usage.nursery_bytes);
    metric_set(metrics, METRIC_SEGMENT_BYTES_USED, usage.segments.used_bytes);
    metric_set(metrics, METRIC_SEGMENT_BYTES_FREE, usage.segments.free_bytes);
    metric_set(metrics, METRIC_SEGMENT_BODIES, usage.segment_bodies);
    metric_set(metrics, METRIC_SEGMENT_INLINED, usage.segment_inlined);
    metric_set(metrics, METRIC_SEGMENT_ERRORS, usage.segment_errors);
    metric_set(metrics, METRIC_MESSAGES_WITHDRAWN, usage.withdrawn);
    metric_set(metrics, METRIC_RECIPIENTS_DELIVERED, usage.delivered);
    metric_set(metrics, METRIC_RECIPIENTS_DEFERRED, usage.deferred);
    metric_set(metrics, METRIC_RECIPIENTS_BOUNCED, usage.bounced);
    metric_set(metrics, METRIC_RECIPIENTS_EXPIRED, usage.expired);
    metric_set(metrics, METRIC_RECIPIENTS_ADMIN_BOUNCED, usage.admin_bounced);
    metric_set(metrics, METRIC_DSN_MADE, usage.dsn_made);
    metric_set(metrics, METRIC_MAY_DUPLICATE, usage.may_duplicate);
    metric_set(metrics, METRIC_QUEUE_ROWS_DAMAGED, usage.damaged);
    metric_set(metrics, METRIC_INBOUND_MEMORY, usage.inbound_bytes);
    metric_set(metrics, METRIC_LOADED_MEMORY, usage.loaded_bytes);
    metric_set(metrics, METRIC_UNRECORDED, usage.unrecorded);
    metric_set(metrics, METRIC_JOURNAL_FRAMES, usage.journal_frames);
    metric_set(metrics, METRIC_JOURNAL_SYNCS, usage.journal_syncs);
    metric_set(metrics, METRIC_JOURNAL_BYTES, usage.journal_bytes);
    metric_set(metrics, METRIC_JOURNAL_LOST, usage.journal_lost);
    metric_set(metrics, METRIC_JOURNAL_ERRORS, usage.journal_errors);
    metric_set(metrics, METRIC_JOURNAL_BEHIND, usage.journal_behind);
    metric_set(metrics, METRIC_REJECTIONS_UNTOLD, usage.rejections_untold);
}

static void publish_ring(struct worker *worker)
{
    struct io_usage usage;
    io_usage(worker->loop.io, &usage);
    metric_set(&worker->metrics, METRIC_RECEIVE_BUFFERS, usage.buffers_total);
    metric_set(&worker->metrics, METRIC_RECEIVE_BUFFERS_LENT, usage.buffers_lent);
    metric_set(&worker->metrics, METRIC_RECEIVE_STARVED, usage.starved);
}

static void on_publish(struct op *op)
{
    struct worker *worker = container_of(op, struct worker, publish.op);
    publish(worker);
    publish_ring(worker);
    if (++worker->published % PUBLISHED_PER_TICK == 0)
        labels_tick(&worker->sites);
    loop_arm(&worker->loop, &worker->publish, PUBLISH_MS * NS_PER_MS);
}

/* ---- drain: both sides at once, then the share, then the loop ---- */

static void side_drained(struct worker *worker)
{
    if (--worker->draining == 0)
        share_drain(worker->share, &worker->share_drained);
}

static void on_ingress_drained(struct op *op)
{
    side_drained(container_of(op, struct worker, ingress_drained));
}

static void on_egress_drained(struct op *op)
{
    side_drained(container_of(op, struct worker, egress_drained));
}

static void on_share_drained(struct op *op)
{
    struct worker *worker = container_of(op, struct worker, share_drained);
    loop_disarm(&worker->loop, &worker->publish);
    publish(worker);
    atomic_store(&worker->drained, true);
    loop_stop(&worker->loop);
}

static void on_drain(struct op *op)
{
    struct worker *worker = container_of(op, struct worker, drain);
    atomic_store(&worker->running, false);
    worker->draining = 2;
    ingress_drain(&worker->ingress, &worker->ingress_drained);
    egress_drain(&worker->egress, &worker->egress_drained);
}

void worker_drain(struct worker *worker, struct loop *from)
{
    loop_post(&worker->loop, from, &worker->drain);
}

/* ---- what the spool is told ---- */

static enum bounce_mode bounce_mode(const void *context, struct span tenant, struct span campaign)
{
    const struct config *config = context;
    for (size_t i = 0; i < config->bounce.stream_count; i++) {
        const struct config_bounce_stream *stream = &config->bounce.streams[i];
        if ((stream->tenant.len == 0 || span_equals(stream->tenant, tenant)) &&
            (stream->campaign.len == 0 || span_equals(stream->campaign, campaign)))
            return stream->event_only ? BOUNCE_EVENT : BOUNCE_DSN;
    }
    return config->bounce.event_only ? BOUNCE_EVENT : BOUNCE_DSN;
}

struct spool_options worker_spool_options(const struct config *config, unsigned workers,
                                          struct hash_seed seed)
{
    return (struct spool_options){
        .data_dir = config->data_dir.data,
        .hostname = config->hostname.data,
        .workers = workers,
        .store_memory = config->queue.memory,
        .loader_threads = (unsigned)config->queue.loader_threads,
        .limits =
            {
                .inbound_memory = config->queue.inbound_memory / workers,
                .loaded_memory = config->queue.loaded_memory / workers,
                .nursery_messages = (unsigned)(config->queue.nursery_messages / workers),
                .nursery_bytes = config->queue.nursery_bytes / workers,
                .nursery_age_ms = config->queue.nursery_age_ms,
                .window_rows = (unsigned)config->queue.window_rows,
                .unrecorded = UNRECORDED_MAX,
            },
        .segments = (unsigned)config->queue.segments,
        .segment_size = config->queue.segment_size,
        .retry_intervals_ms = config->retry.intervals_ms,
        .retry_interval_count = (unsigned)config->retry.interval_count,
        .retry_jitter = config->retry.jitter,
        .max_age_ms = config->retry.max_age_ms,
        .expiry_sweep_ms = config->queue.expiry_sweep_ms,
        .bounce_mode = bounce_mode,
        .bounce_context = config,
        .delay_report_after_ms = config->bounce.delay_after_ms,
        .disk_reserve_bytes = config->queue.disk_reserve,
        .journal_keeping =
            {
                .keep_bytes = config->journal.keep,
                .keep_ms = config->journal.keep_time_ms,
                .consumer_bytes = config->journal.keep_for_consumers,
                .compress = config->journal.compress,
            },
        .journal_file_bytes = config->journal.segment_size,
        .journal_file_ms = config->journal.segment_time_ms,
        .journal_blocks = config->journal.overload == OVERLOAD_BLOCK,
        .clock_confirmed = config->queue.clock_confirmed,
        .seed = seed,
    };
}

/* ---- reports of ours are signed, too ---- */

struct report_sealing {
    struct seal *seal;
    struct sealing sealing;
    struct snapshot *snapshot; /* whose keys they are */
};

static void drop_report(void *context, void *seal)
{
    struct report_sealing *report = seal;
    report->snapshot = snapshot_release(report->snapshot);
}

static void *reserve_report(void *context, struct message *message)
{
    struct worker *worker = context;
    struct report_sealing *report = arena_take_zeroed(&message->arena, sizeof *report);
    if (!report)
        return NULL;
    report->seal = seal_new(&message->arena, worker->dkim_keys, &message->body);
    if (!report->seal)
        return NULL;
    for (const struct text_piece *piece = message->body.first; piece; piece = piece->next)
        seal_add(report->seal, span_of(piece->data, piece->len));
    seal_end(report->seal);
    if (!seal_reserve(report->seal, worker->loop.wall_ms, &message->head))
        return NULL;
    report->snapshot = snapshot_hold(worker->snapshot);
    return report;
}

static void seal_report(void *context, void *seal, struct op *done)
{
    struct worker *worker = context;
    struct report_sealing *report = seal;
    sealer_start(&worker->sealer, &report->sealing, report->seal, done);
}

/* ---- life ---- */

static struct egress_settings egress_settings_of(struct worker *worker,
                                                 const struct worker_settings *settings)
{
    return (struct egress_settings){
        .snapshot = settings->snapshot,
        .config = settings->config,
        .limits = settings->limits,
        .seed = settings->seed,
        .own_addresses = settings->own_addresses,
        .own_address_count = settings->own_address_count,
        .metrics = &worker->metrics,
        .tls = settings->tls ? settings->tls->delivery : NULL,
        .sites = &worker->sites,
    };
}

static struct ingress_settings ingress_settings_of(struct worker *worker,
                                                   const struct worker_settings *settings)
{
    return (struct ingress_settings){
        .snapshot = settings->snapshot,
        .config = settings->config,
        .admission = settings->admission,
        .tls = settings->tls,
        .logins = settings->logins,
        .metrics = &worker->metrics,
        .dkim_keys = settings->dkim_keys,
        .listeners = &worker->listeners,
        .sealer = &worker->sealer,
        .dns = worker->egress.dns,
    };
}

static void sign_reports(struct worker *worker, const struct dkim_keys *keys)
{
    worker->dkim_keys = keys;
    share_seal_reports(worker->share, keys ? reserve_report : NULL, seal_report, drop_report,
                       worker);
}

static int init_sides(struct worker *worker, const struct worker_settings *settings,
                      const char **ret_step, const struct config_listener **ret_listener)
{
    struct egress_settings out = egress_settings_of(worker, settings);
    struct ingress_settings in = ingress_settings_of(worker, settings);
    *ret_step = "name resolution";
    int error = egress_init(&worker->egress, &worker->loop, &out);
    if (error < 0)
        return error;
    *ret_step = "the queue";
    error = share_start(settings->spool, &worker->loop, egress_on_ready, &worker->egress,
                        &worker->share);
    if (error < 0)
        return error;
    *ret_step = "suspensions";
    error = suspensions_copy(&worker->egress.suspensions, spool_suspensions(settings->spool));
    if (error < 0)
        return error;
    egress_start(&worker->egress, worker->share);
    in.dns = worker->egress.dns;
    sealer_init(&worker->sealer, &worker->loop, &worker->metrics);
    sign_reports(worker, settings->dkim_keys);
    *ret_step = "a listener";
    return ingress_init(&worker->ingress, &worker->loop, worker->share, &in, ret_listener);
}

/* ---- another snapshot ---- */

static void on_change(struct op *op)
{
    struct worker_change *change = container_of(op, struct worker_change, op);
    struct worker *worker = change->worker;
    const struct worker_settings *settings = change->settings;
    struct egress_settings out = egress_settings_of(worker, settings);
    struct ingress_settings in = ingress_settings_of(worker, settings);
    struct snapshot *before = worker->snapshot;
    worker->snapshot = snapshot_hold(settings->snapshot);
    share_reconfigure(worker->share, &change->spool);
    sign_reports(worker, settings->dkim_keys);
    egress_reconfigure(&worker->egress, &out);
    change->done.result = ingress_reconfigure(&worker->ingress, &in, change->open, change->sockets,
                                              change->socket_count);
    snapshot_release(before);
    loop_post(change->home, &worker->loop, &change->done);
}

void worker_change(struct worker_change *change)
{
    op_init(&change->op, on_change);
    loop_post(&change->worker->loop, change->home, &change->op);
}

int worker_init(struct worker *worker, const struct worker_settings *settings, unsigned index,
                const char **ret_step, const struct config_listener **ret_listener)
{
    const struct config *config = settings->config;
    struct io_options io = {
        .entries = (unsigned)config->ring.entries,
        .buffers = (unsigned)config->ring.receive_buffers,
        .buffer_size = (unsigned)config->ring.receive_buffer_size,
        .optional_features = config->ring.optional_features,
    };
    *ret_listener = NULL;
    *ret_step = "io_uring";
    worker->snapshot = snapshot_hold(settings->snapshot);
    op_init(&worker->drain, on_drain);
    op_init(&worker->ingress_drained, on_ingress_drained);
    op_init(&worker->egress_drained, on_egress_drained);
    op_init(&worker->share_drained, on_share_drained);
    timer_init(&worker->publish, on_publish);
    int error = labels_init(&worker->sites, LABELS_SITE, SITES_NAMED, settings->seed);
    if (error == 0)
        error = labels_init(&worker->listeners, LABELS_LISTENER, LISTENERS_NAMED, settings->seed);
    if (error == 0)
        error = loop_init(&worker->loop, &io, index);
    return error < 0 ? error : init_sides(worker, settings, ret_step, ret_listener);
}

void worker_start(struct worker *worker)
{
    ingress_start(&worker->ingress);
    loop_arm(&worker->loop, &worker->publish, PUBLISH_MS * NS_PER_MS);
    atomic_store(&worker->running, true);
}

void worker_fini(struct worker *worker)
{
    worker->snapshot = snapshot_release(worker->snapshot);
    ingress_fini(&worker->ingress);
    egress_fini(&worker->egress);
    loop_fini(&worker->loop);
    labels_fini(&worker->sites);
    labels_fini(&worker->listeners);
}
