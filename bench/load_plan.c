#include "bench/load_plan.h"

#include "bench/arguments.h"
#include "core/clock.h"

#include <stdio.h>
#include <stdlib.h>

static const char mail_from[] = "MAIL FROM:<sender@source.test>\r\n";
static const char rcpt_to[] = "RCPT TO:<user";

enum { NUMBER_DIGITS = 8, NUMBER_MAX = 20 };

/* ---- choices with weights ---- */

static unsigned read_choices(const char *text, struct load_choice *choices, unsigned max)
{
    struct span rest = span_string(text);
    unsigned count = 0;
    uint64_t total = 0;
    while (rest.len) {
        struct span item = span_first(rest, span_find(rest, ','));
        struct span name = span_first(item, span_find(item, ':'));
        uint64_t weight = 1;
        rest = span_skip(rest, item.len + 1);
        if (count == max || name.len == 0 || name.len >= LOAD_NAME ||
            (name.len < item.len &&
             (!span_decimal(span_skip(item, name.len + 1), 1 << 20, &weight) || weight == 0)))
            arguments_wrong("%s: not NAME:WEIGHT,...", text);
        total += weight;
        choices[count].weight = total;
        memcpy(choices[count].name, name.data, name.len);
        choices[count++].name[name.len] = '\0';
    }
    if (count == 0)
        arguments_wrong("an empty list");
    return count;
}

static unsigned choose(struct load_plan *plan, const struct load_choice *choices, unsigned count)
{
    if (count == 1)
        return 0;
    uint64_t at = random_below(&plan->random, choices[count - 1].weight);
    unsigned i = 0;
    while (choices[i].weight <= at)
        i++;
    return i;
}

void load_plan_sizes(struct load_plan *plan, const char *text)
{
    plan->size_count = read_choices(text, plan->sizes, LOAD_SIZES);
    for (unsigned i = 0; i < plan->size_count; i++) {
        uint64_t size;
        if (!span_decimal(span_string(plan->sizes[i].name), 1 << 28, &size) ||
            size < MESSAGE_SIZE_MIN)
            arguments_wrong("--size: at least %d", MESSAGE_SIZE_MIN);
        message_text_init(&plan->texts[i], size);
    }
}

void load_plan_domains(struct load_plan *plan, const char *text)
{
    plan->domain_count = read_choices(text, plan->domains, LOAD_DOMAINS);
}

void load_plan_fini(struct load_plan *plan)
{
    for (unsigned i = 0; i < plan->size_count; i++)
        message_text_fini(&plan->texts[i]);
}

/* ---- messages ---- */

uint64_t load_plan_next_ns(const struct load_plan *plan)
{
    return plan->start_ns + (uint64_t)((double)plan->given * (double)NS_PER_S / (double)plan->rate);
}

bool load_plan_over(const struct load_plan *plan, uint64_t now_ns)
{
    if (plan->messages && plan->given >= plan->messages)
        return true;
    return (plan->rate ? load_plan_next_ns(plan) : now_ns) >= plan->end_ns;
}

bool load_plan_take(struct load_plan *plan, uint64_t now_ns, struct load_message *ret_message)
{
    uint64_t due_ns = plan->rate ? load_plan_next_ns(plan) : 0;
    if (load_plan_over(plan, now_ns) || due_ns > now_ns)
        return false;
    ret_message->text = &plan->texts[choose(plan, plan->sizes, plan->size_count)];
    ret_message->number = plan->given++;
    ret_message->due_ns = due_ns;
    return true;
}

/* ---- envelopes ---- */

size_t load_plan_envelope_max(const struct load_plan *plan)
{
    return sizeof mail_from + plan->recipients * (sizeof rcpt_to + NUMBER_MAX + LOAD_NAME + 4);
}

static char *put(char *at, const char *text, size_t len)
{
    memcpy(at, text, len);
    return at + len;
}

static char *put_number(char *at, uint64_t number)
{
    char digits[NUMBER_MAX];
    unsigned len = 0;
    for (; number || len < NUMBER_DIGITS; number /= 10)
        digits[len++] = (char)('0' + number % 10);
    while (len)
        *at++ = digits[--len];
    return at;
}

static char *put_domain(struct load_plan *plan, char *at, uint64_t numbered, unsigned chosen)
{
    if (plan->numbered_domains)
        return at + sprintf(at, "d%llu.test", (unsigned long long)numbered);
    const char *name = plan->domains[chosen].name;
    return put(at, name, strlen(name));
}

size_t load_plan_envelope(struct load_plan *plan, char *data)
{
    char *at = put(data, mail_from, sizeof mail_from - 1);
    uint64_t numbered = 0;
    unsigned chosen = 0;
    for (uint64_t i = 0; i < plan->recipients; i++) {
        if (i == 0 || plan->spread) {
            chosen = plan->numbered_domains ? 0 : choose(plan, plan->domains, plan->domain_count);
            numbered =
                plan->numbered_domains ? random_below(&plan->random, plan->numbered_domains) : 0;
        }
        at = put(at, rcpt_to, sizeof rcpt_to - 1);
        at = put_number(at, plan->numbers++);
        *at++ = '@';
        at = put_domain(plan, at, numbered, chosen);
        at = put(at, ">\r\n", 3);
    }
    return (size_t)(at - data);
}
