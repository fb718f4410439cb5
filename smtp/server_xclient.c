/* XCLIENT: the session begins anew as somebody else's. */
#include "smtp/server_private.h"

#include "smtp/xclient.h"

static void begin_anew(struct server *server, const struct server_identity *identity)
{
    server_forget(server);
    server->state = STATE_START;
    server->esmtp = false;
    server->helo_len = 0;
    server->identity = identity;
}

void run_xclient(struct server *server, struct turn *turn, struct span arguments)
{
    struct xclient client;
    const struct server_identity *identity = NULL;
    if (!server->may_xclient) {
        server_answer(server, turn, ANSWER_XCLIENT_DENIED);
        return;
    }
    if (!xclient_read(arguments, &client)) {
        server_answer(server, turn, ANSWER_BAD_ARGUMENT);
        return;
    }
    switch (server->settings->become(server->context, &client, &identity)) {
    case BECOME_NO_LOGIN:
        server_answer(server, turn, ANSWER_XCLIENT_LOGIN);
        return;
    case BECOME_TOO_MANY:
        server_answer_limit(server, turn, LIMIT_connections_per_address);
        return;
    case BECOME_DONE:
        break;
    }
    begin_anew(server, identity);
    server_greet(server, turn->replies);
}
