#include "queue/due_tree.h"

#include <stddef.h>

void due_tree_insert(struct due_tree *tree, struct due_node *node)
{
    struct due_node **link = &tree->root;
    while (*link && (*link)->priority >= node->priority)
        link = position_before(node->at, (*link)->at) ? &(*link)->left : &(*link)->right;
    struct due_node *rest = *link;
    *link = node;

    /* What was below is split at the new node: smaller ones left, larger ones right. */
    struct due_node **smaller = &node->left, **larger = &node->right;
    while (rest) {
        if (position_before(rest->at, node->at)) {
            *smaller = rest;
            smaller = &rest->right;
            rest = rest->right;
        } else {
            *larger = rest;
            larger = &rest->left;
            rest = rest->left;
        }
    }
    *smaller = *larger = NULL;
    tree->count++;
}

void due_tree_remove(struct due_tree *tree, struct due_node *node)
{
    struct due_node **link = &tree->root;
    while (*link != node) {
        check(*link);
        link = position_before(node->at, (*link)->at) ? &(*link)->left : &(*link)->right;
    }
    /* Its two subtrees are merged in its place, the higher priority on top. */
    struct due_node *left = node->left, *right = node->right;
    while (left && right) {
        if (left->priority >= right->priority) {
            *link = left;
            link = &left->right;
            left = left->right;
        } else {
            *link = right;
            link = &right->left;
            right = right->left;
        }
    }
    *link = left ? left : right;
    node->left = node->right = NULL;
    tree->count--;
}

struct due_node *due_tree_first(const struct due_tree *tree)
{
    struct due_node *node = tree->root;
    while (node && node->left)
        node = node->left;
    return node;
}

struct due_node *due_tree_last(const struct due_tree *tree)
{
    struct due_node *node = tree->root;
    while (node && node->right)
        node = node->right;
    return node;
}

struct due_node *due_tree_after(const struct due_tree *tree, struct position at)
{
    struct due_node *found = NULL;
    for (struct due_node *node = tree->root; node;) {
        bool behind = position_before(at, node->at);
        if (behind)
            found = node;
        node = behind ? node->left : node->right;
    }
    return found;
}

struct due_node *due_tree_before(const struct due_tree *tree, struct position at)
{
    struct due_node *found = NULL;
    for (struct due_node *node = tree->root; node;) {
        bool before = position_before(node->at, at);
        if (before)
            found = node;
        node = before ? node->right : node->left;
    }
    return found;
}
