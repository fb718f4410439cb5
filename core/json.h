/* json: writing strings, and reading objects that we wrote ourselves (RFC 8259). Pure.
 *
 * The reader walks one object member by member and hands out each value as the text it is; what is
 * nested is read by another walk, which is also when its commas are looked at: passing over it
 * checks only strings and brackets. It takes any bytes; nesting is bounded. */
#pragma once

#include "core/sink.h"

enum { JSON_DEPTH = 16 };

/* A string with its quotes. Everything that is not UTF-8 becomes U+FFFD; control characters (C0, C1
 * and DEL) are escaped, so that a terminal can show the line. At most `max` bytes of `text`, never
 * half a character. */
void json_put_string(struct sink *sink, struct span text, size_t max);

struct json_walk {
    struct span rest;
    bool bad; /* malformed */
    bool inside;
};

/* Begins with an object's text, which must fill `text` but for white space around it. */
struct json_walk json_walk_over(struct span text);

/* The next member: key as written (between its quotes), value as text. False: no more, or `bad`. */
bool json_next(struct json_walk *walk, struct span *ret_key, struct span *ret_value);

/* The elements of an array, in the same way. */
struct json_walk json_items_over(struct span text);
bool json_next_item(struct json_walk *walk, struct span *ret_value);

/* A value that is a string: unescaped into `scratch`, *ret_text points there. False: not a string,
 * or no room. */
bool json_read_string(struct span value, struct sink *scratch, struct span *ret_text);
