/* mime_token: the words of structured header fields (RFC 5322 3.2, RFC 2045 5.1, RFC 2231). Pure.
 *
 * Values are given as they stand in the message, folded. What is taken out of quotes is copied into
 * the caller's sink; what does not fit there is cut, never wrong otherwise. */
#pragma once

#include "core/sink.h"

/* Reads a value front to back. `comment` is the text of the last comment that was passed over, as
 * it stands, without its parentheses; some senders put their name there. */
struct tokens {
    struct span rest;
    struct span comment;
};

static inline struct tokens tokens_over(struct span value)
{
    return (struct tokens){.rest = value};
}

/* Without blanks and line ends at both ends. */
struct span tokens_trim(struct span value);

/* Passes over blanks, line ends and comments. The next octet, or -1 at the end. */
int tokens_next(struct tokens *tokens);
/* Passes over one octet that tokens_next has shown. */
void tokens_take(struct tokens *tokens);

/* What stands next, appended to `into`; false, and nothing is taken: something else stands there.
 * An atom (RFC 5322 3.2.3; 8 bit too); a token (RFC 2045); a quoted string without its quotes and
 * escapes (an open one ends with the value); a domain literal with its brackets. */
bool tokens_atom(struct tokens *tokens, struct sink *into);
bool tokens_token(struct tokens *tokens, struct sink *into);
bool tokens_quoted(struct tokens *tokens, struct sink *into);
bool tokens_literal(struct tokens *tokens, struct sink *into);

/* The text of a comment without escapes and line ends. */
void tokens_comment_put(struct span comment, struct sink *into);

/* ";" attribute "=" value. False: no more. Values that RFC 2231 3 continues in numbered pieces come
 * one by one, as they stand. */
bool tokens_parameter(struct tokens *tokens, struct sink *ret_name, struct sink *ret_value);

enum {
    MIME_TYPE_NAME = 80, /* RFC 6838 4.2 asks for no more than 64 */
    MIME_BOUNDARY = 70,  /* RFC 2046 5.1.1; of a longer one the beginning decides */
};

struct mime_type_storage {
    char type[MIME_TYPE_NAME], subtype[MIME_TYPE_NAME], boundary[MIME_BOUNDARY];
};

struct mime_type {
    struct span type, subtype, boundary; /* in the storage; boundary empty: none */
};

/* Type, subtype and boundary of a Content-Type value, each cut to its storage. False: not a type.
 */
bool mime_type_read(struct span value, struct mime_type_storage *storage,
                    struct mime_type *ret_type);
