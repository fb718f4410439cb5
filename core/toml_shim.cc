/* toml++ does the parsing; this copies its tree. It keeps tables in alphabetical order, so children
 * are put back into the order of the text. Nodes, keys and strings come from malloc, because a
 * failed allocation is then a NULL here and not an exception there. */
#include "core/toml_shim.h"

/* toml++ 3.3 asserts (or, in release builds of clang, lets the compiler assume) that a table's name
 * begins as a key may, and only then looks: "[)]" would abort us. Without its assertions the same
 * place reports an error. */
#undef NDEBUG
#define TOML_ASSERT(condition) static_assert(true)
#include <toml++/toml.h>

#include <cstdio>
#include <cstdlib>

static struct span copy_text(std::string_view text)
{
    char *copy = static_cast<char *>(malloc(text.size() + 1));
    if (!copy)
        throw std::bad_alloc();
    memcpy(copy, text.data(), text.size());
    copy[text.size()] = '\0';
    return span_of(copy, text.size());
}

static struct toml_node *copy_node(const toml::node &from, const toml::key *key, unsigned depth);

/* Keeps the list sorted by place in the text. */
static void insert_child(struct toml_node *parent, struct toml_node *child)
{
    struct toml_node **at = &parent->first;
    while (*at && ((*at)->key_line < child->key_line ||
                   ((*at)->key_line == child->key_line && (*at)->key_column <= child->key_column)))
        at = &(*at)->next;
    child->next = *at;
    *at = child;
}

static void copy_children(const toml::node &from, struct toml_node *to, unsigned depth)
{
    struct toml_node **last = &to->first;
    if (const toml::table *table = from.as_table()) {
        for (auto &&[key, value] : *table)
            insert_child(to, copy_node(value, &key, depth + 1));
    } else if (const toml::array *array = from.as_array()) {
        for (const toml::node &value : *array) {
            *last = copy_node(value, nullptr, depth + 1);
            last = &(*last)->next;
        }
    }
}

static void copy_value(const toml::node &from, struct toml_node *to)
{
    switch (from.type()) {
    case toml::node_type::string:
        to->type = TOML_STRING;
        to->string = copy_text(from.as_string()->get());
        break;
    case toml::node_type::integer:
        to->type = TOML_INTEGER;
        to->integer = from.as_integer()->get();
        break;
    case toml::node_type::floating_point:
        to->type = TOML_FLOAT;
        to->real = from.as_floating_point()->get();
        break;
    case toml::node_type::boolean:
        to->type = TOML_BOOLEAN;
        to->boolean = from.as_boolean()->get();
        break;
    default:
        to->type = from.is_table() ? TOML_TABLE : from.is_array() ? TOML_ARRAY : TOML_TIME;
    }
}

static struct toml_node *copy_node(const toml::node &from, const toml::key *key, unsigned depth)
{
    if (depth > TOML_DEPTH)
        throw toml::parse_error("tables or arrays are nested too deeply", from.source());
    struct toml_node *to = static_cast<struct toml_node *>(calloc(1, sizeof *to));
    if (!to)
        throw std::bad_alloc();
    try {
        to->line = to->key_line = from.source().begin.line;
        to->column = to->key_column = from.source().begin.column;
        if (key) {
            to->key_line = key->source().begin.line;
            to->key_column = key->source().begin.column;
            to->key = copy_text(key->str());
        }
        copy_value(from, to);
        copy_children(from, to, depth);
    } catch (...) {
        toml_free(to);
        throw;
    }
    return to;
}

struct toml_node *toml_parse(struct span text, struct toml_error *ret_error)
{
    *ret_error = {};
    try {
        toml::table table = toml::parse(std::string_view(text.len ? text.data : "", text.len));
        return copy_node(table, nullptr, 0);
    } catch (const toml::parse_error &error) {
        ret_error->line = error.source().begin.line ? error.source().begin.line : 1;
        ret_error->column = error.source().begin.column ? error.source().begin.column : 1;
        std::string_view said = error.description();
        snprintf(ret_error->message, sizeof ret_error->message, "%.*s",
                 static_cast<int>(said.size()), said.data());
    } catch (...) {
        snprintf(ret_error->message, sizeof ret_error->message, "no memory");
    }
    return nullptr;
}

struct toml_node *toml_free(struct toml_node *node)
{
    while (node) {
        struct toml_node *next = node->next;
        if (node->type == TOML_TABLE || node->type == TOML_ARRAY)
            toml_free(node->first);
        else if (node->type == TOML_STRING)
            free(const_cast<char *>(node->string.data));
        free(const_cast<char *>(node->key.data));
        free(node);
        node = next;
    }
    return nullptr;
}
