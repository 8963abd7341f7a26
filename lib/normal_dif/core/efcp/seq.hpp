#pragma once

#include <cstdint>
#include <type_traits>

#include "normal_dif/core/faults.hpp"

// Sequence numbers. On the wire they have the DIF's width and roll over; inside a connection they
// are 64 bits wide and are compared by serial arithmetic (RFC 1982), so that a rollover of either
// is nothing special.
namespace sluice::efcp {

// Holds for numbers less than 2^63 apart.
constexpr bool before(std::uint64_t a, std::uint64_t b) noexcept {
    return static_cast<std::int64_t>(a - b) < 0;
}
constexpr std::uint64_t later(std::uint64_t a, std::uint64_t b) noexcept {
    return before(a, b) ? b : a;
}
constexpr std::uint64_t sooner(std::uint64_t a, std::uint64_t b) noexcept {
    return before(a, b) ? a : b;
}

class SeqSpace {
  public:
    // 1 to 8 bytes.
    constexpr explicit SeqSpace(unsigned width_bytes) noexcept : shift_(64 - 8 * width_bytes) {}

    constexpr std::uint64_t mask() const noexcept { return ~std::uint64_t{0} >> shift_; }
    // Numbers that are less than this apart can be told apart.
    constexpr std::uint64_t half() const noexcept { return std::uint64_t{1} << (63 - shift_); }

    constexpr std::uint64_t wrap(std::uint64_t seq) const noexcept { return seq & mask(); }
    // Of all numbers that are `wire` on the wire the one closest to `near`; of two that are as
    // close, the one before.
    constexpr std::uint64_t unwrap(std::uint64_t wire, std::uint64_t near) const noexcept {
        if (!std::is_constant_evaluated() &&
            faults::is_active(faults::Fault::sequence_is_plain))
            return wire;
        const auto apart = static_cast<std::int64_t>((wire - near) << shift_) >> shift_;
        return near + static_cast<std::uint64_t>(apart);
    }

  private:
    unsigned shift_;
};

}  // namespace sluice::efcp
