#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>

// The frames that txgen makes and sink knows. After the Ethernet header with the EtherType for
// local experiments (IEEE 802, 0x88b5): u32 magic | u16 stream | u64 sequence, big-endian, as
// a protocol analyser shows them best. Frames with room for it go on with u64 nanoseconds: when the
// frame was made, by the machine's TSC.
namespace sluice::stages {

inline constexpr std::size_t kGenHeaderSize = 14 + 4 + 2 + 8;
inline constexpr std::size_t kGenStampedSize = kGenHeaderSize + 8;
inline constexpr std::uint16_t kGenEtherType = 0x88b5;
inline constexpr std::uint32_t kGenMagic = 0x534c5547;  // "SLUG"
inline constexpr unsigned kGenStreams = 16;

inline void put_be(std::byte* p, std::uint64_t value, unsigned bytes) noexcept {
    for (unsigned i = 0; i < bytes; ++i) {
        p[i] = static_cast<std::byte>(value >> (8 * (bytes - 1 - i)));
    }
}

inline std::uint64_t get_be(const std::byte* p, unsigned bytes) noexcept {
    std::uint64_t value = 0;
    for (unsigned i = 0; i < bytes; ++i) {
        value = value << 8 | std::to_integer<std::uint64_t>(p[i]);
    }
    return value;
}

struct GenHeader {
    std::uint64_t destination = 0;  // 48 bits
    std::uint64_t source = 0;
    std::uint16_t stream = 0;
    std::uint64_t seq = 0;
};

inline void write_gen_seq(std::byte* frame, std::uint64_t seq) noexcept {
    const std::uint64_t be = __builtin_bswap64(seq);
    std::memcpy(frame + 20, &be, sizeof be);
}

inline void write_gen_stamp(std::byte* frame, std::int64_t ns) noexcept {
    const std::uint64_t be = __builtin_bswap64(static_cast<std::uint64_t>(ns));
    std::memcpy(frame + kGenHeaderSize, &be, sizeof be);
}

inline void write_gen(std::byte* frame, const GenHeader& h) noexcept {
    put_be(frame, h.destination, 6);
    put_be(frame + 6, h.source, 6);
    put_be(frame + 12, kGenEtherType, 2);
    put_be(frame + 14, kGenMagic, 4);
    put_be(frame + 18, h.stream, 2);
    write_gen_seq(frame, h.seq);
}

// `frame` has kGenHeaderSize bytes; nothing if it is not one of ours.
inline std::optional<GenHeader> read_gen(const std::byte* frame) noexcept {
    if (get_be(frame + 12, 2) != kGenEtherType || get_be(frame + 14, 4) != kGenMagic) {
        return std::nullopt;
    }
    GenHeader h;
    h.stream = static_cast<std::uint16_t>(get_be(frame + 18, 2));
    if (h.stream >= kGenStreams) return std::nullopt;
    h.seq = get_be(frame + 20, 8);
    return h;
}

}  // namespace sluice::stages
