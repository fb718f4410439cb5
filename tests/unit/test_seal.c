/* Keys from files, and the signatures of a message: every cut gives the same, and the two digests
 * are what RFC 6376 3.7 says. */
#include "core/base64.h"
#include "smtp/sealer.h"
#include "smtp/tags.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static void write_key(const char *path, enum sign_algorithm algorithm, unsigned bits, mode_t mode)
{
    char text[SIGN_KEY_TEXT];
    struct sink sink;
    struct sign_key *key = sign_key_new(algorithm, bits);
    sink_init(&sink, text, sizeof text);
    assert_true(sign_key_put_private(key, &sink));
    sign_key_free(key);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0 && write(fd, text, sink.len) == (ssize_t)sink.len);
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

/* ---- keys ---- */

struct complaints {
    char text[4096];
    unsigned fatal, warnings;
};

static void note(void *context, bool fatal, const char *text)
{
    struct complaints *complaints = context;
    strncat(complaints->text, text, sizeof complaints->text - strlen(complaints->text) - 1);
    complaints->fatal += fatal;
    complaints->warnings += !fatal;
}

static struct config *configure(const char *tables)
{
    char text[8192], error[CONFIG_ERROR];
    struct config *config = NULL;
    int len = snprintf(text, sizeof text,
                       "hostname = \"mail.example.org\"\ndata_dir = \"/d\"\n[[listener]]\n"
                       "address = \"127.0.0.1:2525\"\n%s",
                       tables);
    if (config_parse(span_of(text, (size_t)len), "f", &config, error) < 0)
        fail_msg("%s", error);
    return config;
}

static void load_one(const char *path, struct complaints *complaints, int wanted)
{
    char table[1024];
    struct dkim_keys keys;
    snprintf(table, sizeof table,
             "[[dkim]]\ndomain = \"example.org\"\nselector = \"20260101\"\nkey = \"%s\"\n", path);
    struct config *config = configure(table);
    *complaints = (struct complaints){0};
    int error = dkim_keys_load(config, note, complaints, &keys);
    if (error != wanted)
        fail_msg("%s: %d: %s", path, error, complaints->text);
    if (error == 0)
        dkim_keys_free(&keys);
    config_free(config);
}

static void test_key_files(void **state)
{
    static const struct {
        const char *name;
        enum sign_algorithm algorithm;
        unsigned bits;
        mode_t mode;
        int error;
        const char *said; /* "": nothing */
    } table[] = {
        {"good", SIGN_RSA_SHA256, 2048, 0600, 0, ""},
        {"group", SIGN_ED25519_SHA256, 256, 0640, 0, ""},
        {"few", SIGN_RSA_SHA256, 1024, 0400, 0, "1024 bits are few"},
        {"world", SIGN_ED25519_SHA256, 256, 0644, -EINVAL, "its mode is 0644"},
        {"written", SIGN_ED25519_SHA256, 256, 0660, -EINVAL, "its mode is 0660"},
    };
    char folder[] = "/tmp/ringpost-seal-XXXXXX", path[256];
    struct complaints complaints;
    assert_non_null(mkdtemp(folder));
    for (size_t i = 0; i < countof(table); i++) {
        snprintf(path, sizeof path, "%s/%s", folder, table[i].name);
        write_key(path, table[i].algorithm, table[i].bits, table[i].mode);
        load_one(path, &complaints, table[i].error);
        if (!strstr(complaints.text, table[i].said) || (!*table[i].said && *complaints.text))
            fail_msg("%s: said '%s'", table[i].name, complaints.text);
        assert_int_equal(complaints.fatal, table[i].error != 0);
        unlink(path);
    }
    load_one("/nowhere/at/all", &complaints, -EINVAL);
    assert_non_null(strstr(complaints.text, "f:5: [[dkim]] key /nowhere/at/all: No such file"));
    load_one(folder, &complaints, -EINVAL);
    assert_non_null(strstr(complaints.text, "is not a file"));
    rmdir(folder);
}

/* ---- seals ---- */

struct fixture {
    char folder[64], paths[2][128];
    struct config *config;
    struct dkim_keys keys;
    struct chunk_pool pool;
};

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    struct complaints complaints = {0};
    char tables[2048];
    strcpy(fixture->folder, "/tmp/ringpost-seal-XXXXXX");
    assert_non_null(mkdtemp(fixture->folder));
    for (unsigned i = 0; i < 2; i++) {
        snprintf(fixture->paths[i], sizeof fixture->paths[i], "%s/%u", fixture->folder, i);
        write_key(fixture->paths[i], i ? SIGN_ED25519_SHA256 : SIGN_RSA_SHA256, 1024, 0600);
    }
    snprintf(tables, sizeof tables,
             "[[dkim]]\ndomain = \"example.org\"\nselector = \"r\"\nkey = \"%s\"\n"
             "[[dkim]]\ndomain = \"Example.Org\"\nselector = \"e\"\nkey = \"%s\"\n"
             "canonicalization = \"relaxed/simple\"\nheaders = [\"Subject\"]\n"
             "[[dkim]]\ndomain = \"house.test\"\nselector = \"h\"\nkey = \"%s\"\ndefault = true\n",
             fixture->paths[0], fixture->paths[1], fixture->paths[1]);
    fixture->config = configure(tables);
    assert_int_equal(dkim_keys_load(fixture->config, note, &complaints, &fixture->keys), 0);
    chunk_pool_init(&fixture->pool, SIZE_MAX / 2, 0);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    dkim_keys_free(&fixture->keys);
    config_free(fixture->config);
    chunk_pool_fini(&fixture->pool);
    unlink(fixture->paths[0]);
    unlink(fixture->paths[1]);
    rmdir(fixture->folder);
    free(fixture);
    return 0;
}

/* The signature fields of `message`, given in pieces of at most `step` octets. */
static enum seal_skipped sign(struct fixture *fixture, struct span message, size_t step,
                              struct sink *fields)
{
    struct arena arena;
    struct text text = {0}, head = {0};
    struct signing signing;
    arena_init(&arena, &fixture->pool, SIZE_MAX / 2);
    struct seal *seal = seal_new(&arena, &fixture->keys, &text);
    while (message.len) {
        struct span piece = span_first(message, step);
        assert_true(text_append(&text, &arena, piece));
        seal_add(seal, piece);
        message = span_skip(message, piece.len);
    }
    seal_end(seal);
    assert_true(text_append(&head, &arena, SPAN("Received: x\r\n")));
    assert_true(seal_reserve(seal, 1700000000999, &head));
    while (seal_prepare(seal, &signing)) {
        sign_batch(&signing, 1);
        seal_complete(seal, &signing);
    }
    assert_true(seal_finished(seal));
    fields->len += text_copy(&head, 0, fields->data + fields->len, fields->capacity - fields->len);
    enum seal_skipped skipped = seal->skipped;
    arena_fini(&arena);
    return skipped;
}

#define MESSAGE                                                                                    \
    SPAN("Received: by x\r\nFrom: Ann <ann@example.org>\r\nSubject: one\r\nX: y\r\n"               \
         "Subject:  two \r\n  folded\r\n\r\nbody  text \r\n\r\n")

static void test_every_step(void **state)
{
    char first[8192], other[8192];
    struct sink wanted, found;
    sink_init(&wanted, first, sizeof first);
    assert_int_equal(sign(*state, MESSAGE, SIZE_MAX, &wanted), SEAL_SIGNED);
    for (size_t step = 1; step < MESSAGE.len; step++) {
        sink_init(&found, other, sizeof other);
        assert_int_equal(sign(*state, MESSAGE, step, &found), SEAL_SIGNED);
        assert_true(span_equals(sink_span(&found), sink_span(&wanted)));
    }
}

static void hash(struct span text, uint8_t digest[DIGEST_LEN])
{
    struct digest context;
    digest_init(&context);
    digest_add(&context, text);
    digest_finish(&context, digest);
}

/* The second signature's parts, put together by hand. */
static void test_digests(void **state)
{
    struct fixture *fixture = *state;
    char text[8192], signature[512], public_text[64], body_hash[64];
    struct sink sink, octets, public_key, base64;
    struct tags tags;
    struct span value;
    uint8_t digest[DIGEST_LEN];
    sink_init(&sink, text, sizeof text);
    assert_int_equal(sign(fixture, MESSAGE, SIZE_MAX, &sink), SEAL_SIGNED);
    struct span rest = sink_span(&sink);
    struct header_field field;
    assert_int_equal(fields_next(&rest, &field), FIELDS_FIELD);
    assert_true(tags_read(field.value, &tags) && tags_find(&tags, "s", &value));
    assert_true(span_equals(value, SPAN("r")));
    assert_int_equal(fields_next(&rest, &field), FIELDS_FIELD);
    assert_true(span_equals(rest, SPAN("Received: x\r\n")));
    assert_true(tags_read(field.value, &tags) && tags_find(&tags, "b", &value));
    sink_init(&octets, signature, sizeof signature);
    assert_true(tags_base64(value, &octets));

    hash(SPAN("body  text \r\n"), digest);
    sink_init(&base64, body_hash, sizeof body_hash);
    base64_put(&base64, span_of(digest, sizeof digest));
    assert_true(tags_find(&tags, "bh", &value) && span_equals(value, sink_span(&base64)));

    char signed_text[1024];
    int len =
        snprintf(signed_text, sizeof signed_text,
                 "subject:two folded\r\nsubject:one\r\nfrom:Ann <ann@example.org>\r\n"
                 "dkim-signature:v=1; a=ed25519-sha256; c=relaxed/simple; d=Example.Org; s=e; "
                 "t=1700000000; h=Subject:Subject:Subject:From:From; bh=%.*s; b=",
                 SPAN_FORMAT(sink_span(&base64)));
    hash(span_of(signed_text, (size_t)len), digest);
    sink_init(&public_key, public_text, sizeof public_text);
    assert_true(sign_key_put_public(fixture->keys.list[1].key, &public_key));
    assert_int_equal(
        sign_verify(SIGN_ED25519_SHA256, sink_span(&public_key), digest, sink_span(&octets), NULL),
        SIGN_GOOD);
}

/* A field that we have added is signed like those that came. */
static void test_own_fields(void **state)
{
    struct fixture *fixture = *state;
    struct arena arena;
    struct text text = {0}, head = {0};
    char storage[4096];
    arena_init(&arena, &fixture->pool, SIZE_MAX / 2);
    struct seal *seal = seal_new(&arena, &fixture->keys, &text);
    assert_true(text_append(&text, &arena, SPAN("From: a@example.org\r\n\r\n")));
    seal_add(seal, SPAN("From: a@example.org\r\n\r\n"));
    seal_end(seal);
    assert_true(text_append(&head, &arena, SPAN("Received: x\r\nDate: now\r\n")));
    assert_true(seal_reserve(seal, 0, &head));
    struct span fields = span_of(storage, text_copy(&head, 0, storage, sizeof storage));
    struct header_field field;
    struct tags tags;
    struct span names;
    assert_int_equal(fields_next(&fields, &field), FIELDS_FIELD);
    assert_true(tags_read(field.value, &tags) && tags_find(&tags, "h", &names));
    assert_true(
        span_starts_with(names, SPAN("From:From:Reply-To:Subject:Date:Date:Message-ID:To:")));
    arena_fini(&arena);
}

static void test_skipped(void **state)
{
    static const struct {
        const char *message;
        enum seal_skipped skipped;
    } table[] = {
        {"From: a@example.org\r\n\r\nx\r\n", SEAL_SIGNED},
        {"From: a@example.org\r\n", SEAL_SIGNED},
        {"From: a@elsewhere.test\r\n\r\n", SEAL_SIGNED}, /* by the default */
        {"", SEAL_NO_AUTHOR},
        {"\r\nFrom: a@example.org\r\n", SEAL_NO_AUTHOR},
        {"Subject: x\r\n\r\nFrom: a@example.org\r\n", SEAL_NO_AUTHOR},
        {"From: nobody\r\n\r\n", SEAL_NO_AUTHOR},
        {"From: a@example.org\r\nno field\r\n\r\n", SEAL_NO_HEADER},
        {" From: a@example.org\r\n\r\n", SEAL_NO_HEADER},
    };
    for (size_t i = 0; i < countof(table); i++) {
        char text[8192];
        struct sink sink;
        sink_init(&sink, text, sizeof text);
        enum seal_skipped skipped = sign(*state, span_string(table[i].message), 7, &sink);
        if (skipped != table[i].skipped)
            fail_msg("'%s': %d", table[i].message, (int)skipped);
        assert_int_equal(skipped == SEAL_SIGNED,
                         span_starts_with(sink_span(&sink), SPAN("DKIM-Signature: v=1; a=")));
        assert_true(span_ends_with_any_case(sink_span(&sink), SPAN("Received: x\r\n")));
    }
}

/* More fields than are ever signed. */
static void test_too_many_fields(void **state)
{
    char message[16384], text[8192];
    struct sink sink, fields;
    sink_init(&sink, message, sizeof message);
    sink_put(&sink, SPAN("From: a@example.org\r\n"));
    for (unsigned i = 0; i < SEAL_NAMES; i++)
        sink_put(&sink, SPAN("To: x@y.test\r\n"));
    sink_init(&fields, text, sizeof text);
    assert_int_equal(sign(*state, sink_span(&sink), SIZE_MAX, &fields), SEAL_TOO_LARGE);
    for (unsigned i = 0; i < SEAL_FIELDS; i++)
        sink_put(&sink, SPAN("X: y\r\n"));
    sink_init(&fields, text, sizeof text);
    assert_int_equal(sign(*state, sink_span(&sink), SIZE_MAX, &fields), SEAL_TOO_LARGE);
    assert_true(span_equals(sink_span(&fields), SPAN("Received: x\r\n")));
}

/* ---- the sealer ---- */

struct waiting {
    struct op done;
    struct sealing sealing;
    struct seal *seal;
    struct text head;
    bool sealed;
};

static void on_sealed(struct op *op)
{
    struct waiting *waiting = container_of(op, struct waiting, done);
    assert_int_equal(op->result, 0);
    waiting->sealed = true;
}

static void begin_seal(struct fixture *fixture, struct arena *arena, struct waiting *waiting,
                       struct text *text)
{
    struct seal *seal = seal_new(arena, &fixture->keys, text);
    op_init(&waiting->done, on_sealed);
    seal_add(seal, MESSAGE);
    seal_end(seal);
    assert_true(seal_reserve(seal, 1700000000999, &waiting->head));
    waiting->seal = seal;
}

static unsigned signatures_made(const struct waiting *all, size_t count)
{
    unsigned made = 0;
    for (size_t i = 0; i < count; i++)
        made += all[i].seal->made;
    return made;
}

/* Three messages with two signatures each take six turns, first come first served; one that goes
 * away costs none. */
static void test_one_in_a_turn(void **state)
{
    static const struct io_options io = {.entries = 64, .buffers = 8, .buffer_size = 512};
    static struct metrics metrics;
    struct loop loop;
    struct sealer sealer;
    struct arena arena;
    struct fixture *fixture = *state;
    struct text text = {0};
    struct waiting all[4] = {0};
    arena_init(&arena, &fixture->pool, SIZE_MAX / 2);
    assert_true(text_append(&text, &arena, MESSAGE));
    assert_int_equal(loop_init(&loop, &io, 0), 0);
    sealer_init(&sealer, &loop, &metrics);
    for (size_t i = 0; i < countof(all); i++) {
        begin_seal(fixture, &arena, &all[i], &text);
        sealer_start(&sealer, &all[i].sealing, all[i].seal, &all[i].done);
        assert_true(sealing_open(&all[i].sealing));
    }
    sealing_cancel(&sealer, &all[1].sealing);
    assert_false(sealing_open(&all[1].sealing));
    for (unsigned turn = 1; turn <= 6; turn++) {
        assert_int_equal(loop_turn(&loop, 0), 0);
        assert_int_equal(signatures_made(all, countof(all)), turn);
    }
    assert_true(all[0].sealed && !all[1].sealed && all[2].sealed && all[3].sealed);
    assert_int_equal(all[1].seal->made, 0);
    assert_false(sealing_open(&all[0].sealing));
    loop_fini(&loop);
    arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_key_files),
        cmocka_unit_test_setup_teardown(test_every_step, setup, teardown),
        cmocka_unit_test_setup_teardown(test_digests, setup, teardown),
        cmocka_unit_test_setup_teardown(test_own_fields, setup, teardown),
        cmocka_unit_test_setup_teardown(test_skipped, setup, teardown),
        cmocka_unit_test_setup_teardown(test_too_many_fields, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_in_a_turn, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
