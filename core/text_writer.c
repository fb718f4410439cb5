#include "core/text_writer.h"

#include "core/check.h"

#include <stdarg.h>
#include <stdio.h>

enum { TEXT_MAX = 4096 };

void text_write(const struct text_writer *writer, const char *format, ...)
{
    char text[TEXT_MAX];
    va_list arguments;
    va_start(arguments, format);
    int len = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    check(len >= 0 && len < (int)sizeof text);
    writer->put(writer->context, span_of(text, (size_t)len));
}
