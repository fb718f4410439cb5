/* The lane's waits: whatever they meet on the way, a queue that wants the lane is served in the
 * end. Deliveries and the share are the test's own. */
#include "smtp/lane.h"

#include "core/config.h"
#include "smtp/delivery.h"
#include "smtp/suspended.h"
#include "smtp/why.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static struct {
    uint64_t now_ns;
    unsigned opened, deferred, asked;
} seen;

uint64_t clock_mono_ns(void)
{
    return seen.now_ns;
}

uint64_t clock_wall_ms(void)
{
    return UINT64_C(1800000000000) + seen.now_ns / NS_PER_MS;
}

bool delivery_open(struct lane *lane, const struct host *host)
{
    seen.opened++;
    return true;
}

void delivery_start(struct list_link *idle, struct row *row)
{
    fail();
}

void delivery_quit(struct list_link *idle)
{
    fail();
}

bool delivery_tell(const struct list_link *all, const struct row *row, struct sink *sink,
                   uint64_t *ret_since_ms)
{
    return false;
}

bool share_why_queue(struct queue *queue, why_tell *tell, void *context)
{
    return true;
}

enum pull_result share_pull(struct share *share, struct queue *queue, struct row **ret_row)
{
    static struct row row;
    row.queue = queue;
    *ret_row = &row;
    return PULL_ROW;
}

unsigned share_due_rows(const struct queue *queue, unsigned enough)
{
    return enough;
}

void share_return(struct share *share, struct row *row)
{
}

void share_settle_queue(struct share *share, struct queue *queue, const struct attempt *attempt)
{
    seen.deferred++;
}

/* What stands still no longer is asked where it goes. */
void egress_on_ready(void *context, struct queue *queue)
{
    struct egress *egress = context;
    seen.asked++;
    if (!egress_take_suspended(egress, queue)) {
        struct map_node *first = NULL;
        for (size_t i = 0; i < egress->lanes.bucket_count && !first; i++)
            first = egress->lanes.buckets[i];
        assert_true(lane_want(container_of(first, struct lane, by_key), queue));
    }
}

/* ---- the fixture ---- */

struct fixture {
    struct loop loop;
    struct config config;
    struct lane_limits limits;
    struct labels sites;
    struct metrics metrics;
    struct egress egress;
    struct plan_address address;
    struct plan_host host;
    struct plan plan;
    struct queue queue;
    uint64_t intervals_ms[1];
    struct lane *lane;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct io_options options = {.entries = 8, .buffers = 8, .buffer_size = 4096};
    seen.now_ns = NS_PER_S;
    seen.opened = seen.deferred = seen.asked = 0;
    assert_int_equal(loop_init(&f->loop, &options, 0), 0);
    assert_int_equal(lane_limits_init(&f->limits, (struct hash_seed){1, 2}), 0);
    assert_int_equal(labels_init(&f->sites, LABELS_SITE, 2, (struct hash_seed){1, 2}), 0);
    f->intervals_ms[0] = 60000;
    f->config.delivery.connection_limit = 1;
    f->config.delivery.consecutive_connection_failures_before_delay = 1;
    f->config.retry.intervals_ms = f->intervals_ms;
    f->config.retry.interval_count = 1;
    f->egress = (struct egress){.loop = &f->loop,
                                .settings = {.config = &f->config,
                                             .limits = &f->limits,
                                             .metrics = &f->metrics,
                                             .sites = &f->sites},
                                .source = SPAN("default")};
    list_init(&f->egress.old_lanes);
    assert_int_equal(suspended_init(&f->egress), 0);
    assert_int_equal(map_init(&f->egress.lanes, 16), 0);
    assert_int_equal(map_init(&f->egress.routes, 16), 0);
    f->host =
        (struct plan_host){.name = SPAN("mx.test"), .address_count = 1, .addresses = &f->address};
    f->plan = (struct plan){
        .site = SPAN("mx.test"), .expires_ns = UINT64_MAX, .hosts = &f->host, .host_count = 1};
    f->queue = (struct queue){.name = SPAN("one.test"), .domain = SPAN("one.test")};
    f->lane = lane_for_plan(&f->egress, &f->plan, TLS_AS_DELIVERY);
    assert_non_null(f->lane);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    lane_drain(f->lane);
    lane_free(f->lane);
    suspended_fini(&f->egress);
    map_fini(&f->egress.lanes);
    map_fini(&f->egress.routes);
    lane_limits_fini(&f->limits);
    labels_fini(&f->sites);
    loop_fini(&f->loop);
    free(f);
    return 0;
}

static void pass_ms(struct fixture *f, uint64_t ms)
{
    for (uint64_t step = 0; step <= ms; step += 10) {
        assert_int_equal(loop_turn(&f->loop, 0), 0);
        seen.now_ns += 10 * NS_PER_MS;
    }
}

static void want(struct fixture *f)
{
    assert_true(lane_want(f->lane, &f->queue));
    pass_ms(f, 10);
}

static const struct connect_failure refused = {.reply = {.code = 451}};

/* ---- tests ---- */

/* The slot that another worker asked for is left to it for a moment: a wait shorter than the hold.
 */
static void a_hold_outlives_a_shorter_wait(void **state)
{
    struct fixture *f = *state;
    want(f);
    assert_int_equal(seen.opened, 1);
    assert_false(lane_limit_take_slot(f->lane->limit, 1, 1));
    lane_connect_failed(f->lane, &f->address, &refused);
    assert_int_equal(seen.deferred, 1);
    lane_delivery_gone(f->lane, false);
    want(f); /* while it is held */
    assert_int_equal(seen.opened, 1);
    pass_ms(f, LANE_HOLD_MS + 1000);
    assert_int_equal(seen.opened, 2);
    lane_delivery_gone(f->lane, false);
}

/* A second connection fails while the first one's failure holds the lane: its host is bad for
 * longer. */
static void a_late_failure_outlasts_the_hold(void **state)
{
    struct fixture *f = *state;
    f->config.delivery.connection_limit = 2;
    want(f);
    lane_established(f->lane, &f->address);
    pass_ms(f, 10);
    assert_int_equal(seen.opened, 2);
    lane_connect_failed(f->lane, &f->address, &refused);
    lane_delivery_gone(f->lane, false);
    pass_ms(f, 10000);
    lane_connect_failed(f->lane, &f->address, &refused);
    lane_delivery_gone(f->lane, true);
    want(f);
    assert_int_equal(seen.opened, 2);
    pass_ms(f, LANE_HOLD_MS - 5000);
    assert_int_equal(seen.opened, 2);
    pass_ms(f, 6000);
    assert_int_equal(seen.opened, 3);
    lane_delivery_gone(f->lane, false);
}

static void suspend(struct fixture *f, enum suspension_scope scope, const char *name,
                    uint64_t for_ms)
{
    struct suspension suspension = {
        .scope = (uint8_t)scope,
        .name = span_string(name),
        .until_ms = for_ms ? clock_wall_ms() + for_ms : 0,
    };
    assert_int_equal(egress_suspend(&f->egress, &suspension), 0);
}

/* Whatever it is: nothing is opened meanwhile, and it goes on by itself when it ends. */
static void what_stands_still_goes_on(void **state)
{
    static const struct {
        enum suspension_scope scope;
        const char *name;
    } cases[] = {
        {SUSPEND_QUEUE, "one.test"},
        {SUSPEND_DOMAIN, "ONE.test"},
        {SUSPEND_SOURCE, "default"},
        {SUSPEND_LANE, "default->mx.test"},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < countof(cases); i++) {
        seen.opened = 0;
        suspend(f, cases[i].scope, cases[i].name, 20000);
        want(f);
        pass_ms(f, 15000);
        assert_int_equal(seen.opened, 0);
        pass_ms(f, 6000);
        assert_int_equal(seen.opened, 1);
        lane_delivery_gone(f->lane, false);
        lane_drain(f->lane);
        egress_resume(&f->egress, cases[i].scope, span_string(cases[i].name));
        pass_ms(f, 100);
    }
}

static void lifted_before_its_end(void **state)
{
    struct fixture *f = *state;
    suspend(f, SUSPEND_DOMAIN, "one.test", 0);
    suspend(f, SUSPEND_LANE, "default->mx.test", 0);
    want(f);
    egress_resume(&f->egress, SUSPEND_DOMAIN, SPAN("one.test"));
    pass_ms(f, 1000);
    assert_int_equal(seen.opened, 0);
    egress_resume(&f->egress, SUSPEND_LANE, SPAN("default->mx.test"));
    pass_ms(f, 100);
    assert_int_equal(seen.opened, 1);
    lane_delivery_gone(f->lane, false);
}

/* One that wants the lane already is taken out of it. */
static void suspended_while_it_waits(void **state)
{
    struct fixture *f = *state;
    want(f);
    lane_established(f->lane, &f->address);
    suspend(f, SUSPEND_QUEUE, "one.test", 0);
    pass_ms(f, 100);
    assert_null(lane_take_row(f->lane));
    assert_int_equal(f->egress.suspended_count, 1);
    egress_resume(&f->egress, SUSPEND_QUEUE, SPAN("one.test"));
    pass_ms(f, 100);
    assert_non_null(lane_take_row(f->lane));
    lane_delivery_gone(f->lane, true);
}

/* Mail that must be safe never meets a connection that a laxer policy opened; the site's limit is
 * one, and who waits for a slot beside the other lane is heard. */
static void policies_have_lanes_of_their_own(void **state)
{
    struct fixture *f = *state;
    f->config.delivery.enable_tls = TLS_OPPORTUNISTIC;
    struct lane *same = lane_for_plan(&f->egress, &f->plan, TLS_AS_DELIVERY);
    struct lane *safe = lane_for_plan(&f->egress, &f->plan, TLS_REQUIRED);
    assert_ptr_equal(same, f->lane);
    assert_ptr_not_equal(safe, f->lane);
    assert_ptr_equal(safe, lane_for_plan(&f->egress, &f->plan, TLS_REQUIRED));
    assert_int_equal(f->lane->tls, TLS_OPPORTUNISTIC);
    assert_int_equal(safe->tls, TLS_REQUIRED);
    assert_true(span_equals(safe->site, f->lane->site));
    assert_true(span_equals(safe->key, f->lane->key));
    assert_ptr_equal(safe->limit, f->lane->limit);
    struct queue other = {.name = SPAN("two.test"), .domain = SPAN("two.test")};
    assert_true(lane_want(f->lane, &f->queue));
    assert_true(lane_want(safe, &other));
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(loop_turn(&f->loop, 0), 0);
    assert_int_equal(seen.opened, 1); /* connection_limit */
    struct lane *first = f->lane->connecting ? f->lane : safe;
    seen.now_ns += 2 * LANE_LIMIT_HOLD_MS * NS_PER_MS;
    assert_int_equal(loop_turn(&f->loop, 0), 0);
    assert_true(lane_should_hand_over(first, NS_PER_S));
    lane_delivery_gone(first, false);
    for (unsigned i = 0; i < 5; i++) {
        seen.now_ns += LANE_SLOT_RETRY_MS * NS_PER_MS;
        assert_int_equal(loop_turn(&f->loop, 0), 0);
    }
    assert_int_equal(seen.opened, 2);
    struct lane *second = first == safe ? f->lane : safe;
    assert_int_equal(second->connecting, 1);
    lane_delivery_gone(second, false);
    lane_drain(safe);
    lane_free(safe);
}

/* ---- why ---- */

struct told {
    bool reasons[REASON_COUNT];
};

static void on_why(void *context, const struct why *why)
{
    ((struct told *)context)->reasons[why->reason] = true;
}

static bool says(const struct fixture *f, enum reason reason)
{
    struct told told = {0};
    lane_why(f->lane, on_why, &told);
    return told.reasons[reason];
}

static void what_holds_it_back_is_told(void **state)
{
    struct fixture *f = *state;
    want(f);
    assert_true(says(f, REASON_CONNECTING));
    lane_connect_failed(f->lane, &f->address, &refused);
    lane_delivery_gone(f->lane, false);
    assert_true(says(f, REASON_BACKOFF));
    lane_forgive(f->lane);
    assert_false(says(f, REASON_BACKOFF));
    f->lane->hosts[0].bad_until_ns = seen.now_ns + NS_PER_S;
    assert_true(says(f, REASON_HOSTS_BAD));
    lane_forgive(f->lane);
    assert_true(lane_limit_take_slot(f->lane->limit, 1, 1));
    want(f);
    assert_true(says(f, REASON_CONNECTION_LIMIT));
    lane_limit_give_slot(f->lane->limit);
    pass_ms(f, 100);
    lane_established(f->lane, &f->address);
    struct queue second = {.name = SPAN("two.test"), .domain = SPAN("two.test")};
    assert_true(lane_want(f->lane, &second));
    assert_true(says(f, REASON_TURN));
    f->config.delivery.max_message_rate = (struct rate){.count = 1, .period_ms = 60000};
    assert_non_null(lane_take_row(f->lane));
    assert_null(lane_take_row(f->lane));
    assert_true(says(f, REASON_MESSAGE_RATE));
    suspend(f, SUSPEND_SOURCE, "default", 0);
    assert_true(says(f, REASON_SUSPENDED));
    lane_drain(f->lane); /* `second` is ours */
    lane_delivery_gone(f->lane, true);
}

int main(void)
{
#define with_lane(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        with_lane(a_hold_outlives_a_shorter_wait),   with_lane(a_late_failure_outlasts_the_hold),
        with_lane(what_stands_still_goes_on),        with_lane(lifted_before_its_end),
        with_lane(suspended_while_it_waits),         with_lane(what_holds_it_back_is_told),
        with_lane(policies_have_lanes_of_their_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
