#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

// The classic PCAP file format (draft-ietf-opsawg-pcap): a file header, then records. Written
// little-endian whatever the host is, so that one capture gives the same bytes everywhere.
namespace sluice::pcap {

using Bytes = std::span<const std::byte>;

// What the packets of a file start with; numbers as registered at tcpdump.org/linktypes.html.
enum class Linktype : std::uint32_t {
    ethernet = 1,  // DLT_EN10MB
    user0 = 147,   // for private use: VMPI frames
};

// Unit of the fraction in a record's time stamp; the file's magic tells which.
enum class Resolution : std::uint8_t { us, ns };

inline constexpr std::uint32_t kMagicUs = 0xa1b2c3d4;
inline constexpr std::uint32_t kMagicNs = 0xa1b23c4d;
inline constexpr std::uint16_t kVersionMajor = 2;
inline constexpr std::uint16_t kVersionMinor = 4;
inline constexpr std::size_t kFileHeaderBytes = 24;
inline constexpr std::size_t kRecordHeaderBytes = 16;
// The longest record that libpcap reads (MAXIMUM_SNAPLEN).
inline constexpr std::uint32_t kSnaplenMax = 262144;

// A time stamp as it stands in a record.
struct Stamp {
    std::uint32_t seconds = 0;
    std::uint32_t fraction = 0;  // us or ns

    constexpr bool operator==(const Stamp&) const noexcept = default;
};

inline constexpr std::int64_t ns_per_fraction(Resolution r) noexcept {
    return r == Resolution::ns ? 1 : 1000;
}

// Nanoseconds since 1970; what lies before, or after the 32 bits of seconds (2106), sticks to the
// end of the range.
constexpr Stamp stamp_of(std::int64_t wall_ns, Resolution resolution) noexcept {
    constexpr std::int64_t kSecond = 1'000'000'000;
    constexpr std::int64_t kLast = 0xffff'ffffll * kSecond + (kSecond - 1);
    const std::int64_t t = wall_ns < 0 ? 0 : wall_ns > kLast ? kLast : wall_ns;
    return {static_cast<std::uint32_t>(t / kSecond),
            static_cast<std::uint32_t>((t % kSecond) / ns_per_fraction(resolution))};
}

constexpr std::int64_t wall_ns_of(Stamp stamp, Resolution resolution) noexcept {
    return std::int64_t{stamp.seconds} * 1'000'000'000 +
           std::int64_t{stamp.fraction} * ns_per_fraction(resolution);
}

// Written by shifts, which the compiler turns into one store where the host is little-endian.
constexpr void put_le16(std::byte* at, std::uint16_t v) noexcept {
    at[0] = static_cast<std::byte>(v);
    at[1] = static_cast<std::byte>(v >> 8);
}
constexpr void put_le32(std::byte* at, std::uint32_t v) noexcept {
    at[0] = static_cast<std::byte>(v);
    at[1] = static_cast<std::byte>(v >> 8);
    at[2] = static_cast<std::byte>(v >> 16);
    at[3] = static_cast<std::byte>(v >> 24);
}
constexpr std::uint32_t get_le32(const std::byte* at) noexcept {
    return std::to_integer<std::uint32_t>(at[0]) | std::to_integer<std::uint32_t>(at[1]) << 8 |
           std::to_integer<std::uint32_t>(at[2]) << 16 |
           std::to_integer<std::uint32_t>(at[3]) << 24;
}

constexpr std::array<std::byte, kFileHeaderBytes> file_header(Linktype linktype,
                                                              Resolution resolution,
                                                              std::uint32_t snaplen) noexcept {
    std::array<std::byte, kFileHeaderBytes> h{};  // time zone and accuracy stay zero
    put_le32(&h[0], resolution == Resolution::ns ? kMagicNs : kMagicUs);
    put_le16(&h[4], kVersionMajor);
    put_le16(&h[6], kVersionMinor);
    put_le32(&h[16], snaplen);
    put_le32(&h[20], static_cast<std::uint32_t>(linktype));
    return h;
}

// The 16 bytes before each packet: `captured` bytes follow of the `original` ones.
constexpr void put_record_header(std::byte* at, Stamp stamp, std::uint32_t captured,
                                 std::uint32_t original) noexcept {
    put_le32(at, stamp.seconds);
    put_le32(at + 4, stamp.fraction);
    put_le32(at + 8, captured);
    put_le32(at + 12, original);
}

// Of a record that we wrote ourselves; foreign files go through Reader.
constexpr Stamp record_stamp(const std::byte* at) noexcept {
    return {get_le32(at), get_le32(at + 4)};
}
constexpr void put_record_stamp(std::byte* at, Stamp stamp) noexcept {
    put_le32(at, stamp.seconds);
    put_le32(at + 4, stamp.fraction);
}
constexpr std::uint32_t record_captured(const std::byte* at) noexcept { return get_le32(at + 8); }

}  // namespace sluice::pcap
