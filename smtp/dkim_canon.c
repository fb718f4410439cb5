/* The relaxed body is the hot one. Its octets are taken in runs that are canonical as they stand:
 * single spaces between words and line ends between filled lines belong to a run, so that running
 * text is one run per piece; only tabs, several blanks, blanks at a line's end and empty lines end
 * it. */
#include "smtp/dkim_canon.h"

#define CRLF_8  "\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n"
#define CRLF_32 CRLF_8 CRLF_8 CRLF_8 CRLF_8

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool is_plain(char c)
{
    return c != ' ' && c != '\t' && c != '\r';
}

void dkim_emit_to_digest(void *context, struct span octets)
{
    digest_add(context, octets);
}

void dkim_body_init(struct dkim_body *body, enum dkim_canon canon, dkim_emit *emit, void *context)
{
    *body = (struct dkim_body){.canon = (uint8_t)canon, .emit = emit, .context = context};
}

static void emit_line_ends(struct dkim_body *body, uint64_t count)
{
    static const struct span many = SPAN(CRLF_32);
    while (count) {
        uint64_t now = count < many.len / 2 ? count : many.len / 2;
        body->emit(body->context, span_first(many, (size_t)now * 2));
        count -= now;
    }
}

/* Octets that count, behind whatever was held back. */
static void emit_text(struct dkim_body *body, struct span text)
{
    emit_line_ends(body, body->line_ends);
    body->line_ends = 0;
    if (body->blank)
        body->emit(body->context, SPAN(" "));
    body->blank = false;
    body->any = true;
    body->emit(body->context, text);
}

/* The CR at the end of the piece before: half of a line end, or text. */
static void resolve_cr(struct dkim_body *body, struct span *piece)
{
    if (!body->after_cr || piece->len == 0)
        return;
    body->after_cr = false;
    if (piece->data[0] != '\n') {
        emit_text(body, SPAN("\r"));
        return;
    }
    body->blank = false;
    body->line_ends++;
    *piece = span_skip(*piece, 1);
}

/* ---- simple: all of it but the empty lines at the end ---- */

static void add_simple(struct dkim_body *body, struct span piece)
{
    size_t len = piece.len;
    uint64_t line_ends = 0;
    if (len == 0)
        return;
    bool cr = piece.data[len - 1] == '\r';
    len -= cr;
    for (; len >= 2 && piece.data[len - 2] == '\r' && piece.data[len - 1] == '\n'; len -= 2)
        line_ends++;
    if (len)
        emit_text(body, span_first(piece, len));
    body->line_ends += line_ends;
    body->after_cr = cr;
}

/* ---- relaxed ---- */

/* Octet by octet: how far the beginning of `text`, at `at`, is canonical as it stands. */
static size_t run_len_slow(struct span text, size_t at)
{
    const char *data = text.data;
    while (at < text.len) {
        if (is_plain(data[at]))
            at += 1;
        else if (at + 1 < text.len && data[at] == ' ' && is_plain(data[at + 1]))
            at += 2;
        else if (at + 2 < text.len && data[at] == '\r' && data[at + 1] == '\n' &&
                 is_plain(data[at + 2]))
            at += 3;
        else
            break;
    }
    return at;
}

#if defined(__SSE2__)
#include <emmintrin.h>

enum { BLOCK = 64 };

static inline uint64_t equal_bits(const char *block, char wanted)
{
    uint64_t bits = 0;
#pragma GCC unroll 4
    for (unsigned i = 0; i < BLOCK; i += 16) {
        __m128i octets;
        memcpy(&octets, block + i, sizeof octets);
        __m128i equal = _mm_cmpeq_epi8(octets, _mm_set1_epi8(wanted));
        bits |= (uint64_t)(unsigned)_mm_movemask_epi8(equal) << i;
    }
    return bits;
}

/* One bit for each octet of the block at which a run ends: a tab, a blank in front of another one
 * or of a line's end, a CR that is not a line's end between two filled lines. The two octets behind
 * the block are looked at. */
static inline uint64_t end_bits(const char *block)
{
    uint64_t blank = equal_bits(block, ' '), tab = equal_bits(block, '\t');
    uint64_t cr = equal_bits(block, '\r'), lf = equal_bits(block, '\n'), odd = blank | tab | cr;
    uint64_t odd_64 = !is_plain(block[BLOCK]), odd_65 = !is_plain(block[BLOCK + 1]);
    uint64_t odd_next = odd >> 1 | odd_64 << 63;
    uint64_t odd_second = odd >> 2 | odd_64 << 62 | odd_65 << 63;
    uint64_t lf_next = lf >> 1 | (uint64_t)(block[BLOCK] == '\n') << 63;
    return tab | (blank & odd_next) | (cr & ~(lf_next & ~odd_second));
}

/* The longest beginning of `text`, which starts plain, that is canonical as it stands. */
static size_t run_len(struct span text)
{
    size_t at = 0;
    for (; at + BLOCK + 2 <= text.len; at += BLOCK) {
        uint64_t ends = end_bits(text.data + at);
        if (ends)
            return at + (size_t)__builtin_ctzll(ends);
    }
    return run_len_slow(text, at);
}

#else

static size_t run_len(struct span text)
{
    return run_len_slow(text, 0);
}

#endif

static void add_relaxed(struct dkim_body *body, struct span piece)
{
    while (piece.len) {
        if (body->after_cr) {
            resolve_cr(body, &piece);
        } else if (is_plain(piece.data[0])) {
            size_t len = run_len(piece);
            emit_text(body, span_first(piece, len));
            piece = span_skip(piece, len);
        } else {
            body->after_cr = piece.data[0] == '\r';
            body->blank = body->blank || !body->after_cr;
            piece = span_skip(piece, 1);
        }
    }
}

void dkim_body_add(struct dkim_body *body, struct span piece)
{
    resolve_cr(body, &piece);
    if (body->canon == DKIM_SIMPLE)
        add_simple(body, piece);
    else
        add_relaxed(body, piece);
}

void dkim_body_end(struct dkim_body *body)
{
    if (body->after_cr)
        emit_text(body, SPAN("\r"));
    body->after_cr = false;
    if (body->any || body->canon == DKIM_SIMPLE)
        emit_line_ends(body, 1);
}

/* ---- header fields ---- */

static struct span without_line_end(struct span field)
{
    if (field.len >= 2 && field.data[field.len - 2] == '\r' && field.data[field.len - 1] == '\n')
        field.len -= 2;
    return field;
}

static void emit_lower(struct span text, dkim_emit *emit, void *context)
{
    char lower[64];
    while (text.len) {
        size_t len = text.len < sizeof lower ? text.len : sizeof lower;
        for (size_t i = 0; i < len; i++)
            lower[i] = ascii_lower(text.data[i]);
        emit(context, span_of(lower, len));
        text = span_skip(text, len);
    }
}

static bool is_folding(struct span text)
{
    char c = text.data[0];
    return is_blank(c) || (c == '\r' && text.len > 1 && text.data[1] == '\n') || c == '\n';
}

/* Words with one space between them, over several pieces. */
struct unfolding {
    dkim_emit *emit;
    void *context;
    bool any, blank;
};

static void emit_unfolded(struct unfolding *unfolding, struct span value)
{
    while (value.len) {
        if (is_folding(value)) {
            unfolding->blank = true;
            value = span_skip(value, value.data[0] == '\r' ? 2 : 1);
            continue;
        }
        size_t len = 1;
        while (len < value.len && !is_folding(span_skip(value, len)))
            len++;
        if (unfolding->blank && unfolding->any)
            unfolding->emit(unfolding->context, SPAN(" "));
        unfolding->blank = false;
        unfolding->any = true;
        unfolding->emit(unfolding->context, span_first(value, len));
        value = span_skip(value, len);
    }
}

void dkim_field_put(enum dkim_canon canon, struct span field, bool ended, dkim_emit *emit,
                    void *context)
{
    dkim_field_put_cut(canon, field, (struct span){0}, emit, context);
    if (ended)
        emit(context, SPAN("\r\n"));
}

void dkim_field_put_cut(enum dkim_canon canon, struct span field, struct span cut, dkim_emit *emit,
                        void *context)
{
    field = without_line_end(field);
    size_t from = cut.data ? (size_t)(cut.data - field.data) : field.len;
    struct span before = span_first(field, from), behind = span_skip(field, from + cut.len);
    if (canon == DKIM_SIMPLE) {
        emit(context, before);
        emit(context, behind);
        return;
    }
    struct unfolding unfolding = {.emit = emit, .context = context};
    size_t colon = span_find(field, ':');
    emit_lower(span_trim(span_first(field, colon)), emit, context);
    emit(context, SPAN(":"));
    emit_unfolded(&unfolding, span_skip(before, colon + 1));
    emit_unfolded(&unfolding, behind);
}
