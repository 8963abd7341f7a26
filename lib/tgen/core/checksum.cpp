#include "tgen/core/checksum.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

#include "tgen/core/wire.hpp"

namespace sluice::tgen {

namespace {

constexpr std::uint64_t kPrime1 = 0x9E3779B185EBCA87ull;
constexpr std::uint64_t kPrime2 = 0xC2B2AE3D27D4EB4Full;
constexpr std::uint64_t kPrime3 = 0x165667B19E3779F9ull;
constexpr std::uint64_t kPrime4 = 0x85EBCA77C2B2AE63ull;
constexpr std::uint64_t kPrime5 = 0x27D4EB2F165667C5ull;

std::uint64_t round_of(std::uint64_t lane, std::uint64_t word) noexcept {
    return std::rotl(lane + word * kPrime2, 31) * kPrime1;
}

std::uint32_t load_le32(const std::byte* p) noexcept {
    std::uint32_t v;
    std::memcpy(&v, p, sizeof v);
    return std::endian::native == std::endian::little ? v : __builtin_bswap32(v);
}

}  // namespace

void Checksum::reset() noexcept {
    lanes_ = {kPrime1 + kPrime2, kPrime2, 0, 0 - kPrime1};
    length_ = 0;
    held_size_ = 0;
}

void Checksum::update(std::span<const std::byte> data) noexcept {
    if (data.empty()) return;
    length_ += data.size();
    const auto stripe = [](std::array<std::uint64_t, 4>& lanes, const std::byte* p) {
        lanes[0] = round_of(lanes[0], load_le64(p));
        lanes[1] = round_of(lanes[1], load_le64(p + 8));
        lanes[2] = round_of(lanes[2], load_le64(p + 16));
        lanes[3] = round_of(lanes[3], load_le64(p + 24));
    };
    if (held_size_ > 0) {
        const std::size_t n = std::min(kStripe - held_size_, data.size());
        std::memcpy(held_.data() + held_size_, data.data(), n);
        held_size_ += n;
        data = data.subspan(n);
        if (held_size_ < kStripe) return;
        stripe(lanes_, held_.data());
        held_size_ = 0;
    }
    // In registers: `data` may alias the members as far as the compiler knows.
    std::array<std::uint64_t, 4> lanes = lanes_;
    const std::byte* p = data.data();
    const std::byte* const end = p + (data.size() - data.size() % kStripe);
    for (; p != end; p += kStripe) stripe(lanes, p);
    lanes_ = lanes;
    held_size_ = data.size() % kStripe;
    if (held_size_ > 0) std::memcpy(held_.data(), p, held_size_);
}

std::uint64_t Checksum::value() const noexcept {
    std::uint64_t acc;
    if (length_ < kStripe) {
        acc = kPrime5;
    } else {
        acc = std::rotl(lanes_[0], 1) + std::rotl(lanes_[1], 7) + std::rotl(lanes_[2], 12) +
              std::rotl(lanes_[3], 18);
        for (const std::uint64_t lane : lanes_) {
            acc = (acc ^ round_of(0, lane)) * kPrime1 + kPrime4;
        }
    }
    acc += length_;
    const std::byte* p = held_.data();
    const std::byte* const end = p + held_size_;
    for (; end - p >= 8; p += 8) {
        acc = std::rotl(acc ^ round_of(0, load_le64(p)), 27) * kPrime1 + kPrime4;
    }
    if (end - p >= 4) {
        acc = std::rotl(acc ^ (load_le32(p) * kPrime1), 23) * kPrime2 + kPrime3;
        p += 4;
    }
    for (; p != end; ++p) {
        acc = std::rotl(acc ^ (std::to_integer<std::uint64_t>(*p) * kPrime5), 11) * kPrime1;
    }
    acc = (acc ^ (acc >> 33)) * kPrime2;
    acc = (acc ^ (acc >> 29)) * kPrime3;
    return acc ^ (acc >> 32);
}

}  // namespace sluice::tgen
