/* Stored passwords: those that Dovecot and other programs have made, our own, and damaged ones. */
#include "core/password.h"

#include "core/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

/* "pencil", by `doveadm pw` and, the last ones, by mkpasswd; the first one is RFC 7677's. */
static const char *const pencils[] = {
    "{SCRAM-SHA-256}4096,W22ZaJ0SNY7soEsUEjb6gQ==,WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,"
    "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
    "{SCRAM-SHA-256}4096,C1xJ35Rqqq8IaCbZsJCRhQ==,MxJ86AsbEJxf30brjuqWQbVXAYf9wKrbH1TOBR6U2lo=,"
    "It+RAs1FaB1tzD1rATqb2Zcyu954WuyN4XwtVthR2n0=",
    "{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$T/9b1DxjQkeA6T/"
    "k16bWaw$UN4uVuaC5AY1b+Gu51cBpaGbg3kYj0mXff0mOD2zPvU",
    "{BLF-CRYPT}$2y$05$ZdfHB5LrH5zZFXMbZFEftuyvrlFKf.plBNZwb/N1FyGSjLi8Sktvq",
    "{SHA512-CRYPT}$6$4Gku3R/kW.cUczEN$VfcCXrYQWwVzm67jVOpKvGZ3RC79Vz2ed7hh8LLBm5DaHljpFLV7AklPels"
    "QEHWH9R2WHAmOsvXRyDvJzYQis.",
    "{sha512-crypt}$6$4Gku3R/kW.cUczEN$VfcCXrYQWwVzm67jVOpKvGZ3RC79Vz2ed7hh8LLBm5DaHljpFLV7AklPels"
    "QEHWH9R2WHAmOsvXRyDvJzYQis.",
    "$6$4Gku3R/kW.cUczEN$VfcCXrYQWwVzm67jVOpKvGZ3RC79Vz2ed7hh8LLBm5DaHljpFLV7AklPelsQEHWH9R2WHAmOs"
    "vXRyDvJzYQis.",
    "{SHA256-CRYPT}$5$wdWVbp6/KGvYAhx6$nu7kJZFRnfnb6sZPt6dMvSVuMAOuQ82cENW3.J.sTg6",
    "{MD5-CRYPT}$1$HKtNWUTv$7R8uf4LDJn4ds6EYMJd7h.",
    "{DES-CRYPT}HZ4ax0wcXpyts",
    "{CRYPT}$y$j9T$k2XAnEHBqQ1Ct2aMXFKNa/$2eEDeANGaiC9cvktQOvubm1vJvxaIoB6W/nNJhV4Cm0",
};

static void test_right_and_wrong(void **state)
{
    for (size_t i = 0; i < countof(pencils); i++) {
        struct span stored = span_string(pencils[i]);
        if (password_fault(stored))
            fail_msg("%s: %s", pencils[i], password_fault(stored));
        if (!password_check(stored, SPAN("pencil")))
            fail_msg("%s: the right password is refused", pencils[i]);
        assert_false(password_check(stored, SPAN("Pencil")));
        assert_false(password_check(stored, SPAN("pencil ")));
        assert_false(password_check(stored, SPAN("pencil\0")));
        assert_false(password_check(stored, SPAN("")));
    }
}

static void test_faults(void **state)
{
    static const char *const faulty[] = {
        "",
        "{}",
        "{PLAIN}pencil",
        "{SSHA256}abc",
        "{CRYPT}",
        "{CRYPT}*",
        "!",
        "x",
        "{CRYPT",
        "{SHA512-CRYPT.HEX}00",
        "{ARGON2ID}",
        "{ARGON2ID}$argon2d$v=19$m=65536,t=3,p=1$AAAA$AAAA",
        "{ARGON2ID}$argon2id$v=19$m=99999999,t=3,p=1$AAAA$AAAA",
        "{ARGON2ID}$argon2id$v=19$m=65536,t=99999,p=1$AAAA$AAAA",
        "{SCRAM-SHA-256}",
        "{SCRAM-SHA-256}4096",
        "{SCRAM-SHA-256}4096,W22ZaJ0SNY7soEsUEjb6gQ==",
        "{SCRAM-SHA-256}0,W22ZaJ0SNY7soEsUEjb6gQ==,WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,"
        "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
        "{SCRAM-SHA-256}9999999,W22ZaJ0SNY7soEsUEjb6gQ==,WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4q"
        "Y=,wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
        "{SCRAM-SHA-256}4096,W22ZaJ0SNY7soEsUEjb6gQ,WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,"
        "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
        "{SCRAM-SHA-256}4096,W22ZaJ0SNY7soEsUEjb6gQ==,WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,"
        "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=,",
        "{SCRAM-SHA-256}4096,W22ZaJ0SNY7soEsUEjb6gQ==,WG5d8oPm,wfPLwcE6nTWhTAmQ7tl2Keoi",
    };
    for (size_t i = 0; i < countof(faulty); i++) {
        if (!password_fault(span_string(faulty[i])))
            fail_msg("%s has no fault", faulty[i]);
        assert_false(password_check(span_string(faulty[i]), SPAN("pencil")));
    }
}

static void test_made(void **state)
{
    static const char *const schemes[] = {"SCRAM-SHA-256", "argon2id", "SHA512-CRYPT", "BLF-CRYPT"};
    for (size_t i = 0; i < countof(schemes); i++) {
        char text[2][PASSWORD_STORED];
        for (unsigned j = 0; j < 2; j++) {
            struct sink sink;
            sink_init(&sink, text[j], sizeof text[j]);
            assert_true(password_makes(span_string(schemes[i])));
            assert_true(password_make(span_string(schemes[i]),
                                      SPAN("Spr\xc3\xb6"
                                           "de 7"),
                                      &sink));
            sink_byte(&sink, '\0');
            struct span stored = span_string(text[j]);
            assert_null(password_fault(stored));
            assert_true(password_check(stored, SPAN("Spr\xc3\xb6"
                                                    "de 7")));
            assert_false(password_check(stored, SPAN("Sprode 7")));
        }
        assert_string_not_equal(text[0], text[1]); /* salted */
    }
}

static void test_not_made(void **state)
{
    char text[PASSWORD_STORED], long_one[PASSWORD_MOST + 1];
    struct sink sink;
    memset(long_one, 'a', sizeof long_one);
    sink_init(&sink, text, sizeof text);
    assert_false(password_makes(SPAN("CRYPT")));
    assert_false(password_makes(SPAN("PLAIN")));
    assert_false(password_make(SPAN("PLAIN"), SPAN("a"), &sink));
    assert_false(password_make(SPAN("SCRAM-SHA-256"), SPAN(""), &sink));
    assert_false(password_make(SPAN("SCRAM-SHA-256"), SPAN("a\nb"), &sink));
    assert_false(password_make(SPAN("SCRAM-SHA-256"), SPAN("a\0b"), &sink));
    assert_false(password_make(SPAN("SCRAM-SHA-256"), span_of(long_one, PASSWORD_MOST + 1), &sink));
    sink_init(&sink, text, sizeof text);
    assert_true(password_make(SPAN("SHA512-CRYPT"), span_of(long_one, PASSWORD_MOST), &sink));
    assert_true(password_check(sink_span(&sink), span_of(long_one, PASSWORD_MOST)));
    sink_init(&sink, text, 16);
    assert_false(password_make(SPAN("SCRAM-SHA-256"), SPAN("a"), &sink));
}

/* RFC 4231 test case 2, RFC 7914 11. */
static void test_digests(void **state)
{
    static const uint8_t hmac[] = {0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e};
    static const uint8_t stretched[] = {0x55, 0xac, 0x04, 0x6e, 0x56, 0xe3, 0x08, 0x9f};
    uint8_t digest[DIGEST_LEN];
    digest_hmac(SPAN("Jefe"), SPAN("what do ya want for nothing?"), digest);
    assert_memory_equal(digest, hmac, sizeof hmac);
    digest_stretch(SPAN("passwd"), SPAN("salt"), 1, digest);
    assert_memory_equal(digest, stretched, sizeof stretched);
    assert_true(digest_same(SPAN("ab"), SPAN("ab")) && digest_same(SPAN(""), (struct span){0}));
    assert_false(digest_same(SPAN("ab"), SPAN("ac")) || digest_same(SPAN("ab"), SPAN("abc")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_right_and_wrong),
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_made),
        cmocka_unit_test(test_not_made),
        cmocka_unit_test(test_digests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
