/* auditor: what was promised to whom, and what came of it. Shares no code with the daemon.
 *
 * A copy is one recipient of one message. The injector tells of each 250 it read (promised) and
 * of each message that it does not know the end of (perhaps). The receiving servers tell of each
 * copy for which they sent a 250 (received), of reports of failure (reported), and of everything
 * that excuses a second copy: an answer that the daemon may not have heard or recorded. */
#pragma once

#include "tests/sim/sim.h"

enum { AUDIT_MESSAGES = 4096, AUDIT_RECIPIENTS = 16 };

unsigned audit_new(unsigned recipients); /* the next message's number */
void audit_promised(unsigned message);
void audit_received(unsigned message, unsigned recipient);
void audit_reported(unsigned message, unsigned recipient);
void audit_expired(unsigned message, unsigned recipient); /* the report said so */
void audit_id(unsigned message, const char *id);          /* "queued as <id>": never twice */
/* The daemon has heard of it; a moment later its journal must know. */
void audit_heard(unsigned message, unsigned recipient);
void audit_excuse(unsigned message, unsigned recipient, const char *why);
void audit_journaled(unsigned message, unsigned recipient); /* a final verdict */
void audit_reception(unsigned message, unsigned recipient); /* a line of its coming in */
void audit_crash(void); /* what was heard in the last moment may not be recorded */

/* Everything promised has been received or reported. */
bool audit_complete(void);
/* False, and says what: a loss, a duplicate without excuse, a copy of a message never sent, an end
 * that no journal tells of. */
bool audit_passes(void);
/* For the summary. */
struct audit_counts {
    unsigned messages, promised, received, reported, duplicates, excused;
};
struct audit_counts audit_counts(void);
