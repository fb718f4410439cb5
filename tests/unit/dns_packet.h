/* dns_packet: builds DNS messages for tests, well-formed or not, record by record.
 *
 * packet_start writes header and question; packet_record and friends append and count. */
#pragma once

#include "core/sink.h"
#include "dns/answer.h"

#include <stdint.h>

struct packet_builder {
    unsigned char bytes[65535];
    struct sink sink;
};

enum { SECTION_ANSWER = 6, SECTION_AUTHORITY = 8, SECTION_ADDITIONAL = 10 }; /* count offsets */

static inline void packet_patch_u16(struct packet_builder *packet, size_t at, uint16_t value)
{
    packet->bytes[at] = (unsigned char)(value >> 8);
    packet->bytes[at + 1] = (unsigned char)value;
}

static inline void packet_count(struct packet_builder *packet, unsigned section)
{
    unsigned count = (unsigned)packet->bytes[section] << 8 | packet->bytes[section + 1];
    packet_patch_u16(packet, section, (uint16_t)(count + 1));
}

/* "a.b" as labels; "" or "." is the root. A backslash makes the next byte literal. */
static inline void packet_name(struct packet_builder *packet, const char *name)
{
    while (*name && strcmp(name, ".") != 0) {
        char label[64];
        uint8_t len = 0;
        for (; *name && *name != '.' && len < 63; name++)
            label[len++] = *name == '\\' ? *++name : *name;
        sink_u8(&packet->sink, len);
        sink_put(&packet->sink, span_of(label, len));
        if (*name == '.')
            name++;
    }
    sink_u8(&packet->sink, 0);
}

static inline void packet_start(struct packet_builder *packet, uint16_t flags, const char *name,
                                uint16_t type)
{
    sink_init(&packet->sink, packet->bytes, sizeof(packet->bytes));
    sink_u16(&packet->sink, 0x1234);
    sink_u16(&packet->sink, flags);
    sink_u16(&packet->sink, 1);
    sink_u16(&packet->sink, 0);
    sink_u16(&packet->sink, 0);
    sink_u16(&packet->sink, 0);
    packet_name(packet, name);
    sink_u16(&packet->sink, type);
    sink_u16(&packet->sink, 1);
}

/* Writes the head of a record; returns where its length stands, for packet_end_record. */
static inline size_t packet_begin_record(struct packet_builder *packet, unsigned section,
                                         const char *owner, uint16_t type, uint32_t ttl_s)
{
    packet_count(packet, section);
    packet_name(packet, owner);
    sink_u16(&packet->sink, type);
    sink_u16(&packet->sink, 1);
    sink_u32(&packet->sink, ttl_s);
    sink_u16(&packet->sink, 0);
    return packet->sink.len - 2;
}

static inline void packet_end_record(struct packet_builder *packet, size_t length_at)
{
    packet_patch_u16(packet, length_at, (uint16_t)(packet->sink.len - length_at - 2));
}

static inline void packet_mx(struct packet_builder *packet, const char *owner, uint32_t ttl_s,
                             uint16_t preference, const char *exchange)
{
    size_t at = packet_begin_record(packet, SECTION_ANSWER, owner, RR_MX, ttl_s);
    sink_u16(&packet->sink, preference);
    packet_name(packet, exchange);
    packet_end_record(packet, at);
}

static inline void packet_cname(struct packet_builder *packet, const char *owner, uint32_t ttl_s,
                                const char *target)
{
    size_t at = packet_begin_record(packet, SECTION_ANSWER, owner, RR_CNAME, ttl_s);
    packet_name(packet, target);
    packet_end_record(packet, at);
}

static inline void packet_a(struct packet_builder *packet, const char *owner, uint32_t ttl_s,
                            uint32_t address)
{
    size_t at = packet_begin_record(packet, SECTION_ANSWER, owner, RR_A, ttl_s);
    sink_u32(&packet->sink, address);
    packet_end_record(packet, at);
}

static inline void packet_aaaa(struct packet_builder *packet, const char *owner, uint32_t ttl_s,
                               uint64_t high, uint64_t low)
{
    size_t at = packet_begin_record(packet, SECTION_ANSWER, owner, RR_AAAA, ttl_s);
    sink_u64(&packet->sink, high);
    sink_u64(&packet->sink, low);
    packet_end_record(packet, at);
}

static inline void packet_soa(struct packet_builder *packet, const char *owner, uint32_t ttl_s,
                              uint32_t minimum_s)
{
    size_t at = packet_begin_record(packet, SECTION_AUTHORITY, owner, RR_SOA, ttl_s);
    packet_name(packet, "ns.example");
    packet_name(packet, "hostmaster.example");
    for (unsigned i = 0; i < 4; i++)
        sink_u32(&packet->sink, 1);
    sink_u32(&packet->sink, minimum_s);
    packet_end_record(packet, at);
}

static inline struct span packet_span(const struct packet_builder *packet)
{
    return sink_span(&packet->sink);
}
