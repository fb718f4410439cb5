/* The password file from hostile hands: it may be wrong, it must not be harmful. */
#include "core/accounts.h"

#include "core/password.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[512];
    struct sink complaints;
    struct account_set *set;
    struct span name = span_of(data, size);
    sink_init(&complaints, text, sizeof text);
    check(account_set_parse(name, (struct hash_seed){1, 2}, &set, &complaints) == 0);
    name = span_first(name, span_find(name, ':'));
    const struct account *found = account_find(set, name);
    const struct account *other = account_stand_in(set, name, false);
    check(!other == !account_set_count(set));
    check(!found || (password_fault(found->stored) == NULL && account_unchanged(found, set)));
    if (other)
        account_has_domain(other, SPAN("a.example"));
    account_set_free(set);
    return 0;
}
