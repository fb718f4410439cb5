/* Suspensions: what they hold, until when, and that they outlive a restart. */
#include "queue/suspend.h"
#include "tests/unit/spool_fixture.h"

static struct suspension suspension_of(enum suspension_scope scope, const char *name,
                                       uint64_t until_ms)
{
    return (struct suspension){
        .since_ms = 1000,
        .until_ms = until_ms,
        .scope = (uint8_t)scope,
        .name = span_string(name),
        .reason = SPAN("says the test"),
        .who = SPAN("user 0"),
    };
}

static void put(struct suspensions *all, enum suspension_scope scope, const char *name,
                uint64_t until_ms)
{
    struct suspension suspension = suspension_of(scope, name, until_ms);
    assert_int_equal(suspensions_put(all, &suspension), 0);
}

static bool holds(const struct suspensions *all, const char *queue, uint64_t wall_ms)
{
    return suspensions_of_queue(all, span_string(queue), wall_ms) != NULL;
}

static void what_they_hold(void **state)
{
    struct suspensions all;
    assert_int_equal(suspensions_init(&all), 0);
    assert_false(holds(&all, "d.example", 0));
    put(&all, SUSPEND_DOMAIN, "D.example", 0);
    put(&all, SUSPEND_TENANT, "red", 0);
    put(&all, SUSPEND_CAMPAIGN, "spring", 0);
    put(&all, SUSPEND_QUEUE, "a:b@c.example", 0);
    put(&all, SUSPEND_LANE, "default->x", 0);
    static const struct {
        const char *queue;
        bool held;
    } cases[] = {
        {"d.example", true},         {"blue@d.example", true},    {"red@e.example", true},
        {"red.example", false},      {"blue@red.example", false}, {"spring:blue@e.example", true},
        {"spring@e.example", false}, {"spring:@e.example", true}, {"a:b@c.example", true},
        {"b@c.example", false},      {"x.d.example", false},      {"default->x", false},
    };
    for (size_t i = 0; i < countof(cases); i++)
        if (holds(&all, cases[i].queue, 5000) != cases[i].held)
            fail_msg("%s", cases[i].queue);
    assert_non_null(suspensions_find(&all, SUSPEND_LANE, SPAN("default->x"), 5000));
    assert_null(suspensions_find(&all, SUSPEND_SOURCE, SPAN("default"), 5000));
    suspensions_fini(&all);
}

static void until_when(void **state)
{
    struct suspensions all;
    assert_int_equal(suspensions_init(&all), 0);
    put(&all, SUSPEND_DOMAIN, "d.example", 2000);
    put(&all, SUSPEND_DOMAIN, "e.example", 3000);
    put(&all, SUSPEND_DOMAIN, "f.example", 0);
    assert_int_equal(suspensions_next_end_ms(&all, 1000), 2000);
    assert_int_equal(suspensions_next_end_ms(&all, 2000), 3000);
    assert_int_equal(suspensions_next_end_ms(&all, 3000), UINT64_MAX);
    assert_true(holds(&all, "d.example", 1999));
    assert_false(holds(&all, "d.example", 2000));
    assert_true(holds(&all, "f.example", UINT64_MAX));
    put(&all, SUSPEND_DOMAIN, "D.EXAMPLE", 0); /* replaces */
    assert_int_equal(all.count, 3);
    assert_true(holds(&all, "d.example", 2000));
    assert_true(suspensions_remove(&all, SUSPEND_DOMAIN, SPAN("d.Example")));
    assert_false(suspensions_remove(&all, SUSPEND_DOMAIN, SPAN("d.example")));
    assert_false(holds(&all, "d.example", 1000));
    unsigned count = 0;
    for (const struct suspension *at = NULL; (at = suspensions_next(&all, at));)
        count++;
    assert_int_equal(count, 2);
    suspensions_fini(&all);
}

/* Cut short, longer, or of another version: none of it is a record. */
static void records(void **state)
{
    struct suspension suspension = suspension_of(SUSPEND_CAMPAIGN, "spring", 77), read;
    char bytes[256];
    struct sink sink;
    sink_init(&sink, bytes, sizeof bytes - 1);
    assert_true(suspension_write(&suspension, &sink));
    assert_true(suspension_read(sink_span(&sink), &read));
    assert_int_equal(read.scope, SUSPEND_CAMPAIGN);
    assert_int_equal(read.since_ms, 1000);
    assert_int_equal(read.until_ms, 77);
    assert_true(span_equals(read.name, SPAN("spring")));
    assert_true(span_equals(read.reason, SPAN("says the test")));
    assert_true(span_equals(read.who, SPAN("user 0")));
    for (size_t len = 0; len < sink.len; len++)
        assert_false(suspension_read(span_first(sink_span(&sink), len), &read));
    assert_false(suspension_read(span_of(bytes, sink.len + 1), &read));
    bytes[1] = SUSPENSION_SCOPES;
    assert_false(suspension_read(sink_span(&sink), &read));
    bytes[1] = 0;
    bytes[0] = 9;
    assert_false(suspension_read(sink_span(&sink), &read));
}

/* ---- durable ---- */

struct waiting {
    struct suspension_change change;
    bool done;
};

static void on_changed(struct op *op)
{
    container_of(op, struct waiting, change.op)->done = true;
}

static int suspend(struct fixture *f, const struct suspension *suspension)
{
    struct waiting waiting = {.done = false};
    op_init(&waiting.change.op, on_changed);
    spool_suspend(f->spool, &f->loop, suspension, &waiting.change);
    turn_until(f, waiting.done);
    return waiting.change.op.result;
}

static int resume(struct fixture *f, enum suspension_scope scope, const char *name)
{
    struct waiting waiting = {.done = false};
    op_init(&waiting.change.op, on_changed);
    spool_resume(f->spool, &f->loop, scope, span_string(name), &waiting.change);
    turn_until(f, waiting.done);
    return waiting.change.op.result;
}

static void outlives_a_restart(void **state)
{
    struct fixture *f = *state;
    struct suspension one = suspension_of(SUSPEND_DOMAIN, "d.example", 0);
    struct suspension two = suspension_of(SUSPEND_TENANT, "red", 0);
    assert_int_equal(suspend(f, &one), 0);
    assert_int_equal(suspend(f, &two), 0);
    one.reason = SPAN("another reason");
    assert_int_equal(suspend(f, &one), 0);
    fixture_crash(f);
    assert_int_equal(spool_suspensions(f->spool)->count, 2);
    assert_int_equal(resume(f, SUSPEND_TENANT, "red"), 0);
    assert_int_equal(resume(f, SUSPEND_TENANT, "red"), -ENOENT);
    fixture_restart(f);
    const struct suspension *left = suspensions_next(spool_suspensions(f->spool), NULL);
    assert_int_equal(spool_suspensions(f->spool)->count, 1);
    assert_true(span_equals(left->reason, SPAN("another reason")));
    one.name = span_of(NULL, SUSPENSION_NAME_MAX + 1);
    char *name = calloc(1, one.name.len);
    one.name.data = name;
    assert_int_equal(suspend(f, &one), -EINVAL);
    free(name);
}

/* The clock goes back by more than an hour: what was to end after a while does not bind for days.
 */
static void not_after_the_clock_went_back(void **state)
{
    enum { HOUR_MS = 3600 * 1000 };
    struct suspensions all;
    assert_int_equal(suspensions_init(&all), 0);
    struct suspension timed = suspension_of(SUSPEND_DOMAIN, "d.example", 11 * HOUR_MS);
    timed.since_ms = 10 * HOUR_MS;
    assert_int_equal(suspensions_put(&all, &timed), 0);
    put(&all, SUSPEND_DOMAIN, "ever.example", 0);
    assert_true(holds(&all, "d.example", 10 * HOUR_MS));
    assert_true(holds(&all, "d.example", 9 * HOUR_MS)); /* a clock that was set right */
    assert_false(holds(&all, "d.example", 9 * HOUR_MS - 1));
    assert_int_equal(suspensions_next_end_ms(&all, 9 * HOUR_MS - 1), UINT64_MAX);
    assert_true(holds(&all, "ever.example", 0));
    suspensions_fini(&all);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_they_hold),
        cmocka_unit_test(until_when),
        cmocka_unit_test(not_after_the_clock_went_back),
        cmocka_unit_test(records),
        TEST(outlives_a_restart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
