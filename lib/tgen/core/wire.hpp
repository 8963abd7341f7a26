#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>

#include "tgen/core/size_plan.hpp"

// What the two ends of a tgen flow say to each other. Everything is little-endian. A run is
// START, data SDUs, FIN from the client, and a REPORT from the server for each FIN.
//
// Control messages share a header of 24 bytes:
//   0 u64 magic | 8 u8 version | 9 u8 type | 10 u8 mode | 11 u8 0 | 12 u32 length | 16 u64 nonce
// A message is one if its length is exactly that of its type and magic, type and length agree;
// FIN and REPORT also carry the nonce of the run. Stamped data start with another tag, and in raw
// mode a file would have to contain this run's random nonce at the right place of an SDU of the
// right size.
//
// Data, stamped mode: u64 tag | u64 sequence | u64 stamp | filler, if the SDU has room for the 24
// bytes; a smaller one is only counted and takes no sequence number.
// Data, raw mode: payload only.
// Data, plain mode: SDUs of the one size that START names, whose bytes nobody writes or reads; they
// are counted, as testpmd's txonly and rxonly do.
namespace sluice::tgen {

enum class Mode : std::uint8_t { stamped = 0, raw = 1, plain = 2 };

inline constexpr std::uint8_t kVersion = 1;
inline constexpr std::uint64_t kMagic = 0x316e656754756c53ull;  // "SluTgen1"

inline constexpr std::size_t kControlHeaderSize = 24;
inline constexpr std::size_t kStartSize = 80;
inline constexpr std::size_t kFinSize = 48;
inline constexpr std::size_t kReportSize = 152;
// As many bytes of an SDU decide what it is.
inline constexpr std::size_t kHeadSize = kReportSize;
inline constexpr std::size_t kStampedHeaderSize = 24;

// Whose TSC the stamps come from: two processes can compare stamps if they run under the same
// boot of the same kernel.
struct ClockId {
    std::uint64_t boot_hash = 0;  // 0: unknown
    std::uint64_t tsc_hz = 0;

    bool operator==(const ClockId&) const = default;
};

// Two calibrations of one TSC differ by less than the 1 % allowed here.
bool same_clock(const ClockId& a, const ClockId& b) noexcept;

struct Start {
    std::uint8_t version = kVersion;
    std::uint64_t nonce = 0;
    Mode mode = Mode::stamped;
    SizeRange sizes{};
    std::uint64_t count = 0;  // these three: 0 if there is no limit
    std::uint64_t duration_ns = 0;
    std::uint64_t bytes = 0;
    ClockId clock{};

    bool operator==(const Start&) const = default;
};

struct Fin {
    std::uint64_t nonce = 0;
    std::uint64_t sdus = 0;
    std::uint64_t bytes = 0;
    std::uint64_t elapsed_ns = 0;  // from the first data SDU to the last

    bool operator==(const Fin&) const = default;
};

struct Report {
    std::uint64_t nonce = 0;
    std::uint64_t sdus = 0;  // data SDUs that arrived, duplicates included
    std::uint64_t bytes = 0;
    std::uint64_t lost = 0;
    std::uint64_t reordered = 0;
    std::uint64_t duplicates = 0;
    std::uint64_t unstamped = 0;  // of sdus: too small for a stamp, so only counted
    std::uint64_t foreign = 0;    // not of this run: another tag, or before any START
    std::uint64_t first_ns = 0;   // arrival of the first and last data SDU after that of START
    std::uint64_t last_ns = 0;
    std::uint64_t latency_count = 0;  // 0: the latency is unknown and the next five mean nothing
    std::uint64_t latency_min_ns = 0;
    std::uint64_t latency_p50_ns = 0;
    std::uint64_t latency_p99_ns = 0;
    std::uint64_t latency_max_ns = 0;
    std::uint64_t latency_mean_ns = 0;
    std::uint64_t checksum = 0;  // raw mode: XXH64 of all payload bytes; otherwise 0

    bool operator==(const Report&) const = default;
};

void encode(const Start& m, std::span<std::byte, kStartSize> out) noexcept;
void encode(const Fin& m, std::span<std::byte, kFinSize> out) noexcept;
void encode(const Report& m, std::span<std::byte, kReportSize> out) noexcept;

// `size` is that of the SDU; `head` holds its first bytes, at least min(size, kHeadSize). A START
// of another version is recognised as long as its length is ours; the caller looks at it.
std::optional<Start> parse_start(std::span<const std::byte> head, std::size_t size) noexcept;
std::optional<Fin> parse_fin(std::span<const std::byte> head, std::size_t size) noexcept;
std::optional<Report> parse_report(std::span<const std::byte> head, std::size_t size) noexcept;

inline std::uint64_t load_le64(const std::byte* p) noexcept {
    std::uint64_t v;
    std::memcpy(&v, p, sizeof v);
    return std::endian::native == std::endian::little ? v : __builtin_bswap64(v);
}
inline void store_le64(std::byte* p, std::uint64_t v) noexcept {
    if (std::endian::native != std::endian::little) v = __builtin_bswap64(v);
    std::memcpy(p, &v, sizeof v);
}

// The tag of a run's stamped SDUs; never the magic of control messages.
std::uint64_t tag_of(std::uint64_t nonce) noexcept;

struct StampedHeader {
    std::uint64_t tag = 0;
    std::uint64_t seq = 0;
    std::uint64_t stamp = 0;
};

// `p` has kStampedHeaderSize bytes.
inline void write_stamped(std::byte* p, const StampedHeader& h) noexcept {
    store_le64(p, h.tag);
    store_le64(p + 8, h.seq);
    store_le64(p + 16, h.stamp);
}
inline StampedHeader read_stamped(const std::byte* p) noexcept {
    return {load_le64(p), load_le64(p + 8), load_le64(p + 16)};
}

}  // namespace sluice::tgen
