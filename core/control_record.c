#include "core/control_record.h"

#include "core/json.h"

static void put_separator(struct record *record)
{
    if (record->any)
        sink_put(record->sink, SPAN(", "));
    record->any = true;
}

static void put_name(struct record *record, const char *name)
{
    put_separator(record);
    sink_byte(record->sink, '"');
    sink_put(record->sink, span_string(name));
    sink_put(record->sink, SPAN("\": "));
}

void record_begin(struct record *record, struct sink *sink)
{
    *record = (struct record){.sink = sink};
    record->frame = frame_begin(sink, FRAME_RECORD);
    sink_byte(sink, '{');
}

bool record_end(struct record *record)
{
    struct sink *sink = record->sink;
    sink_byte(sink, '}');
    frame_end(sink, record->frame);
    if (!sink->full)
        return true;
    sink->len = record->frame;
    sink->full = false;
    return false;
}

void record_text(struct record *record, const char *name, struct span text)
{
    put_name(record, name);
    json_put_string(record->sink, text, RECORD_TEXT_MAX);
}

void record_count(struct record *record, const char *name, uint64_t value)
{
    put_name(record, name);
    sink_decimal(record->sink, value);
}

void record_decimal(struct record *record, const char *name, double value)
{
    put_name(record, name);
    sink_format(record->sink, "%.3f", value);
}

void record_flag(struct record *record, const char *name, bool value)
{
    put_name(record, name);
    sink_put(record->sink, value ? SPAN("true") : SPAN("false"));
}

void record_list(struct record *record, const char *name)
{
    put_name(record, name);
    sink_byte(record->sink, '[');
    record->any = false;
}

void record_item(struct record *record)
{
    put_separator(record);
    sink_byte(record->sink, '{');
    record->any = false;
}

void record_item_end(struct record *record)
{
    sink_byte(record->sink, '}');
    record->any = true;
}

void record_list_end(struct record *record)
{
    sink_byte(record->sink, ']');
    record->any = true;
}
