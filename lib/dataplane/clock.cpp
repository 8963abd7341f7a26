#include "dataplane/clock.hpp"

namespace sluice::dp {

TscClock::TscClock(std::uint64_t hz) noexcept
    : hz_(hz),
      ns_per_tick_q32_(static_cast<std::uint64_t>((static_cast<Uint128>(1000000000ull) << 32) /
                                                  hz)) {}

const TscClock& TscClock::instance() noexcept {
    static const TscClock clock(rte_get_tsc_hz());
    return clock;
}

}  // namespace sluice::dp
