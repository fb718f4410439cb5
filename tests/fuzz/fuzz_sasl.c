/* SASL under hostile messages: base64, every mechanism, whole dialogues. The first octet chooses
 * the mechanism, the rest are lines of base64 or, if it is odd, of raw octets. */
#include "core/base64.h"
#include "core/check.h"
#include "core/sasl.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char stored[] = "{SCRAM-SHA-256}4096,W22ZaJ0SNY7soEsUEjb6gQ==,"
                             "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,"
                             "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

/* What is decoded must be what the text is the one way to write. */
static void check_base64(struct span text, struct span octets)
{
    char again[BASE64_LEN(SASL_MESSAGE)];
    struct sink sink;
    sink_init(&sink, again, sizeof again);
    base64_put(&sink, octets);
    check(span_equals(sink_span(&sink), text));
}

static enum sasl_want take_line(struct sasl *sasl, struct span line, bool raw,
                                struct sink *challenge)
{
    char octets[SASL_MESSAGE];
    struct sink decoded;
    sink_init(&decoded, octets, sizeof octets);
    if (raw) {
        sink_put(&decoded, line);
    } else {
        if (!base64_decode(line, &decoded))
            return SASL_MALFORMED;
        check_base64(line, sink_span(&decoded));
    }
    char *copy = malloc(decoded.len ? decoded.len : 1); /* so that a read beyond it is seen */
    check(copy);
    memcpy(copy, octets, decoded.len);
    enum sasl_want want = sasl_take(sasl, span_of(copy, decoded.len), challenge);
    free(copy);
    return want;
}

static bool go_on(struct sasl *sasl, enum sasl_want want, struct sink *challenge)
{
    static const uint8_t random[SASL_RANDOM];
    struct scram_verifier verifier;
    switch (want) {
    case SASL_VERIFIER:
        check(sasl_name(sasl).len > 0 && sasl_name(sasl).len <= SASL_NAME);
        check(password_scram(span_string(stored), &verifier));
        return sasl_verify(sasl, &verifier, random, challenge) == SASL_CHALLENGE;
    case SASL_PASSWORD:
        check(sasl_name(sasl).len > 0 && password_fit(sasl_password(sasl)));
        return false;
    case SASL_CHALLENGE:
        return true;
    default:
        check(want != SASL_PROVED && want != SASL_DONE); /* who could have guessed it */
        return false;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sasl sasl;
    if (size == 0)
        return 0;
    struct span rest = span_of(data + 1, size - 1);
    sasl_begin(&sasl, (enum sasl_mechanism)((data[0] >> 1) % SASL_MECHANISMS));
    for (unsigned lines = 0; lines < 8; lines++) {
        char text[1024];
        struct sink challenge;
        struct span line = span_first(rest, span_find(rest, '\n'));
        rest = span_skip(rest, line.len + 1);
        sink_init(&challenge, text, sizeof text);
        enum sasl_want want = take_line(&sasl, line, data[0] & 1, &challenge);
        check(!challenge.full);
        if (!go_on(&sasl, want, &challenge))
            break;
    }
    sasl_end(&sasl);
    return 0;
}
