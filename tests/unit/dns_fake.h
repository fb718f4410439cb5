/* dns_fake: a resolver that answers from a table, and a clock that the test moves, for tests that
 * link dns/ without c-ares. Included by exactly one source file of a program.
 *
 * A line is name, type, data: "10 mx.example 20 b.example", "192.0.2.1 192.0.2.2", "2001:db8::1",
 * or NODATA, NXDOMAIN, SERVFAIL, HANG (never answers), UNUSABLE (MX with impossible names), NULL
 * (null MX), "FOLLOW name". A name in no line is NXDOMAIN, a type in no line NODATA. Words before
 * the data: "ttl=N", "ad". */
#pragma once

#include "core/address.h"
#include "core/clock.h"
#include "dns/resolver.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct fake_line {
    const char *name;
    enum rr_type type;
    const char *data;
};

static struct {
    const struct fake_line *lines;
    size_t line_count;
    unsigned asked, stopped;
    char last[512]; /* what was asked last */
    uint64_t now_ns;
    struct loop *loop;
} fake = {.now_ns = 1000 * NS_PER_S};

uint64_t clock_mono_ns(void)
{
    return fake.now_ns;
}

uint64_t clock_wall_ms(void)
{
    return fake.now_ns / NS_PER_MS;
}

int resolver_new(struct loop *loop, const struct resolver_options *options,
                 struct resolver **ret_resolver)
{
    fake.loop = loop;
    *ret_resolver = NULL;
    return 0;
}

struct resolver *resolver_free(struct resolver *resolver)
{
    return NULL;
}

void resolver_stop(struct resolver *resolver, struct op *stopped)
{
    fake.stopped++;
    loop_ready(fake.loop, stopped, 0);
}

static const char *fake_find(const struct resolver_query *query)
{
    const char *data = "NXDOMAIN";
    for (size_t i = 0; i < fake.line_count; i++) {
        if (!span_equals(span_string(fake.lines[i].name), name_span(&query->name)))
            continue;
        if (fake.lines[i].type == query->type)
            return fake.lines[i].data;
        data = "NODATA";
    }
    return data;
}

static bool fake_record(char *word, struct answer_record *record, enum rr_type type, char **rest)
{
    if (type == RR_MX) {
        char *exchange = strtok_r(NULL, " ", rest);
        record->preference = (uint16_t)atoi(word);
        record->name = span_string(exchange);
        return exchange != NULL;
    }
    struct address address;
    return address_parse(span_string(word), 0, &address) && address_bits(&address, record->bits);
}

static int fake_answer(struct resolver_query *query, char *text)
{
    struct answer header = {.ttl_s = 300, .ttl_known = true, .name = name_span(&query->name)};
    struct answer_record records[ANSWER_RECORDS] = {0};
    char *rest, *word = strtok_r(text, " ", &rest);
    for (; word; word = strtok_r(NULL, " ", &rest)) {
        if (strncmp(word, "ttl=", 4) == 0) {
            header.ttl_s = (uint32_t)atoi(word + 4);
        } else if (strcmp(word, "ad") == 0) {
            header.authentic = true;
        } else if (strcmp(word, "NODATA") == 0) {
            header.ttl_s = 60;
        } else if (strcmp(word, "NXDOMAIN") == 0) {
            header.rcode = RCODE_NXDOMAIN;
        } else if (strcmp(word, "UNUSABLE") == 0) {
            header.left_out = 1;
        } else if (strcmp(word, "NULL") == 0) {
            header.count = 1;
        } else if (strcmp(word, "FOLLOW") == 0) {
            header.follow = true;
            header.name = span_string(strtok_r(NULL, " ", &rest));
        } else if (strcmp(word, "SERVFAIL") == 0) {
            return -EREMOTEIO;
        } else {
            assert_true(fake_record(word, &records[header.count++], query->type, &rest));
        }
    }
    query->answer = answer_new(&header, records);
    return query->answer ? 0 : -ENOMEM;
}

void resolver_ask(struct resolver *resolver, struct resolver_query *query)
{
    fake.asked++;
    snprintf(fake.last, sizeof(fake.last), "%s %d", query->name.text, query->type);
    char text[4096];
    snprintf(text, sizeof(text), "%s", fake_find(query));
    query->op.state = OP_BUSY;
    if (strcmp(text, "HANG") != 0)
        loop_ready(fake.loop, &query->op, fake_answer(query, text));
}

void resolver_cancel(struct resolver *resolver, struct resolver_query *query)
{
    if (query->op.state == OP_READY)
        loop_unready(fake.loop, &query->op);
    query->op.state = OP_IDLE;
    query->answer = answer_free(query->answer);
}

static const struct io_options fake_io = {
    .entries = 64,
    .buffers = 8,
    .buffer_size = 512,
    .optional_features = true,
};

/* The clock moves on, then everything that is due happens. */
static void fake_pass(struct loop *loop, uint64_t ms)
{
    fake.now_ns += ms * NS_PER_MS;
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(loop_turn(loop, 0), 0);
}

#define FAKE_ZONE(table) (fake.lines = (table), fake.line_count = countof(table))
