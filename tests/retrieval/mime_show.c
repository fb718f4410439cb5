/* mime_show FILE...: for each file two lines, its ENVELOPE and its BODYSTRUCTURE as retrieval/
 * writes them; a line end in them is shown as "\n". For tests that compare them with another
 * server's. */
#include "retrieval/imap_envelope.h"

#include <stdio.h>
#include <stdlib.h>

enum { MESSAGE_MOST = 64 << 20, ANSWER_MOST = 16 << 20 };

static void print_escaped(struct span text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] == '\n')
            fputs("\\n", stdout);
        else if (text.data[i] == '\\')
            fputs("\\\\", stdout);
        else if (text.data[i] == '\r')
            fputs("\\r", stdout);
        else
            putchar(text.data[i]);
    }
}

static void show(struct span message, char *answer)
{
    static struct mime_part parts[MIME_PARTS];
    static struct mime_parser parser;
    mime_init(&parser, parts, MIME_PARTS);
    mime_push(&parser, message);
    mime_finish(&parser);
    struct sink sink;
    sink_init(&sink, answer, ANSWER_MOST);
    imap_envelope_put(&sink, message, parts);
    print_escaped(sink_span(&sink));
    putchar('\n');
    sink_init(&sink, answer, ANSWER_MOST);
    imap_structure_put(&sink, message, parts, parser.count, true);
    print_escaped(sink_span(&sink));
    putchar('\n');
}

int main(int argc, char **argv)
{
    char *bytes = malloc(MESSAGE_MOST), *answer = malloc(ANSWER_MOST);
    if (!bytes || !answer)
        return 1;
    for (int i = 1; i < argc; i++) {
        FILE *file = fopen(argv[i], "re");
        if (!file) {
            perror(argv[i]);
            return 1;
        }
        show(span_of(bytes, fread(bytes, 1, MESSAGE_MOST, file)), answer);
        fclose(file);
    }
    free(bytes);
    free(answer);
    return 0;
}
