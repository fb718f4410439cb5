/* SCRAM-SHA-256, RFC 5802 with RFC 7677:
 *
 *     C: n,,n=user,r=cnonce                     gs2-header, client-first-bare
 *     S: r=cnonce snonce,s=salt,i=iterations    server-first
 *     C: c=biws,r=cnonce snonce,p=proof         client-final
 *     S: v=signature                            server-final; the client says nothing more
 *
 * AuthMessage is the concatenation, with commas, of what is bare of gs2-header and proof. It is
 * kept as it grows; a message that does not fit is no message. Unknown attributes are taken only
 * where RFC 5802 7 has room for extensions; "m=" is refused as it wants. */
#include "core/sasl_private.h"

#include "core/base64.h"
#include "core/check.h"

enum { SCRAM_FIRST, SCRAM_LOOKUP, SCRAM_FINAL, SCRAM_ACKNOWLEDGED };
enum { CLIENT_NONCE_MOST = 128, FIRST_BARE_MOST = 512, FINAL_BARE_MOST = 512 };

static struct span take_attribute(struct span *message)
{
    struct span attribute = span_first(*message, span_find(*message, ','));
    *message = span_skip(*message, attribute.len + 1);
    return attribute;
}

/* "n=joe=2Cdoe": "=2C" is a comma, "=3D" is "=". */
static bool read_saslname(struct span text, char *storage, size_t size, struct span *ret_name)
{
    struct sink sink;
    sink_init(&sink, storage, size);
    while (text.len) {
        if (span_starts_with(text, SPAN("=2C")) || span_starts_with(text, SPAN("=3D"))) {
            sink_byte(&sink, text.data[1] == '2' ? ',' : '=');
            text = span_skip(text, 3);
        } else if (text.data[0] == '=' || text.data[0] == '\0') {
            return false;
        } else {
            sink_byte(&sink, text.data[0]);
            text = span_skip(text, 1);
        }
    }
    *ret_name = sink_span(&sink);
    return !sink.full;
}

static bool auth_add(struct sasl *sasl, struct span piece)
{
    if (piece.len > sizeof sasl->auth - sasl->auth_len)
        return false;
    memcpy(sasl->auth + sasl->auth_len, piece.data, piece.len);
    sasl->auth_len = (uint16_t)(sasl->auth_len + piece.len);
    return true;
}

/* "n,," or "y,a=name,": kept, because the client says it again in base64. */
static bool take_gs2(struct sasl *sasl, struct span *message, struct span *ret_authzid)
{
    struct span whole = *message;
    struct span flag = take_attribute(message);
    *ret_authzid = take_attribute(message);
    size_t len = flag.len + 1 + ret_authzid->len + 1;
    if (!span_equals(flag, SPAN("n")) && !span_equals(flag, SPAN("y")))
        return false;
    if (ret_authzid->len && !span_starts_with(*ret_authzid, SPAN("a=")))
        return false;
    if (message->len == 0 || len > sizeof sasl->gs2)
        return false;
    memcpy(sasl->gs2, whole.data, len);
    sasl->gs2_len = (uint16_t)len;
    return true;
}

static bool is_nonce(struct span nonce)
{
    for (size_t i = 0; i < nonce.len; i++)
        if (nonce.data[i] < 0x21 || nonce.data[i] > 0x7e)
            return false;
    return nonce.len > 0 && nonce.len <= CLIENT_NONCE_MOST;
}

static enum sasl_want take_first(struct sasl *sasl, struct span message)
{
    char name_text[SASL_NAME], authzid_text[SASL_NAME];
    struct span authzid, name, identity;
    if (!take_gs2(sasl, &message, &authzid) || message.len > FIRST_BARE_MOST ||
        !auth_add(sasl, message))
        return SASL_MALFORMED;
    struct span user = take_attribute(&message), nonce = take_attribute(&message);
    if (!span_starts_with(user, SPAN("n=")) || !span_starts_with(nonce, SPAN("r=")) ||
        !is_nonce(span_skip(nonce, 2)))
        return SASL_MALFORMED;
    if (!read_saslname(span_skip(user, 2), name_text, sizeof name_text, &name) ||
        !read_saslname(span_skip(authzid, 2), authzid_text, sizeof authzid_text, &identity))
        return SASL_MALFORMED;
    if ((identity.len && !span_equals(identity, name)) || !sasl_set_name(sasl, name))
        return SASL_MALFORMED;
    sasl->nonce_at = (uint16_t)(user.len + 1 + 2);
    sasl->nonce_len = (uint16_t)(nonce.len - 2);
    sasl->step = SCRAM_LOOKUP;
    return SASL_VERIFIER;
}

enum sasl_want sasl_verify(struct sasl *sasl, const struct scram_verifier *verifier,
                           const uint8_t random[SASL_RANDOM], struct sink *challenge)
{
    char text[SASL_CHALLENGE_MOST];
    struct sink first;
    check(sasl->step == SCRAM_LOOKUP);
    memcpy(sasl->stored_key, verifier->stored_key, DIGEST_LEN);
    memcpy(sasl->server_key, verifier->server_key, DIGEST_LEN);
    sink_init(&first, text, sizeof text);
    sink_put(&first, SPAN("r="));
    sink_put(&first, span_of(sasl->auth + sasl->nonce_at, sasl->nonce_len));
    base64_put(&first, span_of(random, SASL_RANDOM));
    sink_put(&first, SPAN(",s="));
    sink_put(&first, verifier->salt);
    sink_format(&first, ",i=%u", verifier->iterations);
    check(!first.full);
    if (!auth_add(sasl, SPAN(",")))
        return SASL_MALFORMED;
    sasl->nonce_at = (uint16_t)(sasl->auth_len + 2); /* now of both */
    sasl->nonce_len = (uint16_t)(sasl->nonce_len + SASL_NONCE);
    if (!auth_add(sasl, sink_span(&first)))
        return SASL_MALFORMED;
    sink_put(challenge, sink_span(&first));
    sasl->step = SCRAM_FINAL;
    return SASL_CHALLENGE;
}

/* Where ",p=" begins; the proof is the last attribute. */
static bool split_proof(struct span message, struct span *ret_bare, struct span *ret_proof)
{
    for (size_t i = message.len; i-- > 0;) {
        if (message.data[i] != ',')
            continue;
        *ret_bare = span_first(message, i);
        *ret_proof = span_skip(message, i + 1);
        return span_starts_with(*ret_proof, SPAN("p="));
    }
    return false;
}

static bool same_gs2(const struct sasl *sasl, struct span encoded)
{
    char text[SASL_GS2];
    struct sink sink;
    sink_init(&sink, text, sizeof text);
    return base64_decode(encoded, &sink) &&
           span_equals(sink_span(&sink), span_of(sasl->gs2, sasl->gs2_len));
}

/* ClientKey = proof XOR HMAC(StoredKey, AuthMessage) must hash to StoredKey. */
static bool judge_proof(const struct sasl *sasl, struct span proof)
{
    uint8_t client_key[DIGEST_LEN], signature[DIGEST_LEN], hash[DIGEST_LEN];
    struct digest digest;
    digest_hmac(span_of(sasl->stored_key, DIGEST_LEN), span_of(sasl->auth, sasl->auth_len),
                signature);
    for (unsigned i = 0; i < DIGEST_LEN; i++)
        client_key[i] = (uint8_t)((unsigned char)proof.data[i] ^ signature[i]);
    digest_init(&digest);
    digest_add(&digest, span_of(client_key, DIGEST_LEN));
    digest_finish(&digest, hash);
    return digest_same(span_of(hash, DIGEST_LEN), span_of(sasl->stored_key, DIGEST_LEN));
}

static void put_server_final(const struct sasl *sasl, struct sink *challenge)
{
    uint8_t signature[DIGEST_LEN];
    digest_hmac(span_of(sasl->server_key, DIGEST_LEN), span_of(sasl->auth, sasl->auth_len),
                signature);
    sink_put(challenge, SPAN("v="));
    base64_put(challenge, span_of(signature, DIGEST_LEN));
}

static enum sasl_want take_final(struct sasl *sasl, struct span message, struct sink *challenge)
{
    struct span bare, proof;
    char proof_octets[DIGEST_LEN];
    struct sink decoded;
    sink_init(&decoded, proof_octets, sizeof proof_octets);
    if (!split_proof(message, &bare, &proof) || bare.len > FINAL_BARE_MOST ||
        !base64_decode(span_skip(proof, 2), &decoded) || decoded.len != DIGEST_LEN)
        return SASL_MALFORMED;
    struct span nonces = span_of(sasl->auth + sasl->nonce_at, sasl->nonce_len);
    struct span rest = bare, binding = take_attribute(&rest), nonce = take_attribute(&rest);
    if (!span_starts_with(binding, SPAN("c=")) || !same_gs2(sasl, span_skip(binding, 2)))
        return SASL_MALFORMED;
    if (!span_starts_with(nonce, SPAN("r=")) || !span_equals(span_skip(nonce, 2), nonces))
        return SASL_MALFORMED;
    if (!auth_add(sasl, SPAN(",")) || !auth_add(sasl, bare))
        return SASL_MALFORMED;
    if (!judge_proof(sasl, sink_span(&decoded)))
        return SASL_DISPROVED;
    put_server_final(sasl, challenge);
    sasl->step = SCRAM_ACKNOWLEDGED;
    return SASL_PROVED;
}

enum sasl_want sasl_take_scram(struct sasl *sasl, struct span message, struct sink *challenge)
{
    switch (sasl->step) {
    case SCRAM_FIRST:
        return take_first(sasl, message);
    case SCRAM_FINAL:
        return take_final(sasl, message, challenge);
    case SCRAM_ACKNOWLEDGED:
        return message.len == 0 ? SASL_DONE : SASL_MALFORMED;
    default:
        return SASL_MALFORMED;
    }
}
