/* conn_private: what conn.c (the socket's side) and conn_tls.c (the layer) ask of each other. */
#pragma once

#include "core/conn.h"

/* ---- conn.c ---- */

/* Records `events` and asks for a look at the conn in the next dispatch. */
void conn_nudge(struct conn *conn, unsigned events);
void conn_fail(struct conn *conn, int error);

/* The octets from the socket, as conn_input and conn_consume are for those above. */
struct span conn_received(struct conn *conn);
void conn_take_received(struct conn *conn, size_t count);
void conn_drop_received(struct conn *conn);

/* Starts or stops receiving, as the state wants it. */
void conn_steer_receive(struct conn *conn);

/* Takes `count` octets off the front of what is to be sent. */
void conn_skip_sent(struct msghdr *message, size_t count);
/* The owner's send is over. */
void conn_send_finished(struct conn *conn);

/* ---- conn_tls.c ---- */

struct span conn_tls_input(struct conn *conn);
void conn_tls_consume(struct conn *conn, size_t count);
bool conn_tls_has_plain(const struct conn *conn);
void conn_tls_send(struct conn *conn);                 /* conn->sending has something */
void conn_tls_sent(struct conn *conn, int32_t result); /* the send op is done */

/* Goes on with the handshake. True: the owner is to be told of something. */
bool conn_tls_handshake(struct conn *conn);

/* While closing: seals and sends what is left, then close_notify. Again until the send is idle. */
void conn_tls_end(struct conn *conn);

/* The conn is gone: gives back what it borrowed, if it had a layer. The session stays. */
void conn_tls_release(struct conn *conn);
void conn_tls_free(struct conn_tls *layer); /* takes NULL */
