/* PLAIN and LOGIN take a name and a password apart; SCRAM is in sasl_scram.c. */
#include "core/sasl_private.h"

#include "core/check.h"

/* ---- names and passwords ---- */

bool sasl_set_name(struct sasl *sasl, struct span name)
{
    if (name.len == 0 || name.len > sizeof sasl->name)
        return false;
    for (size_t i = 0; i < name.len; i++)
        if ((unsigned char)name.data[i] < 0x20 || name.data[i] == 0x7f)
            return false;
    memcpy(sasl->name, name.data, name.len);
    sasl->name_len = (uint16_t)name.len;
    return true;
}

static bool set_password(struct sasl *sasl, struct span password)
{
    if (!password_fit(password))
        return false;
    memcpy(sasl->password, password.data, password.len);
    sasl->password_len = (uint16_t)password.len;
    return true;
}

/* ---- PLAIN: [authzid] NUL authcid NUL passwd ---- */

static enum sasl_want take_plain(struct sasl *sasl, struct span message, struct sink *challenge)
{
    struct span authzid = span_first(message, span_find(message, '\0'));
    struct span rest = span_skip(message, authzid.len + 1);
    struct span name = span_first(rest, span_find(rest, '\0'));
    struct span password = span_skip(rest, name.len + 1);
    if (authzid.len && !span_equals(authzid, name))
        return SASL_MALFORMED;
    return sasl_set_name(sasl, name) && set_password(sasl, password) ? SASL_PASSWORD
                                                                     : SASL_MALFORMED;
}

/* ---- LOGIN: the server asks for one and then for the other ---- */

enum { LOGIN_START, LOGIN_NAME, LOGIN_PASSWORD };

static enum sasl_want take_login(struct sasl *sasl, struct span message, struct sink *challenge)
{
    switch (sasl->step++) {
    case LOGIN_START:
        if (message.len == 0) {
            sink_put(challenge, SPAN("Username:"));
            return SASL_CHALLENGE;
        }
        sasl->step++; /* an initial response: the name (Outlook) */
        /* fall through */
    case LOGIN_NAME:
        if (!sasl_set_name(sasl, message))
            return SASL_MALFORMED;
        sink_put(challenge, SPAN("Password:"));
        return SASL_CHALLENGE;
    case LOGIN_PASSWORD:
        return set_password(sasl, message) ? SASL_PASSWORD : SASL_MALFORMED;
    default:
        return SASL_MALFORMED;
    }
}

/* ---- the table ---- */

static const struct {
    struct span name;
    sasl_take_message *take;
} mechanisms[SASL_MECHANISMS] = {
    [SASL_PLAIN] = {SPAN("PLAIN"), take_plain},
    [SASL_LOGIN] = {SPAN("LOGIN"), take_login},
    [SASL_SCRAM_SHA_256] = {SPAN("SCRAM-SHA-256"), sasl_take_scram},
};

struct span sasl_mechanism_name(enum sasl_mechanism mechanism)
{
    return mechanisms[mechanism].name;
}

bool sasl_mechanism_find(struct span name, enum sasl_mechanism *ret_mechanism)
{
    for (unsigned i = 0; i < SASL_MECHANISMS; i++) {
        if (!span_equals_any_case(name, mechanisms[i].name))
            continue;
        *ret_mechanism = (enum sasl_mechanism)i;
        return true;
    }
    return false;
}

void sasl_begin(struct sasl *sasl, enum sasl_mechanism mechanism)
{
    *sasl = (struct sasl){.mechanism = (uint8_t)mechanism};
}

enum sasl_want sasl_take(struct sasl *sasl, struct span message, struct sink *challenge)
{
    if (message.len > SASL_MESSAGE)
        return SASL_MALFORMED;
    return mechanisms[sasl->mechanism].take(sasl, message, challenge);
}

void sasl_end(struct sasl *sasl)
{
    digest_wipe(sasl, sizeof *sasl);
}
