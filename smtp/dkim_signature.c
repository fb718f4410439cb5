#include "smtp/dkim_signature.h"

#include "smtp/tags.h"

/* ---- reading ---- */

struct reading {
    const struct tags *tags;
    struct dkim_signature *signature;
    const char *why;
};

/* The tag's value; false: there is none, and that is a mistake. */
static bool need(struct reading *reading, const char *name, struct span *ret_value)
{
    if (tags_find(reading->tags, name, ret_value) && ret_value->len)
        return true;
    reading->why = "a tag is missing";
    return false;
}

static bool wrong(struct reading *reading, const char *why)
{
    reading->why = why;
    return false;
}

static bool read_version(struct reading *reading)
{
    struct span value;
    if (reading->signature->kind != DKIM_SIGNATURE)
        return true;
    return need(reading, "v", &value) &&
           (span_equals(value, SPAN("1")) || wrong(reading, "unknown version"));
}

static bool read_algorithm(struct reading *reading)
{
    struct span value;
    if (!need(reading, "a", &value))
        return false;
    if (span_equals_any_case(value, SPAN("rsa-sha256")))
        reading->signature->algorithm = SIGN_RSA_SHA256;
    else if (span_equals_any_case(value, SPAN("ed25519-sha256")))
        reading->signature->algorithm = SIGN_ED25519_SHA256;
    else
        return wrong(reading, "unknown or outdated algorithm");
    return true;
}

static bool canon_of(struct span name, enum dkim_canon *ret_canon)
{
    *ret_canon = span_equals_any_case(name, SPAN("relaxed")) ? DKIM_RELAXED : DKIM_SIMPLE;
    return *ret_canon == DKIM_RELAXED || span_equals_any_case(name, SPAN("simple"));
}

/* "header/body"; what is not said is simple. A seal is always relaxed (RFC 8617 5.1.1). */
static bool read_canon(struct reading *reading)
{
    struct dkim_signature *signature = reading->signature;
    struct span value = SPAN("simple");
    tags_find(reading->tags, "c", &value);
    if (signature->kind == ARC_SEAL)
        value = SPAN("relaxed");
    size_t slash = span_find(value, '/');
    struct span body = slash < value.len ? span_skip(value, slash + 1) : SPAN("simple");
    return (canon_of(span_first(value, slash), &signature->header_canon) &&
            canon_of(body, &signature->body_canon)) ||
           wrong(reading, "unknown canonicalization");
}

static bool read_number(struct reading *reading, const char *name, uint64_t *ret_value)
{
    struct span value;
    if (!tags_find(reading->tags, name, &value))
        return true;
    return span_decimal(value, INT64_MAX, ret_value) || wrong(reading, "a number is wrong");
}

static bool read_times(struct reading *reading)
{
    struct dkim_signature *signature = reading->signature;
    uint64_t signed_at_s = 0;
    signature->limit = UINT64_MAX;
    if (!read_number(reading, "t", &signed_at_s) ||
        !read_number(reading, "x", &signature->expires_at_s) ||
        !read_number(reading, "l", &signature->limit))
        return false;
    return !signature->expires_at_s || signature->expires_at_s >= signed_at_s ||
           wrong(reading, "it expires before it was made");
}

/* i= of DKIM is who has signed: at d= or below it. */
static bool read_identity(struct reading *reading)
{
    struct dkim_signature *signature = reading->signature;
    if (!tags_find(reading->tags, "i", &signature->identity))
        return true;
    struct span domain = signature->identity;
    size_t at = domain.len;
    while (at && domain.data[at - 1] != '@')
        at--;
    return (at && name_is_below(span_skip(domain, at), signature->domain)) ||
           wrong(reading, "i= is not of the domain in d=");
}

/* i= of ARC is a number. */
static bool read_instance(struct reading *reading)
{
    struct span value;
    uint64_t number = 0;
    if (!need(reading, "i", &value))
        return false;
    if (!span_decimal(value, 1000, &number) || number == 0)
        return wrong(reading, "the instance is wrong");
    reading->signature->instance = (unsigned)number;
    return true;
}

static bool list_has(struct span list, struct span name)
{
    struct span item;
    while (tags_next_item(&list, &item))
        if (span_equals_any_case(item, name))
            return true;
    return false;
}

static bool read_headers(struct reading *reading)
{
    struct dkim_signature *signature = reading->signature;
    struct span value;
    if (!need(reading, "h", &signature->headers))
        return false;
    if (!list_has(signature->headers, SPAN("From")))
        return wrong(reading, "From is not signed");
    if (signature->kind == ARC_MESSAGE_SIGNATURE && list_has(signature->headers, SPAN("ARC-Seal")))
        return wrong(reading, "it signs ARC-Seal");
    if (tags_find(reading->tags, "q", &value) && !list_has(value, SPAN("dns/txt")))
        return wrong(reading, "its key is not in DNS");
    return true;
}

static bool read_body_hash(struct reading *reading)
{
    struct span value;
    struct sink sink;
    if (!need(reading, "bh", &value))
        return false;
    sink_init(&sink, reading->signature->body_hash, DIGEST_LEN);
    return (tags_base64(value, &sink) && sink.len == DIGEST_LEN) ||
           wrong(reading, "bh= is not a digest");
}

static bool read_signature(struct reading *reading)
{
    struct dkim_signature *signature = reading->signature;
    struct sink sink;
    if (!need(reading, "b", &signature->signature_text))
        return false;
    sink_init(&sink, signature->signature, sizeof signature->signature);
    if (!tags_base64(signature->signature_text, &sink))
        return wrong(reading, "b= is not a signature");
    signature->signature_len = sink.len;
    return true;
}

static bool read_seal_status(struct reading *reading)
{
    struct span unused;
    if (tags_find(reading->tags, "h", &unused) || tags_find(reading->tags, "bh", &unused))
        return wrong(reading, "an ARC-Seal with h= or bh=");
    return need(reading, "cv", &reading->signature->seal_status);
}

static bool read_tags(struct reading *reading)
{
    struct dkim_signature *signature = reading->signature;
    if (!read_version(reading) || !read_algorithm(reading) ||
        !need(reading, "d", &signature->domain) || !need(reading, "s", &signature->selector) ||
        !read_canon(reading) || !read_times(reading) || !read_signature(reading))
        return false;
    if (!(signature->kind == DKIM_SIGNATURE ? read_identity(reading) : read_instance(reading)))
        return false;
    return signature->kind == ARC_SEAL ? read_seal_status(reading)
                                       : read_headers(reading) && read_body_hash(reading);
}

bool dkim_signature_read(const struct header_field *field, enum dkim_signature_kind kind,
                         struct dkim_signature *ret_signature, const char **ret_why)
{
    struct tags tags;
    struct reading reading = {.tags = &tags, .signature = ret_signature};
    *ret_signature = (struct dkim_signature){.field = field, .kind = kind};
    *ret_why = "it is not a list of tags";
    if (!tags_read(field->value, &tags))
        return false;
    bool read = read_tags(&reading);
    *ret_why = reading.why;
    return read;
}

bool dkim_signature_key_name(const struct dkim_signature *signature, struct name *ret_name)
{
    char text[512];
    struct sink sink;
    sink_init(&sink, text, sizeof text);
    sink_put(&sink, signature->selector);
    sink_put(&sink, SPAN("._domainkey."));
    sink_put(&sink, signature->domain);
    return !sink.full && name_parse(sink_span(&sink), ret_name);
}

/* ---- hashing ---- */

void dkim_signature_put_own(const struct dkim_signature *signature, enum dkim_canon canon,
                            dkim_emit *emit, void *context)
{
    struct span field = signature->field->text, cut = signature->signature_text;
    while (cut.data > field.data &&
           cut.data[-1] != '=') { /* white space in front of it goes, too */
        cut.data--;
        cut.len++;
    }
    dkim_field_put_cut(canon, field, cut, emit, context);
}

/* Fields of one name are taken from the bottom up (RFC 6376 5.4.2); `taken` has a bit per field. */
static const struct header_field *take_field(const struct header_field *fields, unsigned count,
                                             const struct header_field *own, struct span name,
                                             uint64_t *taken)
{
    for (unsigned i = count; i-- > 0;) {
        if (&fields[i] == own || (taken[i / 64] >> i % 64 & 1) ||
            !span_equals_any_case(fields[i].name, name))
            continue;
        taken[i / 64] |= UINT64_C(1) << i % 64;
        return &fields[i];
    }
    return NULL;
}

void dkim_signature_digest(const struct dkim_signature *signature,
                           const struct header_field *fields, unsigned field_count,
                           uint8_t ret_digest[DIGEST_LEN])
{
    uint64_t taken[DKIM_FIELDS_MOST / 64] = {0};
    struct span names = signature->headers, name;
    struct digest digest;
    unsigned looked_at = 0;
    check(field_count <= DKIM_FIELDS_MOST);
    digest_init(&digest);
    while (looked_at++ < DKIM_HEADERS_MOST && tags_next_item(&names, &name)) {
        const struct header_field *field =
            take_field(fields, field_count, signature->field, name, taken);
        if (field)
            dkim_field_put(signature->header_canon, field->text, true, dkim_emit_to_digest,
                           &digest);
    }
    dkim_signature_put_own(signature, signature->header_canon, dkim_emit_to_digest, &digest);
    digest_finish(&digest, ret_digest);
}

/* ---- judging ---- */

static enum dkim_verdict refuse(enum dkim_verdict verdict, const char *why, const char **ret_why)
{
    *ret_why = why;
    return verdict;
}

static enum dkim_verdict judge_record(const struct dkim_signature *signature,
                                      const struct dkim_record *record,
                                      enum dkim_record_fault fault, const char **ret_why)
{
    static const char *const faults[] = {
        [DKIM_RECORD_BROKEN] = "the key record is broken",
        [DKIM_RECORD_REVOKED] = "the key is revoked",
        [DKIM_RECORD_UNKNOWN_KEY] = "the key is of an unknown kind",
        [DKIM_RECORD_NOT_MAIL] = "the key is not for mail",
    };
    size_t at = span_find(signature->identity, '@');
    if (fault != DKIM_RECORD_GOOD)
        return refuse(DKIM_PERMERROR, faults[fault], ret_why);
    if (record->algorithm != signature->algorithm || !record->sha256)
        return refuse(DKIM_PERMERROR, "the key is for another algorithm", ret_why);
    if (record->strict && signature->kind == DKIM_SIGNATURE && signature->identity.len &&
        !span_equals_any_case(span_skip(signature->identity, at + 1), signature->domain))
        return refuse(DKIM_PERMERROR, "the key is not for subdomains", ret_why);
    return DKIM_PASS;
}

enum dkim_verdict dkim_signature_judge(const struct dkim_signature *signature, struct span text,
                                       const uint8_t digest[DIGEST_LEN], const uint8_t *body_digest,
                                       uint64_t now_s, unsigned *ret_bits, const char **ret_why)
{
    struct dkim_record record;
    enum dkim_record_fault fault = dkim_record_parse(text, &record);
    *ret_bits = 0;
    *ret_why = NULL;
    enum dkim_verdict verdict = judge_record(signature, &record, fault, ret_why);
    if (verdict != DKIM_PASS)
        return verdict;
    if (signature->expires_at_s && now_s > signature->expires_at_s)
        return refuse(DKIM_FAIL, "expired", ret_why);
    if (body_digest && memcmp(body_digest, signature->body_hash, DIGEST_LEN) != 0)
        return refuse(DKIM_FAIL, "the body has changed", ret_why);
    switch (sign_verify(signature->algorithm, record.key, digest,
                        span_of(signature->signature, signature->signature_len), ret_bits)) {
    case SIGN_GOOD:
        return DKIM_PASS;
    case SIGN_BAD:
        return refuse(DKIM_FAIL, "the signature does not fit", ret_why);
    case SIGN_KEY_WEAK:
        return refuse(DKIM_PERMERROR, "the key is too short", ret_why);
    case SIGN_KEY_BROKEN:
        break;
    }
    return refuse(DKIM_PERMERROR, "the key is broken", ret_why);
}

struct span dkim_verdict_name(enum dkim_verdict verdict)
{
    static const struct span names[DKIM_VERDICTS] = {
        [DKIM_NONE] = SPAN("none"),           [DKIM_PASS] = SPAN("pass"),
        [DKIM_FAIL] = SPAN("fail"),           [DKIM_NEUTRAL] = SPAN("neutral"),
        [DKIM_TEMPERROR] = SPAN("temperror"), [DKIM_PERMERROR] = SPAN("permerror"),
    };
    return names[verdict];
}

struct span dkim_algorithm_name(enum sign_algorithm algorithm)
{
    return algorithm == SIGN_RSA_SHA256 ? SPAN("rsa-sha256") : SPAN("ed25519-sha256");
}
