/* accounting: a line of the journal as rows of PowerMTA's accounting file (CSV, RFC 4180).
 *
 * One row per recipient; the first column says what happened: d delivered, b bounced, t transient,
 * r received, rb bounced by a report that came later, f complaint. Columns are the union of what
 * these types have and that we can say; a cell that a row has nothing for is empty. Lines of other
 * types have no row. docs/JOURNAL.md lists the columns and what each is made of. Pure. */
#pragma once

#include "core/sink.h"

enum { ACCOUNTING_ROOM = 1 << 20 }; /* a sink of this capacity holds the rows of any line */

/* The types that a caller wants, as bits. */
enum accounting_type {
    ACCOUNTING_D = 1,
    ACCOUNTING_B = 2,
    ACCOUNTING_T = 4,
    ACCOUNTING_R = 8,
    ACCOUNTING_RB = 16,
    ACCOUNTING_F = 32,
    ACCOUNTING_ALL = 63,
};

/* "d,b,t": the bits. False: something else is in it. */
bool accounting_types_read(struct span text, unsigned *ret_types);

/* The names of the columns; rows end with CR LF. */
void accounting_put_header(struct sink *sink);
/* No row, or one per recipient. `scratch` is as large as the line. False: not a line of a journal.
 */
bool accounting_put_rows(struct span line, unsigned types, struct sink *scratch, struct sink *sink);
