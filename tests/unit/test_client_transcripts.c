/* Plays tests/transcripts/client/NAME.txt against the client dialogue: whole, byte by byte, and cut
 * in two at every byte of what the server says. The form is described in
 * tests/transcripts/client/README. */
#include "smtp/client.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { MESSAGES_MAX = 8, RECIPIENTS_MAX = 300, PIECES_MAX = 4096, BYTES_MAX = 512 * 1024 };
enum { CUT_NONE = -1, CUT_EACH = -2 };

struct message {
    char name[32];
    struct envelope envelope;
    struct recipient recipients[RECIPIENTS_MAX];
    struct verdict verdicts[RECIPIENTS_MAX];
    char *body;
    size_t body_len;
    struct span pieces[PIECES_MAX];
    unsigned piece_count;
};

struct play {
    const char *path;
    char *line;
    unsigned number;
    long cut; /* CUT_NONE, CUT_EACH, or the position in the server's bytes */
    long heard;
    struct config_delivery delivery;
    enum tls_policy tls;
    struct client client;
    bool started;
    struct chunk_pool pool;
    struct arena arena;
    struct message *messages;
    unsigned message_count;
    struct message *last;   /* of `message` */
    struct message *result; /* of `result` */
    unsigned result_at;
    char *heard_bytes, *said;
    size_t heard_len, said_len, wanted_at;
    unsigned writes;
};

__attribute__((noreturn, format(printf, 2, 3))) static void wrong(const struct play *play,
                                                                  const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "%s:%u (cut %ld): ", play->path, play->number, play->cut);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    fail();
    abort();
}

static void show(const char *label, const char *data, size_t len)
{
    fprintf(stderr, "%s: \"", label);
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)data[i];
        if (c == '\n')
            fprintf(stderr, "\\n\n    ");
        else if (c >= 0x20 && c < 0x7f)
            fputc(c, stderr);
        else
            fprintf(stderr, "\\x%02x", c);
    }
    fprintf(stderr, "\"\n");
}

/* Undoes escapes in place; returns the length. */
static size_t unescape(char *text)
{
    char *to = text;
    for (char *at = text; *at; at++) {
        if (*at != '\\') {
            *to++ = *at;
            continue;
        }
        at++;
        char hex[3] = {0};
        switch (*at) {
        case 'r':
            *to++ = '\r';
            break;
        case 'n':
            *to++ = '\n';
            break;
        case 't':
            *to++ = '\t';
            break;
        case '0':
            *to++ = '\0';
            break;
        case 'x':
            memcpy(hex, at + 1, 2);
            *to++ = (char)strtoul(hex, NULL, 16);
            at += 2;
            break;
        default:
            *to++ = *at;
            break;
        }
    }
    size_t len = (size_t)(to - text);
    *to = '\0';
    return len;
}

static void start(struct play *play)
{
    if (play->started)
        return;
    struct client_settings settings = {
        .delivery = &play->delivery, .ehlo_name = SPAN("me.example"), .tls = play->tls};
    client_init(&play->client, &settings);
    play->started = true;
}

/* Lets the client say all it wants to. */
static void drain(struct play *play)
{
    struct iovec iov[8];
    unsigned count;
    while ((count = client_output(&play->client, iov, countof(iov)))) {
        for (unsigned i = 0; i < count; i++) {
            if (play->said_len + iov[i].iov_len > BYTES_MAX)
                wrong(play, "the client says too much");
            memcpy(play->said + play->said_len, iov[i].iov_base, iov[i].iov_len);
            play->said_len += iov[i].iov_len;
        }
        play->writes++;
        client_sent(&play->client);
    }
}

static void feed(struct play *play, struct span bytes)
{
    char *copy = malloc(bytes.len); /* so that the sanitizer sees a span that is kept */
    memcpy(copy, bytes.data, bytes.len);
    struct span input = span_of(copy, bytes.len);
    client_input(&play->client, &input);
    if (input.len)
        wrong(play, "input was left over");
    free(copy);
    drain(play);
}

/* The server's bytes since the last C: line go in, in the cut of this run. */
static void flush_heard(struct play *play)
{
    struct span rest = span_of(play->heard_bytes, play->heard_len);
    while (rest.len) {
        size_t len = rest.len;
        if (play->cut == CUT_EACH)
            len = 1;
        else if (play->cut > play->heard && play->cut < play->heard + (long)rest.len)
            len = (size_t)(play->cut - play->heard);
        feed(play, span_first(rest, len));
        rest = span_skip(rest, len);
        play->heard += (long)len;
    }
    play->heard_len = 0;
}

/* The client has nothing to say beyond what the transcript has. */
static void expect_silence(struct play *play)
{
    if (play->wanted_at == play->said_len)
        return;
    show("says besides", play->said + play->wanted_at, play->said_len - play->wanted_at);
    wrong(play, "the client says more than the transcript");
}

static void run_server(struct play *play, char *text, bool line_end, unsigned count)
{
    size_t len = unescape(text);
    start(play);
    if (play->heard_len == 0) {
        drain(play);
        expect_silence(play);
        play->writes = 0;
    }
    for (unsigned i = 0; i < count; i++) {
        if (play->heard_len + len + 2 > BYTES_MAX)
            wrong(play, "too many bytes");
        memcpy(play->heard_bytes + play->heard_len, text, len);
        play->heard_len += len;
        if (line_end) {
            memcpy(play->heard_bytes + play->heard_len, "\r\n", 2);
            play->heard_len += 2;
        }
    }
}

static void run_client(struct play *play, char *text, bool line_end)
{
    size_t len = unescape(text);
    char *wanted = malloc(len + 3);
    memcpy(wanted, text, len + 1);
    if (line_end)
        memcpy(wanted + len, "\r\n", 3), len += 2;
    start(play);
    flush_heard(play);
    drain(play);
    size_t left = play->said_len - play->wanted_at;
    if (left < len || memcmp(play->said + play->wanted_at, wanted, len) != 0) {
        show("wanted", wanted, len);
        show("said", play->said + play->wanted_at, left);
        wrong(play, "the client says something else");
    }
    play->wanted_at += len;
    free(wanted);
}

static struct message *find_message(struct play *play, const char *name)
{
    for (unsigned i = 0; i < play->message_count; i++)
        if (strcmp(play->messages[i].name, name) == 0)
            return &play->messages[i];
    wrong(play, "no message %s", name);
}

static struct span keep(struct play *play, const char *text)
{
    struct span copy;
    char escaped[2048];
    snprintf(escaped, sizeof escaped, "%s", text);
    size_t len = unescape(escaped);
    assert_true(arena_copy(&play->arena, span_of(escaped, len), &copy));
    return copy;
}

static void add_recipient(struct play *play, struct message *message, char *word)
{
    struct recipient *recipient = &message->recipients[message->envelope.recipient_count++];
    char *parameters, *parameter;
    assert_true(message->envelope.recipient_count <= RECIPIENTS_MAX);
    recipient->address = keep(play, strtok_r(word, ",", &parameters));
    while ((parameter = strtok_r(NULL, ",", &parameters))) {
        if (strncmp(parameter, "orcpt=", 6) == 0)
            recipient->original = keep(play, parameter + 6);
        else if (strncmp(parameter, "notify=", 7) == 0)
            recipient->notify = (uint8_t)atoi(parameter + 7);
        else
            wrong(play, "recipient parameter %s", parameter);
    }
}

static void set_message_word(struct play *play, struct message *message, char *word)
{
    struct envelope *envelope = &message->envelope;
    if (strncmp(word, "from=", 5) == 0)
        envelope->reverse_path = strcmp(word + 5, "<>") ? keep(play, word + 5) : (struct span){0};
    else if (strncmp(word, "to=", 3) == 0)
        add_recipient(play, message, word + 3);
    else if (strcmp(word, "body8bit") == 0)
        envelope->flags |= ENVELOPE_BODY_HAS_8BIT;
    else if (strcmp(word, "header8bit") == 0)
        envelope->flags |= ENVELOPE_HEADER_HAS_8BIT;
    else if (strcmp(word, "utf8") == 0)
        envelope->flags |= ENVELOPE_UTF8;
    else if (strncmp(word, "ret=", 4) == 0)
        envelope->ret = strcmp(word + 4, "full") ? RET_HDRS : RET_FULL;
    else if (strncmp(word, "envid=", 6) == 0)
        envelope->envid = keep(play, word + 6);
    else if (strncmp(word, "many=", 5) == 0)
        for (int i = 0; i < atoi(word + 5); i++) {
            char address[32];
            snprintf(address, sizeof address, "u%d@d.example", i);
            add_recipient(play, message, address);
        }
    else
        wrong(play, "message word %s", word);
}

static void run_message(struct play *play, char *words)
{
    char *rest, *word = strtok_r(words, " ", &rest);
    assert_true(play->message_count < MESSAGES_MAX);
    struct message *message = &play->messages[play->message_count++];
    snprintf(message->name, sizeof message->name, "%s", word);
    message->envelope.recipients = message->recipients;
    message->body = calloc(1, BYTES_MAX);
    play->last = message;
    while ((word = strtok_r(NULL, " ", &rest)))
        set_message_word(play, message, word);
}

static void run_body(struct play *play, char *text, bool line_end)
{
    struct message *message = play->last;
    size_t len = unescape(text);
    memcpy(message->body + message->body_len, text, len);
    message->body_len += len;
    if (line_end) {
        memcpy(message->body + message->body_len, "\r\n", 2);
        message->body_len += 2;
    }
    message->pieces[0] = span_of(message->body, message->body_len);
    message->piece_count = 1;
}

static void run_pieces(struct play *play, size_t size)
{
    struct message *message = play->last;
    struct span rest = span_of(message->body, message->body_len);
    message->piece_count = 0;
    while (rest.len) {
        assert_true(message->piece_count < PIECES_MAX);
        message->pieces[message->piece_count++] = span_first(rest, size);
        rest = span_skip(rest, size);
    }
}

static void run_begin(struct play *play, const char *name)
{
    struct message *message = find_message(play, name);
    struct client_transaction transaction = {
        .envelope = &message->envelope,
        .verdicts = message->verdicts,
        .body = message->pieces,
        .body_pieces = message->piece_count,
        .arena = &play->arena,
        .owner = message,
    };
    start(play);
    if (!client_can_begin(&play->client))
        wrong(play, "%s cannot begin", name);
    client_begin(&play->client, &transaction);
}

static void run_result(struct play *play, char *words)
{
    char *rest, *name = strtok_r(words, " ", &rest), *word = strtok_r(NULL, "", &rest);
    struct client_result result;
    if (!client_take_result(&play->client, &result))
        wrong(play, "no result of %s", name);
    struct message *message = result.owner;
    if (strcmp(message->name, name) != 0)
        wrong(play, "the result of %s, not of %s", message->name, name);
    char got[128];
    snprintf(got, sizeof got, "%u delivered, %u deferred, %u failed, %u untried%s",
             result.delivered, result.deferred, result.failed, result.untried,
             result.may_duplicate ? ", may duplicate" : "");
    if (!word || strcmp(word, got) != 0)
        wrong(play, "result is: %s", got);
    play->result = message;
    play->result_at = 0;
}

static void run_verdict(struct play *play, const char *wanted)
{
    static const char *const outcomes[] = {"untried", "delivered", "deferred", "failed", "expired"};
    struct message *message = play->result;
    const struct verdict *verdict = &message->verdicts[play->result_at];
    struct span address = message->recipients[play->result_at++].address;
    char got[2048], enhanced[32] = "-";
    if (verdict->reply.enhanced.class)
        snprintf(enhanced, sizeof enhanced, "%u.%u.%u", verdict->reply.enhanced.class,
                 verdict->reply.enhanced.subject, verdict->reply.enhanced.detail);
    struct span command = verdict->reply.command.len ? verdict->reply.command : SPAN("-");
    snprintf(got, sizeof got, "%.*s %s %u %s %.*s%s%.*s%s%s", SPAN_FORMAT(address),
             outcomes[verdict->outcome], verdict->reply.code, enhanced, SPAN_FORMAT(command),
             verdict->reply.text.len ? " " : "", SPAN_FORMAT(verdict->reply.text),
             verdict->reply.internal ? " (own)" : "", verdict->dsn_passed_on ? " (dsn)" : "");
    if (strcmp(got, wanted) != 0)
        wrong(play, "verdict is: %s", got);
}

static void run_state(struct play *play, const char *wanted)
{
    static const char *const states[] = {"greeting", "ready", "busy", "quitting", "done", "failed"};
    static const char *const troubles[] = {"fine",     "refused", "insecure", "closing",
                                           "nonsense", "lost",    "timeout"};
    char got[512];
    const struct reply_summary *failure = client_failure(&play->client);
    if (client_trouble(&play->client) == CLIENT_FINE)
        snprintf(got, sizeof got, "%s", states[client_state(&play->client)]);
    else
        snprintf(got, sizeof got, "%s %s %u %.*s", states[client_state(&play->client)],
                 troubles[client_trouble(&play->client)], failure->code,
                 SPAN_FORMAT(failure->text));
    if (strcmp(got, wanted) != 0)
        wrong(play, "state is: %s", got);
}

static void run_wait(struct play *play, const char *wanted)
{
    static const char *const names[] = {"-",    "banner", "ehlo", "mail", "rcpt",
                                        "data", "dot",    "rset", "idle", "starttls"};
    uint64_t wait_ms = client_wait_ms(&play->client);
    if (wait_ms >= countof(names) || strcmp(names[wait_ms], wanted) != 0)
        wrong(play, "waits for: %s", wait_ms < countof(names) ? names[wait_ms] : "?");
}

static enum tls_policy policy_named(const struct play *play, const char *name)
{
    static const char *const names[] = {"Opportunistic", "OpportunisticInsecure", "Required",
                                        "RequiredInsecure", "Disabled"};
    for (unsigned i = 0; i < countof(names); i++)
        if (strcmp(names[i], name) == 0)
            return (enum tls_policy)i;
    wrong(play, "no policy %s", name);
}

static void run_option(struct play *play, char *words)
{
    char name[64], value[64];
    if (sscanf(words, "%63s %63s", name, value) != 2)
        wrong(play, "option what?");
    bool on = strcmp(value, "on") == 0;
    if (strcmp(name, "enable_pipelining") == 0)
        play->delivery.enable_pipelining = on;
    else if (strcmp(name, "enable_chunking") == 0)
        play->delivery.enable_chunking = on;
    else if (strcmp(name, "enable_tls") == 0)
        play->tls = policy_named(play, value);
    else if (strcmp(name, "max_recipients_per_batch") == 0)
        play->delivery.max_recipients_per_batch = strtoul(value, NULL, 10);
    else
        wrong(play, "no option %s", name);
}

static char *after(char *line, const char *prefix)
{
    size_t len = strlen(prefix);
    return strncmp(line, prefix, len) == 0 ? line + len : NULL;
}

/* How the handshake ends, which must be due. */
static void run_handshake(struct play *play, const char *why)
{
    if (!client_handshake_due(&play->client))
        wrong(play, "no handshake is due");
    if (why)
        client_insecure(&play->client, span_string(why));
    else
        client_secured(&play->client);
}

/* Lines that look at the client or change its course. */
static void run_directive(struct play *play, char *line)
{
    struct client_result result;
    char *text;
    if ((text = after(line, "begin "))) {
        for (char *rest, *name = strtok_r(text, " ", &rest); name;
             name = strtok_r(NULL, " ", &rest))
            run_begin(play, name);
    } else if ((text = after(line, "result "))) {
        run_result(play, text);
    } else if ((text = after(line, "R: "))) {
        run_verdict(play, text);
    } else if ((text = after(line, "state "))) {
        run_state(play, text);
    } else if ((text = after(line, "wait "))) {
        run_wait(play, text);
    } else if ((text = after(line, "writes "))) {
        if (play->cut == CUT_NONE && play->writes != strtoul(text, NULL, 10))
            wrong(play, "%u writes", play->writes);
        play->writes = 0;
    } else if ((text = after(line, "peer "))) {
        struct span name = client_peer_name(&play->client);
        if (!span_equals(name, span_string(text)))
            wrong(play, "peer is %.*s", SPAN_FORMAT(name));
    } else if ((text = after(line, "protocol "))) {
        if (!span_equals(client_protocol(&play->client), span_string(text)))
            wrong(play, "protocol is %.*s", SPAN_FORMAT(client_protocol(&play->client)));
    } else if (strcmp(line, "cannot begin") == 0) {
        if (client_can_begin(&play->client))
            wrong(play, "can begin");
    } else if (strcmp(line, "no result") == 0) {
        if (client_take_result(&play->client, &result))
            wrong(play, "has a result");
    } else if (strcmp(line, "secured") == 0) {
        run_handshake(play, NULL);
    } else if ((text = after(line, "insecure "))) {
        run_handshake(play, text);
    } else if (strcmp(line, "quit") == 0) {
        client_quit(&play->client);
    } else if (strcmp(line, "lost") == 0 || strcmp(line, "timeout") == 0) {
        client_lost(&play->client, line[0] == 't');
    } else {
        wrong(play, "what is: %s", line);
    }
}

static void run_line(struct play *play, char *line)
{
    char *text;
    unsigned count;
    int at = 0;
    if (line[0] == '#' || line[0] == '\0' || strcmp(line, "uncut") == 0)
        return;
    if ((text = after(line, "S: ")))
        run_server(play, text, true, 1);
    else if ((text = after(line, "S| ")))
        run_server(play, text, false, 1);
    else if (sscanf(line, "S*%u: %n", &count, &at) == 1 && at)
        run_server(play, line + at, true, count);
    else if ((text = after(line, "C: ")))
        run_client(play, text, true);
    else if ((text = after(line, "C| ")))
        run_client(play, text, false);
    else if ((text = after(line, "B: ")))
        run_body(play, text, true);
    else if ((text = after(line, "B| ")))
        run_body(play, text, false);
    else if ((text = after(line, "message ")))
        run_message(play, text);
    else if ((text = after(line, "pieces ")))
        run_pieces(play, strtoul(text, NULL, 10));
    else if ((text = after(line, "option ")))
        run_option(play, text);
    else {
        start(play);
        flush_heard(play);
        drain(play);
        run_directive(play, line);
    }
}

static struct play *play_new(const char *path, long cut)
{
    struct play *play = calloc(1, sizeof *play);
    *play = (struct play){
        .path = path,
        .cut = cut,
        .delivery = {.banner_timeout_ms = 1,
                     .ehlo_timeout_ms = 2,
                     .mail_from_timeout_ms = 3,
                     .rcpt_to_timeout_ms = 4,
                     .data_timeout_ms = 5,
                     .data_dot_timeout_ms = 6,
                     .rset_timeout_ms = 7,
                     .idle_timeout_ms = 8,
                     .starttls_timeout_ms = 9,
                     .enable_pipelining = true,
                     .enable_chunking = true},
        .heard_bytes = malloc(BYTES_MAX),
        .said = malloc(BYTES_MAX),
        .messages = calloc(MESSAGES_MAX, sizeof(struct message)),
    };
    chunk_pool_init(&play->pool, 16 << 20, 0);
    arena_init(&play->arena, &play->pool, 8 << 20);
    return play;
}

static void play_free(struct play *play)
{
    for (unsigned i = 0; i < play->message_count; i++)
        free(play->messages[i].body);
    arena_fini(&play->arena);
    chunk_pool_fini(&play->pool);
    free(play->messages);
    free(play->heard_bytes);
    free(play->said);
    free(play);
}

/* One run; returns how many bytes the server said. */
static long play_script(const char *path, const char *script, long cut)
{
    struct play *play = play_new(path, cut);
    char *copy = strdup(script), *rest = copy, *line;
    while ((line = strsep(&rest, "\n"))) {
        play->number++;
        run_line(play, line);
    }
    flush_heard(play);
    drain(play);
    expect_silence(play);
    long heard = play->heard;
    free(copy);
    play_free(play);
    return heard;
}

static char *read_file(const char *path)
{
    FILE *file = fopen(path, "r");
    if (!file)
        fail_msg("cannot read %s", path);
    char *text = calloc(1, 64 * 1024);
    size_t len = fread(text, 1, 64 * 1024 - 1, file);
    assert_true(len > 0 && len < 64 * 1024 - 1);
    fclose(file);
    return text;
}

static void test_transcript(void **state)
{
    const char *path = *state;
    char *script = read_file(path);
    long heard = play_script(path, script, CUT_NONE);
    if (strncmp(script, "uncut\n", 6) == 0)
        heard = 0;
    else
        play_script(path, script, CUT_EACH);
    for (long cut = 1; heard < 6000 && cut < heard; cut++)
        play_script(path, script, cut);
    free(script);
}

static int is_transcript(const struct dirent *entry)
{
    const char *dot = strrchr(entry->d_name, '.');
    return dot && strcmp(dot, ".txt") == 0;
}

int main(void)
{
    struct dirent **entries;
    const char *folder = RINGPOST_TESTS_DIR "/transcripts/client";
    int count = scandir(folder, &entries, is_transcript, alphasort);
    if (count <= 0) {
        fprintf(stderr, "no transcripts in %s\n", folder);
        return 1;
    }
    struct CMUnitTest *tests = calloc((size_t)count, sizeof *tests);
    for (int i = 0; i < count; i++) {
        char *path;
        if (asprintf(&path, "%s/%s", folder, entries[i]->d_name) < 0)
            return 1;
        tests[i] = (struct CMUnitTest){
            .name = entries[i]->d_name, .test_func = test_transcript, .initial_state = path};
    }
    int failures = _cmocka_run_group_tests("client transcripts", tests, (size_t)count, NULL, NULL);
    for (int i = 0; i < count; i++) {
        free(tests[i].initial_state);
        free(entries[i]);
    }
    free(entries);
    free(tests);
    return failures;
}
