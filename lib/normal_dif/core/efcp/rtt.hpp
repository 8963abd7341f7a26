#pragma once

#include <algorithm>
#include <cstdint>

#include "base/instant.hpp"

namespace sluice::efcp {

// Round trip time and retransmission timeout (RFC 6298). Whoever feeds it leaves out PDUs that were
// sent more than once (Karn).
class RttEstimator {
  public:
    static constexpr Duration kMinWindow = Duration::seconds(10);

    RttEstimator(Duration initial_timeout, Duration least) noexcept
        : timeout_(initial_timeout),
          most_ms_(static_cast<std::uint32_t>(std::max(initial_timeout * 8, least).ns / 1000000)),
          least_us_(static_cast<std::uint32_t>(least.ns / 1000)) {}

    void sample(Instant now, Duration rtt) noexcept {
        if (!measured()) {
            smoothed_ = rtt;
            variation_ = rtt / 2;
        } else {
            const Duration apart{rtt < smoothed_ ? smoothed_.ns - rtt.ns : rtt.ns - smoothed_.ns};
            variation_ = (variation_ * 3 + apart) / 4;
            smoothed_ = (smoothed_ * 7 + rtt) / 8;
        }
        // The least of the last one or two windows: a path that became longer is noticed.
        if (!measured() || now - window_at_ > kMinWindow) {
            min_before_ = measured() ? min_now_ : rtt;
            min_now_ = rtt;
            window_at_ = now;
            measured_ = true;
        }
        min_now_ = std::min(min_now_, rtt);
        timeout_ = std::clamp(smoothed_ + variation_ * 4,
                              Duration::microseconds(least_us_), most());
    }
    bool measured() const noexcept { return measured_; }
    Duration smoothed() const noexcept { return smoothed_; }
    Duration least() const noexcept { return std::min(min_now_, min_before_); }

    Duration timeout() const noexcept {
        return std::min(Duration{timeout_.ns << backoff_}, most());
    }
    // The timeout has passed in vain: the next one is twice as long.
    void back_off() noexcept { backoff_ = backoff_ < 16 ? backoff_ + 1 : 16; }
    void on_progress() noexcept { backoff_ = 0; }

  private:
    Duration most() const noexcept { return Duration::milliseconds(most_ms_); }

    Duration timeout_;
    Duration smoothed_{};
    Duration variation_{};
    Duration min_now_{};
    Duration min_before_{};
    Instant window_at_{};
    std::uint32_t most_ms_;
    std::uint32_t least_us_;
    std::uint8_t backoff_ = 0;
    bool measured_ = false;
};

}  // namespace sluice::efcp
