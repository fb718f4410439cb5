/* `ringpost dkim new|dns|check`. What is asked for goes to standard output, what is wrong to
 * standard error. */
#include "core/cli.h"
#include "core/config.h"
#include "smtp/dkim_keys.h"
#include "smtp/dkim_record.h"

#include <ares.h>
#include <arpa/nameser.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    RECORD_TEXT = 4096,
    STRING_MOST = 255, /* of one string in a TXT record (RFC 1035 3.3) */
    NAME_TEXT = 512,
    TRIES = 2,
    SOCKETS = 8, /* of one query at a time; c-ares has bits for 16, of which the last overflows */
};

/* ---- new ---- */

static bool write_file(const char *path, struct span text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    bool written = fd >= 0 && write(fd, text.data, text.len) == (ssize_t)text.len && fsync(fd) == 0;
    int error = errno;
    if (fd >= 0 && close(fd) < 0)
        written = false;
    if (written)
        return true;
    if (fd >= 0)
        unlink(path);
    cli_say("cannot write %s: %s", path, strerror(error));
    return false;
}

int cli_dkim_new(struct cli *cli)
{
    char text[SIGN_KEY_TEXT];
    struct sink sink;
    const char *path = values_text(cli->command, &cli->values, "FILE").data;
    bool ed25519 = span_equals(values_text(cli->command, &cli->values, "type"), SPAN("ed25519"));
    uint64_t bits = values_count(cli->command, &cli->values, "bits", SIGN_BITS_GOOD);
    if (!ed25519 && (bits < SIGN_BITS_LEAST || bits > SIGN_BITS_MOST || bits % 8)) {
        cli_say("an RSA key has %d to %d bits, a multiple of 8; 2048 are right", SIGN_BITS_LEAST,
                SIGN_BITS_MOST);
        return EXIT_USAGE;
    }
    struct sign_key *key =
        sign_key_new(ed25519 ? SIGN_ED25519_SHA256 : SIGN_RSA_SHA256, (unsigned)bits);
    sink_init(&sink, text, sizeof text);
    bool made = key && sign_key_put_private(key, &sink);
    sign_key_free(key);
    if (!made)
        cli_say("no key could be made");
    made = made && write_file(path, sink_span(&sink));
    explicit_bzero(text, sizeof text);
    return made ? EXIT_GOOD : EXIT_UNREACHABLE;
}

/* ---- the configuration's keys ---- */

static void print_complaint(void *context, bool fatal, const char *text)
{
    cli_say("%s%s", fatal ? "" : "warning: ", text);
}

static bool load_keys(const struct cli *cli, struct config **ret_config, struct dkim_keys *ret_keys)
{
    char error[CONFIG_ERROR];
    struct config *config;
    if (!cli->config) {
        cli_say("which keys? --config FILE is wanted");
        return false;
    }
    if (config_load(cli->config, &config, error) < 0) {
        cli_say("%s", error);
        return false;
    }
    *ret_config = config;
    if (config->dkim_count == 0)
        cli_say("%s has no [[dkim]]", cli->config);
    else if (dkim_keys_load(config, print_complaint, NULL, ret_keys) == 0)
        return true;
    config_free(config);
    return false;
}

static void put_name(const struct dkim_key *key, char name[NAME_TEXT])
{
    snprintf(name, NAME_TEXT, "%.*s._domainkey.%.*s", SPAN_FORMAT(key->selector),
             SPAN_FORMAT(key->domain));
}

/* ---- dns ---- */

static void print_record(const struct dkim_key *key)
{
    char text[RECORD_TEXT], name[NAME_TEXT];
    struct sink sink;
    sink_init(&sink, text, sizeof text);
    dkim_record_put(key->key, &sink);
    check(!sink.full);
    put_name(key, name);
    printf("%s. IN TXT (", name);
    for (struct span rest = sink_span(&sink); rest.len; rest = span_skip(rest, STRING_MOST))
        printf(" \"%.*s\"", SPAN_FORMAT(span_first(rest, STRING_MOST)));
    printf(" )\n");
}

int cli_dkim_dns(struct cli *cli)
{
    struct config *config;
    struct dkim_keys keys;
    if (!load_keys(cli, &config, &keys))
        return EXIT_UNREACHABLE;
    for (size_t i = 0; i < keys.count; i++)
        print_record(&keys.list[i]);
    dkim_keys_free(&keys);
    config_free(config);
    return EXIT_GOOD;
}

/* ---- check: records from DNS or a file ---- */

struct record_query {
    ares_channel channel;
    struct sink text; /* the strings of the first record, one behind the other */
    bool ended;
    int status; /* of c-ares */
    unsigned records;
};

static void on_answer(void *context, int status, int timeouts, unsigned char *packet, int len)
{
    struct record_query *query = context;
    struct ares_txt_ext *strings = NULL;
    query->ended = true;
    query->status =
        status == ARES_SUCCESS ? ares_parse_txt_reply_ext(packet, len, &strings) : status;
    for (const struct ares_txt_ext *at = strings; at; at = at->next) {
        query->records += at->record_start != 0;
        if (query->records == 1)
            sink_put(&query->text, span_of(at->txt, at->length));
    }
    ares_free_data(strings);
}

static void wait_for_answer(struct record_query *query)
{
    while (!query->ended) {
        ares_socket_t sockets[SOCKETS];
        struct pollfd polled[SOCKETS];
        struct timeval most = {.tv_sec = 1}, wait;
        int bits = ares_getsock(query->channel, sockets, SOCKETS);
        nfds_t count = 0;
        for (int i = 0; i < SOCKETS; i++)
            if (ARES_GETSOCK_READABLE(bits, i) || ARES_GETSOCK_WRITABLE(bits, i))
                polled[count++] = (struct pollfd){
                    .fd = sockets[i],
                    .events = (short)(POLLIN | (ARES_GETSOCK_WRITABLE(bits, i) ? POLLOUT : 0))};
        ares_timeout(query->channel, &most, &wait);
        poll(polled, count, (int)(wait.tv_sec * 1000 + wait.tv_usec / 1000 + 1));
        for (nfds_t i = 0; i < count; i++)
            ares_process_fd(query->channel, polled[i].revents & POLLIN ? polled[i].fd : -1,
                            polled[i].revents & POLLOUT ? polled[i].fd : -1);
        ares_process_fd(query->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    }
}

static int set_servers(ares_channel channel, const struct config *config)
{
    char text[1024];
    struct sink sink;
    sink_init(&sink, text, sizeof text - 1);
    for (size_t i = 0; i < config->dns.server_count; i++) {
        if (i)
            sink_byte(&sink, ',');
        address_put(&config->dns.servers[i], &sink);
    }
    text[sink.len] = '\0';
    return sink.len ? ares_set_servers_ports_csv(channel, text) : ARES_SUCCESS;
}

static bool ask(const struct config *config, const char *name, struct record_query *query)
{
    struct ares_options options = {.timeout = (int)config->dns.timeout_ms, .tries = TRIES};
    int status = ares_init_options(&query->channel, &options, ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES);
    if (status == ARES_SUCCESS) {
        status = set_servers(query->channel, config);
        if (status == ARES_SUCCESS) {
            ares_query(query->channel, name, ns_c_in, ns_t_txt, on_answer, query);
            wait_for_answer(query);
            status = query->status;
        }
        ares_destroy(query->channel);
    }
    if (status == ARES_SUCCESS || status == ARES_ENOTFOUND || status == ARES_ENODATA)
        return true;
    cli_say("%s: %s", name, ares_strerror(status));
    return false;
}

static bool read_record_file(const char *path, struct record_query *query)
{
    char text[RECORD_TEXT];
    FILE *file = fopen(path, "re");
    size_t len = file ? fread(text, 1, sizeof text, file) : 0;
    bool read = file && !ferror(file) && len < sizeof text;
    if (!read)
        cli_say("cannot read %s: %s", path,
                file && !ferror(file) ? "it is too long for a record" : strerror(errno));
    if (file)
        fclose(file);
    while (len && (text[len - 1] == '\n' || text[len - 1] == '\r'))
        len--;
    sink_put(&query->text, span_of(text, len));
    query->records = 1;
    return read;
}

/* ---- check: one key against one record ---- */

static const char *compare(const struct dkim_key *key, struct span text)
{
    static const char *const faults[] = {
        [DKIM_RECORD_BROKEN] = "the record is not one of DKIM",
        [DKIM_RECORD_REVOKED] = "the record revokes the key (p= is empty)",
        [DKIM_RECORD_UNKNOWN_KEY] = "the record has a key of an unknown kind (k=)",
        [DKIM_RECORD_NOT_MAIL] = "the record's key is not for mail (s=)",
    };
    char storage[DKIM_RECORD_KEY];
    struct dkim_record record;
    struct sink own;
    enum dkim_record_fault fault = dkim_record_parse(text, &record);
    if (fault != DKIM_RECORD_GOOD)
        return faults[fault];
    if (!record.sha256)
        return "the record does not allow sha256 (h=)";
    sink_init(&own, storage, sizeof storage);
    if (!sign_key_put_public(key->key, &own) || record.algorithm != sign_key_algorithm(key->key) ||
        !span_equals(sink_span(&own), record.key))
        return "the record has another key";
    return NULL;
}

static int check_key(const struct config *config, const struct dkim_key *key,
                     const char *record_file)
{
    char text[RECORD_TEXT], name[NAME_TEXT];
    struct record_query query = {0};
    sink_init(&query.text, text, sizeof text);
    put_name(key, name);
    if (!(record_file ? read_record_file(record_file, &query) : ask(config, name, &query)))
        return EXIT_UNREACHABLE;
    const char *wrong = query.records == 0  ? "there is no record"
                        : query.records > 1 ? "there are several records; exactly one must be there"
                                            : compare(key, sink_span(&query.text));
    printf("%s: %s\n", name, wrong ? wrong : "good");
    return wrong ? EXIT_BAD : EXIT_GOOD;
}

static int check_keys(const struct config *config, const struct dkim_keys *keys,
                      const char *record_file)
{
    int worst = EXIT_GOOD;
    if (record_file && keys->count > 1) {
        cli_say("a record file can be held against one key only");
        return EXIT_USAGE;
    }
    for (size_t i = 0; i < keys->count; i++) {
        int status = check_key(config, &keys->list[i], record_file);
        worst = status > worst ? status : worst;
    }
    return worst;
}

int cli_dkim_check(struct cli *cli)
{
    struct config *config;
    struct dkim_keys keys;
    struct span record = values_text(cli->command, &cli->values, "RECORD");
    if (!load_keys(cli, &config, &keys))
        return EXIT_UNREACHABLE;
    int status = check_keys(config, &keys, record.len ? record.data : NULL);
    dkim_keys_free(&keys);
    config_free(config);
    return status;
}
