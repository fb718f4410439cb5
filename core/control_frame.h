/* control_frame: the bytes on the control socket. Pure; takes whatever a client may send.
 *
 *     frame    length (u32, big-endian, of what follows) type (one octet) payload
 *
 *     client                                  daemon
 *     HELLO "ringpost" version (u16)  -->
 *                                     <--     HELLO "ringpost" version
 *     CALL command, values            -->
 *                                     <--     RECORD* one JSON object each
 *                                     <--     PULSE now and then while nothing else comes
 *                                     <--     END status, text
 *     CALL ...
 *
 * The daemon answers a HELLO of another version with its own and closes. One call at a time; who
 * loses interest closes. CALL: u8 count of strings, then each as u16 length and octets: the
 * command's name, then name and value of each argument that is given. */
#pragma once

#include "core/command.h"

enum {
    FRAME_HEAD = 5,
    FRAME_MAX = 256 * 1024, /* of the daemon's frames; what it takes itself is CALL_MAX */
    CALL_MAX = 16 * 1024,
    CONTROL_VERSION = 1,
};

enum frame_type {
    FRAME_HELLO = 'H',
    FRAME_CALL = 'C',
    FRAME_RECORD = 'R',
    FRAME_PULSE = 'P',
    FRAME_END = 'E',
};

/* How a call ended; the program's exit status is made from it. */
enum call_status { CALL_DONE, CALL_FAILED, CALL_WRONG };

struct frame {
    enum frame_type type;
    struct span payload;
};

/* Writes a frame whose payload is put into `sink` between the two; returns what frame_end wants. */
size_t frame_begin(struct sink *sink, enum frame_type type);
void frame_end(struct sink *sink, size_t at);

/* The frame at the start of `input`: its octets, 0: not all there yet, negative: not a frame, or
 * its length is above `max`. */
MUST_USE int frame_read(struct span input, size_t max, struct frame *ret_frame);

void hello_put(struct sink *sink);
MUST_USE bool hello_read(struct span payload, unsigned *ret_version);

void call_put(const struct command *command, const struct values *values, struct sink *sink);
/* The values are spans of the payload. False: malformed, unknown or unfit: `error` says what. */
MUST_USE bool call_read(struct span payload, const struct command **ret_command,
                        struct values *ret_values, struct sink *error);

void end_put(enum call_status status, struct span text, struct sink *sink);
MUST_USE bool end_read(struct span payload, enum call_status *ret_status, struct span *ret_text);
