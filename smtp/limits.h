/* limits: what the SMTP server allows a peer, and what it says beyond it. The table is limits.def.
 */
#pragma once

#include "core/config.h"
#include "core/metrics.h"
#include "core/sink.h"

enum limit {
#define LIMIT(name, code, enhanced, text, reason) LIMIT_##name,
#include "smtp/limits.def"
#undef LIMIT
    LIMITS,
};

struct server_limits {
#define LIMIT(name, code, enhanced, text, reason) uint64_t name;
#include "smtp/limits.def"
#undef LIMIT
};

struct server_limits limits_of(const struct config *config);

int limit_code(enum limit limit);

/* "421 4.7.0 text\r\n". Returns the code. */
int limit_reply(enum limit limit, struct sink *sink);
/* What counts its hits. */
enum metric limit_metric(enum limit limit);
