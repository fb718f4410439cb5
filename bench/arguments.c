#include "bench/arguments.h"

#include "core/base64.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static void print_help(const char *purpose, const struct argument *table, unsigned count)
{
    static const char *const values[] = {"", " N", " SHARE", " TEXT"};
    printf("%s\n\n", purpose);
    for (unsigned i = 0; i < count; i++) {
        char name[64];
        snprintf(name, sizeof name, "--%s%s", table[i].name, values[table[i].kind]);
        printf("  %-24s %s\n", name, table[i].meaning);
    }
}

void arguments_wrong(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vfprintf(stderr, format, list);
    va_end(list);
    fprintf(stderr, " (--help)\n");
    exit(2);
}

/* `text` is what stands behind "--". */
static const struct argument *find(const struct argument *table, unsigned count, const char *text)
{
    size_t len = strcspn(text, "=");
    for (unsigned i = 0; i < count; i++)
        if (strlen(table[i].name) == len && memcmp(table[i].name, text, len) == 0)
            return &table[i];
    return NULL;
}

static bool read_value(const struct argument *argument, const char *text)
{
    char *end;
    double share;
    switch (argument->kind) {
    case ARGUMENT_COUNT:
        return span_decimal(span_string(text), UINT64_MAX / 2, argument->ret_value);
    case ARGUMENT_SHARE:
        share = strtod(text, &end);
        *(double *)argument->ret_value = share;
        return end != text && *end == '\0' && share >= 0 && share <= 1;
    case ARGUMENT_TEXT:
        *(const char **)argument->ret_value = text;
        return true;
    case ARGUMENT_FLAG:
        break;
    }
    return false;
}

void arguments_read(const char *purpose, const struct argument *table, unsigned count, int argc,
                    char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            print_help(purpose, table, count);
            exit(0);
        }
        const struct argument *argument =
            strncmp(argv[i], "--", 2) == 0 ? find(table, count, argv[i] + 2) : NULL;
        if (!argument)
            arguments_wrong("unknown: %s", argv[i]);
        const char *value = strchr(argv[i], '=');
        if (argument->kind == ARGUMENT_FLAG) {
            if (value)
                arguments_wrong("--%s takes no value", argument->name);
            *(bool *)argument->ret_value = true;
            continue;
        }
        value = value ? value + 1 : argv[++i];
        if (!value || !read_value(argument, value))
            arguments_wrong("--%s: %s", argument->name, value ? "not a valid value" : "no value");
    }
}

struct address arguments_address(const char *text)
{
    struct address address;
    if (!text || !address_parse(span_string(text), 0, &address) || address_port(&address) == 0)
        arguments_wrong("%s: not an address with port", text ? text : "no address");
    return address;
}

const char *arguments_login(const char *login, char *memory, size_t capacity)
{
    if (!login)
        return NULL;
    char plain[256] = {0};
    struct sink plain_sink, text_sink;
    const char *colon = strchr(login, ':');
    sink_init(&plain_sink, plain, sizeof plain);
    sink_byte(&plain_sink, '\0');
    sink_put(&plain_sink, span_first(span_string(login), colon ? (size_t)(colon - login) : 0));
    sink_byte(&plain_sink, '\0');
    sink_put(&plain_sink, span_string(colon ? colon + 1 : ""));
    sink_init(&text_sink, memory, capacity);
    base64_put(&text_sink, sink_span(&plain_sink));
    sink_byte(&text_sink, '\0');
    if (!colon || plain_sink.full || text_sink.full)
        arguments_wrong("--login: USER:PASSWORD, not too long");
    return memory;
}
