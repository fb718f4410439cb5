/* A table of schemes with three functions each. The scheme names of crypt(3)'s methods say nothing
 * that the text does not say itself ("$6$"), so they all lead to the same functions. */
#include "core/password.h"

#include "core/base64.h"
#include "core/check.h"
#include "core/random.h"

#include <argon2.h>
#include <crypt.h>

enum {
    ARGON2_MEMORY_MOST = 1024 * 1024, /* KB; a typing error must not take the machine */
    ARGON2_PASSES_MOST = 100,
    ARGON2_PASSES = 3, /* RFC 9106 4: 64 MB, 3 passes */
    ARGON2_MEMORY = 64 * 1024,
    SALT = 16,
};

/* ---- crypt(3) ---- */

static bool text_of(struct span span, char *storage, size_t size)
{
    if (span.len >= size || memchr(span.data ? span.data : "", '\0', span.len))
        return false;
    if (span.len)
        memcpy(storage, span.data, span.len);
    storage[span.len] = '\0';
    return true;
}

static const char *crypt_fault(struct span text)
{
    char setting[PASSWORD_STORED + 1];
    if (!text_of(text, setting, sizeof setting))
        return "too long";
    int verdict = crypt_checksalt(setting);
    return verdict == CRYPT_SALT_OK || verdict == CRYPT_SALT_METHOD_LEGACY
               ? NULL
               : "nothing that crypt(3) knows";
}

static bool crypt_check(struct span text, struct span password)
{
    struct crypt_data data = {0};
    char setting[PASSWORD_STORED + 1], phrase[PASSWORD_MOST + 1];
    if (!text_of(text, setting, sizeof setting) || !text_of(password, phrase, sizeof phrase))
        return false;
    const char *hash = crypt_rn(phrase, setting, &data, sizeof data);
    bool same = hash && digest_same(span_string(hash), text);
    digest_wipe(&data, sizeof data);
    digest_wipe(phrase, sizeof phrase);
    return same;
}

static bool crypt_make(const char *prefix, unsigned long cost, struct span password,
                       struct sink *sink)
{
    struct crypt_data data = {0};
    char salt[SALT], setting[CRYPT_GENSALT_OUTPUT_SIZE], phrase[PASSWORD_MOST + 1];
    random_fill(salt, sizeof salt);
    if (!text_of(password, phrase, sizeof phrase) ||
        !crypt_gensalt_rn(prefix, cost, salt, sizeof salt, setting, sizeof setting))
        return false;
    const char *hash = crypt_rn(phrase, setting, &data, sizeof data);
    if (hash)
        sink_put(sink, span_string(hash));
    digest_wipe(&data, sizeof data);
    digest_wipe(phrase, sizeof phrase);
    return hash != NULL;
}

static bool sha512_make(struct span password, struct sink *sink)
{
    return crypt_make("$6$", 0, password, sink);
}

static bool bcrypt_make(struct span password, struct sink *sink)
{
    return crypt_make("$2y$", 12, password, sink);
}

/* ---- argon2id ---- */

/* The number behind `name` in "$argon2id$v=19$m=65536,t=3,p=1$..."; 0: there is none. */
static uint64_t argon2_number(struct span text, struct span name)
{
    uint64_t number = 0;
    for (; text.len; text = span_skip(text, 1)) {
        if ((text.data[0] != '$' && text.data[0] != ',') ||
            !span_starts_with(span_skip(text, 1), name))
            continue;
        struct span digits = span_skip(text, 1 + name.len);
        size_t len = 0;
        while (len < digits.len && digits.data[len] >= '0' && digits.data[len] <= '9')
            len++;
        return span_decimal(span_first(digits, len), UINT32_MAX, &number) ? number : 0;
    }
    return 0;
}

static const char *argon2_fault(struct span text)
{
    uint64_t memory = argon2_number(text, SPAN("m=")), passes = argon2_number(text, SPAN("t="));
    if (!span_starts_with(text, SPAN("$argon2id$")) || memory == 0 || passes == 0)
        return "no argon2id hash";
    return memory > ARGON2_MEMORY_MOST || passes > ARGON2_PASSES_MOST
               ? "would need too much memory or time"
               : NULL;
}

static bool argon2_check(struct span text, struct span password)
{
    char encoded[PASSWORD_STORED + 1];
    return text_of(text, encoded, sizeof encoded) &&
           argon2_verify(encoded, password.data, password.len, Argon2_id) == ARGON2_OK;
}

static bool argon2_make(struct span password, struct sink *sink)
{
    char salt[SALT], encoded[PASSWORD_STORED];
    random_fill(salt, sizeof salt);
    int result = argon2id_hash_encoded(ARGON2_PASSES, ARGON2_MEMORY, 1, password.data, password.len,
                                       salt, sizeof salt, DIGEST_LEN, encoded, sizeof encoded);
    if (result == ARGON2_OK)
        sink_put(sink, span_string(encoded));
    return result == ARGON2_OK;
}

/* ---- SCRAM ---- */

static struct span take_part(struct span *text)
{
    struct span part = span_first(*text, span_find(*text, ','));
    *text = span_skip(*text, part.len + 1);
    return part;
}

static bool decode_exactly(struct span text, void *octets, size_t len)
{
    struct sink sink;
    sink_init(&sink, octets, len);
    return base64_decode(text, &sink) && sink.len == len;
}

static bool scram_read(struct span text, struct scram_verifier *ret_verifier)
{
    uint64_t iterations;
    char salt[SCRAM_SALT];
    struct sink decoded;
    sink_init(&decoded, salt, sizeof salt);
    struct span number = take_part(&text);
    ret_verifier->salt = take_part(&text);
    struct span stored_key = take_part(&text);
    if (!span_decimal(number, SCRAM_ITERATIONS_MOST, &iterations) || iterations == 0 ||
        ret_verifier->salt.len == 0 || ret_verifier->salt.len > SCRAM_SALT)
        return false;
    ret_verifier->iterations = (unsigned)iterations;
    return base64_decode(ret_verifier->salt, &decoded) &&
           decode_exactly(stored_key, ret_verifier->stored_key, DIGEST_LEN) &&
           decode_exactly(text, ret_verifier->server_key, DIGEST_LEN);
}

static const char *scram_fault(struct span text)
{
    struct scram_verifier verifier;
    return scram_read(text, &verifier) ? NULL : "not iterations,salt,StoredKey,ServerKey";
}

/* RFC 5802 3. */
static void scram_derive(struct span password, struct scram_verifier *verifier, struct span salt)
{
    uint8_t salted[DIGEST_LEN], client_key[DIGEST_LEN];
    struct digest digest;
    digest_stretch(password, salt, verifier->iterations, salted);
    digest_hmac(span_of(salted, DIGEST_LEN), SPAN("Client Key"), client_key);
    digest_hmac(span_of(salted, DIGEST_LEN), SPAN("Server Key"), verifier->server_key);
    digest_init(&digest);
    digest_add(&digest, span_of(client_key, DIGEST_LEN));
    digest_finish(&digest, verifier->stored_key);
    digest_wipe(salted, sizeof salted);
    digest_wipe(client_key, sizeof client_key);
}

static bool scram_check(struct span text, struct span password)
{
    struct scram_verifier stored, derived;
    char salt[SCRAM_SALT];
    struct sink decoded;
    sink_init(&decoded, salt, sizeof salt);
    if (!scram_read(text, &stored) || !base64_decode(stored.salt, &decoded))
        return false;
    derived = stored;
    scram_derive(password, &derived, sink_span(&decoded));
    return digest_same(span_of(stored.stored_key, DIGEST_LEN),
                       span_of(derived.stored_key, DIGEST_LEN));
}

static bool scram_make(struct span password, struct sink *sink)
{
    char salt[SALT];
    struct scram_verifier verifier = {.iterations = SCRAM_ITERATIONS};
    random_fill(salt, sizeof salt);
    scram_derive(password, &verifier, span_of(salt, sizeof salt));
    sink_decimal(sink, verifier.iterations);
    sink_byte(sink, ',');
    base64_put(sink, span_of(salt, sizeof salt));
    sink_byte(sink, ',');
    base64_put(sink, span_of(verifier.stored_key, DIGEST_LEN));
    sink_byte(sink, ',');
    base64_put(sink, span_of(verifier.server_key, DIGEST_LEN));
    return true;
}

/* ---- the schemes ---- */

struct scheme {
    struct span name;
    const char *(*fault)(struct span text);
    bool (*matches)(struct span text, struct span password);
    bool (*make)(struct span password, struct sink *sink); /* NULL: only old passwords have it */
};

static const struct scheme schemes[] = {
    {SPAN("SCRAM-SHA-256"), scram_fault, scram_check, scram_make},
    {SPAN("ARGON2ID"), argon2_fault, argon2_check, argon2_make},
    {SPAN("SHA512-CRYPT"), crypt_fault, crypt_check, sha512_make},
    {SPAN("BLF-CRYPT"), crypt_fault, crypt_check, bcrypt_make},
    {SPAN("CRYPT"), crypt_fault, crypt_check, NULL},
    {SPAN("SHA256-CRYPT"), crypt_fault, crypt_check, NULL},
    {SPAN("MD5-CRYPT"), crypt_fault, crypt_check, NULL},
    {SPAN("DES-CRYPT"), crypt_fault, crypt_check, NULL},
};

static const struct scheme *scheme_named(struct span name)
{
    for (size_t i = 0; i < countof(schemes); i++)
        if (span_equals_any_case(name, schemes[i].name))
            return &schemes[i];
    return NULL;
}

/* What stands in "{...}", and what follows it. */
static const struct scheme *scheme_of(struct span stored, struct span *ret_text)
{
    if (!span_starts_with(stored, SPAN("{"))) {
        *ret_text = stored;
        return scheme_named(SPAN("CRYPT"));
    }
    size_t close = span_find(stored, '}');
    *ret_text = span_skip(stored, close + 1);
    return scheme_named(span_skip(span_first(stored, close), 1));
}

const char *password_fault(struct span stored)
{
    struct span text;
    const struct scheme *scheme = scheme_of(stored, &text);
    if (!scheme)
        return "its scheme is not known here";
    if (text.len == 0)
        return "empty";
    return stored.len > PASSWORD_STORED ? "too long" : scheme->fault(text);
}

bool password_check(struct span stored, struct span password)
{
    struct span text;
    if (password_fault(stored) || !password_fit(password))
        return false;
    return scheme_of(stored, &text)->matches(text, password);
}

bool password_scram(struct span stored, struct scram_verifier *ret_verifier)
{
    struct span text;
    const struct scheme *scheme = scheme_of(stored, &text);
    return scheme && scheme->matches == scram_check && scram_read(text, ret_verifier);
}

bool password_makes(struct span scheme)
{
    const struct scheme *found = scheme_named(scheme);
    return found && found->make;
}

bool password_make(struct span scheme, struct span password, struct sink *sink)
{
    const struct scheme *found = scheme_named(scheme);
    if (!found || !found->make || !password_fit(password))
        return false;
    sink_byte(sink, '{');
    sink_put(sink, found->name);
    sink_byte(sink, '}');
    return found->make(password, sink) && !sink->full;
}

bool password_fit(struct span password)
{
    for (size_t i = 0; i < password.len; i++)
        if ((unsigned char)password.data[i] < 0x20 || password.data[i] == 0x7f)
            return false;
    return password.len > 0 && password.len <= PASSWORD_MOST;
}
