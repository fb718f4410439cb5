/* site.c: the text grows from the right, place by place, at the end of a buffer; work is bounded
 * by the buffer, because every distinct label costs room in it. */
#include "dns/site.h"

#include "core/check.h"
#include "core/map.h"

struct roll_up {
    struct span rest[SITE_NAMES]; /* what is left of each name, on the left */
    size_t count;
    char text[SITE_BYTES];
    size_t start; /* the text is text[start..] */
};

/* Cuts the rightmost label off. Empty: there was none. */
static struct span cut_label(struct span *rest)
{
    size_t start = rest->len;
    while (start > 0 && rest->data[start - 1] != '.')
        start--;
    struct span label = span_skip(*rest, start);
    *rest = span_first(*rest, start > 0 ? start - 1 : 0);
    return label;
}

static bool seen(const struct span *labels, size_t count, struct span label)
{
    for (size_t i = 0; i < count; i++)
        if (span_equals(labels[i], label))
            return true;
    return false;
}

/* One place: "a", "(a|b)", with "?" if some name has no label there. Returns the labels' number. */
static size_t put_place(struct roll_up *roll_up, struct sink *sink)
{
    struct span labels[SITE_NAMES];
    size_t count = 0;
    bool missing = false;
    for (size_t i = 0; i < roll_up->count; i++) {
        struct span label = cut_label(&roll_up->rest[i]);
        if (label.len == 0)
            missing = true;
        else if (!seen(labels, count, label))
            labels[count++] = label;
    }
    for (size_t i = 0; i < count; i++) {
        if (count > 1)
            sink_byte(sink, i == 0 ? '(' : '|');
        sink_put(sink, labels[i]);
    }
    if (count > 1)
        sink_byte(sink, ')');
    if (missing)
        sink_byte(sink, '?');
    return count;
}

static bool prepend(struct roll_up *roll_up, struct span place)
{
    size_t dot = roll_up->start < sizeof(roll_up->text);
    if (place.len + dot > roll_up->start)
        return false;
    if (dot)
        roll_up->text[--roll_up->start] = '.';
    roll_up->start -= place.len;
    memcpy(roll_up->text + roll_up->start, place.data, place.len);
    return true;
}

static void put_hash(const struct span *names, size_t count, struct sink *sink)
{
    struct hash_seed seed = {0}; /* fixed: all workers, all nodes */
    for (size_t i = 0; i < count; i++)
        seed.k0 = hash_key(seed, names[i]);
    sink_format(sink, "mx_hash:%016llx", (unsigned long long)seed.k0);
}

void site_roll_up(const struct span *names, size_t count, struct sink *sink)
{
    check(count <= SITE_NAMES);
    struct roll_up roll_up = {.count = count, .start = SITE_BYTES};
    for (size_t i = 0; i < count; i++)
        roll_up.rest[i] = names[i];
    for (;;) {
        char place[SITE_BYTES];
        struct sink part;
        sink_init(&part, place, sizeof(place));
        if (put_place(&roll_up, &part) == 0)
            break;
        if (part.full || !prepend(&roll_up, sink_span(&part))) {
            put_hash(names, count, sink);
            return;
        }
    }
    sink_put(sink, span_of(roll_up.text + roll_up.start, SITE_BYTES - roll_up.start));
}

void site_route(const struct span *hosts, size_t count, struct sink *sink)
{
    size_t start = sink->len;
    sink_put(sink, SPAN("mx_list:"));
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            sink_byte(sink, ',');
        for (size_t j = 0; j < hosts[i].len; j++)
            sink_byte(sink, ascii_lower(hosts[i].data[j]));
    }
    if (!sink->full)
        return;
    sink->len = start;
    sink->full = false;
    put_hash(hosts, count, sink);
}
