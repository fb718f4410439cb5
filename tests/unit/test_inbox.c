/* The inbox between threads. Worth most under ThreadSanitizer (-DRINGPOST_SANITIZE=thread): the
 * owner sleeps on a semaphore as soon as it can, so that a lost wake-up shows as a hang. */
#include "core/inbox.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <time.h>

enum { SENDERS = 4, ROUNDS = 20000, CHAIN = 3, GIVE_UP_S = 60 };

struct message {
    struct op op;
    unsigned sender, number;
};

struct post_office {
    struct inbox inbox;
    sem_t wake;
    atomic_uint wakes, slept;
};

struct sender {
    pthread_t thread;
    struct post_office *office;
    unsigned index;
    struct message *messages; /* ROUNDS * CHAIN */
};

static void push(struct post_office *office, struct message *first, struct message *last)
{
    if (inbox_push(&office->inbox, &first->op, &last->op)) {
        atomic_fetch_add(&office->wakes, 1);
        sem_post(&office->wake);
    }
}

/* Chains of one to CHAIN. The last one waits until the owner has slept once, which it does when it
 * has everything else. */
static void *send_all(void *context)
{
    struct sender *sender = context;
    unsigned sent = 0;
    for (unsigned round = 0; round < ROUNDS; round++) {
        unsigned count = round % CHAIN + 1;
        struct message *first = &sender->messages[sent];
        for (unsigned i = 0; i < count; i++) {
            first[i] = (struct message){.sender = sender->index, .number = sent++};
            if (i)
                first[i - 1].op.inbox_next = &first[i].op;
        }
        while (round == ROUNDS - 1 && !atomic_load(&sender->office->slept))
            sched_yield();
        push(sender->office, first, &first[count - 1]);
        if (round % 64 == sender->index)
            sched_yield();
    }
    return NULL;
}

static unsigned total_of_sender(void)
{
    unsigned total = 0;
    for (unsigned round = 0; round < ROUNDS; round++)
        total += round % CHAIN + 1;
    return total;
}

static void wait_for_wake(struct post_office *office)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += GIVE_UP_S;
    int result;
    do
        result = sem_timedwait(&office->wake, &until);
    while (result < 0 && errno == EINTR);
    assert_int_equal(result, 0); /* else a wake-up was lost */
}

static unsigned receive(struct list *ready, unsigned expected[SENDERS])
{
    unsigned count = 0;
    struct list_link *link;
    while ((link = list_take_first(ready))) {
        struct message *message = container_of(link, struct message, op.link);
        assert_int_equal(message->op.state, OP_READY);
        assert_int_equal(message->number, expected[message->sender]);
        expected[message->sender]++;
        count++;
    }
    return count;
}

static void test_many_senders(void **state)
{
    struct post_office office = {0};
    inbox_init(&office.inbox);
    sem_init(&office.wake, 0, 0);
    struct sender senders[SENDERS];
    for (unsigned i = 0; i < SENDERS; i++) {
        senders[i] = (struct sender){.office = &office, .index = i};
        senders[i].messages = calloc(total_of_sender(), sizeof(struct message));
        assert_int_equal(pthread_create(&senders[i].thread, NULL, send_all, &senders[i]), 0);
    }
    struct list ready;
    list_init(&ready);
    unsigned expected[SENDERS] = {0}, received = 0, tried = 0;
    while (received < SENDERS * total_of_sender()) {
        inbox_take(&office.inbox, &ready);
        unsigned now = receive(&ready, expected);
        received += now;
        if (now)
            continue;
        tried++;
        if (!inbox_sleep(&office.inbox))
            continue;
        atomic_fetch_add(&office.slept, 1);
        wait_for_wake(&office);
        inbox_awake(&office.inbox);
    }
    for (unsigned i = 0; i < SENDERS; i++) {
        pthread_join(senders[i].thread, NULL);
        assert_int_equal(expected[i], total_of_sender());
        free(senders[i].messages);
    }
    /* One wake for a sleep, not for a message. */
    assert_in_range(atomic_load(&office.wakes), atomic_load(&office.slept), tried);
    sem_destroy(&office.wake);
}

static void test_second_look(void **state)
{
    struct inbox inbox;
    struct op op;
    inbox_init(&inbox);
    op_init(&op, NULL);
    assert_false(inbox_push(&inbox, &op, &op)); /* nobody sleeps */
    assert_int_equal(op.state, OP_BUSY);
    assert_false(inbox_sleep(&inbox)); /* something is there */
    struct list ready;
    list_init(&ready);
    inbox_take(&inbox, &ready);
    assert_ptr_equal(list_take_first(&ready), &op.link);
    assert_true(inbox_sleep(&inbox));
    struct op other;
    op_init(&other, NULL);
    assert_true(inbox_push(&inbox, &op, &op));
    assert_false(inbox_push(&inbox, &other, &other)); /* woken already */
    inbox_awake(&inbox);
    inbox_take(&inbox, &ready);
    assert_ptr_equal(list_take_first(&ready), &op.link);
    assert_ptr_equal(list_take_first(&ready), &other.link);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_second_look),
        cmocka_unit_test(test_many_senders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
