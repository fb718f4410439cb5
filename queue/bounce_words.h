/* bounce_words: what an enhanced status code means, in words for a person who sent a mail. Pure. */
#pragma once

#include "queue/verdict.h"

/* One or two plain sentences; `code` is the SMTP code if there is no enhanced one. */
struct span bounce_words(struct enhanced enhanced, uint16_t code, enum outcome outcome);
