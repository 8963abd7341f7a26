#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "pcap_writer/pcap.hpp"

// The pcapng file format (draft-ietf-opsawg-pcapng): blocks, each with its length in front and at
// the end. Written little-endian, as pcap.hpp does. What stands once in a file is built as a
// vector; the block of a packet is written in place, around the packet's bytes.
namespace sluice::pcap {

inline constexpr std::uint32_t kNgSectionHeader = 0x0a0d0d0a;  // a palindrome: reads both ways
inline constexpr std::uint32_t kNgByteOrderMagic = 0x1a2b3c4d;
inline constexpr std::uint32_t kNgInterfaceDescription = 1;
inline constexpr std::uint32_t kNgObsoletePacket = 2;
inline constexpr std::uint32_t kNgSimplePacket = 3;
inline constexpr std::uint32_t kNgInterfaceStatistics = 5;
inline constexpr std::uint32_t kNgEnhancedPacket = 6;
// Type, length, and the length again at the end.
inline constexpr std::uint32_t kNgBlockBytesMin = 12;

// Numbers of the options that we write.
namespace ng_option {
inline constexpr std::uint16_t kEnd = 0;
inline constexpr std::uint16_t kComment = 1;
inline constexpr std::uint16_t kSectionHardware = 2;
inline constexpr std::uint16_t kSectionOs = 3;
inline constexpr std::uint16_t kSectionApplication = 4;
inline constexpr std::uint16_t kInterfaceName = 2;
inline constexpr std::uint16_t kInterfaceDescription = 3;
inline constexpr std::uint16_t kInterfaceSpeed = 8;
inline constexpr std::uint16_t kInterfaceResolution = 9;
inline constexpr std::uint16_t kInterfaceFilter = 11;
inline constexpr std::uint16_t kInterfaceOffset = 14;
inline constexpr std::uint16_t kPacketFlags = 2;
inline constexpr std::uint16_t kPacketDropCount = 4;
inline constexpr std::uint16_t kStatsStart = 2;
inline constexpr std::uint16_t kStatsEnd = 3;
inline constexpr std::uint16_t kStatsReceived = 4;
inline constexpr std::uint16_t kStatsInterfaceDrop = 5;
inline constexpr std::uint16_t kStatsFilterAccept = 6;
inline constexpr std::uint16_t kStatsOsDrop = 7;
inline constexpr std::uint16_t kStatsDelivered = 8;
}  // namespace ng_option

// Texts are UTF-8. An empty one is left out; of one that is longer than an option can be
// (65535 bytes) the first characters that fit are kept.
struct NgSection {
    std::string hardware{}, os{}, application{}, comment{};
};

struct NgInterface {
    Linktype linktype = Linktype::ethernet;
    std::uint32_t snaplen = 0;  // 0: no limit
    std::string name{}, description{};
    std::string filter{};  // in the language of libpcap
    Resolution resolution = Resolution::ns;
    std::uint64_t speed_bps = 0;  // 0: not known
};

struct NgStats {
    std::uint32_t interface_id = 0;
    std::int64_t wall_ns = 0;                      // when the counts were taken
    std::int64_t start_ns = 0, end_ns = 0;         // of the capture; 0: left out
    std::optional<std::uint64_t> received{};       // by the interface, before any drop
    std::optional<std::uint64_t> if_drop{};        // by the interface, for lack of resources
    std::optional<std::uint64_t> filter_accept{};  // let through by the filter
    std::optional<std::uint64_t> os_drop{};        // behind the filter
    std::optional<std::uint64_t> delivered{};      // to the writer
    std::string comment{};
};

std::vector<std::byte> section_header(const NgSection& section);
// The interfaces of a section are numbered from 0 in the order of their blocks.
std::vector<std::byte> interface_description(const NgInterface& interface);
// With the resolution that the interface was described with.
std::vector<std::byte> interface_statistics(const NgStats& stats, Resolution resolution);
// The same, behind what `to` has; allocates nothing if that has room.
void append_interface_statistics(std::vector<std::byte>& to, const NgStats& stats,
                                 Resolution resolution);

// An Enhanced Packet Block is: kEpbHeadBytes, the packet padded to 4 bytes, epb_flags, perhaps
// epb_dropcount, opt_endofopt, and the length again.
inline constexpr std::uint32_t kEpbHeadBytes = 28;
// Values of `flags`: which way the packet went (bits 0 and 1 of epb_flags).
inline constexpr std::uint32_t kEpbInbound = 1;
inline constexpr std::uint32_t kEpbOutbound = 2;

// What stands behind the packet and its padding.
constexpr std::uint32_t epb_option_bytes(bool with_drop_count) noexcept {
    return (with_drop_count ? 8u + 12u : 8u) + 4u + 4u;
}

// The whole block. At most kSnaplenMax bytes of a packet are captured, so that it fits.
constexpr std::uint32_t epb_bytes(std::uint32_t captured, bool with_drop_count) noexcept {
    return kEpbHeadBytes + ((captured + 3u) & ~3u) + epb_option_bytes(with_drop_count);
}

constexpr void put_le64(std::byte* at, std::uint64_t v) noexcept {
    put_le32(at, static_cast<std::uint32_t>(v));
    put_le32(at + 4, static_cast<std::uint32_t>(v >> 32));
}

// Two words, the upper one first whatever the byte order is. Before 1970 there are no stamps.
constexpr void put_ng_stamp(std::byte* at, std::int64_t wall_ns, Resolution resolution) noexcept {
    const std::uint64_t ns = wall_ns < 0 ? 0 : static_cast<std::uint64_t>(wall_ns);
    const std::uint64_t t = resolution == Resolution::ns ? ns : ns / 1000;
    put_le32(at, static_cast<std::uint32_t>(t >> 32));
    put_le32(at + 4, static_cast<std::uint32_t>(t));
}

constexpr void put_epb_head(std::byte* at, std::uint32_t interface_id, std::int64_t wall_ns,
                            Resolution resolution, std::uint32_t captured, std::uint32_t original,
                            bool with_drop_count) noexcept {
    put_le32(at, kNgEnhancedPacket);
    put_le32(at + 4, epb_bytes(captured, with_drop_count));
    put_le32(at + 8, interface_id);
    put_ng_stamp(at + 12, wall_ns, resolution);
    put_le32(at + 20, captured);
    put_le32(at + 24, original);
}

// The packet's bytes are at `at` + kEpbHeadBytes by now. `drop_count`: packets that this
// interface lost since its previous packet; present exactly if put_epb_head() was told so.
constexpr void put_epb_tail(std::byte* at, std::uint32_t captured, std::uint32_t flags,
                            std::optional<std::uint64_t> drop_count) noexcept {
    // Four zero bytes are at least the padding; the options then overwrite what is too much.
    put_le32(at + kEpbHeadBytes + captured, 0);
    std::byte* p = at + kEpbHeadBytes + ((captured + 3u) & ~3u);
    put_le16(p, ng_option::kPacketFlags);
    put_le16(p + 2, 4);
    put_le32(p + 4, flags);
    p += 8;
    if (drop_count) {
        put_le16(p, ng_option::kPacketDropCount);
        put_le16(p + 2, 8);
        put_le64(p + 4, *drop_count);
        p += 12;
    }
    put_le32(p, ng_option::kEnd);
    put_le32(p + 4, epb_bytes(captured, drop_count.has_value()));
}

}  // namespace sluice::pcap
