/* config_private: what the files of the configuration share.
 *
 * config.c walks the tree, option_value.c turns one node into one value and back, config_check.c
 * looks at what several values mean together, config_print.c writes a snapshot out. */
#pragma once

#include "core/arena.h"
#include "core/option.h"
#include "core/sink.h"
#include "core/toml_shim.h"

/* Where a value comes from. */
struct origin {
    unsigned line, column; /* 0: the default */
};

enum { LINE_ENVIRONMENT = 0xffffffffu };

struct config_memory {
    struct chunk_pool pool;
    struct arena arena;
    struct origin *origins[TABLE_IDS]; /* element by element, the table's options in order */
    struct config config;
};

/* One load in progress. Mistakes are collected, so that the whole file is judged in one go. */
struct loading {
    struct config_memory *memory;
    struct config *config;
    const char *file;
    struct sink errors;
    unsigned mistakes;
    bool no_memory;
};

/* A line for the operator: "file:line:column: text". */
void loading_complain(struct loading *loading, unsigned line, unsigned column, const char *format,
                      ...) __attribute__((format(printf, 4, 5)));

/* The origin of an option in one element (0 for tables that exist once). */
struct origin *config_origin(const struct config_memory *memory, const struct option *option,
                             size_t element);

/* "in [dns]", "in [[listener]]", "in [route.\"DOMAIN\"]", "at the top of the file". */
void option_put_place(struct sink *sink, enum table_id table);

/* Reads `node` into the option's field of `owner`, or complains. */
void option_read(struct loading *loading, const struct option *option, const struct toml_node *node,
                 void *owner);
void option_read_default(struct loading *loading, const struct option *option, void *owner);

/* The values of an option: one, or as many as the list has. */
size_t option_value_count(const struct option *option, const void *owner);
/* Not set at all: an empty text, no rate, no address. */
bool option_unset(const struct option *option, const void *owner);
/* One value as TOML. */
void option_put_value(struct sink *sink, const struct option *option, const void *owner,
                      size_t index);

/* A copy in the snapshot's memory with a NUL behind it. */
bool config_keep_text(struct loading *loading, struct span text, struct span *ret_copy);
/* Cleared memory of the snapshot; NULL and no_memory if there is none, or if `count` is 0. */
void *config_keep(struct loading *loading, size_t count, size_t size);

/* All that one option cannot see by itself; fills in the defaults that are computed. */
void config_check(struct loading *loading);

/* The elements of a repeated table. */
static inline void *config_elements(const struct config *config, const struct option_table *table,
                                    size_t *ret_count)
{
    const char *base = (const char *)config;
    memcpy(ret_count, base + table->count_offset, sizeof *ret_count);
    void *elements;
    memcpy(&elements, base + table->list_offset, sizeof elements);
    return elements;
}
