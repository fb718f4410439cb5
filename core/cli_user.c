/* `ringpost user`: the password file, changed line by line. Lines that are not meant stay as they
 * are, remarks too.
 *
 * The file is locked, and what replaces it is written beside it, synced and renamed over it: a
 * reader sees the old one or the new one, whole. Owner, group and mode are kept. A lock on a file
 * that was replaced meanwhile is worth nothing, so it is taken again on the new one. */
#include "core/accounts.h"
#include "core/cli.h"
#include "core/json.h"
#include "core/password.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

enum { LINE_MOST = 4096, LOCK_TRIES = 100 };

struct passwd_file {
    char *path; /* resolved: a link stays a link */
    int fd;     /* locked */
    struct stat status;
    char *text;
    size_t len;
};

static int complain(const char *path, int error)
{
    cli_say("%s: %s", path, strerror(error));
    return EXIT_BAD;
}

/* ---- which file ---- */

/* --file, else [accounts] passwd_file of --config. NULL: it was said what is missing. */
static char *find_path(struct cli *cli)
{
    struct span given = values_text(cli->command, &cli->values, "file");
    struct config *config;
    char error[CONFIG_ERROR];
    if (given.len)
        return strndup(given.data, given.len);
    if (!cli->config) {
        cli_say("which password file? Say --file FILE, or --config FILE with [accounts] in it");
        return NULL;
    }
    if (config_load(cli->config, &config, error) < 0) {
        cli_say("%s", error);
        return NULL;
    }
    char *path =
        config->accounts.passwd_file.len ? strdup(config->accounts.passwd_file.data) : NULL;
    if (!path)
        cli_say("%s has no 'passwd_file' in [accounts]", cli->config);
    config_free(config);
    return path;
}

/* ---- reading ---- */

static bool still_there(const struct passwd_file *file)
{
    struct stat now;
    return stat(file->path, &now) == 0 && now.st_ino == file->status.st_ino &&
           now.st_dev == file->status.st_dev;
}

/* 0 or errno. */
static int lock(struct passwd_file *file, bool create)
{
    for (unsigned i = 0; i < LOCK_TRIES; i++) {
        file->fd = open(file->path, (create ? O_CREAT : 0) | O_RDONLY | O_CLOEXEC, 0600);
        if (file->fd < 0)
            return errno;
        if (flock(file->fd, LOCK_EX) == 0 && fstat(file->fd, &file->status) == 0 &&
            still_there(file))
            return S_ISREG(file->status.st_mode) ? 0 : EINVAL;
        close(file->fd);
        file->fd = -1;
    }
    return EBUSY;
}

static int read_text(struct passwd_file *file)
{
    size_t size = (size_t)file->status.st_size;
    file->text = file->status.st_size <= ACCOUNTS_FILE ? malloc(size + 1) : NULL;
    if (!file->text)
        return ENOMEM;
    while (file->len < size) {
        ssize_t got = read(file->fd, file->text + file->len, size - file->len);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0 ? errno : EIO;
        file->len += (size_t)got;
    }
    return 0;
}

static void close_file(struct passwd_file *file)
{
    if (file->fd >= 0)
        close(file->fd);
    free(file->text);
    free(file->path);
}

/* EXIT_GOOD, or the exit status. */
static int open_file(struct cli *cli, bool create, struct passwd_file *file)
{
    *file = (struct passwd_file){.fd = -1};
    char *path = find_path(cli);
    if (!path)
        return EXIT_USAGE;
    file->path = realpath(path, NULL);
    if (!file->path && errno == ENOENT && create)
        file->path = strdup(path);
    int error = file->path ? lock(file, create) : errno;
    if (error == 0)
        error = read_text(file);
    if (error == 0) {
        free(path);
        return EXIT_GOOD;
    }
    complain(path, error);
    free(path);
    close_file(file);
    return EXIT_UNREACHABLE;
}

/* ---- lines ---- */

static struct span line_at(const struct passwd_file *file, size_t at)
{
    struct span rest = span_of(file->text + at, file->len - at);
    return span_first(rest, span_find(rest, '\n'));
}

static struct span name_of(struct span line)
{
    bool remark = line.len && line.data[0] == '#';
    return remark ? (struct span){0} : span_first(line, span_find(line, ':'));
}

/* Where the account's line begins; file->len: nowhere. */
static size_t find_line(const struct passwd_file *file, struct span name)
{
    size_t at = 0;
    while (at < file->len) {
        struct span line = line_at(file, at);
        if (line.len && span_equals_any_case(name_of(line), name))
            return at;
        at += line.len + 1;
    }
    return file->len;
}

/* ---- writing ---- */

static bool write_all(int fd, struct span text)
{
    while (text.len) {
        ssize_t put = write(fd, text.data, text.len);
        if (put < 0 && errno != EINTR)
            return false;
        if (put > 0)
            text = span_skip(text, (size_t)put);
    }
    return true;
}

static bool sync_folder(const char *path)
{
    char folder[4096];
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash)
        slash[slash == folder] = '\0';
    int fd = open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool good = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0)
        close(fd);
    return good;
}

static bool keep_owner(const struct passwd_file *file, int fd)
{
    struct stat status;
    if (fstat(fd, &status) < 0)
        return false;
    bool same = status.st_uid == file->status.st_uid && status.st_gid == file->status.st_gid;
    return (same || fchown(fd, file->status.st_uid, file->status.st_gid) == 0) &&
           fchmod(fd, file->status.st_mode & 07777) == 0;
}

/* The file's text with [from, to) replaced. The exit status. */
static int replace(const struct passwd_file *file, size_t from, size_t to, struct span with)
{
    char beside[4096];
    snprintf(beside, sizeof beside, "%s.XXXXXX", file->path);
    int fd = mkostemp(beside, O_CLOEXEC);
    if (fd < 0)
        return complain(beside, errno);
    bool good = keep_owner(file, fd) && write_all(fd, span_of(file->text, from)) &&
                write_all(fd, with) && write_all(fd, span_of(file->text + to, file->len - to)) &&
                fsync(fd) == 0 && rename(beside, file->path) == 0 && sync_folder(file->path);
    int error = errno;
    close(fd);
    if (good)
        return EXIT_GOOD;
    unlink(beside);
    return complain(file->path, error);
}

/* ---- the password ---- */

/* A line without its end; asked for on the terminal without showing it. */
static bool read_secret(const char *prompt, char *text, size_t size)
{
    struct termios before, silent;
    bool terminal = isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &before) == 0;
    if (terminal) {
        fprintf(stderr, "%s", prompt);
        silent = before;
        silent.c_lflag &= ~(tcflag_t)ECHO;
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent);
    }
    bool good = fgets(text, (int)size, stdin) != NULL;
    if (terminal) {
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
        fputc('\n', stderr);
    }
    if (good)
        text[strcspn(text, "\r\n")] = '\0';
    return good;
}

/* False: it was said why not. */
static bool ask_password(char password[PASSWORD_MOST + 2])
{
    char again[PASSWORD_MOST + 2];
    if (!read_secret("Password: ", password, PASSWORD_MOST + 2) ||
        !password_fit(span_string(password))) {
        cli_say("a password has 1 to %d bytes and no control characters", PASSWORD_MOST);
        return false;
    }
    if (!isatty(STDIN_FILENO))
        return true;
    bool same = read_secret("Again: ", again, sizeof again) && strcmp(password, again) == 0;
    digest_wipe(again, sizeof again);
    if (!same)
        cli_say("these are two passwords");
    return same;
}

/* "{SCHEME}text" of a password that is asked for. False: it was said why not. */
static bool make_stored(struct cli *cli, struct sink *stored)
{
    char password[PASSWORD_MOST + 2];
    struct span scheme = values_text(cli->command, &cli->values, "scheme");
    bool good = ask_password(password);
    if (good && !password_make(scheme.len ? scheme : SPAN("SCRAM-SHA-256"), span_string(password),
                               stored)) {
        cli_say("the password could not be hashed");
        good = false;
    }
    digest_wipe(password, sizeof password);
    return good;
}

/* ---- the commands ---- */

/* A blank or a colon in it would be the beginning of something else. */
static bool put_extra(struct cli *cli, const char *argument, const char *field, struct sink *line)
{
    struct span value = values_text(cli->command, &cli->values, argument);
    if (span_find(value, ' ') < value.len || span_find(value, ':') < value.len) {
        cli_say("--%s holds a blank or a colon", argument);
        return false;
    }
    if (!value.len)
        return true;
    sink_put(line, line->data[line->len - 1] == ':' ? SPAN("") : SPAN(" "));
    sink_put(line, span_string(field));
    sink_put(line, value);
    return true;
}

/* What a line means must be what was meant: it is read as the daemon will read it. */
static bool line_good(struct span line, struct span name)
{
    char text[512];
    struct sink complaints;
    struct account_set *set;
    sink_init(&complaints, text, sizeof text);
    if (account_set_parse(line, (struct hash_seed){0}, &set, &complaints) < 0)
        return false;
    bool good = complaints.len == 0 && account_set_count(set) == 1 && account_find(set, name);
    account_set_free(set);
    if (!good)
        cli_say("this would be no account: %.*s", (int)complaints.len, text);
    return good;
}

static bool make_line(struct cli *cli, struct span name, struct sink *line)
{
    sink_put(line, name);
    sink_byte(line, ':');
    if (!make_stored(cli, line))
        return false;
    sink_put(line, SPAN("::::::"));
    if (!put_extra(cli, "domains", "ringpost_domains=", line) ||
        !put_extra(cli, "tenant", "ringpost_tenant=", line) ||
        !put_extra(cli, "rate", "ringpost_rate=", line))
        return false;
    sink_byte(line, '\n');
    if (line->full)
        cli_say("the line would be too long");
    return !line->full && line_good(sink_span(line), name);
}

static int add(struct cli *cli, const struct passwd_file *file)
{
    char text[LINE_MOST];
    struct sink line;
    struct span name = values_text(cli->command, &cli->values, "NAME");
    if (find_line(file, name) < file->len) {
        cli_say("%.*s is there already", SPAN_FORMAT(name));
        return EXIT_BAD;
    }
    sink_init(&line, text, sizeof text);
    if (file->len && file->text[file->len - 1] != '\n')
        sink_byte(&line, '\n');
    size_t begins = line.len;
    struct sink own;
    sink_init(&own, text + begins, sizeof text - begins);
    if (!make_line(cli, name, &own))
        return EXIT_BAD;
    return replace(file, file->len, file->len, span_of(text, begins + own.len));
}

static int change_password(struct cli *cli, const struct passwd_file *file)
{
    char text[PASSWORD_STORED];
    struct sink stored;
    struct span name = values_text(cli->command, &cli->values, "NAME");
    size_t at = find_line(file, name);
    if (at == file->len) {
        cli_say("there is no %.*s", SPAN_FORMAT(name));
        return EXIT_BAD;
    }
    sink_init(&stored, text, sizeof text);
    if (!make_stored(cli, &stored))
        return EXIT_BAD;
    struct span line = line_at(file, at);
    size_t from = name_of(line).len + (name_of(line).len < line.len);
    size_t len = span_find(span_skip(line, from), ':');
    return replace(file, at + from, at + from + len, sink_span(&stored));
}

static int delete (struct cli *cli, const struct passwd_file *file)
{
    struct span name = values_text(cli->command, &cli->values, "NAME");
    size_t at = find_line(file, name);
    if (at == file->len) {
        cli_say("there is no %.*s", SPAN_FORMAT(name));
        return EXIT_BAD;
    }
    size_t end = at + line_at(file, at).len + 1;
    return replace(file, at, end < file->len ? end : file->len, (struct span){0});
}

/* ---- the list ---- */

static void put_member(struct sink *record, const char *name, struct span value)
{
    if (!value.len)
        return;
    sink_put(record, record->len > 1 ? SPAN(",") : SPAN(""));
    sink_format(record, "\"%s\":", name);
    json_put_string(record, value, value.len);
}

static struct span scheme_of(struct span stored)
{
    bool named = stored.len && stored.data[0] == '{';
    return named ? span_skip(span_first(stored, span_find(stored, '}')), 1) : SPAN("CRYPT");
}

static struct span extra_of(struct span line, struct span key)
{
    for (unsigned i = 0; i < 7; i++)
        line = span_skip(line, span_find(line, ':') + 1);
    while (line.len) {
        struct span extra = span_first(line, span_find(line, ' '));
        if (span_starts_with(extra, key))
            return span_skip(extra, key.len);
        line = span_skip(line, extra.len + 1);
    }
    return (struct span){0};
}

static bool show_line(struct cli_show *show, struct span line)
{
    char text[LINE_MOST];
    struct sink record;
    struct span rest = span_skip(line, name_of(line).len + 1);
    sink_init(&record, text, sizeof text);
    sink_byte(&record, '{');
    put_member(&record, "name", name_of(line));
    put_member(&record, "scheme", scheme_of(span_first(rest, span_find(rest, ':'))));
    put_member(&record, "domains", extra_of(line, SPAN("ringpost_domains=")));
    put_member(&record, "tenant", extra_of(line, SPAN("ringpost_tenant=")));
    put_member(&record, "rate", extra_of(line, SPAN("ringpost_rate=")));
    sink_byte(&record, '}');
    return record.full || cli_show_record(show, sink_span(&record));
}

static int list(struct cli *cli, const struct passwd_file *file)
{
    struct cli_show *show = cli_show_new(cli, cli->command);
    bool goes_on = show != NULL;
    for (size_t at = 0; goes_on && at < file->len;) {
        struct span line = line_at(file, at);
        at += line.len + 1;
        if (line.len && line.data[line.len - 1] == '\r')
            line.len--;
        if (name_of(line).len)
            goes_on = show_line(show, line);
    }
    if (show)
        cli_show_end(show);
    return show ? EXIT_GOOD : EXIT_BAD;
}

static int with_file(struct cli *cli, bool create,
                     int (*run)(struct cli *cli, const struct passwd_file *file))
{
    struct passwd_file file;
    int status = open_file(cli, create, &file);
    if (status != EXIT_GOOD)
        return status;
    status = run(cli, &file);
    close_file(&file);
    return status;
}

int cli_user_add(struct cli *cli)
{
    return with_file(cli, true, add);
}

int cli_user_passwd(struct cli *cli)
{
    return with_file(cli, false, change_password);
}

int cli_user_delete(struct cli *cli)
{
    return with_file(cli, false, delete);
}

int cli_user_list(struct cli *cli)
{
    return with_file(cli, false, list);
}
