#pragma once

#include <cstdint>

namespace sluice {

// SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): small, seedable, and good enough for nonces that
// need no secrecy, for link models and for the simulator. Seeds are injected, never taken here.
__extension__ using Uint128 = unsigned __int128;

class Rng {
  public:
    constexpr explicit Rng(std::uint64_t seed) noexcept : state_(seed) {}

    constexpr std::uint64_t next() noexcept {
        std::uint64_t z = (state_ += 0x9e3779b97f4a7c15ull);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
        return z ^ (z >> 31);
    }

    // Uniform in [0, bound); bound > 0. The bias of at most bound / 2^64 does not matter here.
    constexpr std::uint64_t below(std::uint64_t bound) noexcept {
        return static_cast<std::uint64_t>((static_cast<Uint128>(next()) * bound) >> 64);
    }

    constexpr std::uint64_t between(std::uint64_t low, std::uint64_t high) noexcept {
        return low + below(high - low + 1);
    }

    // True with probability p.
    constexpr bool chance(double p) noexcept {
        return static_cast<double>(next() >> 11) * 0x1.0p-53 < p;
    }

    // An independent stream, for a part that must not disturb the draws of the others.
    constexpr Rng fork() noexcept { return Rng(next()); }

  private:
    std::uint64_t state_;
};

}  // namespace sluice
