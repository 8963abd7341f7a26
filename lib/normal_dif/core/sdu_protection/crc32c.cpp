#include "normal_dif/core/sdu_protection/crc32c.hpp"

#include <array>

#include "normal_dif/core/sdu_protection/plain.hpp"

namespace sluice::sdup {

namespace {

using rina::detail::load;

constexpr std::uint32_t kPolynomial = 0x82f63b78;  // bits in the order of the wire

// tables[n][b]: the CRC of byte b and n zero bytes behind it, without the complements.
using Tables = std::array<std::array<std::uint32_t, 256>, 8>;

template <std::uint32_t kReflected>
consteval Tables make_tables() noexcept {
    Tables tables{};
    for (std::uint32_t byte = 0; byte < 256; ++byte) {
        std::uint32_t crc = byte;
        for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ ((crc & 1) != 0 ? kReflected : 0);
        tables[0][byte] = crc;
    }
    for (std::size_t n = 1; n < tables.size(); ++n)
        for (std::size_t byte = 0; byte < 256; ++byte) {
            const std::uint32_t crc = tables[n - 1][byte];
            tables[n][byte] = crc >> 8 ^ tables[0][crc & 0xff];
        }
    return tables;
}
constexpr Tables kTables = make_tables<kPolynomial>();

// The instruction takes three cycles, and one can start in each: three runs of bytes at a time.
constexpr std::size_t kRun = 128;

// kSkip[n][b]: what byte n of a CRC, if it is b, becomes when so many zero bytes follow.
using Skip = std::array<std::array<std::uint32_t, 256>, 4>;

template <std::size_t kZeros>
consteval Skip make_skip() noexcept {
    Skip skip{};
    for (std::size_t n = 0; n < 4; ++n) {
        // CRCs are linear: eight bits make all the others.
        std::array<std::uint32_t, 8> bits{};
        for (std::size_t bit = 0; bit < 8; ++bit) {
            bits[bit] = 1u << (8 * n + bit);
            for (std::size_t zero = 0; zero < kZeros; ++zero)
                bits[bit] = bits[bit] >> 8 ^ kTables[0][bits[bit] & 0xff];
        }
        for (std::size_t byte = 0; byte < 256; ++byte)
            for (std::size_t bit = 0; bit < 8; ++bit)
                if ((byte >> bit & 1) != 0) skip[n][byte] ^= bits[bit];
    }
    return skip;
}
constexpr Skip kSkip = make_skip<kRun>();

#if defined(__x86_64__)
std::uint32_t skip(std::uint32_t crc) noexcept {
    return kSkip[0][crc & 0xff] ^ kSkip[1][crc >> 8 & 0xff] ^ kSkip[2][crc >> 16 & 0xff] ^
           kSkip[3][crc >> 24];
}
#endif

}  // namespace

std::uint32_t crc32c_by_table(std::span<const std::byte> bytes, std::uint32_t before) noexcept {
    std::uint32_t crc = ~before;
    const std::byte* at = bytes.data();
    std::size_t left = bytes.size();
    for (; left >= 8; at += 8, left -= 8) {
        const std::uint32_t low = load<std::uint32_t>(at) ^ crc;
        const auto high = load<std::uint32_t>(at + 4);
        crc = kTables[7][low & 0xff] ^ kTables[6][low >> 8 & 0xff] ^ kTables[5][low >> 16 & 0xff] ^
              kTables[4][low >> 24] ^ kTables[3][high & 0xff] ^ kTables[2][high >> 8 & 0xff] ^
              kTables[1][high >> 16 & 0xff] ^ kTables[0][high >> 24];
    }
    for (; left > 0; ++at, --left)
        crc = crc >> 8 ^ kTables[0][(crc ^ std::to_integer<std::uint32_t>(*at)) & 0xff];
    return ~crc;
}

#if defined(__x86_64__)

bool has_crc32c_instruction() noexcept { return __builtin_cpu_supports("sse4.2") != 0; }

__attribute__((target("sse4.2"))) std::uint32_t crc32c_by_instruction(
    std::span<const std::byte> bytes, std::uint32_t before) noexcept {
    std::uint64_t crc = static_cast<std::uint32_t>(~before);
    const std::byte* at = bytes.data();
    std::size_t left = bytes.size();
    for (; left >= 3 * kRun; at += 3 * kRun, left -= 3 * kRun) {
        std::uint64_t second = 0;
        std::uint64_t third = 0;
        for (std::size_t i = 0; i < kRun; i += 8) {
            crc = __builtin_ia32_crc32di(crc, load<std::uint64_t>(at + i));
            second = __builtin_ia32_crc32di(second, load<std::uint64_t>(at + kRun + i));
            third = __builtin_ia32_crc32di(third, load<std::uint64_t>(at + 2 * kRun + i));
        }
        crc = skip(static_cast<std::uint32_t>(crc)) ^ second;
        crc = skip(static_cast<std::uint32_t>(crc)) ^ third;
    }
    for (; left >= 8; at += 8, left -= 8)
        crc = __builtin_ia32_crc32di(crc, load<std::uint64_t>(at));
    auto last = static_cast<std::uint32_t>(crc);
    for (; left > 0; ++at, --left)
        last = __builtin_ia32_crc32qi(last, std::to_integer<std::uint8_t>(*at));
    return ~last;
}

#else

bool has_crc32c_instruction() noexcept { return false; }

std::uint32_t crc32c_by_instruction(std::span<const std::byte> bytes,
                                    std::uint32_t before) noexcept {
    return crc32c_by_table(bytes, before);
}

#endif

std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t before) noexcept {
    return has_crc32c_instruction() ? crc32c_by_instruction(bytes, before)
                                    : crc32c_by_table(bytes, before);
}

void Crc32c::seal(Instant, std::span<Frame> frames) noexcept {
    for (Frame& frame : frames) {
        if (frame.dropped) continue;
        if (frame.tailroom < kTrailerBytes) {
            frame.drop(DropReason::dif_no_room);
            continue;
        }
        const std::uint32_t crc = crc32c(std::span(frame.data, frame.bytes));
        rina::detail::store(frame.data + frame.bytes, crc);
        frame.bytes += kTrailerBytes;
        frame.tailroom = static_cast<std::uint16_t>(frame.tailroom - kTrailerBytes);
    }
}

void Crc32c::open(Instant, std::span<Frame> frames) noexcept {
    for (Frame& frame : frames) {
        if (frame.dropped) continue;
        const std::uint32_t bytes = pdu_bytes(frame, format_);
        if (bytes == 0 || frame.bytes - bytes < kTrailerBytes)
            frame.drop(DropReason::dif_bad_length);
        else if (crc32c(std::span(frame.data, bytes)) != load<std::uint32_t>(frame.data + bytes))
            frame.drop(DropReason::dif_bad_checksum);
        else
            frame.trim(bytes);
    }
}

}  // namespace sluice::sdup
