/* The arguments of XCLIENT: whatever is taken is bounded and without control characters. */
#include "core/check.h"
#include "smtp/xclient.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct xclient client;
    if (!xclient_read(span_of(data, size), &client))
        return 0;
    check(client.has_login == (client.login.len > 0) && client.login.len <= XCLIENT_VALUE);
    for (size_t i = 0; i < client.login.len; i++)
        check((unsigned char)client.login.data[i] >= 0x20 && client.login.data[i] != 0x7f);
    check(client.address.family == AF_UNSPEC || client.has_address);
    return 0;
}
