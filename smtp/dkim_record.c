#include "smtp/dkim_record.h"

#include "core/base64.h"
#include "smtp/tags.h"

static bool list_has(struct span list, const char *wanted, const char *any)
{
    struct span item;
    while (tags_next_item(&list, &item))
        if (span_equals_any_case(item, span_string(wanted)) ||
            (any && span_equals(item, span_string(any))))
            return true;
    return false;
}

static bool read_version(const struct tags *tags)
{
    struct span value;
    if (!tags_find(tags, "v", &value))
        return true;
    return span_equals(value, SPAN("DKIM1")) && span_equals(tags->list[0].name, SPAN("v"));
}

static bool read_algorithm(const struct tags *tags, enum sign_algorithm *ret_algorithm)
{
    struct span value = SPAN("rsa");
    tags_find(tags, "k", &value);
    *ret_algorithm = SIGN_RSA_SHA256;
    if (span_equals_any_case(value, SPAN("rsa")))
        return true;
    *ret_algorithm = SIGN_ED25519_SHA256;
    return span_equals_any_case(value, SPAN("ed25519"));
}

enum dkim_record_fault dkim_record_parse(struct span text, struct dkim_record *ret_record)
{
    struct dkim_record *record = ret_record;
    struct tags tags;
    struct span key, value;
    struct sink sink;
    *record = (struct dkim_record){.sha256 = true};
    if (!tags_read(text, &tags) || !read_version(&tags) || !tags_find(&tags, "p", &key))
        return DKIM_RECORD_BROKEN;
    if (key.len == 0)
        return DKIM_RECORD_REVOKED;
    if (!read_algorithm(&tags, &record->algorithm))
        return DKIM_RECORD_UNKNOWN_KEY;
    if (tags_find(&tags, "s", &value) && !list_has(value, "email", "*"))
        return DKIM_RECORD_NOT_MAIL;
    if (tags_find(&tags, "h", &value))
        record->sha256 = list_has(value, "sha256", NULL);
    if (tags_find(&tags, "t", &value)) {
        record->testing = list_has(value, "y", NULL);
        record->strict = list_has(value, "s", NULL);
    }
    sink_init(&sink, record->storage, sizeof record->storage);
    if (!tags_base64(key, &sink))
        return DKIM_RECORD_BROKEN;
    record->key = sink_span(&sink);
    return DKIM_RECORD_GOOD;
}

void dkim_record_put(const struct sign_key *key, struct sink *sink)
{
    char storage[DKIM_RECORD_KEY];
    struct sink public_key;
    sink_init(&public_key, storage, sizeof storage);
    sink_put(sink, sign_key_algorithm(key) == SIGN_RSA_SHA256 ? SPAN("v=DKIM1; k=rsa; p=")
                                                              : SPAN("v=DKIM1; k=ed25519; p="));
    if (sign_key_put_public(key, &public_key))
        base64_put(sink, sink_span(&public_key));
    else
        sink->full = true;
}
