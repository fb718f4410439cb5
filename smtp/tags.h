/* tags: the "name=value; name=value" lists of DKIM, ARC and their DNS records (RFC 6376 3.2). Pure.
 */
#pragma once

#include "core/sink.h"

enum { TAGS_MOST = 32 };

struct tag {
    struct span name, value; /* the value without white space at its ends; folding may be inside */
};

struct tags {
    struct tag list[TAGS_MOST];
    unsigned count;
};

/* The whole of `text`. False: not a list, a name twice, or more than TAGS_MOST. */
bool tags_read(struct span text, struct tags *ret_tags);

/* False: there is no such tag (names are case-sensitive). */
bool tags_find(const struct tags *tags, const char *name, struct span *ret_value);

/* The value without any white space, folding included. False: the sink is full. */
bool tags_unfold(struct span value, struct sink *sink);

/* Base64 with folding. False: it is not, or the sink is full. */
bool tags_base64(struct span value, struct sink *sink);

/* Takes the next of "a:b:c" off the front of `rest`, without the white space around it. False: no
 * more. */
bool tags_next_item(struct span *rest, struct span *ret_item);
