#include "smtp/limits.h"

#include "smtp/reply.h"

struct server_limits limits_of(const struct config *config)
{
    return (struct server_limits){
#define LIMIT(name, code, enhanced, text, reason) .name = config->limits.name,
#include "smtp/limits.def"
#undef LIMIT
    };
}

static const struct {
    int code;
    const char *enhanced, *text;
    enum metric metric;
} limits[LIMITS] = {
#define LIMIT(name, code, enhanced, text, reason)                                                  \
    [LIMIT_##name] = {code, enhanced, text, METRIC_LIMIT_##name},
#include "smtp/limits.def"
#undef LIMIT
};

int limit_code(enum limit limit)
{
    return limits[limit].code;
}

int limit_reply(enum limit limit, struct sink *sink)
{
    reply_put_line(limits[limit].code, true, limits[limit].enhanced,
                   span_string(limits[limit].text), sink);
    return limits[limit].code;
}

enum metric limit_metric(enum limit limit)
{
    return limits[limit].metric;
}
