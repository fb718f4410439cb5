/* The password file: what gives an account, what gives a complaint, and reading it again. */
#include "core/accounts.h"

#include "core/check.h"
#include "tests/unit/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define HASH                                                                                       \
    "{SCRAM-SHA-256}4096,W22ZaJ0SNY7soEsUEjb6gQ==,WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,"   \
    "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
#define DES "HZ4ax0wcXpyts"

static const struct hash_seed seed = {1, 2};

static char complaints_text[4096];

static struct account_set *parse(const char *text)
{
    struct account_set *set;
    struct sink complaints;
    sink_init(&complaints, complaints_text, sizeof complaints_text - 1);
    assert_int_equal(account_set_parse(span_string(text), seed, &set, &complaints), 0);
    complaints_text[complaints.len] = '\0';
    return set;
}

static void test_forms(void **state)
{
    struct account_set *set =
        parse("# a remark\n"
              "\n"
              "Alice@Example.org:" HASH ":1000:1000:Alice:/home/a:/bin/sh:"
              "userdb_mail=maildir:~/x  ringpost_domains=A.example,*.b.example"
              " ringpost_tenant=acme ringpost_rate=100/m\n"
              "bob:" DES "\r\n"
              "carol:{CRYPT}" DES ":::::::\n"
              "dave:" DES "::::::nologin\n"
              "last:" DES);
    assert_string_equal(complaints_text, "");
    assert_int_equal(account_set_count(set), 4);
    const struct account *alice = account_find(set, SPAN("alice@EXAMPLE.org"));
    assert_non_null(alice);
    assert_true(span_equals(alice->name, SPAN("alice@example.org")));
    assert_true(span_equals(alice->stored, SPAN(HASH)));
    assert_true(span_equals(alice->tenant, SPAN("acme")));
    assert_int_equal(alice->rate.count, 100);
    assert_int_equal(alice->rate.period_ms, 60000);
    assert_true(account_has_domain(alice, SPAN("a.example")));
    assert_true(account_has_domain(alice, SPAN("x.y.b.example")));
    assert_false(account_has_domain(alice, SPAN("b.example")));
    assert_false(account_has_domain(alice, SPAN("xb.example")));
    assert_false(account_has_domain(alice, SPAN("x.a.example")));
    assert_false(account_has_domain(alice, SPAN("")));
    const struct account *bob = account_find(set, SPAN("bob"));
    assert_true(bob && account_has_domain(bob, SPAN("anything.example")) && bob->tenant.len == 0);
    assert_non_null(account_find(set, SPAN("last")));
    assert_null(account_find(set, SPAN("dave")));
    assert_null(account_find(set, SPAN("")));
    account_set_free(set);
}

static void test_complaints(void **state)
{
    static const struct {
        const char *text, *complaint;
    } table[] = {
        {"bob\n", "line 1: the password cannot be used: empty: \"bob\"\n"},
        {":" DES "\n", "line 1: not a user name:\n"},
        {"bo b:" DES "\n", "line 1: not a user name: \"bo b\"\n"},
        {"b:{PLAIN}x\n",
         "line 1: the password cannot be used: its scheme is not known here: \"b\"\n"},
        {"b:" DES "\nB:" DES "\n", "line 2: this user is there already: \"b\"\n"},
        {"b:" DES "::::::ringpost_domain=x.example\n",
         "line 1: this extra field is not known here: \"ringpost_domain\"\n"},
        {"b:" DES "::::::allow_nets=10.0.0.0/8\n",
         "line 1: this extra field is not known here: \"allow_nets\"\n"},
        {"b:" DES "::::::ringpost_domains=\n", "line 1: ringpost_domains: not a domain:\n"},
        {"b:" DES "::::::ringpost_domains=a.example,,b.example\n",
         "line 1: ringpost_domains: not a domain:\n"},
        {"b:" DES "::::::ringpost_domains=a.b ringpost_domains=c.d ringpost_domains=e.f\n",
         "line 1: ringpost_domains is there twice\n"},
        {"b:" DES "::::::ringpost_domains=*\n", "line 1: ringpost_domains: not a domain: \"*\"\n"},
        {"b:" DES "::::::ringpost_tenant=a/b\n",
         "line 1: ringpost_tenant: not a tenant: \"a/b\"\n"},
        {"b:" DES "::::::ringpost_rate=fast\n",
         "line 1: ringpost_rate: not a rate like 100/m: \"fast\"\n"},
        {"\n#\nb\x1b:" DES "\n", "line 3: not a user name: \"b?\"\n"},
    };
    for (size_t i = 0; i < countof(table); i++) {
        struct account_set *set = parse(table[i].text);
        assert_string_equal(complaints_text, table[i].complaint);
        account_set_free(set);
    }
}

/* A line with a mistake takes nothing from those around it. */
static void test_mistake_between(void **state)
{
    struct account_set *set = parse("a:" DES "::::::ringpost_domains=a.example\n"
                                    "b:" DES "::::::ringpost_domains=b.example ringpost_x=1\n"
                                    "c:" HASH "::::::ringpost_domains=c.example\n");
    assert_int_equal(account_set_count(set), 2);
    assert_true(account_has_domain(account_find(set, SPAN("a")), SPAN("a.example")));
    assert_true(account_has_domain(account_find(set, SPAN("c")), SPAN("c.example")));
    assert_false(account_has_domain(account_find(set, SPAN("c")), SPAN("b.example")));
    account_set_free(set);
}

static void test_stand_ins(void **state)
{
    struct account_set *set = parse("a:" DES "\nb:" DES "\nc:" HASH "\n");
    struct span c = SPAN("c");
    assert_true(span_equals(account_stand_in(set, SPAN("nobody"), true)->name, c));
    assert_ptr_equal(account_stand_in(set, SPAN("nobody"), false),
                     account_stand_in(set, SPAN("nobody"), false));
    account_set_free(set);
    set = parse("");
    assert_int_equal(account_set_count(set), 0);
    assert_null(account_stand_in(set, SPAN("nobody"), false));
    assert_null(account_stand_in(set, SPAN("nobody"), true));
    account_set_free(set);
}

static void test_unchanged(void **state)
{
    static const struct {
        const char *line;
        bool same;
    } table[] = {
        {"a:" DES "::::::ringpost_domains=a.example ringpost_rate=1/s", true},
        {"a:" DES ":1:2:x:y:z:ringpost_rate=1/s ringpost_domains=a.example", true},
        {"a:" HASH "::::::ringpost_domains=a.example ringpost_rate=1/s", false},
        {"a:" DES "::::::ringpost_domains=b.example ringpost_rate=1/s", false},
        {"a:" DES "::::::ringpost_domains=a.example ringpost_rate=2/s", false},
        {"a:" DES "::::::ringpost_rate=1/s", false},
        {"a:" DES "::::::ringpost_domains=a.example ringpost_rate=1/s ringpost_tenant=t", false},
        {"b:" DES, false},
    };
    struct account_set *before = parse(table[0].line);
    for (size_t i = 0; i < countof(table); i++) {
        struct account_set *now = parse(table[i].line);
        assert_int_equal(account_unchanged(account_find(before, SPAN("a")), now), table[i].same);
        account_set_free(now);
    }
    account_set_free(before);
}

/* ---- the file ---- */

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void test_file(void **state)
{
    char folder[FOLDER_PATH], path[FOLDER_PATH + 16], other[FOLDER_PATH + 16];
    struct accounts accounts;
    struct sink complaints;
    folder_make(folder);
    snprintf(path, sizeof path, "%s/passwd", folder);
    snprintf(other, sizeof other, "%s/other", folder);
    sink_init(&complaints, complaints_text, sizeof complaints_text);
    assert_int_equal(accounts_init(&accounts, path, seed, &complaints), -ENOENT);
    accounts_fini(&accounts);

    write_file(path, "a:" DES "\n");
    assert_int_equal(accounts_init(&accounts, path, seed, &complaints), 0);
    assert_int_equal(accounts_look(&accounts, &complaints), 0);
    struct account_set *before = accounts_take(&accounts);
    const struct account *a = account_find(before, SPAN("a"));
    uint64_t generation = atomic_load(&accounts.generation);
    atomic_store(a->rate_tat_ns, 77);

    write_file(other, "b:" DES "\na:" DES "\n");
    assert_int_equal(rename(other, path), 0);
    assert_int_equal(accounts_look(&accounts, &complaints), 1);
    assert_true(atomic_load(&accounts.generation) > generation);
    struct account_set *now = accounts_take(&accounts);
    assert_non_null(account_find(now, SPAN("b")));
    assert_int_equal(atomic_load(account_find(now, SPAN("a"))->rate_tat_ns), 77);
    assert_true(span_equals(a->name, SPAN("a"))); /* the old set lives while it is held */
    account_set_free(before);

    write_file(other, "no password\nnor here\n");
    assert_int_equal(rename(other, path), 0);
    assert_int_equal(accounts_look(&accounts, &complaints), -EBADMSG);
    assert_int_equal(accounts_look(&accounts, &complaints), 0); /* said once */

    assert_int_equal(unlink(path), 0);
    assert_int_equal(accounts_look(&accounts, &complaints), -ENOENT);
    struct account_set *still = accounts_take(&accounts);
    assert_ptr_equal(still, now);
    account_set_free(still);
    account_set_free(now);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_true(accounts_look(&accounts, &complaints) < 0);
    accounts_fini(&accounts);
    folder_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),           cmocka_unit_test(test_complaints),
        cmocka_unit_test(test_mistake_between), cmocka_unit_test(test_stand_ins),
        cmocka_unit_test(test_unchanged),       cmocka_unit_test(test_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
