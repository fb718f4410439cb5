/* The file is read whole, parsed to a tree (toml_shim.h), and walked once in the order of the text.
 * Every mistake becomes a line and the walk goes on; a snapshot is handed out only without any. */
#include "core/config.h"

#include "core/config_private.h"
#include "core/config_value.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { FILE_MAX = 4 << 20, MESSAGE = 768 };

#define MORE SPAN("\n(and more)")

/* ---- what several files use ---- */

void loading_complain(struct loading *loading, unsigned line, unsigned column, const char *format,
                      ...)
{
    char text[MESSAGE];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    struct sink *errors = &loading->errors;
    if (loading->mistakes++)
        sink_byte(errors, '\n');
    /* a message that finds no room is not written at all: half of one helps nobody */
    sink_format(errors, "%s:%u:%u: %s", loading->file, line, column, text);
}

struct origin *config_origin(const struct config_memory *memory, const struct option *option,
                             size_t element)
{
    unsigned count;
    const struct option *first = option_table_options(option->table, &count);
    struct origin *origins = memory->origins[option->table];
    return &origins[element * count + (size_t)(option - first)];
}

void *config_keep(struct loading *loading, size_t count, size_t size)
{
    if (count == 0)
        return NULL;
    void *memory = arena_take_zeroed(&loading->memory->arena, count * size);
    if (!memory)
        loading->no_memory = true;
    return memory;
}

bool config_keep_text(struct loading *loading, struct span text, struct span *ret_copy)
{
    char *copy = config_keep(loading, text.len + 1, 1);
    if (!copy)
        return false;
    if (text.len)
        memcpy(copy, text.data, text.len);
    *ret_copy = span_of(copy, text.len);
    return true;
}

/* ---- the walk ---- */

static void load_subtable(struct loading *loading, enum table_id id, const struct toml_node *node);

/* "bounce" and "stream": "bounce.stream". False: too long for any table of ours. */
static bool full_name(enum table_id parent, struct span key, char *buffer, size_t capacity,
                      struct span *ret_name)
{
    struct sink sink;
    sink_init(&sink, buffer, capacity);
    if (parent != TABLE_TOP)
        sink_format(&sink, "%s.", option_table(parent)->name);
    sink_put(&sink, key);
    *ret_name = sink_span(&sink);
    return !sink.full;
}

static bool is_table(const struct toml_node *node)
{
    return node->type == TOML_TABLE ||
           (node->type == TOML_ARRAY && node->first && node->first->type == TOML_TABLE);
}

static void complain_unknown(struct loading *loading, enum table_id id,
                             const struct toml_node *node, struct span name)
{
    char text[MESSAGE];
    struct sink sink;
    const char *near = is_table(node) ? option_table_near(name) : option_near(id, node->key);
    enum table_id elsewhere;
    sink_init(&sink, text, sizeof text);
    sink_put(&sink, is_table(node) ? SPAN("unknown table [") : SPAN("unknown key '"));
    sink_printable(&sink, is_table(node) ? name : node->key, 64);
    sink_put(&sink, is_table(node) ? SPAN("]") : SPAN("' "));
    if (!is_table(node))
        option_put_place(&sink, id);
    if (near && *near) {
        sink_format(&sink, is_table(node) ? "; did you mean [%s]?" : "; did you mean '%s'?", near);
    } else if (!is_table(node) && option_elsewhere(id, node->key, &elsewhere)) {
        sink_put(&sink, SPAN("; it belongs "));
        option_put_place(&sink, elsewhere);
    }
    loading_complain(loading, node->key_line, node->key_column, "%.*s",
                     SPAN_FORMAT(sink_span(&sink)));
}

static void load_key(struct loading *loading, enum table_id id, const struct toml_node *node,
                     void *owner, size_t element)
{
    char buffer[512];
    struct span name;
    enum table_id sub;
    const struct option *option = option_find(id, node->key);
    bool fits = full_name(id, node->key, buffer, sizeof buffer, &name);
    if (option) {
        *config_origin(loading->memory, option, element) =
            (struct origin){.line = node->line, .column = node->column};
        option_read(loading, option, node, owner);
    } else if (fits && name.len && option_table(id)->kind == TABLE_ONE &&
               option_table_find(name, &sub)) {
        load_subtable(loading, sub, node);
    } else {
        complain_unknown(loading, id, node, fits ? name : node->key);
    }
}

static void complain_missing(struct loading *loading, const struct option *option,
                             const struct toml_node *table)
{
    char text[MESSAGE];
    struct sink sink;
    sink_init(&sink, text, sizeof text);
    sink_format(&sink, "'%s' is missing ", option->key);
    option_put_place(&sink, option->table);
    sink_format(&sink, "; it is %s", option_form(option));
    if (option->choices)
        sink_format(&sink, ": %s", option->choices);
    loading_complain(loading, table->key_line, table->key_column, "%.*s",
                     SPAN_FORMAT(sink_span(&sink)));
}

/* Room for the origins of `elements` elements, and their defaults. */
static bool prepare_table(struct loading *loading, enum table_id id, char *owner, size_t elements,
                          size_t element_size)
{
    unsigned count;
    const struct option *options = option_table_options(id, &count);
    struct origin *origins = config_keep(loading, elements * count, sizeof *origins);
    if (!origins)
        return false;
    loading->memory->origins[id] = origins;
    for (size_t element = 0; element < elements; element++)
        for (unsigned i = 0; i < count && !loading->no_memory; i++)
            option_read_default(loading, &options[i], owner + element * element_size);
    return !loading->no_memory;
}

static void load_table(struct loading *loading, enum table_id id, const struct toml_node *node,
                       void *owner, size_t element)
{
    unsigned count;
    const struct option *options = option_table_options(id, &count);
    for (const struct toml_node *child = node->first; child; child = child->next)
        load_key(loading, id, child, owner, element);
    for (unsigned i = 0; i < count; i++)
        if ((options[i].flags & REQUIRED) &&
            config_origin(loading->memory, &options[i], element)->line == 0)
            complain_missing(loading, &options[i], node);
}

/* The domain is the table's name. */
static void load_domain_name(struct loading *loading, const struct toml_node *node,
                             const char *table, bool star, struct span *ret_domain)
{
    if (!(star && span_equals(node->key, SPAN("*"))) && !value_domain(node->key)) {
        char name[80];
        struct sink sink;
        sink_init(&sink, name, sizeof name);
        sink_printable(&sink, node->key, 64);
        loading_complain(loading, node->key_line, node->key_column,
                         "[%s.\"%.*s\"]: the name is not a domain in ASCII%s", table,
                         SPAN_FORMAT(sink_span(&sink)), star ? ", nor \"*\"" : "");
        return;
    }
    char *domain = config_keep(loading, node->key.len + 1, 1);
    if (!domain)
        return;
    for (size_t i = 0; i < node->key.len; i++)
        domain[i] = ascii_lower(node->key.data[i]);
    *ret_domain = span_of(domain, node->key.len);
}

static void load_route_name(struct loading *loading, const struct toml_node *node,
                            struct config_route *route)
{
    route->line = node->key_line;
    route->column = node->key_column;
    load_domain_name(loading, node, "route", true, &route->domain);
}

static void load_domain(struct loading *loading, const struct toml_node *node,
                        struct config_domain *domain)
{
    domain->line = node->key_line;
    domain->column = node->key_column;
    load_domain_name(loading, node, "domain", false, &domain->name);
}

static void load_elements(struct loading *loading, enum table_id id, const struct toml_node *node)
{
    const struct option_table *table = option_table(id);
    size_t count = 0, element = 0;
    for (const struct toml_node *child = node->first; child; child = child->next)
        count++;
    char *elements = config_keep(loading, count, table->element_size);
    if (!elements || !prepare_table(loading, id, elements, count, table->element_size))
        return;
    memcpy((char *)loading->config + table->list_offset, &elements, sizeof elements);
    memcpy((char *)loading->config + table->count_offset, &count, sizeof count);
    for (const struct toml_node *child = node->first; child; child = child->next, element++) {
        char *owner = elements + element * table->element_size;
        if (id == TABLE_ROUTE)
            load_route_name(loading, child, (struct config_route *)(void *)owner);
        else if (id == TABLE_DOMAIN)
            load_domain(loading, child, (struct config_domain *)(void *)owner);
        else if (id == TABLE_LISTENER)
            ((struct config_listener *)(void *)owner)->line = child->line;
        else if (id == TABLE_DKIM)
            ((struct config_dkim *)(void *)owner)->line = child->line;
        load_table(loading, id, child, owner, element);
    }
}

/* Does the shape in the file fit the kind of table? If not, says how to write it. */
static bool shape_fits(struct loading *loading, enum table_id id, const struct toml_node *node)
{
    const struct option_table *table = option_table(id);
    enum toml_type wanted = table->kind == TABLE_ARRAY ? TOML_ARRAY : TOML_TABLE;
    const struct toml_node *odd = node->type == wanted ? NULL : node;
    for (const struct toml_node *child = node->first; !odd && table->kind != TABLE_ONE && child;
         child = child->next)
        if (child->type != TOML_TABLE)
            odd = child;
    if (!odd)
        return true;
    if (table->kind == TABLE_ARRAY)
        loading_complain(loading, odd->key_line, odd->key_column,
                         "'%s' is a list of tables; write [[%s]]", table->name, table->name);
    else if (table->kind == TABLE_NAMED)
        loading_complain(loading, odd->key_line, odd->key_column,
                         "[%s] holds one table per domain; write [%s.\"example.net\"]", table->name,
                         table->name);
    else
        loading_complain(loading, odd->key_line, odd->key_column, "'%s' is one table; write [%s]",
                         table->name, table->name);
    return false;
}

static void load_subtable(struct loading *loading, enum table_id id, const struct toml_node *node)
{
    if (!shape_fits(loading, id, node))
        return;
    if (option_table(id)->kind == TABLE_ONE)
        load_table(loading, id, node, loading->config, 0);
    else
        load_elements(loading, id, node);
}

static void load_tree(struct loading *loading, const struct toml_node *top)
{
    for (unsigned id = 0; id < TABLE_IDS; id++)
        if (option_table(id)->kind == TABLE_ONE &&
            !prepare_table(loading, (enum table_id)id, (char *)loading->config, 1, 0))
            return;
    load_table(loading, TABLE_TOP, top, loading->config, 0);
}

/* ---- the life of a snapshot ---- */

static struct config_memory *memory_new(void)
{
    struct config_memory *memory = calloc(1, sizeof *memory);
    if (!memory)
        return NULL;
    chunk_pool_init(&memory->pool, SIZE_MAX / 2, 0);
    arena_init(&memory->arena, &memory->pool, SIZE_MAX / 2);
    memory->config.memory = memory;
    return memory;
}

struct config *config_free(struct config *config)
{
    if (!config)
        return NULL;
    struct config_memory *memory = config->memory;
    arena_fini(&memory->arena);
    chunk_pool_fini(&memory->pool);
    free(memory);
    return NULL;
}

/* Ends the error text, and says so if not everything found room. */
static void close_errors(struct loading *loading)
{
    struct sink *errors = &loading->errors;
    if (loading->no_memory) {
        sink_init(errors, errors->data, errors->capacity);
        sink_format(errors, "%s: no memory", loading->file);
    }
    size_t len = errors->len;
    if (errors->full && len && errors->data[len - 1] == '\n')
        len--;
    if (errors->full) {
        memcpy(errors->data + len, MORE.data, MORE.len);
        len += MORE.len;
    }
    errors->data[len] = '\0';
}

static int load(struct loading *loading, struct span text)
{
    struct toml_error error;
    struct toml_node *top = toml_parse(text, &error);
    if (top) {
        load_tree(loading, top);
        if (!loading->no_memory)
            config_check(loading);
    } else if (error.line == 0) {
        loading->no_memory = true;
    } else {
        loading_complain(loading, error.line, error.column, "%s", error.message);
    }
    toml_free(top);
    return loading->no_memory ? -ENOMEM : loading->mistakes ? -EINVAL : 0;
}

int config_parse(struct span text, const char *file, struct config **ret_config,
                 char error[CONFIG_ERROR])
{
    struct config_memory *memory = memory_new();
    struct loading loading = {.memory = memory, .file = file, .no_memory = !memory};
    int result = -ENOMEM;
    sink_init(&loading.errors, error, CONFIG_ERROR - MORE.len - 1);
    if (memory) {
        loading.config = &memory->config;
        if (config_keep_text(&loading, span_string(file), &memory->config.file))
            result = load(&loading, text);
    }
    close_errors(&loading);
    if (result == 0)
        *ret_config = loading.config;
    else
        config_free(loading.config);
    return result;
}

/* The whole file. Reads to the end, so that a pipe can be given too. */
static int read_file(const char *path, char **ret_data, size_t *ret_len)
{
    size_t len = 0;
    char *data = malloc(FILE_MAX);
    int fd = data ? open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY) : -1;
    int result = data ? 0 : -ENOMEM;
    if (data && fd < 0)
        result = -errno;
    while (result == 0 && len < FILE_MAX) {
        ssize_t got = read(fd, data + len, FILE_MAX - len);
        if (got == 0)
            break;
        if (got > 0)
            len += (size_t)got;
        else if (errno != EINTR)
            result = -errno;
    }
    if (fd >= 0)
        close(fd);
    if (result == 0 && len == FILE_MAX)
        result = -EFBIG;
    if (result < 0) {
        free(data);
        return result;
    }
    *ret_data = data;
    *ret_len = len;
    return 0;
}

/* The suite runs once with the ring's newest features and once without; no file says so. */
static void apply_environment(struct config *config)
{
    const char *value = getenv("RINGPOST_RING_OPTIONAL");
    const struct option *option = option_find(TABLE_RING, SPAN("optional_features"));
    if (!value || strcmp(value, "0") != 0)
        return;
    config->ring.optional_features = false;
    config_origin(config->memory, option, 0)->line = LINE_ENVIRONMENT;
}

int config_load(const char *path, struct config **ret_config, char error[CONFIG_ERROR])
{
    char *data;
    size_t len;
    int result = read_file(path, &data, &len);
    if (result < 0) {
        snprintf(error, CONFIG_ERROR, "%s: %s", path, strerror(-result));
        return result;
    }
    result = config_parse(span_of(data, len), path, ret_config, error);
    free(data);
    if (result == 0)
        apply_environment(*ret_config);
    return result;
}
