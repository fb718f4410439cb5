/* The text is kept as one copy; names and domains are made lower case in it, and everything else
 * points into it. Reading is two walks: one counts what to allocate. */
#include "core/accounts.h"

#include "core/config_value.h"
#include "core/password.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct account_set {
    atomic_uint references;
    struct hash_seed seed;
    struct map by_name;
    struct account *accounts;
    struct account **scram; /* those stored as SCRAM-SHA-256 */
    size_t count, scram_count, domain_count;
    struct span *domains;
    _Atomic uint64_t *rates;
    char *text;
};

/* ---- one line ---- */

struct reading {
    struct account_set *set;
    struct sink *complaints;
    unsigned line;
};

static bool complain(const struct reading *reading, const char *what, struct span which)
{
    char text[160];
    struct sink sink;
    sink_init(&sink, text, sizeof text);
    sink_format(&sink, "line %u: %s", reading->line, what);
    if (which.len) {
        sink_put(&sink, SPAN(" \""));
        sink_printable(&sink, which, 64);
        sink_put(&sink, SPAN("\""));
    }
    sink_put(&sink, SPAN("\n"));
    sink_put(reading->complaints, sink_span(&sink));
    return false;
}

static struct span take_until(struct span *rest, char end)
{
    struct span part = span_first(*rest, span_find(*rest, end));
    *rest = span_skip(*rest, part.len + 1);
    return part;
}

/* The span lies in the set's own text. */
static struct span make_lower(const struct account_set *set, struct span span)
{
    for (size_t i = 0; i < span.len; i++) {
        char *at = set->text + (span.data - set->text) + i;
        *at = ascii_lower(*at);
    }
    return span;
}

static bool is_tenant(struct span tenant)
{
    for (size_t i = 0; i < tenant.len; i++) {
        char c = ascii_lower(tenant.data[i]);
        bool letter = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        if (!letter && (c == '\0' || !strchr("-._+=", c)))
            return false;
    }
    return tenant.len > 0 && tenant.len <= ACCOUNT_TENANT;
}

static bool read_domains(struct reading *reading, struct account *account, struct span list)
{
    struct account_set *set = reading->set;
    if (account->domain_count)
        return complain(reading, "ringpost_domains is there twice", (struct span){0});
    account->domains = set->domains + set->domain_count;
    do {
        struct span domain = make_lower(set, take_until(&list, ','));
        struct span name = span_starts_with(domain, SPAN("*.")) ? span_skip(domain, 2) : domain;
        if (!value_domain(name))
            return complain(reading, "ringpost_domains: not a domain:", domain);
        set->domains[set->domain_count++] = domain;
        account->domain_count++;
    } while (list.len);
    return true;
}

static bool read_extra(struct reading *reading, struct account *account, struct span extra)
{
    struct span value = extra, key = take_until(&value, '=');
    if (span_equals(key, SPAN("ringpost_domains")))
        return read_domains(reading, account, value);
    if (span_equals(key, SPAN("ringpost_tenant"))) {
        account->tenant = value;
        return is_tenant(value) || complain(reading, "ringpost_tenant: not a tenant:", value);
    }
    if (span_equals(key, SPAN("ringpost_rate")))
        return value_rate(value, &account->rate) ||
               complain(reading, "ringpost_rate: not a rate like 100/m:", value);
    if (span_starts_with(key, SPAN("ringpost_")) || span_equals(key, SPAN("allow_nets")))
        return complain(reading, "this extra field is not known here:", key);
    return true;
}

static bool is_name(struct span name)
{
    for (size_t i = 0; i < name.len; i++)
        if ((unsigned char)name.data[i] <= 0x20 || name.data[i] == 0x7f)
            return false;
    return name.len > 0 && name.len <= ACCOUNT_NAME;
}

static bool disabled(struct span extras)
{
    while (extras.len) {
        struct span extra = take_until(&extras, ' ');
        if (span_equals(extra, SPAN("nologin")) || span_equals(extra, SPAN("nologin=y")) ||
            span_equals(extra, SPAN("nologin=yes")))
            return true;
    }
    return false;
}

/* False: no account comes of it. */
static bool read_account(struct reading *reading, struct span line, struct account *account)
{
    struct account_set *set = reading->set;
    account->name = make_lower(set, take_until(&line, ':'));
    account->stored = take_until(&line, ':');
    for (unsigned i = 0; i < 5; i++) /* uid, gid, gecos, home, shell */
        take_until(&line, ':');
    if (disabled(line))
        return false;
    if (!is_name(account->name))
        return complain(reading, "not a user name:", account->name);
    if (account_find(set, account->name))
        return complain(reading, "this user is there already:", account->name);
    const char *fault = password_fault(account->stored);
    if (fault) {
        char text[96];
        snprintf(text, sizeof text, "the password cannot be used: %s:", fault);
        return complain(reading, text, account->name);
    }
    while (line.len) {
        struct span extra = take_until(&line, ' ');
        if (extra.len && !read_extra(reading, account, extra))
            return false;
    }
    return true;
}

static void add_account(struct account_set *set, struct account *account)
{
    struct scram_verifier verifier;
    account->rate_tat_ns = &set->rates[set->count++];
    map_insert(&set->by_name, &account->by_name, hash_key(set->seed, account->name));
    if (password_scram(account->stored, &verifier))
        set->scram[set->scram_count++] = account;
}

/* ---- the file's text ---- */

static bool skipped(struct span line)
{
    return line.len == 0 || line.data[0] == '#';
}

static int allocate(struct account_set *set, struct span text)
{
    size_t lines = 1, commas = 0;
    for (size_t i = 0; i < text.len; i++) {
        lines += text.data[i] == '\n';
        commas += text.data[i] == ',';
    }
    set->text = malloc(text.len + 1);
    set->accounts = calloc(lines, sizeof *set->accounts);
    set->scram = calloc(lines, sizeof(struct account *));
    set->rates = calloc(lines, sizeof *set->rates);
    set->domains = calloc(lines + commas, sizeof *set->domains);
    if (!set->text || !set->accounts || !set->scram || !set->rates || !set->domains)
        return -ENOMEM;
    if (text.len)
        memcpy(set->text, text.data, text.len);
    set->text[text.len] = '\0';
    return map_init(&set->by_name, lines);
}

int account_set_parse(struct span text, struct hash_seed seed, struct account_set **ret_set,
                      struct sink *complaints)
{
    struct account_set *set = calloc(1, sizeof *set);
    if (!set)
        return -ENOMEM;
    set->seed = seed;
    atomic_init(&set->references, 1);
    if (allocate(set, text) < 0) {
        account_set_free(set);
        return -ENOMEM;
    }
    struct reading reading = {.set = set, .complaints = complaints};
    struct span rest = span_of(set->text, text.len);
    while (rest.len) {
        struct span line = take_until(&rest, '\n');
        struct account *account = &set->accounts[set->count];
        size_t domains = set->domain_count;
        reading.line++;
        if (line.len && line.data[line.len - 1] == '\r')
            line.len--;
        if (!skipped(line) && read_account(&reading, line, account)) {
            add_account(set, account);
        } else {
            *account = (struct account){0};
            set->domain_count = domains;
        }
    }
    *ret_set = set;
    return 0;
}

struct account_set *account_set_share(struct account_set *set)
{
    atomic_fetch_add(&set->references, 1);
    return set;
}

struct account_set *account_set_free(struct account_set *set)
{
    if (!set || atomic_fetch_sub(&set->references, 1) > 1)
        return NULL;
    map_fini(&set->by_name);
    free(set->accounts);
    free(set->scram);
    free(set->domains);
    free(set->rates);
    free(set->text);
    free(set);
    return NULL;
}

size_t account_set_count(const struct account_set *set)
{
    return set->count;
}

/* ---- questions ---- */

const struct account *account_find(const struct account_set *set, struct span name)
{
    char lower[ACCOUNT_NAME];
    if (name.len > sizeof lower)
        return NULL;
    for (size_t i = 0; i < name.len; i++)
        lower[i] = ascii_lower(name.data[i]);
    struct span key = span_of(lower, name.len);
    struct map_node *node = map_find(&set->by_name, hash_key(set->seed, key));
    for (; node; node = map_find_next(node)) {
        const struct account *account = container_of(node, struct account, by_name);
        if (span_equals(account->name, key))
            return account;
    }
    return NULL;
}

const struct account *account_stand_in(const struct account_set *set, struct span name, bool scram)
{
    size_t count = scram ? set->scram_count : set->count;
    if (count == 0)
        return NULL;
    size_t which = hash_key(set->seed, name) % count;
    return scram ? set->scram[which] : &set->accounts[which];
}

bool account_has_domain(const struct account *account, struct span domain)
{
    for (size_t i = 0; i < account->domain_count; i++) {
        struct span allowed = account->domains[i];
        if (span_equals(allowed, domain))
            return true;
        if (span_starts_with(allowed, SPAN("*.")) && domain.len > allowed.len - 1 &&
            span_equals(span_skip(domain, domain.len - (allowed.len - 1)), span_skip(allowed, 1)))
            return true;
    }
    return account->domain_count == 0;
}

bool account_unchanged(const struct account *account, const struct account_set *now)
{
    const struct account *other = account_find(now, account->name);
    if (!other || !span_equals(other->stored, account->stored) ||
        !span_equals(other->tenant, account->tenant) ||
        other->domain_count != account->domain_count || other->rate.count != account->rate.count ||
        other->rate.period_ms != account->rate.period_ms ||
        other->rate.burst != account->rate.burst)
        return false;
    for (size_t i = 0; i < account->domain_count; i++)
        if (!span_equals(account->domains[i], other->domains[i]))
            return false;
    return true;
}

/* ---- the file ---- */

/* Replaced by rename or written in place: one of these differs. */
static bool same_file(const struct accounts *accounts, const struct stat *status)
{
    return (uint64_t)status->st_ino == accounts->inode &&
           (uint64_t)status->st_size == accounts->size &&
           status->st_mtim.tv_sec == accounts->changed.tv_sec &&
           status->st_mtim.tv_nsec == accounts->changed.tv_nsec;
}

static int read_whole(int fd, char *data, size_t size)
{
    size_t len = 0;
    while (len < size) {
        ssize_t got = read(fd, data + len, size - len);
        if (got < 0 && errno != EINTR)
            return -errno;
        if (got == 0)
            return -EAGAIN; /* it is being written: the next look will see it whole */
        if (got > 0)
            len += (size_t)got;
    }
    return 0;
}

static int read_file(int fd, const struct stat *status, struct accounts *accounts,
                     struct account_set **ret_set, struct sink *complaints)
{
    if (!S_ISREG(status->st_mode) || status->st_size > ACCOUNTS_FILE)
        return -EINVAL;
    size_t size = (size_t)status->st_size;
    char *data = malloc(size + 1);
    if (!data)
        return -ENOMEM;
    int error = read_whole(fd, data, size);
    if (error == 0)
        error = account_set_parse(span_of(data, size), accounts->seed, ret_set, complaints);
    digest_wipe(data, size);
    free(data);
    return error;
}

/* What an account has used of its rate is not forgotten by a new reading. */
static void carry_rates(const struct account_set *from, struct account_set *to)
{
    for (size_t i = 0; i < to->count; i++) {
        const struct account *before = account_find(from, to->accounts[i].name);
        if (before)
            atomic_store(to->accounts[i].rate_tat_ns, atomic_load(before->rate_tat_ns));
    }
}

static void remember_file(struct accounts *accounts, const struct stat *status)
{
    accounts->inode = (uint64_t)status->st_ino;
    accounts->size = (uint64_t)status->st_size;
    accounts->changed = status->st_mtim;
}

/* A file of mistakes only is some other file, put here by accident: nobody is locked out for it. */
static bool is_accident(const struct accounts *accounts, const struct account_set *set,
                        bool complained)
{
    return complained && set->count == 0 && accounts->now && accounts->now->count > 0;
}

static void swap_sets(struct accounts *accounts, struct account_set *set)
{
    if (accounts->now)
        carry_rates(accounts->now, set);
    pthread_mutex_lock(&accounts->mutex);
    struct account_set *before = accounts->now;
    accounts->now = set;
    pthread_mutex_unlock(&accounts->mutex);
    atomic_fetch_add(&accounts->generation, 1);
    account_set_free(before);
}

int accounts_look(struct accounts *accounts, struct sink *complaints)
{
    struct stat status;
    struct account_set *set;
    size_t complained = complaints->len;
    if (stat(accounts->path, &status) < 0)
        return -errno;
    if (same_file(accounts, &status))
        return 0;
    int fd = open(accounts->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return -errno;
    int error =
        fstat(fd, &status) < 0 ? -errno : read_file(fd, &status, accounts, &set, complaints);
    close(fd);
    if (error < 0)
        return error;
    remember_file(accounts, &status);
    if (is_accident(accounts, set, complaints->len > complained)) {
        account_set_free(set);
        return -EBADMSG;
    }
    swap_sets(accounts, set);
    return 1;
}

int accounts_init(struct accounts *accounts, const char *path, struct hash_seed seed,
                  struct sink *complaints)
{
    *accounts = (struct accounts){.path = strdup(path), .seed = seed};
    pthread_mutex_init(&accounts->mutex, NULL);
    accounts->size = UINT64_MAX; /* like no file */
    if (!accounts->path)
        return -ENOMEM;
    int result = accounts_look(accounts, complaints);
    return result < 0 ? result : 0;
}

void accounts_fini(struct accounts *accounts)
{
    accounts->now = account_set_free(accounts->now);
    free(accounts->path);
    pthread_mutex_destroy(&accounts->mutex);
}

struct account_set *accounts_take(struct accounts *accounts)
{
    pthread_mutex_lock(&accounts->mutex);
    struct account_set *set = account_set_share(accounts->now);
    pthread_mutex_unlock(&accounts->mutex);
    return set;
}
