/* xclient: the arguments of XCLIENT (Postfix's XCLIENT_README), by which a proxy says for whom it
 * speaks. Pure.
 *
 *     XCLIENT ADDR=192.0.2.1 PORT=4711 LOGIN=joe NAME=[UNAVAILABLE] HELO=x PROTO=ESMTP
 *
 * Values are xtext; what would decode to a control character is refused, as are unknown and
 * repeated attributes. ADDR, PORT and LOGIN are used; NAME, HELO and PROTO are checked and dropped:
 * names by DNS are none of ours, and the proxy says its client's EHLO itself. An address that is
 * [UNAVAILABLE] is nobody's: whoever has it, has no rights by it. */
#pragma once

#include "core/address.h"

enum { XCLIENT_VALUE = 255 };

struct xclient {
    bool has_address, has_port, has_login;
    struct address address; /* AF_UNSPEC: not known; otherwise with the port, if there is one */
    uint16_t port;
    struct span login;
    char login_text[XCLIENT_VALUE]; /* what `login` points into: do not copy the struct */
};

/* `arguments`: what follows the verb. False: malformed. */
bool xclient_read(struct span arguments, struct xclient *ret_client);
