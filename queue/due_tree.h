/* due_tree: rows in the order in which they are due. Pure.
 *
 * A treap: a search tree by (due, id) that random priorities keep flat. The earliest is taken to be
 * tried, the latest to be evicted, rescheduled rows come in anywhere; a heap or a list does only
 * two of these three. Nodes are embedded in the rows; nothing is allocated. */
#pragma once

#include "core/check.h"

#include <stdint.h>

/* Where a row stands in its queue: the order of its keys on disk. */
struct position {
    uint64_t due_ms, id;
};

#define POSITION_END ((struct position){UINT64_MAX, UINT64_MAX})

static inline bool position_before(struct position a, struct position b)
{
    return a.due_ms < b.due_ms || (a.due_ms == b.due_ms && a.id < b.id);
}

struct due_node {
    struct due_node *left, *right;
    struct position at;
    uint32_t priority;
};

struct due_tree {
    struct due_node *root;
    uint32_t count;
};

/* `node->at` and a random `node->priority` are set by the caller; `at` must not be in the tree. */
void due_tree_insert(struct due_tree *tree, struct due_node *node);
void due_tree_remove(struct due_tree *tree, struct due_node *node);

/* NULL if there is none. */
struct due_node *due_tree_first(const struct due_tree *tree);
struct due_node *due_tree_last(const struct due_tree *tree);
/* The first one behind `at`, and the last one before it. */
struct due_node *due_tree_after(const struct due_tree *tree, struct position at);
struct due_node *due_tree_before(const struct due_tree *tree, struct position at);
