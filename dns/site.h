/* site: the name under which the hosts of a mail domain share limits and connections. Pure.
 *
 * A site is the roll-up of all MX host names: domains with the same hosts are one site, whatever
 * they are called. The text is the one that KumoMTA made familiar: labels aligned from the right,
 * several at one place as "(a|b)", a place that some host lacks with "?" behind it:
 *     (alt1|alt2|alt3|alt4)?.gmail-smtp-in.l.google.com
 * Every worker must come to the same text, so the names come in a canonical order.
 *
 * A text longer than SITE_BYTES (hostile or absurd MX sets) becomes "mx_hash:" and 16 hex digits.
 */
#pragma once

#include "core/sink.h"

enum { SITE_BYTES = 400 };

/* Lower-case names without a dot at the end, at most SITE_NAMES. `sink` has room for SITE_BYTES. */
enum { SITE_NAMES = 64 };
void site_roll_up(const struct span *names, size_t count, struct sink *sink);

/* Of a configured route: "mx_list:h1,h2", the hosts as configured, in lower case. */
void site_route(const struct span *hosts, size_t count, struct sink *sink);
