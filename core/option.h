/* option: the rows of options.def, and how to find them by the names that people write.
 *
 * Private to the configuration (config*.c) and its tests. A row knows where its value lies in its
 * owner (struct config, or the element of a repeated table), so that one function per type reads
 * it, writes it and compares it. */
#pragma once

#include "core/config.h"

enum table_id {
#define TABLE(id, name, doc)                              TABLE_##id,
#define TABLES(id, name, kind, element, list, count, doc) TABLE_##id,
#define OPTION(...)
#define LIST(...)
#define CHOICE(...)
#include "core/options.def"
#undef TABLE
#undef TABLES
#undef OPTION
#undef LIST
#undef CHOICE
    TABLE_IDS,
};

enum table_kind { TABLE_ONE, TABLE_ARRAY, TABLE_NAMED };

struct option_table {
    const char *name, *doc;
    enum table_kind kind;
    size_t element_size;              /* repeated tables only, as the next two */
    size_t list_offset, count_offset; /* in struct config */
};

enum option_type {
    OPTION_TEXT,     /* span: any text */
    OPTION_PATH,     /* span: not empty */
    OPTION_DOMAIN,   /* span: value_domain */
    OPTION_SELECTOR, /* span: value_selector */
    OPTION_HEADER,   /* span: value_header */
    OPTION_HOST,     /* span: name or address, optional port */
    OPTION_BOOLEAN,  /* bool */
    OPTION_COUNT,    /* uint64_t */
    OPTION_POWER,    /* uint64_t, a power of two */
    OPTION_PORT,     /* uint16_t */
    OPTION_DURATION, /* uint64_t, ms */
    OPTION_SIZE,     /* uint64_t, bytes */
    OPTION_PERCENT,  /* double, a fraction */
    OPTION_RATE,     /* struct rate */
    OPTION_CHOICE,   /* bool or enum: the index of the name */
    OPTION_LISTEN,   /* struct address with port */
    OPTION_SERVER,   /* struct address, port 53 unless given */
    OPTION_SOURCE,   /* struct address without port */
    OPTION_NETWORK,  /* struct network */
    OPTION_TYPES,
};

enum option_flag { RELOAD = 0, RESTART = 1, REQUIRED = 2, NONEMPTY = 4 };

struct option {
    enum table_id table;
    const char *key;
    enum option_type type;
    bool list;
    size_t offset, size, count_offset; /* in the owner; `size` of one value */
    const char *standard;              /* the default as TOML text, or NULL */
    uint64_t least, most;
    unsigned flags;
    const char *choices; /* names with one blank between */
    const char *doc;
};

const struct option_table *option_table(enum table_id id);
/* A table's options, in the order of options.def. */
const struct option *option_table_options(enum table_id id, unsigned *ret_count);

/* By name ("bounce.stream"). False / NULL: there is none. */
bool option_table_find(struct span name, enum table_id *ret_id);
const struct option *option_find(enum table_id table, struct span key);

/* The name that was probably meant, or NULL: one near enough in the same table. */
const char *option_table_near(struct span name);
const char *option_near(enum table_id table, struct span key);
/* A table, other than `table`, that has exactly this key. */
bool option_elsewhere(enum table_id table, struct span key, enum table_id *ret_table);

/* The names of a choice: index -> name (empty: no such index), name -> index, what was meant. */
struct span option_choice(const struct option *option, unsigned index);
bool option_choice_find(const struct option *option, struct span name, unsigned *ret_index);
struct span option_choice_near(const struct option *option, struct span name);

/* What the option's value looks like, for messages: "a duration like \"30s\" ...", "a list of ...";
 * option_one_form: one element of a list. */
const char *option_form(const struct option *option);
const char *option_one_form(const struct option *option);
/* The type in one or two words, for the manual. */
const char *option_type_name(const struct option *option);
