/* One option's value: read from a node of the file, checked against the option's range, written
 * back as TOML. The switch over the types stands here three times (read, unset, write) and nowhere
 * else. */
#include "core/config_private.h"
#include "core/config_value.h"

#include <inttypes.h>

enum { QUOTED = 60, MESSAGE = 512 };

void option_put_place(struct sink *sink, enum table_id id)
{
    const struct option_table *table = option_table(id);
    if (id == TABLE_TOP)
        sink_put(sink, SPAN("at the top of the file"));
    else if (table->kind == TABLE_ARRAY)
        sink_format(sink, "in [[%s]]", table->name);
    else if (table->kind == TABLE_NAMED)
        sink_format(sink, "in [%s.\"DOMAIN\"]", table->name);
    else
        sink_format(sink, "in [%s]", table->name);
}

/* What stands in the file, for a message. */
static void put_node(struct sink *sink, const struct toml_node *node)
{
    switch (node->type) {
    case TOML_STRING:
        sink_byte(sink, '"');
        sink_printable(sink, node->string, QUOTED);
        sink_put(sink, node->string.len > QUOTED ? SPAN("...\"") : SPAN("\""));
        break;
    case TOML_INTEGER:
        sink_format(sink, "%" PRId64, node->integer);
        break;
    case TOML_FLOAT:
        sink_format(sink, "%g", node->real);
        break;
    case TOML_BOOLEAN:
        sink_put(sink, node->boolean ? SPAN("true") : SPAN("false"));
        break;
    case TOML_TABLE:
        sink_put(sink, SPAN("a table"));
        break;
    case TOML_ARRAY:
        sink_put(sink, SPAN("a list"));
        break;
    case TOML_TIME:
        sink_put(sink, SPAN("a date or time"));
        break;
    }
}

/* "'idle_timeout' in [delivery]: " */
static void put_subject(struct sink *sink, const struct option *option)
{
    sink_format(sink, "'%s' ", option->key);
    option_put_place(sink, option->table);
    sink_put(sink, SPAN(": "));
}

static void complain_sink(struct loading *loading, const struct toml_node *node, struct sink *sink)
{
    loading_complain(loading, node->line, node->column, "%.*s", SPAN_FORMAT(sink_span(sink)));
}

static void complain_form(struct loading *loading, const struct option *option,
                          const struct toml_node *node, const char *form)
{
    char text[MESSAGE];
    struct sink sink;
    sink_init(&sink, text, sizeof text);
    put_subject(&sink, option);
    put_node(&sink, node);
    sink_format(&sink, " is not %s", form);
    complain_sink(loading, node, &sink);
}

static void complain_choice(struct loading *loading, const struct option *option,
                            const struct toml_node *node)
{
    char text[MESSAGE];
    struct sink sink;
    sink_init(&sink, text, sizeof text);
    put_subject(&sink, option);
    put_node(&sink, node);
    sink_put(&sink, SPAN(" is not one of"));
    for (unsigned i = 0; option_choice(option, i).len; i++)
        sink_format(&sink, "%s \"%.*s\"", i ? "," : "", SPAN_FORMAT(option_choice(option, i)));
    struct span near = {0};
    if (node->type == TOML_STRING)
        near = option_choice_near(option, node->string);
    if (near.len)
        sink_format(&sink, "; did you mean \"%.*s\"?", SPAN_FORMAT(near));
    complain_sink(loading, node, &sink);
}

static void put_number(struct sink *sink, enum option_type type, uint64_t value)
{
    if (type == OPTION_DURATION)
        value_put_duration(sink, value);
    else if (type == OPTION_SIZE)
        value_put_size(sink, value);
    else
        sink_decimal(sink, value);
}

static bool in_range(struct loading *loading, const struct option *option,
                     const struct toml_node *node, uint64_t value)
{
    if (value >= option->least && value <= option->most)
        return true;
    char text[MESSAGE];
    struct sink sink;
    sink_init(&sink, text, sizeof text);
    put_subject(&sink, option);
    put_node(&sink, node);
    sink_put(&sink, SPAN(" is out of range; it must be from "));
    put_number(&sink, option->type, option->least);
    sink_put(&sink, SPAN(" to "));
    put_number(&sink, option->type, option->most);
    complain_sink(loading, node, &sink);
    return false;
}

/* ---- reading ---- */

static bool host_form(struct span text)
{
    struct address address;
    struct span host;
    uint16_t port;
    if (address_parse(text, 25, &address))
        return address.family != AF_UNIX && address_port(&address) != 0;
    return address_split_host(text, 25, &host, &port) && port != 0 && value_domain(host);
}

static bool text_form(enum option_type type, struct span text)
{
    if (memchr(text.data, '\0', text.len))
        return false;
    switch (type) {
    case OPTION_PATH:
        return text.len > 0;
    case OPTION_DOMAIN:
        return value_domain(text);
    case OPTION_SELECTOR:
        return value_selector(text);
    case OPTION_HEADER:
        return value_header(text);
    case OPTION_HOST:
        return host_form(text);
    default:
        return true;
    }
}

static bool read_address(enum option_type type, struct span text, struct address *ret_address)
{
    struct address address;
    if (!address_parse(text, type == OPTION_SERVER ? 53 : 0, &address) || address.family == AF_UNIX)
        return false;
    if ((type == OPTION_SOURCE) != (address_port(&address) == 0))
        return false;
    *ret_address = address;
    return true;
}

/* Values that are a TOML string. 1 read, 0 wrong form, -1 already complained. */
static int read_string(struct loading *loading, const struct option *option,
                       const struct toml_node *node, void *to)
{
    struct span text = node->string;
    switch (option->type) {
    case OPTION_DURATION:
        return value_duration(text, to)
                   ? (in_range(loading, option, node, *(uint64_t *)to) ? 1 : -1)
                   : 0;
    case OPTION_SIZE:
        return value_size(text, to) ? (in_range(loading, option, node, *(uint64_t *)to) ? 1 : -1)
                                    : 0;
    case OPTION_PERCENT:
        return value_percent(text, to);
    case OPTION_RATE:
        return value_rate(text, to);
    case OPTION_LISTEN:
    case OPTION_SERVER:
    case OPTION_SOURCE:
        return read_address(option->type, text, to);
    case OPTION_NETWORK:
        return network_parse(text, to);
    default:
        return text_form(option->type, text) && config_keep_text(loading, text, to);
    }
}

static int read_integer(struct loading *loading, const struct option *option,
                        const struct toml_node *node, void *to)
{
    uint64_t value = (uint64_t)node->integer;
    if (node->integer < 0)
        value = UINT64_MAX; /* out of every range */
    if (!in_range(loading, option, node, value))
        return -1;
    if (option->type == OPTION_POWER && (value & (value - 1)))
        return 0;
    if (option->type == OPTION_PORT)
        *(uint16_t *)to = (uint16_t)value;
    else
        *(uint64_t *)to = value;
    return 1;
}

/* A choice is a bool (two names) or an enum in the snapshot. */
static void set_choice(const struct option *option, void *to, unsigned index)
{
    check(option->size == sizeof(bool) || option->size == sizeof(unsigned));
    if (option->size == sizeof(bool))
        *(bool *)to = index != 0;
    else
        memcpy(to, &index, sizeof index);
}

static bool read_value(struct loading *loading, const struct option *option,
                       const struct toml_node *node, void *to)
{
    bool number =
        option->type == OPTION_COUNT || option->type == OPTION_POWER || option->type == OPTION_PORT;
    int result = 0;
    if (option->type == OPTION_CHOICE) {
        unsigned index;
        if (node->type != TOML_STRING || !option_choice_find(option, node->string, &index)) {
            complain_choice(loading, option, node);
            return false;
        }
        set_choice(option, to, index);
        return true;
    }
    if (option->type == OPTION_BOOLEAN) {
        result = node->type == TOML_BOOLEAN;
        if (result)
            *(bool *)to = node->boolean;
    } else if (number && node->type == TOML_INTEGER) {
        result = read_integer(loading, option, node, to);
    } else if (!number && node->type == TOML_STRING) {
        result = read_string(loading, option, node, to);
    }
    if (result == 0 && !loading->no_memory)
        complain_form(loading, option, node, option_one_form(option));
    return result > 0;
}

static void read_list(struct loading *loading, const struct option *option,
                      const struct toml_node *node, char *owner)
{
    if (node->type != TOML_ARRAY) {
        complain_form(loading, option, node, option_form(option));
        return;
    }
    size_t count = 0, bad = 0;
    for (const struct toml_node *child = node->first; child; child = child->next)
        count++;
    if (count == 0 && (option->flags & NONEMPTY)) {
        complain_form(loading, option, node, option_form(option));
        return;
    }
    char *list = config_keep(loading, count, option->size), *at = list;
    for (const struct toml_node *child = node->first; child && list; child = child->next) {
        bad += !read_value(loading, option, child, at);
        at += option->size;
    }
    if (bad || (count && !list))
        return;
    memcpy(owner + option->offset, &list, sizeof list);
    memcpy(owner + option->count_offset, &count, sizeof count);
}

void option_read(struct loading *loading, const struct option *option, const struct toml_node *node,
                 void *owner)
{
    char *base = owner;
    if (option->list)
        read_list(loading, option, node, base);
    else
        read_value(loading, option, node, base + option->offset);
}

/* Defaults are written in the table as an operator would, and take the same way in. */
void option_read_default(struct loading *loading, const struct option *option, void *owner)
{
    char text[512];
    struct sink sink;
    struct toml_error error;
    if (!option->standard)
        return;
    sink_init(&sink, text, sizeof text);
    sink_format(&sink, "value = %s\n", option->standard);
    check(!sink.full);
    struct toml_node *top = toml_parse(sink_span(&sink), &error);
    if (!top) {
        check(error.line == 0); /* else options.def has bad TOML */
        loading->no_memory = true;
        return;
    }
    unsigned before = loading->mistakes;
    option_read(loading, option, top->first, owner);
    check(loading->mistakes == before);
    toml_free(top);
}

/* ---- writing ---- */

size_t option_value_count(const struct option *option, const void *owner)
{
    size_t count = 1;
    if (option->list)
        memcpy(&count, (const char *)owner + option->count_offset, sizeof count);
    return count;
}

static const void *value_at(const struct option *option, const void *owner, size_t index)
{
    const char *field = (const char *)owner + option->offset, *list;
    if (!option->list)
        return field;
    memcpy(&list, field, sizeof list);
    return list + index * option->size;
}

bool option_unset(const struct option *option, const void *owner)
{
    if (option->list)
        return false;
    const void *value = value_at(option, owner, 0);
    switch (option->type) {
    case OPTION_TEXT:
    case OPTION_PATH:
    case OPTION_DOMAIN:
    case OPTION_SELECTOR:
    case OPTION_HEADER:
    case OPTION_HOST:
        return ((const struct span *)value)->len == 0;
    case OPTION_RATE:
        return ((const struct rate *)value)->count == 0;
    case OPTION_LISTEN:
    case OPTION_SERVER:
    case OPTION_SOURCE:
        return ((const struct address *)value)->family == AF_UNSPEC;
    default:
        return false;
    }
}

static unsigned choice_index(const struct option *option, const void *value)
{
    unsigned index;
    if (option->size == sizeof(bool))
        return *(const bool *)value;
    memcpy(&index, value, sizeof index);
    return index;
}

static void put_network(struct sink *sink, const struct network *network)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    struct address address = {0};
    unsigned prefix = network->prefix;
    if (prefix >= 96 && memcmp(network->bits, mapped, sizeof mapped) == 0) {
        address.v4.sin_family = AF_INET;
        memcpy(&address.v4.sin_addr, network->bits + 12, 4);
        prefix -= 96;
    } else {
        address.v6.sin6_family = AF_INET6;
        memcpy(&address.v6.sin6_addr, network->bits, 16);
    }
    address_put_host(&address, sink);
    sink_format(sink, "/%u", prefix);
}

static void put_quoted(struct sink *sink, const struct option *option, const void *value)
{
    sink_byte(sink, '"');
    switch (option->type) {
    case OPTION_DURATION:
    case OPTION_SIZE:
        put_number(sink, option->type, *(const uint64_t *)value);
        break;
    case OPTION_PERCENT:
        value_put_percent(sink, *(const double *)value);
        break;
    case OPTION_RATE:
        value_put_rate(sink, value);
        break;
    case OPTION_CHOICE:
        sink_put(sink, option_choice(option, choice_index(option, value)));
        break;
    case OPTION_SOURCE:
        address_put_host(value, sink);
        break;
    case OPTION_NETWORK:
        put_network(sink, value);
        break;
    default:
        address_put(value, sink);
    }
    sink_byte(sink, '"');
}

void option_put_value(struct sink *sink, const struct option *option, const void *owner,
                      size_t index)
{
    const void *value = value_at(option, owner, index);
    switch (option->type) {
    case OPTION_TEXT:
    case OPTION_PATH:
    case OPTION_DOMAIN:
    case OPTION_SELECTOR:
    case OPTION_HEADER:
    case OPTION_HOST:
        value_put_string(sink, *(const struct span *)value);
        break;
    case OPTION_BOOLEAN:
        sink_put(sink, *(const bool *)value ? SPAN("true") : SPAN("false"));
        break;
    case OPTION_COUNT:
    case OPTION_POWER:
        sink_decimal(sink, *(const uint64_t *)value);
        break;
    case OPTION_PORT:
        sink_decimal(sink, *(const uint16_t *)value);
        break;
    default:
        put_quoted(sink, option, value);
    }
}
