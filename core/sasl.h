/* sasl: the server's side of PLAIN (RFC 4616), LOGIN (draft-murchison-sasl-login) and SCRAM-SHA-256
 * (RFC 5802, 7677) as a dialogue: a decoded message in, a challenge out, and what it waits for.
 *
 * Base64, line limits and the cancelling "*" are the protocol's around it. It decides nothing about
 * accounts: when a name is known it asks its owner, and the owner goes on when the answer is there.
 *
 *     sasl_begin, then for each message of the client (the initial response is the first one):
 *     sasl_take(sasl, message, &challenge) and
 *       SASL_CHALLENGE  send what is in the sink, wait for the next message
 *       SASL_PASSWORD   is sasl->password that of sasl->name? The owner decides, the dialogue is
 * over SASL_VERIFIER   what is stored for sasl->name? sasl_verify with it, or with an invented one
 *                       (an unknown name must look like a known one); its result is SASL_CHALLENGE
 *       SASL_PROVED     the client knows the password; the challenge is the server's proof, which
 *                       has to be sent and answered by an empty message: then SASL_DONE
 *       SASL_DISPROVED  it does not; nothing is to be said before the owner has delayed it
 *       SASL_MALFORMED  over: not a message of this mechanism
 *
 * A client that speaks first by the mechanism and sent no initial response gets an empty challenge
 * from the protocol, not from here. Names are bounded, hold no control characters and are not
 * normalised. Channel binding is not offered: "n" and "y" are right, "p=" is not. An authorisation
 * identity is taken only if it is the name itself (or empty). */
#pragma once

#include "core/password.h"

enum {
    SASL_NAME = 255,
    SASL_MESSAGE = 1024, /* octets of a decoded message: name twice and the password */
    SASL_RANDOM = 18,
    SASL_NONCE = 24, /* characters, ours: SASL_RANDOM octets in base64 */
    SASL_GS2 = SASL_NAME + 5,
    SASL_CHALLENGE_MOST = 320,
    SASL_AUTH = 1344, /* 512 + 320 + 512 */
};

enum sasl_mechanism { SASL_PLAIN, SASL_LOGIN, SASL_SCRAM_SHA_256, SASL_MECHANISMS };

enum sasl_want {
    SASL_CHALLENGE,
    SASL_PASSWORD,
    SASL_VERIFIER,
    SASL_PROVED,
    SASL_DISPROVED,
    SASL_DONE,
    SASL_MALFORMED,
};

/* Small, because a session borrows a slot of the size of a command line for it. */
struct sasl {
    uint8_t mechanism; /* enum sasl_mechanism */
    uint8_t step;
    uint16_t name_len, password_len, gs2_len, auth_len;
    uint16_t nonce_at, nonce_len; /* both nonces, within auth */
    char name[SASL_NAME];
    uint8_t stored_key[DIGEST_LEN], server_key[DIGEST_LEN];
    char gs2[SASL_GS2];
    union {
        char password[PASSWORD_MOST]; /* wiped by sasl_end */
        char auth[SASL_AUTH]; /* AuthMessage as it grows: client-first-bare, server-first, ... */
    };
};

struct span sasl_mechanism_name(enum sasl_mechanism mechanism);
bool sasl_mechanism_find(struct span name, enum sasl_mechanism *ret_mechanism);
/* The password itself travels. */
static inline bool sasl_plaintext(enum sasl_mechanism mechanism)
{
    return mechanism != SASL_SCRAM_SHA_256;
}
/* The server speaks first (LOGIN): sasl_take with an empty message gives the first challenge. */
static inline bool sasl_server_first(enum sasl_mechanism mechanism)
{
    return mechanism == SASL_LOGIN;
}

void sasl_begin(struct sasl *sasl, enum sasl_mechanism mechanism);
enum sasl_want sasl_take(struct sasl *sasl, struct span message, struct sink *challenge);
/* `random`: octets that nobody can foresee. */
enum sasl_want sasl_verify(struct sasl *sasl, const struct scram_verifier *verifier,
                           const uint8_t random[SASL_RANDOM], struct sink *challenge);
void sasl_end(struct sasl *sasl); /* leaves no password in memory */

static inline struct span sasl_name(const struct sasl *sasl)
{
    return span_of(sasl->name, sasl->name_len);
}
static inline struct span sasl_password(const struct sasl *sasl)
{
    return span_of(sasl->password, sasl->password_len);
}
