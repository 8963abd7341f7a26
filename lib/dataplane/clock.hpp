#pragma once

#include <rte_cycles.h>

#include <cstdint>

#include "base/instant.hpp"

namespace sluice::dp {

// TSC ticks to nanoseconds, by a multiplication. The origin is the TSC's own zero, so processes of
// one machine agree on it.
class TscClock {
  public:
    static const TscClock& instance() noexcept;

    std::uint64_t hz() const noexcept { return hz_; }
    Instant instant(std::uint64_t tsc) const noexcept {
        return {static_cast<std::int64_t>(
            static_cast<std::uint64_t>((static_cast<Uint128>(tsc) * ns_per_tick_q32_) >> 32))};
    }
    Instant now() const noexcept { return instant(rte_rdtsc()); }
    std::uint64_t ticks(Duration d) const noexcept {
        return static_cast<std::uint64_t>(static_cast<double>(d.ns) * 1e-9 *
                                          static_cast<double>(hz_));
    }

  private:
    __extension__ using Uint128 = unsigned __int128;

    explicit TscClock(std::uint64_t hz) noexcept;

    std::uint64_t hz_;
    std::uint64_t ns_per_tick_q32_;
};

}  // namespace sluice::dp
