/* What the files of the server share: its states, and what its verbs are given. */
#pragma once

#include "smtp/body.h"
#include "smtp/reply.h"
#include "smtp/server.h"

#include <errno.h>

/* How far the transaction is: one bit each, so that a verb's row can name several. */
enum server_state {
    STATE_START = 1,   /* no EHLO or HELO yet */
    STATE_READY = 2,   /* between transactions */
    STATE_MAIL = 4,    /* a sender, no recipient accepted */
    STATE_RCPT = 8,    /* at least one recipient */
    STATE_CHUNKS = 16, /* at least one BDAT */
};

/* What the next octets of input are. */
enum server_doing {
    DOING_COMMANDS,
    DOING_DISCARD, /* the rest of an over-long command line */
    DOING_DATA,    /* up to the final dot */
    DOING_CHUNK,   /* chunk_left octets of BDAT */
    DOING_FINISH,  /* a chunk is read; needs no input */
    DOING_STORE,   /* waits for server_stored; takes no input */
    DOING_TLS,     /* waits for server_start_tls, then for server_secured; takes no input */
    DOING_AUTH,    /* the next line is a message of an AUTH exchange */
    DOING_LOGIN,   /* waits for what is said to `question`; takes no input */
    DOING_NOTHING, /* closed */
};

/* One call of server_input. */
struct turn {
    struct span *input;
    struct sink *replies;
    uint64_t wall_ms;
};

/* Writes the reply, counts it if it is an error, ends the session if it says 421. */
void server_answer(struct server *server, struct turn *turn, enum answer answer);
void server_answer_limit(struct server *server, struct turn *turn, enum limit limit);

/* Forgets the transaction: sender, recipients, message, scanner. */
void server_forget(struct server *server);
void server_close(struct server *server);

/* What AUTH, in its own file, is for the others. */
bool server_offers_auth(const struct server *server);
void server_put_auth_keyword(const struct server *server, struct sink *replies);
void server_auth_line(struct server *server, struct turn *turn, struct span line);
/* Ends the exchange with this answer. */
void server_auth_end(struct server *server, struct turn *turn, enum answer answer);
void server_auth_forget(struct server *server); /* the exchange, not the identity */

/* server_submission.c. False: no memory. */
bool server_add_missing_fields(struct server *server, uint64_t wall_ms);
/* ANSWER_NONE, or why this account may not send the message that has just ended. */
enum answer server_judge_author(struct server *server);

/* The verbs that have a file of their own. `arguments` is what follows the verb, with the space. */
void run_mail(struct server *server, struct turn *turn, struct span arguments);
void run_rcpt(struct server *server, struct turn *turn, struct span arguments);
void run_data(struct server *server, struct turn *turn, struct span arguments);
void run_bdat(struct server *server, struct turn *turn, struct span arguments);
void run_auth(struct server *server, struct turn *turn, struct span arguments);
void run_xclient(struct server *server, struct turn *turn, struct span arguments);

/* The steps for message octets. WANT_INPUT: go on; WANT_ROOM: the share is full for now. */
enum server_want read_data(struct server *server, struct turn *turn);
enum server_want read_chunk(struct server *server, struct turn *turn);
enum server_want finish_chunk(struct server *server, struct turn *turn);
