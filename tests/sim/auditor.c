#include "tests/sim/auditor.h"

#include <stdio.h>

enum { CRASH_EXCUSE_S = 120 };

struct copy {
    unsigned received, reported, excuses;
    uint64_t received_ns;
};

static struct message {
    unsigned recipients;
    bool promised;
    struct copy copies[AUDIT_RECIPIENTS];
} messages[AUDIT_MESSAGES];
static unsigned message_count;
static bool phantom;

unsigned audit_new(unsigned recipients)
{
    check(message_count < AUDIT_MESSAGES && recipients <= AUDIT_RECIPIENTS);
    messages[message_count].recipients = recipients;
    return message_count++;
}

void audit_promised(unsigned message)
{
    say("audit: message %u promised", message);
    messages[message].promised = true;
}

static struct copy *copy_of(unsigned message, unsigned recipient)
{
    if (message >= message_count || recipient >= messages[message].recipients) {
        fprintf(stderr, "phantom: message %u recipient %u was never sent\n", message, recipient);
        phantom = true;
        return NULL;
    }
    return &messages[message].copies[recipient];
}

void audit_received(unsigned message, unsigned recipient)
{
    struct copy *copy = copy_of(message, recipient);
    say("audit: message %u for r%u received", message, recipient);
    if (!copy)
        return;
    copy->received++;
    copy->received_ns = world.now_ns;
}

void audit_reported(unsigned message, unsigned recipient)
{
    struct copy *copy = copy_of(message, recipient);
    say("audit: message %u for r%u reported as failed", message, recipient);
    if (copy)
        copy->reported++;
}

void audit_excuse(unsigned message, unsigned recipient, const char *why)
{
    struct copy *copy = copy_of(message, recipient);
    say("audit: message %u for r%u may come again: %s", message, recipient, why);
    if (copy)
        copy->excuses++;
}

void audit_crash(void)
{
    for (unsigned m = 0; m < message_count; m++)
        for (unsigned r = 0; r < messages[m].recipients; r++) {
            struct copy *copy = &messages[m].copies[r];
            if (copy->received && world.now_ns - copy->received_ns < CRASH_EXCUSE_S * UINT64_C(1000000000))
                copy->excuses++;
        }
}

bool audit_complete(void)
{
    for (unsigned m = 0; m < message_count; m++)
        for (unsigned r = 0; r < messages[m].recipients && messages[m].promised; r++)
            if (messages[m].copies[r].received + messages[m].copies[r].reported == 0)
                return false;
    return true;
}

static bool passes(unsigned m, unsigned r)
{
    const struct copy *copy = &messages[m].copies[r];
    if (messages[m].promised && copy->received + copy->reported == 0) {
        fprintf(stderr, "LOST: message %u for r%u\n", m, r);
        return false;
    }
    if (copy->received + (copy->reported ? 1 : 0) > 1 + copy->excuses) {
        fprintf(stderr, "DUPLICATE without excuse: message %u for r%u: received %u, reported %u, "
                        "excuses %u\n",
                m, r, copy->received, copy->reported, copy->excuses);
        return false;
    }
    return true;
}

bool audit_passes(void)
{
    bool fine = !phantom;
    for (unsigned m = 0; m < message_count; m++)
        for (unsigned r = 0; r < messages[m].recipients; r++)
            fine = passes(m, r) && fine;
    return fine;
}

struct audit_counts audit_counts(void)
{
    struct audit_counts counts = {.messages = message_count};
    for (unsigned m = 0; m < message_count; m++) {
        counts.promised += messages[m].promised;
        for (unsigned r = 0; r < messages[m].recipients; r++) {
            const struct copy *copy = &messages[m].copies[r];
            counts.received += copy->received > 0;
            counts.reported += copy->reported > 0;
            counts.duplicates += copy->received > 1 ? copy->received - 1 : 0;
            counts.excused += copy->excuses;
        }
    }
    return counts;
}
