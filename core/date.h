/* date: an instant as text, in UTC and without locale or time zone files. Pure.
 *
 * Instants are Unix milliseconds (clock_wall_ms); leap seconds do not exist in them. Years above
 * 9999 are written as the last instant of 9999, so that no text grows longer than its format. */
#pragma once

#include "core/sink.h"

enum { DATE_RFC5322_LENGTH = 31, DATE_RFC3339_LENGTH = 24 };

/* "Tue, 24 Nov 2026 15:42:20 +0000": header fields (RFC 5322 3.3). Milliseconds are dropped. */
void date_put_rfc5322(struct sink *sink, uint64_t wall_ms);

/* "2026-11-24T15:42:20.123Z": the journal and the log (RFC 3339). */
void date_put_rfc3339(struct sink *sink, uint64_t wall_ms);
