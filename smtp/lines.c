#include "smtp/lines.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

enum { BLOCK = 64 };

struct masks {
    uint64_t lf, cr;
};

#if defined(__SSE2__)

static inline uint64_t equal_bits(__m128i octets, __m128i wanted)
{
    return (uint64_t)(unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(octets, wanted));
}

static inline struct masks block_masks(const char *block)
{
    const __m128i lf = _mm_set1_epi8('\n'), cr = _mm_set1_epi8('\r');
    struct masks masks = {0};
#pragma GCC unroll 4
    for (unsigned i = 0; i < BLOCK; i += 16) {
        __m128i octets;
        memcpy(&octets, block + i, sizeof octets);
        masks.lf |= equal_bits(octets, lf) << i;
        masks.cr |= equal_bits(octets, cr) << i;
    }
    return masks;
}

#else

static inline struct masks block_masks(const char *block)
{
    struct masks masks = {0};
    for (unsigned i = 0; i < BLOCK; i++) {
        masks.lf |= (uint64_t)(block[i] == '\n') << i;
        masks.cr |= (uint64_t)(block[i] == '\r') << i;
    }
    return masks;
}

#endif

static uint64_t low_bits(size_t count)
{
    return count >= BLOCK ? UINT64_MAX : (UINT64_C(1) << count) - 1;
}

/* The last few octets of a text: as a block, filled up with octets that mean nothing. */
static struct masks tail_masks(const char *data, size_t len)
{
    char block[BLOCK] = {0};
    memcpy(block, data, len);
    return block_masks(block);
}

static inline void note_length(struct lines *lines, uint64_t len)
{
    if (len > lines->longest)
        lines->longest = len;
}

size_t lines_scan(struct lines *lines, struct span text, bool stop_at_dot)
{
    uint64_t start = 0 - lines->line_len; /* of the open line; may lie before the text */
    bool after_cr = lines->after_cr;
    for (size_t at = 0; at < text.len; at += BLOCK) {
        size_t width = text.len - at < BLOCK ? text.len - at : BLOCK;
        struct masks masks =
            width == BLOCK ? block_masks(text.data + at) : tail_masks(text.data + at, width);
        uint64_t behind_cr = masks.cr << 1 | after_cr;
        uint64_t bare = (behind_cr ^ masks.lf) & low_bits(width);
        for (uint64_t ends = masks.lf & behind_cr; ends; ends &= ends - 1) {
            size_t next = at + (size_t)__builtin_ctzll(ends) + 1;
            note_length(lines, next - start);
            start = next;
            if (stop_at_dot && next < text.len && text.data[next] == '.') {
                lines->bare |= (bare & low_bits(next - at)) != 0;
                lines->line_len = 0;
                lines->after_cr = false;
                return next;
            }
        }
        lines->bare |= bare != 0;
        after_cr = masks.cr >> (width - 1) & 1;
    }
    lines->after_cr = after_cr;
    lines->line_len = text.len - start;
    note_length(lines, lines->line_len);
    return text.len;
}

bool span_has_8bit(struct span text)
{
    /* A vector of the compiler's own: two words at a time wherever the machine can do that. */
    __attribute__((vector_size(16))) uint64_t any_words = {0}, words[4];
    while (text.len >= sizeof words) {
        memcpy(words, text.data, sizeof words);
        any_words |= words[0] | words[1] | words[2] | words[3];
        text = span_skip(text, sizeof words);
    }
    uint64_t any = any_words[0] | any_words[1];
    for (size_t i = 0; i < text.len; i++)
        any |= (unsigned char)text.data[i];
    return (any & UINT64_C(0x8080808080808080)) != 0;
}
