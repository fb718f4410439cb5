/* What the mechanisms share. */
#pragma once

#include "core/sasl.h"

typedef enum sasl_want sasl_take_message(struct sasl *sasl, struct span message,
                                         struct sink *challenge);
sasl_take_message sasl_take_scram;

/* False: empty, too long, or with control characters. */
bool sasl_set_name(struct sasl *sasl, struct span name);
