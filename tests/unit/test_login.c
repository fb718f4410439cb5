/* Logging in: the delays, the cache of good passwords, and whole tries on a real loop with real
 * threads. Times are the wheel's; the long ones pass by setting the loop's clock on. */
#include "core/login.h"

#include "core/clock.h"
#include "tests/unit/folder.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const struct hash_seed seed = {3, 4};

static struct address address_of(const char *text)
{
    struct address address;
    assert_true(address_parse(span_string(text), 25, &address));
    return address;
}

/* ---- delays ---- */

static bool begins(struct login_delay *delay, const char *address, const char *account,
                   uint64_t now_ms, uint64_t wait_ms)
{
    struct address from = address_of(address);
    uint64_t wait = 0;
    return login_delay_begin(delay, &from, span_string(account), now_ms, &wait) && wait == wait_ms;
}

static bool refused(struct login_delay *delay, const char *address, const char *account,
                    uint64_t now_ms)
{
    struct address from = address_of(address);
    uint64_t wait;
    return !login_delay_begin(delay, &from, span_string(account), now_ms, &wait);
}

static uint64_t failed(struct login_delay *delay, const char *address, const char *account,
                       uint64_t now_ms)
{
    struct address from = address_of(address);
    return login_delay_failed(delay, &from, span_string(account), now_ms);
}

static void worked(struct login_delay *delay, const char *address, const char *account,
                   uint64_t now_ms)
{
    struct address from = address_of(address);
    login_delay_worked(delay, &from, span_string(account), now_ms);
}

static void test_delay_grows(void **state)
{
    struct login_delay delay;
    assert_int_equal(login_delay_init(&delay, seed, 1000, 8000), 0);
    static const uint64_t lengths[] = {1000, 2000, 4000, 8000, 8000};
    uint64_t now = 1000000;
    assert_true(begins(&delay, "192.0.2.1", "tim", now, 0));
    for (size_t i = 0; i < countof(lengths); i++)
        assert_int_equal(failed(&delay, "192.0.2.1", "tim", now), lengths[i]);
    assert_true(begins(&delay, "192.0.2.1", "tim", now, 8000));
    assert_true(begins(&delay, "192.0.2.1", "other", now, 16000)); /* one behind the other */
    assert_true(begins(&delay, "192.0.2.2", "TIM", now, 16000));   /* the account has one, too */
    assert_true(begins(&delay, "192.0.2.3", "other", now, 0));
    now += LOGIN_DELAY_FORGET_MS + 1;
    assert_true(begins(&delay, "192.0.2.1", "tim", now, 0));
    assert_int_equal(failed(&delay, "192.0.2.1", "tim", now), 1000);
    login_delay_fini(&delay);
}

static void test_delay_refuses(void **state)
{
    struct login_delay delay;
    unsigned let_in = 0;
    assert_int_equal(login_delay_init(&delay, seed, 1000, 8000), 0);
    for (unsigned i = 0; i < 10; i++)
        failed(&delay, "192.0.2.1", "tim", 0);
    while (!refused(&delay, "192.0.2.1", "tim", 0))
        let_in++;
    assert_int_equal(let_in, LOGIN_DELAY_WAIT_MS / 8000);
    assert_true(refused(&delay, "192.0.2.7", "tim", 0));
    assert_false(refused(&delay, "192.0.2.7", "other", 0));
    login_delay_fini(&delay);
}

/* An attack on an account does not hold up its owner where he has been before. */
static void test_delay_owner(void **state)
{
    struct login_delay delay;
    assert_int_equal(login_delay_init(&delay, seed, 1000, 8000), 0);
    worked(&delay, "192.0.2.9", "tim", 0);
    for (unsigned i = 0; i < 100; i++)
        failed(&delay, "192.0.2.1", "tim", 5000);
    assert_true(begins(&delay, "192.0.2.9", "tim", 5000, 0));
    assert_false(begins(&delay, "192.0.2.8", "tim", 5000, 0));
    failed(&delay, "192.0.2.9", "x", 5000);
    assert_true(begins(&delay, "192.0.2.9", "tim", 5000, 1000)); /* but his own failures do */
    worked(&delay, "192.0.2.9", "tim", 6000);
    assert_true(begins(&delay, "192.0.2.8", "tim", 6000, 0)); /* and a login clears the account */
    login_delay_fini(&delay);
}

static void test_delay_of_a_network(void **state)
{
    struct login_delay delay;
    assert_int_equal(login_delay_init(&delay, seed, 1000, 8000), 0);
    failed(&delay, "2001:db8::1", "tim", 0);
    assert_true(begins(&delay, "2001:db8::ffff", "other", 0, 1000));
    assert_true(begins(&delay, "2001:db8:0:1::1", "other", 0, 0));
    login_delay_fini(&delay);
}

/* However many addresses and names come by: the memory is fixed, and the worst are remembered. */
static void test_delay_flood(void **state)
{
    struct login_delay delay;
    assert_int_equal(login_delay_init(&delay, seed, 1000, 8000), 0);
    for (unsigned i = 0; i < 10; i++)
        failed(&delay, "192.0.2.1", "tim", 0);
    for (unsigned i = 0; i < 100000; i++) {
        struct address from = address_of("10.0.0.0");
        char name[16];
        from.v4.sin_addr.s_addr = i;
        snprintf(name, sizeof name, "n%u", i);
        login_delay_failed(&delay, &from, span_string(name), 1);
    }
    assert_true(begins(&delay, "192.0.2.1", "nobody", 1, 7999));
    login_delay_fini(&delay);
}

/* ---- cache ---- */

static bool has(struct login_cache *cache, struct span name, struct span stored,
                struct span password, uint64_t now_ms)
{
    struct login_tag tag = login_tag_of(cache, name, stored, password);
    return login_cache_has(cache, &tag, now_ms);
}

static void test_cache(void **state)
{
    struct login_cache cache;
    assert_int_equal(login_cache_init(&cache, 1000), 0);
    assert_false(has(&cache, SPAN("tim"), SPAN("h"), SPAN("pw"), 0));
    struct login_tag tag = login_tag_of(&cache, SPAN("tim"), SPAN("h"), SPAN("pw"));
    login_cache_add(&cache, &tag, 100);
    assert_true(has(&cache, SPAN("tim"), SPAN("h"), SPAN("pw"), 1099));
    assert_false(has(&cache, SPAN("tim"), SPAN("h"), SPAN("pw"), 1100));
    assert_false(has(&cache, SPAN("tim"), SPAN("h2"), SPAN("pw"), 100)); /* it was changed */
    assert_false(has(&cache, SPAN("tim"), SPAN("h"), SPAN("pW"), 100));
    assert_false(has(&cache, SPAN("ti"), SPAN("mh"), SPAN("pw"), 100));
    assert_false(has(&cache, SPAN("tim"), SPAN("hp"), SPAN("w"), 100));
    login_cache_fini(&cache);
}

/* ---- tries ---- */

struct fixture {
    char folder[FOLDER_PATH], path[FOLDER_PATH + 16];
    struct accounts accounts;
    struct logins logins;
    struct loop loop;
    struct login login;
    struct op done;
    struct address peer;
    int outcome;
};

static void on_done(struct op *op)
{
    struct fixture *fixture = container_of(op, struct fixture, done);
    fixture->outcome = op->result;
}

static void write_account(struct fixture *fixture, const char *scheme, const char *password)
{
    char text[PASSWORD_STORED];
    struct sink sink;
    sink_init(&sink, text, sizeof text);
    assert_true(password_make(span_string(scheme), span_string(password), &sink));
    FILE *file = fopen(fixture->path, "w");
    assert_non_null(file);
    fprintf(file, "tim:%.*s\n", SPAN_FORMAT(sink_span(&sink)));
    fclose(file);
}

static int begin(void **state)
{
    char text[512];
    struct sink complaints;
    struct fixture *fixture = calloc(1, sizeof *fixture);
    struct io_options io = {.entries = 64, .buffers = 16, .buffer_size = 1024};
    struct login_settings settings = {
        .accounts = &fixture->accounts,
        .hasher_threads = 2,
        .cache_ms = 300000,
        .first_delay_ms = 10,
        .most_delay_ms = 100,
        .seed = seed,
    };
    sink_init(&complaints, text, sizeof text);
    folder_make(fixture->folder);
    snprintf(fixture->path, sizeof fixture->path, "%s/passwd", fixture->folder);
    write_account(fixture, "SCRAM-SHA-256", "secret");
    if (accounts_init(&fixture->accounts, fixture->path, seed, &complaints) < 0 ||
        logins_init(&fixture->logins, &settings) < 0 || loop_init(&fixture->loop, &io, 0) < 0)
        return -1;
    op_init(&fixture->done, on_done);
    fixture->peer = address_of("192.0.2.1");
    login_init(&fixture->login, &fixture->logins, &fixture->loop, &fixture->peer, &fixture->done);
    fixture->outcome = -1;
    *state = fixture;
    return 0;
}

static int end(void **state)
{
    struct fixture *fixture = *state;
    login_fini(&fixture->login);
    logins_fini(&fixture->logins);
    loop_fini(&fixture->loop);
    accounts_fini(&fixture->accounts);
    folder_remove(fixture->folder);
    free(fixture);
    return 0;
}

static enum login_outcome wait(struct fixture *fixture)
{
    assert_int_equal(fixture->outcome, -1); /* never at once */
    while (fixture->outcome < 0)
        assert_int_equal(loop_turn(&fixture->loop, NS_PER_S), 0);
    enum login_outcome outcome = (enum login_outcome)fixture->outcome;
    fixture->outcome = -1;
    return outcome;
}

static enum login_outcome try(struct fixture *fixture, const char *name, const char *password)
{
    login_password(&fixture->login, span_string(name), span_string(password));
    return wait(fixture);
}

static uint64_t entries_cached(const struct fixture *fixture)
{
    uint64_t count = 0;
    for (size_t i = 0; i < (size_t)LOGIN_CACHE_SETS * LOGIN_CACHE_WAYS; i++)
        count += fixture->logins.cache.entries[i].until_ms != 0;
    return count;
}

static void test_password_tries(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(try(fixture, "tim", "wrong"), LOGIN_WRONG);
    assert_int_equal(try(fixture, "nobody", "secret"), LOGIN_WRONG);
    assert_int_equal(try(fixture, "", ""), LOGIN_WRONG);
    assert_int_equal(entries_cached(fixture), 0);
    assert_int_equal(try(fixture, "TIM", "secret"), LOGIN_GOOD);
    assert_true(span_equals(fixture->login.account->name, SPAN("tim")));
    assert_int_equal(entries_cached(fixture), 1);
    assert_int_equal(try(fixture, "tim", "secret"), LOGIN_GOOD);
    assert_int_equal(entries_cached(fixture), 1);
    for (size_t i = 0; i < sizeof fixture->login.password; i++)
        assert_int_equal(fixture->login.password[i], 0);
}

/* What the cache knows needs no thread; what was changed is not known. */
static void test_cache_serves(void **state)
{
    struct fixture *fixture = *state;
    char text[512];
    struct sink complaints;
    sink_init(&complaints, text, sizeof text);
    assert_int_equal(try(fixture, "tim", "secret"), LOGIN_GOOD);
    login_password(&fixture->login, SPAN("tim"), SPAN("secret"));
    assert_int_equal(fixture->done.state, OP_READY);
    assert_int_equal(wait(fixture), LOGIN_GOOD);
    write_account(fixture, "SHA512-CRYPT", "changed");
    assert_int_equal(accounts_look(&fixture->accounts, &complaints), 1);
    assert_int_equal(try(fixture, "tim", "secret"), LOGIN_WRONG);
    assert_int_equal(try(fixture, "tim", "changed"), LOGIN_GOOD);
}

static void test_scram_tries(void **state)
{
    struct fixture *fixture = *state;
    login_verifier(&fixture->login, SPAN("tim"));
    assert_int_equal(wait(fixture), LOGIN_GOOD);
    assert_int_equal(fixture->login.verifier.iterations, SCRAM_ITERATIONS);
    login_verdict(&fixture->login, true);
    assert_int_equal(wait(fixture), LOGIN_GOOD);
    assert_true(span_equals(fixture->login.account->name, SPAN("tim")));
    login_verifier(&fixture->login, SPAN("tim"));
    assert_int_equal(wait(fixture), LOGIN_GOOD);
    login_verdict(&fixture->login, false);
    assert_int_equal(wait(fixture), LOGIN_WRONG);
}

/* An unknown name gets a verifier of the same look, the same one each time, and never a login. */
static void test_scram_unknown(void **state)
{
    struct fixture *fixture = *state;
    char salt[SCRAM_SALT];
    login_verifier(&fixture->login, SPAN("nobody"));
    assert_int_equal(wait(fixture), LOGIN_GOOD);
    struct scram_verifier first = fixture->login.verifier;
    assert_int_equal(first.iterations, SCRAM_ITERATIONS);
    assert_int_equal(first.salt.len, 24);
    memcpy(salt, first.salt.data, first.salt.len);
    login_verdict(&fixture->login, true);
    assert_int_equal(wait(fixture), LOGIN_WRONG);
    login_verifier(&fixture->login, SPAN("nobody"));
    assert_int_equal(wait(fixture), LOGIN_GOOD);
    assert_memory_equal(salt, fixture->login.verifier.salt.data, 24);
    login_verdict(&fixture->login, false);
    assert_int_equal(wait(fixture), LOGIN_WRONG);
    login_verifier(&fixture->login, SPAN("nobody2"));
    assert_int_equal(wait(fixture), LOGIN_GOOD);
    assert_memory_not_equal(salt, fixture->login.verifier.salt.data, 24);
    login_verdict(&fixture->login, false);
    assert_int_equal(wait(fixture), LOGIN_WRONG);
}

static void test_too_many_failures(void **state)
{
    struct fixture *fixture = *state;
    fixture->logins.delay.first_ms = fixture->logins.delay.most_ms = 2 * LOGIN_DELAY_WAIT_MS;
    for (unsigned i = 0; i < 2; i++)
        login_delay_failed(&fixture->logins.delay, &fixture->peer, SPAN("tim"),
                           fixture->loop.now_ns / NS_PER_MS);
    assert_int_equal(try(fixture, "tim", "secret"), LOGIN_LATER);
    login_verifier(&fixture->login, SPAN("tim"));
    assert_int_equal(wait(fixture), LOGIN_LATER);
}

static void test_forget(void **state)
{
    struct fixture *fixture = *state;
    login_password(&fixture->login, SPAN("tim"), SPAN("secret"));
    assert_true(login_forget(&fixture->login)); /* still in the wheel */
    assert_int_equal(try(fixture, "tim", "secret"), LOGIN_GOOD);
    login_password(&fixture->login, SPAN("tim"), SPAN("secret"));
    assert_true(login_forget(&fixture->login)); /* answered, not dispatched */
    login_password(&fixture->login, SPAN("tim"), SPAN("other"));
    while (!fixture->login.hashing)
        assert_int_equal(loop_turn(&fixture->loop, NS_PER_S), 0);
    assert_false(login_forget(&fixture->login)); /* a thread has it */
    assert_int_equal(wait(fixture), LOGIN_LATER);
}

/* ---- the queue of the threads ---- */

static void test_queue_is_bounded(void **state)
{
    struct fixture *fixture = *state;
    static struct hash_job jobs[HASHER_QUEUE + 64];
    unsigned taken = 0;
    static char text[PASSWORD_STORED];
    struct sink sink;
    sink_init(&sink, text, sizeof text);
    assert_true(password_make(SPAN("ARGON2ID"), SPAN("secret"), &sink));
    for (unsigned i = 0; i < countof(jobs); i++) {
        jobs[i] = (struct hash_job){
            .home = &fixture->loop, .stored = sink_span(&sink), .password = SPAN("secret")};
        op_init(&jobs[i].op, NULL);
        if (hash_submit(fixture->logins.hashers, &jobs[i]))
            taken++;
    }
    assert_in_range(taken, HASHER_QUEUE, HASHER_QUEUE + 8);
    assert_true(op_idle(&jobs[countof(jobs) - 1].op));
    for (unsigned i = 0; i < countof(jobs); i++)
        atomic_store(&jobs[i].forgotten, true); /* those that have not begun end at once */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_delay_grows),
        cmocka_unit_test(test_delay_refuses),
        cmocka_unit_test(test_delay_owner),
        cmocka_unit_test(test_delay_of_a_network),
        cmocka_unit_test(test_delay_flood),
        cmocka_unit_test(test_cache),
        cmocka_unit_test_setup_teardown(test_password_tries, begin, end),
        cmocka_unit_test_setup_teardown(test_cache_serves, begin, end),
        cmocka_unit_test_setup_teardown(test_scram_tries, begin, end),
        cmocka_unit_test_setup_teardown(test_scram_unknown, begin, end),
        cmocka_unit_test_setup_teardown(test_too_many_failures, begin, end),
        cmocka_unit_test_setup_teardown(test_forget, begin, end),
        cmocka_unit_test_setup_teardown(test_queue_is_bounded, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
