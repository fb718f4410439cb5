/* imap_string: strings as RFC 3501 9 writes them: NIL, "quoted" or {length} literal. Pure. */
#pragma once

#include "core/sink.h"

/* Quoted where that is legal (no 8 bit, no CR, LF or NUL), else a literal. */
void imap_string_put(struct sink *sink, struct span text);

/* The same for a header value as it stands in a message: a fold becomes one blank. */
void imap_unfolded_put(struct sink *sink, struct span value);

static inline void imap_nil_put(struct sink *sink)
{
    sink_put(sink, SPAN("NIL"));
}
