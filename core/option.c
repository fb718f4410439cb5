#include "core/option.h"

#include "core/config_value.h"

#define NONE                NULL
#define FIELD(owner, field) (((struct owner *)NULL)->field)

static const struct option options[] = {
#define TABLE(...)
#define TABLES(...)
#define OPTION(id, name, kind, owner, field, text, from, to, flag, explanation)                    \
    {.table = TABLE_##id,                                                                          \
     .key = name,                                                                                  \
     .type = OPTION_##kind,                                                                        \
     .offset = offsetof(struct owner, field),                                                      \
     .size = sizeof(FIELD(owner, field)),                                                          \
     .standard = text,                                                                             \
     .least = from,                                                                                \
     .most = to,                                                                                   \
     .flags = flag,                                                                                \
     .doc = explanation},
#define LIST(id, name, kind, owner, field, count, text, from, to, flag, explanation)               \
    {.table = TABLE_##id,                                                                          \
     .key = name,                                                                                  \
     .type = OPTION_##kind,                                                                        \
     .list = true,                                                                                 \
     .offset = offsetof(struct owner, field),                                                      \
     .size = sizeof(*FIELD(owner, field)),                                                         \
     .count_offset = offsetof(struct owner, count),                                                \
     .standard = text,                                                                             \
     .least = from,                                                                                \
     .most = to,                                                                                   \
     .flags = flag,                                                                                \
     .doc = explanation},
#define CHOICE(id, name, owner, field, names, text, flag, explanation)                             \
    {.table = TABLE_##id,                                                                          \
     .key = name,                                                                                  \
     .type = OPTION_CHOICE,                                                                        \
     .offset = offsetof(struct owner, field),                                                      \
     .size = sizeof(FIELD(owner, field)),                                                          \
     .standard = text,                                                                             \
     .flags = flag,                                                                                \
     .choices = names,                                                                             \
     .doc = explanation},
#include "core/options.def"
#undef TABLE
#undef TABLES
#undef OPTION
#undef LIST
#undef CHOICE
};

static const struct option_table tables[TABLE_IDS] = {
#define TABLE(id, text, explanation)                                                               \
    [TABLE_##id] = {.name = text, .doc = explanation, .kind = TABLE_ONE},
#define TABLES(id, text, form, element, list, count, explanation)                                  \
    [TABLE_##id] = {.name = text,                                                                  \
                    .doc = explanation,                                                            \
                    .kind = TABLE_##form,                                                          \
                    .element_size = sizeof(struct element),                                        \
                    .list_offset = offsetof(struct config, list),                                  \
                    .count_offset = offsetof(struct config, count)},
#define OPTION(...)
#define LIST(...)
#define CHOICE(...)
#include "core/options.def"
#undef TABLE
#undef TABLES
#undef OPTION
#undef LIST
#undef CHOICE
};

struct form {
    const char *type, *one, *many;
};

static const struct form forms[OPTION_TYPES] = {
    [OPTION_TEXT] = {"text", "a text", "a list of texts"},
    [OPTION_PATH] = {"path", "a path", "a list of paths"},
    [OPTION_DOMAIN] = {"host name", "a host name like \"mail.example.org\"",
                       "a list of host names"},
    [OPTION_SELECTOR] = {"selector", "a DKIM selector like \"s2026\" (a name in DNS)",
                         "a list of selectors"},
    [OPTION_HEADER] = {"field name", "a header field's name like \"X-Tenant\"",
                       "a list of header fields' names"},
    [OPTION_HOST] = {"host", "a host like \"mx.example.net\", \"192.0.2.1:25\" or \"[::1]:2525\"",
                     "a list of hosts like [\"mx.example.net\", \"[::1]:2525\"]"},
    [OPTION_BOOLEAN] = {"boolean", "true or false", "a list of booleans"},
    [OPTION_COUNT] = {"number", "a whole number", "a list of whole numbers"},
    [OPTION_POWER] = {"power of two", "a power of two", "a list of powers of two"},
    [OPTION_PORT] = {"port", "a port number", "a list of port numbers"},
    [OPTION_DURATION] = {"duration",
                         "a duration: a number and a unit (ms, s, m, h, d, w) like \"30s\"",
                         "a list of durations like [\"5m\", \"1h\"]"},
    [OPTION_SIZE] = {"size", "a size: a number and a unit (B, KB, MB, GB, TB) like \"50MB\"",
                     "a list of sizes like [\"1MB\"]"},
    [OPTION_PERCENT] = {"percentage", "a percentage like \"10%\"", "a list of percentages"},
    [OPTION_RATE] = {"rate", "a rate like \"100/s\", \"20/30min\" or \"1_000/h,max_burst=10\"",
                     "a list of rates"},
    [OPTION_CHOICE] = {"choice", "a choice", "a list of choices"},
    [OPTION_LISTEN] = {"address", "an address with a port like \"127.0.0.1:25\" or \"[::1]:25\"",
                       "a list of addresses"},
    [OPTION_SERVER] = {"address", "an address like \"127.0.0.1\" or \"[::1]:5353\"",
                       "a list of addresses like [\"127.0.0.1:5353\"]"},
    [OPTION_SOURCE] = {"address", "an address without a port like \"192.0.2.1\"",
                       "a list of addresses"},
    [OPTION_NETWORK] = {"network",
                        "a network like \"10.0.0.0/8\" or \"fd00::/8\" (no bits behind the prefix)",
                        "a list of networks like [\"10.0.0.0/8\", \"::1\"]"},
};

const struct option_table *option_table(enum table_id id)
{
    return &tables[id];
}

const struct option *option_table_options(enum table_id id, unsigned *ret_count)
{
    unsigned first = 0, end;
    while (options[first].table != id)
        first++;
    for (end = first; end < countof(options) && options[end].table == id; end++)
        ;
    *ret_count = end - first;
    return &options[first];
}

bool option_table_find(struct span name, enum table_id *ret_id)
{
    for (unsigned id = 0; id < TABLE_IDS; id++) {
        if (!span_equals(span_string(tables[id].name), name))
            continue;
        *ret_id = (enum table_id)id;
        return true;
    }
    return false;
}

const struct option *option_find(enum table_id table, struct span key)
{
    unsigned count;
    const struct option *own = option_table_options(table, &count);
    for (unsigned i = 0; i < count; i++)
        if (span_equals(span_string(own[i].key), key))
            return &own[i];
    return NULL;
}

/* A third of the name may be wrong, and a short name may have one slip. */
static bool nearer(struct span name, struct span candidate, unsigned *best)
{
    unsigned distance = value_distance(name, candidate);
    unsigned limit = name.len < 6 ? 1 + (name.len > 3) : (unsigned)name.len / 3;
    if (distance > limit || distance >= *best || distance >= candidate.len)
        return false;
    *best = distance;
    return true;
}

const char *option_table_near(struct span name)
{
    const char *near = NULL;
    unsigned best = UINT32_MAX;
    for (unsigned id = 0; id < TABLE_IDS; id++)
        if (nearer(name, span_string(tables[id].name), &best))
            near = tables[id].name;
    return near;
}

const char *option_near(enum table_id table, struct span key)
{
    const char *near = NULL;
    unsigned best = UINT32_MAX, count;
    const struct option *own = option_table_options(table, &count);
    for (unsigned i = 0; i < count; i++)
        if (nearer(key, span_string(own[i].key), &best))
            near = own[i].key;
    return near;
}

bool option_elsewhere(enum table_id table, struct span key, enum table_id *ret_table)
{
    for (unsigned i = 0; i < countof(options); i++) {
        if (options[i].table == table || !span_equals(span_string(options[i].key), key))
            continue;
        *ret_table = options[i].table;
        return true;
    }
    return false;
}

struct span option_choice(const struct option *option, unsigned index)
{
    struct span names = span_string(option->choices);
    while (names.len) {
        struct span name = span_first(names, span_find(names, ' '));
        if (index-- == 0)
            return name;
        names = span_skip(names, name.len + 1);
    }
    return (struct span){0};
}

bool option_choice_find(const struct option *option, struct span name, unsigned *ret_index)
{
    for (unsigned i = 0; option_choice(option, i).len; i++) {
        if (!span_equals(option_choice(option, i), name))
            continue;
        *ret_index = i;
        return true;
    }
    return false;
}

struct span option_choice_near(const struct option *option, struct span name)
{
    struct span near = {0};
    unsigned best = UINT32_MAX;
    for (unsigned i = 0; option_choice(option, i).len; i++)
        if (nearer(name, option_choice(option, i), &best))
            near = option_choice(option, i);
    return near;
}

const char *option_form(const struct option *option)
{
    return option->list ? forms[option->type].many : forms[option->type].one;
}

const char *option_one_form(const struct option *option)
{
    return forms[option->type].one;
}

const char *option_type_name(const struct option *option)
{
    return forms[option->type].type;
}
