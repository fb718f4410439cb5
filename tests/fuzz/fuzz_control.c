/* What may come over the control socket: frames, hello, calls and, for the client, ends; and a call
 * that was taken reads the same when it is written again. */
#include "core/control_frame.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void take_call(struct span payload)
{
    static char memory[2 * CALL_MAX], text[256];
    const struct command *command, *again;
    struct values values, values_again;
    struct sink error, sink;
    struct frame frame;
    sink_init(&error, text, sizeof text);
    if (!call_read(payload, &command, &values, &error)) {
        check(error.len > 0);
        return;
    }
    sink_init(&sink, memory, sizeof memory);
    call_put(command, &values, &sink);
    check(frame_read(sink_span(&sink), sizeof memory, &frame) == (int)sink.len);
    check(call_read(frame.payload, &again, &values_again, &error) && again == command);
    for (unsigned i = 0; i < ARGUMENTS_MAX; i++)
        check(values.given[i] == values_again.given[i] &&
              span_equals(values.text[i], values_again.text[i]));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span input = span_of(data, size), text;
    struct frame frame;
    enum call_status status;
    unsigned version;
    int len;
    while ((len = frame_read(input, CALL_MAX, &frame)) > 0) {
        check((size_t)len <= input.len);
        if (frame.type == FRAME_CALL)
            take_call(frame.payload);
        if (hello_read(frame.payload, &version))
            check(version <= UINT16_MAX);
        if (end_read(frame.payload, &status, &text))
            check(status <= CALL_WRONG);
        input = span_skip(input, (size_t)len);
    }
    return 0;
}
