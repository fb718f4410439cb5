#include "core/login_delay.h"

#include <errno.h>
#include <stdlib.h>

enum { SHIFT_MOST = 20, KEY_TEXT = 1 + 16 + 255 };

int login_delay_init(struct login_delay *delay, struct hash_seed seed, uint64_t first_ms,
                     uint64_t most_ms)
{
    *delay = (struct login_delay){.seed = seed, .first_ms = first_ms, .most_ms = most_ms};
    delay->entries = calloc((size_t)LOGIN_DELAY_SETS * LOGIN_DELAY_WAYS, sizeof *delay->entries);
    return delay->entries ? 0 : -ENOMEM;
}

void login_delay_fini(struct login_delay *delay)
{
    free(delay->entries);
    delay->entries = NULL;
}

/* ---- keys ---- */

/* An IPv6 host usually owns its whole /64. */
static void put_address(struct sink *sink, const struct address *address)
{
    uint8_t bits[16] = {0};
    if (address_bits(address, bits) && address->family == AF_INET6)
        memset(bits + 8, 0, 8);
    sink_put(sink, span_of(bits, sizeof bits));
}

static void put_name(struct sink *sink, struct span name)
{
    for (size_t i = 0; i < name.len; i++)
        sink_byte(sink, ascii_lower(name.data[i]));
}

static uint64_t key_of(const struct login_delay *delay, const struct address *address,
                       struct span account)
{
    char text[KEY_TEXT];
    struct sink sink;
    sink_init(&sink, text, sizeof text);
    sink_byte(&sink, (char)((address ? 1 : 0) + (account.len ? 2 : 0)));
    if (address)
        put_address(&sink, address);
    put_name(&sink, account);
    return hash_key(delay->seed, sink_span(&sink)) | 1;
}

/* ---- entries ---- */

static struct login_delay_entry *set_of(const struct login_delay *delay, uint64_t key)
{
    return &delay->entries[(key >> 1) % LOGIN_DELAY_SETS * LOGIN_DELAY_WAYS];
}

static struct login_delay_entry *find(const struct login_delay *delay, uint64_t key,
                                      uint64_t now_ms)
{
    struct login_delay_entry *set = set_of(delay, key);
    for (unsigned i = 0; i < LOGIN_DELAY_WAYS; i++) {
        if (set[i].key != key)
            continue;
        if (!set[i].worked && now_ms > set[i].seen_ms + LOGIN_DELAY_FORGET_MS)
            set[i] = (struct login_delay_entry){.key = key, .seen_ms = now_ms};
        return &set[i];
    }
    return NULL;
}

/* Those with failures stay longer than those that remember a good login. */
static bool less_worth(const struct login_delay_entry *a, const struct login_delay_entry *b)
{
    if (!a->key || !b->key)
        return !a->key;
    return a->failures != b->failures ? a->failures < b->failures : a->seen_ms < b->seen_ms;
}

static struct login_delay_entry *find_or_add(struct login_delay *delay, uint64_t key,
                                             uint64_t now_ms)
{
    struct login_delay_entry *entry = find(delay, key, now_ms);
    if (entry)
        return entry;
    struct login_delay_entry *set = set_of(delay, key);
    entry = &set[0];
    for (unsigned i = 1; i < LOGIN_DELAY_WAYS; i++)
        if (less_worth(&set[i], entry))
            entry = &set[i];
    *entry = (struct login_delay_entry){.key = key, .seen_ms = now_ms};
    return entry;
}

static uint64_t length_of(const struct login_delay *delay, const struct login_delay_entry *entry)
{
    if (entry->failures == 0)
        return 0;
    uint32_t shift = entry->failures - 1 < SHIFT_MOST ? entry->failures - 1 : SHIFT_MOST;
    uint64_t length = delay->first_ms << shift;
    return length < delay->most_ms ? length : delay->most_ms;
}

static uint64_t wait_of(const struct login_delay_entry *entry, uint64_t now_ms)
{
    return entry && entry->failures && entry->next_ms > now_ms ? entry->next_ms - now_ms : 0;
}

static void reserve(const struct login_delay *delay, struct login_delay_entry *entry,
                    uint64_t start_ms)
{
    if (entry && entry->failures)
        entry->next_ms = start_ms + length_of(delay, entry);
}

/* ---- tries ---- */

bool login_delay_begin(struct login_delay *delay, const struct address *address,
                       struct span account, uint64_t now_ms, uint64_t *ret_wait_ms)
{
    struct login_delay_entry *by_address = find(delay, key_of(delay, address, SPAN("")), now_ms);
    struct login_delay_entry *by_account = find(delay, key_of(delay, NULL, account), now_ms);
    struct login_delay_entry *pair = find(delay, key_of(delay, address, account), now_ms);
    if (pair && pair->worked)
        by_account = NULL;
    uint64_t wait_ms = wait_of(by_address, now_ms), for_account_ms = wait_of(by_account, now_ms);
    if (for_account_ms > wait_ms)
        wait_ms = for_account_ms;
    if (wait_ms > LOGIN_DELAY_WAIT_MS)
        return false;
    reserve(delay, by_address, now_ms + wait_ms);
    reserve(delay, by_account, now_ms + wait_ms);
    *ret_wait_ms = wait_ms;
    return true;
}

static uint64_t add_failure(struct login_delay *delay, uint64_t key, uint64_t now_ms)
{
    struct login_delay_entry *entry = find_or_add(delay, key, now_ms);
    if (entry->failures < UINT32_MAX)
        entry->failures++;
    entry->seen_ms = now_ms;
    uint64_t length = length_of(delay, entry);
    if (entry->next_ms < now_ms + length)
        entry->next_ms = now_ms + length;
    return length;
}

uint64_t login_delay_failed(struct login_delay *delay, const struct address *address,
                            struct span account, uint64_t now_ms)
{
    uint64_t by_address = add_failure(delay, key_of(delay, address, SPAN("")), now_ms);
    uint64_t by_account = add_failure(delay, key_of(delay, NULL, account), now_ms);
    return by_address > by_account ? by_address : by_account;
}

/* An address keeps its failures: else whoever has an account of his own could guess for ever. */
void login_delay_worked(struct login_delay *delay, const struct address *address,
                        struct span account, uint64_t now_ms)
{
    struct login_delay_entry *by_account = find(delay, key_of(delay, NULL, account), now_ms);
    struct login_delay_entry *pair = find_or_add(delay, key_of(delay, address, account), now_ms);
    if (by_account)
        by_account->failures = 0;
    pair->worked = 1;
    pair->seen_ms = now_ms;
}
