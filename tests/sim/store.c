/* queue/store.h in memory: what is synced, and the batches behind it that are not.
 *
 * Reads see everything written. A crash keeps what was synced and a random prefix of the unsynced
 * batches, in order, as a write-ahead log does. A scan sees one moment, so it copies. */
#include "tests/sim/sim.h"

#include "queue/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct entry {
    char *key, *value;
    size_t key_len, value_len;
};

struct table {
    struct entry *entries; /* sorted by key */
    size_t count, capacity;
};

struct change {
    uint8_t family;
    bool deletes;
    struct entry entry;
    struct change *next;
};

struct store_batch {
    struct change *first, **last;
    size_t bytes;
};

struct written { /* a batch that is not synced */
    struct change *first;
    struct written *next;
};

struct store {
    bool open, read_only;
};

/* The disk: outlives the daemon's lives. */
static struct {
    struct table synced[FAMILIES], current[FAMILIES];
    struct written *first, **last;
    uint64_t commits;
    bool created, full, never_syncs;
} disk;

static struct store the_store, the_reader;

/* ---- tables ---- */

static int compare(const struct entry *entry, struct span key)
{
    size_t shorter = entry->key_len < key.len ? entry->key_len : key.len;
    int order = shorter ? memcmp(entry->key, key.data, shorter) : 0;
    return order ? order : (entry->key_len > key.len) - (entry->key_len < key.len);
}

/* Index of the first entry not below `key`. */
static size_t lower_bound(const struct table *table, struct span key)
{
    size_t low = 0, high = table->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (compare(&table->entries[middle], key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct entry *find(const struct table *table, struct span key)
{
    size_t at = lower_bound(table, key);
    bool there = at < table->count && compare(&table->entries[at], key) == 0;
    return there ? &table->entries[at] : NULL;
}

static char *copy(const char *data, size_t len)
{
    char *bytes = malloc(len + 1);
    check(bytes);
    if (len)
        memcpy(bytes, data, len);
    return bytes;
}

static void table_put(struct table *table, const struct entry *entry)
{
    struct entry *old = find(table, span_of(entry->key, entry->key_len));
    if (old) {
        free(old->value);
        old->value = copy(entry->value, entry->value_len);
        old->value_len = entry->value_len;
        return;
    }
    if (table->count == table->capacity) {
        table->capacity = table->capacity ? 2 * table->capacity : 64;
        table->entries = realloc(table->entries, table->capacity * sizeof *table->entries);
        check(table->entries);
    }
    size_t at = lower_bound(table, span_of(entry->key, entry->key_len));
    memmove(&table->entries[at + 1], &table->entries[at],
            (table->count - at) * sizeof *table->entries);
    table->entries[at] =
        (struct entry){copy(entry->key, entry->key_len), copy(entry->value, entry->value_len),
                       entry->key_len, entry->value_len};
    table->count++;
}

static void table_delete(struct table *table, const struct entry *entry)
{
    struct entry *old = find(table, span_of(entry->key, entry->key_len));
    if (!old)
        return;
    free(old->key);
    free(old->value);
    size_t at = (size_t)(old - table->entries);
    table->count--;
    memmove(old, old + 1, (table->count - at) * sizeof *old);
}

static void table_copy(struct table *to, const struct table *from)
{
    for (size_t i = 0; i < to->count; i++) {
        free(to->entries[i].key);
        free(to->entries[i].value);
    }
    to->count = 0;
    for (size_t i = 0; i < from->count; i++)
        table_put(to, &from->entries[i]);
}

static void apply(struct table *tables, const struct change *change)
{
    for (; change; change = change->next)
        if (change->deletes)
            table_delete(&tables[change->family], &change->entry);
        else
            table_put(&tables[change->family], &change->entry);
}

static void free_changes(struct change *change)
{
    while (change) {
        struct change *next = change->next;
        free(change->entry.key);
        free(change->entry.value);
        free(change);
        change = next;
    }
}

/* ---- life ---- */

const char *store_family_name(enum store_family family)
{
    static const char *const names[] = {"fresh", "body", "row", "ref", "queue", "meta"};
    return names[family];
}

int store_open(const struct store_options *options, struct store **ret_store,
               struct store_report *ret_report)
{
    if (options->mode == STORE_READ_ONLY) { /* of the checks; the real one waits for the lock */
        *ret_report = (struct store_report){0};
        the_reader = (struct store){.open = true, .read_only = true};
        *ret_store = &the_reader;
        return 0;
    }
    check(!the_store.open);
    *ret_report = (struct store_report){.created = !disk.created};
    if (!disk.created)
        disk.last = &disk.first;
    disk.created = true;
    the_store.open = true;
    *ret_store = &the_store;
    return 0;
}

static void sync_all(void)
{
    ring_flush(); /* the log's sync flushes the disk's cache, for segments as well */
    while (disk.first) {
        struct written *written = disk.first;
        apply(disk.synced, written->first);
        free_changes(written->first);
        disk.first = written->next;
        free(written);
    }
    disk.last = &disk.first;
}

struct store *store_close(struct store *store)
{
    if (store)
        store->open = false;
    return NULL;
}

void store_crash(void)
{
    the_store.open = false;
    size_t unsynced = 0;
    for (struct written *written = disk.first; written; written = written->next)
        unsynced++;
    size_t kept = world_draw(unsynced + 1);
    say("crash: %zu of %zu unsynced batches survive", kept, unsynced);
    for (size_t i = 0; disk.first; i++) {
        struct written *written = disk.first;
        if (i < kept)
            apply(disk.synced, written->first);
        free_changes(written->first);
        disk.first = written->next;
        free(written);
    }
    disk.last = &disk.first;
    for (int family = 0; family < FAMILIES; family++)
        table_copy(&disk.current[family], &disk.synced[family]);
}

bool store_empty_of_mail(void)
{
    return disk.current[FAMILY_FRESH].count + disk.current[FAMILY_BODY].count +
               disk.current[FAMILY_ROW].count + disk.current[FAMILY_REF].count ==
           0;
}

uint64_t store_commits(void)
{
    return disk.commits;
}

/* ---- writing ---- */

struct store_batch *store_batch_new(struct store *store)
{
    struct store_batch *batch = calloc(1, sizeof *batch);
    check(batch);
    batch->last = &batch->first;
    return batch;
}

void store_batch_clear(struct store_batch *batch)
{
    free_changes(batch->first);
    *batch = (struct store_batch){.last = &batch->first};
}

struct store_batch *store_batch_free(struct store_batch *batch)
{
    if (batch)
        free_changes(batch->first);
    free(batch);
    return NULL;
}

static void add(struct store_batch *batch, enum store_family family, bool deletes, struct span key,
                const struct span *parts, unsigned part_count)
{
    struct change *change = calloc(1, sizeof *change);
    check(change);
    size_t len = 0;
    for (unsigned i = 0; i < part_count; i++)
        len += parts[i].len;
    change->family = (uint8_t)family;
    change->deletes = deletes;
    change->entry.key = copy(key.data, key.len);
    change->entry.key_len = key.len;
    change->entry.value = malloc(len + 1);
    check(change->entry.value);
    for (unsigned i = 0; i < part_count; i++) {
        if (parts[i].len)
            memcpy(change->entry.value + change->entry.value_len, parts[i].data, parts[i].len);
        change->entry.value_len += parts[i].len;
    }
    *batch->last = change;
    batch->last = &change->next;
    batch->bytes += key.len + len;
}

void store_batch_put(struct store_batch *batch, enum store_family family, struct span key,
                     const struct span *parts, unsigned part_count)
{
    add(batch, family, false, key, parts, part_count);
}

void store_batch_delete(struct store_batch *batch, enum store_family family, struct span key)
{
    add(batch, family, true, key, NULL, 0);
}

size_t store_batch_bytes(const struct store_batch *batch)
{
    return batch->bytes;
}

/* The same record may not be written twice: that would be two messages under one key. */
static void refuse_overwriting(const struct change *change)
{
    bool mail = change->family == FAMILY_FRESH || change->family == FAMILY_BODY ||
                change->family == FAMILY_ROW;
    if (mail && !change->deletes)
        check(!find(&disk.current[change->family],
                    span_of(change->entry.key, change->entry.key_len)));
}

int store_commit(struct store *store, struct store_batch *batch, bool sync)
{
    check(store->open && !store->read_only);
    if (disk.full)
        return -ENOSPC;
    for (struct change *change = batch->first; change; change = change->next) {
        refuse_overwriting(change);
        struct change *next = change->next;
        change->next = NULL;
        apply(disk.current, change);
        change->next = next;
    }
    struct written *written = calloc(1, sizeof *written);
    check(written);
    written->first = batch->first;
    *disk.last = written;
    disk.last = &written->next;
    *batch = (struct store_batch){.last = &batch->first};
    disk.commits++;
    if (sync && !disk.never_syncs)
        sync_all();
    return 0;
}

const char *store_error(const struct store *store)
{
    return "";
}

int store_revive(struct store *store)
{
    return disk.full ? -ENOSPC : 0;
}

void store_set_syncing(bool syncing)
{
    disk.never_syncs = !syncing;
}

void store_set_full(bool full)
{
    disk.full = full;
}

/* ---- reading ---- */

int store_get(struct store *store, enum store_family family, struct span key,
              struct store_value *ret_value)
{
    check(store->open);
    struct entry *entry = find(&disk.current[family], key);
    if (!entry)
        return 0;
    char *bytes = copy(entry->value, entry->value_len);
    *ret_value = (struct store_value){span_of(bytes, entry->value_len), bytes};
    return 1;
}

void store_value_release(struct store_value *value)
{
    free(value->pin);
    *value = (struct store_value){0};
}

void store_get_many(struct store *store, enum store_family family, const struct span *keys,
                    unsigned count, struct store_value *ret_values, int *ret_found)
{
    for (unsigned i = 0; i < count; i++)
        ret_found[i] = store_get(store, family, keys[i], &ret_values[i]);
}

struct store_scan {
    struct table table;
    size_t at;
};

struct store_scan *store_scan_new(struct store *store, enum store_family family, struct span lower,
                                  struct span upper)
{
    check(store->open);
    struct store_scan *scan = calloc(1, sizeof *scan);
    check(scan);
    const struct table *from = &disk.current[family];
    for (size_t i = lower_bound(from, lower); i < from->count; i++) {
        if (upper.len && compare(&from->entries[i], upper) >= 0)
            break;
        table_put(&scan->table, &from->entries[i]);
    }
    return scan;
}

int store_scan_next(struct store_scan *scan, struct span *ret_key, struct span *ret_value)
{
    if (scan->at == scan->table.count)
        return 0;
    const struct entry *entry = &scan->table.entries[scan->at++];
    *ret_key = span_of(entry->key, entry->key_len);
    *ret_value = span_of(entry->value, entry->value_len);
    return 1;
}

struct store_scan *store_scan_free(struct store_scan *scan)
{
    if (scan) {
        struct table empty = {0};
        table_copy(&scan->table, &empty);
        free(scan->table.entries);
    }
    free(scan);
    return NULL;
}

void store_flush(struct store *store)
{
}

void store_usage(struct store *store, struct store_usage *ret_usage)
{
    *ret_usage = (struct store_usage){0};
}
