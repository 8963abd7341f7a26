#pragma once

#include <algorithm>
#include <cstdint>

#include "base/instant.hpp"

namespace sluice::capture {

// Arrival times of a burst of packets that carry no stamp of their own. What is known: when the
// queue was polled now, when it was polled before, and whether it was left empty then. A burst that
// is not full has emptied the queue, so its packets came since the poll before: they are spread
// evenly over that time, and each is wrong by at most its length. Full bursts say that packets have
// been waiting: the error may be as long as the time since the queue was last seen empty, and that
// is what is recorded (Moreno et al., HPCAP: one stamp for a batch makes inter-arrival times
// worthless). Instants are the dataplane's; WallClock turns them into time of day.
class Stamper {
  public:
    struct Run {
        std::int64_t first_ns = 0;  // of the first packet
        std::int64_t step_q16 = 0;  // between packets, 1/65536 ns
        std::int64_t at(unsigned i) const noexcept {
            return first_ns + ((static_cast<std::int64_t>(i) * step_q16) >> 16);
        }
    };

    // `count` packets were found now; `full`: there may be more behind them.
    Run burst(Instant now, unsigned count, bool full) noexcept {
        if (empty_at_.is_never()) empty_at_ = polled_at_ = now;
        // What is stamped must not run backwards, and the last stamp was at most polled_at_.
        // A queue that nobody looked at for hours says nothing about the time in between.
        const std::int64_t begin =
            std::clamp(polled_at_.ns, now.ns - kSpanLongest.ns, now.ns);
        const std::int64_t span = now.ns - begin;
        const std::int64_t bound = now.ns - std::min(empty_at_.ns, now.ns);
        error_ns_ = bound;
        error_max_ns_ = std::max(error_max_ns_, bound);
        polled_at_ = now;
        if (!full) empty_at_ = now;
        Run run;
        run.step_q16 = count == 0 ? 0 : (span << 16) / static_cast<std::int64_t>(count);
        run.first_ns = begin + ((run.step_q16) >> 16);
        return run;
    }
    void nothing(Instant now) noexcept { empty_at_ = polled_at_ = now; }

    // How wrong a stamp of the last burst, and any stamp so far, may be.
    std::int64_t error_ns() const noexcept { return error_ns_; }
    std::int64_t error_max_ns() const noexcept { return error_max_ns_; }

  private:
    static constexpr Duration kSpanLongest = Duration::seconds(3600);

    Instant polled_at_{};
    Instant empty_at_ = Instant::never();
    std::int64_t error_ns_ = 0;
    std::int64_t error_max_ns_ = 0;
};

}  // namespace sluice::capture
