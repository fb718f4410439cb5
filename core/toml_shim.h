/* toml_shim: TOML text to a small tree of our own; the only C++ of the daemon stands behind it.
 *
 * Every node knows where its value and its key stand in the text, so that whoever reads the tree
 * can say what is wrong and where. The children of a table come in the order of the text. No C++
 * exception leaves: bad TOML and no memory are results. */
#pragma once

#include "core/span.h"

#ifdef __cplusplus
extern "C" {
#endif

enum toml_type {
    TOML_TABLE,
    TOML_ARRAY,
    TOML_STRING,
    TOML_INTEGER,
    TOML_FLOAT,
    TOML_BOOLEAN,
    TOML_TIME, /* dates and times: no option of ours is one */
};

struct toml_node {
    enum toml_type type;
    unsigned line, column;         /* of the value; both count from 1 */
    unsigned key_line, key_column; /* of the key; in an array those of the value */
    struct span key;               /* empty in an array and at the top; NUL-terminated */
    struct toml_node *next;        /* the following sibling */
    union {
        struct toml_node *first; /* table, array */
        struct span string;      /* NUL-terminated behind its length; may contain NULs itself */
        int64_t integer;
        double real;
        bool boolean;
    };
};

enum { TOML_ERROR = 256, TOML_DEPTH = 32 }; /* how deep tables and arrays may nest */

struct toml_error {
    unsigned line, column;
    char message[TOML_ERROR];
};

/* The top table. NULL: ret_error says what is wrong; line 0 means that memory ran out. */
struct toml_node *toml_parse(struct span text, struct toml_error *ret_error);
struct toml_node *toml_free(struct toml_node *node);

#ifdef __cplusplus
}
#endif
