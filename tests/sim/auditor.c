#include "tests/sim/auditor.h"

#include "core/clock.h"

#include <stdio.h>
#include <string.h>

/* From a reply that has arrived to its line in the journal on disk: the journal's own 50 ms, its
 * write and sync, the turns between, and a peer that is slow to be read. */
enum { RECORD_MS = 2000 };

struct copy {
    unsigned received, reported, excuses, journaled, receptions;
    uint64_t heard_ns; /* 0: not yet */
};

static struct message {
    unsigned recipients;
    bool promised;
    char id[32];
    struct copy copies[AUDIT_RECIPIENTS];
} messages[AUDIT_MESSAGES];
static unsigned message_count;
static bool phantom; /* something came that cannot be */

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
    copy->heard_ns = 0;
}

void audit_heard(unsigned message, unsigned recipient)
{
    struct copy *copy = copy_of(message, recipient);
    if (copy)
        copy->heard_ns = world.now_ns;
}

void audit_journaled(unsigned message, unsigned recipient)
{
    struct copy *copy = copy_of(message, recipient);
    if (copy)
        copy->journaled++;
}

void audit_reception(unsigned message, unsigned recipient)
{
    struct copy *copy = copy_of(message, recipient);
    if (copy)
        copy->receptions++;
}

void audit_expired(unsigned message, unsigned recipient)
{
    if (world.expiry)
        return;
    fprintf(stderr, "EXPIRED before its time: message %u for r%u\n", message, recipient);
    phantom = true;
}

void audit_id(unsigned message, const char *id)
{
    for (unsigned m = 0; m < message_count; m++)
        if (strcmp(messages[m].id, id) == 0) {
            fprintf(stderr, "ID TWICE: messages %u and %u: %s\n", m, message, id);
            phantom = true;
        }
    snprintf(messages[message].id, sizeof messages[message].id, "%s", id);
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
            if (copy->heard_ns && world.now_ns - copy->heard_ns < RECORD_MS * NS_PER_MS)
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
    if (messages[m].promised && !copy->journaled) {
        fprintf(stderr, "NOT JOURNALED: message %u for r%u\n", m, r);
        return false;
    }
    if (messages[m].promised && copy->receptions != 1) {
        fprintf(stderr, "RECEPTION in %u lines: message %u for r%u\n", copy->receptions, m, r);
        return false;
    }
    if (copy->received + (copy->reported ? 1 : 0) > 1 + copy->excuses) {
        fprintf(stderr,
                "DUPLICATE without excuse: message %u for r%u: received %u, reported %u, "
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
