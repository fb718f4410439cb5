/* config_value: the forms that option values have in the file, read from text and written back.
 *
 * Pure. Each reader takes the whole span or says false; it never accepts trailing text. Writers
 * write the shortest exact form, which reads back as the same value. */
#pragma once

#include "core/config.h"
#include "core/sink.h"

/* One number and one unit: "500ms", "30s", "5m", "4h", "5d", "2w". "0" needs a unit too. */
bool value_duration(struct span text, uint64_t *ret_ms);
void value_put_duration(struct sink *sink, uint64_t ms);

/* "512B", "64KB", "50MB", "2GB", "1TB"; KB is 1,024 bytes, as mail administrators count. Any case.
 */
bool value_size(struct span text, uint64_t *ret_bytes);
void value_put_size(struct sink *sink, uint64_t bytes);

/* "10%", "12.5%": a fraction from 0 to 1. At most three decimals. */
bool value_percent(struct span text, double *ret_fraction);
void value_put_percent(struct sink *sink, double fraction);

/* "[local:]N/[k]unit[,max_burst=B]" as KumoMTA writes it: N may contain '_' or ',' and is above 0;
 * unit is s sec second, m min minute, h hr hour, d day. "local:" is taken and means nothing: there
 * are no other rates here. */
bool value_rate(struct span text, struct rate *ret_rate);
void value_put_rate(struct sink *sink, const struct rate *rate);

/* A host name as RFC 5321 2.3.5 wants a domain: letters, digits and inner hyphens in labels of 1 to
 * 63, at most 253 in all, the last label not all digits. An underscore is let through for routes to
 * domains that exist with one. */
bool value_domain(struct span text);

/* A DKIM selector (RFC 6376 3.1): labels as in a domain, also all digits; at most 63 in all. */
bool value_selector(struct span text);

/* A header field's name (RFC 5322 2.2): printable ASCII without colon. */
bool value_header(struct span text);

/* A TOML basic string with quotes and escapes. */
void value_put_string(struct sink *sink, struct span text);

/* How many insertions, removals, replacements and swaps of neighbours lead from `a` to `b`; ASCII
 * case counts nothing. Names longer than 63 are far from everything. */
unsigned value_distance(struct span a, struct span b);
