/* password: what a password file keeps instead of a password: "{SCHEME}text", as Dovecot writes it.
 *
 *     {CRYPT} {DES-CRYPT} {MD5-CRYPT} {SHA256-CRYPT} {SHA512-CRYPT} {BLF-CRYPT}   whatever crypt(3)
 *                   takes, yescrypt too; without a scheme: the same
 *     {ARGON2ID}    $argon2id$v=19$m=65536,t=3,p=1$salt$hash
 *     {SCRAM-SHA-256}  iterations,salt,StoredKey,ServerKey (base64; RFC 5802): the only one with
 *                   which a client can log in without showing its password
 *
 * Checking and making cost 5 to 400 ms of processor time and block: not for a worker. */
#pragma once

#include "core/digest.h"
#include "core/sink.h"

enum {
    PASSWORD_MOST = 511,      /* octets of a password: what crypt(3) takes */
    PASSWORD_STORED = 512,    /* octets of what is stored, with its scheme */
    SCRAM_SALT = 88,          /* characters of a salt in base64 */
    SCRAM_ITERATIONS = 15000, /* of what we make: RFC 7677 4 */
    SCRAM_ITERATIONS_MOST = 1000000,
};

/* What a server must know for SCRAM. */
struct scram_verifier {
    unsigned iterations;
    struct span salt; /* base64 */
    uint8_t stored_key[DIGEST_LEN], server_key[DIGEST_LEN];
};

/* NULL: a password can be checked against it; else why not, in a few words. */
const char *password_fault(struct span stored);

/* False also for everything that has a fault. */
bool password_check(struct span stored, struct span password);

/* False: it is stored in another way. The salt is a part of `stored`. */
bool password_scram(struct span stored, struct scram_verifier *ret_verifier);

/* "SCRAM-SHA-256", "ARGON2ID", "SHA512-CRYPT", "BLF-CRYPT": those that new passwords can have; any
 * case. */
bool password_makes(struct span scheme);

/* Appends "{SCHEME}text" of a password of 1 to PASSWORD_MOST octets, with a fresh salt. False: not
 * such a scheme, or the library could not. */
bool password_make(struct span scheme, struct span password, struct sink *sink);

/* Whether a password may be set: 1 to PASSWORD_MOST octets, no control characters (RFC 4616 and
 * 7613 have no place for them). */
bool password_fit(struct span password);
