/* Any text as a configuration: refused with a message, or loaded; and what is loaded is dumped,
 * loaded again and dumped to the same text. */
#include "core/check.h"
#include "core/config.h"

#include <errno.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct text {
    char *data;
    size_t len;
};

/* Without the comment that names the line of the source, which differs. */
static void append_line(void *context, const char *line)
{
    struct text *text = context;
    const char *comment = strstr(line, "  # ");
    size_t len = comment ? (size_t)(comment - line) : strlen(line);
    text->data = realloc(text->data, text->len + len + 2);
    check(text->data);
    memcpy(text->data + text->len, line, len);
    text->len += len;
    text->data[text->len++] = '\n';
    text->data[text->len] = '\0';
}

/* A text may itself hold what looks like a comment; cutting it there would not load. */
static bool cuts_no_text(struct span source)
{
    for (size_t i = 0; i + 3 < source.len; i++)
        if (memcmp(source.data + i, "  # ", 4) == 0 || source.data[i] == '\\')
            return false;
    return true;
}

static void check_dump(struct config *config)
{
    char error[CONFIG_ERROR];
    struct text first = {0}, second = {0};
    struct config *again;
    config_dump(config, append_line, &first);
    check(config_parse(span_of(first.data, first.len), "dump", &again, error) == 0);
    check(config_reloadable(config, again, error));
    config_dump(again, append_line, &second);
    check(span_equals(span_of(first.data, first.len), span_of(second.data, second.len)));
    config_free(again);
    free(first.data);
    free(second.data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char error[CONFIG_ERROR];
    struct config *config = NULL;
    struct span text = span_of(data, size);
    memset(error, 'x', sizeof error);
    int result = config_parse(text, "f", &config, error);
    check(memchr(error, '\0', sizeof error));
    check(result == 0 || result == -EINVAL);
    check((result == 0) == (config != NULL));
    check(result == 0 || span_starts_with(span_string(error), SPAN("f:")));
    if (config && cuts_no_text(text))
        check_dump(config);
    config_free(config);
    return 0;
}
