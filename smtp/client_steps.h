/* client_steps: what the client's own files share: the rows of its table and the verdicts. */
#pragma once

#include "smtp/client.h"

/* The iovecs of one client_output. */
struct client_out {
    struct iovec *iov;
    unsigned count, max;
    size_t bytes;
};

struct client_step_row {
    struct span verb; /* as verdicts name it */
    size_t wait_at;   /* offset in struct config_delivery of how long its reply may take */
    /* Hands out its bytes and moves the sending cursor. False: no room left in this output. */
    bool (*send)(struct client *client, struct client_flight *flight, struct client_out *out);
    /* Judges the whole reply in client->parser; the judging cursor was moved already. */
    void (*judge)(struct client *client, struct client_flight *flight);
};

extern const struct client_step_row client_steps[STEP_END];

/* What client.c does for the rows. */

/* Gives all recipients of `flight` that have no verdict yet this one. */
void client_settle(struct client *client, struct client_flight *flight, enum outcome outcome,
                   const struct reply_summary *reply);
void client_settle_one(struct client *client, struct client_flight *flight, unsigned index,
                       enum outcome outcome, const struct reply_summary *reply);

/* The reply at hand as an answer to `verb`, its text in the flight's arena. */
struct reply_summary client_reply(struct client *client, struct client_flight *flight,
                                  struct span verb);

/* client_honesty.c: which recipients this flight is for, the first untried ones up to the limits;
 * those that this peer cannot be given get their verdict at once. Returns how many are left. */
uint64_t client_choose_recipients(struct client *client, struct client_flight *flight);

/* Whether the verdict at `index` is still to come. */
bool client_recipient_open(const struct client_flight *flight, unsigned index);

/* The connection is unusable because the peer makes no sense; `why` is a phrase. */
void client_nonsense(struct client *client, const char *why);
/* The connection is unusable, and that says nothing about the transaction in turn. */
void client_unusable(struct client *client, const char *why);
/* TLS is not to be had as the policy wants it; `reply` says why. */
void client_no_tls(struct client *client, const struct reply_summary *reply);
/* Greeting or EHLO was refused. */
void client_refused(struct client *client, struct span verb);
