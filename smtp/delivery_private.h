/* delivery_private: what the files of a delivery share: delivery.c decides, delivery_tls.c knows
 * what the lane's policy says and what is remembered of the host. */
#pragma once

#include "core/conn.h"
#include "smtp/client.h"
#include "smtp/delivery.h"

/* A row on its way; as many as the client may have transactions open. */
struct borrowed {
    struct row *row; /* NULL: free */
    struct verdict *verdicts;
    struct arena arena;
    uint64_t started_ms, started_ns;
};

struct delivery {
    struct conn conn;
    struct client client;
    struct client_settings client_settings;
    struct lane *lane;
    struct snapshot *snapshot;   /* held: all settings of this connection are those of its start */
    const struct config *config; /* of the snapshot */
    struct list_link all, idle;
    struct borrowed borrowed[CLIENT_FLIGHTS];
    struct plan_address to;
    struct address to_address, local;
    uint32_t number;
    uint64_t traced; /* see trace_event.interesting */
    uint64_t opened_ns, talking_ns;
    uint32_t progress_seen;
    bool talking;     /* the connection is up, the client is initialised */
    bool established; /* through greeting and EHLO; the lane knows */
    bool failed_told; /* lane_connect_failed was called */
    char host_name[256];
    uint16_t host_name_len;
};

static inline const struct config_delivery *delivery_config(const struct delivery *delivery)
{
    return &delivery->config->delivery;
}

static inline struct loop *delivery_loop(const struct delivery *delivery)
{
    return delivery->lane->egress->loop;
}

static inline struct span delivery_host_name(const struct delivery *delivery)
{
    return span_of(delivery->host_name, delivery->host_name_len);
}

/* What to ask of this connection: the lane's policy, or TLS_DISABLED where mail may go in the clear
 * and TLS is known to be broken there. */
enum tls_policy delivery_policy(const struct delivery *delivery);

/* TLS has failed. True: mail may go in the clear, and the next connection to this host will. */
bool delivery_remember_broken(struct delivery *delivery);

/* The client's handshake is due, and nothing of its output is held any more. */
void delivery_begin_handshake(struct delivery *delivery);
/* With the conn's events while it runs; the client is told how it ended. False: it still runs. */
bool delivery_end_handshake(struct delivery *delivery, unsigned events);

/* After each input: a ticket comes when the server likes, TLS 1.3's behind the handshake. */
void delivery_keep_session(struct delivery *delivery);
