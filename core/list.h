/* list: intrusive doubly linked list.
 *
 * A `struct list_link` is embedded in the object; a `struct list` is the head. An object can be in
 * as many lists as it has links. Nothing is allocated, removal needs no search. A link that is in
 * no list has next == NULL (list_remove puts it back so), which is how "is it queued?" is asked. */
#pragma once

#include "core/check.h"

#include <stddef.h>

struct list_link {
    struct list_link *next, *prev;
};

struct list {
    struct list_link head;
};

static inline void list_init(struct list *list)
{
    list->head.next = list->head.prev = &list->head;
}

static inline bool list_empty(const struct list *list)
{
    return list->head.next == &list->head;
}

static inline bool list_linked(const struct list_link *link)
{
    return link->next != NULL;
}

static inline void list_insert_before(struct list_link *position, struct list_link *link)
{
    check(!list_linked(link));
    link->next = position;
    link->prev = position->prev;
    position->prev->next = link;
    position->prev = link;
}

static inline void list_append(struct list *list, struct list_link *link)
{
    list_insert_before(&list->head, link);
}

static inline void list_prepend(struct list *list, struct list_link *link)
{
    list_insert_before(list->head.next, link);
}

static inline void list_remove(struct list_link *link)
{
    check(list_linked(link));
    link->prev->next = link->next;
    link->next->prev = link->prev;
    link->next = link->prev = NULL;
}

/* The first link, or NULL if the list is empty. */
static inline struct list_link *list_first(const struct list *list)
{
    return list_empty(list) ? NULL : list->head.next;
}

/* Takes the first link out, or returns NULL. */
static inline struct list_link *list_take_first(struct list *list)
{
    struct list_link *link = list_first(list);
    if (link)
        list_remove(link);
    return link;
}

/* Moves everything in `from` to the end of `to`; `from` is empty afterwards. */
static inline void list_append_all(struct list *to, struct list *from)
{
    if (list_empty(from))
        return;
    from->head.next->prev = to->head.prev;
    to->head.prev->next = from->head.next;
    from->head.prev->next = &to->head;
    to->head.prev = from->head.prev;
    list_init(from);
}

/* for (each link, safe against removal of the current one) */
#define list_for_each(list, link, following)                                                       \
    for (struct list_link *link = (list)->head.next, *following = link->next;                      \
         link != &(list)->head; link = following, following = link->next)
