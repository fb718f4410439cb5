#include "core/login_cache.h"

#include "core/random.h"
#include "core/sink.h"

#include <errno.h>
#include <stdlib.h>

enum { TEXT_MOST = 2048 };

int login_cache_init(struct login_cache *cache, uint64_t lifetime_ms)
{
    *cache = (struct login_cache){.lifetime_ms = lifetime_ms};
    random_fill(cache->key, sizeof cache->key);
    cache->entries = calloc((size_t)LOGIN_CACHE_SETS * LOGIN_CACHE_WAYS, sizeof *cache->entries);
    return cache->entries ? 0 : -ENOMEM;
}

void login_cache_fini(struct login_cache *cache)
{
    free(cache->entries);
    cache->entries = NULL;
}

static void put_counted(struct sink *sink, struct span span)
{
    sink_u32(sink, (uint32_t)span.len);
    sink_put(sink, span);
}

struct login_tag login_tag_of(const struct login_cache *cache, struct span name, struct span stored,
                              struct span password)
{
    char text[TEXT_MOST];
    struct sink sink;
    struct login_tag tag;
    sink_init(&sink, text, sizeof text);
    put_counted(&sink, name);
    put_counted(&sink, stored);
    put_counted(&sink, password);
    check(!sink.full);
    digest_hmac(span_of(cache->key, sizeof cache->key), sink_span(&sink), tag.octets);
    digest_wipe(text, sizeof text);
    return tag;
}

static struct login_cache_entry *set_of(const struct login_cache *cache,
                                        const struct login_tag *tag)
{
    uint32_t which;
    memcpy(&which, tag->octets + LOGIN_CACHE_TAG, sizeof which);
    return &cache->entries[which % LOGIN_CACHE_SETS * LOGIN_CACHE_WAYS];
}

bool login_cache_has(const struct login_cache *cache, const struct login_tag *tag, uint64_t now_ms)
{
    const struct login_cache_entry *set = set_of(cache, tag);
    bool has = false;
    for (unsigned i = 0; i < LOGIN_CACHE_WAYS; i++)
        has |= digest_same(span_of(set[i].tag, LOGIN_CACHE_TAG),
                           span_of(tag->octets, LOGIN_CACHE_TAG)) &&
               now_ms < set[i].until_ms;
    return has;
}

void login_cache_add(struct login_cache *cache, const struct login_tag *tag, uint64_t now_ms)
{
    struct login_cache_entry *set = set_of(cache, tag), *oldest = &set[0];
    for (unsigned i = 1; i < LOGIN_CACHE_WAYS; i++)
        if (set[i].until_ms < oldest->until_ms)
            oldest = &set[i];
    memcpy(oldest->tag, tag->octets, LOGIN_CACHE_TAG);
    oldest->until_ms = now_ms + cache->lifetime_ms;
}
