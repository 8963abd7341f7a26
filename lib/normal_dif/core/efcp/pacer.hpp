#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "base/instant.hpp"

namespace sluice::efcp {

// Spaces PDUs by a rate, with some tolerance so that they can leave in bursts (the generic cell
// rate algorithm of ITU-T I.371, by virtual scheduling).
class Pacer {
  public:
    // 0 PDUs a second: no limit. Tolerances are below 4 seconds.
    void set_rate(double pdus_per_second, Duration tolerance) noexcept {
        const double interval = pdus_per_second > 0 ? 1e9 * kUnits / pdus_per_second : 0;
        // One PDU in some years is as good as none, and does not overflow.
        interval_ = interval > 0 ? static_cast<std::int64_t>(std::clamp(interval, 1.0, 1e20 / 1e4))
                                 : 0;
        tolerance_ns_ = static_cast<std::uint32_t>(tolerance.ns);
    }
    bool limited() const noexcept { return interval_ != 0; }

    // PDUs that may leave now.
    std::uint32_t room(Instant now) const noexcept {
        if (interval_ == 0) return std::numeric_limits<std::uint32_t>::max();
        const std::int64_t slack = now.ns + tolerance_ns_ - std::max(due_, now.ns);
        if (slack < 0) return 0;
        const std::int64_t more = slack * kUnits / interval_;
        return static_cast<std::uint32_t>(std::min<std::int64_t>(more, 1 << 24)) + 1;
    }
    void on_sent(Instant now, std::uint32_t pdus) noexcept {
        if (interval_ == 0) return;
        const std::int64_t spent = interval_ * pdus + rest_;
        due_ = std::max(due_, now.ns) + spent / kUnits;
        rest_ = static_cast<std::uint32_t>(spent % kUnits);
    }
    // When half a tolerance's worth may leave again: a wake-up for each PDU would cost too much.
    Instant next() const noexcept { return Instant{due_ - tolerance_ns_ / 2}; }

  private:
    static constexpr std::int64_t kUnits = 1024;  // of a nanosecond

    std::int64_t interval_ = 0;
    std::int64_t due_ = 0;
    std::uint32_t tolerance_ns_ = 0;
    std::uint32_t rest_ = 0;
};

}  // namespace sluice::efcp
