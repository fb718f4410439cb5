/* Any octets as a path: no crash, and what is taken has a stable, harmless normal form. */
#include "core/check.h"
#include "smtp/mailbox.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_harmless(const struct mailbox *mailbox)
{
    check(mailbox->local.len > 0 && mailbox->local.len <= MAILBOX_LOCAL);
    check(mailbox->address.len <= MAILBOX_PATH - 2 && utf8_clean(mailbox->address));
    for (size_t i = 0; i < mailbox->address.len; i++)
        check((unsigned char)mailbox->address.data[i] >= 0x20 && mailbox->address.data[i] != 0x7f);
    for (size_t i = 0; i < mailbox->domain.len; i++)
        check((unsigned char)mailbox->domain.data[i] < 0x80);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    for (enum mailbox_kind kind = MAILBOX_REVERSE; kind <= MAILBOX_FORWARD; kind++) {
        struct span input = span_of(data, size);
        struct mailbox once, twice;
        if (!mailbox_read_path(&input, kind, &once)) {
            check(input.len == size);
            continue;
        }
        if (mailbox_null(&once))
            continue;
        check_harmless(&once);
        if (once.domain.len == 0)
            continue; /* postmaster */
        check(mailbox_parse(once.address, &twice));
        check(span_equals(once.address, twice.address));
    }
    return 0;
}
