#include "smtp/dkim_keys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct key_loading {
    const struct config *config;
    const struct config_dkim *table;
    dkim_complain *complain;
    void *context;
    int error;
};

static void say(struct key_loading *loading, bool fatal, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void say(struct key_loading *loading, bool fatal, const char *format, ...)
{
    char what[DKIM_COMPLAINT / 2], text[DKIM_COMPLAINT];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    snprintf(text, sizeof text, "%s:%u: [[dkim]] key %s: %s", loading->config->file.data,
             loading->table->line, loading->table->key.data, what);
    loading->complain(loading->context, fatal, text);
    if (fatal)
        loading->error = -EINVAL;
}

/* ---- the file ---- */

static bool may_be_trusted(struct key_loading *loading, int fd)
{
    struct stat status;
    if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode))
        say(loading, true, "is not a file");
    else if (status.st_uid != 0 && status.st_uid != geteuid())
        say(loading, true, "belongs to another user (uid %u)", (unsigned)status.st_uid);
    else if (status.st_mode & (S_IWGRP | S_IRWXO))
        say(loading, true, "its mode is %04o, others may read or change it; chmod 0600 or 0640",
            (unsigned)status.st_mode & 07777);
    else
        return true;
    return false;
}

static bool read_key(struct key_loading *loading, char text[SIGN_KEY_TEXT], size_t *ret_len)
{
    int fd = open(loading->table->key.data, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0) {
        say(loading, true, "%s", strerror(errno));
        return false;
    }
    bool trusted = may_be_trusted(loading, fd);
    ssize_t len = trusted ? read(fd, text, SIGN_KEY_TEXT) : 0;
    close(fd);
    if (len < 0)
        say(loading, true, "%s", strerror(errno));
    else if (len == SIGN_KEY_TEXT)
        say(loading, true, "is too long for a key");
    *ret_len = len > 0 ? (size_t)len : 0;
    return trusted && len >= 0 && len < SIGN_KEY_TEXT;
}

static struct sign_key *load_key(struct key_loading *loading)
{
    char text[SIGN_KEY_TEXT];
    size_t len;
    const char *why;
    if (!read_key(loading, text, &len))
        return NULL;
    struct sign_key *key = sign_key_parse(span_of(text, len), &why);
    explicit_bzero(text, sizeof text);
    if (!key)
        say(loading, true, "%s", why);
    else if (sign_key_algorithm(key) == SIGN_RSA_SHA256 && sign_key_bits(key) < SIGN_BITS_GOOD)
        say(loading, false, "%u bits are few; RFC 8301 asks for 2048", sign_key_bits(key));
    return key;
}

/* ---- all of them ---- */

static void load_table(struct key_loading *loading, struct dkim_key *key)
{
    const struct config_dkim *table = loading->table;
    *key = (struct dkim_key){
        .key = load_key(loading),
        .domain = table->domain,
        .selector = table->selector,
        .headers = table->headers,
        .header_count = table->header_count,
        .expires_after_s = table->expires_after_ms / 1000,
        .body_canon = table->simple_body ? DKIM_SIMPLE : DKIM_RELAXED,
        .standard = table->standard,
    };
}

int dkim_keys_load(const struct config *config, dkim_complain *complain, void *context,
                   struct dkim_keys *ret_keys)
{
    struct dkim_keys keys = {.count = config->dkim_count};
    struct key_loading loading = {.config = config, .complain = complain, .context = context};
    keys.list = calloc(keys.count ? keys.count : 1, sizeof *keys.list);
    if (!keys.list)
        return -ENOMEM;
    for (size_t i = 0; i < keys.count; i++) {
        loading.table = &config->dkims[i];
        load_table(&loading, &keys.list[i]);
    }
    if (loading.error == 0)
        *ret_keys = keys;
    else
        dkim_keys_free(&keys);
    return loading.error;
}

void dkim_keys_free(struct dkim_keys *keys)
{
    for (size_t i = 0; i < keys->count; i++)
        sign_key_free(keys->list[i].key);
    free(keys->list);
    *keys = (struct dkim_keys){0};
}

static unsigned collect(const struct dkim_keys *keys, struct span domain, bool standard,
                        const struct dkim_key **ret_keys, unsigned most)
{
    unsigned count = 0;
    for (size_t i = 0; i < keys->count && count < most; i++)
        if (standard ? keys->list[i].standard : span_equals_any_case(keys->list[i].domain, domain))
            ret_keys[count++] = &keys->list[i];
    return count;
}

unsigned dkim_keys_find(const struct dkim_keys *keys, struct span domain,
                        const struct dkim_key **ret_keys, unsigned most)
{
    unsigned count = collect(keys, domain, false, ret_keys, most);
    return count ? count : collect(keys, domain, true, ret_keys, most);
}
