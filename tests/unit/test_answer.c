/* DNS responses as they should be, and as liars and broken servers send them. */
#include "tests/unit/dns_packet.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { RESPONSE = 0x8180, NXDOMAIN = 0x8183, SERVFAIL = 0x8182, CUT = 0x8380, SIGNED = 0x81a0 };

static struct packet_builder packet;

static struct name name_of(const char *text)
{
    struct name name;
    assert_true(name_parse(span_string(text), &name));
    return name;
}

static int decode(const char *asked, enum rr_type type, struct answer **ret_answer)
{
    struct name name = name_of(asked);
    /* An exact copy on the heap, so that the sanitizer sees a read past the end. */
    struct span span = packet_span(&packet);
    char *copy = malloc(span.len ? span.len : 1);
    assert_non_null(copy);
    memcpy(copy, span.data, span.len);
    int result = answer_decode(span_of(copy, span.len), &name, type, ret_answer);
    free(copy);
    return result;
}

static struct answer *decoded(const char *asked, enum rr_type type)
{
    struct answer *answer = NULL;
    assert_int_equal(decode(asked, type, &answer), 0);
    return answer;
}

static void assert_name(struct span name, const char *expected)
{
    assert_true(span_equals(name, span_string(expected)));
}

static void test_names(void **state)
{
    static const struct {
        const char *text, *expected; /* NULL: not valid */
    } cases[] = {
        {"example.org", "example.org"},
        {"Example.ORG.", "example.org"},
        {"a", "a"},
        {"_dmarc.x-1.example", "_dmarc.x-1.example"},
        {"", NULL},
        {".", NULL},
        {"a..b", NULL},
        {".a", NULL},
        {"a b", NULL},
        {"a\x80", NULL},
        {"[192.0.2.1]", NULL},
        {"123456789012345678901234567890123456789012345678901234567890123.a",
         "123456789012345678901234567890123456789012345678901234567890123.a"},
        {"1234567890123456789012345678901234567890123456789012345678901234.a", NULL},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct name name;
        bool valid = name_parse(span_string(cases[i].text), &name);
        assert_int_equal(valid, cases[i].expected != NULL);
        if (valid)
            assert_name(name_span(&name), cases[i].expected);
    }
}

static void test_name_length(void **state)
{
    char text[300];
    struct name name;
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = i % 2 ? '.' : 'a';
    assert_true(name_parse(span_of(text, 253), &name));
    assert_int_equal(name.len, 253);
    assert_true(name_parse(span_of(text, 254), &name)); /* the last byte is the root's dot */
    assert_false(name_parse(span_of(text, 255), &name));
}

static void test_mx(void **state)
{
    packet_start(&packet, SIGNED, "Example.org", RR_MX);
    packet_mx(&packet, "example.ORG", 300, 20, "MX2.example.net");
    packet_mx(&packet, "example.org", 200, 10, "mx1.example.net");
    packet_mx(&packet, "other.example", 1, 5, "liar.example.net");
    struct answer *answer = decoded("example.org", RR_MX);
    assert_int_equal(answer->count, 2);
    assert_int_equal(answer->rcode, RCODE_NOERROR);
    assert_true(answer->authentic && answer->ttl_known && answer_positive(answer));
    assert_int_equal(answer->ttl_s, 200);
    assert_int_equal(answer->records[0].preference, 20);
    assert_name(answer->records[0].name, "mx2.example.net");
    assert_name(answer->records[1].name, "mx1.example.net");
    assert_name(answer->name, "example.org");
    answer_free(answer);
}

static void test_addresses(void **state)
{
    packet_start(&packet, RESPONSE, "mx.example", RR_A);
    packet_a(&packet, "mx.example", 60, 0xc0000201);
    packet_a(&packet, "mx.example", 60, 0xc0000202);
    struct answer *answer = decoded("mx.example", RR_A);
    assert_int_equal(answer->count, 2);
    static const uint8_t v4[16] = {[10] = 0xff, 0xff, 192, 0, 2, 2};
    assert_memory_equal(answer->records[1].bits, v4, 16);
    assert_false(answer->authentic);
    answer_free(answer);

    packet_start(&packet, RESPONSE, "mx.example", RR_AAAA);
    packet_aaaa(&packet, "mx.example", 60, 0x20010db800000000, 7);
    answer = decoded("mx.example", RR_AAAA);
    static const uint8_t v6[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = 7};
    assert_memory_equal(answer->records[0].bits, v6, 16);
    answer_free(answer);
}

static void test_chain(void **state)
{
    /* In an order that no server promises. */
    packet_start(&packet, RESPONSE, "a.example", RR_MX);
    packet_mx(&packet, "c.example", 300, 10, "mx.example");
    packet_cname(&packet, "b.example", 50, "c.example");
    packet_cname(&packet, "a.example", 100, "b.example");
    struct answer *answer = decoded("a.example", RR_MX);
    assert_int_equal(answer->count, 1);
    assert_false(answer->follow);
    assert_int_equal(answer->ttl_s, 50);
    assert_name(answer->name, "c.example");
    answer_free(answer);
}

static void chain_of(unsigned length)
{
    char from[32], to[32];
    packet_start(&packet, RESPONSE, "c0.example", RR_A);
    for (unsigned i = 0; i < length; i++) {
        snprintf(from, sizeof(from), "c%u.example", i);
        snprintf(to, sizeof(to), "c%u.example", i + 1);
        packet_cname(&packet, from, 9, to);
    }
    packet_a(&packet, to, 9, 1);
}

static void test_chain_limit(void **state)
{
    struct answer *answer;
    chain_of(ANSWER_CHAIN);
    answer = decoded("c0.example", RR_A);
    assert_int_equal(answer->count, 1);
    answer_free(answer);
    chain_of(ANSWER_CHAIN + 1);
    assert_int_equal(decode("c0.example", RR_A, &answer), -EBADMSG);

    packet_start(&packet, RESPONSE, "a.example", RR_A);
    packet_cname(&packet, "a.example", 9, "b.example");
    packet_cname(&packet, "b.example", 9, "a.example");
    assert_int_equal(decode("a.example", RR_A, &answer), -EBADMSG);
}

static void test_chain_without_end(void **state)
{
    packet_start(&packet, RESPONSE, "a.example", RR_MX);
    packet_cname(&packet, "a.example", 100, "elsewhere.example");
    struct answer *answer = decoded("a.example", RR_MX);
    assert_true(answer->follow);
    assert_name(answer->name, "elsewhere.example");
    answer_free(answer);

    /* With a SOA the answer is complete: there is no such record at the end of the chain. */
    packet_soa(&packet, "example", 30, 20);
    answer = decoded("a.example", RR_MX);
    assert_false(answer->follow);
    assert_int_equal(answer->count, 0);
    assert_int_equal(answer->ttl_s, 20);
    answer_free(answer);
}

static void test_negative(void **state)
{
    static const struct {
        uint16_t flags;
        uint32_t soa_ttl_s, minimum_s, expected_s;
        uint8_t rcode;
    } cases[] = {
        {NXDOMAIN, 900, 600, 600, RCODE_NXDOMAIN},
        {NXDOMAIN, 300, 600, 300, RCODE_NXDOMAIN},
        {RESPONSE, 300, 86400, 300, RCODE_NOERROR},
        {RESPONSE, 0x80000001, 60, 0, RCODE_NOERROR}, /* RFC 2181 8 */
    };
    for (size_t i = 0; i < countof(cases); i++) {
        packet_start(&packet, cases[i].flags, "no.example", RR_MX);
        packet_soa(&packet, "example", cases[i].soa_ttl_s, cases[i].minimum_s);
        struct answer *answer = decoded("no.example", RR_MX);
        assert_int_equal(answer->rcode, cases[i].rcode);
        assert_int_equal(answer->count, 0);
        assert_true(answer->ttl_known);
        assert_false(answer_positive(answer));
        assert_int_equal(answer->ttl_s, cases[i].expected_s);
        answer_free(answer);
    }
    packet_start(&packet, NXDOMAIN, "no.example", RR_MX);
    struct answer *answer = decoded("no.example", RR_MX);
    assert_false(answer->ttl_known);
    answer_free(answer);
    packet_start(&packet, SERVFAIL, "no.example", RR_MX);
    answer = decoded("no.example", RR_MX);
    assert_int_equal(answer->rcode, RCODE_SERVFAIL);
    answer_free(answer);
}

static void test_referral_is_no_answer(void **state)
{
    struct answer *answer;
    packet_start(&packet, RESPONSE, "a.example", RR_MX);
    size_t at = packet_begin_record(&packet, SECTION_AUTHORITY, "example", RR_NS, 60);
    packet_name(&packet, "ns.example");
    packet_end_record(&packet, at);
    assert_int_equal(decode("a.example", RR_MX, &answer), -EBADMSG);
}

static void test_null_mx_and_odd_names(void **state)
{
    packet_start(&packet, RESPONSE, "n.example", RR_MX);
    packet_mx(&packet, "n.example", 60, 0, ".");
    struct answer *answer = decoded("n.example", RR_MX);
    assert_int_equal(answer->count, 1);
    assert_int_equal(answer->records[0].name.len, 0);
    answer_free(answer);

    /* An MX that nobody can look up is still an MX: no fall-back to the domain's address. */
    packet_start(&packet, RESPONSE, "n.example", RR_MX);
    packet_mx(&packet, "n.example", 60, 0, "bad host.example");
    packet_mx(&packet, "n.example", 60, 0, "dot\\.inside.example");
    packet_mx(&packet, "n.example", 60, 0, "caf\xc3\xa9.example");
    answer = decoded("n.example", RR_MX);
    assert_int_equal(answer->count, 0);
    assert_int_equal(answer->left_out, 3);
    assert_true(answer_positive(answer));
    answer_free(answer);
}

static void test_thousand_mx(void **state)
{
    packet_start(&packet, RESPONSE, "big.example", RR_MX);
    for (unsigned i = 0; i < 1000; i++) {
        char name[32];
        snprintf(name, sizeof(name), "m%u.example", i);
        packet_mx(&packet, "big.example", 60, (uint16_t)(2000 - i), name);
    }
    assert_false(packet.sink.full);
    struct answer *answer = decoded("big.example", RR_MX);
    assert_int_equal(answer->count, ANSWER_RECORDS);
    assert_int_equal(answer->left_out, 1000 - ANSWER_RECORDS);
    for (size_t i = 0; i < answer->count; i++)
        assert_in_range(answer->records[i].preference, 1001, 1000 + ANSWER_RECORDS);
    answer_free(answer);
}

static void test_64_kilobytes(void **state)
{
    packet_start(&packet, RESPONSE, "big.example", RR_A);
    while (packet.sink.len < sizeof(packet.bytes) - 40)
        packet_a(&packet, "big.example", 60, 0x0a000001);
    struct answer *answer = decoded("big.example", RR_A);
    assert_int_equal(answer->count, ANSWER_RECORDS);
    answer_free(answer);
}

static void test_wrong_question(void **state)
{
    struct answer *answer;
    packet_start(&packet, RESPONSE, "a.example", RR_MX);
    packet_mx(&packet, "a.example", 60, 1, "mx.example");
    assert_int_equal(decode("b.example", RR_MX, &answer), -EPROTO);
    assert_int_equal(decode("a.example", RR_A, &answer), -EPROTO);
    assert_int_equal(decode("a.example.org", RR_MX, &answer), -EPROTO);
    packet_patch_u16(&packet, 4, 2); /* two questions */
    assert_int_equal(decode("a.example", RR_MX, &answer), -EPROTO);
    packet_patch_u16(&packet, 4, 0);
    assert_int_equal(decode("a.example", RR_MX, &answer), -EPROTO);
    packet_start(&packet, 0x0100, "a.example", RR_MX); /* a query */
    assert_int_equal(decode("a.example", RR_MX, &answer), -EPROTO);
    packet_start(&packet, CUT, "a.example", RR_MX);
    assert_int_equal(decode("a.example", RR_MX, &answer), -EMSGSIZE);
}

/* Every prefix of a good answer is an error, never a smaller answer. */
static void test_cut_anywhere(void **state)
{
    packet_start(&packet, RESPONSE, "a.example", RR_MX);
    packet_cname(&packet, "a.example", 60, "b.example");
    packet_mx(&packet, "b.example", 60, 1, "mx.example");
    packet_soa(&packet, "example", 60, 60);
    struct answer *answer = decoded("a.example", RR_MX);
    answer_free(answer);
    size_t whole = packet.sink.len;
    for (packet.sink.len = 0; packet.sink.len < whole; packet.sink.len++) {
        int error = decode("a.example", RR_MX, &answer);
        assert_true(error == -EPROTO || error == -EBADMSG);
    }
}

/* The question's name (at 12) replaced by raw bytes. */
static void raw_question(const void *bytes, size_t len)
{
    packet_start(&packet, RESPONSE, "", RR_A);
    packet.sink.len = 12;
    sink_put(&packet.sink, span_of(bytes, len));
    sink_u16(&packet.sink, RR_A);
    sink_u16(&packet.sink, 1);
}

static void test_bad_compression(void **state)
{
    struct answer *answer;
    raw_question("\xc0\x0c", 2); /* at itself */
    assert_int_equal(decode("a.example", RR_A, &answer), -EPROTO);
    raw_question("\x01\x61\xc0\x0c", 4); /* a loop over one label */
    assert_int_equal(decode("a.example", RR_A, &answer), -EPROTO);
    raw_question("\xc0\xff", 2); /* forward */
    assert_int_equal(decode("a.example", RR_A, &answer), -EPROTO);
    raw_question("\x80\x01", 2); /* reserved label types */
    assert_int_equal(decode("a.example", RR_A, &answer), -EPROTO);
    raw_question("\x41\x01", 2);
    assert_int_equal(decode("a.example", RR_A, &answer), -EPROTO);
}

static void test_good_compression(void **state)
{
    packet_start(&packet, RESPONSE, "a.example", RR_MX);
    packet_count(&packet, SECTION_ANSWER);
    static const char record[] = "\xc0\x0c" /* a.example */
                                 "\0\x0f\0\x01\0\0\0\x3c"
                                 "\0\x07\0\x0a"
                                 "\x02mx\xc0\x0e"; /* mx. + example */
    sink_put(&packet.sink, span_of(record, sizeof(record) - 1));
    struct answer *answer = decoded("a.example", RR_MX);
    assert_int_equal(answer->count, 1);
    assert_name(answer->records[0].name, "mx.example");
    answer_free(answer);
}

static void test_long_name(void **state)
{
    /* 127 labels of one byte are 255 bytes on the wire: the longest; one more is too long. */
    char wire[300];
    size_t len = 0;
    struct answer *answer;
    for (unsigned i = 0; i < 127; i++) {
        wire[len++] = 1;
        wire[len++] = 'a';
    }
    wire[len++] = 0;
    raw_question(wire, len);
    char text[254];
    for (size_t i = 0; i < 253; i++)
        text[i] = i % 2 ? '.' : 'a';
    text[253] = 0;
    answer = decoded(text, RR_A);
    answer_free(answer);
    wire[0] = 2;
    memmove(wire + 2, wire + 1, len - 1);
    raw_question(wire, len + 1);
    assert_int_equal(decode(text, RR_A, &answer), -EPROTO);
}

static void test_bad_record_lengths(void **state)
{
    static const struct {
        enum rr_type type;
        const char *data;
        size_t len;
    } cases[] = {
        {RR_A, "\1\2\3", 3},      {RR_A, "\1\2\3\4\5", 5}, {RR_A, "", 0},
        {RR_AAAA, "\1\2\3\4", 4}, {RR_MX, "\0", 1},        {RR_MX, "\0\1", 2},
        {RR_MX, "\0\1\1a\0x", 6}, /* bytes behind the name */
        {RR_MX, "\0\1\1a", 4},    /* a name that runs into the next record */
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct answer *answer;
        packet_start(&packet, RESPONSE, "a.example", (uint16_t)cases[i].type);
        size_t at =
            packet_begin_record(&packet, SECTION_ANSWER, "a.example", (uint16_t)cases[i].type, 60);
        sink_put(&packet.sink, span_of(cases[i].data, cases[i].len));
        packet_end_record(&packet, at);
        packet_a(&packet, "other.example", 60, 1);
        assert_int_equal(decode("a.example", cases[i].type, &answer), -EBADMSG);
    }
}

static void test_counts_that_lie(void **state)
{
    struct answer *answer;
    packet_start(&packet, RESPONSE, "a.example", RR_MX);
    packet_patch_u16(&packet, SECTION_ANSWER, 65535);
    assert_int_equal(decode("a.example", RR_MX, &answer), -EBADMSG);
    packet_patch_u16(&packet, SECTION_ANSWER, 0);
    packet_patch_u16(&packet, SECTION_AUTHORITY, 1);
    assert_int_equal(decode("a.example", RR_MX, &answer), -EBADMSG);
}

static void put_txt(const char *owner, const char *const *strings, size_t count)
{
    size_t at = packet_begin_record(&packet, SECTION_ANSWER, owner, RR_TXT, 60);
    for (size_t i = 0; i < count; i++) {
        sink_u8(&packet.sink, (uint8_t)strlen(strings[i]));
        sink_put(&packet.sink, span_string(strings[i]));
    }
    packet_end_record(&packet, at);
}

static void test_texts(void **state)
{
    static const char *const two[] = {"v=DKIM1; ", "p=x"}, *const empty[] = {""};
    char text[64];
    struct sink sink;
    packet_start(&packet, RESPONSE, "s._domainkey.example.org", RR_TXT);
    put_txt("s._domainkey.example.org", two, 2);
    put_txt("s._domainkey.example.org", empty, 1);
    struct answer *answer = decoded("s._domainkey.example.org", RR_TXT);
    assert_int_equal(answer->count, 2);
    sink_init(&sink, text, sizeof text);
    answer_text(&answer->records[0], &sink);
    assert_name(sink_span(&sink), "v=DKIM1; p=x");
    answer_text(&answer->records[1], &sink);
    assert_int_equal(sink.len, 12);
    answer_free(answer);
}

/* A string longer than its record, a record without any, and one that is longer than we keep. */
static void test_odd_texts(void **state)
{
    struct answer *answer;
    packet_start(&packet, RESPONSE, "a.example", RR_TXT);
    size_t at = packet_begin_record(&packet, SECTION_ANSWER, "a.example", RR_TXT, 60);
    sink_put(&packet.sink, SPAN("\5abcd"));
    packet_end_record(&packet, at);
    assert_int_equal(decode("a.example", RR_TXT, &answer), -EBADMSG);
    packet_start(&packet, RESPONSE, "a.example", RR_TXT);
    packet_end_record(&packet,
                      packet_begin_record(&packet, SECTION_ANSWER, "a.example", RR_TXT, 60));
    assert_int_equal(decode("a.example", RR_TXT, &answer), -EBADMSG);
    packet_start(&packet, RESPONSE, "a.example", RR_TXT);
    at = packet_begin_record(&packet, SECTION_ANSWER, "a.example", RR_TXT, 60);
    for (unsigned i = 0; i <= ANSWER_STRINGS; i++)
        sink_u8(&packet.sink, 0);
    packet_end_record(&packet, at);
    answer = decoded("a.example", RR_TXT);
    assert_int_equal(answer->count, 0);
    assert_int_equal(answer->left_out, 1);
    answer_free(answer);
}

static void test_ptr(void **state)
{
    packet_start(&packet, RESPONSE, "1.2.0.192.in-addr.arpa", RR_PTR);
    static const char *const targets[] = {"Mail.Example.org", "odd name.example"};
    for (size_t i = 0; i < 2; i++) {
        size_t at =
            packet_begin_record(&packet, SECTION_ANSWER, "1.2.0.192.in-addr.arpa", RR_PTR, 60);
        packet_name(&packet, targets[i]);
        packet_end_record(&packet, at);
    }
    struct answer *answer = decoded("1.2.0.192.in-addr.arpa", RR_PTR);
    assert_int_equal(answer->count, 1);
    assert_int_equal(answer->left_out, 1);
    assert_name(answer->records[0].name, "mail.example.org");
    answer_free(answer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_name_length),
        cmocka_unit_test(test_mx),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_chain),
        cmocka_unit_test(test_chain_limit),
        cmocka_unit_test(test_chain_without_end),
        cmocka_unit_test(test_negative),
        cmocka_unit_test(test_referral_is_no_answer),
        cmocka_unit_test(test_null_mx_and_odd_names),
        cmocka_unit_test(test_thousand_mx),
        cmocka_unit_test(test_64_kilobytes),
        cmocka_unit_test(test_wrong_question),
        cmocka_unit_test(test_cut_anywhere),
        cmocka_unit_test(test_bad_compression),
        cmocka_unit_test(test_good_compression),
        cmocka_unit_test(test_long_name),
        cmocka_unit_test(test_bad_record_lengths),
        cmocka_unit_test(test_counts_that_lie),
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_odd_texts),
        cmocka_unit_test(test_ptr),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
