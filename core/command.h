/* command: the table of everything that `ringpost` can do, and what each answer holds.
 *
 * One row per command. From it come the parser of the command line, `--help`, the completions, the
 * manual, the reference documentation, the check of a call in the daemon, and how an answer is
 * shown to people; `--json` shows the same records as they came. A command is carried out by the
 * daemon (core/control.h: a handler by the same name), or by the program itself (core/cli_main.c).
 *
 * Rows stand in command_table_*.c, one file per family of nouns. Adding a command: a row there, and
 * a handler (core/daemon_*.c) or a local function (core/cli_*.c). */
#pragma once

#include "core/check.h"
#include "core/sink.h"

enum { ARGUMENTS_MAX = 16, ARGUMENT_LEN_MAX = 1024 };

enum argument_type {
    ARGUMENT_TEXT,     /* any text without control characters */
    ARGUMENT_FLAG,     /* given or not: "--name" takes no value */
    ARGUMENT_COUNT,    /* a decimal number */
    ARGUMENT_DURATION, /* "30s", "5m", "2h", "1d" */
    ARGUMENT_CHOICE,   /* one of `choices` */
    ARGUMENT_PATH,     /* a file or folder, for the shell to complete */
    ARGUMENT_TYPES,
};

enum argument_flag {
    POSITIONAL = 1, /* stands by itself, in the order of the table; else "--name VALUE" */
    MANDATORY = 2,
};

struct argument {
    const char *name; /* "domain"; of a positional one as it is shown: "NAME" */
    enum argument_type type;
    unsigned flags;
    const char *value;   /* what the value is called: "DOMAIN"; NULL for flags and positionals */
    const char *choices; /* names with one blank between */
    const char *doc;
};

enum field_type {
    FIELD_TEXT,
    FIELD_COUNT,    /* unsigned 64-bit number */
    FIELD_BYTES,    /* the same, in bytes */
    FIELD_DURATION, /* the same, in milliseconds; shown as "5m" */
    FIELD_TIME,     /* the same, Unix time in milliseconds; shown as "in 5m", "2h ago" */
    FIELD_DECIMAL,  /* number with a fraction */
    FIELD_FLAG,     /* true or false */
    FIELD_RECORDS,  /* an array of objects, each with `fields` */
};

enum field_flag { ONLY_JSON = 1 /* not shown to people */ };

/* A member of the answer's object. A member without a value is left out. */
struct field {
    const char *name;
    enum field_type type;
    unsigned flags;
    const char *doc;
    const struct field *fields; /* of FIELD_RECORDS */
    unsigned field_count;
};

enum answer_shape {
    ANSWER_NONE,  /* the exit status says it all */
    ANSWER_ONE,   /* one object; shown as lines of names and values */
    ANSWER_MANY,  /* one object per line; shown as a table */
    ANSWER_CARDS, /* one object per line; shown as ANSWER_ONE, a blank line between */
    ANSWER_TEXT,  /*  objects with one member "text", shown as they are: lines of a file */
};

struct command {
    const char *noun, *verb; /* verb NULL: the noun alone ("status") */
    bool local;              /* carried out by the program itself, not by the daemon */
    enum answer_shape shape;
    const struct argument *arguments;
    unsigned argument_count;
    const struct field *fields;
    unsigned field_count;
    const char *brief; /* one line */
    const char *text;  /* paragraphs, "\n\n" between; NULL: `brief` says all */
};

/* The tables are arrays; this puts one and its length into a row. */
#define ARGUMENTS(array) .arguments = (array), .argument_count = countof(array)
#define FIELDS(array)    .fields = (array), .field_count = countof(array)

/* In the order of the manual; NULL behind the last one. */
const struct command *command_at(unsigned index);

/* `verb` NULL: none was written. NULL: there is no such command. */
const struct command *command_find(struct span noun, struct span verb);
bool command_noun_known(struct span noun);

/* "queue list" */
void command_put_name(const struct command *command, struct sink *sink);

/* The arguments of one call, as text, by their place in the command's table. */
struct values {
    struct span text[ARGUMENTS_MAX];
    bool given[ARGUMENTS_MAX];
};

/* Every value fits its type, and what is mandatory is there. False: `error` says what is wrong. */
MUST_USE bool values_check(const struct command *command, const struct values *values,
                           struct sink *error);

/* By the argument's name, which must be in the table. Not given: empty, false, `otherwise`. The
 * values must have passed values_check. */
struct span values_text(const struct command *command, const struct values *values,
                        const char *name);
bool values_flag(const struct command *command, const struct values *values, const char *name);
uint64_t values_count(const struct command *command, const struct values *values, const char *name,
                      uint64_t otherwise);
uint64_t values_duration_ms(const struct command *command, const struct values *values,
                            const char *name, uint64_t otherwise);

/* The words of a command line behind the program's name and the options for all commands, options
 * of the command anywhere between. False: `error` says what is wrong. */
MUST_USE bool command_parse(int count, char *const *words, const struct command **ret_command,
                            struct values *ret_values, struct sink *error);
