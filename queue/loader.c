/* One window of memory per load: rows are copied behind one another into a block that grows by
 * doubling, so the spans are set at the end, from offsets. Bodies are malloc'ed singly, because the
 * worker keeps each as long as its delivery. A body is read in one look-up if it has one part, else
 * by a scan over its parts. */
#include "queue/loader.h"

#include "queue/record.h"
#include "queue/segment_file.h"

#include <errno.h>
#include <stdlib.h>

void load_init(struct load *load, struct loop *home, enum load_kind kind, op_done *done)
{
    *load = (struct load){.home = home, .kind = kind};
    op_init(&load->op, done);
}

void load_release(struct load *load)
{
    free(load->rows);
    free(load->memory);
    load->rows = NULL;
    load->memory = NULL;
    load->row_count = 0;
    for (unsigned i = 0; i < LOAD_BODIES_MAX; i++) {
        free(load->body_memory[i]);
        load->body_memory[i] = NULL;
        load->bodies[i] = (struct span){0};
    }
}

/* ---- windows ---- */

/* The bytes of the rows read so far. */
struct block {
    char *data;
    size_t len, capacity;
};

static bool block_reserve(struct block *block, size_t more)
{
    if (more <= block->capacity - block->len)
        return true;
    size_t capacity = block->capacity ? block->capacity : 64 * 1024;
    while (capacity - block->len < more)
        capacity *= 2;
    char *grown = realloc(block->data, capacity);
    if (!grown)
        return false;
    block->data = grown;
    block->capacity = capacity;
    return true;
}

static bool keep_row(struct load *load, struct block *block, struct span key, struct span value)
{
    if (!block_reserve(block, key.len + value.len))
        return false;
    struct loaded *row = &load->rows[load->row_count++];
    row->key = span_of(NULL, key.len);
    row->value = span_of(NULL, value.len);
    memcpy(block->data + block->len, key.data, key.len);
    memcpy(block->data + block->len + key.len, value.data, value.len);
    block->len += key.len + value.len;
    return true;
}

/* Says false if the load has looked at enough. */
static bool look_at_row(struct load *load, struct block *block, struct span key, struct span value,
                        int *ret_result)
{
    bool wanted = load->match(load->match_context, key, value);
    if (wanted && load->max_rows &&
        (load->row_count == load->max_rows || (load->row_count && load->max_bytes &&
                                               block->len + key.len + value.len > load->max_bytes)))
        return false;
    load->scanned++;
    load->matched += wanted;
    check(key.len <= sizeof load->last);
    memcpy(load->last, key.data, key.len);
    load->last_len = (uint8_t)key.len;
    if (wanted && load->max_rows && !keep_row(load, block, key, value))
        *ret_result = -ENOMEM;
    return *ret_result == 0 && load->scanned < load->max_scanned;
}

/* At most as many as the load may look at, in search of those that it wants. */
static int search_rows(struct load *load, struct store_scan *scan, struct block *block)
{
    struct span key, value;
    int found, result = 0;
    while ((found = store_scan_next(scan, &key, &value)) == 1)
        if (!look_at_row(load, block, key, value, &result))
            return result;
    load->at_end = found == 0;
    return found;
}

/* The block no longer moves: points the spans into it. */
static void place_rows(struct load *load, char *data)
{
    for (unsigned i = 0; i < load->row_count; i++) {
        load->rows[i].key.data = data;
        data += load->rows[i].key.len;
        load->rows[i].value.data = data;
        data += load->rows[i].value.len;
    }
}

static int read_rows(struct load *load, struct store_scan *scan, struct block *block)
{
    struct span key, value;
    int found;
    while ((found = store_scan_next(scan, &key, &value)) == 1) {
        bool over = load->max_bytes && block->len + key.len + value.len > load->max_bytes;
        if (load->row_count == load->max_rows || (load->row_count && over))
            return 0; /* more follow: at_end stays false */
        if (!keep_row(load, block, key, value))
            return -ENOMEM;
    }
    load->at_end = found == 0;
    return found;
}

static int load_window(struct store *store, struct load *load)
{
    load->at_end = false;
    load->row_count = load->scanned = load->matched = load->last_len = 0;
    load->rows = calloc(load->max_rows ? load->max_rows : 1, sizeof *load->rows);
    if (!load->rows)
        return -ENOMEM;
    struct store_scan *scan =
        store_scan_new(store, FAMILY_ROW, span_of(load->lower, load->lower_len),
                       span_of(load->upper, load->upper_len));
    if (!scan)
        return -EIO;
    struct block block = {0};
    int result = load->match ? search_rows(load, scan, &block) : read_rows(load, scan, &block);
    store_scan_free(scan);
    load->memory = block.data;
    if (result == 0)
        place_rows(load, block.data);
    else
        load_release(load);
    return result;
}

/* ---- bodies ---- */

static int append_part(char *memory, size_t size, size_t *at, struct span part)
{
    if (part.len > size - *at)
        return -EIO; /* more than the envelope says: not the message that was accepted */
    if (part.len)
        memcpy(memory + *at, part.data, part.len);
    *at += part.len;
    return 0;
}

static int read_parts(struct store *store, uint64_t id, char *memory, size_t size, size_t *at)
{
    char lower[LOAD_KEY_MAX], upper[LOAD_KEY_MAX];
    struct store_scan *scan =
        store_scan_new(store, FAMILY_BODY, body_key(lower, id, 1), body_key(upper, id + 1, 0));
    if (!scan)
        return -EIO;
    struct span key, part;
    int result;
    while ((result = store_scan_next(scan, &key, &part)) == 1) {
        result = append_part(memory, size, at, part);
        if (result < 0)
            break;
    }
    store_scan_free(scan);
    return result;
}

/* The whole body, whose part 0 is given, into memory of its own. */
static int join_body(struct store *store, struct load *load, unsigned index, struct span first)
{
    size_t size = load->sizes[index], at = 0;
    char *memory = malloc(size ? size : 1);
    if (!memory)
        return -ENOMEM;
    int result = append_part(memory, size, &at, first);
    if (result == 0 && at < size)
        result = read_parts(store, load->ids[index], memory, size, &at);
    if (result == 0 && at != size)
        result = -EIO; /* a part is missing */
    if (result < 0) {
        free(memory);
        return result;
    }
    load->body_memory[index] = memory;
    load->bodies[index] = span_of(memory, size);
    return 1;
}

/* How many fit into max_bytes; the first always does. */
static unsigned count_that_fit(const struct load *load)
{
    size_t bytes = 0;
    unsigned count = 0;
    while (count < load->id_count) {
        size_t size = load->sizes[count];
        if (count && (size > load->max_bytes || bytes > load->max_bytes - size))
            break;
        bytes += size;
        count++;
    }
    return count;
}

static int load_bodies(struct store *store, struct load *load)
{
    char keys[LOAD_BODIES_MAX][LOAD_KEY_MAX];
    struct span spans[LOAD_BODIES_MAX] = {0};
    struct store_value values[LOAD_BODIES_MAX];
    check(load->id_count <= LOAD_BODIES_MAX);
    unsigned count = count_that_fit(load);
    for (unsigned i = 0; i < count; i++)
        spans[i] = body_key(keys[i], load->ids[i], 0);
    for (unsigned i = count; i < load->id_count; i++)
        load->found[i] = -EAGAIN;
    store_get_many(store, FAMILY_BODY, spans, count, values, load->found);
    for (unsigned i = 0; i < count; i++) {
        if (load->found[i] == 1)
            load->found[i] = join_body(store, load, i, values[i].span);
        store_value_release(&values[i]);
    }
    return 0;
}

/* ---- references ---- */

static int load_refs(struct store *store, struct load *load)
{
    char lower[LOAD_KEY_MAX], upper[LOAD_KEY_MAX];
    struct store_scan *scan = store_scan_new(store, FAMILY_REF, ref_key(lower, load->ids[0], 0),
                                             ref_key(upper, load->ids[0] + 1, 0));
    if (!scan)
        return -EIO;
    struct span key, value;
    int found;
    load->ref_count = 0;
    while ((found = store_scan_next(scan, &key, &value)) == 1)
        load->ref_count++;
    store_scan_free(scan);
    return found;
}

void loader_run(struct store *store, struct load *load)
{
    switch (load->kind) {
    case LOAD_WINDOW:
        load->op.result = load_window(store, load);
        break;
    case LOAD_BODIES:
        load->op.result = load_bodies(store, load);
        break;
    case LOAD_REFS:
        load->op.result = load_refs(store, load);
        break;
    case LOAD_SEGMENT:
        load->op.result = segment_file_make(load->segment_path, load->segment_size);
        break;
    }
}
