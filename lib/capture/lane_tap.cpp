#include "capture/lane_tap.hpp"

#include <algorithm>

#include "dataplane/stage.hpp"
#include "pcap_writer/pcapng.hpp"

namespace sluice::capture {

void LaneTap::tap(dp::LoopCtx& ctx, rte_mbuf* const* packets, unsigned count,
                  dp::Direction direction) noexcept {
    // Of both, so that the merge need not wait for the direction that is silent.
    if (rx_ != nullptr) rx_->reached(ctx.now);
    if (tx_ != nullptr) tx_->reached(ctx.now);
    Lane* const lane = direction == dp::Direction::rx ? rx_ : tx_;
    if (lane == nullptr) return;
    while (count != 0) {
        const unsigned n = std::min(count, dp::kBurstMax);
        lane->record(ctx.now, packets, n, false, lane->config().direction);
        packets += n;
        count -= n;
    }
}

}  // namespace sluice::capture
