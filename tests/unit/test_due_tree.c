/* The two orders in which the queue waits, against plain arrays. */
#include "queue/agenda.h"
#include "queue/due_tree.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { NODES = 200, STEPS = 20000 };

static unsigned seed = 1;

static unsigned next_random(unsigned below)
{
    seed = seed * 1103515245 + 12345;
    return (seed >> 16) % below;
}

/* ---- the tree ---- */

struct model {
    struct due_node nodes[NODES];
    bool in[NODES];
    struct due_tree tree;
};

/* The nearest of those in the tree on one side of `at`; NULL if none. */
static struct due_node *nearest(struct model *model, struct position at, bool behind)
{
    struct due_node *best = NULL;
    for (unsigned i = 0; i < NODES; i++) {
        struct due_node *node = &model->nodes[i];
        bool side = behind ? position_before(at, node->at) : position_before(node->at, at);
        if (!model->in[i] || !side)
            continue;
        if (!best ||
            (behind ? position_before(node->at, best->at) : position_before(best->at, node->at)))
            best = node;
    }
    return best;
}

static void assert_same(struct model *model)
{
    struct position some = {next_random(50), next_random(NODES)};
    assert_ptr_equal(due_tree_first(&model->tree), nearest(model, (struct position){0, 0}, true));
    assert_ptr_equal(due_tree_last(&model->tree), nearest(model, POSITION_END, false));
    assert_ptr_equal(due_tree_after(&model->tree, some), nearest(model, some, true));
}

static void the_tree_finds_what_an_array_finds(void **state)
{
    struct model *model = calloc(1, sizeof *model);
    unsigned count = 0;
    for (unsigned step = 0; step < STEPS; step++) {
        unsigned i = next_random(NODES);
        struct due_node *node = &model->nodes[i];
        if (model->in[i]) {
            due_tree_remove(&model->tree, node);
        } else {
            node->at = (struct position){next_random(50), i + 1};
            node->priority = next_random(1000);
            due_tree_insert(&model->tree, node);
        }
        count += model->in[i] ? UINT32_MAX : 1;
        model->in[i] = !model->in[i];
        assert_int_equal(model->tree.count, count);
        if (step % 10 == 0)
            assert_same(model);
    }
    free(model);
}

/* ---- the agenda ---- */

static void the_agenda_takes_in_order(void **state)
{
    struct agenda_item items[NODES] = {0};
    uint64_t at_ms[NODES] = {0};
    struct agenda agenda;
    agenda_init(&agenda);
    assert_int_equal(agenda_reserve(&agenda, NODES), 0);
    assert_int_equal(agenda_next_ms(&agenda), UINT64_MAX);
    for (unsigned step = 0; step < STEPS; step++) {
        unsigned i = next_random(NODES);
        if (next_random(3) == 0) {
            agenda_drop(&agenda, &items[i]);
            at_ms[i] = 0;
        } else {
            at_ms[i] = 1 + next_random(1000);
            agenda_set(&agenda, &items[i], at_ms[i]);
        }
        uint64_t first_ms = UINT64_MAX;
        for (unsigned j = 0; j < NODES; j++) {
            assert_int_equal(items[j].place != 0, at_ms[j] != 0);
            if (at_ms[j] && at_ms[j] < first_ms)
                first_ms = at_ms[j];
        }
        assert_int_equal(agenda_next_ms(&agenda), first_ms);
    }
    uint64_t last_ms = 0;
    assert_null(agenda_take(&agenda, 0));
    for (struct agenda_item *item; (item = agenda_take(&agenda, 1000));) {
        assert_true(at_ms[item - items] >= last_ms);
        last_ms = at_ms[item - items];
    }
    assert_int_equal(agenda.count, 0);
    agenda_fini(&agenda);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_tree_finds_what_an_array_finds),
        cmocka_unit_test(the_agenda_takes_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
