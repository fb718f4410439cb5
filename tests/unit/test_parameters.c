/* Parameters of MAIL and RCPT, as tables: what is read, and how each wrong form is called. */
#include "core/check.h"
#include "smtp/parameters.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

struct mail_case {
    const char *text;
    uint64_t size;
    const char *envid;
    uint8_t ret;
    bool utf8, eight_bit;
};

static const struct mail_case mail_good[] = {
    {"", 0, "", RET_NONE, false, false},
    {" ", 0, "", RET_NONE, false, false},
    {" SIZE=0", 0, "", RET_NONE, false, false},
    {" size=00012", 12, "", RET_NONE, false, false},
    {" SIZE=18446744073709551615", UINT64_MAX, "", RET_NONE, false, false},
    {" SIZE=99999999999999999999", UINT64_MAX, "", RET_NONE, false, false},
    {" BODY=7BIT", 0, "", RET_NONE, false, false},
    {" Body=8bitMime", 0, "", RET_NONE, false, true},
    {" SMTPUTF8", 0, "", RET_NONE, true, false},
    {" RET=FULL", 0, "", RET_FULL, false, false},
    {" ret=hdrs ENVID=a+2Bb+3D+FF SMTPUTF8   BODY=8BITMIME SIZE=7  ", 7, "a+2Bb+3D+FF", RET_HDRS,
     true, true},
};

static const char *const mail_bad[] = {
    "SIZE=1",
    "x",
    "\tSIZE=1",
    " SIZE",
    " SIZE=",
    " SIZE=1 SIZE=1",
    " SIZE=+1",
    " SIZE=-1",
    " SIZE=0x1",
    " SIZE=1,5",
    " SIZE=999999999999999999999",
    " BODY",
    " BODY=",
    " BODY=BINARYMIME",
    " BODY=8BITMIME BODY=7BIT",
    " SMTPUTF8=",
    " SMTPUTF8 SMTPUTF8",
    " RET",
    " RET=",
    " RET=BOTH",
    " ENVID",
    " ENVID=",

    " ENVID=+",
    " ENVID=+2",
    " ENVID=+2b",
    " ENVID=+GG",
    " ENVID=+00",
    " ENVID=+0A",
    " ENVID=+0D",
    " ENVID=+1F",
    " ENVID=+7F",
    " ENVID=a=b",
    " ENVID=\xc3\xa4",
    " =",
    " =1",
};

static const char *const mail_unknown[] = {" X",     " X=",     " NOTIFY=NEVER", " ORCPT=rfc822;a",
                                           " SIZ=1", " SIZES=1"};

static void test_mail_good(void **state)
{
    for (size_t i = 0; i < countof(mail_good); i++) {
        const struct mail_case *wanted = &mail_good[i];
        struct mail_parameters is;
        if (mail_parameters_read(span_string(wanted->text), &is) != PARAMETERS_GOOD)
            fail_msg("\"%s\" is refused", wanted->text);
        assert_true(is.size == wanted->size && is.ret == wanted->ret);
        assert_true(span_equals(is.envid, span_string(wanted->envid)));
        assert_true(is.utf8 == wanted->utf8 && is.eight_bit == wanted->eight_bit);
    }
}

static void test_mail_bad(void **state)
{
    struct mail_parameters is;
    for (size_t i = 0; i < countof(mail_bad); i++)
        if (mail_parameters_read(span_string(mail_bad[i]), &is) != PARAMETERS_BAD)
            fail_msg("\"%s\" is not bad", mail_bad[i]);
    for (size_t i = 0; i < countof(mail_unknown); i++)
        if (mail_parameters_read(span_string(mail_unknown[i]), &is) != PARAMETERS_UNKNOWN)
            fail_msg("\"%s\" is not unknown", mail_unknown[i]);
}

struct rcpt_case {
    const char *text, *original;
    uint8_t notify;
};

static const struct rcpt_case rcpt_good[] = {
    {"", "", 0},
    {" NOTIFY=NEVER", "", NOTIFY_NEVER},
    {" notify=Delay", "", NOTIFY_DELAY},
    {" NOTIFY=SUCCESS,FAILURE,DELAY", "", NOTIFY_SUCCESS | NOTIFY_FAILURE | NOTIFY_DELAY},
    {" ORCPT=rfc822;a@b.example", "rfc822;a@b.example", 0},
    {" ORCPT=X-400;+2Fa", "X-400;+2Fa", 0},
    {" ORCPT=rfc822;;", "rfc822;;", 0},
    {" NOTIFY=FAILURE ORCPT=utf-8;j\xc3\xb6@b.example", "utf-8;j\xc3\xb6@b.example",
     NOTIFY_FAILURE},
    {" ORCPT=UTF-8;\\x{20AC}\\x{1F600}\\x{2B}", "UTF-8;\\x{20AC}\\x{1F600}\\x{2B}", 0},
};

static const char *const rcpt_bad[] = {
    " NOTIFY",
    " NOTIFY=",
    " NOTIFY=,",
    " NOTIFY=NEVER,",
    " NOTIFY=,NEVER",
    " NOTIFY=NEVER,DELAY",
    " NOTIFY=DELAY,NEVER",
    " NOTIFY=DELAY,DELAY",
    " NOTIFY=NEVER NOTIFY=DELAY",
    " ORCPT",
    " ORCPT=",
    " ORCPT=a",
    " ORCPT=rfc822;",
    " ORCPT=;a",
    " ORCPT=rfc 822;a=",
    " ORCPT=rfc_822;a",
    " ORCPT=rfc822;a+0A",
    " ORCPT=rfc822;a+0d",
    " ORCPT=rfc822;a+7F",
    " ORCPT=rfc822;\xc3\xb6",
    " ORCPT=utf-8;\xff",
    " ORCPT=utf-8;\xc2\x85",
    " ORCPT=utf-8;\\x{A}",
    " ORCPT=utf-8;\\x{85}",
    " ORCPT=utf-8;\\x{D800}",
    " ORCPT=utf-8;\\x{110000}",
    " ORCPT=utf-8;\\x{}",
    " ORCPT=utf-8;\\x{41",
    " ORCPT=utf-8;\\x",
    " ORCPT=utf-8;a+b",
    " ORCPT=utf-8;a=b",
    " ORCPT=rfc822;a ORCPT=rfc822;a",
};

static const char *const rcpt_unknown[] = {" SIZE=1", " RET=FULL", " SMTPUTF8", " X-Y=Z"};

static void test_rcpt(void **state)
{
    struct rcpt_parameters is;
    for (size_t i = 0; i < countof(rcpt_good); i++) {
        if (rcpt_parameters_read(span_string(rcpt_good[i].text), &is) != PARAMETERS_GOOD)
            fail_msg("\"%s\" is refused", rcpt_good[i].text);
        assert_true(is.notify == rcpt_good[i].notify);
        assert_true(span_equals(is.original, span_string(rcpt_good[i].original)));
    }
    for (size_t i = 0; i < countof(rcpt_bad); i++)
        if (rcpt_parameters_read(span_string(rcpt_bad[i]), &is) != PARAMETERS_BAD)
            fail_msg("\"%s\" is not bad", rcpt_bad[i]);
    for (size_t i = 0; i < countof(rcpt_unknown); i++)
        if (rcpt_parameters_read(span_string(rcpt_unknown[i]), &is) != PARAMETERS_UNKNOWN)
            fail_msg("\"%s\" is not unknown", rcpt_unknown[i]);
}

static struct span long_text(char *storage, size_t capacity, const char *front, size_t len)
{
    struct sink sink;
    sink_init(&sink, storage, capacity);
    sink_put(&sink, span_string(front));
    while (len--)
        sink_byte(&sink, 'x');
    return sink_span(&sink);
}

static void test_lengths(void **state)
{
    char storage[600];
    struct mail_parameters mail;
    struct rcpt_parameters rcpt;
    for (int over = -1; over <= 1; over++) {
        struct span envid = long_text(storage, sizeof storage, " ENVID=", (size_t)(100 + over));
        assert_int_equal(mail_parameters_read(envid, &mail) == PARAMETERS_GOOD, over <= 0);
        struct span orcpt = long_text(storage, sizeof storage, " ORCPT=a;", (size_t)(498 + over));
        assert_int_equal(rcpt_parameters_read(orcpt, &rcpt) == PARAMETERS_GOOD, over <= 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mail_good),
        cmocka_unit_test(test_mail_bad),
        cmocka_unit_test(test_rcpt),
        cmocka_unit_test(test_lengths),
    };
    return cmocka_run_group_tests_name("parameters", tests, NULL, NULL);
}
