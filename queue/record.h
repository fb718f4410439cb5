/* record: what lies on disk, byte for byte. Pure encoders and decoders.
 *
 * All integers are big-endian, so keys sort as numbers do. A record starts with its version. A
 * decoder takes any bytes and either fills the struct with spans into them or says false.
 *
 *     fresh   version, shard, id, body place, row record, inline body (or its beginning)
 *     row     version, state, envelope
 *     queue   version, name, first_due, counters, arrivals_until
 *     body    part 0, 1, ... of at most BODY_PART bytes, CRLF form, exactly as it will be sent
 *             (without dot-stuffing)
 *
 * The envelope holds the recipients of this row only. Lengths: u8 for tenant, campaign and domain,
 * u16 for all other strings and the count of recipients; an encoder that meets more says false. */
#pragma once

#include "core/arena.h"
#include "core/cursor.h"
#include "core/sink.h"

enum { BODY_PART = 256 * 1024, SHARD_COUNT = 64, RECORD_VERSION = 1 };

enum notify { /* RFC 3461 4.1; 0: not given */
              NOTIFY_NEVER = 1,
              NOTIFY_SUCCESS = 2,
              NOTIFY_FAILURE = 4,
              NOTIFY_DELAY = 8,
};
enum ret { RET_NONE, RET_HDRS, RET_FULL }; /* RFC 3461 4.3 */

enum envelope_flag {
    ENVELOPE_8BIT = 1,            /* BODY=8BITMIME was declared */
    ENVELOPE_UTF8 = 2,            /* SMTPUTF8 was declared */
    ENVELOPE_BODY_HAS_8BIT = 4,   /* the body really has bytes above 127 */
    ENVELOPE_HEADER_HAS_8BIT = 8, /* the header section really has */
    ENVELOPE_DSN = 16,            /* is itself a report of ours: never answered by another */
    ENVELOPE_SEVERAL_ROWS = 32,   /* the message has other rows: `ref` keeps the body alive */
    ENVELOPE_LOCAL = 64,          /* all recipients of this row are mailboxes of ours */
};

struct recipient {
    struct span address;  /* local@domain, the domain in lower-case A-labels or a literal */
    struct span original; /* ORCPT as given, type and xtext; empty: none */
    uint8_t notify;
    bool delay_reported; /* a delay DSN has gone out */
};

struct envelope {
    uint64_t id;
    uint64_t arrived_ms; /* wall time of acceptance */
    uint64_t expires_ms;
    uint64_t size;            /* octets of the body as it will be sent, CRLF, unstuffed */
    struct span reverse_path; /* empty: null reverse-path */
    struct span envid;        /* as given, xtext; empty: none */
    struct span tenant, campaign, domain; /* the queue's name; domain of all recipients here */
    uint8_t ret, flags;
    unsigned recipient_count;
    struct recipient *recipients;
};

struct row_state {
    uint32_t attempts;
    uint64_t last_attempt_ms; /* 0: none yet */
    struct span last_reply;   /* "451 4.7.0 text", cleaned; empty: none */
    struct span last_peer;    /* "mx.example (192.0.2.1)" */
};

/* Where a fresh record's body is. */
enum place_kind { PLACE_INLINE = 0, PLACE_SEGMENT = 1 };
struct place {
    uint8_t kind;
    uint32_t segment;
    uint64_t offset;
    uint32_t len, crc32c; /* inline: len is that of `body`; crc32c is 0, the store has its own */
    /* in a segment: of what lies there, behind what is inline (our own headers) */
};

struct fresh_record {
    uint8_t shard;
    uint64_t id;
    struct place place;
    struct envelope envelope;
    struct row_state state;
    struct span body; /* what of it is inline */
};

struct queue_record {
    struct span name;
    uint64_t first_due_ms;      /* never above any row's due */
    uint64_t rows;              /* at the last checkpoint */
    uint64_t arrivals_until_ms; /* no message has come into it at a later time than this */
};

/* Keys. Each writes into `key` (at least 32 bytes) and returns the span. */
struct span fresh_key(char *key, uint64_t sequence);
struct span body_key(char *key, uint64_t id, uint32_t part);
struct span row_key(char *key, uint8_t shard, uint32_t queue, uint64_t due_ms, uint64_t id);
struct span ref_key(char *key, uint64_t id, uint32_t queue);
struct span queue_key(char *key, uint8_t shard, uint32_t queue);
bool fresh_key_read(struct span key, uint64_t *ret_sequence);
bool body_key_read(struct span key, uint64_t *ret_id, uint32_t *ret_part);
bool row_key_read(struct span key, uint8_t *ret_shard, uint32_t *ret_queue, uint64_t *ret_due_ms,
                  uint64_t *ret_id);
bool ref_key_read(struct span key, uint64_t *ret_id, uint32_t *ret_queue);
bool queue_key_read(struct span key, uint8_t *ret_shard, uint32_t *ret_queue);

/* Records. The encoders write into an arena. False: no memory, or a string that is too long. */
MUST_USE bool row_record_write(const struct envelope *envelope, const struct row_state *state,
                               struct arena *arena, struct span *ret_record);
/* The head of a fresh record: what stands before the inline part of the body, which is appended as
 * it lies. */
MUST_USE bool fresh_record_write_head(const struct fresh_record *record, struct arena *arena,
                                      struct span *ret_head);
MUST_USE bool queue_record_write(const struct queue_record *record, struct arena *arena,
                                 struct span *ret_record);

/* The decoders take the recipients array from `arena`; strings are spans into `bytes`. False:
 * malformed, a newer version, or no memory. */
MUST_USE bool row_record_read(struct span bytes, struct arena *arena, struct envelope *ret_envelope,
                              struct row_state *ret_state);
MUST_USE bool fresh_record_read(struct span bytes, struct arena *arena,
                                struct fresh_record *ret_record);
MUST_USE bool queue_record_read(struct span bytes, struct queue_record *ret_record);

/* Meta: the names in FAMILY_META. Values are one u64 (meta_u64_write) unless said otherwise. */
#define META_FORMAT "format" /* of the whole database: STORE_FORMAT, written by store_open */
#define META_SHARDS "shards" /* SHARD_COUNT */
#define META_NODE   "node"   /* text: the node id */
#define META_CEILING                                                                               \
    "ceiling/"                 /* + worker, decimal: wall time in ms above every durable id of it */
#define META_WORKERS "workers" /* of the run that used it last: whose journal knows of a shard */
#define META_CLEAN   "clean" /* value empty: the last stop was an orderly one, counters are right */
#define META_WALL    "wall"  /* wall time in ms when last seen, each minute */
#define META_SUSPENSION                                                                            \
    "suspended/"              /* + number, 8 bytes: an administrator's suspension (suspensions.h) */
#define META_UPLOAD "upload/" /* + id, 8 bytes: a large body is being written; value empty */

struct span upload_key(char *key, uint64_t id);
struct span suspension_key(char *key, uint64_t number);
bool suspension_key_read(struct span key, uint64_t *ret_number);
bool upload_key_read(struct span key, uint64_t *ret_id);
enum { META_U64_LEN = 8 };
struct span meta_u64_write(char value[META_U64_LEN], uint64_t number);
bool meta_u64_read(struct span value, uint64_t *ret_number);

/* Names: "campaign:tenant@domain", parts left out when empty (reference/kumo-formats, 1.9). */
void queue_name_put(struct span campaign, struct span tenant, struct span domain,
                    struct sink *sink);
/* Its parts again; a campaign ends at the first colon. */
void queue_name_read(struct span name, struct span *ret_campaign, struct span *ret_tenant,
                     struct span *ret_domain);

/* Ids: 42 bits of milliseconds since 2020-01-01, 8 bits shard, 14 bits counter; as text 16 hex
 * digits. */
enum { ID_TEXT = 17 };
void id_text(uint64_t id, char text[ID_TEXT]);
bool id_parse(struct span text, uint64_t *ret_id);
enum { ID_COUNTER_BITS = 14, ID_SHARD_BITS = 8 };
uint64_t id_make(uint64_t wall_ms, uint8_t shard, unsigned counter);
uint8_t id_shard(uint64_t id);
uint64_t id_wall_ms(uint64_t id);
