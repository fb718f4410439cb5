/* control_record: writes one record of an answer: a JSON object in a frame.
 *
 *     record_begin(&record, sink);
 *     record_text(&record, "name", name);
 *     record_list(&record, "recipients");           an array of objects
 *         record_item(&record); record_text(...); record_item_end(&record);
 *     record_list_end(&record);
 *     if (!record_end(&record)) ... it did not fit: the sink is as it was before
 *
 * Names and types are those of the command's fields (core/command.h). What has no value is left
 * out. */
#pragma once

#include "core/control_frame.h"

enum { RECORD_TEXT_MAX = 4096 /* octets of one text */ };

struct record {
    struct sink *sink;
    size_t frame;
    bool any; /* a member stands before the next one */
};

void record_begin(struct record *record, struct sink *sink);
MUST_USE bool record_end(struct record *record);

void record_text(struct record *record, const char *name, struct span text);
void record_count(struct record *record, const char *name, uint64_t value); /* also times */
void record_decimal(struct record *record, const char *name, double value);
void record_flag(struct record *record, const char *name, bool value);

void record_list(struct record *record, const char *name);
void record_item(struct record *record);
void record_item_end(struct record *record);
void record_list_end(struct record *record);
