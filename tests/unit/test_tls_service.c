/* tls_service: files that change under a running service, and the gate. */
#include "core/tls_service.h"

#include "tests/unit/folder.h"
#include "tests/unit/tls_pair.h"

#include <pthread.h>

static char folder[FOLDER_PATH], pem[FOLDER_PATH + 16], private_key[FOLDER_PATH + 16];

static void copy_file(const char *name, const char *to)
{
    char from[512];
    file_copy(certificate_path(name, from), to);
}

static void install(const char *name)
{
    char file[64];
    snprintf(file, sizeof file, "%s.pem", name);
    copy_file(file, pem);
    snprintf(file, sizeof file, "%s.key", name);
    copy_file(file, private_key);
}

static struct tls_service *make(void)
{
    char error[TLS_ERROR];
    struct tls_identity_files identity = {.certificate = pem, .key = private_key};
    struct tls_service_options options = {
        .name = SPAN("a"), .identities = &identity, .identity_count = 1};
    struct tls_service *service = NULL;
    assert_int_equal(tls_service_new(&options, &service, error), 0);
    return service;
}

/* As a look after a look finds it: it waits until the files are quiet. */
static enum tls_look look_twice(struct tls_service *service, char text[TLS_ERROR])
{
    assert_int_equal(tls_service_look(service, text), TLS_UNCHANGED);
    return tls_service_look(service, text);
}

/* Whether a client that believes `roots` is content with what is served now. */
static bool serves(struct tls_service *service, const char *name)
{
    static struct tls_pair pair;
    struct tls_context *server = tls_service_context(service), *client = client_context("ca.pem");
    struct tls_client_options options = {.name = span_string(name)};
    pair_init(&pair, tls_new_server(server), tls_new_client(client, &options));
    tls_context_free(server);
    pair_shake(&pair);
    bool content = pair.client_result == TLS_DONE;
    pair_fini(&pair);
    tls_context_free(client);
    return content;
}

static int set_up(void **state)
{
    folder_make(folder);
    snprintf(pem, sizeof pem, "%s/c.pem", folder);
    snprintf(private_key, sizeof private_key, "%s/c.key", folder);
    install("server");
    return 0;
}

static int tear_down(void **state)
{
    folder_remove(folder);
    return 0;
}

static void test_nothing_changes(void **state)
{
    char text[TLS_ERROR];
    struct tls_service *service = make();
    struct tls_context *before = tls_service_context(service);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(tls_service_look(service, text), TLS_UNCHANGED);
    struct tls_context *after = tls_service_context(service);
    assert_ptr_equal(before, after);
    tls_context_free(before);
    tls_context_free(after);
    tls_service_free(service);
}

static void test_renewed(void **state)
{
    char text[TLS_ERROR];
    struct tls_service *service = make();
    assert_true(serves(service, "mx.example.com"));
    install("other-name");
    assert_int_equal(look_twice(service, text), TLS_RENEWED);
    assert_string_equal(text, "");
    assert_false(serves(service, "mx.example.com"));
    assert_true(serves(service, "other.example"));
    assert_int_equal(tls_service_look(service, text), TLS_UNCHANGED);
    tls_service_free(service);
}

/* Two files cannot change in one moment: between them nothing is tried. */
static void test_waits_until_quiet(void **state)
{
    char text[TLS_ERROR];
    struct tls_service *service = make();
    copy_file("other-name.pem", pem);
    assert_int_equal(tls_service_look(service, text), TLS_UNCHANGED);
    copy_file("other-name.key", private_key);
    assert_int_equal(tls_service_look(service, text), TLS_UNCHANGED);
    assert_int_equal(tls_service_look(service, text), TLS_RENEWED);
    assert_true(serves(service, "other.example"));
    tls_service_free(service);
}

static void test_bad_files_change_nothing(void **state)
{
    static const struct {
        const char *name, *wanted;
    } rows[] = {
        {"expired", "c.pem: the certificate expired on"},
        {"truncated", "c.pem: a certificate in it is damaged or cut short"},
    };
    char text[TLS_ERROR];
    struct tls_service *service = make();
    for (size_t i = 0; i < countof(rows); i++) {
        install(rows[i].name);
        assert_int_equal(look_twice(service, text), TLS_REFUSED);
        assert_non_null(strstr(text, rows[i].wanted));
        assert_int_equal(tls_service_look(service, text), TLS_UNCHANGED); /* told once */
        assert_true(serves(service, "mx.example.com"));
    }
    unlink(pem);
    assert_int_equal(look_twice(service, text), TLS_REFUSED);
    assert_non_null(strstr(text, "c.pem: cannot read it: No such file"));
    install("next");
    assert_int_equal(look_twice(service, text), TLS_RENEWED);
    assert_true(serves(service, "mx.example.com"));
    tls_service_free(service);
}

/* A session keeps what it began with. */
static void test_sessions_outlive_their_context(void **state)
{
    static struct tls_pair pair;
    char text[TLS_ERROR];
    struct tls_service *service = make();
    struct tls_context *server = tls_service_context(service), *client = client_context("ca.pem");
    struct tls_client_options options = {.name = SPAN("mx.example.com")};
    pair_init(&pair, tls_new_server(server), tls_new_client(client, &options));
    tls_context_free(server);
    tls_context_free(client);
    install("other-name");
    assert_int_equal(look_twice(service, text), TLS_RENEWED);
    tls_service_free(service);
    expect_shaken(&pair);
    say(pair.client, &pair.to_server, "still here");
    expect_read(pair.server, &pair.to_server, &pair.to_client, "still here");
    pair_fini(&pair);
}

static void test_roots(void **state)
{
    char text[TLS_ERROR];
    copy_file("other-ca.pem", pem);
    struct tls_service_options options = {.name = SPAN("delivery"), .roots = pem};
    struct tls_service *service = NULL;
    assert_int_equal(tls_service_new(&options, &service, text), 0);
    assert_true(span_equals(tls_service_name(service), SPAN("delivery")));
    copy_file("ca.pem", pem);
    assert_int_equal(look_twice(service, text), TLS_RENEWED);
    copy_file("nonsense.pem", pem);
    assert_int_equal(look_twice(service, text), TLS_REFUSED);
    tls_service_free(service);
}

static void test_gate(void **state)
{
    struct tls_gate gate = {.limit = 2};
    assert_true(tls_gate_enter(&gate));
    assert_true(tls_gate_enter(&gate));
    assert_false(tls_gate_enter(&gate));
    assert_false(tls_gate_enter(&gate));
    tls_gate_leave(&gate);
    assert_true(tls_gate_enter(&gate));
    assert_false(tls_gate_enter(&gate));
}

/* Workers take the context while the control thread replaces it. */
static void *take_contexts(void *argument)
{
    struct tls_service *service = argument;
    for (unsigned i = 0; i < 300; i++) {
        struct tls_context *context = tls_service_context(service);
        tls_free(tls_new_server(context));
        tls_context_free(context);
    }
    return NULL;
}

static void test_threads(void **state)
{
    char text[TLS_ERROR];
    struct tls_service *service = make();
    pthread_t threads[3];
    for (unsigned i = 0; i < countof(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, take_contexts, service), 0);
    for (unsigned i = 0; i < 20; i++) {
        install(i % 2 ? "server" : "next");
        look_twice(service, text);
    }
    for (unsigned i = 0; i < countof(threads); i++)
        pthread_join(threads[i], NULL);
    tls_service_free(service);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_nothing_changes),
        TEST(test_renewed),
        TEST(test_waits_until_quiet),
        TEST(test_bad_files_change_nothing),
        TEST(test_sessions_outlive_their_context),
        TEST(test_roots),
        TEST(test_gate),
        TEST(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
