/* Lines of the journal as rows of an accounting file. */
#include "queue/accounting.h"

#include "core/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static char scratch_storage[1 << 16], row_storage[1 << 16];

static bool convert(const char *line, unsigned types)
{
    struct sink scratch, rows;
    sink_init(&scratch, scratch_storage, sizeof scratch_storage);
    sink_init(&rows, row_storage, sizeof row_storage - 1);
    bool good = accounting_put_rows(span_string(line), types, &scratch, &rows);
    row_storage[rows.len] = '\0';
    return good;
}

#define DELIVERY                                                                                   \
    "{\"type\":\"Delivery\",\"id\":\"0123456789abcdef\",\"sender\":\"a@b.test\","                  \
    "\"recipient\":\"c@d.test\",\"queue\":\"news:shop@d.test\",\"site\":\"s\",\"size\":1234,"      \
    "\"response\":{\"code\":250,\"enhanced_code\":{\"class\":2,\"subject\":1,\"detail\":5},"       \
    "\"content\":\"Ok, \\\"done\\\"\",\"command\":\".\"},"                                         \
    "\"peer_address\":{\"name\":\"mx.d.test\",\"addr\":\"192.0.2.7\"},"                            \
    "\"timestamp\":1795534010,\"event_time\":\"x\",\"created\":1795534000,"                        \
    "\"bounce_classification\":\"Uncategorized\",\"egress_pool\":\"p\",\"egress_source\":\"ip-"    \
    "1\","                                                                                         \
    "\"source_address\":{\"address\":\"[2001:db8::1]:2525\"},\"delivery_protocol\":\"ESMTP\","     \
    "\"tls_cipher\":\"C\",\"tls_protocol_version\":\"TLSv1.3\","                                   \
    "\"meta\":{\"tenant\":\"shop\",\"campaign\":\"news\"},\"envid\":\"E1\","                       \
    "\"orcpt\":\"rfc822;c@d.test\"}"

static void a_delivery(void **state)
{
    assert_true(convert(DELIVERY, ACCOUNTING_ALL));
    assert_string_equal(
        row_storage,
        "d,2026-11-24 15:26:50+0000,2026-11-24 15:26:40+0000,10,a@b.test,c@d.test,rfc822;c@d.test,"
        "relayed,2.1.5 (success),\"smtp;250 2.1.5 Ok, \"\"done\"\"\",mx.d.test (192.0.2.7),,smtp,,,"
        "smtp,2001:db8::1,192.0.2.7,1234,ip-1,p,news,E1,d.test/ip-1,TLSv1.3,C,\r\n");
}

static void a_row_per_recipient(void **state)
{
    assert_true(convert("{\"type\":\"Reception\",\"sender\":\"\",\"recipient\":[\"a@x.test\","
                        "\"b,\\\"q\\\"@x.test\"],\"timestamp\":1795534010,\"created\":1795534010,"
                        "\"queue\":\"x.test\",\"peer_address\":{\"name\":\"me\",\"addr\":\"::1\"},"
                        "\"meta\":{},\"response\":{\"code\":250}}",
                        ACCOUNTING_ALL));
    assert_string_equal(
        row_storage,
        "r,2026-11-24 15:26:50+0000,,,,a@x.test,,,,,,,smtp,me (::1),::1,,,,,,,,,,,,\r\n"
        "r,2026-11-24 15:26:50+0000,,,,\"b,\"\"q\"\"@x.test\",,,,,,,smtp,me (::1),::1,"
        ",,,,,,,,,,,\r\n");
}

static void types_of_rows(void **state)
{
    static const struct {
        const char *type, *row, *category;
    } cases[] = {
        {"Bounce", "b,", "InvalidSender"},
        {"Expiration", "b,", "MessageExpired"},
        {"AdminBounce", "b,", "Uncategorized"},
        {"TransientFailure", "t,", "QuotaIssues"},
        {"OOB", "rb,", "InvalidRecipient"},
        {"Feedback", "f,", "Uncategorized"},
        {"Loss", "", ""},
        {"Delayed", "", ""},
        {"Rejection", "", ""},
    };
    static const char *const theirs[] = {"invalid-sender", "message-expired", "other",
                                         "quota-issues", "bad-mailbox"};
    for (unsigned i = 0; i < countof(cases); i++) {
        char line[512];
        snprintf(line, sizeof line,
                 "{\"type\":\"%s\",\"recipient\":\"c@d.test\",\"bounce_classification\":\"%s\"}",
                 cases[i].type, cases[i].category);
        assert_true(convert(line, ACCOUNTING_ALL));
        assert_memory_equal(row_storage, cases[i].row, strlen(cases[i].row));
        if (cases[i].row[0] == '\0')
            assert_string_equal(row_storage, "");
        if (i < countof(theirs))
            assert_non_null(strstr(row_storage, theirs[i]));
    }
}

static void only_the_types_wanted(void **state)
{
    unsigned types = 0;
    assert_true(accounting_types_read(SPAN("b,t"), &types));
    assert_int_equal(types, ACCOUNTING_B | ACCOUNTING_T);
    assert_true(convert(DELIVERY, types));
    assert_string_equal(row_storage, "");
    assert_true(accounting_types_read(SPAN("rb,f,d,r"), &types));
    assert_false(accounting_types_read(SPAN(""), &types));
    assert_false(accounting_types_read(SPAN("d,x"), &types));
    assert_false(accounting_types_read(SPAN("d;b"), &types));
}

/* A row has as many cells as the header. */
static void cells_and_header_agree(void **state)
{
    struct sink header;
    static char text[4096];
    unsigned columns = 0, cells = 0;
    sink_init(&header, text, sizeof text);
    accounting_put_header(&header);
    for (size_t i = 0; i < header.len; i++)
        columns += text[i] == ',';
    assert_true(convert("{\"type\":\"Bounce\",\"recipient\":\"c@d.test\"}", ACCOUNTING_ALL));
    for (const char *c = row_storage; *c; c++)
        cells += *c == ',';
    assert_int_equal(cells, columns);
    assert_memory_equal(text, "type,timeLogged,", 16);
    assert_memory_equal(text + header.len - 2, "\r\n", 2);
}

static void what_is_no_line(void **state)
{
    static const char *const lines[] = {"",
                                        "{",
                                        "{}",
                                        "[]",
                                        "{\"type\":1}",
                                        "{\"type\":\"Bounce\"",
                                        "{\"type\":\"Bounce\",\"response\":{\"code\":}"};
    for (unsigned i = 0; i < countof(lines); i++)
        assert_false(convert(lines[i], ACCOUNTING_ALL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_delivery),
        cmocka_unit_test(a_row_per_recipient),
        cmocka_unit_test(types_of_rows),
        cmocka_unit_test(only_the_types_wanted),
        cmocka_unit_test(cells_and_header_agree),
        cmocka_unit_test(what_is_no_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
