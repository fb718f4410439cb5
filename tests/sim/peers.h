/* peers: who talks to the daemon in the simulation: injectors and receiving servers. */
#pragma once

#include "tests/sim/sim.h"

/* An injector that sends `messages` messages over as many connections as it takes. */
void peers_inject(const struct address *daemon, unsigned messages);
bool peers_injecting(void);

/* Receiving servers for all domains of names.c. They keep what they are told across the daemon's
 * lives. */
void peers_serve(void);

/* The daemon's connections are all broken: what a server just answered may not have been heard. */
void peers_daemon_crashed(void);
