/* Any bytes as a line of the journal, as a state and as a cursor. Rows of a line that is taken end
 * with CR LF and hold none but in quotes. */
#include "core/check.h"
#include "queue/accounting.h"
#include "queue/journal_cursor.h"
#include "queue/journal_state.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void look_at_rows(struct span rows)
{
    bool quoted = false;
    check(rows.len == 0 || rows.data[rows.len - 1] == '\n');
    for (size_t i = 0; i < rows.len; i++) {
        if (rows.data[i] == '"')
            quoted = !quoted;
        else if (rows.data[i] == '\n' && !quoted)
            check(i > 0 && rows.data[i - 1] == '\r');
    }
    check(!quoted);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span text = span_of(data, size);
    struct journal_state state;
    struct journal_cursor cursor;
    char *scratch = malloc(size + 1), *storage = malloc(ACCOUNTING_ROOM);
    struct sink sink, rows;
    sink_init(&sink, scratch, size + 1);
    sink_init(&rows, storage, ACCOUNTING_ROOM);
    if (accounting_put_rows(text, ACCOUNTING_ALL, &sink, &rows) && !rows.full)
        look_at_rows(sink_span(&rows));
    journal_state_parse(text, &state);
    journal_cursor_parse(text, &cursor);
    free(scratch);
    free(storage);
    return 0;
}
