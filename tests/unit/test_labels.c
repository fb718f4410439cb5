#include "core/labels.h"

#include "core/check.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { MOST = 2 };

struct fixture {
    struct labels first, second;
    char text[16384];
};

static int setup(void **state)
{
    static struct fixture fixture;
    assert_int_equal(labels_init(&fixture.first, LABELS_SITE, MOST, (struct hash_seed){1, 2}), 0);
    assert_int_equal(labels_init(&fixture.second, LABELS_SITE, MOST, (struct hash_seed){1, 2}), 0);
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    labels_fini(&f->first);
    labels_fini(&f->second);
    return 0;
}

static const char *exposition(struct fixture *f)
{
    struct labels *sets[] = {&f->first, &f->second};
    struct sink sink;
    sink_init(&sink, f->text, sizeof f->text - 1);
    labels_write(sets, 2, &sink);
    assert_false(sink.full);
    f->text[sink.len] = '\0';
    return f->text;
}

static void assert_line(struct fixture *f, const char *line, bool there)
{
    const char *text = exposition(f);
    if ((strstr(text, line) != NULL) != there)
        fail_msg("%s%s in\n%s", line, there ? " is not" : " is", text);
}

static void test_workers_are_summed(void **state)
{
    struct fixture *f = *state;
    struct label_cell *a = labels_get(&f->first, SPAN("mx\"\n.example"));
    struct label_cell *b = labels_get(&f->second, SPAN("mx\"\n.example"));
    label_add(&f->first, a, LABELLED_SITE_DELIVERED, 2);
    label_add(&f->second, b, LABELLED_SITE_DELIVERED, 3);
    assert_line(f, "ringpost_site_delivered_total{site=\"mx\\\"?.example\"} 5\n", true);
    assert_line(f, "ringpost_site_delivered_total{site=\"other\"} 0\n", true);
    assert_line(f, "ringpost_listener", false);
    assert_null(strstr(strstr(exposition(f), "mx\\\"") + 1, "site_delivered_total{site=\"mx"));
    labels_put(&f->first, a);
    labels_put(&f->second, b);
    assert_line(f, "mx", false);
}

static void test_one_cell_for_a_value(void **state)
{
    struct fixture *f = *state;
    struct label_cell *a = labels_get(&f->first, SPAN("a"));
    assert_ptr_equal(labels_get(&f->first, SPAN("a")), a);
    labels_put(&f->first, a);
    label_add(&f->first, a, LABELLED_SITE_BOUNCED, 1);
    assert_line(f, "ringpost_site_bounced_total{site=\"a\"} 1\n", true);
    labels_put(&f->first, a);
}

/* Names go where the traffic is; no series ever falls, and gauges stay right. */
static void test_the_busiest_have_names(void **state)
{
    struct fixture *f = *state;
    struct label_cell *a = labels_get(&f->first, SPAN("a"));
    struct label_cell *b = labels_get(&f->first, SPAN("b"));
    struct label_cell *c = labels_get(&f->first, SPAN("c"));
    label_add(&f->first, a, LABELLED_SITE_CONNECTIONS, 1);
    label_add(&f->first, b, LABELLED_SITE_DELIVERED, 50);
    label_add(&f->first, c, LABELLED_SITE_CONNECTIONS, 4);
    label_add(&f->first, c, LABELLED_SITE_DELIVERED, 100);
    assert_line(f, "site_connections{site=\"other\"} 4\n", true);
    assert_line(f, "site_delivered_total{site=\"other\"} 100\n", true);
    assert_line(f, "{site=\"c\"}", false);
    labels_tick(&f->first);
    assert_line(f, "{site=\"a\"}", false);
    assert_line(f, "site_connections{site=\"other\"} 1\n", true);
    assert_line(f, "site_connections{site=\"c\"} 4\n", true);
    assert_line(f, "site_delivered_total{site=\"other\"} 100\n", true);
    label_add(&f->first, c, LABELLED_SITE_DELIVERED, 7);
    label_add(&f->first, c, LABELLED_SITE_CONNECTIONS, (uint64_t)-1);
    assert_line(f, "site_delivered_total{site=\"c\"} 7\n", true);
    assert_line(f, "site_connections{site=\"c\"} 3\n", true);
    labels_tick(&f->first); /* nobody is twice as busy: nothing moves */
    assert_line(f, "{site=\"b\"}", true);
    labels_put(&f->first, a);
    labels_put(&f->first, b);
    labels_put(&f->first, c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_workers_are_summed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_cell_for_a_value, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_busiest_have_names, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
