/* tls_peers: what is remembered of hosts, by name and address, and what is forgotten first. */
#include "smtp/tls_peers.h"

#include "tests/unit/tls_pair.h"

static struct plan_address address_of(unsigned number)
{
    struct plan_address address = {.port = 25};
    memcpy(address.bits, &number, sizeof number);
    return address;
}

static struct tls_session *make_session(void)
{
    static struct tls_pair pair;
    struct tls_context *server = server_context("server", NULL, "a");
    struct tls_context *client = client_context("ca.pem");
    struct tls_client_options options = {.name = SPAN("mx.example.com")};
    pair_init(&pair, tls_new_server(server), tls_new_client(client, &options));
    tls_context_free(server);
    tls_context_free(client);
    expect_shaken(&pair);
    say(pair.server, &pair.to_client, "x");
    expect_read(pair.client, &pair.to_client, &pair.to_server, "x");
    struct tls_session *session = tls_take_session(pair.client);
    assert_non_null(session);
    pair_fini(&pair);
    return session;
}

static void test_sessions(void **state)
{
    struct tls_peers peers;
    assert_int_equal(tls_peers_init(&peers, (struct hash_seed){1, 2}, 10), 0);
    struct plan_address one = address_of(1), two = address_of(2), port = address_of(1);
    port.port = 26;
    struct tls_host host = {SPAN("mx.example.com"), &one};
    struct tls_host other_name = {SPAN("mx.example.org"), &one};
    struct tls_host other_address = {SPAN("mx.example.com"), &two};
    struct tls_host other_port = {SPAN("mx.example.com"), &port};
    struct tls_session *session = make_session();
    assert_null(tls_peers_take(&peers, &host));
    tls_peers_keep(&peers, &host, NULL);
    assert_int_equal(peers.count, 0);
    tls_peers_keep(&peers, &host, session);
    assert_null(tls_peers_take(&peers, &other_name));
    assert_null(tls_peers_take(&peers, &other_address));
    assert_null(tls_peers_take(&peers, &other_port));
    assert_ptr_equal(tls_peers_take(&peers, &host), session);
    assert_null(tls_peers_take(&peers, &host));
    tls_peers_keep(&peers, &host, session);
    tls_peers_keep(&peers, &host, make_session()); /* the newer one stays */
    tls_peers_fini(&peers);
}

static void test_broken(void **state)
{
    struct tls_peers peers;
    assert_int_equal(tls_peers_init(&peers, (struct hash_seed){1, 2}, 10), 0);
    struct plan_address one = address_of(1), two = address_of(2);
    struct tls_host host = {SPAN("mx.example.com"), &one}, other = {SPAN("mx.example.com"), &two};
    assert_false(tls_peers_broken(&peers, &host, 1));
    assert_true(tls_peers_set_broken(&peers, &host, 100));
    assert_true(tls_peers_broken(&peers, &host, 99));
    assert_false(tls_peers_broken(&peers, &host, 100));
    assert_false(tls_peers_broken(&peers, &other, 99));
    tls_peers_fini(&peers);
}

static void test_bounded(void **state)
{
    struct tls_peers peers;
    assert_int_equal(tls_peers_init(&peers, (struct hash_seed){1, 2}, 10), 0);
    struct plan_address first = address_of(0);
    struct tls_host kept = {SPAN("mx.example.com"), &first};
    for (unsigned i = 0; i < 1000; i++) {
        struct plan_address address = address_of(i);
        struct tls_host host = {SPAN("mx.example.com"), &address};
        assert_true(tls_peers_set_broken(&peers, &host, 100));
        assert_true(tls_peers_broken(&peers, &kept, 1)); /* used again and again */
        assert_true(peers.count <= 10);
    }
    struct plan_address gone = address_of(500), last = address_of(999);
    assert_false(tls_peers_broken(&peers, &(struct tls_host){SPAN("mx.example.com"), &gone}, 1));
    assert_true(tls_peers_broken(&peers, &(struct tls_host){SPAN("mx.example.com"), &last}, 1));
    tls_peers_fini(&peers);
}

/* Names longer than any name are cut, not written past. */
static void test_long_name(void **state)
{
    struct tls_peers peers;
    char name[1000];
    memset(name, 'x', sizeof name);
    assert_int_equal(tls_peers_init(&peers, (struct hash_seed){1, 2}, 10), 0);
    struct plan_address one = address_of(1);
    struct tls_host host = {span_of(name, sizeof name), &one};
    assert_true(tls_peers_set_broken(&peers, &host, 100));
    assert_true(tls_peers_broken(&peers, &host, 1));
    tls_peers_fini(&peers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sessions),
        cmocka_unit_test(test_broken),
        cmocka_unit_test(test_bounded),
        cmocka_unit_test(test_long_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
