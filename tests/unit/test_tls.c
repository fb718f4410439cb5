/* tls: two sides through memory: handshakes whole and cut, judgements, tickets, files that are
 * wrong, and what an idle session holds. */
#include "tests/unit/tls_pair.h"

#include <malloc.h>
#include <sys/stat.h>

static struct tls *client_for(struct tls_context *context, const char *name, bool insecure,
                              const struct tls_session *resume)
{
    struct tls_client_options options = {
        .name = span_string(name), .insecure = insecure, .resume = resume};
    return tls_new_client(context, &options);
}

static void test_both_sides_speak(void **state)
{
    static struct tls_pair pair;
    struct tls_context *server = server_context("server", NULL, "a");
    struct tls_context *client = client_context("ca.pem");
    static const size_t cuts[] = {0, 1, 2, 5, 17, 1000};
    for (size_t i = 0; i < countof(cuts); i++) {
        pair_init(&pair, tls_new_server(server), client_for(client, "mx.example.com", false, NULL));
        pair.cut = cuts[i];
        expect_shaken(&pair);
        say(pair.client, &pair.to_server, "EHLO client.example\r\n");
        expect_read(pair.server, &pair.to_server, &pair.to_client, "EHLO client.example\r\n");
        say(pair.server, &pair.to_client, "250 mx.example.com\r\n");
        expect_read(pair.client, &pair.to_client, &pair.to_server, "250 mx.example.com\r\n");
        struct tls_facts facts;
        tls_facts(pair.client, &facts);
        assert_true(span_equals(facts.version, SPAN("TLSv1.3")));
        assert_true(span_starts_with(facts.cipher, SPAN("TLS_")));
        assert_true(facts.verified);
        assert_false(facts.resumed);
        tls_facts(pair.server, &facts);
        assert_false(facts.verified); /* nobody was asked */
        pair_fini(&pair);
    }
    tls_context_free(server);
    tls_context_free(client);
}

static void test_close_notify(void **state)
{
    static struct tls_pair pair;
    struct tls_context *server = server_context("server", NULL, "a");
    struct tls_context *client = client_context("ca.pem");
    pair_init(&pair, tls_new_server(server), client_for(client, "mx.example.com", false, NULL));
    expect_shaken(&pair);
    say(pair.client, &pair.to_server, "QUIT\r\n");
    tls_end(pair.client, &pair.to_server.sink);
    expect_read(pair.server, &pair.to_server, &pair.to_client, "QUIT\r\n");
    char data[TLS_RECORD];
    size_t len;
    for (unsigned i = 0; i < 3; i++) { /* and stays so */
        struct span input = wire_unheard(&pair.to_server);
        assert_int_equal(
            tls_read(pair.server, &input, &pair.to_client.sink, data, sizeof data, &len),
            TLS_ENDED);
        wire_heard(&pair.to_server, input);
    }
    pair_fini(&pair);
    tls_context_free(server);
    tls_context_free(client);
}

/* A megabyte, in both directions, with sinks that are nearly full. */
static void test_bulk(void **state)
{
    enum { BULK = 1 << 20 };
    static struct tls_pair pair;
    static char from[BULK], to[BULK], record[TLS_RECORD], block[TLS_ROOM];
    struct tls_context *server = server_context("server", NULL, "a");
    struct tls_context *client = client_context("ca.pem");
    pair_init(&pair, tls_new_server(server), client_for(client, "mx.example.com", false, NULL));
    expect_shaken(&pair);
    for (size_t i = 0; i < BULK; i++)
        from[i] = (char)(i * 31 + i / 257);
    struct span plain = span_of(from, BULK);
    size_t got = 0, room = 3000;
    while (plain.len) {
        struct sink sink;
        sink_init(&sink, block, room);
        room = room == TLS_ROOM ? 3000 : TLS_ROOM;
        enum tls_result result;
        while (plain.len && (result = tls_write(pair.client, &plain, &sink)) == TLS_DONE)
            ;
        assert_int_not_equal(result, TLS_FAILED);
        assert_true(sink.len > 0);
        struct span input = sink_span(&sink);
        size_t len;
        while (tls_read(pair.server, &input, &pair.to_client.sink, record, sizeof record, &len) ==
               TLS_DONE) {
            memcpy(to + got, record, len);
            got += len;
        }
    }
    assert_int_equal(got, BULK);
    assert_memory_equal(from, to, BULK);
    pair_fini(&pair);
    tls_context_free(server);
    tls_context_free(client);
}

/* ---- judgements ---- */

static void test_judgements(void **state)
{
    static struct tls_pair pair;
    static const struct {
        const char *server, *name, *trouble; /* NULL: fine */
    } rows[] = {
        {"server", "mx.example.com", NULL},
        {"server", "MX.Example.COM", NULL},
        {"server", "127.0.0.1", NULL},
        {"server", "::1", NULL},
        {"rsa", "rsa.example", NULL},
        {"wild", "mx1.hosted.example", NULL},
        {"wild", "a.b.hosted.example", "certificate: Hostname mismatch"},
        {"server", "127.0.0.2", "certificate: IP address mismatch"},
        {"other-name", "mx.example.com", "certificate: Hostname mismatch"},
        {"only-cn", "mx.example.com", "certificate: Hostname mismatch"},
        {"stranger", "mx.example.com", "certificate: unable to get local issuer certificate"},
        {"self-signed", "mx.example.com", "certificate: self signed certificate"},
    };
    struct tls_context *client = client_context("ca.pem");
    for (size_t i = 0; i < countof(rows); i++) {
        struct tls_context *server = server_context(rows[i].server, NULL, "a");
        struct tls_facts facts;
        pair_init(&pair, tls_new_server(server), client_for(client, rows[i].name, false, NULL));
        pair_shake(&pair);
        assert_int_equal(pair.client_result, rows[i].trouble ? TLS_FAILED : TLS_DONE);
        if (rows[i].trouble)
            expect_trouble(pair.client, rows[i].trouble);
        pair_fini(&pair);
        /* The same without insisting. */
        pair_init(&pair, tls_new_server(server), client_for(client, rows[i].name, true, NULL));
        expect_shaken(&pair);
        tls_facts(pair.client, &facts);
        assert_int_equal(facts.verified, !rows[i].trouble);
        pair_fini(&pair);
        tls_context_free(server);
    }
    tls_context_free(client);
}

/* The server hears why, in the library's words. */
static void test_alert(void **state)
{
    static struct tls_pair pair;
    struct tls_context *server = server_context("stranger", NULL, "a");
    struct tls_context *client = client_context("ca.pem");
    pair_init(&pair, tls_new_server(server), client_for(client, "mx.example.com", false, NULL));
    pair_shake(&pair);
    assert_int_equal(pair.server_result, TLS_FAILED);
    expect_trouble(pair.server, "alert unknown ca");
    pair_fini(&pair);
    tls_context_free(server);
    tls_context_free(client);
}

static void test_not_tls(void **state)
{
    static const char *const inputs[] = {
        "EHLO client.example\r\n", "GET / HTTP/1.1\r\n\r\n",
        "\x16\x03\x01\x02\x00 garbage of the length that the header promised, or not",
        "\x80\x2e\x01\x00\x02", /* SSL 2 */
    };
    struct tls_context *server = server_context("server", NULL, "a");
    char room[TLS_ROOM];
    for (size_t i = 0; i < countof(inputs); i++) {
        struct tls *tls = tls_new_server(server);
        struct span input = SPAN("");
        struct sink sink;
        sink_init(&sink, room, sizeof room);
        enum tls_result result = TLS_MORE_INPUT;
        for (unsigned n = 0; n < 300 && result == TLS_MORE_INPUT; n++) {
            input = span_string(inputs[i]);
            result = tls_handshake(tls, &input, &sink);
        }
        assert_int_equal(result, TLS_FAILED);
        assert_int_equal(tls_handshake(tls, &input, &sink), TLS_FAILED);
        tls_free(tls);
    }
    tls_context_free(server);
}

/* close_notify in place of a handshake: there is nothing to end in order. */
static void test_end_in_handshake(void **state)
{
    struct tls_context *server = server_context("server", NULL, "a");
    struct tls *tls = tls_new_server(server);
    char room[TLS_ROOM];
    struct sink sink;
    struct span input = SPAN("\x15\x03\x03\x00\x02\x01\x00");
    sink_init(&sink, room, sizeof room);
    assert_int_equal(tls_handshake(tls, &input, &sink), TLS_FAILED);
    expect_trouble(tls, "ended by the peer");
    tls_free(tls);
    tls_context_free(server);
}

static void test_client_certificates(void **state)
{
    static struct tls_pair pair;
    struct tls_context *server = server_context("server", "ca.pem", "a");
    struct tls_context *client = client_context("ca.pem");
    struct tls_facts facts;
    pair_init(&pair, tls_new_server(server), client_for(client, "mx.example.com", false, NULL));
    expect_shaken(&pair); /* asked, not needed */
    tls_facts(pair.server, &facts);
    assert_false(facts.verified);
    assert_int_equal(facts.subject.len, 0);
    pair_fini(&pair);
    tls_context_free(server);
    tls_context_free(client);
}

/* ---- resuming ---- */

static struct tls_session *session_from(struct tls_context *server, struct tls_context *client,
                                        const struct tls_session *resume, bool wanted)
{
    static struct tls_pair pair;
    struct tls_facts facts;
    pair_init(&pair, tls_new_server(server), client_for(client, "mx.example.com", false, resume));
    expect_shaken(&pair);
    say(pair.server, &pair.to_client, "x");
    expect_read(pair.client, &pair.to_client, &pair.to_server, "x");
    tls_facts(pair.client, &facts);
    assert_int_equal(facts.resumed, wanted);
    assert_true(facts.verified);
    struct tls_session *session = tls_take_session(pair.client);
    assert_non_null(session);
    assert_true(tls_session_single_use(session));
    assert_null(tls_take_session(pair.client));
    pair_fini(&pair);
    return session;
}

static void test_tickets_belong_to_one_service(void **state)
{
    struct tls_context *one = server_context("server", NULL, "one");
    struct tls_context *other = server_context("server", NULL, "other");
    struct tls_context *again = server_context("server", NULL, "one");
    struct tls_context *client = client_context("ca.pem");
    struct tls_session *first = session_from(one, client, NULL, false);
    struct tls_session *second = session_from(one, client, first, true);
    tls_session_free(session_from(other, client, second, false));
    tls_session_free(session_from(again, client, second, false)); /* keys are never the same */
    tls_session_free(first);
    tls_session_free(second);
    tls_context_free(one);
    tls_context_free(other);
    tls_context_free(again);
    tls_context_free(client);
}

/* ---- files ---- */

static void expect_refused(const char *certificate, const char *key, const char *wanted)
{
    char certificate_file[512], key_file[512], error[TLS_ERROR];
    struct tls_identity_files identity = {certificate_path(certificate, certificate_file),
                                          certificate_path(key, key_file), NULL, 0};
    struct tls_context *context = NULL;
    assert_int_equal(tls_context_server(&identity, 1, NULL, SPAN("a"), &context, error), -EINVAL);
    assert_null(context);
    if (!strstr(error, wanted))
        fail_msg("%s/%s: '%s' lacks '%s'", certificate, key, error, wanted);
}

static void test_bad_files(void **state)
{
    static const struct {
        const char *certificate, *key, *wanted;
    } rows[] = {
        {"missing.pem", "server.key", "missing.pem: cannot read it: No such file or directory"},
        {"server.pem", "missing.key", "missing.key: cannot read it: No such file or directory"},
        {"../certificates", "server.key", "certificates: cannot read it: Is a directory"},
        {"nonsense.pem", "server.key", "nonsense.pem: no PEM certificate in it"},
        {"server.key", "server.key", "server.key: no PEM certificate in it"},
        {"truncated.pem", "server.key", "truncated.pem: a certificate in it is damaged or cut"},
        {"damaged.pem", "server.key", "damaged.pem: a certificate in it is damaged or cut short"},
        {"server.pem", "truncated.key", "truncated.key: the private key in it is damaged or cut"},
        {"server.pem", "server.pem", "server.pem: no PEM private key in it"},
        {"server.pem", "encrypted.key", "encrypted.key: the key is protected by a password"},
        {"server.pem", "next.key", "next.key belongs to another certificate"},
        {"server.pem", "rsa.key", "rsa.key belongs to another certificate"},
        {"expired.pem", "expired.key",
         "expired.pem: the certificate expired on Jan  1 00:00:00 20"},
        {"future.pem", "future.key", "future.pem: the certificate is valid only from Jan  1 00:0"},
    };
    for (size_t i = 0; i < countof(rows); i++)
        expect_refused(rows[i].certificate, rows[i].key, rows[i].wanted);
}

/* Two mistakes are told together. */
static void test_all_mistakes(void **state)
{
    expect_refused("truncated.pem", "truncated.key", "damaged or cut short\n");
}

static void test_remarks(void **state)
{
    char certificate[512], key[512], error[TLS_ERROR];
    static const struct span names[] = {SPAN("mx.example.com"), SPAN("*.hosted.example"),
                                        SPAN("elsewhere.example")};
    struct tls_identity_files identity = {certificate_path("self-signed.pem", certificate),
                                          certificate_path("self-signed.key", key), names, 3};
    struct tls_context *context = NULL;
    assert_int_equal(tls_context_server(&identity, 1, NULL, SPAN("a"), &context, error), 0);
    char text[TLS_ERROR];
    snprintf(text, sizeof text, "%.*s", SPAN_FORMAT(tls_context_remarks(context)));
    assert_non_null(strstr(text, "self-signed.pem: the certificate is self-signed"));
    assert_non_null(strstr(text, "does not cover the name *.hosted.example"));
    assert_non_null(strstr(text, "does not cover the name elsewhere.example"));
    assert_null(strstr(text, "the name mx.example.com"));
    tls_context_free(context);
}

static void test_bad_roots(void **state)
{
    static const struct {
        const char *file, *wanted;
    } rows[] = {
        {"missing.pem", "missing.pem: cannot read it: No such file or directory"},
        {"nonsense.pem", "nonsense.pem: no PEM certificate in it"},
        {"truncated.pem", "truncated.pem: a certificate in it is damaged or cut short"},
    };
    for (size_t i = 0; i < countof(rows); i++) {
        char path[512], error[TLS_ERROR];
        struct tls_context *context = NULL;
        assert_int_equal(tls_context_client(certificate_path(rows[i].file, path), &context, error),
                         -EINVAL);
        assert_non_null(strstr(error, rows[i].wanted));
    }
}

/* ---- SNI ---- */

static void test_names(void **state)
{
    static struct tls_pair pair;
    static const struct {
        const char *asked;
        bool verified; /* the certificate that came covers what was asked for */
    } rows[] = {
        {"mx.example.com", true},   {"other.example", true},       {"OTHER.example", true},
        {"a.hosted.example", true}, {"hosted.example", true},      {"rsa.example", true},
        {"unknown.example", false}, {"a.b.hosted.example", false},
    };
    static const struct span other[] = {SPAN("other.example")};
    static const struct span wild[] = {SPAN("*.hosted.example"), SPAN("hosted.example")};
    static const struct span rsa[] = {SPAN("RSA.example")};
    char paths[8][512], error[TLS_ERROR];
    struct tls_identity_files identities[] = {
        {certificate_path("server.pem", paths[0]), certificate_path("server.key", paths[1]), NULL,
         0},
        {certificate_path("other-name.pem", paths[2]), certificate_path("other-name.key", paths[3]),
         other, 1},
        {certificate_path("wild.pem", paths[4]), certificate_path("wild.key", paths[5]), wild, 2},
        {certificate_path("rsa.pem", paths[6]), certificate_path("rsa.key", paths[7]), rsa, 1},
    };
    struct tls_context *server = NULL;
    assert_int_equal(
        tls_context_server(identities, countof(identities), NULL, SPAN("a"), &server, error), 0);
    assert_int_equal(tls_context_remarks(server).len, 0);
    struct tls_context *client = client_context("ca.pem");
    for (size_t i = 0; i < countof(rows); i++) {
        struct tls_facts facts;
        pair_init(&pair, tls_new_server(server), client_for(client, rows[i].asked, true, NULL));
        expect_shaken(&pair);
        tls_facts(pair.client, &facts);
        assert_int_equal(facts.verified, rows[i].verified);
        pair_fini(&pair);
    }
    tls_context_free(server);
    tls_context_free(client);
}

/* ---- memory ---- */

/* What both sides of an idle session hold, by the allocator's own count. */
static void test_idle_memory(void **state)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    skip(); /* their allocators do not count like this */
#endif
    enum { PAIRS = 64 };
    static struct tls_pair pairs[PAIRS];
    struct tls_context *server = server_context("server", NULL, "a");
    struct tls_context *client = client_context("ca.pem");
    struct tls_session *sessions[PAIRS];
    pair_init(&pairs[0], tls_new_server(server), client_for(client, "mx.example.com", false, NULL));
    expect_shaken(&pairs[0]); /* what the library makes once */
    pair_fini(&pairs[0]);
    size_t before = mallinfo2().uordblks, server_bytes = 0;
    for (unsigned i = 0; i < PAIRS; i++) {
        pair_init(&pairs[i], tls_new_server(server),
                  client_for(client, "mx.example.com", false, NULL));
        expect_shaken(&pairs[i]);
        say(pairs[i].server, &pairs[i].to_client, "x");
        expect_read(pairs[i].client, &pairs[i].to_client, &pairs[i].to_server, "x");
        sessions[i] = tls_take_session(pairs[i].client);
        tls_session_free(sessions[i]);
    }
    size_t both = (mallinfo2().uordblks - before) / PAIRS;
    for (unsigned i = 0; i < PAIRS; i++)
        pairs[i].client = tls_free(pairs[i].client);
    server_bytes = (mallinfo2().uordblks - before) / PAIRS;
    print_message("an idle session: server %zu bytes, client %zu bytes\n", server_bytes,
                  both - server_bytes);
    assert_true(server_bytes <= 6 * 1024 - 1024); /* beside conn and session of the server */
    assert_true(both - server_bytes <= 6 * 1024 - 1024);
    for (unsigned i = 0; i < PAIRS; i++)
        pair_fini(&pairs[i]);
    tls_context_free(server);
    tls_context_free(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_both_sides_speak),
        cmocka_unit_test(test_close_notify),
        cmocka_unit_test(test_bulk),
        cmocka_unit_test(test_judgements),
        cmocka_unit_test(test_alert),
        cmocka_unit_test(test_not_tls),
        cmocka_unit_test(test_end_in_handshake),
        cmocka_unit_test(test_client_certificates),
        cmocka_unit_test(test_tickets_belong_to_one_service),
        cmocka_unit_test(test_bad_files),
        cmocka_unit_test(test_all_mistakes),
        cmocka_unit_test(test_remarks),
        cmocka_unit_test(test_bad_roots),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_idle_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
